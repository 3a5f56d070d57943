// A shaped session on a clock that stands until told, with the host's notes of when something passed and how long it was.

import { FrameDecoder } from "../../protocol/frames/frame-decoder.ts";
import { encodeFrame, type FrameEncoding } from "../../protocol/frames/frame-encoder.ts";
import { MAX_ARMOUR_BODY } from "../../protocol/limits.ts";
import { concat } from "../../protocol/bytes.ts";
import type { ShapingProfile } from "../../protocol/packets/shaping.ts";
import type { Pipe } from "../../protocol/pipe.ts";
import type { GuestEndpoint } from "../../protocol/session/accept.ts";
import type { ConnectOptions, Guest } from "../../protocol/session/api.ts";
import type { Channel } from "../../protocol/session/channel-api.ts";
import { connect } from "../../protocol/session/connect.ts";
import type { GuestServices } from "../../protocol/session/guest-connection.ts";
import type { SessionRegistry } from "../../server/sessions/registry.ts";
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
  readonly programs: FakeProcess[] = [];
  readonly trace: Trace = { "to-guest": [], "to-client": [] };
  readonly output: Uint8Array[] = [];
  endpoint!: GuestEndpoint;
  sessions!: SessionRegistry;
  guest!: Guest;
  channel!: Channel;
  lose: (direction: "to-guest" | "to-client") => boolean = () => false;
  /** What the host makes of a chunk. */
  change: (direction: "to-guest" | "to-client", chunk: Uint8Array) => Uint8Array = (_, chunk) => chunk;
  /** How long the host keeps a chunk, ms. */
  delay: (direction: "to-guest" | "to-client") => number = () => 0;
  /** Until when the host's pipe takes nothing, by the clock. */
  blockedUntil = 0;
  /** The host drops the pipe that there is now. */
  cut: () => void = () => {};
  #from = 0;

  /** @param profile - undefined: what a client does that asks for nothing. */
  static async open(
    profile: ShapingProfile | undefined,
    encoding: FrameEncoding | "auto" = "binary",
    services: Partial<GuestServices> = {},
    own: Partial<ConnectOptions> = {},
  ): Promise<ShapedSession> {
    const session = new ShapedSession();
    const { endpoint, sessions } = testGuest(session.clock, services, () => {
      const program = session.programs.length === 0 ? session.process : new FakeProcess();
      session.programs.push(program);
      return program;
    });
    session.endpoint = endpoint;
    session.sessions = sessions;
    const dial = async (): Promise<Pipe> => {
      const pipes = memoryPipes((chunk, deliver, direction) => {
        session.trace[direction].push({ at: session.clock.now() - session.#from, length: chunk.length });
        if (session.lose(direction)) return;
        const changed = session.change(direction, chunk);
        const delay = session.delay(direction);
        if (delay === 0) deliver(changed);
        else session.clock.after(delay, () => deliver(changed));
      });
      session.cut = () => pipes.cut();
      void endpoint.servePipe(session.#blocking(pipes.guest)).catch(() => undefined);
      return session.#blocking(pipes.client);
    };
    const options = clientOptions(session.clock, dial, {
      encoding,
      ...own,
      ...(profile === undefined ? {} : { shaping: profile }),
    });
    await session.until(
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
      void this.channel.write(new TextEncoder().encode(text.slice(i, i + 1)));
      await settle(2);
    }
  }

  /** Loses the same chunks in each session of one seed, by their place in their direction. */
  loseBySeed(seed: number, share: number): void {
    const random = { "to-guest": seeded(seed), "to-client": seeded(seed + 1) };
    this.lose = (direction) => random[direction].chance(share);
  }

  /** Re-encodes frames, whose bodies stay what they are: the n-th of a direction in armour where `armoured` says so. */
  recode(armoured: (direction: "to-guest" | "to-client", n: number) => boolean): void {
    const state = {
      "to-guest": { decoder: new FrameDecoder(), n: 0 },
      "to-client": { decoder: new FrameDecoder(), n: 0 },
    };
    this.change = (direction, chunk) => {
      const own = state[direction];
      const frames = own.decoder.push(chunk).frames.map(({ body }) => {
        const armour = armoured(direction, own.n++) && body.length <= MAX_ARMOUR_BODY;
        return encodeFrame(body, armour ? "armour" : "binary");
      });
      return concat(...frames);
    };
  }

  #blocking(pipe: Pipe): Pipe {
    return {
      incoming: pipe.incoming,
      close: () => pipe.close(),
      send: async (chunk) => {
        while (this.clock.now() < this.blockedUntil)
          await new Promise<void>((resolve) =>
            this.clock.after(this.blockedUntil - this.clock.now(), resolve),
          );
        return pipe.send(chunk);
      },
    };
  }

  async close(): Promise<void> {
    await this.until(this.guest.close());
  }

  /** Lets the clock run until `done` is. */
  async until<T>(done: Promise<T>): Promise<T> {
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
    return done;
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
