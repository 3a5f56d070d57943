// Flow control end to end, with a real sealttyd, a real shell on a pty, and clients that read too little or paste too much.
// What is asserted are bytes and their order; times are printed (docs/soak.md has the aims).
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { nodeClock } from "../../node/clock.ts";
import { connectUnixSocket } from "../../node/unix-socket-pipe.ts";
import { utf8 } from "../../protocol/bytes.ts";
import { INPUT_STREAM_WINDOW, MAX_SEND_BUFFER, OUTPUT_STREAM_WINDOW } from "../../protocol/limits.ts";
import type { Guest } from "../../protocol/session/api.ts";
import type { Channel } from "../../protocol/session/channel-api.ts";
import { connect } from "../../protocol/session/connect.ts";
import { residentMiB } from "../support/process-cost.ts";
import { startSealttyd, type RunningGuest } from "../support/sealttyd.ts";
import { clientOptions } from "../support/session.ts";

const MiB = 1024 * 1024;
const CTRL_C = utf8("\x03");
/** On top of credit: 64 KiB unsent and 64 KiB read ahead in the guest (docs/limits.md), and what the kernel keeps for a pty. */
const BESIDE_CREDIT = 320 * 1024;
/** What a Node process may gain by itself while megabytes pass through it. */
const MEMORY_SLACK_MIB = 64;
const PROMPT = "ready-to-go> ";

let guest: RunningGuest;
let scratch: string;
beforeAll(async () => {
  guest = await startSealttyd({ login: ["/bin/sh"] });
  scratch = mkdtempSync(path.join(os.tmpdir(), "sealtty-flow-"));
});
afterAll(async () => {
  await guest?.stop();
  rmSync(scratch, { recursive: true, force: true });
});

const residentOfGuest = (): number => residentMiB(guest.child.pid as number);

/** A shell on a terminal, read only while told to. */
class Shell {
  readonly channel: Channel;
  #received = 0;
  #tail = ""; // the end of what was shown
  #reading = true;
  #resume: () => void = () => {};
  #looking: (() => void)[] = [];
  /** Gets what comes, beside the counting. */
  sink: (part: Uint8Array) => void = () => {};
  #over = false;

  constructor(channel: Channel) {
    this.channel = channel;
    channel.exit.catch(() => {});
    this.#read()
      .catch(() => {})
      .finally(() => {
        this.#over = true;
        this.#look();
      });
  }

