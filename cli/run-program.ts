// A program without a terminal, as the API has it, and this process: streams, signals, time, and how it ended.

import type { AppraisedClaims } from "../protocol/attestation/verified-guest.ts";
import type { RemoteProcess } from "./api/types.ts";
import type { ExecPlan } from "./exec-plan.ts";
import { EXIT_OUTPUT_CLOSED, exitFields, signalStatus } from "./exit-status.ts";
import { OutputClosed, pour } from "./output.ts";
import type { Reporter } from "./report.ts";
import type { Surroundings } from "./services.ts";
import { feed } from "./standard-input.ts";
import { within } from "./within.ts";

/** What the guest says, as shells do, of a program that is not there. */
const NOT_FOUND = 127;
/** A guest that does not answer must not hold the user: this many of one signal end sealtty itself. */
export const SIGNALS_UNTIL_END = 3;

/** Ms, for what came before an error. */
const LAST_WRITES_WITHIN = 2000;

type ProgramSurroundings = Pick<Surroundings, "stdin" | "stdout" | "stderr" | "onSignal" | "clock">;

/** A likely mistake of those who come from ssh. */
function hintAtShell(status: number, program: string, reporter: Pick<Reporter, "say">): void {
  if (status !== NOT_FOUND || !/\s/.test(program)) return;
  reporter.say(
    `sealtty: the program's name holds a blank, and exec uses no shell: write each word by itself, or -- sh -c 'LINE'`,
  );
}

/** The program of an exec in a guest that was verified. @returns the exit status. */
export async function runVerified(
  program: RemoteProcess,
  claims: AppraisedClaims,
  plan: ExecPlan,
  services: ProgramSurroundings,
  reporter: Reporter,
): Promise<number> {
  const status = await runExec(program, services, reporter);
  hintAtShell(status, plan.request.command[0] ?? "", reporter);
  if (reporter.verbosity > 0) reporter.warnings(claims);
  return status;
}

/** @returns the exit status. */
export async function runExec(
  program: RemoteProcess,
  services: ProgramSurroundings,
  reporter: Reporter,
): Promise<number> {
  const offs: (() => void)[] = [];
  const interrupted = new Promise<number>((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
      let count = 0;
      const forward = (): void => {
        count++;
        if (count < SIGNALS_UNTIL_END) return program.kill(signal);
        program.hangUp();
        resolve(signalStatus(signal));
      };
      offs.push(services.onSignal(signal, forward));
    }
  });
  let unwritten: (error: unknown) => void = () => undefined;
  const unwritable = new Promise<never>((_, reject) => {
    unwritten = reject;
  });
  const outputs = [
    pour(program.stdout, services.stdout, unwritten),
    pour(program.stderr, services.stderr, unwritten),
  ];
  // What came before an error is written; a reader that stopped is not waited for.
  const failsBehind = async (what: Promise<unknown>, error: unknown): Promise<never> => {
    await within(services.clock, LAST_WRITES_WITHIN, what);
    throw error;
  };
  const ended = program.exit.then(
    (exit) => Promise.all(outputs).then(() => exit),
    (error: unknown) => failsBehind(Promise.allSettled(outputs), error),
  );
  const carried = Promise.all(outputs).then(
    () => ended,
    (error: unknown) => failsBehind(ended, error), // the program's own end knows better
  );
  const finished = Promise.race([unwritable, ended, carried]).then(
    (exit) => {
      reporter.event("exit", exitFields(exit));
      return exit.status;
    },
    (error: unknown) => {
      program.hangUp(); // nobody has anything of it any more
      if (!(error instanceof OutputClosed)) throw error;
      return EXIT_OUTPUT_CLOSED;
    },
  );
  const { stdin } = program;
  const unreadable = new Promise<never>((_, reject) => {
    const failed = (error: Error): void => {
      program.hangUp(); // an end of its input would say that this was all
      reject(error);
    };
    if (stdin !== undefined) offs.push(feed(stdin, services, failed));
  });
  try {
    return await Promise.race([finished, interrupted, unreadable]);
  } finally {
    for (const off of offs) off();
  }
}
