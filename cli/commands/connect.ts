// `sealtty connect`: this terminal becomes the guest's terminal.

import { SealttyError } from "../../protocol/errors.ts";
import { toHex } from "../../protocol/bytes.ts";
import { MAX_SCREEN_LINES } from "../../protocol/limits.ts";
import type { TerminalRequest } from "../../protocol/session/session-api.ts";
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
import { COMMON_OPTIONS, type Command, type Input, OBFUSCATE_OPTION, onlyGuest, usage } from "../options.ts";
import { RawTerminal } from "../raw-terminal.ts";
import { authenticate, obfuscationOf, reach } from "../reach.ts";
import { Reporter } from "../report.ts";
import type { Services } from "../services.ts";
import { SessionStore } from "../session-store.ts";
import { escapeOption, gapWords, runTerminal } from "../terminal-session.ts";

export const ESCAPE_OPTION = {
  name: "escape",
  short: "e",
  value: "CHAR",
  help: "escape character, after a newline: ~ (default), ^X, or none",
} as const;

export const connectCommand: Command = {
  name: "connect",
  summary: "this terminal becomes the guest's terminal",
  operands: "GUEST",
  options: [...COMMON_OPTIONS, OBFUSCATE_OPTION, ESCAPE_OPTION, ...SESSION_OPTIONS],
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
    return terminalCommand(onlyGuest(connectCommand, input), [], input, services);
  },
};

/** Also `exec -t`. @param command - empty for the user's shell. */
export async function terminalCommand(
  guestName: string,
  command: readonly string[],
  input: Input,
  services: Services,
): Promise<number> {
  const reporter = new Reporter(services, input);
  const escapeCharacter = escapeOption(input);
  const keep = keepOptions(input);
  const reached = await reach(guestName, input, services, reporter, {
    key: command.length > 0,
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
        : { kind: "shell", command, ...screen, environment: passedEnvironment(services.environment) };
    const attestation = { guest, watch: reached.watch };
    if (keep === undefined) {
      const channel = await guest.openChannel(request);
      const status = await runTerminal(channel, terminal, escapeCharacter, services, reporter, attestation);
      reporter.warnings(guest.verified.claims);
      return status;
    }
    const store = new SessionStore(reached.attested.context.guestStatic, services);
    const screenLines = terminal.hasScreen ? MAX_SCREEN_LINES : undefined;
    const { channel, remembered } = await openKept(guest, request, keep, store, screenLines);
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
      status = await runTerminal(channel, terminal, escapeCharacter, services, reporter, attestation, {
        session: channel,
        detachKeys,
      });
    } catch (error) {
      if (error instanceof SealttyError && error.code === "transport-lost")
        reporter.say(`sealtty: the session runs on in the guest; ${comeBack}`);
      if (error instanceof SealttyError && error.code === "session-gone") await store.forget(channel.session);
      throw error;
    }
    if (exited) await store.forget(channel.session);
    else if (status !== EXIT_OURS) reporter.say(`sealtty: detached from session ${id}; ${comeBack}`);
    reporter.warnings(guest.verified.claims);
    return status;
  } finally {
    reached.explain.end();
    await reached.attested.close().catch(() => undefined);
  }
}
