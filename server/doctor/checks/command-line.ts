// What checks say about words of the kernel's command line.

import type { Evidence } from "../check.ts";
import type { System } from "../system.ts";

/** Words on any command line that is to be found: that of the next boot counts as well as the running one. */
export function wordsLike(system: System, pattern: RegExp): Evidence[] {
  return system.commandLines.flatMap(({ where, words }) =>
    words
      .filter((word) => [word, underscored(word), dashed(word)].some((each) => pattern.test(each)))
      .map((word) => ({ where, found: word })),
  );
}

/** Words that add up. Of all others that say the same thing twice the last counts. */
const ADDS_UP = /^initcall_blacklist=/;

/** Kernel and systemd take both signs for the same in a name; others do not, cloud-init among them. */
const underscored = (word: string): string => word.replace(/^[^=]*/, (name) => name.replaceAll("-", "_"));
const dashed = (word: string): string => word.replace(/^[^=]*/, (name) => name.replaceAll("_", "-"));
const nameOf = (word: string): string => underscored(word).replace(/=[^]*$/, "");

/** Whether a line has such a word, and none behind it that takes it back. */
function holds(words: readonly string[], pattern: RegExp): boolean {
  const says = (word: string) => pattern.test(word) || pattern.test(underscored(word));
  return words.some((word, at) => {
    const takesBack = (later: string) => nameOf(later) === nameOf(word) && !says(later);
    return says(word) && (ADDS_UP.test(word) || !words.slice(at + 1).some(takesBack));
  });
}

/** @returns an item for each line that counts and has no such word; one for all where there is no line. */
export function linesWithout(system: System, pattern: RegExp, word: string): Evidence[] {
  if (system.bootLines.length === 0)
    return [{ where: "/proc/cmdline", found: `no command line is to be found here, so none has ${word}` }];
  return system.bootLines
    .filter(({ words }) => !holds(words, pattern))
    .map(({ where }) => ({ where, found: `has no ${word}` }));
}

/** That every line which counts has such a word; false where there is none. */
export function everyLineHas(system: System, pattern: RegExp): boolean {
  return linesWithout(system, pattern, "").length === 0;
}

/**
 * What to do, in one line. Never done by `--fix`: a wrong word does not boot, and the line is measured.
 * @param change - words that go, words that come.
 */
export function changeCommandLine(
  system: System,
  change: { readonly add?: string; readonly remove?: readonly Evidence[] },
): string[] {
  const remove = [...new Set((change.remove ?? []).map((each) => plainStart(each.found)))].join(" ");
  const parts = [
    ...(remove === "" ? [] : [`take off the kernel's command line: ${remove}`]),
    ...(change.add === undefined ? [] : [`put onto the kernel's command line: ${change.add}`]),
  ];
  return parts.length === 0 ? [] : [`${parts.join("; ")} (${placeOf(system)})`];
}

/** The line may be the host's, and this be pasted: of a word what no shell takes for anything but a word. The evidence has all of it. */
function plainStart(word: string): string {
  const start = /^[\w@%+=:,./-]*/.exec(word)?.[0] ?? "";
  return start === word ? word : `${start}…`;
}

function placeOf(system: System): string {
  if (system.exists("/etc/kernel/cmdline")) return "/etc/kernel/cmdline, then build the kernel image anew";
  if (system.exists("/etc/default/grub"))
    return "GRUB_CMDLINE_LINUX in /etc/default/grub, then update-grub; or where the host starts this kernel itself: QEMU's -append";
  return "where this machine is started: the boot loader's entry, or QEMU's -append";
}
