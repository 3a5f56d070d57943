// The options of an npm script, looked at before anything is built or installed.

import { parseArgs } from "node:util";
import { ScriptError } from "./run.mjs";

/**
 * @param {string} command - as people type it: "npm run soak"
 * @param {import("node:util").ParseArgsConfig["options"]} options
 * @param {string} usage - printed on standard output for --help and -h.
 * @returns {boolean} whether the script is to go on. @throws ScriptError, one line, for an option that is not known.
 */
export function optionsAreFine(command, options, usage) {
  const help = { type: "boolean", short: "h" };
  let asked;
  try {
    asked = parseArgs({ options: { ...options, help } }).values.help === true;
  } catch (error) {
    throw new ScriptError(`${error.message.split(/\. (?:To|This) /)[0]}; see: ${command} -- --help`);
  }
  if (asked) process.stdout.write(usage);
  return !asked;
}
