// A program without a terminal, between its channel and this process: streams, signals, time, and how it ended.

import type { SealttyError } from "../protocol/errors.ts";
import type { Channel } from "../protocol/session/channel-api.ts";
import { EXIT_OUTPUT_CLOSED, exitFields, shellStatus, signalStatus } from "./exit-status.ts";
import { OutputClosed, pump } from "./output.ts";
import type { Reporter } from "./report.ts";
import { RunLimit } from "./run-limit.ts";
import type { Surroundings } from "./services.ts";
import { feed } from "./standard-input.ts";

/** What the guest says, as shells do, of a program that is not there. */
const NOT_FOUND = 127;
/** A guest that does not answer must not hold the user: this many of one signal end sealtty itself. */
const SIGNALS_UNTIL_END = 3;

type ProgramSurroundings = Pick<Surroundings, "stdin" | "stdout" | "stderr" | "onSignal" | "clock">;

/** A likely mistake of those who come from ssh. */
export function hintAtShell(status: number, program: string, reporter: Pick<Reporter, "say">): void {
  if (status !== NOT_FOUND || !/\s/.test(program)) return;
  reporter.say(
    `sealtty: the program's name holds a blank, and exec uses no shell: write each word by itself, or -- sh -c 'LINE'`,
  );
}

/** @returns the exit status. @param how.frozen - the guest changed: ends it. @param how.runFor - ms. */
export async function runExec(
  channel: Channel,
  services: ProgramSurroundings,
  reporter: Reporter,
  how: {
    readonly withInput: boolean;
    readonly frozen: Promise<SealttyError>;
    readonly runFor: number | undefined;
  },
): Promise<number> {
  const changed = how.frozen.then((error): never => {
    channel.hangUp();
    throw error;
  });
  const offs: (() => void)[] = [];
  const limit = how.runFor === undefined ? undefined : new RunLimit(channel, services.clock, how.runFor);
  if (limit !== undefined) offs.push(() => limit.stop());
  const interrupted = new Promise<number>((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
      let count = 0;
      const forward = (): void => {
        count++;
        if (count < SIGNALS_UNTIL_END) return channel.signal(signal);
        channel.hangUp();
        resolve(signalStatus(signal));
      };
      offs.push(services.onSignal(signal, forward));
    }
  });
  const finished = Promise.all([
    channel.exit,
    pump(channel.stdout, services.stdout),
    pump(channel.stderr, services.stderr),
  ]).then(
    ([exit]) => {
      if (limit?.error !== undefined) throw limit.error;
      reporter.event("exit", exitFields(exit));
      return shellStatus(exit);
    },
    (error: unknown) => {
      if (!(error instanceof OutputClosed)) throw error;
      channel.hangUp();
      return EXIT_OUTPUT_CLOSED;
    },
  );
  if (how.withInput) offs.push(feed(channel, services));
  else channel.end();
  try {
    return await Promise.race([
      finished,
      interrupted,
      changed,
      ...(limit === undefined ? [] : [limit.givenUp]),
    ]);
  } finally {
    for (const off of offs) off();
  }
}
