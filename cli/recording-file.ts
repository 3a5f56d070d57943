// `--record FILE`: what this terminal shows, as asciicast v3. Nothing that is typed is in it but what the guest echoes.

import fs from "node:fs";
import os from "node:os";
import { SealttyError } from "../protocol/errors.ts";
import { AsciicastEncoder, type CastHeader } from "../protocol/terminal/asciicast.ts";
import type { Exit } from "./api/types.ts";
import type { Reporter } from "./report.ts";
import type { Services } from "./services.ts";

const LEFT = "The recording ends here: this terminal left the session, or lost it.";
/** A terminal that gets a whole screen is reset first. */
const RESET = new TextEncoder().encode("\x1bc");

export class RecordingFile {
  readonly #path: string;
  readonly #services: Pick<Services, "clock" | "wallTime">;
  readonly #reporter: Pick<Reporter, "warn">;
  #fd: number | undefined;
  #encoder: AsciicastEncoder | undefined; // once it has begun
  #ended = false; // its last line is written

  /** Before anything is connected to. @throws SealttyError `bad-config`: an existing file stays as it is. */
  constructor(
    path: string,
    services: Pick<Services, "clock" | "wallTime">,
    reporter: Pick<Reporter, "warn">,
  ) {
    this.#path = path;
    this.#services = services;
    this.#reporter = reporter;
    try {
      this.#fd = fs.openSync(path, "ax", 0o600);
    } catch (cause) {
      const { code = "unknown error" } = cause as NodeJS.ErrnoException;
      const why = code === "EEXIST" ? "it is there already; name another file, or move it away" : code;
      throw new SealttyError("bad-config", `cannot record to ${path}: ${why}`, { cause });
    }
  }

  begin(header: Omit<CastHeader, "startedAt">): void {
    this.#encoder = new AsciicastEncoder(this.#services.clock.now());
    this.#write(this.#encoder.header({ ...header, startedAt: this.#services.wallTime() }));
  }

  output(bytes: Uint8Array): void {
    this.#add((encoder, now) => encoder.output(bytes, now));
  }

  resize(columns: number, rows: number): void {
    this.#add((encoder, now) => encoder.resize(columns, rows, now));
  }

  /** A whole screen comes next, for a terminal of this size. */
  screen(columns: number, rows: number): void {
    this.resize(columns, rows);
    this.output(RESET);
  }

  mark(label: string): void {
    this.#add((encoder, now) => encoder.marker(label, now));
  }

  exit({ status, signal }: Exit): void {
    const how =
      signal === undefined ? ({ kind: "exited", status } as const) : ({ kind: "signalled", signal } as const);
    this.#add((encoder, now) => encoder.exit(how, os.constants.signals, now));
    this.#ended = true;
  }

  /** Idempotent. Where nothing ever began, the file goes. */
  close(): void {
    if (this.#fd === undefined) return;
    if (!this.#ended) this.mark(LEFT);
    this.#closeFile();
    if (this.#encoder === undefined) fs.rmSync(this.#path, { force: true });
  }

  #closeFile(): void {
    if (this.#fd !== undefined) fs.closeSync(this.#fd);
    this.#fd = undefined;
  }

  #add(lines: (encoder: AsciicastEncoder, now: number) => string): void {
    if (this.#encoder !== undefined) this.#write(lines(this.#encoder, this.#services.clock.now()));
  }

  /** A full disk ends the recording, and not the session. */
  #write(text: string): void {
    const fd = this.#fd;
    if (fd === undefined || text === "") return;
    try {
      const bytes = Buffer.from(text);
      for (let at = 0; at < bytes.length; ) at += fs.writeSync(fd, bytes, at);
    } catch (error) {
      const { code = "unknown error" } = error as NodeJS.ErrnoException;
      this.#reporter.warn(`sealtty: the recording ends here, ${this.#path} cannot be written: ${code}`);
      this.#closeFile();
    }
  }
}
