// A program on a pty. docs/limits.md says what happens to output that comes after the program has ended.

import { spawn } from "node:child_process";
import fs from "node:fs";
import tty from "node:tty";
import type { Clock } from "../../protocol/clock.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { MAX_TERMINAL_SIDE } from "../../protocol/limits.ts";
import type { ExitStatus } from "../../protocol/session/channel-api.ts";
import { nodeClock } from "../../node/clock.ts";
import { FdWriter, readNow } from "../nonblocking-fd.ts";
import type { Account } from "./account.ts";
import { MAX_INPUT_QUEUED } from "./guest-process.ts";
import type { GuestProcess, OutputReader } from "./guest-process.ts";
import { findProgram, shieldFromChildren, shieldedStdio } from "./launch.ts";
import type { Launch } from "./launch.ts";
import { type RunningProgram, findSetsid, runOnTerminal } from "./running-program.ts";
import { loadPtyAddon } from "./pty-addon.ts";
import type { PtyAddon } from "./pty-addon.ts";

/** Read-ahead, and the most that one read() gives. */
const BUFFER_SIZE = 64 * 1024;
/** The kernel gives at most 4095 bytes of a pty at a time. */
const LANDING_SIZE = 4095;
/** A read that brought at least this much probably has more behind it: worth one turn of the loop to gather. */
const LARGE_READ = 2048;
/** Up to here a chunk is copied out, above it the buffer itself is handed over. */
const COPY_BELOW = 16 * 1024;

// After the program ended, its own output is complete once the kernel has nothing more, because the kernel empties its
// queues before it says so. Background processes may keep the terminal open: their output is waited for until it
// pauses, and up to a number of bytes that is above what the kernel can have held of the program's own (about 70 KiB).
const QUIET_AFTER_EXIT_MS = 500;
const MAX_BYTES_AFTER_EXIT = 256 * 1024;
const DRAIN_POLL_MIN_MS = 1;
const DRAIN_POLL_MAX_MS = 20;

const END_OF_FILE_CHARACTER = 0x04;
// A pipe's end stays. A terminal's is a character, which login and others throw away with all that came before they ask: so it
// is typed again, as long as the program runs and nobody types anything else.
const END_AGAIN_MIN_MS = 200;
const END_AGAIN_MAX_MS = 5000;
/** Some 40 s: a program that takes no end then is none of those that flush their input, and others may come to type. */
const END_AGAIN_TIMES = 12;
const MODE_TERMINAL = 0o620;
const MODE_PRIVATE = 0o600;

export interface PtyLaunch extends Launch {
  readonly columns: number;
  readonly rows: number;
  readonly clock?: Clock;
}

/**
 * A program that does not exist ends with status 127, and says so on the terminal.
 * @throws SealttyError `device-unavailable` where ptys cannot be had, `api-misuse`.
 */
export async function startOnPty(launch: PtyLaunch): Promise<GuestProcess> {
  return await startOnTerminal(launch, launch.clock ?? nodeClock, async ({ slave }) => {
    giveTerminal(slave, launch.account, { gid: process.getgid?.() ?? 0 });
    return runOnTerminal(launch, slave);
  });
}

export interface OpenedTerminal {
  readonly master: number;
  /** The caller's until it is closed by `startOnTerminal`. */
  readonly slave: number;
  /** "/dev/pts/N" */
  readonly path: string;
}

/**
 * Opens a terminal, has `start` start a program on it, and carries its bytes.
 * @throws SealttyError `device-unavailable`, `api-misuse`, and whatever `start` throws.
 */
export async function startOnTerminal(
  size: { readonly columns: number; readonly rows: number },
  clock: Clock,
  start: (terminal: OpenedTerminal) => Promise<RunningProgram>,
): Promise<GuestProcess> {
  checkSize(size.columns, size.rows);
  const addon = loadPtyAddon();
  findSetsid(); // before anything is opened
  const { master, slave, path, unshield } = openPair(addon, size);
  try {
    await setUtf8(slave);
    const program = await start({ master, slave, path });
    return new PtyProcess(program, addon, master, slave, unshield, clock);
  } catch (error) {
    unshield();
    fs.closeSync(master);
    fs.closeSync(slave);
    throw error;
  }
}

/**
 * The terminal belongs to who uses it: mesg(1), a shell's own job control through /dev/tty, and nobody else.
 * @param opener - whose group it has where devpts is mounted without gid=: that one may not write there.
 */
export function giveTerminal(
  slave: number,
  account: Pick<Account, "uid" | "gid"> | undefined,
  opener: Pick<Account, "gid">,
): void {
  if (account === undefined) return;
  const { gid } = fs.fstatSync(slave);
  const isOpeners = gid === opener.gid;
  fs.fchownSync(slave, account.uid, isOpeners ? account.gid : gid);
  fs.fchmodSync(slave, isOpeners ? MODE_PRIVATE : MODE_TERMINAL);
}

