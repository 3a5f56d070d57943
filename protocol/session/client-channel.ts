// A channel as the client sees it: two streams, an exit status, and the messages about them.

import { SealttyError } from "../errors.ts";
import { MAX_SEND_BUFFER, OUTPUT_STREAM_WINDOW, WIDE_OUTPUT_WINDOW } from "../limits.ts";
import type { Stream } from "../streams/stream.ts";
import type { StreamConnection } from "../streams/stream-connection.ts";
import type { ExitStatus, OwnChannel, ReceiveStream } from "./channel-api.ts";
import type { Gate } from "./gate.ts";
import type { MessageStream } from "./message-stream.ts";
import { SIGNALS } from "./messages.ts";
import { checkSize } from "./open-request.ts";

/** Who read so many bytes of an output reads it as it comes. */
const WIDEN_AFTER = 4 * OUTPUT_STREAM_WINDOW;

/** One reader at a time waits for a stream to change. */
class StreamReader implements ReceiveStream {
  readonly #stream: Stream;
  readonly #connection: StreamConnection;
  readonly #gate: Gate;
  #failure: SealttyError | undefined;
  #failedFrozen = false; // ended while frozen: what lay here is never delivered
  #wake: () => void = () => {};

  readonly #mayWiden: () => boolean;
  #taken = 0; // bytes

  constructor(stream: Stream, connection: StreamConnection, gate: Gate, mayWiden: () => boolean) {
    this.#mayWiden = mayWiden;
    this.#stream = stream;
    this.#connection = connection;
    this.#gate = gate;
  }

