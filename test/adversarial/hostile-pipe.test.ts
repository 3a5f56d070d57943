// The host at its worst under a whole session: whatever it does, bytes arrive whole and in order, or not yet.
import { describe, expect, test } from "vitest";
import { concat, utf8 } from "../../protocol/bytes.ts";
import type { Pipe } from "../../protocol/pipe.ts";
import { connect } from "../../protocol/session/connect.ts";
import { hostileCarry, type Hostility } from "../support/hostile-pipe.ts";
import { seeded, testSeed } from "../support/seeded.ts";
import { clientOptions, FakeProcess, testGuest } from "../support/session.ts";
import { streamSearch } from "../support/wire-search.ts";
import {
  BY_KEYBOARD,
  BY_TABLET,
  IN_MEMORY,
  type MakeCarry,
  type Seen,
  type Wire,
  type WireKind,
} from "../support/wires.ts";

const LOGIN = { kind: "login", term: "xterm", columns: 80, rows: 24 } as const;
/** As sockets do: several frames in one chunk, which the host treats as one. */
const GATHERS = 64 * 1024;

const cases: Record<string, Hostility> = {
  loss: { lose: 0.15 },
  duplicates: { double: 0.5 },
  reorder: { delay: 0.3 },
  "bit flips": { flip: 0.15 },
  truncation: { truncate: 0.15 },
  "injected lines": { inject: 0.5 },
  "replay of its own frames": { replay: 0.5 },
  everything: { lose: 0.04, double: 0.1, delay: 0.1, flip: 0.04, truncate: 0.04, inject: 0.1, replay: 0.1 },
};

const seed = testSeed();

/** An encoding, and what a chunk gathers. */
type Way = readonly ["binary" | "armour", number?];
/** At the head of what is typed and printed. */
const SECRET = utf8("canary-on-a-pipe-9Kd3Ws");
const seedText = `seed ${seed}`;

describe.each([IN_MEMORY, BY_TABLET, BY_KEYBOARD])("$name", (kind) => {
  const ways: readonly Way[] =
    kind === IN_MEMORY ? [["binary"], ["armour"], ["binary", GATHERS]] : [["binary"]];

  test.each(Object.entries(cases))(`a session through %s (${seedText})`, async (_name, hostility) => {
    for (const way of ways) {
      const random = seeded(seed);
      const memory: Uint8Array[] = [];
      await runSession(kind, way, () => hostileCarry(random, hostility, memory));
    }
  });

  test("the search of each session would find the secret if it went in the clear", async () => {
    const { seen, found } = canary();
    const wire = kind.make({ speed: 20, seed, seen });
    const endpoint = {
      async servePipe(pipe: Pipe) {
        await pipe.send(SECRET); // before a client is there it may go nowhere
        for await (const chunk of pipe.incoming) await pipe.send(chunk);
      },
    };
    try {
      const pipe = await wire.dial(endpoint);
      await pipe.send(SECRET);
      let read = 0;
      for await (const chunk of pipe.incoming) {
        read += chunk.length;
        if (read >= SECRET.length) break;
      }
      expect(new Set(found().map(([stream]) => stream))).toEqual(
        new Set(kind === IN_MEMORY ? ["to-guest", "to-client"] : ["to-guest", "to-client", "RFB to-client"]),
      );
    } finally {
      await wire.stop();
    }
  });

  test(`a pipe cut again and again: same keys, new pipe, nothing lost, nothing twice (${seedText})`, async () => {
    const random = seeded(seed);
    const states: string[] = [];
    const makeCarry: MakeCarry = (cut) => {
      const carry = hostileCarry(random, { lose: 0.02 });
      let left = 8 + random.below(20); // chunks until the host drops this pipe
      return (chunk, deliver, direction) => {
        if (--left < 0) return cut();
        carry(chunk, deliver, direction);
      };
    };
    await runSession(kind, ["binary"], makeCarry, (phase) => states.push(phase));
    expect(states).toContain("reconnecting");
  });

  test(`frames of an earlier session and of a parallel one, spliced in (${seedText})`, async () => {
    const random = seeded(seed);
    const memory: Uint8Array[] = [];
    await runSession(kind, ["binary"], () => hostileCarry(random, {}, memory));
    const earlier = memory.slice();
    await Promise.all([
      runSession(kind, ["binary"], () => hostileCarry(seeded(seed + 1), { replay: 0.5 }, memory)),
      runSession(kind, ["binary"], () => hostileCarry(seeded(seed + 2), { replay: 0.5 }, earlier)),
    ]);
  });
});

/** Looks for the secret in each stream. */
function canary(): { seen: Seen; found: () => [string, string][] } {
  const found: [string, string][] = [];
  const searches = new Map<string, (bytes: Uint8Array) => void>();
  const seen: Seen = (bytes, stream) => {
    let search = searches.get(stream);
    if (search === undefined) {
      search = streamSearch([new TextDecoder().decode(SECRET)], (what) => found.push([stream, what]));
      searches.set(stream, search);
    }
    search(bytes);
  };
  return { seen, found: () => found };
}

/** Types known bytes, prints others, compares both ends byte by byte; looks for what the host is not to see. */
async function runSession(
  kind: WireKind,
  way: Way,
  makeCarry: MakeCarry,
  onPhase: (phase: string) => void = () => {},
): Promise<void> {
  const { seen, found } = canary();
  const wire = kind.make({ speed: 20, seed, seen });
  try {
    await runOver(wire, kind, way, makeCarry, onPhase);
    expect(found()).toEqual([]);
  } finally {
    await wire.stop();
  }
}

async function runOver(
  wire: Wire,
  kind: WireKind,
  [encoding, gathers]: Way,
  makeCarry: MakeCarry,
  onPhase: (phase: string) => void,
): Promise<void> {
  const { clock } = wire;
  const process = new FakeProcess();
  const typed = withSecret(kind.typed, (i) => (i * 31 + (i >> 8)) & 0xff);
  const printed = withSecret(kind.printed, (i) => (i * 17 + (i >> 9)) & 0xff);
  let taken = 0;
  process.onInput = (bytes) => {
    taken += bytes.length;
    if (taken === kind.typed) process.finish({ kind: "exited", status: 42 });
  };
  const guest = testGuest(clock, {}, () => process);
  const attested = await connect(
    clientOptions(clock, () => wire.dial(guest.endpoint, makeCarry, gathers), {
      timeout: 600_000,
      encoding,
      onState: ({ phase }) => onPhase(phase),
    }),
  );
  const session = await attested.authenticate({ method: "none", user: "root" });
  const channel = await session.openChannel(LOGIN);
  const output: Uint8Array[] = [];
  const reading = (async () => {
    for (let part = await channel.stdout.read(); part !== undefined; part = await channel.stdout.read()) {
      output.push(part);
      channel.stdout.consumed(part.length);
    }
  })();
  for (let at = 0; at < kind.printed; at += 5000) process.print(printed.slice(at, at + 5000));
  for (let at = 0; at < kind.typed; at += 777) await channel.write(typed.subarray(at, at + 777));
  expect(await channel.exit).toEqual({ kind: "exited", status: 42 });
  await reading;
  expect(Buffer.compare(concat(...output), printed)).toBe(0);
  expect(Buffer.compare(concat(...process.input), typed)).toBe(0);
  await session.close();
  await guest.endpoint.stop();
}

function withSecret(length: number, byte: (i: number) => number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => SECRET[i] ?? byte(i));
}
