// What the soak found: a line as it comes, a table at the end, and the same in docs/soak.md.

import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { projectRoot } from "../places.ts";

export interface Row {
  readonly what: string;
  readonly peer: string;
  readonly found: string;
}
export const rows: Row[] = [];
/** What is not as it must be. */
export const failures: string[] = [];

export const say = (text: string): void => void process.stderr.write(`soak: ${text}\n`);
export const note = (what: string, peer: string, found: string): void => {
  rows.push({ what, peer, found });
  say(`${what}, ${peer}: ${found}`);
};

const BEGIN = "<!-- npm run soak -- --markdown: from here -->";
const END = "<!-- npm run soak -- --markdown: to here -->";

export function table(head: readonly string[], rest: readonly (readonly string[])[]): string {
  const all = [head, ...rest];
  const widths = head.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  const lines = all.map(
    (row) => `| ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(" | ")} |`,
  );
  lines.splice(1, 0, `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`);
  return lines.join("\n");
}

export function intoDocument(text: string): void {
  const file = path.join(projectRoot, "docs/soak.md");
  const document = readFileSync(file, "utf8");
  const [from, to] = [document.indexOf(BEGIN), document.indexOf(END)];
  if (from < 0 || to < from) throw new Error(`docs/soak.md has no ${BEGIN} and ${END}`);
  writeFileSync(file, `${document.slice(0, from + BEGIN.length)}\n\n${text}\n\n${document.slice(to)}`);
}