  async read(): Promise<Uint8Array | undefined> {
    for (;;) {
      // Before the end and the failure, too: what a changed guest sent is not shown until the user chose.
      if (this.#gate.shut) await this.#gate.opened();
      if (this.#failedFrozen && this.#failure !== undefined) throw this.#failure;
      const chunk = this.#stream.receive.shift();
      if (chunk !== undefined) return chunk;
      if (this.#stream.receive.drained) return undefined;
      if (this.#failure !== undefined) throw this.#failure;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  consumed(length: number): void {
    this.#taken += length;
    if (this.#taken >= WIDEN_AFTER && this.#mayWiden()) this.#stream.receive.widen(WIDE_OUTPUT_WINDOW);
    if (!this.#stream.receive.consume(length)) return;
    this.#stream.windowDue = true;
    this.#connection.onWork();
  }

  changed(): void {
    if (this.#stream.receive.ready || this.#stream.receive.drained) this.#wake();
  }

  fail(error: SealttyError): void {
    this.#failure = error;
    this.#failedFrozen = this.#gate.shut;
    this.#wake();
  }
}

export class ClientChannel implements OwnChannel {
  readonly stdout: ReceiveStream;
  readonly stderr: ReceiveStream;
  readonly exit: Promise<ExitStatus>;
  readonly #number: number;
  readonly #messages: MessageStream;
  readonly #connection: StreamConnection;
  readonly #output: StreamReader;
  readonly #error: StreamReader;
  readonly #inOut: Stream;
  readonly #errors: Stream;
  readonly #release: () => void;
  readonly #gate: Gate;
  #status: ExitStatus | undefined;
  #left: SealttyError | undefined; // detached: the program runs on
  #failure: SealttyError | undefined;
  #failedFrozen = false;
  #settleExit!: { resolve(status: ExitStatus): void; reject(error: SealttyError): void };
  #wakeWriters: (() => void)[] = [];

  /**
   * @param release - called once, when the channel is over and its streams may be forgotten. @param mayWiden - whether there is
   * room for a long output here; asked until there is.
   */
  constructor(
    number: number,
    streams: { inOut: Stream; error: Stream },
    messages: MessageStream,
    connection: StreamConnection,
    gate: Gate,
    release: () => void,
    mayWiden: () => boolean,
  ) {
    this.#gate = gate;
    this.#number = number;
    this.#messages = messages;
    this.#connection = connection;
    this.#release = release;
    this.#inOut = streams.inOut;
    this.#errors = streams.error;
    this.#output = new StreamReader(streams.inOut, connection, gate, mayWiden);
    this.#error = new StreamReader(streams.error, connection, gate, () => false);
    this.stdout = this.#output;
    this.stderr = this.#error;
    this.exit = new Promise((resolve, reject) => {
      this.#settleExit = { resolve, reject };
    });
    this.exit.catch(() => {}); // a caller that never asks is no unhandled rejection
    streams.inOut.onChange = () => this.#changed(this.#output);
    streams.error.onChange = () => this.#changed(this.#error);
  }

  /** @param again - it was written once already, to a channel that is gone. */
  async write(bytes: Uint8Array, again = false): Promise<void> {
    let rest = bytes;
    while (rest.length > 0) {
      if (this.#gate.shut) await this.#gate.opened();
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#left !== undefined) throw this.#left;
      if (this.#inOut.send.ended || this.#status !== undefined) return; // nobody reads any more, as with a closed terminal
      const room = MAX_SEND_BUFFER - this.#inOut.send.held;
      if (room <= 0) {
        await new Promise<void>((resolve) => this.#wakeWriters.push(resolve));
        continue;
      }
      if (again) this.#inOut.writeAgain(rest.subarray(0, room));
      else this.#inOut.send.write(rest.subarray(0, room));
      rest = rest.subarray(room);
      this.#connection.onWork();
    }
  }

  end(): void {
    this.#inOut.send.end();
    this.#connection.onWork();
  }

  resize(columns: number, rows: number): void {
    checkSize(columns, rows);
    this.#whenOpen(() => this.#messages.send({ type: "resize", channel: this.#number, columns, rows }));
  }

  signal(name: string): void {
    const signal = SIGNALS.find((known) => known === name);
    if (signal === undefined) throw new SealttyError("api-misuse", `No such signal to send: ${name}`);
    this.#whenOpen(() => this.#messages.send({ type: "signal", channel: this.#number, signal }));
  }

  hangUp(): void {
    if (!this.#over) this.#messages.send({ type: "hang-up", channel: this.#number });
  }

  hangUpUnsent(): void {
    this.#inOut.send.blank();
    this.#wakeAll(); // who waited for room writes nothing more
    this.hangUp();
    this.#connection.onWork();
  }

  /** The guest knows the channel: only now may anything go on its streams. */
  opened(): void {
    this.#errors.send.end(); // the client has nothing to say on it
    this.#connection.onWork();
  }

  /** The guest's EXIT message; it may come before the last output. */
  exited(status: ExitStatus): void {
    this.#status ??= status;
    this.#wakeAll();
    this.#settleWhenDelivered();
  }

  /** The program runs on without this channel: `exit` rejects with `error`, after the last output was delivered. */
  left(error: SealttyError): void {
    this.#left ??= error;
    this.#wakeAll();
    this.#settleWhenDelivered();
  }

  /** What the connection failed with while frozen: nothing that came before the user chose is delivered. */
  get failedFrozen(): SealttyError | undefined {
    return this.#failedFrozen ? this.#failure : undefined;
  }

  fail(error: SealttyError): void {
    this.#failure ??= error;
    this.#failedFrozen = this.#gate.shut;
    this.#output.fail(error);
    this.#error.fail(error);
    this.#settleExit.reject(error);
    this.#wakeAll();
  }

  /** A signal or a size is input, too: it waits with the rest while the connection is frozen. */
  #whenOpen(send: () => void): void {
    if (!this.#gate.shut) {
      if (!this.#over) send();
      return;
    }
    void this.#gate.opened().then(() => {
      if (!this.#over) send();
    });
  }

  get #over(): boolean {
    return this.#status !== undefined || this.#left !== undefined || this.#failure !== undefined;
  }

  #changed(reader: StreamReader): void {
    reader.changed();
    this.#wakeAll();
    this.#settleWhenDelivered();
  }

  #wakeAll(): void {
    if (this.#wakeWriters.length === 0) return;
    const writers = this.#wakeWriters;
    this.#wakeWriters = [];
    for (const wake of writers) wake();
  }

  #settleWhenDelivered(): void {
    if (this.#status === undefined && this.#left === undefined) return;
    if (!this.#inOut.receive.ended || !this.#errors.receive.ended) return;
    if (this.#gate.shut) return void this.#gate.opened().then(() => this.#settleWhenDelivered());
    if (this.#status !== undefined) this.#settleExit.resolve(this.#status);
    else if (this.#left !== undefined) this.#settleExit.reject(this.#left);
    this.#release();
  }
}
