// What a program asks to have started, as the protocol has it; checked, as from JavaScript anything may come.

import { SealttyError } from "../errors.ts";
import type { ProgramPlace } from "../session/channel-api.ts";
import type { TerminalRequest } from "../session/session-api.ts";
import { isObject, misuse } from "./misuse.ts";
import type { OnTerminal, Place } from "./types.ts";

/** @throws SealttyError `api-misuse`. */
export function requireWords(command: unknown): void {
  if (Array.isArray(command) && command.length > 0 && command.every((word) => typeof word === "string"))
    return;
  throw new SealttyError(
    "api-misuse",
    'A command is a list of words, as in ["ls", "-l"]; for a line of a shell: ["sh", "-c", "ls -l | wc -l"]',
  );
}

/** @throws SealttyError `api-misuse`. */
export function terminalRequest(options: OnTerminal): TerminalRequest {
  const { columns, rows, term = "xterm-256color", login = false, command = [], env, cwd } = options;
  const screen = { term, columns, rows };
  if (login) {
    if (options.command !== undefined || env !== undefined || cwd !== undefined)
      throw new SealttyError("api-misuse", "The guest's login program takes no command, env or cwd");
    return { kind: "login", ...screen };
  }
  if (command.length !== 0) requireWords(command);
  return { kind: "shell", command, ...screen, ...placeOf(options) };
}

/** @throws SealttyError `api-misuse`. */
export function placeOf({ env = {}, cwd }: Place): ProgramPlace {
  // Without what it was: there may be secrets in it.
  if (!isObject(env) || Object.values(env).some((value) => typeof value !== "string"))
    throw new SealttyError("api-misuse", 'env is an object whose values are texts, as in { LC_ALL: "C" }');
  if (cwd !== undefined && typeof cwd !== "string")
    throw misuse("cwd is the path of a directory of the guest", cwd);
  return { environment: env, ...(cwd === undefined ? {} : { directory: cwd }) };
}
