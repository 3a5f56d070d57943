// Tables of events in docs/, that of docs/json.md first of all, held against what commands print: every event has to be in one, as it is.

import { readFileSync } from "node:fs";

export interface EventRow {
  readonly stream: string;
  readonly commands: string;
  readonly fields: ReadonlyMap<string, { readonly type: string; readonly optional: boolean }>;
}

const ROW = /^\| `([a-z-]+)` \| (stdout|stderr) \| (.+?) \| (.*?) ?\| .+ \|$/gm;

/** @param file - below the project's root. */
export function eventsOf(file: string): ReadonlyMap<string, EventRow> {
  const text = readFileSync(new URL(`../../${file}`, import.meta.url), "utf8");
  return new Map(
    [...text.matchAll(ROW)].map(([, name = "", stream = "", commands = "", fields = ""]) => [
      name,
      { stream, commands, fields: fieldsOf(fields) },
    ]),
  );
}

export const EVENTS = eventsOf("docs/json.md");

function fieldsOf(cell: string): EventRow["fields"] {
  const fields = cell.split(",").filter((part) => part.trim() !== "");
  return new Map(
    fields.map((part) => {
      const [, name, type, mark] = /^ ?`(\w+)` (text|number|boolean|list|object|any)(\??)$/.exec(part) ?? [];
      if (name === undefined || type === undefined) throw new Error(`docs/json.md: no field: "${part}"`);
      return [name, { type, optional: mark === "?" }];
    }),
  );
}

/** @returns what is wrong with a line that was printed there; undefined where nothing is, or it is no event. */
export function eventProblem(
  line: string,
  stream: "stdout" | "stderr",
  events: ReadonlyMap<string, EventRow> = EVENTS,
): string | undefined {
  if (!line.startsWith('{"event":')) return undefined;
  const { event, ...fields } = JSON.parse(line) as Record<string, unknown>;
  const name = String(event);
  const row = events.get(name);
  if (row === undefined) return `docs/json.md does not have the event ${name}`;
  if (row.stream !== stream) return `docs/json.md has ${name} on ${row.stream}`;
  for (const [field, value] of Object.entries(fields)) {
    const type = row.fields.get(field)?.type;
    if (type === undefined) return `docs/json.md has no field ${field} of ${name}`;
    if (type !== "any" && type !== typeOf(value))
      return `docs/json.md: ${name}: ${field} is a ${typeOf(value)}`;
  }
  for (const [field, { optional }] of row.fields)
    if (!optional && !(field in fields)) return `docs/json.md has ${field} of ${name}, which is not there`;
  return undefined;
}

function typeOf(value: unknown): string {
  if (Array.isArray(value)) return "list";
  return typeof value === "string" ? "text" : typeof value;
}

/** @throws Error at the first line that is not as documented. */
export function checkEvents(text: string, stream: "stdout" | "stderr"): void {
  for (const line of text.split(/\r?\n/)) {
    const problem = eventProblem(line, stream);
    if (problem !== undefined) throw new Error(`${problem}: ${line}`);
  }
}
