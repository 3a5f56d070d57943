// One recording in the guest: a file that only grows, by whole lines, up to a limit. What was written stays.

import fs from "node:fs";
import os from "node:os";
import { errorCode } from "../../node/socket-pipe.ts";
import type { Clock } from "../../protocol/clock.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { ExitStatus } from "../../protocol/session/channel-api.ts";
import { AsciicastEncoder, type CastHeader } from "../../protocol/terminal/asciicast.ts";

/** Last words, which have room beyond the limit. */
const TOO_LARGE = "The recording ends here: it has reached its limit. The session went on.";
const CUT_OFF = "The recording ends here: sealttyd ended before the session did.";

export interface RecordingOptions {
  readonly fd: number;
  readonly name: string;
  readonly clock: Clock;
  readonly header: CastHeader;
  readonly maxBytes: number;
  /** What cannot be recorded is not to go on. */
  readonly required: boolean;
  /** Once. @param why - "whole", or why it is not. */
  onEnd(bytes: number, why: string): void;
}

/** Where a program's output is recorded; possibly in another process. */
export interface RecordingSink {
  /** Resolves once it is written. @throws SealttyError `device-unavailable` where it must be recorded, and cannot. */
  output(bytes: Uint8Array): Promise<void>;
  resize(columns: number, rows: number): void;
  /** All output was given. */
  outputEnded(): void;
}

export class Recording implements RecordingSink {
  readonly name: string;
  readonly #options: RecordingOptions;
  readonly #encoder: AsciicastEncoder;
  #fd: number | undefined;
  #bytes = 0;
  #status: ExitStatus | undefined;
  #outputEnded = false;
  #failed = false;

  /** Writes its head. @throws Error: Node's own, with `code`; `fd` is closed then. */
  constructor(options: RecordingOptions) {
    this.#options = options;
    this.name = options.name;
    this.#fd = options.fd;
    this.#encoder = new AsciicastEncoder(options.clock.now());
    try {
      this.#append(this.#encoder.header(options.header));
    } catch (error) {
      fs.closeSync(options.fd);
      throw error;
    }
  }

  // Synchronous all the way: lines stay in order, and nothing piles up here, however much is sent.
  async output(bytes: Uint8Array): Promise<void> {
    this.#write((now) => this.#encoder.output(bytes, now));
    if (this.#failed && this.#options.required)
      throw new SealttyError("device-unavailable", "The session must be recorded, and cannot be any more");
  }

  resize(columns: number, rows: number): void {
    this.#write((now) => this.#encoder.resize(columns, rows, now));
  }

  outputEnded(): void {
    this.#outputEnded = true;
    this.#finish();
  }

  ended(status: ExitStatus): void {
    this.#status = status;
    this.#finish();
  }

  /** Whatever is still open: its program never was, or sealttyd ends. */
  close(why: "not-started" | "cut-off"): void {
    if (this.#fd === undefined) return;
    this.#write((now) => (why === "cut-off" ? this.#encoder.marker(CUT_OFF, now) : ""));
    this.#end(why);
  }

  /** Both are known: nothing more comes. */
  #finish(): void {
    const status = this.#status;
    if (status === undefined || !this.#outputEnded || this.#fd === undefined) return;
    this.#write((now) => this.#encoder.exit(status, os.constants.signals, now));
    this.#end("whole");
  }

  #write(lines: (now: number) => string): void {
    if (this.#fd === undefined) return;
    const { clock, maxBytes } = this.#options;
    const now = clock.now();
    const text = lines(now);
    try {
      if (this.#bytes + Buffer.byteLength(text) <= maxBytes) return this.#append(text);
      this.#append(this.#encoder.marker(TOO_LARGE, now));
      this.#fail("limit");
    } catch (error) {
      this.#fail(errorCode(error) ?? "unknown error");
    }
  }

  /** @throws Error: Node's own. A line is in the file whole, or not at all. */
  #append(text: string): void {
    const fd = this.#fd;
    if (fd === undefined || text === "") return;
    const bytes = Buffer.from(text);
    try {
      for (let at = 0; at < bytes.length; ) at += fs.writeSync(fd, bytes, at);
    } catch (error) {
      try {
        fs.ftruncateSync(fd, this.#bytes);
      } catch {
        // Then its last line is not whole: what could not be written is the error to tell.
      }
      throw error;
    }
    this.#bytes += bytes.length;
  }

  #fail(why: string): void {
    this.#failed = true;
    this.#end(why);
  }

  #end(why: string): void {
    if (this.#fd === undefined) return;
    fs.closeSync(this.#fd);
    this.#fd = undefined;
    this.#options.onEnd(this.#bytes, why);
  }
}
