// Reads a character device whose readiness only epoll knows: Node's own streams refuse such descriptors
// (net.Socket: ERR_INVALID_FD_TYPE, tty.ReadStream: EINVAL on a virtio port), so this uses libuv's pipe handle,
// or a timer where Node's permission model refuses that.

import fs from "node:fs";
import type { Clock } from "../../protocol/clock.ts";
import { readNow } from "../nonblocking-fd.ts";

export interface FdReaderEvents {
  /** @param chunk - non-empty, owned by the receiver. @returns false to pause until resume(). */
  onData(chunk: Uint8Array): boolean;
  /** read() gave 0 or failed; reading goes on after resume(). @param error - absent at the end of file. */
  onEnd(error: Error | undefined): void;
}

/** Starts paused. Owns the descriptor: close() closes it. */
export interface FdReader {
  resume(): void;
  close(): void;
}

interface PipeHandle {
  onread: (buffer: ArrayBuffer | undefined) => void;
  open(fd: number): number | undefined;
  readStart(): number;
  readStop(): number;
  close(): void;
}
interface PipeBinding {
  readonly Pipe: new (type: number) => PipeHandle;
}
interface StreamBinding {
  readonly streamBaseState: Int32Array;
  readonly kReadBytesOrError: number;
  readonly kArrayBufferOffset: number;
}

const PIPE_TYPE_SOCKET = 0;
const UV_EOF = -4095;
const READ_SIZE = 64 * 1024;
/** Less than any frame: more of the same may wait. */
const CRUMB = 8;
const CRUMBS_AT_ONCE = 1024;
const POLL_ACTIVE_MS = 1;
const POLL_IDLE_MS = 20;

/** @param fd - opened O_NONBLOCK. @param how - "auto": by epoll where Node allows it. */
export function readFd(
  fd: number,
  clock: Clock,
  events: FdReaderEvents,
  how: "auto" | "poll" = "auto",
): FdReader {
  return (how === "auto" ? epollReader(fd, events) : undefined) ?? pollReader(fd, clock, events);
}

function epollReader(fd: number, events: FdReaderEvents): FdReader | undefined {
  let handle: PipeHandle;
  let stream: StreamBinding;
  try {
    const node = process as unknown as { binding(name: string): unknown };
    const pipe = node.binding("pipe_wrap") as PipeBinding;
    stream = node.binding("stream_wrap") as StreamBinding;
    handle = new pipe.Pipe(PIPE_TYPE_SOCKET);
    if ((handle.open(fd) ?? 0) !== 0) return undefined;
  } catch {
    return undefined;
  }
  let closed = false;
  let reading = false;
  const pause = () => {
    if (reading) handle.readStop();
    reading = false;
  };
  handle.onread = (buffer) => {
    if (closed) return;
    const length = stream.streamBaseState[stream.kReadBytesOrError] as number;
    if (length > 0 && buffer !== undefined) {
      const first = new Uint8Array(buffer, stream.streamBaseState[stream.kArrayBufferOffset], length);
      const chunk = length < CRUMB ? withWhatWaits(fd, first) : first;
      if (!events.onData(chunk)) pause();
    } else if (length < 0) {
      pause();
      events.onEnd(length === UV_EOF ? undefined : new Error(`read failed with libuv error ${length}`));
    }
  };
  return {
    resume() {
      if (closed || reading) return;
      reading = true;
      const status = handle.readStart();
      if (status !== 0) {
        reading = false;
        queueMicrotask(() => events.onEnd(new Error(`readStart failed with libuv error ${status}`)));
      }
    },
    close() {
      if (closed) return;
      closed = true;
      handle.close();
    },
  };
}

/**
 * QEMU's mux hands a virtio port its bytes one by one, each in a buffer of its own: one turn of the event loop for each
 * would be a kilobyte a second.
 */
function withWhatWaits(fd: number, first: Uint8Array): Uint8Array {
  const chunk = new Uint8Array(CRUMBS_AT_ONCE);
  chunk.set(first);
  let length = first.length;
  try {
    while (length < chunk.length) {
      const more = readNow(fd, chunk, length);
      if (more === "again" || more === 0) break; // of an end libuv will tell
      length += more;
    }
  } catch {
    // Of an error, too.
  }
  return chunk.subarray(0, length);
}

function pollReader(fd: number, clock: Clock, events: FdReaderEvents): FdReader {
  let closed = false;
  let cancel: (() => void) | undefined;
  let delay = POLL_ACTIVE_MS;
  const poll = () => {
    cancel = undefined;
    const buffer = new Uint8Array(READ_SIZE);
    let length: number | "again";
    try {
      length = readNow(fd, buffer, 0);
    } catch (error) {
      events.onEnd(error as Error);
      return;
    }
    if (length === 0) {
      events.onEnd(undefined);
      return;
    }
    if (length === "again") delay = Math.min(delay * 1.5, POLL_IDLE_MS);
    else {
      delay = POLL_ACTIVE_MS;
      if (!events.onData(buffer.subarray(0, length))) return;
    }
    if (!closed) cancel = clock.after(delay, poll);
  };
  return {
    resume() {
      if (!closed) cancel ??= clock.after(0, poll);
    },
    close() {
      if (closed) return;
      closed = true;
      cancel?.();
      fs.closeSync(fd);
    },
  };
}
