// A second reader of asciicast version 3, written from its description and not from our writer: strict, line by line.

import { expect } from "vitest";

export interface Cast {
  readonly header: {
    readonly version: number;
    readonly term: { readonly cols: number; readonly rows: number; readonly type?: string };
    readonly timestamp: number;
    readonly title?: string;
  };
  /** `at` in seconds since the start. */
  readonly events: readonly { readonly at: number; readonly code: string; readonly data: string }[];
  /** All that a player shows. */
  readonly shown: string;
}

export function readCast(text: string): Cast {
  expect(text.endsWith("\n"), "the last line is whole").toBe(true);
  const [first, ...rest] = text.slice(0, -1).split("\n");
  const header = JSON.parse(first as string) as Cast["header"];
  expect(header.version).toBe(3);
  for (const side of [header.term.cols, header.term.rows])
    expect(Number.isInteger(side) && side > 0).toBe(true);
  expect(Number.isInteger(header.timestamp)).toBe(true);
  let at = 0;
  const events = rest
    .filter((line) => !line.startsWith("#"))
    .map((line) => {
      const event: unknown = JSON.parse(line);
      if (!Array.isArray(event) || event.length !== 3) throw new Error(`no event: ${line}`);
      const [interval, code, data] = event as unknown[];
      if (typeof interval !== "number" || interval < 0) throw new Error(`no interval: ${line}`);
      if (typeof code !== "string" || !/^[oirmx]$/.test(code)) throw new Error(`no code: ${line}`);
      if (typeof data !== "string") throw new Error(`no data: ${line}`);
      if (code === "r") expect(data).toMatch(/^[1-9]\d*x[1-9]\d*$/);
      if (code === "x") expect(data).toMatch(/^\d+$/);
      at += interval;
      return { at, code, data };
    });
  const exits = events.filter(({ code }) => code === "x");
  expect(exits.length === 0 || (exits.length === 1 && events.at(-1)?.code === "x"), "x comes last").toBe(
    true,
  );
  const shown = events.map(({ code, data }) => (code === "o" ? data : "")).join("");
  return { header, events, shown };
}