  get received(): number {
    return this.#received;
  }
  /** Counts from here on. */
  restart(): void {
    this.#received = 0;
    this.#tail = "";
  }
  pause(): void {
    this.#reading = false;
  }
  goOn(): void {
    this.#reading = true;
    this.#resume();
  }
  type(text: string): Promise<void> {
    return this.channel.write(utf8(text));
  }
  async until(holds: (tail: string) => boolean): Promise<void> {
    while (!holds(this.#tail)) {
      if (this.#over) throw new Error(`The output ended: ${JSON.stringify(this.#tail)}`);
      await new Promise<void>((resolve) => this.#looking.push(resolve));
    }
  }

  async #read(): Promise<void> {
    for (;;) {
      while (!this.#reading) await new Promise<void>((resolve) => (this.#resume = resolve));
      const part = await this.channel.stdout.read();
      if (part === undefined) return;
      while (!this.#reading) await new Promise<void>((resolve) => (this.#resume = resolve));
      this.#received += part.length;
      this.sink(part);
      this.#tail = (this.#tail + Buffer.from(part).toString("latin1")).slice(-200);
      this.channel.stdout.consumed(part.length);
      this.#look();
    }
  }
  #look(): void {
    for (const look of this.#looking.splice(0)) look();
  }
}

async function session(): Promise<{ guest: Guest; open: () => Promise<Shell> }> {
  const attested = await connect(clientOptions(nodeClock, () => connectUnixSocket(guest.socket)));
  const opened = await attested.authenticate({ method: "none", user: "root" });
  return {
    guest: opened,
    async open() {
      const shell = new Shell(
        await opened.openChannel({ kind: "login", term: "xterm", columns: 80, rows: 24 }),
      );
      await shell.type("PS1=ready-to-'go> '\r");
      await shell.until((tail) => tail.endsWith(PROMPT));
      return shell;
    },
  };
}

/** Waits until a value rests: a second without a change. */
async function atRest(value: () => number): Promise<number> {
  for (let last = value(), since = performance.now(); ; ) {
    await sleep(50);
    const now = value();
    if (now !== last) since = performance.now();
    else if (performance.now() - since > 1000) return now;
    last = now;
  }
}

const numberIn = (file: string): number => (existsSync(file) ? Number(readFileSync(file, "utf8")) : 0);

test("100 MB of output and Ctrl-C: the flood stops long before its end, and the prompt is there", async () => {
  const { guest: connection, open } = await session();
  const shell = await open();
  shell.restart();
  await shell.type("yes 0123456789 | head -c 100000000\r");
  await shell.until(() => shell.received > 4 * MiB);
  const before = shell.received;
  const start = performance.now();
  await shell.channel.write(CTRL_C);
  await shell.until((tail) => tail.endsWith(PROMPT));
  const ms = performance.now() - start;
  process.stdout.write(
    `FLOW Ctrl-C in a flood: prompt after ${Math.round(ms)} ms and ${((shell.received - before) / 1024).toFixed(0)} KiB\n`,
  );
  expect(shell.received).toBeLessThan(100_000_000);
  await shell.type("echo alive-$((40+2))\r");
  await shell.until((tail) => tail.includes("alive-42"));
  await connection.close();
});

test("a client that reads nothing: the program is paused at its source, memory rests, and Ctrl-C still gets through", async () => {
  const { guest: connection, open } = await session();
  const shell = await open();
  const [count, caught] = [path.join(scratch, "count"), path.join(scratch, "caught")];
  shell.restart();
  const resident = residentOfGuest();
  const loop = `n=0; while :; do head -c 65536 /dev/zero; n=$((n+1)); echo $n >${count}.new; mv ${count}.new ${count}; done`;
  await shell.type(`sh -c 'trap "echo yes >${caught}; exit" INT; ${loop}'\r`);
  await shell.until(() => shell.received > 2 * MiB);
  shell.pause();
  const paused = shell.received;
  const written = await atRest(() => numberIn(count) * 65_536);
  expect(written - paused).toBeLessThan(OUTPUT_STREAM_WINDOW + BESIDE_CREDIT);
  expect(residentOfGuest() - resident).toBeLessThan(MEMORY_SLACK_MIB);
  const start = performance.now();
  await shell.channel.write(CTRL_C);
  while (!existsSync(caught)) await sleep(5);
  process.stdout.write(
    `FLOW Ctrl-C to a paused program: caught after ${Math.round(performance.now() - start)} ms\n`,
  );
  shell.goOn();
  await shell.until((tail) => tail.endsWith(PROMPT));
  // Between the last byte read before and the prompt there is what was under credit, and nothing that came later.
  expect(shell.received - paused).toBeLessThan(OUTPUT_STREAM_WINDOW + BESIDE_CREDIT);
  await connection.close();
}, 60_000);

test("10 MB pasted into a program that does not read: held at the client, by credit; other channels live", async () => {
  const { guest: connection, open } = await session();
  const shell = await open();
  await shell.type("stty raw -echo; echo deaf-$((40+2)); exec sleep 600\r");
  await shell.until((tail) => tail.includes("deaf-42"));
  const resident = residentOfGuest();
  const own = process.memoryUsage().rss / MiB;
  let accepted = 0;
  const pasting = (async () => {
    const part = new Uint8Array(16 * 1024).fill(0x61);
    for (; accepted < 10 * MiB; accepted += part.length) await shell.channel.write(part);
  })();
  pasting.catch(() => {}); // ends with the connection
  const taken = await atRest(() => accepted);
  expect(taken).toBeLessThan(MAX_SEND_BUFFER + 2 * INPUT_STREAM_WINDOW + BESIDE_CREDIT);
  expect(residentOfGuest() - resident).toBeLessThan(MEMORY_SLACK_MIB);
  expect(process.memoryUsage().rss / MiB - own).toBeLessThan(2 * MEMORY_SLACK_MIB);
  const other = await open();
  await other.type("echo beside-$((40+2))\r");
  await other.until((tail) => tail.includes("beside-42"));
  shell.channel.hangUp();
  expect(await shell.channel.exit).toMatchObject({ signal: "SIGHUP" });
  await connection.close();
}, 60_000);

test("10 MB pasted into cat come back whole, in order, once", async () => {
  const { guest: connection, open } = await session();
  const shell = await open();
  await shell.type("stty raw -echo; printf sta'rt'; exec cat\r");
  await shell.until((tail) => tail.endsWith("start"));
  const resident = residentOfGuest();
  const pasted = createHash("sha256");
  const back = createHash("sha256");
  const target = shell.received + 10 * MiB;
  shell.sink = (part) => back.update(part);
  const part = new Uint8Array(64 * 1024);
  const start = performance.now();
  for (let sent = 0; sent < 10 * MiB; sent += part.length) {
    new DataView(part.buffer).setUint32(0, sent);
    for (let i = 4; i < part.length; i++) part[i] = (i * 31 + sent / 1024) & 0xff;
    pasted.update(part);
    await shell.channel.write(part);
  }
  await shell.until(() => shell.received >= target);
  process.stdout.write(
    `FLOW 10 MB there and back through cat: ${Math.round(performance.now() - start)} ms\n`,
  );
  expect(shell.received).toBe(target);
  expect(back.digest("hex")).toBe(pasted.digest("hex"));
  expect(residentOfGuest() - resident).toBeLessThan(MEMORY_SLACK_MIB);
  shell.channel.hangUp();
  await shell.channel.exit;
  await connection.close();
}, 120_000);

test("half a megabyte pasted into vim is the file that vim writes", async () => {
  const { guest: connection, open } = await session();
  const shell = await open();
  const file = path.join(scratch, "pasted.txt");
  await shell.type(`vim.tiny -u NONE -N -n -i NONE --cmd 'set paste' ${file}\r`);
  // Its last empty line is drawn: from here on the terminal is raw, and takes more than a line.
  await shell.until((tail) => tail.includes("[23;1H~"));
  const line = (n: number): string => `${String(n).padStart(7, "0")} ${"abcdefghij".repeat(7)}`;
  const lines = Array.from({ length: 6500 }, (_, n) => line(n));
  const start = performance.now();
  await shell.type("i");
  for (let at = 0; at < lines.length; at += 100)
    await shell.type(`${lines.slice(at, at + 100).join("\r")}\r`);
  await shell.type("end\x1b:wq\r");
  await shell.until((tail) => tail.endsWith(PROMPT));
  process.stdout.write(`FLOW 0.5 MB into vim: written after ${Math.round(performance.now() - start)} ms\n`);
  const written = readFileSync(file, "utf8");
  expect(written.length).toBeGreaterThan(500_000);
  expect(written === `${lines.join("\n")}\nend\n`).toBe(true);
  await connection.close();
}, 180_000);

test("sealttyd stopped by a signal amid output, and let go on: the session goes on, nothing is lost", async () => {
  const { guest: connection, open } = await session();
  const shell = await open();
  const numbers = Array.from({ length: 400_000 }, (_, n) => `${n + 1}\n`).join("");
  await shell.type("stty raw -echo; printf sta'rt'; read x; seq 1 400000; echo en'd'\r");
  await shell.until((tail) => tail.endsWith("start"));
  const got = createHash("sha256");
  let left = numbers.length;
  shell.sink = (part) => {
    got.update(part.subarray(0, left));
    left -= Math.min(left, part.length);
  };
  await shell.type("\n");
  await shell.until(() => left < numbers.length / 2);
  guest.child.kill("SIGSTOP");
  await sleep(1500); // retransmissions of the client fall due meanwhile
  guest.child.kill("SIGCONT");
  await shell.until((tail) => tail.includes("end\n"));
  expect(left).toBe(0);
  expect(got.digest("hex")).toBe(createHash("sha256").update(numbers).digest("hex"));
  await connection.close();
}, 60_000);
