// A shaped session on a clock that stands until told, with the host's notes of when something passed and how long it was.

import type { FrameEncoding } from "../../protocol/frames/frame-encoder.ts";
import type { ShapingProfile } from "../../protocol/packets/shaping.ts";
import type { Channel, Guest } from "../../protocol/session/api.ts";
import { connect } from "../../protocol/session/connect.ts";
import { ManualClock } from "./clocks.ts";
import { memoryPipes } from "./memory-pipe.ts";
import { seeded } from "./seeded.ts";
import { clientOptions, FakeProcess, testGuest } from "./session.ts";

export interface Passed {
  readonly at: number; // ms since the channel was open
  readonly length: number; // bytes of the chunk
}
export interface Trace {
  readonly "to-guest": Passed[];
  readonly "to-client": Passed[];
}

/** Real work between two moments of a standing clock: promises, and WebCrypto's own threads while it still appraises. */
async function settle(rounds: number): Promise<void> {
  for (let i = 0; i < rounds; i++) await new Promise((resolve) => setImmediate(resolve));
}

export class ShapedSession {
  readonly clock = new ManualClock();
  readonly process = new FakeProcess();
  readonly trace: Trace = { "to-guest": [], "to-client": [] };
  readonly output: Uint8Array[] = [];
  guest!: Guest;
  channel!: Channel;
  lose: (direction: "to-guest" | "to-client") => boolean = () => false;
  #from = 0;

  /** @param profile - undefined: what a client does that asks for nothing. */
  static async open(
    profile: ShapingProfile | undefined,
    encoding: FrameEncoding = "binary",
  ): Promise<ShapedSession> {
    const session = new ShapedSession();
    const { endpoint } = testGuest(session.clock, {}, () => session.process);
    const pipes = memoryPipes((chunk, deliver, direction) => {
      session.trace[direction].push({ at: session.clock.now() - session.#from, length: chunk.length });
      if (!session.lose(direction)) deliver(chunk);
    });
    void endpoint.servePipe(pipes.guest).catch(() => undefined);
    const options = clientOptions(session.clock, async () => pipes.client, {
      encoding,
      ...(profile === undefined ? {} : { shaping: profile }),
    });
    await session.#until(
      connect(options)
        .then((attested) => attested.authenticate({ method: "none", user: "root" }))
        .then(async (guest) => {
          session.guest = guest;
          session.channel = await guest.openChannel({ kind: "login", term: "xterm", columns: 80, rows: 24 });
        }),
    );
    void session.#read();
    await session.run(1000); // what belongs to the beginning is over, acknowledgements too
    session.restart();
    return session;
  }

  /** Counts from now. */
  restart(): void {
    this.#from = this.clock.now();
    this.trace["to-guest"].length = 0;
    this.trace["to-client"].length = 0;
  }

  async run(ms: number, step = 1): Promise<void> {
    for (let passed = 0; passed < ms; passed += step) {
      this.clock.advance(step);
      await settle(2);
    }
  }

  /** Types `text`, each key after a pause of `gap` ms. */
  async type(text: string, gap: (key: number) => number): Promise<void> {
    for (let i = 0; i < text.length; i++) {
      await this.run(gap(i));
      void this.channel.write(new TextEncoder().encode(text[i]));
      await settle(2);
    }
  }

  /** Loses the same chunks in each session of one seed, by their place in their direction. */
  loseBySeed(seed: number, share: number): void {
    const random = { "to-guest": seeded(seed), "to-client": seeded(seed + 1) };
    this.lose = (direction) => random[direction].chance(share);
  }

  async close(): Promise<void> {
    await this.#until(this.guest.close());
  }

  async #until(done: Promise<unknown>): Promise<void> {
    let over = false;
    let failure: { error: unknown } | undefined;
    done.then(
      () => (over = true),
      (error: unknown) => {
        over = true;
        failure = { error };
      },
    );
    while (!over) {
      this.clock.advance(1);
      await settle(3);
    }
    if (failure !== undefined) throw failure.error;
  }

  async #read(): Promise<void> {
    try {
      for (;;) {
        const bytes = await this.channel.stdout.read();
        if (bytes === undefined) return;
        this.output.push(bytes.slice());
        this.channel.stdout.consumed(bytes.length);
      }
    } catch {
      // closed
    }
  }
}
