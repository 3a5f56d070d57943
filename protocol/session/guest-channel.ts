// A channel as the guest sees it: a program's output into a stream under credit, a stream's bytes into the program.

import { concat } from "../bytes.ts";
import { INPUT_STREAM_WINDOW, WIDE_INPUT_WINDOW } from "../limits.ts";
import type { Reassembly } from "../streams/reassembly.ts";
import type { Stream } from "../streams/stream.ts";
import type { StreamConnection } from "../streams/stream-connection.ts";
import type { GuestProcess, ProcessOutput } from "./guest-process.ts";
import type { MessageStream } from "./message-stream.ts";
import type { SignalName } from "./messages.ts";

/** Input goes to the program in pieces of about this. */
const MAX_WRITE = 32 * 1024;
/** Output waits in the program, not here, above this many bytes not yet sent; and the same for a flood. */
const MAX_UNSENT = 64 * 1024;
const MAX_WIDE_UNSENT = 256 * 1024;

/** A program that took so many bytes of input takes it as it comes; one that gave so many of output is a flood. */
const WIDEN_AFTER = 4 * INPUT_STREAM_WINDOW;

export class GuestChannel {
  readonly #process: GuestProcess;
  readonly #connection: StreamConnection;
  readonly #inOut: Stream;
  readonly #error: Stream;
  #discarding = false; // hung up: output is read to its end and thrown away
  #silent = false; // the connection is over: nothing may be sent
  #changed: (() => void)[] = [];
  readonly #mayWiden: () => boolean;
  #taken = 0; // of input, by the program

  /** @param mayWiden - whether there is room for a flood here; asked until there is. */
  constructor(
    process: GuestProcess,
    connection: StreamConnection,
    streams: { inOut: Stream; error: Stream },
    mayWiden: () => boolean,
  ) {
    this.#mayWiden = mayWiden;
    this.#process = process;
    this.#connection = connection;
    this.#inOut = streams.inOut;
    this.#error = streams.error;
    const wake = (): void => {
      if (this.#changed.length > 0) for (const resolve of this.#changed.splice(0)) resolve();
    };
    streams.inOut.onChange = wake;
    streams.error.onChange = wake;
  }

  /** Runs until the program's output ended; tells the client how the program ended. */
  async run(channel: number, messages: MessageStream): Promise<void> {
    void this.#feedInput();
    await Promise.all([
      this.#carryOutput(this.#process.stdout, this.#inOut),
      this.#carryOutput(this.#process.stderr, this.#error),
    ]);
    const status = await this.#process.exit;
    // Input that nobody will read any more must not keep the streams alive.
    this.#inOut.abandoned = true;
    this.#error.abandoned = true;
    if (!this.#silent) messages.send({ type: "exit", channel, status });
  }

  resize(columns: number, rows: number): void {
    this.#process.resize(columns, rows);
  }
  signal(name: SignalName): void {
    this.#process.signal(name);
  }

  /** The client hung up: it still learns how the program ended. */
  hangUp(): void {
    this.#discarding = true;
    this.#process.hangUp();
    for (const resolve of this.#changed.splice(0)) resolve();
  }

  /** The connection is over. */
  end(): void {
    this.#silent = true;
    this.hangUp();
  }

  async #carryOutput(from: ProcessOutput, to: Stream): Promise<void> {
    let unsent = MAX_UNSENT;
    for (;;) {
      if (unsent === MAX_UNSENT && to.send.written >= WIDEN_AFTER && this.#mayWiden()) {
        unsent = MAX_WIDE_UNSENT;
        from.widen?.();
      }
      while (this.#connection.isFull(to, unsent) && !this.#discarding) await this.#change();
      const chunk = await from.read();
      if (chunk === undefined) break;
      if (this.#discarding) continue; // read on, so that the program ends
      to.send.write(chunk);
      this.#connection.onWork();
    }
    to.send.end();
    if (!this.#silent) this.#connection.onWork();
  }

  async #feedInput(): Promise<void> {
    const receive = this.#inOut.receive;
    for (;;) {
      const chunk = gather(receive);
      if (chunk !== undefined) {
        await this.#process.write(chunk);
        this.#taken += chunk.length;
        if (this.#taken >= WIDEN_AFTER && this.#mayWiden()) receive.widen(WIDE_INPUT_WINDOW);
        if (receive.consume(chunk.length)) {
          this.#inOut.windowDue = true;
          this.#connection.onWork();
        }
      } else if (receive.drained) {
        return this.#process.endInput();
      } else if (this.#discarding) {
        return;
      } else {
        await this.#change();
      }
    }
  }

  #change(): Promise<void> {
    return new Promise((resolve) => this.#changed.push(resolve));
  }
}

/** A packet brings 4 KB, on a quick pipe 16: what several have brought goes to the program in one write. */
function gather(receive: Reassembly): Uint8Array | undefined {
  const first = receive.shift();
  if (first === undefined) return undefined;
  const parts = [first];
  let length = first.length;
  while (length < MAX_WRITE) {
    const next = receive.shift();
    if (next === undefined) break;
    parts.push(next);
    length += next.length;
  }
  return parts.length === 1 ? first : concat(...parts);
}
