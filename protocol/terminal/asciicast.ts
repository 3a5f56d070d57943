// What a terminal showed, in time: asciicast version 3 (docs.asciinema.org/manual/asciicast/v3), a line of JSON for the
// header and one for each event. An event's time is the one since the event before.

import type { ExitStatus } from "../session/channel-api.ts";

export interface CastHeader {
  readonly columns: number;
  readonly rows: number;
  /** TERM; absent: not known. */
  readonly term?: string | undefined;
  /** Ms since 1970, UTC. */
  readonly startedAt: number;
  readonly title?: string | undefined;
}

/** One recording. Every line ends with a newline; an empty text: there is nothing to write yet. */
export class AsciicastEncoder {
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  #last: number; // whole ms: what is rounded off one interval is in the next

  /** @param now - ms of the clock that times of events are of. */
  constructor(now: number) {
    this.#last = Math.floor(now);
  }

  header({ columns, rows, term, startedAt, title }: CastHeader): string {
    return line({
      version: 3,
      term: { cols: columns, rows, ...(term === undefined ? {} : { type: term }) },
      timestamp: Math.floor(startedAt / 1000),
      ...(title === undefined ? {} : { title }),
    });
  }

  /** Half of a character at the end waits for its other half; what is no UTF-8 becomes U+FFFD. */
  output(bytes: Uint8Array, now: number): string {
    const text = this.#decoder.decode(bytes, { stream: true });
    return text === "" ? "" : this.#event("o", text, now);
  }

  resize(columns: number, rows: number, now: number): string {
    return this.#event("r", `${columns}x${rows}`, now);
  }

  /** A word of the recorder's own: a marker, which a player shows apart from what the terminal shows. */
  marker(label: string, now: number): string {
    return this.#rest(now) + this.#event("m", label, now);
  }

  /** The last of them. Of a signal n, 128 + n as a shell has it. @param signals - numbers by name. */
  exit(status: ExitStatus, signals: Readonly<Record<string, number>>, now: number): string {
    const number = status.kind === "exited" ? status.status : 128 + (signals[status.signal] ?? 0);
    return this.#rest(now) + this.#event("x", String(number), now);
  }

  /** Half of a character, and no other half ever came. */
  #rest(now: number): string {
    const text = this.#decoder.decode(new Uint8Array(0));
    return text === "" ? "" : this.#event("o", text, now);
  }

  #event(code: "o" | "r" | "m" | "x", data: string, now: number): string {
    const at = Math.max(this.#last, Math.floor(now));
    const interval = (at - this.#last) / 1000;
    this.#last = at;
    return line([interval, code, data]);
  }
}

function line(value: unknown): string {
  return `${JSON.stringify(value)}\n`;
}
