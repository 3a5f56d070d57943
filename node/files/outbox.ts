// Messages on their way out, gathered: ten thousand small files must not be ten thousand small writes.

import { SealttyError } from "../../protocol/errors.ts";
import type { FilesMessage } from "../../protocol/files/messages.ts";
import { encodeFilesMessage, filesHead } from "../../protocol/files/messages-codec.ts";
import { MAX_FILES_DATA } from "../../protocol/limits.ts";

const HEAD = 4;
const SIZE = 2 * (HEAD + MAX_FILES_DATA);

/** Resolves once the bytes are taken, and may be overwritten. @throws where nobody takes them any more. */
export type SendBytes = (bytes: Uint8Array) => Promise<void>;

/** Nobody takes what is sent any more. */
export class NotTaken extends Error {
  override readonly name = "NotTaken";

  constructor(cause: unknown) {
    super("Nobody takes what is sent any more", { cause });
  }
}

export class Outbox {
  readonly #send: SendBytes;
  readonly #buffer = Buffer.allocUnsafe(SIZE);
  #used = 0;
  #failure: Error | undefined;

  constructor(send: SendBytes) {
    this.#send = send;
  }

  /** @param message - no data. */
  async put(message: FilesMessage): Promise<void> {
    this.#look();
    const bytes = encodeFilesMessage(message);
    if (this.#used + bytes.length > SIZE) await this.flush();
    if (bytes.length > SIZE) return await this.#write(bytes);
    this.#buffer.set(bytes, this.#used);
    this.#used += bytes.length;
  }

  /** @returns where the content of one DATA message is to be put, before data(). At most MAX_FILES_DATA bytes. */
  async room(length: number): Promise<Buffer> {
    if (this.#used + HEAD + length > SIZE) await this.flush();
    return this.#buffer.subarray(this.#used + HEAD, this.#used + HEAD + length);
  }

  /** So many bytes are in the last room(). */
  data(length: number): void {
    if (length === 0) return;
    this.#buffer.set(filesHead("data", length), this.#used);
    this.#used += HEAD + length;
  }

  #look(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  async flush(): Promise<void> {
    const length = this.#used;
    this.#used = 0;
    if (length > 0) await this.#write(this.#buffer.subarray(0, length));
    // Whatever was taken at once, the other end's answers and signals want their turn.
    await new Promise((resolve) => setImmediate(resolve));
  }

  /** After a failure nothing goes out any more: part of it may have. */
  async #write(bytes: Uint8Array): Promise<void> {
    this.#look();
    try {
      await this.#send(bytes);
    } catch (error) {
      // Not to be taken for trouble with a file: what a socket says looks the same.
      this.#failure = error instanceof SealttyError ? error : new NotTaken(error);
      throw this.#failure;
    }
  }
}
