// Completion for zsh.

import {
  type CommandModel,
  type OptionModel,
  type Words,
  isNothing,
  shortHelp,
  singleQuoted,
} from "./model.ts";

export function zshCompletion(commands: readonly CommandModel[]): string {
  return `#compdef sealtty
# Completion of sealtty for zsh. Made by: sealtty completion zsh

_sealtty_guests() {
  local -a guests
  guests=(\${(f)"$(sealtty completion guests 2>/dev/null)"})
  compadd "$@" -a guests
}
_sealtty_guest_paths() {
  _alternative 'guests:guest:_sealtty_guests -S \\:' 'files:file:_files'
}
_sealtty_commands() {
  local -a commands
  commands=(
${commands.map(({ name, summary }) => `    ${singleQuoted(`${name}:${shortHelp(summary)}`)}`).join("\n")}
  )
  _describe -t commands command commands
}

_sealtty() {
  local curcontext=$curcontext command
  local -a line state state_descr
  local -A opt_args
  if ((CURRENT == 2)); then
    _sealtty_commands
    return
  fi
  command=$words[2]
  shift words
  ((CURRENT--))
  case $command in
${commands.map(commandCase).join("\n")}
  esac
}

if [[ $funcstack[1] == _sealtty ]]; then
  _sealtty "$@"
else
  compdef _sealtty sealtty
fi
`;
}

function commandCase({ name, options, first, others }: CommandModel): string {
  const specs = [
    ...options.flatMap(optionSpecs),
    singleQuoted("(- *)--help[all of this command's options]"),
    ...(isNothing(first) ? [] : [operandSpec("1", first)]),
    ...(isNothing(others) ? [] : [operandSpec("*", others)]),
  ];
  return `    ${name})
      _arguments -s -S \\
        ${specs.join(" \\\n        ")}
      ;;`;
}

/** Every option may come again: the last counts, or all do. */
function optionSpecs({ spellings, help, value, words }: OptionModel): string[] {
  const described = `[${escaped(shortHelp(help))}]`;
  return spellings.map((spelling) => {
    if (value === undefined) return singleQuoted(`*${spelling}${described}`);
    const joined = spelling.startsWith("--") ? "=" : "+"; // --option=value and -ovalue will do as well
    return singleQuoted(`*${spelling}${joined}${described}:${escaped(value)}:${action(words)}`);
  });
}

function operandSpec(position: string, words: Words): string {
  return singleQuoted(`${position}: :${action(words)}`);
}

function action(words: Words): string {
  if (words.fixed.some((word) => word.endsWith("="))) return `{compadd -S "" -- ${words.fixed.join(" ")}}`;
  const all = [
    ...(words.fixed.length === 0 ? [] : [`(${words.fixed.join(" ")})`]),
    ...(words.guests ? ["_sealtty_guests"] : []),
    ...(words.guestPaths ? ["_sealtty_guest_paths"] : []),
    ...(words.commands ? ["_sealtty_commands"] : []),
    ...(words.files && !words.guestPaths ? ["_files"] : []),
    ...(words.directories ? ["_files -/"] : []),
  ];
  return all[0] ?? " ";
}

/** Inside of a specification of _arguments. */
function escaped(text: string): string {
  return text.replaceAll(/[\\[\]:]/g, "\\$&");
}
