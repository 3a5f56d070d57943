// What the fresh page finds again lies in a file of the user's alone, is bounded, and is none where the file says nonsense.

import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, expect, test } from "vitest";
import { PageMemory } from "../../cli/page-memory.ts";

const scratch = mkdtempSync(path.join(os.tmpdir(), "sealtty-memory-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
const directory = path.join(scratch, "sealtty", "page-memory");
const of = (identity: string, address = "tcp:a:1", state = scratch) =>
  PageMemory.of(identity, address, { environment: { XDG_STATE_HOME: state } });

test("is kept for each guest", async () => {
  const memory = await of("db1");
  expect(memory.items).toEqual({});
  memory.remember("seen", "1");
  memory.remember("seen", "2");
  memory.remember("__proto__", "3");
  await memory.written;
  const again = await of("db1");
  expect(Object.entries(again.items)).toEqual([
    ["seen", "2"],
    ["__proto__", "3"],
  ]);
  expect((await of("db2")).items).toEqual({});
  expect((await of("db1", "tcp:b:1")).items).toEqual({});
  const files = readdirSync(directory);
  expect(files.length).toBe(1);
  for (const file of files) expect(statSync(path.join(directory, file)).mode & 0o777).toBe(0o600);
});

test("is bounded", () => {
  const memory = new PageMemory(undefined);
  memory.remember("n".repeat(65), "");
  memory.remember("long", "x".repeat(128 * 1024 + 1));
  for (let n = 0; n < 20; n++) memory.remember(`item ${n}`, "x");
  memory.remember("item 0", "y"); // what is there may change
  expect(Object.keys(memory.items).length).toBe(8);
  expect(memory.items["item 0"]).toBe("y");
});

test.each([
  "",
  "{",
  "null",
  '{"version":2,"items":{"a":"b"}}',
  '{"version":1}',
  '{"version":1,"items":{"a":1}}',
  `{"version":1,"items":{"a":"${"x".repeat(1024 * 1024)}"}}`,
])("a file that says %.60j says nothing", async (text) => {
  const memory = await of("db3");
  memory.remember("seen", "1");
  await memory.written;
  for (const file of readdirSync(directory)) writeFileSync(path.join(directory, file), text);
  const again = await of("db3");
  expect(again.items).toEqual({});
});

test("without a home, or where nothing can be written, it is for this run, and nothing fails", async () => {
  const homeless = await PageMemory.of("db1", "tcp:a:1", { environment: {} });
  const file = path.join(scratch, "file");
  writeFileSync(file, "");
  for (const memory of [homeless, await of("db1", "tcp:a:1", file)]) {
    memory.remember("seen", "1");
    await memory.written;
    expect(memory.items).toEqual({ seen: "1" });
  }
});
