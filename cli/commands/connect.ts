// `sealtty connect`: this terminal becomes the guest's terminal.

import type { ChannelRequest } from "../../protocol/session/api.ts";
import { passedEnvironment, terminalName } from "../environment.ts";
import { COMMON_OPTIONS, type Command, type Input, onlyGuest, usage } from "../options.ts";
import { RawTerminal } from "../raw-terminal.ts";
import { authenticate, reach } from "../reach.ts";
import { Reporter } from "../report.ts";
import type { Services } from "../services.ts";
import { escapeOption, runTerminal } from "../terminal-session.ts";

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
  options: [...COMMON_OPTIONS, ESCAPE_OPTION],
  notes: [
    "Escapes, after a newline: ~. ends, ~^Z suspends, ~A asks for evidence again, ~G goes on after a change, ~? helps, ~~ sends ~.",
    "With -i your shell starts; without a key the guest's own login asks, inside the encrypted channel.",
    "Exit status: the shell's own, 128+n for signal n, 255 for sealtty's errors and ~.",
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
  const reached = await reach(guestName, input, services, reporter, { key: command.length > 0 });
  try {
    const guest = await authenticate(reached);
    const terminal = new RawTerminal(services);
    if (!terminal.hasKeyboard)
      reporter.say("sealtty: standard input is no terminal: its bytes are sent as they are");
    const screen = { term: terminalName(services.environment), ...terminal.size };
    const request: ChannelRequest =
      reached.identity === undefined && command.length === 0
        ? { kind: "login", ...screen }
        : { kind: "shell", command, ...screen, environment: passedEnvironment(services.environment) };
    const channel = await guest.openChannel(request);
    const status = await runTerminal(channel, terminal, escapeCharacter, services, reporter, {
      guest,
      watch: reached.watch,
    });
    reporter.warnings(guest.verified.claims); // as the last evidence has them
    return status;
  } finally {
    reached.explain.end();
    await reached.attested.close().catch(() => undefined);
  }
}
