// Files that are written whole or not at all: their permissions, and what is left of a failure.

import { execFileSync } from "node:child_process";
import {
  existsSync,
  lchownSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { keepOwnFile, makeDirectories, replaceFile, writeWholeFile } from "../../cli/whole-file.ts";

let directory: string;
let file: string;
beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), "sealtty-whole-"));
  file = path.join(directory, "file");
});
afterEach(() => rmSync(directory, { recursive: true }));

const mode = (name: string): number => statSync(name).mode & 0o777;

test("an existing file gives way and its permissions stay, or it must not be there", async () => {
  await writeWholeFile(file, "one", false);
  await expect(writeWholeFile(file, "two", false)).rejects.toMatchObject({ code: "EEXIST" });
  expect(readFileSync(file, "utf8")).toBe("one");
  writeFileSync(path.join(directory, "private"), "", { mode: 0o600 });
  await writeWholeFile(path.join(directory, "private"), "two", true);
  expect(mode(path.join(directory, "private"))).toBe(0o600);
  await replaceFile(path.join(directory, "new"), "x", { mode: 0o600, keepsMode: true, sync: true });
  expect(mode(path.join(directory, "new"))).toBe(0o600);
  expect(readdirSync(directory).sort()).toEqual(["file", "new", "private"]);
});

test("a device, pipe or socket is never replaced", async () => {
  execFileSync("mkfifo", [file]);
  const refused = { code: "a device, pipe or socket" };
  await expect(writeWholeFile(file, "x", true)).rejects.toMatchObject(refused);
  await expect(keepOwnFile(file, "x")).rejects.toMatchObject(refused);
  const link = path.join(directory, "link"); // as /dev/stdout is
  symlinkSync("file", link);
  await expect(writeWholeFile(link, "x", true)).rejects.toMatchObject(refused);
  expect(readdirSync(directory).sort()).toEqual(["file", "link"]);
  expect(statSync(link).isFIFO()).toBe(true);
});

test("a link of ours stays one, and what is behind it is written; one that leads nowhere is refused", async () => {
  const link = path.join(directory, "link");
  writeFileSync(file, "one");
  symlinkSync(file, link);
  await writeWholeFile(link, "two", true);
  expect(lstatSync(link).isSymbolicLink()).toBe(true);
  expect(readFileSync(file, "utf8")).toBe("two");
  rmSync(file);
  await expect(writeWholeFile(link, "three", true)).rejects.toMatchObject({
    code: "a link that leads nowhere",
  });
  expect(readdirSync(directory)).toEqual(["link"]);
});

test.runIf(process.getuid?.() === 0)("a link of another user's gives way: it may lead anywhere", async () => {
  const link = path.join(directory, "link");
  writeFileSync(file, "one");
  symlinkSync(file, link);
  lchownSync(link, 65_534, 65_534);
  await writeWholeFile(link, "two", true);
  expect(lstatSync(link).isSymbolicLink()).toBe(false);
  expect([readFileSync(file, "utf8"), readFileSync(link, "utf8")]).toEqual(["one", "two"]);
});

test("a memory aid is its user's alone, whatever stood there; its directory is made with it", async () => {
  const own = path.join(directory, "state/sealtty/aid");
  await keepOwnFile(own, "one");
  expect([mode(own), mode(path.dirname(own))]).toEqual([0o600, 0o700]);
  writeFileSync(file, "", { mode: 0o644 });
  await keepOwnFile(file, "two");
  expect([mode(file), readFileSync(file, "utf8")]).toEqual([0o600, "two"]);
});

test("directories above it are made; where none can be that is an error, and no wait", async () => {
  await makeDirectories(path.join(directory, "a", "b", "c"), 0o700);
  await makeDirectories(path.join(directory, "a", "b", "c"), 0o700);
  expect(mode(path.join(directory, "a", "b"))).toBe(0o700);
  writeFileSync(file, "");
  await expect(makeDirectories(path.join(file, "a"), 0o700)).rejects.toMatchObject({ code: "ENOTDIR" });
  if (existsSync("/proc/self"))
    await expect(keepOwnFile("/proc/none/sealtty/aid", "x")).rejects.toMatchObject({ code: "ENOENT" });
}, 10_000);

test("many at once: one of them counts, whole; nothing else stays", async () => {
  const texts = Array.from({ length: 20 }, (_, n) => String(n).repeat(10_000));
  await Promise.all(texts.map((text) => keepOwnFile(file, text)));
  expect(texts).toContain(readFileSync(file, "utf8"));
  expect(readdirSync(directory)).toEqual(["file"]);
});

test("where it cannot take its place nothing of it is left", async () => {
  mkdirSync(path.join(file, "full"), { recursive: true });
  await expect(keepOwnFile(file, "x")).rejects.toMatchObject({ code: "EISDIR" });
  await expect(writeWholeFile(file, "x", true)).rejects.toMatchObject({ code: "EISDIR" });
  expect(readdirSync(directory)).toEqual(["file"]);
  expect(readdirSync(file)).toEqual(["full"]);
});
