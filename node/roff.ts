// Manual pages as roff, for man(7): the few requests that ours are made of.

const MAX_LINE = 78;

export function tagged(rows: readonly (readonly [string, string])[]): string[] {
  return rows.flatMap(([tag, words]) => [".TP", bold(escaped(tag)), ...text(words)]);
}

export function paragraph(words: string): string[] {
  return [".PP", ...text(words)];
}

/** Words of the help as a sentence; "snp: …" stays as it is. */
export function sentence(words: string): string {
  const begin = /^[a-z]+ /.test(words) ? `${words.charAt(0).toUpperCase()}${words.slice(1)}` : words;
  return begin.endsWith(".") ? begin : `${begin}.`;
}

export function bold(roff: string): string {
  return `\\fB${roff}\\fR`;
}

export function italic(roff: string): string {
  return `\\fI${roff}\\fR`;
}

/** Lines of text, short ones: nothing in them is a request. */
export function text(words: string): string[] {
  const lines: string[] = [];
  for (const word of escaped(words).split(" ")) {
    const last = lines.at(-1);
    if (last === undefined || last.length + word.length >= MAX_LINE) lines.push(word);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return lines.map((line) => (/^[.\\']/.test(line) ? `\\&${line}` : line));
}

const SPECIAL: Readonly<Record<string, string>> = {
  "\\": "\\e",
  "~": "\\(ti",
  "^": "\\(ha",
  "'": "\\(aq",
  "`": "\\(ga",
  '"': "\\(dq",
};

/** roff that prints as `words`. A dash that is part of an option or of a path is a minus, which can be copied. */
export function escaped(words: string): string {
  return words
    .replaceAll("\n", " ")
    .replaceAll(/[\\~^'`"]/g, (special) => SPECIAL[special] ?? "")
    .replaceAll(
      /[^\x20-\x7e]/gu,
      (each) => `\\[u${(each.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}]`,
    )
    .replaceAll("-", "\\-");
}
