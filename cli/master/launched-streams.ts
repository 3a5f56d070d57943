// Standard streams of a process that is at the other end of a socket (launched.ts), as Node's.

import type { Buffer } from "node:buffer";
import { Readable, Writable } from "node:stream";
import { getSystemErrorMap } from "node:util";
import { failureOfWrite, OutputClosed } from "../output.ts";
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
  #waiting = 0; // bytes sent and not taken
  #error: Error | undefined;
  #go: (error?: Error) => void = () => undefined;
  #onWritten: () => void = () => undefined;

  constructor(isTTY: boolean, sendPart: (part: Uint8Array) => void) {
    super({ highWaterMark: OUTPUT_WINDOW });
    this.on("error", () => undefined); // the writer learns it from its own write
    this.isTTY = isTTY;
    this.#sendPart = sendPart;
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error) => void): void {
    if (this.#error !== undefined) return done(this.#error);
    this.#waiting += chunk.length;
    for (let at = 0; at < chunk.length; at += MAX_DATA) this.#sendPart(chunk.subarray(at, at + MAX_DATA));
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
    if (this.#error !== undefined) throw failureOfWrite(this.#error, this);
  }

  /** @throws SealttyError `peer-misbehaved`. */
  taken(bytes: number): void {
    if (bytes > this.#waiting) throw misbehaved("that more was taken than was given");
    this.#waiting -= bytes;
    if (this.#waiting < OUTPUT_WINDOW) this.#wake();
  }

  broken(errno: number): void {
    this.#error ??= systemError(errno, "write");
    this.#waiting = 0;
    this.#wake();
  }

  #wake(): void {
    const go = this.#go;
    this.#go = () => undefined;
    if (this.#error === undefined) go();
    else go(this.#error);
    this.#onWritten();
  }
}
