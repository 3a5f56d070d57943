// What an exec asks for, whichever way it goes: over a connection of its own, or over one that is kept. Light, as the second
// has to be.

import { checkRequest } from "../protocol/session/open-request.ts";
import type { ExecOptions } from "./api/types.ts";
import { requireAsGiven } from "./command-line-text.ts";
import { PLACE_OPTIONS, placeOf, type ProgramPlace } from "./environment.ts";
import { secondsOf } from "./option-values.ts";
import {
  KEYED_OPTIONS,
  type Command,
  ESCAPE_OPTION,
  type Input,
  OBFUSCATE_OPTION,
  onlyGuest,
  usage,
} from "./options.ts";
import type { Surroundings } from "./services.ts";

/** The table alone: cli/commands/exec.ts runs it. */
export const EXEC: Omit<Command, "run"> = {
  name: "exec",
  summary: "run a program in the guest; its exit status is passed on",
  operands: "GUEST -- COMMAND…",
  options: [
    ...KEYED_OPTIONS,
    OBFUSCATE_OPTION,
    { name: "no-stdin", short: "n", help: "the program's standard input is empty" },
    { name: "tty", short: "t", help: "give it a terminal, as connect does" },
    { name: "no-tty", short: "T", help: "give it none, which is the default" },
    ESCAPE_OPTION,
    ...PLACE_OPTIONS,
    {
      name: "master",
      help: "over a connection that is kept for the next ones, and opened where there is none yet",
    },
    {
      name: "run-timeout",
      value: "SECONDS",
      help: "for the program itself: then it is sent SIGTERM, 5 s later SIGKILL; exit status 255, code timeout",
    },
  ],
  notes: [
    "A key is needed: without one a guest opens nothing but its login prompt (sealtty connect).",
    "No shell, unlike ssh: one word for each argument of the program; for a shell's line: -- sh -c 'LINE'.",
    "sealtty-exec GUEST … -- COMMAND…, a program of its own, is exec --master without the time that Node takes to start.",
    "--timeout is for the connection and the evidence, as everywhere; --run-timeout for the program.",
    "A directory that is not there: status 126, and the guest says so on stderr. A program that is not there: 127.",
    "Binary-clean; the end of standard input is passed on. SIGINT, SIGTERM and SIGHUP go to the program;",
    "the third of one kind ends sealtty. Exit status: the program's own, 128+n for signal n, 255 for sealtty's errors.",
  ],
  exits: "ssh-like",
};

export interface ExecPlan {
  readonly guest: string;
  readonly request: { readonly kind: "exec"; readonly command: readonly string[] } & ProgramPlace;
  readonly terminal: boolean;
  readonly withInput: boolean;
  /** Ms that the program may run. */
  readonly runFor: number | undefined;
}

/** @throws SealttyError `bad-config`: all that can be known before the guest is bothered. */
export function planOf(input: Input, services: Pick<Surroundings, "environment">): ExecPlan {
  const { operands, rest: command } = input;
  if (command === undefined && operands.length > 1) throw usage(EXEC, "put -- before the command");
  const guest = onlyGuest(EXEC, input);
  if (command === undefined || command.length === 0) throw usage(EXEC, "no command to run");
  const terminal = input.has("tty");
  if (terminal && input.has("no-tty")) throw usage(EXEC, "-t and -T exclude each other");
  if (terminal && input.has("no-stdin")) throw usage(EXEC, "-t and -n exclude each other");
  requireAsGiven(
    [...command, ...input.texts("env"), ...input.texts("cwd")],
    `let a shell of the guest make it, as in: -- sh -c 'rm "$(printf "\\377")"'`,
  );
  const request = { kind: "exec", command, ...placeOf(input, services) } as const;
  checkRequest(request);
  return {
    guest,
    request,
    terminal,
    withInput: !input.has("no-stdin"),
    runFor: secondsOf(input, "run-timeout"),
  };
}

/** For `Guest.exec`. */
export function execOptions({ request, withInput, runFor }: ExecPlan): ExecOptions {
  const { environment: env, directory: cwd } = request;
  return {
    env,
    ...(cwd === undefined ? {} : { cwd }),
    ...(withInput ? { stdin: true } : {}),
    ...(runFor === undefined ? {} : { timeout: runFor }),
  };
}
