// One file of a guest's into standard output. What was written cannot be taken back: a wrong digest is an error at the end.

import { createHash } from "node:crypto";
import { equalBytes } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { FilesMessage } from "../../protocol/files/messages.ts";
import type { FilesEvents } from "../../node/files/source.ts";
import { writeTo } from "../output.ts";
import type { TerminalOutput } from "../services.ts";

const ZEROS = Buffer.alloc(64 * 1024);

export class StdoutSink {
  readonly #stdout: TerminalOutput;
  readonly #events: FilesEvents;
  readonly #hash = createHash("sha256");
  readonly counts = { files: 0, directories: 0, links: 0, bytes: 0, failed: 0 };
  #state: "root" | "file" | "content" | "over" | "done" = "root";
  #size: number | undefined;
  readonly #shown: Buffer;

  /** @param shown - what the file is called, for people. */
  constructor(stdout: TerminalOutput, shown: Buffer, events: FilesEvents) {
    this.#stdout = stdout;
    this.#events = events;
    this.#shown = shown;
  }

  get done(): boolean {
    return this.#state === "done";
  }

  open(): void {}

  /** @throws SealttyError `peer-misbehaved`, OutputClosed. */
  async take(message: FilesMessage): Promise<void> {
    switch (message.type) {
      case "root":
        return this.#goOn("root", "file");
      case "file":
        this.#goOn("file", "content");
        this.#size = message.size;
        return this.#events.entry?.(this.#shown, message.size);
      case "data":
        return await this.#write(message.bytes);
      case "hole":
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

  abort(): void {}

  #goOn(from: "root" | "file" | "content", to: "file" | "content" | "over"): void {
    if (this.#state !== from) throw misbehaved("sent what was not asked for");
    this.#state = to;
  }

  async #write(bytes: Uint8Array): Promise<void> {
    if (this.#state !== "content") throw misbehaved("sent data of no file");
    const after = this.counts.bytes + bytes.length;
    if (this.#size !== undefined && after > this.#size)
      throw misbehaved("sent more of a file than it announced");
    await writeTo(this.#stdout, bytes);
    this.#hash.update(bytes);
    this.counts.bytes = after;
    this.#events.progress?.(bytes.length);
  }
}

function misbehaved(problem: string): SealttyError {
  return new SealttyError("peer-misbehaved", `The other end of the copy ${problem}`);
}
