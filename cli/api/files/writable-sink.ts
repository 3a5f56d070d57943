// One file of a guest's into a stream. What was written cannot be taken back: a wrong digest is an error at the end.

import { createHash } from "node:crypto";
import type { Writable } from "node:stream";
import { misbehaved } from "../../../node/files/trouble.ts";
import { equalBytes } from "../../../protocol/bytes.ts";
import { SealttyError } from "../../../protocol/errors.ts";
import type { FilesMessage } from "../../../protocol/files/messages.ts";
import type { FilesEvents } from "../../../node/files/source.ts";
import { OutputClosed, writeTo } from "../../output.ts";

const ZEROS = Buffer.alloc(64 * 1024);

export class WritableSink {
  readonly #stream: Writable;
  readonly #events: FilesEvents;
  readonly #hash = createHash("sha256");
  readonly counts = { files: 0, directories: 0, links: 0, bytes: 0, failed: 0 };
  #state: "root" | "file" | "content" | "over" | "done" = "root";
  #size: number | undefined;
  #sparse = false;
  #aborted = false;
  readonly #shown: Buffer;

  /** @param shown - what the file is called, for people. */
  constructor(stream: Writable, shown: Buffer, events: FilesEvents) {
    this.#stream = stream;
    this.#events = events;
    this.#shown = shown;
  }

  get done(): boolean {
    return this.#state === "done";
  }

  open(): void {}

  /** @throws SealttyError `peer-misbehaved`; `device-unavailable` where nobody takes it any more, because of an OutputClosed. */
  async take(message: FilesMessage): Promise<void> {
    switch (message.type) {
      case "root":
        return this.#goOn("root", "file");
      case "file":
        this.#goOn("file", "content");
        this.#size = message.size;
        this.#sparse = message.sparse;
        return this.#events.entry?.(this.#shown, message.size);
      case "data":
        return await this.#write(message.bytes);
      case "hole":
        if (!this.#sparse) throw misbehaved("sent a hole in a file that has none");
        for (let left = message.length; left > 0; left -= ZEROS.length)
          await this.#write(ZEROS.subarray(0, Math.min(ZEROS.length, left)));
        return;
      case "end": {
        this.#goOn("content", "over");
        const digest = this.#hash.digest();
        if (!equalBytes(digest, message.digest)) {
          throw new SealttyError(
            "peer-misbehaved",
            "What came has another SHA-256 than what was sent: do not use it",
          );
        }
        this.counts.files++;
        return this.#events.file?.(this.#shown, this.counts.bytes, digest);
      }
      case "drop":
        return this.#goOn("content", "over");
      case "trouble":
      case "total":
        return;
      case "done":
        if (this.#state !== "root" && this.#state !== "file" && this.#state !== "over")
          throw misbehaved("ended in the middle");
        this.#state = "done";
        return;
      default:
        throw misbehaved("sent what was not asked for");
    }
  }

  /** Nothing more is written, though a hole may be longer than anybody waits. */
  abort(): void {
    this.#aborted = true;
  }

  #goOn(from: "root" | "file" | "content", to: "file" | "content" | "over"): void {
    if (this.#state !== from) throw misbehaved("sent what was not asked for");
    this.#state = to;
  }

  async #given(bytes: Uint8Array): Promise<void> {
    try {
      await writeTo(this.#stream, bytes);
    } catch (cause) {
      if (!(cause instanceof OutputClosed)) throw cause;
      throw new SealttyError("device-unavailable", "Nobody takes what is copied any more", { cause });
    }
  }

  async #write(bytes: Uint8Array): Promise<void> {
    if (this.#aborted) throw new SealttyError("device-unavailable", "The copy was ended before it was whole");
    if (this.#state !== "content") throw misbehaved("sent data of no file");
    const after = this.counts.bytes + bytes.length;
    if (this.#size !== undefined && after > this.#size)
      throw misbehaved("sent more of a file than it announced");
    await this.#given(bytes);
    this.#hash.update(bytes);
    this.counts.bytes = after;
    this.#events.progress?.(bytes.length);
  }
}
