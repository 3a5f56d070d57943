// Completion for fish.

import { type CommandModel, type OptionModel, type Words, isNothing, shortHelp } from "./model.ts";

export function fishCompletion(commands: readonly CommandModel[]): string {
  const names = commands.map(({ name }) => name);
  const lines = commands.flatMap((command) => [
    `complete -c sealtty -n ${quoted("test (count (commandline -opc)) -eq 1")} -a ${command.name} -d ${quoted(shortHelp(command.summary))}`,
    ...command.options.map((option) => optionLine(command.name, option)),
    `complete -c sealtty -n ${quoted(`__sealtty_at ${command.name}`)} -l help -d ${quoted("all of this command's options")}`,
    ...operandLines(command.name, 0, command.first, names),
    ...operandLines(command.name, 1, command.others, names),
  ]);
  return `# Completion of sealtty for fish. Made by: sealtty completion fish

function __sealtty_at -d "Whether the command is the first word given, and, with a second word, this many operands precede the cursor"
    set -l words (commandline -opc)
    test (count $words) -ge 2; and test $words[2] = $argv[1]; or return 1
    contains -- -- $words; and return 1
    test (count $argv) -eq 1; and return 0
    set -l with_value
    switch $words[2]
${commands
  .filter(({ options }) => valued(options).length > 0)
  .map(valueCase)
  .join("\n")}
    end
    set -e words[1..2]
    set -l operands 0
    set -l value 0
    for word in $words
        if test $value -eq 1
            set value 0
        else if contains -- $word $with_value
            set value 1
        else if not string match -q -- '-*' $word
            set operands (math $operands + 1)
        end
    end
    test $operands -gt 1; and set operands 1
    test $operands -eq $argv[2]
end

complete -c sealtty -f
complete -c sealtty -n 'test (count (commandline -opc)) -eq 1' -l version -d 'which version this is'
complete -c sealtty -n 'test (count (commandline -opc)) -eq 1' -l help -d 'all commands'
${lines.join("\n")}
`;
}

function valued(options: readonly OptionModel[]): OptionModel[] {
  return options.filter(({ value }) => value !== undefined);
}

function valueCase({ name, options }: CommandModel): string {
  const spellings = valued(options).flatMap((option) => option.spellings);
  return `        case ${name}\n            set with_value ${spellings.join(" ")}`;
}

function optionLine(command: string, { spellings, help, value, words }: OptionModel): string {
  const names = spellings.map((each) =>
    each.startsWith("--") ? `-l ${each.slice(2)}` : `-s ${each.slice(1)}`,
  );
  const taken = value === undefined ? "" : words.files ? " -r -F" : ` -x${choices(words, [])}`;
  const when = `-n ${quoted(`__sealtty_at ${command}`)}`;
  return `complete -c sealtty ${when} ${names.join(" ")}${taken} -d ${quoted(shortHelp(help))}`;
}

function operandLines(command: string, at: 0 | 1, words: Words, names: readonly string[]): string[] {
  if (isNothing(words)) return [];
  const files = words.files ? " -F" : "";
  return [
    `complete -c sealtty -n ${quoted(`__sealtty_at ${command} ${at}`)}${files}${choices(words, names)}`,
  ];
}

function choices(words: Words, names: readonly string[]): string {
  const all = [
    ...words.fixed,
    ...(words.commands ? names : []),
    ...(words.guests ? ["(sealtty completion guests 2>/dev/null)"] : []),
    ...(words.guestPaths ? ["(sealtty completion guests 2>/dev/null | string replace -r '$' :)"] : []),
    ...(words.directories ? ["(__fish_complete_directories)"] : []),
  ];
  return all.length === 0 ? "" : ` -a ${quoted(all.join(" "))}`;
}

/** fish knows two escapes inside of single quotes. */
function quoted(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}
