// Completion for bash (3.2 or newer), without the package bash-completion.

import { type CommandModel, type Words, isNothing, singleQuoted } from "./model.ts";

export function bashCompletion(commands: readonly CommandModel[]): string {
  const names = commands.map(({ name }) => name);
  return `# Completion of sealtty for bash. Made by: sealtty completion bash

# What compgen says, a line each: names may hold blanks.
_sealtty_add() {
  local line
  while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen "$@" -- "$cur")
}
_sealtty_words() {
  local IFS=$' \\t\\n'
  [[ $1 == *= ]] && compopt -o nospace 2>/dev/null
  _sealtty_add -W "$1"
}
# Beside names of guests readline must not quote: it would quote their colons.
_sealtty_paths() {
  local guests=\${#COMPREPLY[@]} i
  ((guests)) || compopt -o filenames 2>/dev/null
  _sealtty_add "$1"
  ((guests)) && for ((i = guests; i < \${#COMPREPLY[@]}; i++)); do COMPREPLY[i]=$(printf %q "\${COMPREPLY[i]}"); done
}
_sealtty_guests() {
  local IFS=$' \\t\\n' names
  names=$(sealtty completion guests 2>/dev/null)
  [[ -n $1 ]] && names=\${names//$'\\n'/$1$'\\n'} && names=\${names:+$names$1} && compopt -o nospace 2>/dev/null
  _sealtty_add -W "$names"
}

_sealtty() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD - 1]} command= operands=0 value=0 glue=0 word i
  COMPREPLY=()
  # bash takes --option=value and scheme:rest apart.
  if [[ $cur == = ]]; then
    cur=
  elif [[ $prev == = ]]; then
    prev=\${COMP_WORDS[COMP_CWORD - 2]}
  elif [[ $prev == : || $cur == : ]]; then
    [[ $cur == : ]] && cur=
    _sealtty_paths -f
    return
  fi
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    if [[ -z $command ]]; then
      command=$word
    elif [[ $word == = ]]; then
      value=1
    elif [[ $word == : ]]; then
      glue=1
    elif ((value || glue)); then
      value=0 glue=0
    elif [[ $word == -- ]]; then
      compopt -o default 2>/dev/null
      return
    elif [[ $word == -* ]]; then
      case "$command $word" in
        ${pattern(commands, (option) => option.value !== undefined)}) value=1 ;;
      esac
    else
      operands=$((operands + 1))
    fi
  done
  if [[ -z $command ]]; then
    _sealtty_words ${singleQuoted([...names, "--version", "--help"].join(" "))}
    return
  fi
  if ((value)); then
    case "$command $prev" in
${valueCases(commands)}
    esac
    return
  fi
  if [[ $cur == -* ]]; then
    case $command in
${commands.map(optionsCase).join("\n")}
    esac
    return
  fi
  ((operands > 1)) && operands=1
  case "$command $operands" in
${commands.flatMap((command) => operandCases(command, names)).join("\n")}
  esac
}
complete -F _sealtty sealtty
`;
}

type Option = CommandModel["options"][number];

/** Of "command option" words; one that never matches where there is none. */
function pattern(commands: readonly CommandModel[], wanted: (option: Option) => boolean): string {
  const alternatives = commands.flatMap(({ name, options }) => {
    const spellings = options.filter(wanted).flatMap((option) => option.spellings);
    return spellings.map((spelling) => `"${name} ${spelling}"`);
  });
  return alternatives.length === 0 ? '""' : alternatives.join(" | ");
}

/** Options with the same answer share a case. */
function valueCases(commands: readonly CommandModel[]): string {
  const answers = new Set<string>();
  for (const { options } of commands) for (const { words } of options) answers.add(answer(words, []));
  answers.delete("");
  return [...answers]
    .map((each) => `      ${pattern(commands, ({ words }) => answer(words, []) === each)}) ${each} ;;`)
    .join("\n");
}

function optionsCase({ name, options }: CommandModel): string {
  const spellings = options.flatMap((option) => option.spellings);
  return `      ${name}) _sealtty_words ${singleQuoted([...spellings, "--help"].join(" "))} ;;`;
}

function operandCases({ name, first, others }: CommandModel, names: readonly string[]): string[] {
  const cases = [
    [0, first],
    [1, others],
  ] as const;
  return cases
    .filter(([, words]) => !isNothing(words))
    .map(([at, words]) => `    "${name} ${at}") ${answer(words, names)} ;;`);
}

function answer(words: Words, names: readonly string[]): string {
  const parts: string[] = [];
  const fixed = [...words.fixed, ...(words.commands ? names : [])];
  if (fixed.length > 0) parts.push(`_sealtty_words ${singleQuoted(fixed.join(" "))}`);
  if (words.guests) parts.push("_sealtty_guests ''");
  if (words.guestPaths) parts.push("_sealtty_guests :");
  if (words.files) parts.push("_sealtty_paths -f");
  if (words.directories) parts.push("_sealtty_paths -d");
  return parts.join("; ");
}
