// What is compared: ways to get a shell on a pty. And where its output goes.

/** Collects one terminal's output and says when enough of it has come. */
export class Inbox {
  length = 0; // bytes so far
  #text: string | undefined = ""; // undefined: only counting
  #enough: () => boolean = () => false;
  #resolve: () => void = () => {};
  #reject: (error: Error) => void = () => {};
  #failure: Error | undefined;

  readonly receive = (bytes: Uint8Array): void => {
    this.length += bytes.length;
    if (this.#text !== undefined) this.#text += Buffer.from(bytes).toString("latin1");
    if (this.#enough()) this.#resolve();
  };

  /** The terminal is gone: whoever waits is told. */
  readonly fail = (error: Error): void => {
    this.#failure = error;
    this.#reject(error);
  };

  untilFirstByte(timeoutMs: number): Promise<void> {
    return this.#until(() => this.length > 0, timeoutMs, "the first byte");
  }

  /** Bytes up to now are forgotten once `marker` was there; from then on bytes are only counted. */
  async untilMarker(marker: string, timeoutMs: number): Promise<void> {
    await this.#until(() => this.#text?.includes(marker) === true, timeoutMs, marker);
    this.#text = undefined;
    this.length = 0;
  }

  untilLength(length: number, timeoutMs: number): Promise<void> {
    return this.#until(() => this.length >= length, timeoutMs, `${length} bytes`);
  }

  #until(enough: () => boolean, timeoutMs: number, what: string): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (enough()) return Promise.resolve();
    return new Promise<void>((resolve, reject) => {
      const timer = setTimeout(
        () =>
          this.#reject(
            new Error(`No ${what} within ${timeoutMs} ms, ${this.length} bytes came: ${this.#text ?? ""}`),
          ),
        timeoutMs,
      );
      const done = (): void => {
        clearTimeout(timer);
        this.#enough = () => false;
      };
      this.#enough = enough;
      this.#resolve = () => {
        done();
        resolve();
      };
      this.#reject = (error) => {
        done();
        reject(error);
      };
    });
  }
}

export interface Terminal {
  write(bytes: Uint8Array): void | Promise<void>;
  /** Hangs up. */
  close(): Promise<void>;
  /** performance.now() of steps before the prompt. */
  readonly milestones?: Readonly<Record<string, number>>;
}

export interface Peer {
  readonly name: string;
  /** Typed at the prompt: prints MARKER, waits for a line, prints `length` zero bytes, and stays. */
  floodLine(length: number): string;
  /** Typed at the prompt: prints MARKER, then sends back what comes, byte for byte. */
  readonly echoLine: string;
  /** false: no shell, so there is no time to its prompt. */
  readonly hasPrompt?: boolean;
  /** From asking for a terminal until it takes input. Output goes to `inbox` from the start. */
  open(inbox: Inbox): Promise<Terminal>;
  /** How long anything may take at most, in milliseconds. */
  readonly patienceMs: number;
  stop(): Promise<void>;
}

/** A peer that is not there, with the reason. */
export interface Absence {
  readonly name: string;
  readonly absent: string;
}

export const MARKER = "READY";
const sayMarker = "stty raw -echo; printf 'REA''DY'"; // split: the terminal's echo of this line must not look like it

/** Lines for a shell on a pty; without `exec`, because a pty whose program has ended may lose output. */
export const shellLines = {
  floodLine: (length: number) => `${sayMarker}; read x; head -c ${length} /dev/zero; read x\n`,
  echoLine: `${sayMarker}; exec cat\n`,
};
/** The same for busybox, whose head copies byte by byte. @param before, after - commands around the flood. */
export const busyboxFloodLine = (length: number, before = ":", after = ":"): string =>
  `${sayMarker}; read x; ${before}; ` +
  `dd if=/dev/zero bs=65536 count=${Math.ceil(length / 65536)} 2>/dev/null; ${after}; read x\n`;

export const COLUMNS = 80;
export const ROWS = 24;
