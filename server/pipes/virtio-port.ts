// A virtio-serial port as a Pipe: found by its name, one descriptor for as long as it exists.
// The host may come, go, stall or unplug it; the pipe only ends by close(). design: facts-vm §2, §8.

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

/** With the host away read() gives 0 at once: asking again sooner would only burn CPU. */
const AWAY_RETRY_MS = 200;
/** Host away or stalled: what waits this long is dropped, the protocol above sends its content again. */
const DROP_AFTER_MS = 1000;
/** The port was unplugged: it may come back. */
const REOPEN_MS = 1000;
const MAX_UNREAD = 256 * 1024;
const MAX_UNSENT = 2 * 1024 * 1024;
const MAX_PORTS_LISTED = 16;

export interface VirtioPortOptions {
  readonly clock?: Clock;
  /** A port that came back cannot be opened: another try follows a second later. */
  readonly askForDevice?: (() => void) | undefined;
  /** For tests. */
  readonly sysfs?: string;
  readonly devices?: string;
  readonly reading?: "auto" | "poll";
}

export const VIRTIO_PORTS = "/sys/class/virtio-ports";

/** Of the ports that this machine has now. */
export function virtioPortNames(): string[] {
  return listPorts(VIRTIO_PORTS).map(({ name }) => name);
}

/** @throws SealttyError `device-unavailable`, with what exists instead. */
export function openVirtioPort(name: string, options: VirtioPortOptions = {}): VirtioPort {
  return new VirtioPort(name, options);
}

export class VirtioPort implements Pipe {
  readonly incoming: AsyncIterable<Uint8Array>;
  readonly #name: string;
  readonly #options: VirtioPortOptions;
  readonly #clock: Clock;
  readonly #queue: ChunkQueue;
  #reader: FdReader | undefined;
  #writer: FdWriter | undefined;
  #cancelRetry: (() => void) | undefined;
  #closed = false;

  /** Use openVirtioPort(). */
  constructor(name: string, options: VirtioPortOptions) {
    this.#name = name;
    this.#options = options;
    this.#clock = options.clock ?? nodeClock;
    this.#queue = new ChunkQueue(MAX_UNREAD, () => this.#reader?.resume());
    this.incoming = this.#queue;
    this.#open();
  }

  /** Resolves once the port took the bytes, or gave no sign of life for a second and they were dropped. */
  async send(chunk: Uint8Array): Promise<void> {
    if (this.#closed) throw new SealttyError("transport-lost", "The virtio port was closed.");
    // The queue's limit is only reached by a caller that does not await: then this is one more lossy link.
    await this.#writer?.write(chunk).catch(() => {});
  }

  close(): Promise<void> {
    if (!this.#closed) {
      this.#closed = true;
      this.#release();
      this.#queue.end();
    }
    return Promise.resolve();
  }

  #open(): void {
    const fd = openPort(this.#name, this.#options);
    const writer = new FdWriter(fd, {
      clock: this.#clock,
      limit: MAX_UNSENT,
      dropAfter: DROP_AFTER_MS,
      onError: () => this.#reopenLater(),
    });
    const onEnd = (error: Error | undefined) => {
      if (this.#closed || this.#writer !== writer) return;
      if (error !== undefined) this.#reopenLater();
      else this.#cancelRetry ??= this.#after(AWAY_RETRY_MS, () => this.#reader?.resume());
    };
    this.#writer = writer;
    this.#reader = readFd(
      fd,
      this.#clock,
      { onData: (chunk) => this.#queue.push(chunk), onEnd },
      this.#options.reading,
    );
    this.#reader.resume();
  }

  #reopenLater(): void {
    if (this.#closed) return;
    this.#release();
    this.#cancelRetry = this.#after(REOPEN_MS, () => {
      try {
        this.#open();
      } catch {
        this.#options.askForDevice?.();
        this.#reopenLater();
      }
    });
  }

  #after(delay: number, action: () => void): () => void {
    return this.#clock.after(delay, () => {
      this.#cancelRetry = undefined;
      action();
    });
  }

  #release(): void {
    this.#cancelRetry?.();
    this.#cancelRetry = undefined;
    this.#writer?.stop();
    this.#writer = undefined;
    this.#reader?.close();
    this.#reader = undefined;
  }
}

/** @returns its device file. @throws SealttyError `device-unavailable`, with what exists instead. */
export function findVirtioDevice(name: string, options: VirtioPortOptions = {}): string {
  const ports = listPorts(options.sysfs ?? VIRTIO_PORTS);
  const port = ports.find((candidate) => candidate.name === name);
  if (port === undefined) {
    const names = ports.slice(0, MAX_PORTS_LISTED).map((candidate) => `"${escapeText(candidate.name)}"`);
    const exist =
      names.length === 0
        ? "This machine has no virtio port at all: is the module virtio_console loaded, and does the host give the machine a virtserialport?"
        : `These exist: ${names.join(", ")}.`;
    throw new SealttyError(
      "device-unavailable",
      `There is no virtio port named "${escapeText(name)}". ${exist} The host sets the name with -device virtserialport,name=…`,
    );
  }
  return path.join(options.devices ?? "/dev", port.directory);
}

function openPort(name: string, options: VirtioPortOptions): number {
  const device = findVirtioDevice(name, options);
  const { O_RDWR, O_NONBLOCK, O_NOCTTY } = fs.constants;
  try {
    return fs.openSync(device, O_RDWR | O_NONBLOCK | O_NOCTTY);
  } catch (cause) {
    const [why, next] = whyNot(errorCode(cause));
    throw new SealttyError(
      "device-unavailable",
      `Cannot open ${device} (virtio port "${escapeText(name)}"): ${why}. ${next}`,
      { cause },
    );
  }
}

function whyNot(code: string | undefined): [why: string, next: string] {
  if (code === "EBUSY") {
    return ["another program has it open", "Only one can: stop it (fuser -v names it), or use another port."];
  }
  if (code === "EACCES" || code === "EPERM") {
    return ["this user may not open it", "Run sealttyd as root, or add a udev rule for the port."];
  }
  if (code === "ENOENT") return ["there is no device file", "Mount devtmpfs on /dev."];
  return [code ?? "unknown error", "See the kernel log."];
}

/** Sorted, so that two ports with one name (the host's doing) give the same choice each time. */
function listPorts(sysfs: string): { name: string; directory: string }[] {
  let directories: string[];
  try {
    directories = fs.readdirSync(sysfs).sort();
  } catch {
    return []; // the class is missing before the module is loaded
  }
  return directories.flatMap((directory) => {
    try {
      return [{ name: fs.readFileSync(path.join(sysfs, directory, "name"), "utf8").trimEnd(), directory }];
    } catch {
      return []; // a port without a name
    }
  });
}
