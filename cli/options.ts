// The command line: one table of options serves parsing and help.

import { parseArgs } from "node:util";
import { SealttyError } from "../protocol/errors.ts";
import { ENCODINGS, SETTINGS } from "./guest-settings.ts";
import type { Services } from "./services.ts";

export interface OptionSpec {
  readonly name: string;
  readonly short?: string;
  /** Name of its value in the help; absent: a switch. */
  readonly value?: string;
  readonly help: string;
  /**
   * All that its value may be, for completion; one that ends in "=" goes on. Absent: FILE and DIR complete to files and
   * directories, others to nothing.
   */
  readonly values?: readonly string[];
}

export const COMMON_OPTIONS = [
  {
    name: "policy",
    value: "FILE",
    help: "the owner's policy that the guest's evidence must meet (required)",
  },
  { name: "login", short: "l", value: "USER", help: "user in the guest; default: your local user name" },
  {
    name: "identity",
    short: "i",
    value: "FILE",
    help: "SSH key to authenticate with; without: the guest's login program asks who you are",
  },
  {
    name: "certificate",
    value: "FILE",
    help: "OpenSSH certificate for that key, or none; default: KEY-cert.pub beside it",
  },
  {
    name: "config",
    short: "F",
    value: "FILE",
    help: "in place of guests.toml in your configuration directory, which says what GUEST stands for",
  },
  {
    name: "option",
    short: "o",
    value: "KEY=VALUE",
    help: "in place of what guests.toml says, by its keys, e.g. user=root",
    values: ["address", ...Object.keys(SETTINGS)].map((key) => `${key}=`),
  },
  { name: "batch", help: "never ask: no passphrase, no login prompt; fail instead" },
  { name: "simulated", help: "accept simulated evidence, which proves nothing, where the policy names it" },
  {
    name: "collateral",
    value: "DIR",
    help: "certificates, CRLs and TCB info of your own, beside what the guest sends",
  },
  { name: "timeout", value: "SECONDS", help: "for connection and evidence; default 30" },
  {
    name: "encoding",
    value: "WHICH",
    help: "auto, binary (8-bit clean pipes) or armour (text lines); default auto",
    values: ENCODINGS,
  },
  { name: "json", help: "machine-readable: JSON lines for events and errors" },
  { name: "verbose", short: "v", help: "say more; twice: stack traces" },
  { name: "quiet", short: "q", help: "say only errors and security warnings" },
] as const satisfies readonly OptionSpec[];

/** Of commands that need a key: without one named, a default is taken. */
export const KEYED_OPTIONS: readonly OptionSpec[] = COMMON_OPTIONS.map((option) =>
  option.name === "identity"
    ? {
        ...option,
        help: "SSH key to authenticate with; default: those of ssh-agent, then those in ~/.ssh",
      }
    : option,
);

/** Of commands that carry a session. */
export const OBFUSCATE_OPTION = {
  name: "obfuscate",
  value: "HOW",
  help: "hide sizes and times from the host: strict, adaptive (default on a terminal) or off (default of exec)",
  values: ["strict", "adaptive", "off"],
} as const satisfies OptionSpec;

export const ESCAPE_OPTION = {
  name: "escape",
  short: "e",
  value: "CHAR",
  help: "escape character, after a newline: ~ (default), ^X, or none",
} as const satisfies OptionSpec;

export interface Command {
  readonly name: string;
  readonly summary: string;
  /** Behind the name, e.g. "GUEST -- COMMAND…". */
  readonly operands: string;
  /** The same, short enough for the list of all commands; absent: the operands. */
  readonly brief?: string;
  readonly options: readonly OptionSpec[];
  /** Lines below the options in `sealtty help NAME`. */
  readonly notes?: readonly string[];
  readonly hidden?: boolean;
  /** Exit statuses of this command for what is not its own answer. */
  readonly exits: "ssh-like" | "inspect-like";
  run(input: Input, services: Services): Promise<number>;
}

export interface Input {
  readonly operands: readonly string[];
  /** What stood behind `--`; undefined where there was none. */
  readonly rest: readonly string[] | undefined;
  text(name: string): string | undefined;
  /** Every value of an option that may come more than once, in their order. */
  texts(name: string): readonly string[];
  has(name: string): boolean;
  /** How often a switch was given. */
  count(name: string): number;
  /** Whether the command has this option at all. */
  knows(name: string): boolean;
  /** Where guests.toml and -o added to it: what the command line itself said. */
  readonly said?: Input;
  /** What the guest is called in guests.toml, where its address took the name's place among the operands. */
  readonly alias?: string;
}

/** @throws SealttyError `bad-config` on whatever the table does not know. */
export function parseInput(
  command: Pick<Command, "name" | "options"> & Partial<Pick<Command, "operands">>,
  args: readonly string[],
): Input {
  const split = args.indexOf("--");
  const own = split < 0 ? args : args.slice(0, split);
  const options: Record<string, { type: "string" | "boolean"; short?: string; multiple: true }> = {};
  for (const option of command.options) {
    options[option.name] = {
      type: option.value === undefined ? "boolean" : "string",
      multiple: true,
      ...(option.short === undefined ? {} : { short: option.short }),
    };
  }
  let values: Record<string, (string | boolean)[] | undefined>;
  let positionals: string[];
  try {
    ({ values, positionals } = parseArgs({ args: [...own], options, allowPositionals: true }));
  } catch (cause) {
    const words = (cause as Error).message.replaceAll("\n", " ");
    const message = words.split(". To specify")[0]?.replace(/\.$/, "");
    const next =
      command.operands?.includes("-- COMMAND") === true && split < 0
        ? `put -- before the command of the guest, as in: sealtty ${command.name} ${command.operands}`
        : `see: sealtty help ${command.name}`;
    throw new SealttyError("bad-config", `${message}; ${next}`, { cause });
  }
  return {
    operands: positionals,
    rest: split < 0 ? undefined : args.slice(split + 1),
    text(name) {
      const last = values[name]?.at(-1);
      return typeof last === "string" ? last : undefined;
    },
    texts: (name) => (values[name] ?? []).filter((value) => typeof value === "string"),
    has: (name) => values[name] !== undefined,
    count: (name) => values[name]?.length ?? 0,
    knows: (name) => Object.hasOwn(options, name),
  };
}

/** @throws SealttyError `bad-config` where there is not exactly one operand. */
export function onlyGuest(command: Pick<Command, "name" | "operands">, input: Input): string {
  const [guest, ...extra] = input.operands;
  if (guest === undefined || guest === "") throw usage(command, "GUEST is missing");
  if (extra.length > 0) throw usage(command, `unexpected ${JSON.stringify(extra[0])}`);
  return guest;
}

export function usage(command: Pick<Command, "name" | "operands">, problem: string): SealttyError {
  return new SealttyError("bad-config", `${problem}; usage: sealtty ${command.name} ${command.operands}`);
}
