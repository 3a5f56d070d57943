// A screen from the guest goes into the terminal as it is meant: everything before it parsed, the terminal reset and of the
// screen's size while it is written, and of its own size again before anything behind it.

export interface ScreenTarget {
  /** `parsed` is called once the terminal has worked the bytes off. */
  write(bytes: Uint8Array, parsed: () => void): void;
  /** Nothing waits to be parsed. */
  begin(columns: number, rows: number): void;
  /** All of the screen was parsed. */
  end(): void;
}

type Job =
  | { readonly kind: "write"; readonly bytes: Uint8Array; readonly parsed: () => void }
  | { readonly kind: "screen"; readonly columns: number; readonly rows: number; readonly length: number };

export class ScreenRestore {
  readonly #target: ScreenTarget;
  #jobs: Job[] = [];
  #running = false;
  #left = 0; // bytes of the screen that were not written yet

  constructor(target: ScreenTarget) {
    this.#target = target;
  }

  write(bytes: Uint8Array, parsed: () => void): void {
    if (!this.#running && this.#left === 0) return this.#target.write(bytes, parsed);
    this.#jobs.push({ kind: "write", bytes, parsed });
    void this.#run();
  }

  /** The next `length` bytes are a screen's text, and end with a chunk. */
  restore(columns: number, rows: number, length: number): void {
    this.#jobs.push({ kind: "screen", columns, rows, length });
    void this.#run();
  }

  /** No more comes. */
  abandon(): void {
    if (this.#left === 0) return;
    this.#left = 0;
    this.#target.end();
  }

  async #run(): Promise<void> {
    if (this.#running) return;
    this.#running = true;
    for (let job = this.#jobs.shift(); job !== undefined; job = this.#jobs.shift()) {
      if (job.kind === "screen") {
        await this.#parsed();
        this.abandon(); // one before it was not whole
        this.#left = job.length;
        this.#target.begin(job.columns, job.rows);
        continue;
      }
      this.#target.write(job.bytes, job.parsed);
      if (this.#left === 0) continue;
      this.#left = Math.max(0, this.#left - job.bytes.length);
      if (this.#left > 0) continue;
      await this.#parsed();
      this.#target.end();
    }
    this.#running = false;
  }

  #parsed(): Promise<void> {
    return new Promise((resolve) => this.#target.write(new Uint8Array(0), resolve));
  }
}
