// One stream of a connection, both directions: what waits to be sent, and what came. docs/protocol.md §7

import { Reassembly } from "./reassembly.ts";
import { SendBuffer } from "./send-buffer.ts";

/** Credit that both sides take for granted when a stream opens, bytes (docs/protocol.md §7.2). */
export interface StreamWindows {
  readonly receive: number;
  readonly send: number;
}

/** One open stream, both directions. */
export class Stream {
  readonly id: number;
  readonly send = new SendBuffer();
  readonly receive: Reassembly;
  /** Called when `receive` has something new, when credit came, when bytes were sent or acknowledged. Must not send. */
  onChange: () => void = () => {};
  windowDue = false; // the peer must be told the credit
  writtenBefore = 0; // bytes that were written up to the last slot, or are no news (`writeAgain`)

  constructor(id: number, windows: StreamWindows) {
    this.id = id;
    this.receive = new Reassembly(windows.receive);
    this.send.allow(windows.send);
  }

  /** Writes what was written once already, elsewhere: it raises no level, as what waited here would not. */
  writeAgain(bytes: Uint8Array): void {
    this.send.write(bytes);
    this.writtenBefore += bytes.length;
  }

  /** Nobody reads it any more: what still comes is acknowledged and thrown away. */
  abandoned = false;

  /** Nothing will come, go or be asked for again. */
  get over(): boolean {
    return this.send.finished && (this.abandoned || this.receive.drained);
  }
}
