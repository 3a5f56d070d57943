// A whole Debian with an encrypted root: from its initramfs, by `sealtty unlock` over virtio-serial, to the system on
// the disk. The passphrase is nowhere in what the host saw.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { DebianGuest } from "../../scripts/lib/vm.mjs";
import { type Relay, startRelay } from "../../relay/relay.ts";
import { startOnPty } from "../../server/sessions/pty-process.ts";
import { runCli } from "../support/cli.ts";
import { findSecret, tapWire, type WireTap } from "../support/host-eyes.ts";
import { BOOT_TIMEOUT, bootVm, type Vm } from "../support/vm.ts";

const project = path.resolve(import.meta.dirname, "../..");
const { buildDebianGuest, diskPassphrase } = (await import(`${project}/scripts/debian-guest.mjs`)) as {
  readonly buildDebianGuest: () => Promise<DebianGuest>;
  readonly diskPassphrase: string;
};
const SEALTTY = path.join(project, "dist/bin/sealtty.js");
const WRONG = "canary-wrong-Passphrase";
/** An emulated machine that mounts a disk and starts systemd, on a machine that does other things as well. */
const SYSTEM_TIMEOUT = 300_000;

let vm: Vm;
let tap: WireTap;
let relay: Relay;
let home: string;
let identity: string;
let relayLog = "";
const address = (): string => `ws://127.0.0.1:${relay.port}/g`;
const policy = (): string => path.join(home, "policy.toml");
const options = (): string[] => ["--policy", policy(), "--timeout", String(SYSTEM_TIMEOUT / 1000)];
const withKey = (): string[] => [...options(), "-l", "root", "-i", identity];

beforeAll(async () => {
  home = fs.mkdtempSync(path.join(os.tmpdir(), "sealtty-unlock-"));
  const system = await buildDebianGuest();
  vm = await bootVm({ firmware: "seabios", system, ready: /Please unlock disk/, timeoutMs: SYSTEM_TIMEOUT });
  process.stdout.write(`asks for the passphrase after ${Math.round(vm.bootMs)} ms\n`);
  identity = path.join(home, "id"); // ssh's rules for its mode hold wherever the cache is
  fs.copyFileSync(system.identity, identity);
  fs.chmodSync(identity, 0o600);
  tap = await tapWire({ path: vm.unixPath ?? "" });
  relay = await startRelay({
    listen: { host: "127.0.0.1", port: 0 },
    guests: new Map([["g", { kind: "tcp", host: "127.0.0.1", port: tap.port }]]),
    allowOrigins: [],
    log: (line) => (relayLog += `${line}\n`),
  });
  const saved = await cli("inspect", [address(), "--save-policy", policy(), "--timeout", "300"]);
  if (saved.status !== 0) throw new Error(saved.stderr);
}, BOOT_TIMEOUT + SYSTEM_TIMEOUT);
afterAll(async () => {
  await relay?.close();
  await tap?.close();
  await vm?.stop();
  fs.rmSync(home, { recursive: true });
});

const cli = (command: string, args: readonly string[], input?: string) =>
  runCli([command, ...args], input, { env: { HOME: home } });

/** `sealtty connect` on a terminal. */
async function onTerminal(args: readonly string[]) {
  const terminal = await startOnPty({
    command: [process.execPath, SEALTTY, "connect", address(), ...args],
    environment: { PATH: process.env["PATH"] ?? "", TERM: "xterm", HOME: home },
    directory: "/",
    columns: 100,
    rows: 30,
  });
  let shown = "";
  const waiting = new Set<() => void>();
  const over = (async () => {
    for (;;) {
      const chunk = await terminal.stdout.read();
      if (chunk === undefined) break;
      shown += Buffer.from(chunk).toString().replaceAll("\r", ""); // two terminals, so one or two for each line
      for (const wake of waiting) wake();
    }
  })();
  let ended = false;
  void over.then(() => {
    ended = true;
    for (const wake of waiting) wake();
  });
  return {
    shown: () => shown,
    type: (text: string) => terminal.write(Buffer.from(text)),
    exit: terminal.exit,
    /** In what comes from now on, or came since `from`. */
    async shows(pattern: RegExp, from = 0): Promise<RegExpExecArray> {
      const until = performance.now() + SYSTEM_TIMEOUT;
      for (;;) {
        const match = pattern.exec(shown.slice(from));
        if (match !== null) return match;
        if (ended || performance.now() > until) throw new Error(`no ${pattern} in:\n${shown}`);
        await new Promise<void>((resolve) => {
          const wake = (): void => {
            clearTimeout(timer);
            waiting.delete(wake);
            resolve();
          };
          const timer = setTimeout(wake, 5000);
          waiting.add(wake);
        });
      }
    },
  };
}

test(
  "asked in the initramfs, refused, opened, and the system takes over",
  async () => {
    const refused = await cli("unlock", [address(), ...withKey(), "--passphrase-file", "-"], `${WRONG}\n`);
    expect(refused.stderr).toMatch(/the guest asks: Please unlock disk root_crypt\n.*refused: /);
    expect(refused.status).toBe(1);

    // Nobody without a key: an initramfs has no login.
    const nobody = await cli("exec", [address(), ...options(), "-l", "root", "--batch", "--", "/bin/true"]);
    expect(nobody.status).toBe(255);

    const early = await onTerminal(withKey());
    await early.shows(/# /);
    await early.type("echo early-$((6*7)); ls -d /conf; cat /proc/1/comm\r");
    await early.shows(/early-42\n\/conf\ninit\n/);

    const opened = await cli(
      "unlock",
      [address(), ...withKey(), "--json", "--passphrase-file", "-"],
      `${diskPassphrase}\n`,
    );
    expect(opened.stderr).toMatch(/"event":"prompt-answered","number":\d+,"outcome":"opened"/);
    expect(opened.status).toBe(0);

    await early.shows(/handed-over: The guest's early sealttyd, of its initramfs, ended/);
    expect(await early.exit).toEqual({ kind: "exited", status: 255 });
  },
  4 * SYSTEM_TIMEOUT,
);

test("neither passphrase nor output is in anything that the host saw", () => {
  const captured = tap.captured();
  expect(captured.reduce((sum, { length }) => sum + length, 0)).toBeGreaterThan(10_000);
  const texts = [vm.serialLog(), vm.swtpmLog(), relayLog].map((text) => Buffer.from(text));
  expect(vm.serialLog()).toContain("Please unlock disk"); // it is the one that the host has
  for (const secret of [diskPassphrase, WRONG, "early-42"])
    expect(findSecret([...captured, ...texts], secret)).toEqual([]);
});
