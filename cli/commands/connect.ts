// `sealtty connect`: this terminal becomes the guest's terminal.

import { SealttyError } from "../../protocol/errors.ts";
import { toHex } from "../../protocol/bytes.ts";
import { MAX_SCREEN_LINES } from "../../protocol/limits.ts";
import type { TerminalRequest } from "../../protocol/session/session-api.ts";
import type { ProgramPlace } from "../../protocol/session/channel-api.ts";
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
import { authenticate, reach } from "../reach.ts";
import { Reporter } from "../report.ts";
import { RunLimit } from "../run-limit.ts";
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
    const request = { command: [], environment: passedEnvironment(services.environment) };
    return terminalCommand(onlyGuest(connectCommand, input), request, input, services);
  },
};

/** Also `exec -t`. @param program.command - empty for the user's shell. @param runFor - ms that it may run. */
export async function terminalCommand(
  guestName: string,
  program: ProgramPlace & { readonly command: readonly string[] },
  input: Input,
  services: Services,
  runFor?: number,
): Promise<number> {
  const reporter = new Reporter(services, input);
  escapeOption(input); // before a file is made: a wrong option leaves nothing behind
  keepOptions(input);
  const recordTo = input.text("record");
  const recording = recordTo === undefined ? undefined : new RecordingFile(recordTo, services, reporter);
  try {
    return await recordedCommand(guestName, program, input, services, { reporter, recording, runFor });
  } finally {
    recording?.close();
  }
}

async function recordedCommand(
  guestName: string,
  program: ProgramPlace & { readonly command: readonly string[] },
  input: Input,
  services: Services,
  {
    reporter,
    recording,
    runFor,
  }: {
    readonly reporter: Reporter;
    readonly recording: RecordingFile | undefined;
    readonly runFor: number | undefined;
  },
): Promise<number> {
  const { command } = program;
  const escapeCharacter = escapeOption(input);
  const keep = keepOptions(input);
  const reached = await reach(guestName, input, services, reporter, {
    key: command.length > 0 || reporter.batch, // else the guest's login program would ask
    shaping: obfuscationOf(input, "adaptive"),
  });
  try {
    const guest = await authenticate(reached);
    const terminal = new RawTerminal(services);
    if (!terminal.hasKeyboard)
      reporter.say("sealtty: standard input is no terminal: its bytes are sent as they are");
    const screen = { term: terminalName(services.environment), ...terminal.size };
    const request: TerminalRequest =
      reached.identity === undefined && command.length === 0
        ? { kind: "login", ...screen }
        : { ...program, kind: "shell", ...screen };
    const attestation = { guest, watch: reached.watch };
    if (keep === undefined) {
      const channel = await guest.openChannel(request);
      recording?.begin(screen);
      const limit = runFor === undefined ? undefined : new RunLimit(channel, services.clock, runFor);
      const running = runTerminal(channel, terminal, escapeCharacter, services, reporter, {
        attestation,
        recording,
      });
      const status = await (limit === undefined ? running : Promise.race([running, limit.givenUp])).finally(
        () => limit?.stop(),
      );
      if (limit?.error !== undefined) throw limit.error;
      reporter.warnings(guest.verified.claims);
      return status;
    }
    const store = new SessionStore(reached.attested.context.guestStatic, services);
    const screenLines = terminal.hasScreen ? MAX_SCREEN_LINES : undefined;
    const { channel, remembered } = await openKept(guest, request, keep, store, screenLines);
    recording?.begin(screen);
    const id = shortId(channel.session.id);
    const { mode, lost } = channel;
    reporter.event("session", { id: toHex(channel.session.id), mode, lost, remembered });
    reporter.say(`sealtty: session ${id}${mode === "read-only" ? ", read-only" : ""}`);
    if (!remembered) reporter.warn(notRememberedWords(channel.session, store));
    if (lost > 0) reporter.say(gapWords(lost));
    const { detachKeys } = keep;
    const comeBack =
      remembered || channel.session.secret === undefined
        ? `come back with: ${comeBackCommand(guestName, id, input)}`
        : "nobody can come back to it, because its secret could not be kept";
    let status: number;
    let exited = false;
    channel.exit.then(
      () => {
        exited = true;
      },
      () => undefined,
    );
    try {
      status = await runTerminal(channel, terminal, escapeCharacter, services, reporter, {
        attestation,
        recording,
        kept: { session: channel, detachKeys },
      });
    } catch (error) {
      if (error instanceof SealttyError && error.code === "transport-lost")
        reporter.say(`sealtty: the session runs on in the guest; ${comeBack}`);
      if (error instanceof SealttyError && error.code === "session-gone") await store.forget(channel.session);
      throw error;
    }
    if (exited) await store.forget(channel.session);
    else if (status !== EXIT_OURS) {
      reporter.event("detached", { id: toHex(channel.session.id) });
      reporter.say(`sealtty: detached from session ${id}; ${comeBack}`);
    }
    reporter.warnings(guest.verified.claims);
    return status;
  } finally {
    reached.explain.end();
    await reached.attested.close().catch(() => undefined);
  }
}
