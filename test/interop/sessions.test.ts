// A shell on a real pty behind the real sealttyd: the client is killed, another comes back to the same shell.
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { GuestProcess } from "../../server/sessions/guest-process.ts";
import { ScreenState } from "../../server/screen/screen-state.ts";
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

const PRINT = path.join(import.meta.dirname, "../support/print-lines.mjs");

/** A terminal that shows what sealtty writes to it. */
function screenOf(text: string, columns: number, rows: number) {
  const state = new ScreenState(columns, rows);
  state.feed(Buffer.from(text));
  const { active } = state.terminal.buffer;
  const all = [...Array(active.length).keys()].map(
    (row) => active.getLine(row)?.translateToString(true) ?? "",
  );
  return {
    above: all.slice(0, active.baseY),
    screen: all.slice(active.baseY),
    other: active.type === "alternate",
  };
}

test("20,000 lines past a small ring: who comes late has the screen and 10,000 lines above it; then an editor's screen", async () => {
  const small = await startSealttyd({ login: ["/bin/sh"], more: ["[sessions]", "ring_kib = 64"] });
  try {
    const guestArgs = (command: string, ...more: string[]) =>
      args(command, ...more).map((each) =>
        each.replace(guest.socket, small.socket).replace(guest.policyFile, small.policyFile),
      );
    const one = await onTerminal(...guestArgs("connect", "--keep"));
    await one.shows(/\$ |# /);
    await one.type(`${process.execPath} ${PRINT} 20000\r`);
    await one.shows(/line 20000\s/);
    await one.type("PS1=; echo ready-$((6*7))\r");
    await one.shows(/ready-42/);
    await one.type("\r~d");
    expect(await one.terminal.exit).toEqual({ kind: "exited", status: 0 });

    const two = await onTerminal(...guestArgs("connect", "--attach", "last"));
    await two.shows(/the screen comes back with 10000 lines above it/);
    await two.shows(/ready-42/);
    const shown = screenOf(two.shown(), 90, 30);
    expect(shown.other).toBe(false);
    const lines = [...shown.above, ...shown.screen]
      .flatMap((line) => /^line (\d+)$/.exec(line)?.[1] ?? [])
      .map(Number);
    expect(lines.at(-1)).toBe(20_000);
    expect(lines.length).toBeGreaterThan(9_900);
    expect(lines).toEqual(
      Array.from({ length: lines.length }, (_, index) => 20_000 - lines.length + 1 + index),
    );

    await two.type(`${process.execPath} ${PRINT} 20000 editor\r`);
    await two.shows(/-- INSERT --/);
    two.terminal.signal("SIGKILL");
    await two.terminal.exit;
    const three = await onTerminal(...guestArgs("connect", "--attach", "last"));
    await three.shows(/-- INSERT --/);
    const editor = screenOf(three.shown(), 90, 30);
    expect(editor.other).toBe(true);
    expect(editor.screen[0]).toBe("~ a file");
    expect(editor.screen[28]).toBe("-- INSERT --");
    expect(three.shown()).toContain("\x1b[?2004h");
    expect(three.shown()).toContain("\x1b[?1006h");
    await three.type("q"); // the program reads on: it was never stopped
    await three.shows(/\x1b\[\?1049l/);
    await three.type("exit 7\r");
    expect(await three.terminal.exit).toEqual({ kind: "exited", status: 7 });
  } finally {
    await small.stop();
  }
}, 180_000);
