// A channel of kind "files": messages of the guest's program, and bytes for it.

import { SealttyError } from "../../../protocol/errors.ts";
import { FilesDecoder } from "../../../protocol/files/decoder.ts";
import type { FilesMessage } from "../../../protocol/files/messages.ts";
import { encodeFilesMessage } from "../../../protocol/files/messages-codec.ts";
import type { Channel } from "../../../protocol/session/channel-api.ts";
import { escapeBytes } from "../../printable.ts";

const MAX_COMPLAINT = 2000;

export interface Piece {
  readonly bytes: Uint8Array;
  readonly messages: readonly FilesMessage[];
}

export class FilesChannel {
  readonly #channel: Channel;
  #complaint = Buffer.alloc(0);
  readonly #complained: Promise<void>;

  constructor(channel: Channel) {
    this.#channel = channel;
    this.#complained = this.#listen().catch(() => undefined); // how the connection ended, stdout tells as well
  }

  /** Resolves once the bytes were copied into the channel's own buffer. */
  readonly send = (bytes: Uint8Array): Promise<void> => this.#channel.write(bytes);

  put(message: FilesMessage): Promise<void> {
    return this.send(encodeFilesMessage(message));
  }

  /** Credit goes back once the loop asks for the next piece. @throws SealttyError where it broke the rules, or the connection ended. */
  async *pieces(): AsyncGenerator<Piece> {
    const decoder = new FilesDecoder();
    for (;;) {
      const bytes = await this.#channel.stdout.read();
      if (bytes === undefined) break;
      yield { bytes, messages: decoder.push(bytes) };
      this.#channel.stdout.consumed(bytes.length);
    }
    decoder.end();
  }

  /** Nothing more comes from here. */
  end(): void {
    this.#channel.end();
  }

  hangUp(): void {
    this.#channel.hangUp();
  }

  /** For a program that ended before it was through. @param where - for people. */
  async failure(where: string): Promise<SealttyError> {
    const exit = await this.#channel.exit;
    await this.#complained;
    const how = exit.kind === "exited" ? `with status ${exit.status}` : `by ${exit.signal}`;
    const said =
      this.#complaint.length === 0
        ? ""
        : `: ${escapeBytes(this.#complaint, MAX_COMPLAINT).replaceAll("\\x0a", " ")}`;
    return new SealttyError(
      "program-failed",
      `The program that copies files in ${where} ended ${how} before all was copied${said}. Look into the guest's log (journalctl -u sealttyd), or try again with --resume.`,
    );
  }

  async #listen(): Promise<void> {
    const { stderr } = this.#channel;
    for (;;) {
      const bytes = await stderr.read();
      if (bytes === undefined) return;
      if (this.#complaint.length < MAX_COMPLAINT)
        this.#complaint = Buffer.concat([this.#complaint, bytes]).subarray(0, MAX_COMPLAINT);
      stderr.consumed(bytes.length);
    }
  }
}
