// The client's end of whatever pipe there is now: dials, reads frames, writes frames, dials again when it is lost.

import type { Clock } from "../clock.ts";
import { SealttyError } from "../errors.ts";
import { FrameDecoder } from "../frames/frame-decoder.ts";
import type { FrameEncoding, OutgoingFrame } from "../frames/frame-encoder.ts";
import type { Pipe } from "../pipe.ts";
import type { Pacer } from "./pacer.ts";
import { PipePump } from "./pipe-pump.ts";

const FIRST_BACKOFF = 100;
const MAX_BACKOFF = 5000;

export interface ClientLinkEvents {
  /** A pipe is open; it may be the first or a later one. */
  onPipe(): void;
  onFrame(body: Uint8Array, encoding: FrameEncoding): void;
  onNoise(noise: Uint8Array): void;
  /** The pipe is gone, another is being dialled. */
  onLost(reason: string): void;
  /** The next frame body to send; undefined where none is due. */
  source(): Uint8Array | undefined;
  /** Whether its frame's length must follow from its own. */
  oneLength(): boolean;
  /** Whether several of these frames may leave in one chunk, once the one before was used up. */
  mayGather(): boolean;
}

export class ClientLink {
  readonly #dial: () => Promise<Pipe>;
  readonly #clock: Clock;
  readonly #events: ClientLinkEvents;
  readonly #checksum: (bytes: Uint8Array) => number;
  encoding: FrameEncoding;
  readonly #pacer: Pick<Pacer, "over" | "watching">;
  #pipe: Pipe | undefined;
  #pump: PipePump | undefined;
  #closed = false;
  #stopWaiting: (() => void) | undefined;
  #pipes = 0;
  #heard = false; // the guest was heard on the present pipe

  constructor(
    dial: () => Promise<Pipe>,
    clock: Clock,
    checksum: (bytes: Uint8Array) => number,
    encoding: FrameEncoding,
    pacer: Pick<Pacer, "over" | "watching">,
    events: ClientLinkEvents,
  ) {
    this.#pacer = pacer;
    this.#checksum = checksum;
    this.#dial = dial;
    this.#clock = clock;
    this.encoding = encoding;
    this.#events = events;
  }

  get pipes(): number {
    return this.#pipes;
  }

  wake(): void {
    this.#pump?.wake();
  }

  /** Runs until `close`. @throws what the first dial threw: a wrong address is no lost pipe. */
  async run(): Promise<void> {
    let backoff = FIRST_BACKOFF;
    while (!this.#closed) {
      let reason: string;
      try {
        const pipe = await this.#dial();
        this.#pipes++;
        await this.#use(pipe);
        reason = "the pipe was closed";
      } catch (error) {
        if (this.#pipes === 0) throw error;
        reason = error instanceof SealttyError ? error.message : "the pipe failed";
      }
      if (this.#closed) return;
      if (this.#heard) backoff = FIRST_BACKOFF; // however the pipe ended: a guest is there
      this.#heard = false;
      this.#events.onLost(reason);
      await this.#wait(backoff);
      backoff = Math.min(MAX_BACKOFF, backoff * 2);
    }
  }

  /** Resolves once the pipe has taken all that is due, or after `atMost` ms. */
  drained(atMost: number): Promise<void> {
    const drained = this.#pump?.drained() ?? Promise.resolve();
    return new Promise((resolve) => {
      const cancel = this.#clock.after(atMost, resolve);
      void drained.then(() => {
        cancel();
        resolve();
      });
    });
  }

  /** What came on the present pipe was authentic. A frame alone says nothing: the host would have us dial without end. */
  heardGuest(): void {
    this.#heard = true;
  }

  /** Whether long frames, and several of them, are well on the present pipe. */
  get gathers(): boolean {
    return this.#gathers > 0;
  }

  /** What watches the pipe must have one frame at a time; and before keys it may always begin to. */
  get #gathers(): number {
    return this.#pacer.watching || !this.#events.mayGather() ? 0 : (this.#pipe?.gathers ?? 0);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#pump?.stop();
    this.#stopWaiting?.();
    await this.#pipe?.close();
  }

  async #use(pipe: Pipe): Promise<void> {
    this.#pipe = pipe;
    if (this.#closed) {
      return pipe.close();
    }
    const source = (): OutgoingFrame | undefined => {
      const body = this.#events.source();
      if (body === undefined) return undefined;
      return { body, encoding: this.encoding, oneLength: this.#events.oneLength() };
    };
    const pump = new PipePump(this.#pacer.over(pipe), this.#checksum, source, () => this.#gathers);
    this.#pump = pump;
    const decoder = new FrameDecoder(this.#checksum, "lends");
    try {
      this.#events.onPipe();
      pump.wake();
      for await (const chunk of pipe.incoming) {
        if (this.#closed) break;
        const { frames, noise } = decoder.push(chunk, this.#clock.now());
        if (noise.length > 0) this.#events.onNoise(noise);
        for (const { body, encoding } of frames) {
          this.#events.onFrame(body, encoding);
        }
      }
    } finally {
      pump.stop();
      await pipe.close();
    }
  }

  #wait(delay: number): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.#clock.after(delay, resolve);
      this.#stopWaiting = () => {
        cancel();
        resolve();
      };
    });
  }
}
