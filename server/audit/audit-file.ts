// The audit's file: a line of JSON for each event, added at its end, each in one write of its own.

import fs from "node:fs";

const { O_APPEND, O_CREAT, O_NOFOLLOW, O_WRONLY } = fs.constants;
const MODE = 0o600;

export class AuditFile {
  readonly #path: string;
  #fd: number | undefined;
  /** The disk took only a part of the last line: the next one must not look like its end. */
  #torn = false;

  constructor(path: string) {
    this.#path = path;
  }

  /** @throws Error: Node's own, with `code`. */
  open(): void {
    // Nobody's link is followed: it would have a file of another's choice grow.
    this.#fd ??= fs.openSync(this.#path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW, MODE);
  }

  /** Opens it first, where that did not go before. @throws Error: Node's own, with `code`. */
  append(line: string): void {
    this.open();
    const fd = this.#fd as number;
    const bytes = Buffer.from(`${this.#torn ? "\n" : ""}${line}\n`);
    let written = 0;
    try {
      while (written < bytes.length) written += fs.writeSync(fd, bytes, written);
      this.#torn = false;
    } catch (error) {
      this.#torn ||= written > 0;
      throw error;
    }
  }

  /** The next line goes to whatever has the name then: logrotate moved the old one away. */
  close(): void {
    if (this.#fd !== undefined) fs.closeSync(this.#fd);
    this.#fd = undefined;
  }
}
