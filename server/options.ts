// The options of sealttyd, `sealttyd setup` and `sealttyd doctor`: one table for each, which is what is parsed, printed by --help, and in sealttyd(8).

import { parseArgs } from "node:util";
import { DEFAULT_CONFIG_FILE } from "./config.ts";
import { SEVERITIES } from "./doctor/check.ts";

export interface DaemonOption {
  readonly name: string;
  readonly short?: string;
  /** Name of what it takes; absent: it is a flag. */
  readonly value?: string;
  /** May be given several times. */
  readonly multiple?: true;
  readonly help: string;
}

export interface DaemonCommand {
  /** What stands behind `sealttyd`, the operands and options in short. */
  readonly usage: readonly string[];
  readonly summary: string;
  readonly options: readonly DaemonOption[];
  readonly exits: readonly (readonly [status: string, words: string])[];
}

const HELP: DaemonOption = { name: "help", short: "h", help: "print this" };

export const SERVE = {
  usage: [
    "[--config FILE] [--check [--probe | --initramfs]] [-v]",
    "setup [--help] …",
    "doctor [--help] …",
    "provision-wait",
    "--give-back-console",
    "man [8|5]",
  ],
  summary: "The encrypted guest console's server, to be run in the guest.",
  options: [
    { name: "config", value: "FILE", help: `configuration (default ${DEFAULT_CONFIG_FILE})` },
    {
      name: "check",
      help: "only check the configuration: exit status 0 good, 1 not; says as well what it names and is not here",
    },
    {
      name: "probe",
      help: "with --check: really ask this machine for evidence, once; exit status 1 where it gives none",
    },
    {
      name: "initramfs",
      help: "with --check: whether it will do in an initramfs; prints what goes into one, a line each: program PATH, file PATH or user NAME",
    },
    {
      name: "hand-over",
      help: "when stopped, tell clients to connect again: another sealttyd of this guest takes over (in an initramfs)",
    },
    {
      name: "give-back-console",
      help: 'give the kernel\'s console back what a sealttyd took that has ended, however that was: with [pipe] type = "framebuffer", screen and keys',
    },
    { name: "verbose", short: "v", help: "log more" },
    { name: "version", help: "print the version" },
    HELP,
  ],
  exits: [
    ["0", "stopped by a signal"],
    ["2", "usage"],
    ["255", "it could not start or go on (the log says why)"],
  ],
} as const satisfies DaemonCommand;

export const SETUP = {
  usage: [
    "setup [--evidence TYPE] [--port NAME | --tty DEVICE | --screen] [--root DIR] [--dry-run]",
    "setup --initramfs | --provision | --recovery …",
    "setup --remove [--root DIR] [--dry-run]",
  ],
  summary:
    "Writes a configuration for what this machine has, and has systemd start sealttyd from now on. Asks nothing, says what it did, " +
    "and never changes a file that somebody edited.",
  options: [
    {
      name: "evidence",
      value: "TYPE",
      help: "sev-snp, tdx, azure or tpm; without it this machine's devices are asked, the strongest first",
    },
    {
      name: "port",
      value: "NAME",
      help: "virtio port that the host carries the console by; without it sealtty.0, or the only one whose name begins with sealtty",
    },
    { name: "tty", value: "DEVICE", help: "a terminal device in place of a port, such as /dev/hvc0" },
    {
      name: "screen",
      help: "the machine's screen and keys, where the host has nothing but a VNC console (docs/vnc-guest.md)",
    },
    {
      name: "provision",
      help: "have the first boot wait for `sealtty provision`, and cloud-init take that seed and no other (docs/provision.md)",
    },
    {
      name: "recovery",
      help: "have rescue and emergency mode ask nothing on the consoles, which are the host's: sealttyd is the way in (docs/recovery.md)",
    },
    {
      name: "root",
      value: "DIR",
      help: "another machine's files, such as an image that is being made: nothing is asked or started, and --evidence is needed",
    },
    {
      name: "initramfs",
      help: "a configuration for the initramfs, too, to unlock the root disk; update-initramfs, or dracut, then puts it in",
    },
    { name: "remove", help: "undoes what setup did, and nothing else" },
    { name: "dry-run", short: "n", help: "only says what would be done" },
    HELP,
  ],
  exits: [
    ["0", "done, or it was so already"],
    ["1", "refused, with the reason, and nothing changed; or with --remove, something was edited and stays"],
    ["2", "usage"],
    ["255", "it failed on the way (what was done is recorded: --remove undoes it)"],
  ],
} as const satisfies DaemonCommand;

