// `sealtty exec`: one program in the guest, with stdin, stdout, stderr and exit status apart.

import type { SealttyError } from "../../protocol/errors.ts";
import type { Channel } from "../../protocol/session/channel-api.ts";
import { checkRequest } from "../../protocol/session/open-request.ts";
import { PLACE_OPTIONS, placeOf } from "../environment.ts";
import { EXIT_OUTPUT_CLOSED, exitFields, shellStatus, signalStatus } from "../exit-status.ts";
import { COMMON_OPTIONS, type Command, OBFUSCATE_OPTION, onlyGuest, usage } from "../options.ts";
import { OutputClosed, pump } from "../output.ts";
import { authenticate, obfuscationOf, reach, secondsOf } from "../reach.ts";
import { Reporter } from "../report.ts";
import { RunLimit } from "../run-limit.ts";
import type { Services } from "../services.ts";
import { ESCAPE_OPTION, terminalCommand } from "./connect.ts";

/** What the guest says, as shells do, of a program that is not there. */
const NOT_FOUND = 127;
/** A guest that does not answer must not hold the user: this many of one signal end sealtty itself. */
const SIGNALS_UNTIL_END = 3;

export const execCommand: Command = {
  name: "exec",
  summary: "run a program in the guest; its exit status is passed on",
  operands: "GUEST -- COMMAND…",
  options: [
    ...COMMON_OPTIONS.map((option) =>
      option.name === "identity"
        ? {
            ...option,
            help: "SSH key to authenticate with; default: the first of ssh-agent, or ~/.ssh/id_ed25519",
          }
        : option,
    ),
    OBFUSCATE_OPTION,
    { name: "no-stdin", short: "n", help: "the program's standard input is empty" },
    { name: "tty", short: "t", help: "give it a terminal, as connect does" },
    { name: "no-tty", short: "T", help: "give it none, which is the default" },
    ESCAPE_OPTION,
    ...PLACE_OPTIONS,
    {
      name: "run-timeout",
      value: "SECONDS",
      help: "for the program itself: then it is sent SIGTERM, 5 s later SIGKILL; exit status 255, code timeout",
    },
  ],
  notes: [
    "A key is needed: without one a guest opens nothing but its login prompt (sealtty connect).",
    "No shell, unlike ssh: one word for each argument of the program; for a shell's line: -- sh -c 'LINE'.",
    "--timeout is for the connection and the evidence, as everywhere; --run-timeout for the program.",
    "A directory that is not there: status 126, and the guest says so on stderr. A program that is not there: 127.",
    "Binary-clean; the end of standard input is passed on. SIGINT, SIGTERM and SIGHUP go to the program;",
    "the third of one kind ends sealtty. Exit status: the program's own, 128+n for signal n, 255 for sealtty's errors.",
  ],
  exits: "ssh-like",
  async run(input, services) {
    const { operands, rest: command } = input;
    if (command === undefined && operands.length > 1) throw usage(execCommand, "put -- before the command");
    const guestName = onlyGuest(execCommand, input);
    if (command === undefined || command.length === 0) throw usage(execCommand, "no command to run");
    if (input.has("tty") && input.has("no-tty")) throw usage(execCommand, "-t and -T exclude each other");
    if (input.has("tty") && input.has("no-stdin")) throw usage(execCommand, "-t and -n exclude each other");
    const request = { kind: "exec", command, ...placeOf(input, services) } as const;
    checkRequest(request); // before the guest is bothered
    const runFor = secondsOf(input, "run-timeout");
    if (input.has("tty")) return terminalCommand(guestName, request, input, services, runFor);
    const reporter = new Reporter(services, input);
    const reached = await reach(guestName, input, services, reporter, {
      key: true,
      shaping: obfuscationOf(input, "off"),
    });
    try {
      const guest = await authenticate(reached);
      const channel = await guest.openChannel(request);
      const { frozen } = reached.watch;
      const status = await runExec(channel, services, reporter, {
        withInput: !input.has("no-stdin"),
        frozen,
        runFor,
      });
      if (status === NOT_FOUND && /\s/.test(command[0] ?? "")) {
        reporter.say(
          `sealtty: the program's name holds a blank, and exec uses no shell: write each word by itself, or -- sh -c 'LINE'`,
        );
      }
      if (reporter.verbosity > 0) reporter.warnings(guest.verified.claims);
      return status;
    } finally {
      reached.explain.end();
      await reached.attested.close().catch(() => undefined);
    }
  },
};

/** @param how.frozen - the guest changed: ends it. @param how.runFor - ms. */
async function runExec(
  channel: Channel,
  services: Services,
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

/** Our standard input into the program's, then its end. @returns what stops it. */
function feed(channel: Channel, services: Services): () => void {
  const { stdin } = services;
  let stopped = false;
  let sending = Promise.resolve();
  const onData = (chunk: Uint8Array): void => {
    stdin.pause();
    sending = sending
      .then(() => channel.write(chunk))
      .then(
        () => {
          if (!stopped) stdin.resume();
        },
        () => undefined, // channel.exit tells
      );
  };
  // The end may come while the last bytes still wait for room.
  const onEnd = (): void => {
    void sending.then(() => channel.end());
  };
  stdin.on("data", onData);
  stdin.once("end", onEnd);
  stdin.once("error", onEnd); // a closed or unreadable stdin has nothing more to give
  return () => {
    stopped = true;
    stdin.off("data", onData);
    stdin.off("end", onEnd);
    stdin.off("error", onEnd);
    stdin.pause();
  };
}
