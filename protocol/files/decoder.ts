// Messages out of a stream's pieces: bounded, and never more than one message held that is not data.

import { Reader } from "../bytes.ts";
import { SealttyError } from "../errors.ts";
import { FILES_TYPES, type FilesMessage } from "./messages.ts";
import { longestBody, readFilesMessage } from "./messages-codec.ts";

const HEAD = 4;

export class FilesDecoder {
  #head = new Uint8Array(HEAD);
  #headLength = 0;
  #body: Uint8Array | undefined; // once its head is known; not of DATA
  #bodyLength = 0;
  #data = 0; // bytes of a DATA message that are still to come

  /**
   * @param chunk - any piece of the stream. Data in what is returned are views into it.
   * @throws SealttyError `peer-misbehaved`; the decoder is of no use then.
   */
  push(chunk: Uint8Array): FilesMessage[] {
    const messages: FilesMessage[] = [];
    let at = 0;
    while (at < chunk.length) {
      const rest = chunk.subarray(at);
      if (this.#data > 0) {
        const bytes = rest.subarray(0, this.#data);
        this.#data -= bytes.length;
        at += bytes.length;
        messages.push({ type: "data", bytes });
      } else if (this.#body !== undefined) {
        const piece = rest.subarray(0, this.#body.length - this.#bodyLength);
        this.#body.set(piece, this.#bodyLength);
        this.#bodyLength += piece.length;
        at += piece.length;
        if (this.#bodyLength === this.#body.length) messages.push(this.#takeBody(this.#body));
      } else {
        const piece = rest.subarray(0, HEAD - this.#headLength);
        this.#head.set(piece, this.#headLength);
        this.#headLength += piece.length;
        at += piece.length;
        if (this.#headLength === HEAD) this.#takeHead(messages);
      }
    }
    return messages;
  }

  /** The stream is over. @throws SealttyError `peer-misbehaved` in the middle of a message. */
  end(): void {
    if (this.#headLength > 0 || this.#data > 0) throw misbehaved("ends too early");
  }

  #takeHead(messages: FilesMessage[]): void {
    const [type = 0, high = 0, middle = 0, low = 0] = this.#head; // HEAD bytes: it is full
    const length = (high << 16) | (middle << 8) | low;
    const longest = longestBody(type);
    if (longest === undefined) throw misbehaved("is of an unknown type");
    if (length > longest) throw misbehaved("is too long"); // before anything is allocated
    if (type === FILES_TYPES.data) {
      if (length === 0) throw misbehaved("has no data");
      this.#data = length;
      this.#headLength = 0;
      return;
    }
    this.#body = new Uint8Array(length);
    this.#bodyLength = 0;
    if (length === 0) messages.push(this.#takeBody(this.#body));
  }

  #takeBody(body: Uint8Array): FilesMessage {
    this.#body = undefined;
    this.#headLength = 0;
    return readFilesMessage(this.#head[0] as number, new Reader(body, "Message about files"));
  }
}

function misbehaved(problem: string): SealttyError {
  return new SealttyError("peer-misbehaved", `Message about files ${problem}`);
}
