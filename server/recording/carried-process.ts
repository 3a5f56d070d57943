// A program of a user's as its bytes pass through: counted, and where it is recorded, recorded before anybody gets them.

import type { Clock } from "../../protocol/clock.ts";
import { utf8 } from "../../protocol/bytes.ts";
import type { ExitStatus } from "../../protocol/session/channel-api.ts";
import { type CarrierEvent, secondsSince } from "../audit/events.ts";
import type { GuestProcess, OutputReader } from "../sessions/guest-process.ts";
import type { RecordingSink } from "./recording.ts";

export interface CarriedOptions {
  /** As program-start has it. */
  readonly program: number;
  readonly clock: Clock;
  /** It has one output only, stdout: nobody may ever read the other. */
  readonly terminal: boolean;
  /** Absent: not recorded. */
  readonly sink?: RecordingSink | undefined;
  /** Shown in front of its output, and not recorded. */
  readonly notice?: string | undefined;
  readonly say: (event: CarrierEvent) => void;
}

export class CarriedProcess implements GuestProcess {
  readonly program: number;
  readonly stdout: OutputReader;
  readonly stderr: OutputReader;
  readonly exit: Promise<ExitStatus>;
  readonly #process: GuestProcess;
  readonly #sink: RecordingSink | undefined;
  #in = 0; // bytes
  #out = 0;
  #notice: Uint8Array | undefined;
  #over = false; // what comes now could not be recorded

  constructor(process: GuestProcess, options: CarriedOptions) {
    const { program, clock, sink, notice, say } = options;
    this.program = program;
    this.exit = process.exit;
    this.#process = process;
    this.#sink = sink;
    this.#notice = notice === undefined ? undefined : utf8(notice);
    const began = clock.now();
    // Of the last of its output, too: that may be read after its end.
    const wholly = (
      stream: () => Promise<Uint8Array | undefined>,
      widen?: () => void,
    ): readonly [OutputReader, Promise<void>] => {
      let tell = (): void => {};
      const ended = new Promise<void>((resolve) => {
        tell = resolve;
      });
      const read = async (): Promise<Uint8Array | undefined> => {
        const chunk = await stream();
        if (chunk === undefined) tell();
        return chunk;
      };
      return [widen === undefined ? { read } : { read, widen }, ended];
    };
    // What is recorded is cut to what one record takes.
    const widenStdout = sink === undefined ? () => process.stdout.widen?.() : undefined;
    const [stdout, stdoutEnded] = wholly(() => this.#readOutput(), widenStdout);
    const [stderr, stderrEnded] = wholly(async () => this.#count(await process.stderr.read()));
    this.stdout = stdout;
    this.stderr = stderr;
    void Promise.all([process.exit, stdoutEnded, options.terminal ? undefined : stderrEnded]).then(() => {
      const seconds = secondsSince(clock, began);
      say({ event: "carried", program, bytes_in: this.#in, bytes_out: this.#out, seconds });
    });
  }

  write(bytes: Uint8Array): Promise<void> {
    this.#in += bytes.length;
    return this.#process.write(bytes);
  }

  endInput(): void {
    this.#process.endInput();
  }

  resize(columns: number, rows: number): void {
    this.#process.resize(columns, rows);
    this.#sink?.resize(columns, rows);
  }

  signal(name: string): void {
    this.#process.signal(name);
  }

  hangUp(): void {
    this.#process.hangUp();
  }

  #count(chunk: Uint8Array | undefined): Uint8Array | undefined {
    this.#out += chunk?.length ?? 0;
    return chunk;
  }

  async #readOutput(): Promise<Uint8Array | undefined> {
    const notice = this.#notice;
    this.#notice = undefined;
    if (notice !== undefined) return notice;
    if (this.#over) return undefined;
    const chunk = this.#count(await this.#process.stdout.read());
    const sink = this.#sink;
    if (sink === undefined) return chunk;
    if (chunk === undefined) sink.outputEnded();
    else {
      try {
        await sink.output(chunk);
      } catch {
        this.#over = true;
        this.#process.hangUp();
        return undefined;
      }
    }
    return chunk;
  }
}
