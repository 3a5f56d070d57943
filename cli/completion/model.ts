// What can stand where on a command line, read off the table of commands: the shells' scripts are made from it.

import type { Command, OptionSpec } from "../options.ts";

/** What completes one word. */
export interface Words {
  /** These words themselves. One that ends in "=" wants more behind it. */
  readonly fixed: readonly string[];
  /** Names of guests.toml. */
  readonly guests: boolean;
  /** The same with a colon behind: GUEST:PATH. */
  readonly guestPaths: boolean;
  readonly files: boolean;
  readonly directories: boolean;
  /** Names of commands. */
  readonly commands: boolean;
}

export interface OptionModel {
  /** "--login", and "-l" where there is one. */
  readonly spellings: readonly string[];
  readonly help: string;
  /** Name of its value; undefined: a switch. */
  readonly value: string | undefined;
  readonly words: Words;
}

export interface CommandModel {
  readonly name: string;
  readonly summary: string;
  readonly options: readonly OptionModel[];
  readonly first: Words;
  readonly others: Words;
}

const NOTHING: Words = {
  fixed: [],
  guests: false,
  guestPaths: false,
  files: false,
  directories: false,
  commands: false,
};

/** Those that are not hidden, and `help`. */
export function completionModel(commands: readonly Command[]): CommandModel[] {
  const shown = commands.filter((command) => command.hidden !== true);
  const help = {
    name: "help",
    summary: "all commands, or one with its options",
    options: [],
    first: { ...NOTHING, commands: true },
    others: NOTHING,
  };
  return [...shown.map(commandModel), help];
}

function commandModel({ name, summary, operands, options }: Command): CommandModel {
  return { name, summary, options: options.map(optionModel), ...operandModel(operands) };
}

function optionModel(option: OptionSpec): OptionModel {
  const { name, short, value, help } = option;
  return {
    spellings: [...(short === undefined ? [] : [`-${short}`]), `--${name}`],
    help,
    value,
    words: {
      ...NOTHING,
      fixed: option.values ?? [],
      files: value === "FILE" || value === "PATH",
      directories: value === "DIR",
    },
  };
}

/** @param operands - as the help has them: "GUEST -- COMMAND…", "check FILE | schema". */
export function operandModel(operands: string): Pick<CommandModel, "first" | "others"> {
  let first = NOTHING;
  let others = NOTHING;
  for (const way of operands.split(" | ")) {
    // What stands behind an option or its alternatives is no operand to complete.
    const words = way.split(" ").filter((word) => word !== "");
    const end = words.findIndex((word) => word.startsWith("-") || word.startsWith("[-") || word === "…");
    const own = words.slice(0, end < 0 ? undefined : end);
    for (const [i, word] of own.entries()) {
      const model = wordModel(word);
      if (i === 0) first = join(first, model);
      if (i > 0 || /…\]?$/.test(word)) others = join(others, model);
    }
  }
  return { first, others };
}

function wordModel(word: string): Words {
  const plain = word.replace(/^\[|…?\]?$/g, "");
  if (/^[a-z][a-z-]*$/.test(plain)) return { ...NOTHING, fixed: [plain] };
  return {
    ...NOTHING,
    guests: plain === "GUEST",
    guestPaths: plain === "SOURCE" || plain === "TARGET",
    files: plain === "FILE" || plain === "SOURCE" || plain === "TARGET",
    directories: plain === "DIR",
  };
}

function join(a: Words, b: Words): Words {
  return {
    fixed: [...new Set([...a.fixed, ...b.fixed])],
    guests: a.guests || b.guests,
    guestPaths: a.guestPaths || b.guestPaths,
    files: a.files || b.files,
    directories: a.directories || b.directories,
    commands: a.commands || b.commands,
  };
}

/** Nothing is offered. */
export function isNothing(words: Words): boolean {
  return (
    words.fixed.length === 0 &&
    !words.guests &&
    !words.guestPaths &&
    !words.files &&
    !words.directories &&
    !words.commands
  );
}

/** For all three shells. */
export function singleQuoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** One line of help, short enough for a list of choices. */
export function shortHelp(help: string): string {
  const plain = help.replaceAll("\n", " ");
  return plain.length > 100 ? `${plain.slice(0, 99)}…` : plain;
}
