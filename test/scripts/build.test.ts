// Building while programs run: what is built never changes a file that somebody has open or mapped.

import {
  chmodSync,
  closeSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { execFileSync } from "node:child_process";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";

const scripts = new URL("../../scripts/", import.meta.url).pathname;
const { copyPtyAddon } = (await import(`${scripts}build.mjs`)) as {
  readonly copyPtyAddon: (directory: string) => Promise<void>;
};
const { buildLauncher, buildNative, nativeHelpers } = (await import(`${scripts}build-native.mjs`)) as {
  readonly buildLauncher: (directory: string) => Promise<void>;
  readonly buildNative: (options: { directory: string }) => Promise<void>;
  readonly nativeHelpers: readonly string[];
};

let directory: string;
const at = (name: string): string => path.join(directory, name);
beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), "sealtty-build-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

test("the addon that a sealttyd has mapped stays as it is; the new one has its name", async () => {
  writeFileSync(at("pty.node"), "mapped by somebody");
  const before = statSync(at("pty.node")).ino;
  const open = openSync(at("pty.node"), "r");
  try {
    await copyPtyAddon(directory);
    expect(readFileSync(open, "utf8")).toBe("mapped by somebody");
  } finally {
    closeSync(open);
  }
  expect(statSync(at("pty.node")).ino).not.toBe(before);
  expect(readFileSync(at("pty.node")).subarray(1, 4).toString()).toBe("ELF");
  expect(readdirSync(directory)).toEqual(["pty.node"]);
});

test("a compiler that fails half way leaves the native programs that were there", async () => {
  const program = at("cc");
  writeFileSync(
    program,
    '#!/bin/sh\nwhile [ $# -gt 0 ]; do [ "$1" = -o ] && echo half > "$2"; shift; done\nexit 1\n',
  );
  chmodSync(program, 0o755);
  const target = at("bin");
  await copyPtyAddon(target); // makes the directory
  for (const name of nativeHelpers) writeFileSync(path.join(target, name), "whole");
  const { PATH } = process.env;
  process.env["PATH"] = `${directory}:${PATH}`;
  try {
    await expect(buildNative({ directory: target })).rejects.toThrow(/exit status 1/);
  } finally {
    process.env["PATH"] = PATH;
  }
  for (const name of nativeHelpers) expect(readFileSync(path.join(target, name), "utf8")).toBe("whole");
  expect(readdirSync(target).sort()).toEqual([...nativeHelpers, "pty.node"].sort());
});

test("without a compiler sealtty-exec is `sealtty exec --master` by its longer way", async () => {
  const { PATH } = process.env;
  writeFileSync(at("cc"), "#!/bin/sh\nexit 1\n", { mode: 0o755 });
  process.env["PATH"] = `${directory}:${PATH}`;
  try {
    await buildLauncher(at("bin"));
  } finally {
    process.env["PATH"] = PATH;
  }
  writeFileSync(at("bin/sealtty.js"), "console.log(JSON.stringify(process.argv.slice(2)))");
  symlinkSync("bin/sealtty-exec", at("linked"));
  const said = execFileSync(at("linked"), ["guest", "--", "a  b", ""], { encoding: "utf8" });
  expect(JSON.parse(said)).toEqual(["exec", "--master", "guest", "--", "a  b", ""]);
});

test("with one it is a program that needs no library, and falls back to what lies beside it", async () => {
  await buildLauncher(at("bin"));
  expect(readFileSync(at("bin/sealtty-exec")).subarray(1, 4).toString()).toBe("ELF");
  const env = { ...process.env, XDG_RUNTIME_DIR: directory }; // nobody keeps a connection there
  const start = () =>
    execFileSync(at("bin/sealtty-exec"), ["guest", "--", "true"], { encoding: "utf8", stdio: "pipe", env });
  expect(start).toThrow("sealtty.js is not beside sealtty-exec: link to it, rather than copy it.");
  writeFileSync(at("bin/sealtty.js"), "console.log(JSON.stringify(process.argv.slice(2)))");
  expect(JSON.parse(start())).toEqual(["exec", "--master", "guest", "--", "true"]);
});
