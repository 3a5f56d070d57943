// `sealtty connect` on a terminal that is closed under it: it ends by SIGHUP, not by an abort, and the guest's program ends.
import path from "node:path";
import { expect, test } from "vitest";
import { startOnPty } from "../../server/sessions/pty-process.ts";
import { startSealttyd } from "../support/sealttyd.ts";

const SEALTTY = path.resolve(import.meta.dirname, "../../dist/bin/sealtty.js");

const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

test("the terminal is closed: SIGHUP here, SIGHUP there", async () => {
  const guest = await startSealttyd({ login: ["/bin/sh", "-c", "echo pid=$$; exec sleep 600"] });
  try {
    const terminal = await startOnPty({
      command: [
        process.execPath,
        SEALTTY,
        "connect",
        `unix:${guest.socket}`,
        "--policy",
        guest.policyFile,
        "--simulated",
      ],
      environment: { PATH: process.env["PATH"] ?? "", TERM: "xterm" },
      directory: "/",
      columns: 80,
      rows: 24,
    });
    let shown = "";
    while (!/pid=\d+/.test(shown)) {
      const chunk = await terminal.stdout.read();
      if (chunk === undefined) throw new Error(`sealtty ended:\n${shown}`);
      shown += Buffer.from(chunk).toString();
    }
    const pid = Number(/pid=(\d+)/.exec(shown)?.[1]);
    expect(isAlive(pid)).toBe(true);
    terminal.hangUp();
    expect(await terminal.exit).toEqual({ kind: "signalled", signal: "SIGHUP" });
    while (isAlive(pid)) await new Promise((resolve) => setTimeout(resolve, 20));
  } finally {
    await guest.stop();
  }
}, 60_000);
