// A terminal device (hvc, ttyS) as a Pipe: 8-bit clean, once it is raw. design: facts-vm §3.

import { spawn } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import type { Clock } from "../../protocol/clock.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { Pipe } from "../../protocol/pipe.ts";
import { nodeClock } from "../../node/clock.ts";
import { errorCode } from "../../node/socket-pipe.ts";
import { escapeText } from "../log.ts";
import { FdWriter } from "../nonblocking-fd.ts";
import { ChunkQueue } from "../../node/chunk-queue.ts";
import { readFd } from "./fd-reader.ts";
import type { FdReader } from "./fd-reader.ts";

const MAX_UNREAD = 256 * 1024;
const MAX_UNSENT = 2 * 1024 * 1024;
/** Flow control of a serial line may hold it; what waits this long is dropped and sent again from above. */
const DROP_AFTER_MS = 5000;
const STTY_TIMEOUT_MS = 10_000;
/** Words that GNU and busybox stty both know. */
const RAW = ["raw", "-echo", "-ixon", "-ixoff", "-iexten", "cs8", "-parenb", "clocal", "-hupcl"];

export interface TtyPipeOptions {
  /** The device may be a kernel console, because only printable frames will be used on it. */
  readonly armourOnly?: boolean;
  readonly clock?: Clock;
  /** For tests. */
  readonly consoles?: string;
  readonly stty?: string;
  readonly reading?: "auto" | "poll";
}

/**
 * Whether the kernel prints to this device. On such a one the host's byte 0x0f is SysRq, and the kernel's messages
 * are mixed into the stream.
 * @param consoles - the file to read in place of /proc/consoles.
 */
export function isKernelConsole(device: string, consoles = "/proc/consoles"): boolean {
  let real = device;
  let number: string | undefined;
  try {
    real = fs.realpathSync(device);
    const rdev = fs.statSync(real).rdev;
    number = `${(rdev >>> 8) & 0xfff}:${(rdev & 0xff) | ((rdev >>> 12) & 0xfff00)}`; // Linux's makedev()
  } catch {
    // Does not exist: its name decides.
  }
  const name = path.basename(real);
  if (name === "console") return true;
  return fs
    .readFileSync(consoles, "utf8")
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .some((fields) => {
      if (fields[0] === name || (number !== undefined && number !== "0:0" && fields.at(-1) === number))
        return true;
      return fields[0] === "tty0" && /^tty\d+$/.test(name); // tty0 is whichever virtual terminal is in front
    });
}

/** @throws SealttyError `device-unavailable`, `bad-config` where the device is a kernel console. */
export async function openTty(device: string, options: TtyPipeOptions = {}): Promise<TtyPipe> {
  const shown = `"${escapeText(device)}"`;
  if (options.armourOnly !== true && isConsoleOrUnknown(device, options.consoles)) {
    throw new SealttyError(
      "bad-config",
      `The kernel uses ${shown} as its console: bytes from the host could trigger SysRq, and kernel messages would mix in. ` +
        `Take console=${path.basename(device)} off the kernel's command line, use another device, or set armour_only = true.`,
    );
  }
  const { O_RDWR, O_NONBLOCK, O_NOCTTY } = fs.constants;
  let fd: number;
  try {
    fd = fs.openSync(device, O_RDWR | O_NONBLOCK | O_NOCTTY);
  } catch (cause) {
    const code = errorCode(cause);
    const next =
      code === "ENOENT"
        ? "Check the name, and that the host gives the machine this device."
        : code === "EACCES"
          ? "Run sealttyd as root, or as a member of the group that owns it."
          : "See the kernel log.";
    throw new SealttyError(
      "device-unavailable",
      `Cannot open ${shown}: ${code === "ENOENT" ? "there is no such device (ENOENT)" : (code ?? "unknown error")}. ${next}`,
      {
        cause,
      },
    );
  }
  try {
    await makeRaw(device, shown, options.stty ?? "stty");
  } catch (error) {
    fs.closeSync(fd);
    throw error;
  }
  return new TtyPipe(fd, options);
}

function isConsoleOrUnknown(device: string, consoles: string | undefined): boolean {
  try {
    return isKernelConsole(device, consoles);
  } catch (cause) {
    throw new SealttyError(
      "device-unavailable",
      "Cannot read /proc/consoles, so nobody knows whether the kernel prints to the device. Mount /proc, or set armour_only = true.",
      { cause },
    );
  }
}

/**
 * Called while the pipe's own descriptor is open: an hvc forgets its settings at the last close. setRawMode() would
 * leave OPOST on. stty gets a descriptor of its own, because spawning takes O_NONBLOCK off what it hands over.
 */
async function makeRaw(device: string, shown: string, stty: string): Promise<void> {
  const { O_RDWR, O_NONBLOCK, O_NOCTTY } = fs.constants;
  const fd = fs.openSync(device, O_RDWR | O_NONBLOCK | O_NOCTTY);
  try {
    await new Promise<void>((resolve, reject) => {
      const child = spawn(stty, RAW, { stdio: [fd, "ignore", "ignore"], timeout: STTY_TIMEOUT_MS });
      child.once("error", reject);
      child.once("exit", (status) => {
        if (status === 0) resolve();
        else reject(new Error(`stty ended with ${String(status)}`));
      });
    });
  } catch (cause) {
    const why =
      errorCode(cause) === "ENOENT"
        ? "the program stty is missing. Install coreutils, or busybox with stty."
        : "stty refused: is it a terminal at all? Check device in the configuration.";
    throw new SealttyError("device-unavailable", `Cannot make ${shown} raw: ${why}`, { cause });
  } finally {
    fs.closeSync(fd);
  }
}

export class TtyPipe implements Pipe {
  readonly incoming: AsyncIterable<Uint8Array>;
  readonly #queue: ChunkQueue;
  readonly #reader: FdReader;
  readonly #writer: FdWriter;
  #closed = false;

  /** @param fd - raw, O_NONBLOCK; owned by the pipe. Use openTty(). */
  constructor(fd: number, options: TtyPipeOptions) {
    const clock = options.clock ?? nodeClock;
    const lost = (cause: unknown) =>
      this.#queue.end(new SealttyError("transport-lost", "The terminal device was hung up.", { cause }));
    this.#queue = new ChunkQueue(MAX_UNREAD, () => this.#reader.resume());
    this.incoming = this.#queue;
    this.#writer = new FdWriter(fd, { clock, limit: MAX_UNSENT, dropAfter: DROP_AFTER_MS, onError: lost });
    this.#reader = readFd(
      fd,
      clock,
      { onData: (chunk) => this.#queue.push(chunk), onEnd: lost },
      options.reading,
    );
    this.#reader.resume();
  }

  async send(chunk: Uint8Array): Promise<void> {
    if (this.#closed) throw new SealttyError("transport-lost", "The terminal device was closed.");
    await this.#writer.write(chunk).catch(() => {});
  }

  close(): Promise<void> {
    if (!this.#closed) {
      this.#closed = true;
      this.#writer.stop();
      this.#reader.close();
      this.#queue.end();
    }
    return Promise.resolve();
  }
}