function openPair(
  addon: PtyAddon,
  size: { readonly columns: number; readonly rows: number },
): OpenedTerminal & { unshield: () => void } {
  let pair: ReturnType<PtyAddon["open"]>;
  try {
    pair = addon.open(size.columns, size.rows);
  } catch (cause) {
    throw new SealttyError(
      "device-unavailable",
      "The kernel gives no pty. Check that /dev/pts is mounted, and /proc/sys/kernel/pty/max.",
      { cause },
    );
  }
  const unshield = shieldFromChildren(pair.master);
  try {
    // Again, by name: the addon's has O_NONBLOCK, which the program would share and trip over.
    const slave = fs.openSync(pair.pty, fs.constants.O_RDWR | fs.constants.O_NOCTTY);
    return { master: pair.master, slave, path: pair.pty, unshield };
  } catch (cause) {
    unshield();
    fs.closeSync(pair.master);
    throw new SealttyError("device-unavailable", `Cannot open the pty ${pair.pty}.`, { cause });
  } finally {
    fs.closeSync(pair.slave);
  }
}

/** So that erasing a character in the kernel's line editor erases all its bytes. Without stty it erases one. */
async function setUtf8(slave: number): Promise<void> {
  const stty = findProgram("stty");
  if (stty === undefined) return;
  await new Promise<void>((resolve) => {
    const child = spawn(stty, ["iutf8"], { stdio: shieldedStdio([slave, "ignore", "ignore"]) });
    child.once("error", () => resolve());
    child.once("exit", () => resolve());
  });
}

function checkSize(columns: number, rows: number): void {
  for (const side of [columns, rows]) {
    if (!Number.isInteger(side) || side < 1 || side > MAX_TERMINAL_SIDE) {
      throw new SealttyError("api-misuse", `A terminal has 1 to ${MAX_TERMINAL_SIDE} columns and rows`);
    }
  }
}

const NOTHING: OutputReader = { read: () => Promise.resolve(undefined) };

