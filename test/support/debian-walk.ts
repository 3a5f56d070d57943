// One boot of a whole Debian, walked by sealtty over virtio-serial, through a relay, and all of it tapped: what both walks share.

import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { expect } from "vitest";
import type { DebianGuest } from "../../scripts/lib/vm.mjs";
import { startRelay } from "../../relay/relay.ts";
import { runCli } from "./cli.ts";
import { findSecret, tapWire } from "./host-eyes.ts";
import { onTerminal, type OnTerminal } from "./on-terminal.ts";
import { bootVm, type Vm, type VmOptions } from "./vm.ts";

/** An emulated machine that mounts a disk and starts systemd, on a machine that does other things as well. */
export const SYSTEM_TIMEOUT = 600_000;
export const STEP_TIMEOUT = 4 * SYSTEM_TIMEOUT;
/** Where nothing is typed that could be guessed from sizes: slots cost an emulated machine its time. */
export const UNSHAPED = ["--obfuscate", "off"];

export interface DebianWalk {
  readonly vm: Vm;
  /** Of its clients, and of this test alone. */
  readonly home: string;
  readonly identity: string;
  readonly policy: string;
  readonly address: string;
  /** With them a client finds the guest good. */
  readonly options: readonly string[];
  /** And is root there. */
  readonly withKey: readonly string[];
  /** Says it, and how long the machine has run. */
  readonly tell: (what: string) => void;
  cli(command: string, args: readonly string[], input?: string): ReturnType<typeof runCli>;
  /** `sealtty connect`. */
  terminal(...args: readonly string[]): Promise<OnTerminal>;
  /** In the guest's own log in, which the channel carries. */
  logIn(user: string, password: string): Promise<OnTerminal>;
  /** Nothing of them is in what crossed the host, or is on its consoles and in its logs. @param also - logs of others. */
  hostHasNothingOf(secrets: readonly string[], also?: readonly string[]): void;
  /** The machine's console, its TPM and the relay. */
  logs(): readonly string[];
  stop(): Promise<void>;
}

/** Boots it, and saves a policy by its evidence. @param machine - given a directory of this test's. */
export async function startWalk(
  system: DebianGuest,
  machine: (home: string) => Omit<VmOptions, "firmware" | "system" | "timeoutMs">,
): Promise<DebianWalk> {
  const home = fs.mkdtempSync(path.join(os.tmpdir(), "sealtty-debian-walk-"));
  const stops: (() => Promise<void>)[] = [];
  const stop = async (): Promise<void> => {
    for (const each of stops.reverse()) await each();
    fs.rmSync(home, { recursive: true });
  };
  try {
    return await start();
  } catch (error) {
    await stop();
    throw error;
  }

  async function start(): Promise<DebianWalk> {
    process.stdout.write(
      `initramfs with sealtty: ${(fs.statSync(system.initrd).size / 1e6).toFixed(1)} MB\n`,
    );
    const began = performance.now();
    const tell = (what: string): void => {
      process.stdout.write(`${Math.round((performance.now() - began) / 1000)} s: ${what}\n`);
    };
    const vm = await bootVm({
      firmware: "seabios",
      system,
      timeoutMs: SYSTEM_TIMEOUT,
      ...machine(home),
    });
    stops.push(() => vm.stop());
    tell("booted");
    const identity = path.join(home, "id"); // ssh's rules for its mode hold wherever the cache is
    fs.copyFileSync(system.identity, identity);
    fs.chmodSync(identity, 0o600);
    const tap = await tapWire({ path: vm.unixPath ?? "" });
    stops.push(() => tap.close());
    let relayLog = "";
    const relay = await startRelay({
      listen: { host: "127.0.0.1", port: 0 },
      guests: new Map([["g", { kind: "tcp", host: "127.0.0.1", port: tap.port }]]),
      allowOrigins: [],
      log: (line) => (relayLog += `${line}\n`),
    });
    stops.push(() => relay.close());

    const address = `ws://127.0.0.1:${relay.port}/g`;
    const policy = path.join(home, "policy.toml");
    const cli: DebianWalk["cli"] = (command, args, input) =>
      runCli([command, ...args], input, { env: { HOME: home } });
    const saved = await cli("inspect", [
      address,
      "--save-policy",
      policy,
      "--timeout",
      String(SYSTEM_TIMEOUT / 1000),
    ]);
    if (saved.status !== 0) throw new Error(`${saved.stderr}\n${vm.serialLog()}`);
    tell("its evidence was looked at");

    const options = ["--policy", policy, "--timeout", String(SYSTEM_TIMEOUT / 1000)];
    const terminal: DebianWalk["terminal"] = (...args) =>
      onTerminal(["connect", address, ...args], { home, patience: SYSTEM_TIMEOUT });
    const logs = (): string[] => [vm.serialLog(), vm.swtpmLog(), relayLog];
    return {
      ...{ vm, home, identity, policy, address, options },
      withKey: [...options, "-l", "root", "-i", identity],
      ...{ tell, cli, terminal, logs, stop },
      async logIn(user, password) {
        const session = await terminal(...options);
        await session.shows(/login: /);
        await session.type(`${user}\r`);
        await session.shows(/Password: /);
        await session.type(`${password}\r`);
        await session.shows(/[#$] $/);
        return session;
      },
      hostHasNothingOf(secrets, also = []) {
        const captured = tap.captured();
        expect(captured.reduce((sum, { length }) => sum + length, 0)).toBeGreaterThan(10_000);
        const texts = [...logs(), ...also].map((text) => Buffer.from(text));
        for (const secret of secrets) expect(findSecret([...captured, ...texts], secret)).toEqual([]);
      },
    };
  }
}

/**
 * @param logs - what to print where one fails.
 * @returns what a step of a walk is to be in: behind one that failed each would fail by time, and say less.
 */
export function walkSteps(logs: () => readonly string[]): (step: () => Promise<void>) => () => Promise<void> {
  let broken = false;
  return (step) => async () => {
    if (broken) throw new Error("not walked: a step before it failed");
    try {
      await step();
    } catch (error) {
      broken = true;
      process.stdout.write(`${logs().join("\n--\n")}\n`);
      throw error;
    }
  };
}
