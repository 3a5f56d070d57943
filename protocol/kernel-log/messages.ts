// The kernel's log on its way to a client: what the guest's program says through a channel of the service "kernel-log", and
// its exact reader. docs/protocol.md §8.13

import { Reader, concat, u64 } from "../bytes.ts";
import { SealttyError } from "../errors.ts";
import { MAX_KERNEL_CLOCK, MAX_KERNEL_RECORD } from "../limits.ts";

export const KERNEL_LOG_TYPES = { clock: 1, record: 2, lost: 3, "caught-up": 4 } as const;

export type KernelLogMessage =
  /** First, and once: one moment by the guest's two clocks. */
  | {
      readonly type: "clock";
      /** µs since power-on, as records count them, or nearly. */
      readonly uptime: number;
      /** ms since 1970 UTC. */
      readonly wall: number;
    }
  /** As /dev/kmsg has it: protocol/kernel-log/record.ts. */
  | { readonly type: "record"; readonly bytes: Uint8Array }
  /** The kernel wrote over records before they were read; how many, the numbers of the others tell. */
  | { readonly type: "lost" }
  /** Once: all that was there has been said. */
  | { readonly type: "caught-up" };

export function encodeKernelLog(message: KernelLogMessage): Uint8Array {
  const body = bodyOf(message);
  const { length } = body;
  const head = Uint8Array.of(KERNEL_LOG_TYPES[message.type], length >>> 16, length >>> 8, length);
  return concat(head, body);
}

function bodyOf(message: KernelLogMessage): Uint8Array {
  switch (message.type) {
    case "clock":
      return concat(u64(message.uptime), u64(message.wall));
    case "record":
      return message.bytes;
    case "lost":
    case "caught-up":
      return new Uint8Array(0);
  }
}

const HEAD = 4;
const CLOCK_BODY = 16;

/** Holds one message at most. */
export class KernelLogDecoder {
  readonly #held = new Uint8Array(HEAD + MAX_KERNEL_RECORD);
  #length = 0;
  #clockSeen = false;
  #caughtUp = false;

  /** @param chunk - any piece of the stream. @throws SealttyError `peer-misbehaved`; the decoder is of no use then. */
  push(chunk: Uint8Array): KernelLogMessage[] {
    const messages: KernelLogMessage[] = [];
    let at = 0;
    while (at < chunk.length) {
      const wanted = this.#length < HEAD ? HEAD : HEAD + this.#bodyLength();
      const piece = chunk.subarray(at, at + wanted - this.#length);
      this.#held.set(piece, this.#length);
      this.#length += piece.length;
      at += piece.length;
      if (this.#length < HEAD || this.#length < HEAD + this.#bodyLength()) continue;
      const body = this.#held.slice(HEAD, this.#length);
      this.#length = 0;
      messages.push(this.#read(this.#held[0] ?? 0, new Reader(body, "Message of the kernel's log")));
    }
    return messages;
  }

  /** The stream is over. @returns whether all that was there at first has been said. @throws SealttyError `peer-misbehaved`. */
  end(): boolean {
    if (this.#length > 0) throw misbehaved("ends too early");
    return this.#caughtUp;
  }

  /** Of a head that is whole; looked at before anything of the body is taken. */
  #bodyLength(): number {
    const [type = 0, high = 0, middle = 0, low = 0] = this.#held;
    const length = (high << 16) | (middle << 8) | low;
    const { clock, record } = KERNEL_LOG_TYPES;
    const longest = type === record ? MAX_KERNEL_RECORD : type === clock ? CLOCK_BODY : 0;
    if (length > longest) throw misbehaved("is too long, or of an unknown type");
    return length;
  }

  #read(type: number, reader: Reader): KernelLogMessage {
    const message = this.#body(type, reader);
    reader.end();
    if (this.#clockSeen === (message.type === "clock")) throw misbehaved("is out of its order");
    this.#clockSeen = true;
    if (message.type !== "caught-up") return message;
    if (this.#caughtUp) throw misbehaved("comes twice");
    this.#caughtUp = true;
    return message;
  }

  #body(type: number, reader: Reader): KernelLogMessage {
    switch (type) {
      case KERNEL_LOG_TYPES.clock:
        return { type: "clock", uptime: readClock(reader), wall: readClock(reader) };
      case KERNEL_LOG_TYPES.record:
        if (reader.remaining === 0) reader.fail("is an empty record");
        return { type: "record", bytes: reader.rest() };
      case KERNEL_LOG_TYPES.lost:
        return { type: "lost" };
      case KERNEL_LOG_TYPES["caught-up"]:
        return { type: "caught-up" };
      default:
        return reader.fail("is of an unknown type");
    }
  }
}

function readClock(reader: Reader): number {
  const value = reader.u64();
  return value > MAX_KERNEL_CLOCK ? reader.fail("has a clock that no calendar has") : value;
}

function misbehaved(problem: string): SealttyError {
  return new SealttyError("peer-misbehaved", `Message of the kernel's log ${problem}`);
}
