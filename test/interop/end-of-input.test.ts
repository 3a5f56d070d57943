// `sealtty connect GUEST </dev/null`, with a real sealttyd: the end of input is passed on, and the remote program sees it.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { openSync, closeSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { startSealttyd } from "../support/sealttyd.ts";

const SEALTTY = path.resolve(import.meta.dirname, "../../dist/bin/sealtty.js");

test.each([
  ["a shell", ["/bin/sh", "-i"], 0],
  ["a shell that edits its line", ["/bin/bash", "--norc", "-i"], 0],
  // As login does, which throws away what came before it asked.
  [
    "a program that flushes its input first",
    ["/usr/bin/perl", "-MPOSIX", "-e", 'sleep 2; tcflush(0, TCIFLUSH); exec "cat"'],
    0,
  ],
] as const)(
  "%s ends where standard input is /dev/null",
  async (_, login, status) => {
    const guest = await startSealttyd({ login });
    const nothing = openSync("/dev/null", "r");
    try {
      const args = [
        "connect",
        `unix:${guest.socket}`,
        "--policy",
        guest.policyFile,
        "--simulated",
        "-l",
        "root",
      ];
      const child = spawn(process.execPath, [SEALTTY, ...args], { stdio: [nothing, "pipe", "pipe"] });
      let said = "";
      for (const stream of [child.stdout, child.stderr])
        stream?.on("data", (chunk: Buffer) => {
          said += chunk.toString();
        });
      const [code] = (await once(child, "close")) as [number | null];
      expect(code, said).toBe(status);
    } finally {
      closeSync(nothing);
      await guest.stop();
    }
  },
  60_000,
);
