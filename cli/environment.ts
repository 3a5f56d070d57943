// What of this machine's environment the guest's programs see: how to print, and what the user names; and where they start.

import { SealttyError } from "../protocol/errors.ts";
import { isVariableName, VARIABLE_NAME_WORDS } from "../protocol/session/open-request.ts";
import { requireAsGiven } from "./command-line-text.ts";
import type { Input, OptionSpec } from "./options.ts";
import { printable } from "./printable.ts";
import type { Surroundings } from "./services.ts";

/** Printed names of languages and the like are short; a long one is left out, and nothing else is lost with it. */
const MAX_PASSED_VALUE = 1024;

/** Of commands that start a program of the user's choice. */
export const PLACE_OPTIONS = [
  {
    name: "env",
    value: "NAME=VALUE",
    help: "set a variable for the program, more than once for several; NAME alone passes yours",
  },
  { name: "cwd", value: "DIR", help: "start it in this directory of the guest; default: the user's home" },
] as const satisfies readonly OptionSpec[];

/** Where a program starts, and what it knows. */
export interface ProgramPlace {
  readonly environment: Readonly<Record<string, string>>;
  /** Absent: the user's home. */
  readonly directory?: string;
}

/** @throws SealttyError `bad-config`. */
export function placeOf(
  input: Pick<Input, "text" | "texts">,
  services: Pick<Surroundings, "environment">,
): ProgramPlace {
  const variables = new Map(Object.entries(passedEnvironment(services.environment)));
  for (const text of input.texts("env")) {
    const equals = text.indexOf("=");
    const name = equals < 0 ? text : text.slice(0, equals);
    if (!isVariableName(name))
      throw new SealttyError(
        "bad-config",
        `--env ${printable(text, 80)}: ${name === "" ? "the name is missing; write NAME=VALUE" : `${VARIABLE_NAME_WORDS}, and ${JSON.stringify(printable(name, 80))} is none`}`,
      );
    const value = equals < 0 ? services.environment[name] : text.slice(equals + 1);
    if (value === undefined)
      throw new SealttyError(
        "bad-config",
        `--env ${name}: there is no such variable here; write --env ${name}=VALUE`,
      );
    if (equals < 0) requireAsGiven([value], "have the guest's shell make it", "environ");
    variables.set(name, value);
  }
  const environment = Object.fromEntries(variables);
  const directory = input.text("cwd");
  if (directory === "") throw new SealttyError("bad-config", "--cwd takes a directory of the guest");
  return directory === undefined ? { environment } : { environment, directory };
}

const PASSED = /^(?:LANG|LC_[A-Z]+|COLORTERM)$/;

export function passedEnvironment(environment: Surroundings["environment"]): Record<string, string> {
  const passed: Record<string, string> = {};
  for (const [name, value] of Object.entries(environment)) {
    if (value === undefined || !PASSED.test(name)) continue;
    if (/^[\x20-\x7e]+$/.test(value) && value.length <= MAX_PASSED_VALUE) passed[name] = value;
  }
  return passed;
}

export function terminalName(environment: Surroundings["environment"]): string {
  const name = environment["TERM"] ?? "";
  return /^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$/.test(name) ? name : "xterm-256color";
}