export const DOCTOR = {
  usage: [
    "doctor [--root DIR] [--threshold SEVERITY] [--accept ID]… [--json]",
    "doctor --fix [--dry-run] [--lock-out] …",
    "doctor --undo [--dry-run] [--root DIR] [--json]",
  ],
  summary:
    "Finds ways in which this guest, or an image of one, tells its host something or obeys it, and says how to close them.",
  options: [
    {
      name: "root",
      value: "DIR",
      help: "look at the system below this directory; default: the running one",
    },
    {
      name: "threshold",
      value: "SEVERITY",
      help: `findings below it do not count for the exit status: ${SEVERITIES.join(", ")} (default low: all count)`,
    },
    {
      name: "accept",
      value: "ID",
      multiple: true,
      help: "a finding that is meant so: shown, not counted, not mended; may be given several times",
    },
    { name: "fix", help: "mend what can be mended safely, keep what was there, and look again" },
    {
      name: "lock-out",
      help: "with --fix: close consoles, too, where no enabled sealttyd is left as a way in",
    },
    { name: "undo", help: "take back what --fix did" },
    { name: "dry-run", short: "n", help: "with --fix or --undo: only say what would be changed" },
    { name: "json", help: "one JSON object a line (docs/doctor.md)" },
    { name: "list", help: "only list the checks" },
    HELP,
  ],
  exits: [
    ["0", "nothing that counts was found"],
    ["1", "something was, or could not be looked at or mended"],
    ["2", "usage"],
  ],
} as const satisfies DaemonCommand;

export const PROVISION_WAIT = {
  usage: ["provision-wait [--config FILE]"],
  summary:
    "Holds cloud-init back until the owner's seed is there, and lets it run only then. systemd starts it (sealtty-provision.service), where setup --provision had it do so.",
  options: [{ name: "config", value: "FILE", help: `configuration (default ${DEFAULT_CONFIG_FILE})` }, HELP],
  exits: [
    ["0", "cloud-init may run"],
    [
      "1",
      "it stays off for this boot: no seed came in time, or it could not be trusted (the log says which)",
    ],
    ["2", "usage"],
  ],
} as const satisfies DaemonCommand;

type NameOf<C extends DaemonCommand> = C["options"][number]["name"];

/** Options as they were given. */
export interface Given<Name extends string> {
  has(name: Name): boolean;
  /** @returns undefined where it was not given. */
  text(name: Name): string | undefined;
  /** Of an option that may be given several times. */
  texts(name: Name): readonly string[];
}

/** @throws Error whose message says, for people, what is wrong with the arguments. */
export function givenOptions<C extends DaemonCommand>(command: C, args: readonly string[]): Given<NameOf<C>> {
  const options: Record<string, { type: "string" | "boolean"; short?: string; multiple?: boolean }> = {};
  for (const { name, short, value, multiple } of command.options) {
    options[name] = {
      type: value === undefined ? "boolean" : "string",
      ...(short === undefined ? {} : { short }),
      ...(multiple === undefined ? {} : { multiple }),
    };
  }
  const { values } = parseArgs({ args: [...args], options });
  return {
    has: (name) => values[name] !== undefined,
    text(name) {
      const value = values[name];
      return typeof value === "string" ? value : undefined;
    },
    texts(name) {
      const value = values[name];
      return Array.isArray(value) ? value.filter((each) => typeof each === "string") : [];
    },
  };
}

/** @returns what `--root` names, by default "/". @throws Error: an empty one would mean the current directory. */
export function rootOf(given: Given<"root">): string {
  const root = given.text("root") ?? "/";
  if (root === "") throw new Error("--root takes a directory");
  return root;
}

const WIDTH = 112;

/** What --help prints. */
export function usageText(command: DaemonCommand): string {
  const spelled = command.options.map(spelling);
  const column = Math.max(...spelled.map(({ length }) => length)) + 4;
  const rows = command.options.map(({ help }, index) => {
    const [first = "", ...others] = folded(help, WIDTH - column);
    const head = `  ${(spelled[index] ?? "").padEnd(column - 2)}${first}`;
    return [head, ...others.map((line) => `${" ".repeat(column)}${line}`)].join("\n");
  });
  const [first, ...more] = command.usage;
  const exits = command.exits.map(([status, words]) => `${status} ${words}`).join("; ");
  return [
    `Usage: sealttyd ${first ?? ""}`,
    ...more.map((line) => `       sealttyd ${line}`),
    "",
    ...folded(command.summary, WIDTH),
    "",
    ...rows,
    "",
    ...folded(`Exit status: ${exits}.`, WIDTH),
    "",
  ].join("\n");
}

export function spelling({ name, short, value }: DaemonOption): string {
  const long = `--${name}${value === undefined ? "" : ` ${value}`}`;
  return short === undefined ? long : `-${short}, ${long}`;
}

function folded(words: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of words.split(" ")) {
    const last = lines.at(-1);
    if (last === undefined || last.length + 1 + word.length > width) lines.push(word);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return lines;
}
