// `sealtty sysrq`: a SysRq key of the guest's kernel, pressed through the console and not on the host's.

import { SealttyError } from "../../protocol/errors.ts";
import { isSysrqKey } from "../../protocol/session/service-request.ts";
import type { RemoteProcess } from "../api/types.ts";
import { type Command, KEYED_OPTIONS, usage } from "../options.ts";
import { Reporter } from "../report.ts";
import { complaintOf, serviceFailed, useService } from "../service-program.ts";
import type { Services } from "../services.ts";

/** What Linux's Documentation/admin-guide/sysrq.rst has of those that people use. */
const MEANINGS: Readonly<Record<string, string>> = {
  b: "start anew at once, without syncing or unmounting",
  c: "crash, for a dump",
  e: "SIGTERM to all programs but init",
  f: "kill a program for memory's sake",
  i: "SIGKILL to all programs but init",
  l: "a trace of all processors",
  m: "what memory is used for",
  o: "power off at once",
  s: "sync all file systems",
  t: "all tasks",
  u: "all file systems read-only",
  w: "tasks that are blocked",
};
/** After these nobody is left to answer. */
const ENDS_IT = /^[bco]$/;
const ANSWER_WITHIN_MS = 5000;
const EXIT_NOT_CONFIRMED = 1;

export const sysrqCommand: Command = {
  name: "sysrq",
  summary: "press a SysRq key in the guest",
  operands: "GUEST KEY",
  options: KEYED_OPTIONS,
  notes: [
    "For users whom [services] sysrq in the guest's sealttyd.toml names, with a key; KEY is one of its sysrq_keys.",
    "s syncs, u makes file systems read-only, b starts anew at once, o powers off, w shows blocked tasks (see: sealtty log).",
    "After b, c and o the machine may be gone before it answers, which a host can pretend: silence is no success.",
    "Exit status: 0 where the guest said that it pressed it, 1 not confirmed, or 255 for sealtty's errors.",
  ],
  exits: "ssh-like",
  async run(input, services) {
    const [guestName, key, ...extra] = input.operands;
    if (guestName === undefined || guestName === "" || key === undefined || extra.length > 0)
      throw usage(sysrqCommand, "a guest and a key are needed, and no more");
    if (!isSysrqKey(key)) throw usage(sysrqCommand, "KEY is one lower-case letter or digit");
    const reporter = new Reporter(services, input);
    const service = { name: "sysrq", key } as const;
    return await useService(guestName, service, { input, services, reporter }, async (program) => {
      const why = await pressed(program, key, services);
      if (why !== undefined) {
        reporter.event("sysrq-not-confirmed", { key });
        reporter.problem(`sealtty: SysRq ${key}: ${why}: not confirmed`);
        return EXIT_NOT_CONFIRMED;
      }
      reporter.event("sysrq", { key });
      const meaning = MEANINGS[key];
      reporter.say(`sealtty: SysRq ${key} is pressed${meaning === undefined ? "" : `: ${meaning}`}`);
      return 0;
    });
  },
};

/** @returns why nobody knows whether it is. @throws SealttyError `program-failed`, `transport-lost`. */
async function pressed(
  program: RemoteProcess,
  key: string,
  services: Pick<Services, "clock">,
): Promise<string | undefined> {
  const complaint = complaintOf(program);
  program.stdout.resume(); // there is none
  const answer = program.exit.catch((error: unknown) => {
    // It may be gone as was asked for, or the host cut the connection.
    if (ENDS_IT.test(key) && error instanceof SealttyError && error.code === "transport-lost")
      return "the connection was lost before an answer";
    throw error;
  });
  const exit = await Promise.race([answer, ...(ENDS_IT.test(key) ? [silence(services)] : [])]);
  if (typeof exit === "string") return exit;
  if (exit.status === 0) return undefined;
  throw serviceFailed("The guest could not press the key", exit, await complaint);
}

function silence({ clock }: Pick<Services, "clock">): Promise<string> {
  return new Promise((resolve) => {
    clock.after(ANSWER_WITHIN_MS, () => resolve(`no answer came within ${ANSWER_WITHIN_MS / 1000} s`));
  });
}
