// What came out: as a table for people, as Markdown for docs/benchmarks.md, as JSON.

import { digits, median } from "./statistics.ts";

export interface Row {
  readonly figure: string;
  readonly peer: string;
  /** One value a round; empty: not measured, for the reason in `note`. */
  readonly rounds: readonly number[];
  /** Of each round's value to the baseline's of the same round, so that a machine that slows down does not show. */
  readonly ratios: readonly number[];
  readonly note?: string;
}

export interface Report {
  readonly date: string;
  readonly machine: readonly string[];
  readonly rows: readonly Row[];
}

const HEAD = ["figure", "peer", "median", "min–max", "× baseline"] as const;

function cells({ figure, peer, rounds, ratios, note }: Row): string[] {
  if (rounds.length === 0) return [figure, peer, note ?? "–", "", ""];
  const range = rounds.length > 1 ? `${digits(Math.min(...rounds))}–${digits(Math.max(...rounds))}` : "";
  const ratio = ratios.length > 0 ? digits(median(ratios)) : "";
  return [figure, peer, digits(median(rounds)), range, ratio];
}

function aligned(rows: readonly (readonly string[])[]): string[][] {
  const widths = HEAD.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) =>
    row.map((cell, column) =>
      column < 2 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
    ),
  );
}

export function asText(report: Report): string {
  const rows = report.rows.map(cells);
  // A figure's name once, a free line between figures.
  const lines = aligned([
    [...HEAD],
    ...rows.map((row, at) => (row[0] === rows[at - 1]?.[0] ? ["", ...row.slice(1)] : row)),
  ]);
  const text = lines.flatMap((line, at) =>
    at > 0 && line[0]?.trim() !== "" ? ["", line.join("  ")] : [line.join("  ")],
  );
  return [...report.machine, "", ...text.map((line) => line.trimEnd()), ""].join("\n");
}

export function asMarkdown(report: Report): string {
  const [head = [], ...rows] = aligned([[...HEAD], ...report.rows.map(cells)]);
  const rule = head.map((cell, column) =>
    column < 2 ? "-".repeat(cell.length) : `${"-".repeat(cell.length - 1)}:`,
  );
  const line = (row: readonly string[]): string => `| ${row.join(" | ")} |`;
  return [
    `Measured on ${report.date}:`,
    "",
    ...report.machine.map((fact) => `- ${fact}`),
    "",
    ...[head, rule, ...rows].map(line),
  ].join("\n");
}

const BEGIN = "<!-- npm run bench -- --markdown: from here -->";
const END = "<!-- npm run bench -- --markdown: to here -->";

/** Puts the table in place of the one in `document`. @throws where the marks are missing. */
export function intoDocument(document: string, report: Report): string {
  const from = document.indexOf(BEGIN);
  const to = document.indexOf(END);
  if (from === -1 || to < from) throw new Error(`No "${BEGIN}" and "${END}" in the document`);
  return `${document.slice(0, from + BEGIN.length)}\n\n${asMarkdown(report)}\n\n${document.slice(to)}`;
}
