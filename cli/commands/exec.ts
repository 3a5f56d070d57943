// `sealtty exec`: one program in the guest, with stdin, stdout, stderr and exit status apart.

import { SealttyError } from "../../protocol/errors.ts";
import { MAX_COMMAND_ARGUMENTS, MAX_COMMAND_BYTES } from "../../protocol/limits.ts";
import { utf8 } from "../../protocol/bytes.ts";
import type { Channel } from "../../protocol/session/channel-api.ts";
import { passedEnvironment } from "../environment.ts";
import { EXIT_OUTPUT_CLOSED, shellStatus, signalStatus } from "../exit-status.ts";
import { COMMON_OPTIONS, type Command, OBFUSCATE_OPTION, onlyGuest, usage } from "../options.ts";
import { OutputClosed, pump } from "../output.ts";
import { authenticate, obfuscationOf, reach } from "../reach.ts";
import { Reporter } from "../report.ts";
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
            help: "SSH key to authenticate with; default: those of ssh-agent, then those in ~/.ssh",
          }
        : option,
    ),
    OBFUSCATE_OPTION,
    { name: "no-stdin", short: "n", help: "the program's standard input is empty" },
    { name: "tty", short: "t", help: "give it a terminal, as connect does" },
    ESCAPE_OPTION,
  ],
  notes: [
    "A key is needed: without one a guest opens nothing but its login prompt (sealtty connect).",
    "No shell, unlike ssh: one word for each argument of the program; for a shell's line: -- sh -c 'LINE'.",
    "Binary-clean; the end of standard input is passed on. SIGINT, SIGTERM and SIGHUP go to the program;",
    "the third of one kind ends sealtty. Exit status: the program's own, 128+n for signal n, 255 for sealtty's errors.",
  ],
  exits: "ssh-like",
  async run(input, services) {
    const { operands, rest: command } = input;
    if (command === undefined && operands.length > 1) throw usage(execCommand, "put -- before the command");
    const guestName = onlyGuest(execCommand, input);
    if (command === undefined || command.length === 0) throw usage(execCommand, "no command to run");
    checkCommand(command);
    if (input.has("tty")) {
      if (input.has("no-stdin")) throw usage(execCommand, "-t and -n exclude each other");
      return terminalCommand(guestName, command, input, services);
    }
    const reporter = new Reporter(services, input);
    const reached = await reach(guestName, input, services, reporter, {
      key: true,
      shaping: obfuscationOf(input, "off"),
    });
    try {
      const guest = await authenticate(reached);
      const environment = passedEnvironment(services.environment);
      const channel = await guest.openChannel({ kind: "exec", command, environment });
      const status = await runExec(channel, !input.has("no-stdin"), services, reporter, reached.watch.frozen);
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

/** @throws SealttyError `bad-config`: better here than as a guest's refusal. */
function checkCommand(command: readonly string[]): void {
  let bytes = 0;
  for (const argument of command) bytes += utf8(argument).length + 1;
  if (command.length > MAX_COMMAND_ARGUMENTS || bytes > MAX_COMMAND_BYTES) {
    throw new SealttyError(
      "bad-config",
      `the command is too long: at most ${MAX_COMMAND_ARGUMENTS} words and ${MAX_COMMAND_BYTES} bytes; send data through stdin`,
    );
  }
  if (command.some((argument) => argument.includes("\0"))) {
    throw new SealttyError("bad-config", "a word of the command holds a NUL, which no program can be given");
  }
}

async function runExec(
  channel: Channel,
  withInput: boolean,
  services: Services,
  reporter: Reporter,
  frozen: Promise<SealttyError>,
): Promise<number> {
  const changed = frozen.then((error): never => {
    channel.hangUp();
    throw error;
  });
  const offs: (() => void)[] = [];
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
      reporter.event("exit", { ...exit });
      return shellStatus(exit);
    },
    (error: unknown) => {
      if (!(error instanceof OutputClosed)) throw error;
      channel.hangUp();
      return EXIT_OUTPUT_CLOSED;
    },
  );
  if (withInput) offs.push(feed(channel, services));
  else channel.end();
  try {
    return await Promise.race([finished, interrupted, changed]);
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
