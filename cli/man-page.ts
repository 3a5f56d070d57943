// sealtty(1) as roff, for man(7): made from the table of commands, so that no option is missing in it.

import { bold, escaped, italic, paragraph, sentence, tagged, text } from "../node/roff.ts";
import { FORWARD_OPTIONS, SETTINGS } from "./guest-settings.ts";
import { HOST_SETTINGS } from "./hosts/names.ts";
import { COMMON_OPTIONS, type Command, OBFUSCATE_OPTION, type OptionSpec } from "./options.ts";

/** Of the last change to the words in this file. */
const DATE = "2026-11-26";

const ADDRESSES = [
  ["ws://HOST:PORT/, wss://HOST/…", "QEMU's web socket, or a relay"],
  ["tcp:HOST:PORT, unix:PATH, tty:PATH", "a socket of the VMM's; a serial line"],
  ["vsock+unix:PATH:PORT", "Firecracker, Cloud Hypervisor"],
  ["vnc+unix:PATH, vnc+tcp:HOST:PORT, vnc+ws://HOST:PORT/", "the host's VNC server"],
  ["proxmox:HOST/NODE/NUMBER", "Proxmox VE"],
  ["kubevirt:NAMESPACE/NAME", "KubeVirt"],
  ["nova:SERVER-ID, nova:wss://HOST:6083/", "OpenStack Nova"],
  ["incus:INSTANCE, incus:PROJECT/INSTANCE", "Incus"],
] as const;

const FILES = [
  ["$XDG_CONFIG_HOME/sealtty/guests.toml, or ~/.config/sealtty/guests.toml", "names for guests: see above"],
  ["$XDG_STATE_HOME/sealtty/seen, or ~/.local/state/sealtty/seen", "what guests were like; may be deleted"],
  ["$XDG_STATE_HOME/sealtty/sessions", "sessions to come back to, with their secrets"],
  ["$XDG_RUNTIME_DIR/sealtty, or /tmp/sealtty-UID", "sockets of kept connections: sealtty master"],
  ["~/.ssh/config", "blocks that sealtty config-ssh wrote, each between two lines that say so"],
  ["$XDG_CACHE_HOME/sealtty/collateral, or ~/.cache/sealtty/collateral", "of sealtty collateral fetch"],
] as const;

const ENVIRONMENT = [
  ["SSH_AUTH_SOCK", "the ssh-agent to ask for keys"],
  ["SSH_ASKPASS, SSH_ASKPASS_REQUIRE", "as for ssh: the program that asks for a key's passphrase"],
  ["NO_COLOR, FORCE_COLOR", "no colours, or colours even where there is no terminal; NO_COLOR counts first"],
  [
    "LANG, LC_*, COLORTERM, TERM",
    "are passed to the guest's programs, and nothing else is unless it was asked for",
  ],
] as const;

export function manualPage(commands: readonly Command[], version: string): string {
  const shown = commands.filter((command) => command.hidden !== true);
  const lines = [
    `.TH SEALTTY 1 "${DATE}" "sealtty ${version}" "User Commands"`,
    ".SH NAME",
    "sealtty \\- encrypted console of confidential VMs",
    ".SH SYNOPSIS",
    ...shown.flatMap((command) => [...synopsis(command), ".br"]),
    bold("sealtty help"),
    `[${italic("COMMAND")}]`,
    ".br",
    bold("sealtty \\-\\-version"),
    bold("[\\-\\-json]"),
    ".SH DESCRIPTION",
    ...text(
      "The console of a virtual machine ends in its host, which reads every password and can type. sealtty talks to sealttyd in " +
        "the guest over that same console: encrypted end to end, and only after the guest's evidence of what it is and what it " +
        "runs was appraised here, against a policy of yours. Without a policy nothing is opened.",
    ),
    ".SH GUEST",
    ...text(
      "A name of guests.toml, which stands for an address and for options that go with it, or an address itself:",
    ),
    ...tagged(ADDRESSES),
    ".SH COMMANDS",
    ...shown.flatMap(commandSection),
    ".SH COMMON OPTIONS",
    ...[...COMMON_OPTIONS, OBFUSCATE_OPTION].flatMap(optionEntry),
    ".SH GUESTS.TOML",
    ...text(
      "[guests.NAME] with address and policy below it says what NAME stands for; [defaults] counts for every guest. Paths are " +
        "relative to the file. An option counts first, then -o KEY=VALUE, then the guest's lines, then the defaults. Unknown " +
        "keys are refused. These keys go with the options they are named for:",
    ),
    ...tagged(settingRows()),
    ".SH EXIT STATUS",
    ...text(
      "That of the program in the guest, or 128+n where signal n ended it; 255 for anything of sealtty's own, whose code " +
        "stands on standard error. Commands that judge without a session (inspect, verify, policy, instance): 0 good, 1 " +
        "refused, 2 usage, 255 no connection. Each command's section says what is different for it.",
    ),
    ".SH ENVIRONMENT",
    ...tagged([...ENVIRONMENT, [hostVariables(), "what a host's API wants to know: docs/hosts.md"]]),
    ".SH FILES",
    ...tagged(FILES),
    ".SH SEE ALSO",
    `${bold("ssh")}(1),`,
    `${bold("ssh\\-agent")}(1)`,
  ];
  return `${lines.join("\n")}\n`;
}

function synopsis({ name, operands }: Command): string[] {
  return [bold(`sealtty ${escaped(name)}`), ...(operands === "" ? [] : text(operands))];
}

function commandSection(command: Command): string[] {
  const { name, summary, operands, options, notes } = command;
  const common = options.filter(isCommon);
  const own = options.filter((option) => !isCommon(option));
  const list = common.map(({ name: each, short }) => (short === undefined ? `--${each}` : `-${short}`));
  return [
    `.SS sealtty ${escaped(`${name} ${operands}`.trimEnd())}`,
    ...text(sentence(summary)),
    ...own.flatMap(optionEntry),
    ...(list.length === 0 ? [] : paragraph(`Common options: ${list.join(", ")}.`)),
    ...joined(notes ?? []).flatMap(paragraph),
  ];
}

function isCommon(option: OptionSpec): boolean {
  return [...COMMON_OPTIONS, OBFUSCATE_OPTION].some(
    ({ name, help }) => name === option.name && help === option.help,
  );
}

function optionEntry(option: OptionSpec): string[] {
  const { name, short, value, help } = option;
  const spellings = [...(short === undefined ? [] : [`-${short}`]), `--${name}`];
  const taken = value === undefined ? "" : ` ${italic(escaped(value))}`;
  return [
    ".TP",
    spellings.map((spelling) => `${bold(escaped(spelling))}${taken}`).join(", "),
    ...text(sentence(help)),
  ];
}

function settingRows(): (readonly [string, string])[] {
  return Object.entries(SETTINGS).map(([key, { option, words }]) => {
    const letters = Object.keys(FORWARD_OPTIONS).map((letter) => `-${letter}`);
    return [key, `${option === "" ? letters.join(", ") : `--${option}`}: ${words}`];
  });
}

function hostVariables(): string {
  const prefixes = Object.values(HOST_SETTINGS).map(({ prefix }) => `${prefix}_*`);
  return prefixes.join(", ");
}

/** A note that goes on in the next one is one with it. */
function joined(notes: readonly string[]): string[] {
  const whole: string[] = [];
  for (const note of notes) {
    const before = whole.at(-1);
    if (before !== undefined && /[,;]$/.test(before)) whole[whole.length - 1] = `${before} ${note}`;
    else whole.push(note);
  }
  return whole;
}
