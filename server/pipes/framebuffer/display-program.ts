// Asks a device by ioctl, through our native program: Node has no call for it.

import { spawnSync } from "node:child_process";
import { SealttyError } from "../../../protocol/errors.ts";
import { escapeText } from "../../log.ts";
import { findNativeProgram } from "../../native-program.ts";

const TIMEOUT_MS = 10_000;
const MAX_ANSWER = 4096;

/**
 * @param fd - the device; non-blocking again afterwards. @param what - it, for people. @returns what the program printed.
 * @throws SealttyError `device-unavailable`.
 */
export function askDevice(
  command: "screen" | "grab",
  fd: number,
  what: string,
  program = findNativeProgram("sealtty-display"),
): string {
  if (program === undefined) {
    throw new SealttyError(
      "device-unavailable",
      "The program sealtty-display is missing beside sealttyd: without it no screen can be measured and no keyboard grabbed.",
    );
  }
  const { status, stdout, stderr, error } = spawnSync(program, [command], {
    stdio: [fd, "pipe", "pipe"],
    encoding: "latin1",
    timeout: TIMEOUT_MS,
    maxBuffer: MAX_ANSWER,
    env: {},
  });
  if (status === 0 && error === undefined) return stdout;
  const why = error === undefined ? stderr.trim() : error.message;
  throw new SealttyError(
    "device-unavailable",
    `Cannot use ${what}: sealtty-display ${command} failed (${escapeText(why)}).`,
  );
}
