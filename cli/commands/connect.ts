// `sealtty connect`: this terminal becomes the guest's terminal.

import { SealttyError } from "../../protocol/errors.ts";
import type { ShellOptions } from "../api/types.ts";
import { passedEnvironment, terminalName } from "../environment.ts";
import { EXIT_OURS } from "../exit-status.ts";
import {
  comeBackCommand,
  keepOptions,
  notRememberedWords,
  openKept,
  SESSION_OPTIONS,
  shortId,
} from "../kept-session.ts";
import {
  COMMON_OPTIONS,
  type Command,
  ESCAPE_OPTION,
  type Input,
  OBFUSCATE_OPTION,
  onlyGuest,
  usage,
} from "../options.ts";
import { RawTerminal } from "../raw-terminal.ts";
import { obfuscationOf } from "../option-values.ts";
import { RecordingFile } from "../recording-file.ts";
import { enter, reach } from "../reach.ts";
import { Reporter } from "../report.ts";
import type { Services } from "../services.ts";
import { SessionStore } from "../session-store.ts";
import { escapeOption, gapWords, runTerminal } from "../terminal-session.ts";

export const connectCommand: Command = {
  name: "connect",
  summary: "this terminal becomes the guest's terminal",
  operands: "GUEST",
  options: [
    ...COMMON_OPTIONS,
    OBFUSCATE_OPTION,
    ESCAPE_OPTION,
    ...SESSION_OPTIONS,
    {
      name: "record",
      value: "FILE",
      help: "record what the terminal shows in a new file, as asciicast v3 (asciinema play FILE)",
    },
  ],
  notes: [
    "Escapes, after a newline: ~. ends, ~^Z suspends, ~A asks for evidence again, ~G goes on after a change, ~? helps, ~~ sends ~.",
    "With --keep or --attach: ~d detaches, the session runs on; so it does when this terminal is closed or the connection lost.",
    "Where standard input is no terminal its end is ^D in the guest, again and again: connect GUEST </dev/null ends a shell, or a login.",
    "With -i your shell starts; without a key the guest's own login asks, inside the encrypted channel.",
    "Exit status: the shell's own, 128+n for signal n, 0 after detaching (with --read-only ~. too), 255 for sealtty's errors and ~.",
  ],
  exits: "ssh-like",
  async run(input, services) {
    if (input.rest !== undefined)
      throw usage(connectCommand, "connect takes no command: use exec GUEST -- COMMAND");
    const shell = { env: passedEnvironment(services.environment) };
    return terminalCommand(onlyGuest(connectCommand, input), shell, input, services);
  },
};

/** What runs on the terminal: without a command the user's shell, or where no key was named the guest's login. */
type Program = Pick<ShellOptions, "command" | "env" | "cwd" | "timeout">;

/** Also `exec -t`. */
export async function terminalCommand(
  guestName: string,
  program: Program,
  input: Input,
  services: Services,
): Promise<number> {
  const reporter = new Reporter(services, input);
  escapeOption(input); // before a file is made: a wrong option leaves nothing behind
  keepOptions(input);
  const recordTo = input.text("record");
  const recording = recordTo === undefined ? undefined : new RecordingFile(recordTo, services, reporter);
  try {
    return await recordedCommand(guestName, program, input, services, { reporter, recording });
  } finally {
    recording?.close();
  }
}

async function recordedCommand(
  guestName: string,
  program: Program,
  input: Input,
  services: Services,
  { reporter, recording }: { readonly reporter: Reporter; readonly recording: RecordingFile | undefined },
): Promise<number> {
  const escapeCharacter = escapeOption(input);
  const keep = keepOptions(input);
  const reached = await reach(guestName, input, services, reporter, {
    key: program.command !== undefined || reporter.batch, // else the guest's login program would ask
    shaping: obfuscationOf(input, "adaptive"),
  });
  try {
    const guest = await enter(reached);
    const terminal = new RawTerminal(services);
    if (!terminal.hasKeyboard)
      reporter.say("sealtty: standard input is no terminal: its bytes are sent as they are");
    const screen = { term: terminalName(services.environment), ...terminal.size };
    const shell: ShellOptions =
      reached.identity === undefined && program.command === undefined
        ? { ...screen, login: true }
        : { ...screen, ...program };
    const attestation = { watch: reached.watch, askAgain: () => guest.reattest() };
    if (keep === undefined) {
      const opened = await guest.shell(shell);
      recording?.begin(screen);
      const status = await runTerminal(opened, terminal, escapeCharacter, services, reporter, {
        attestation,
        recording,
      });
      reporter.warnings(guest.claims);
      return status;
    }
    const store = new SessionStore(guest.key, services);
    const kept = await openKept(guest, shell, keep, store, terminal.hasScreen);
    const { terminal: opened, remembered } = kept;
    const { session, mode, lost } = opened;
    recording?.begin(screen);
    const id = shortId(session.id);
    reporter.event("session", { id: session.id, mode, lost, remembered });
    reporter.say(`sealtty: session ${id}${mode === "read-only" ? ", read-only" : ""}`);
    if (!remembered) reporter.warn(notRememberedWords(session, store));
    if (lost > 0) reporter.say(gapWords(lost));
    const { detachKeys } = keep;
    const comeBack =
      remembered || session.secret === undefined
        ? `come back with: ${comeBackCommand(guestName, id, input)}`
        : "nobody can come back to it, because its secret could not be kept";
    let status: number;
    let exited = false;
    opened.exit.then(
      () => {
        exited = true;
      },
      () => undefined,
    );
    try {
      status = await runTerminal(opened, terminal, escapeCharacter, services, reporter, {
        attestation,
        recording,
        kept: { terminal: opened, news: kept.news, detachKeys },
      });
    } catch (error) {
      if (error instanceof SealttyError && error.code === "transport-lost")
        reporter.say(`sealtty: the session runs on in the guest; ${comeBack}`);
      if (error instanceof SealttyError && error.code === "session-gone") await store.forget(session);
      throw error;
    }
    if (exited) await store.forget(session);
    else if (status !== EXIT_OURS) {
      reporter.event("detached", { id: session.id });
      reporter.say(`sealtty: detached from session ${id}; ${comeBack}`);
    }
    reporter.warnings(guest.claims);
    return status;
  } finally {
    await reached.end();
  }
}
