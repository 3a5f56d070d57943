// Standard streams of a process that is at the other end of a socket (launched.ts), as Node's.

import type { Buffer } from "node:buffer";
import { Readable, Writable } from "node:stream";
import { getSystemErrorMap } from "node:util";
import { failureOfWrite, OutputClosed } from "../output.ts";
import type { TerminalOutput } from "../services.ts";
import { INPUT_WINDOW, MAX_DATA, misbehaved, OUTPUT_WINDOW } from "./wire.ts";

/** Node's error for the number of one, as its own streams have it. */
function systemError(errno: number, call: "read" | "write"): NodeJS.ErrnoException {
  const [code, words] = getSystemErrorMap().get(-errno) ?? [`errno ${errno}`, "unknown error"];
  return Object.assign(new Error(`${code}: ${words}, ${call}`), { code, errno: -errno, syscall: call });
}

export class LaunchedInput extends Readable {
  readonly isTTY: boolean;
  readonly #give: (length: number) => void;
  #room = 0; // bytes that may come
  #ended = false;

  constructor(isTTY: boolean, give: (length: number) => void) {
    super({ highWaterMark: INPUT_WINDOW });
    this.on("error", () => undefined); // whoever reads it listens
    this.isTTY = isTTY;
    this.#give = give;
  }

  override _read(): void {
    const more = INPUT_WINDOW - this.#room;
    if (more < INPUT_WINDOW / 4) return;
    this.#room += more;
    this.#give(more);
  }

  /** @param bytes - undefined: its end. @throws SealttyError `peer-misbehaved`. */
  come(bytes: Uint8Array | undefined): void {
    if (this.#ended || (bytes?.length ?? 0) > this.#room)
      throw misbehaved("more input than there is room for");
    this.#ended = bytes === undefined;
    if (this.destroyed || bytes?.length === 0) return;
    this.#room -= bytes?.length ?? 0;
    this.push(bytes ?? null);
  }

  broken(errno: number): void {
    this.destroy(systemError(errno, "read"));
  }
}

export class LaunchedOutput extends Writable {
  readonly isTTY: boolean;
  readonly #sendPart: (part: Uint8Array) => void;
  /** Sent and not taken, in order. */
  readonly #segments: { left: number; readonly isAside: boolean }[] = [];
  #waiting = 0; // bytes of them all
  #error: Error | undefined;
  #lost: Error | undefined; // bytes that were written here, and not there
  #go: (error?: Error) => void = () => undefined;
  #onWritten: () => void = () => undefined;
  readonly #onLost: (error: Error) => void;

  /** @param onLost - bytes that were taken here were not written there; as `written` throws it. */
  constructor(
    isTTY: boolean,
    sendPart: (part: Uint8Array) => void,
    onLost: (error: Error) => void = () => undefined,
  ) {
    super({ highWaterMark: OUTPUT_WINDOW });
    this.#onLost = onLost;
    this.on("error", () => undefined); // the writer learns it from its own write
    this.isTTY = isTTY;
    this.#sendPart = sendPart;
  }

  /** The same stream for words of ours: where it takes none of them, nothing of the program's is lost. */
  aside(): TerminalOutput {
    const write = (chunk: Buffer, _encoding: string, done: () => void): void => {
      if (this.#error === undefined) this.#carry(chunk, true);
      done();
    };
    return Object.assign(new Writable({ write }), { isTTY: this.isTTY });
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error) => void): void {
    if (this.#error !== undefined) return done(this.#error);
    this.#carry(chunk, false);
    if (this.#waiting < OUTPUT_WINDOW) done();
    else this.#go = done;
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#error ??= error ?? new OutputClosed();
    this.#wake();
    done(error);
  }

  /** Resolves once all of it is where it goes. @throws OutputClosed, SealttyError `device-unavailable`. */
  async written(): Promise<void> {
    while (this.#error === undefined && (this.#waiting > 0 || this.writableLength > 0))
      await new Promise<void>((resolve) => (this.#onWritten = resolve));
    if (this.#lost !== undefined) throw failureOfWrite(this.#lost, this);
  }

  /** @throws SealttyError `peer-misbehaved`. */
  taken(bytes: number): void {
    if (this.#error !== undefined) return; // of what was thrown away
    if (bytes > this.#waiting) throw misbehaved("that more was taken than was given");
    this.#waiting -= bytes;
    for (let left = bytes; left > 0; ) {
      const [first] = this.#segments;
      if (first === undefined) break;
      const part = Math.min(left, first.left);
      first.left -= part;
      left -= part;
      if (first.left === 0) this.#segments.shift();
    }
    if (this.#waiting < OUTPUT_WINDOW) this.#wake();
  }

  broken(errno: number): void {
    this.#error ??= systemError(errno, "write");
    if (this.#segments.some(({ isAside }) => !isAside)) {
      this.#lost ??= this.#error;
      this.#onLost(failureOfWrite(this.#lost, this));
    }
    this.#segments.length = 0;
    this.#waiting = 0;
    this.#wake();
  }

  #carry(chunk: Buffer, isAside: boolean): void {
    this.#waiting += chunk.length;
    this.#segments.push({ left: chunk.length, isAside });
    for (let at = 0; at < chunk.length; at += MAX_DATA) this.#sendPart(chunk.subarray(at, at + MAX_DATA));
  }

  #wake(): void {
    const go = this.#go;
    this.#go = () => undefined;
    if (this.#error === undefined) go();
    else go(this.#error);
    this.#onWritten();
  }
}
