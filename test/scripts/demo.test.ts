// Scripts that people start, in a copy that has nothing to build: what they say before they build anything.

import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), "sealtty-demo-scripts-"));
  cpSync(new URL("../../scripts", import.meta.url).pathname, path.join(directory, "scripts"), {
    recursive: true,
  });
});
afterEach(() => rmSync(directory, { recursive: true }));

const script = (name: string, ...args: string[]) =>
  spawnSync(process.execPath, [path.join(directory, "scripts", name), ...args], {
    cwd: directory,
    encoding: "utf8",
  });

test.each([
  ["demo-vm.mjs", "--help", "npm run demo:vm -- "],
  ["demo-vm.mjs", "-h", "npm run demo:vm -- "],
  ["start.mjs", "--help", "npm start -- "],
  ["start.mjs", "-h", "npm start -- "],
])("%s %s says how it is used, and makes nothing", (name, option, title) => {
  const { status, stdout, stderr } = script(name, option);
  expect([status, stderr]).toEqual([0, ""]);
  expect(stdout).toMatch(new RegExp(`^${title}`));
  expect(stdout).toContain("--no-open");
  expect(readdirSync(directory)).toEqual(["scripts"]);
});

test.each([
  ["soak.mjs", "npm run soak", "--minutes"],
  ["bench.mjs", "npm run bench", "--shaping"],
])("%s knows its options before it builds", (name, title, option) => {
  for (const help of ["--help", "-h"]) {
    const { status, stdout, stderr } = script(name, help);
    expect([status, stderr]).toEqual([0, ""]);
    expect(stdout).toMatch(new RegExp(`^${title} -- `));
    expect(stdout).toContain(option);
  }
  for (const [wrong, words] of [
    [["--bogus"], "Unknown option '--bogus'"],
    [["more"], "Unexpected argument 'more'"],
  ] as const) {
    const { status, stdout, stderr } = script(name, ...wrong);
    expect([status, stdout]).toEqual([1, ""]);
    expect(stderr).toBe(`${words}; see: ${title} -- --help\n`);
  }
  expect(readdirSync(directory)).toEqual(["scripts"]);
});

test("a second demonstration ends before it builds what the first one runs", () => {
  const running = path.join(directory, ".cache/demo/running");
  mkdirSync(path.dirname(running), { recursive: true });
  writeFileSync(running, String(process.pid));
  const { status, stderr } = script("demo-vm.mjs");
  expect(stderr).toBe(`Another npm run demo:vm is running (process ${process.pid}): end it first.\n`);
  expect(status).toBe(1);
  expect(existsSync(running)).toBe(true);
  expect(readdirSync(directory).sort()).toEqual([".cache", "scripts"]);
});
