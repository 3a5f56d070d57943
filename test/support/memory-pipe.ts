// Two pipe ends in memory, joined through whatever a test puts between them.

import { SealttyError } from "../../protocol/errors.ts";
import type { Pipe } from "../../protocol/pipe.ts";

const HIGH_WATER = 256 * 1024;

/** One direction: chunks in, chunks out, bounded. */
export class MemoryLane {
  readonly #chunks: Uint8Array[] = [];
  #held = 0;
  #ended = false;
  #failure: Error | undefined;
  #wakeReader: () => void = () => {};
  #wakeWriters: (() => void)[] = [];

  async put(chunk: Uint8Array): Promise<void> {
    while (this.#held >= HIGH_WATER && !this.#ended)
      await new Promise<void>((resolve) => this.#wakeWriters.push(resolve));
    if (this.#ended) throw new SealttyError("transport-lost", "The pipe is closed");
    this.push(chunk);
  }

  push(chunk: Uint8Array): void {
    if (this.#ended || chunk.length === 0) return;
    this.#chunks.push(chunk.slice());
    this.#held += chunk.length;
    this.#wakeReader();
  }

  end(failure?: Error): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#failure = failure;
    this.#wakeReader();
    for (const wake of this.#wakeWriters.splice(0)) wake();
  }

  async *read(): AsyncGenerator<Uint8Array> {
    for (;;) {
      const chunk = this.#chunks.shift();
      if (chunk !== undefined) {
        this.#held -= chunk.length;
        for (const wake of this.#wakeWriters.splice(0)) wake();
        yield chunk;
      } else if (this.#ended) {
        if (this.#failure !== undefined) throw this.#failure;
        return;
      } else {
        await new Promise<void>((resolve) => {
          this.#wakeReader = resolve;
        });
      }
    }
  }
}

/** @param carry - what happens to each chunk on its way: the host. It calls `deliver` as often, as late and with what it likes. */
export type Carry = (
  chunk: Uint8Array,
  deliver: (chunk: Uint8Array) => void,
  direction: "to-guest" | "to-client",
) => void;

export interface PipePair {
  readonly client: Pipe;
  readonly guest: Pipe;
  /** The host drops the pipe. */
  cut(): void;
}

/** @param gathers - as sockets do: several frames in one chunk, and long ones as they are. */
export function memoryPipes(carry: Carry = (chunk, deliver) => deliver(chunk), gathers?: number): PipePair {
  const toGuest = new MemoryLane();
  const toClient = new MemoryLane();
  const cut = (): void => {
    const lost = new SealttyError("transport-lost", "The host dropped the pipe");
    toGuest.end(lost);
    toClient.end(lost);
  };
  let cutOff = false;
  const end = (incoming: MemoryLane, outgoing: MemoryLane, direction: "to-guest" | "to-client"): Pipe => ({
    incoming: incoming.read(),
    ...(gathers === undefined ? {} : { gathers }),
    async send(chunk) {
      if (cutOff) throw new SealttyError("transport-lost", "The pipe is closed");
      await outgoing.put(new Uint8Array(0)).catch((error: unknown) => {
        throw error;
      });
      carry(chunk, (delivered) => outgoing.push(delivered), direction);
    },
    async close() {
      cutOff = true;
      toGuest.end();
      toClient.end();
    },
  });
  return { client: end(toClient, toGuest, "to-guest"), guest: end(toGuest, toClient, "to-client"), cut };
}
