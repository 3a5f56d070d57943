// What a copy tells whoever asked for it, and what there is to say of it at the end.

import type { FilesTotal } from "../../../node/files/count.ts";
import type { FilesEvents } from "../../../node/files/source.ts";
import { type CopyEnd, troubleWords } from "../../../node/files/trouble.ts";
import type { TroubleName } from "../../../protocol/files/messages.ts";
import type { CopyOptions, CopyTrouble } from "../types.ts";

const NOWHERE = new Uint8Array(0);

export class CopyWatch {
  readonly #options: CopyOptions;
  #bytes = 0;
  #path: Uint8Array = NOWHERE;
  #failed = 0;
  #first: CopyTrouble | undefined;
  #digest: string | undefined;

  constructor(options: CopyOptions) {
    this.#options = options;
  }

  /** Entries that were not copied, at either end. */
  get failed(): number {
    return this.#failed;
  }
  get first(): CopyTrouble | undefined {
    return this.#first;
  }
  /** Of the newest file. */
  get digest(): string | undefined {
    return this.#digest;
  }
  /** Whether it is worth asking how much there is. */
  get wantsTotal(): boolean {
    return this.#options.onTotal !== undefined;
  }

  /** For the end that sees the content here. */
  events(end: CopyEnd): FilesEvents {
    return {
      entry: (path) => this.entry(path),
      progress: (bytes) => this.add(bytes),
      file: (path, bytes, digest) => this.file(path, bytes, digest),
      trouble: (trouble, path) => this.trouble(trouble.code, path, end, "here"),
    };
  }

  entry(path: Uint8Array): void {
    this.#path = path;
    this.#progress();
  }

  add(bytes: number): void {
    this.#bytes += bytes;
    this.#progress();
  }

  file(path: Uint8Array, bytes: number, digest: Uint8Array): void {
    this.#digest = Buffer.from(digest).toString("hex");
    this.#options.onFile?.({ path, bytes, sha256: this.#digest });
  }

  expect(total: FilesTotal | undefined): void {
    if (total !== undefined) this.#options.onTotal?.({ files: total.files, bytes: total.bytes });
  }

  trouble(code: TroubleName, path: Uint8Array, end: CopyEnd, where: CopyTrouble["where"]): void {
    const trouble = { path, code, words: troubleWords(code, end), where };
    this.#failed++;
    this.#first ??= trouble;
    this.#options.onTrouble?.(trouble);
  }

  #progress(): void {
    this.#options.onProgress?.({ bytes: this.#bytes, path: this.#path });
  }
}