class PtyProcess implements GuestProcess {
  readonly stdout: OutputReader = { read: () => this.#read() };
  readonly stderr = NOTHING;
  readonly exit: Promise<ExitStatus>;

  readonly #program: RunningProgram;
  readonly #addon: PtyAddon;
  readonly #clock: Clock;
  readonly #master: number;
  readonly #unshield: () => void;
  readonly #stream: tty.ReadStream; // owns the master
  readonly #writer: FdWriter;
  readonly #landing = Buffer.allocUnsafeSlow(LANDING_SIZE);
  /** Held open while the program runs: so the master never reports an end before, even when login closes and reopens. */
  #slave: number | undefined;
  #buffer = Buffer.allocUnsafeSlow(BUFFER_SIZE);
  #length = 0;
  #deliver: ((chunk: Uint8Array | undefined) => void) | undefined;
  #phase: "running" | "draining" | "ended" = "running";
  #status: ExitStatus | undefined;
  #resolveExit!: (status: ExitStatus) => void;
  #gathering = false;
  #lastInput = 0x0a;
  #cancelEndAgain: (() => void) | undefined;
  #quietSince = 0;
  #afterExit = 0; // bytes
  #pollDelay = DRAIN_POLL_MIN_MS;
  #cancelPoll: (() => void) | undefined;

  constructor(
    program: RunningProgram,
    addon: PtyAddon,
    master: number,
    slave: number,
    unshield: () => void,
    clock: Clock,
  ) {
    this.#program = program;
    this.#addon = addon;
    this.#master = master;
    this.#slave = slave;
    this.#unshield = unshield;
    this.#clock = clock;
    this.exit = new Promise((resolve) => {
      this.#resolveExit = resolve;
    });
    this.#writer = new FdWriter(master, { clock, limit: MAX_INPUT_QUEUED, onError: () => {} });
    // A landing buffer of our own: libuv keeps pointing at it, so it must never be handed out.
    const options = {
      allowHalfOpen: true,
      onread: { buffer: this.#landing, callback: (length: number) => this.#receive(length) },
    };
    this.#stream = new tty.ReadStream(master, options);
    this.#stream.on("error", () => this.#endOutput());
    this.#stream.on("end", () => this.#endOutput());
    this.#stream.resume();
    void program.ended.then(({ status }) => this.#ended(status));
  }

  write(bytes: Uint8Array): Promise<void> {
    if (this.#phase !== "running" || bytes.length === 0) return Promise.resolve();
    this.#cancelEndAgain?.(); // somebody else types into the same session
    this.#cancelEndAgain = undefined;
    this.#lastInput = bytes[bytes.length - 1] as number;
    return this.#writer.write(bytes);
  }

  endInput(): void {
    // On a line already begun the first one only sends the line off.
    const lineBegun = this.#lastInput !== 0x0a && this.#lastInput !== 0x0d;
    const times = lineBegun ? 2 : 1;
    this.#typeEnd(times, END_AGAIN_MIN_MS, END_AGAIN_TIMES);
  }

  /** @param again - ms until the next one. @param left - so many more. */
  #typeEnd(times: number, again: number, left: number): void {
    const typed = this.write(new Uint8Array(times).fill(END_OF_FILE_CHARACTER));
    let cancelled = false;
    const cancel = (): void => {
      cancelled = true;
    };
    this.#cancelEndAgain = cancel;
    // Not before the terminal took it: one that takes nothing gets no more of them.
    typed.then(
      () => {
        if (cancelled || left === 0 || this.#phase !== "running") return;
        this.#cancelEndAgain = this.#clock.after(again, () =>
          this.#typeEnd(1, Math.min(2 * again, END_AGAIN_MAX_MS), left - 1),
        );
      },
      () => {},
    );
  }

  resize(columns: number, rows: number): void {
    checkSize(columns, rows);
    if (this.#phase !== "ended") this.#addon.resize(this.#master, columns, rows);
  }

  signal(name: string): void {
    this.#program.signal(name);
  }

  hangUp(): void {
    this.#length = 0;
    this.#endOutput(); // closing the master is what sends SIGHUP
  }

  #read(): Promise<Uint8Array | undefined> {
    if (this.#length > 0) {
      const chunk = this.#take();
      if (this.#phase === "running") this.#stream.resume();
      else if (this.#phase === "draining") this.#drain(true);
      return Promise.resolve(chunk);
    }
    if (this.#phase === "ended") return Promise.resolve(undefined);
    if (this.#deliver !== undefined) {
      return Promise.reject(new SealttyError("api-misuse", "Two reads of one output at a time"));
    }
    return new Promise((resolve) => {
      this.#deliver = resolve;
      if (this.#phase === "draining") this.#drain(true);
    });
  }

  /** libuv has read into the landing buffer. @returns whether it should go on. */
  #receive(length: number): boolean {
    if (this.#phase !== "running") return false;
    this.#landing.copy(this.#buffer, this.#length, 0, length);
    this.#length += length;
    if (length < LARGE_READ) this.#handOver();
    else if (!this.#gathering) {
      this.#gathering = true;
      setImmediate(() => {
        this.#gathering = false;
        this.#handOver();
        if (this.#phase === "running" && this.#length === 0) this.#stream.resume();
      });
    }
    return this.#length <= BUFFER_SIZE - LANDING_SIZE;
  }

  #take(): Uint8Array {
    const view = this.#buffer.subarray(0, this.#length);
    this.#length = 0;
    if (view.length <= COPY_BELOW) return new Uint8Array(view);
    this.#buffer = Buffer.allocUnsafeSlow(BUFFER_SIZE);
    return view;
  }

  #handOver(): void {
    if (this.#deliver === undefined) return;
    if (this.#length === 0 && this.#phase !== "ended") return;
    const deliver = this.#deliver;
    this.#deliver = undefined;
    deliver(this.#length > 0 ? this.#take() : undefined);
  }

  #ended(status: ExitStatus): void {
    if (this.#status !== undefined) return;
    this.#status = status;
    if (this.#phase !== "running") {
      this.#resolveExit(status);
      return;
    }
    this.#phase = "draining";
    this.#cancelEndAgain?.();
    this.#writer.stop();
    // No more by way of libuv: once the last slave is closed it takes a short read for the end, and loses the rest.
    this.#stream.pause();
    this.#closeSlave();
    this.#drain(true);
  }

  /** @param fresh - the silence counts from now: until now nobody listened. */
  #drain(fresh: boolean): void {
    this.#cancelPoll?.();
    this.#cancelPoll = undefined;
    if (fresh) {
      this.#quietSince = this.#clock.now();
      this.#pollDelay = DRAIN_POLL_MIN_MS;
    }
    while (this.#phase === "draining") {
      if (this.#length === BUFFER_SIZE) this.#handOver();
      if (this.#length === BUFFER_SIZE) return; // the next read() goes on
      let length: number | "again" = 0;
      try {
        length = readNow(this.#master, this.#buffer, this.#length);
      } catch {
        // EIO: nobody has the terminal any more
      }
      if (length === "again") {
        this.#handOver();
        if (this.#clock.now() - this.#quietSince >= QUIET_AFTER_EXIT_MS) break;
        this.#cancelPoll = this.#clock.after(this.#pollDelay, () => this.#drain(false));
        this.#pollDelay = Math.min(this.#pollDelay * 2, DRAIN_POLL_MAX_MS);
        return;
      }
      if (length === 0) break;
      this.#length += length;
      this.#afterExit += length;
      if (this.#afterExit > MAX_BYTES_AFTER_EXIT) break;
      this.#quietSince = this.#clock.now();
      this.#pollDelay = DRAIN_POLL_MIN_MS;
    }
    this.#endOutput();
  }

  /** Nothing more will be read; what was read stays for read(). */
  #endOutput(): void {
    if (this.#phase === "ended") return;
    this.#phase = "ended";
    this.#cancelPoll?.();
    this.#cancelEndAgain?.();
    this.#writer.stop();
    this.#unshield();
    this.#stream.destroy(); // closes the master
    this.#closeSlave();
    this.#handOver();
    if (this.#status !== undefined) this.#resolveExit(this.#status);
  }

  #closeSlave(): void {
    if (this.#slave !== undefined) fs.closeSync(this.#slave);
    this.#slave = undefined;
  }
}
