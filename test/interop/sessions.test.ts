// A shell on a real pty behind the real sealttyd: the client is killed, another comes back to the same shell.
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { GuestProcess } from "../../server/sessions/guest-process.ts";
import { startOnPty } from "../../server/sessions/pty-process.ts";
import { startCli } from "../support/cli.ts";
import { type RunningGuest, startSealttyd } from "../support/sealttyd.ts";

const SEALTTY = path.resolve(import.meta.dirname, "../../dist/bin/sealtty.js");

let guest: RunningGuest;
let home: string;
beforeAll(async () => {
  guest = await startSealttyd({ login: ["/bin/sh"] });
  home = mkdtempSync(path.join(os.tmpdir(), "sealtty-home-"));
});
afterAll(async () => {
  await guest.stop();
  rmSync(home, { recursive: true });
});

const args = (command: string, ...more: string[]) => [
  command,
  `unix:${guest.socket}`,
  "--policy",
  guest.policyFile,
  "--simulated",
  ...more,
];

/** `sealtty` on a terminal of its own. */
async function onTerminal(...command: string[]) {
  const terminal: GuestProcess = await startOnPty({
    command: [process.execPath, SEALTTY, ...command],
    environment: { PATH: process.env["PATH"] ?? "", TERM: "xterm", HOME: home },
    directory: "/",
    columns: 90,
    rows: 30,
  });
  let shown = "";
  let ended = false;
  void (async () => {
    for (;;) {
      const chunk = await terminal.stdout.read();
      if (chunk === undefined) break;
      shown += Buffer.from(chunk).toString();
    }
    ended = true;
  })();
  return {
    terminal,
    shown: () => shown,
    type: (text: string) => terminal.write(Buffer.from(text)),
    async shows(pattern: RegExp): Promise<RegExpExecArray> {
      for (;;) {
        const match = pattern.exec(shown);
        if (match !== null) return match;
        if (ended) throw new Error(`sealtty ended without ${pattern}:\n${shown}`);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    },
  };
}

test("killed in the middle, and back in the same shell: variables, screen, size and exit status", async () => {
  const one = await onTerminal(...args("connect", "--keep"));
  await one.shows(/\$ |# /);
  await one.type("kept=there; echo pid=$$\r");
  const [, pid] = await one.shows(/pid=(\d+)/);
  one.terminal.signal("SIGKILL");
  expect(await one.terminal.exit).toEqual({ kind: "signalled", signal: "SIGKILL" });

  const list = startCli(args("sessions"), { env: { HOME: home } });
  expect(await list.ended()).toBe(0);
  expect(list.stdout()).toMatch(/^[0-9a-f]{12} +running .*90x30 .*login$/m);

  const two = await onTerminal(...args("connect", "--attach", "last"));
  await two.shows(/pid=\d+/); // what the ring has, again
  await two.type("echo $kept pid2=$$; stty size\r");
  expect((await two.shows(/there pid2=(\d+)/))[1]).toBe(pid);
  await two.shows(/30 90/);
  await two.type("~d".replace("~", "\r~"));
  expect(await two.terminal.exit).toEqual({ kind: "exited", status: 0 });

  const three = await onTerminal(...args("connect", "--attach", "last"));
  await three.shows(/30 90/);
  await three.type("exit 42\r");
  expect(await three.terminal.exit).toEqual({ kind: "exited", status: 42 });
}, 120_000);

test("a long output while nobody is attached runs on, and its tail is there", async () => {
  const one = await onTerminal(...args("connect", "--keep"));
  await one.shows(/\$ |# /);
  await one.type("sleep 0.5; seq 1 50000; echo tail-$((6*7))\r");
  await one.type("\r~d");
  expect(await one.terminal.exit).toEqual({ kind: "exited", status: 0 });
  await new Promise((resolve) => setTimeout(resolve, 1500));
  const two = await onTerminal(...args("connect", "--attach", "last"));
  await two.shows(/49999\s+50000\s+tail-42/);
  expect(two.shown()).toMatch(/\s1\s+2\s+3\s/); // all of it: the ring is larger
  const kill = startCli(args("sessions", "--kill", "last"), { env: { HOME: home } });
  expect(await kill.ended()).toBe(0);
  expect(await two.terminal.exit).toEqual({ kind: "exited", status: 129 });
}, 120_000);
