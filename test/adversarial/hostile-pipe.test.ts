// The host at its worst under a whole session: whatever it does, bytes arrive whole and in order, or not yet.
import { expect, test } from "vitest";
import { concat } from "../../protocol/bytes.ts";
import { connect } from "../../protocol/session/connect.ts";
import { fastClock } from "../support/clocks.ts";
import { hostileCarry, type Hostility } from "../support/hostile-pipe.ts";
import { memoryPipes, type PipePair } from "../support/memory-pipe.ts";
import { seeded, testSeed } from "../support/seeded.ts";
import { clientOptions, FakeProcess, testGuest } from "../support/session.ts";

const LOGIN = { kind: "login", term: "xterm", columns: 80, rows: 24 } as const;
const TYPED = 20_000;
const PRINTED = 120_000;
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

test.each(Object.entries(cases))(`a session through %s (seed ${seed})`, async (_name, hostility) => {
  for (const [encoding, gathers] of [["binary"], ["armour"], ["binary", GATHERS]] as const) {
    const random = seeded(seed);
    const memory: Uint8Array[] = [];
    await runSession(() => memoryPipes(hostileCarry(random, hostility, memory), gathers), encoding);
  }
});

test(`a pipe cut again and again: same keys, new pipe, nothing lost, nothing twice (seed ${seed})`, async () => {
  const random = seeded(seed);
  const states: string[] = [];
  await runSession(
    () => {
      const carry = hostileCarry(random, { lose: 0.02 });
      let left = 8 + random.below(20); // chunks until the host drops this pipe
      const pipes = memoryPipes((chunk, deliver, direction) => {
        if (--left < 0) return pipes.cut();
        carry(chunk, deliver, direction);
      });
      return pipes;
    },
    "binary",
    (phase) => states.push(phase),
  );
  expect(states).toContain("reconnecting");
});

test(`frames of an earlier session and of a parallel one, spliced in (seed ${seed})`, async () => {
  const random = seeded(seed);
  const memory: Uint8Array[] = [];
  await runSession(() => memoryPipes(hostileCarry(random, {}, memory)), "binary");
  const earlier = memory.slice();
  await Promise.all([
    runSession(() => memoryPipes(hostileCarry(seeded(seed + 1), { replay: 0.5 }, memory)), "binary"),
    runSession(() => memoryPipes(hostileCarry(seeded(seed + 2), { replay: 0.5 }, earlier)), "binary"),
  ]);
});

/** Types TYPED known bytes, prints PRINTED others, compares both ends byte by byte. */
async function runSession(
  makePipes: () => PipePair,
  encoding: "binary" | "armour",
  onPhase: (phase: string) => void = () => {},
): Promise<void> {
  const clock = fastClock(20);
  const process = new FakeProcess();
  const typed = Uint8Array.from({ length: TYPED }, (_, i) => (i * 31 + (i >> 8)) & 0xff);
  const printed = Uint8Array.from({ length: PRINTED }, (_, i) => (i * 17 + (i >> 9)) & 0xff);
  let taken = 0;
  process.onInput = (bytes) => {
    taken += bytes.length;
    if (taken === TYPED) process.finish({ kind: "exited", status: 42 });
  };
  const guest = testGuest(clock, {}, () => process);
  const attested = await connect(
    clientOptions(
      clock,
      async () => {
        const pipes = makePipes();
        void guest.endpoint.servePipe(pipes.guest).catch(() => {});
        return pipes.client;
      },
      { timeout: 600_000, encoding, onState: ({ phase }) => onPhase(phase) },
    ),
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
  for (let at = 0; at < PRINTED; at += 5000) process.print(printed.slice(at, at + 5000));
  for (let at = 0; at < TYPED; at += 777) await channel.write(typed.subarray(at, at + 777));
  expect(await channel.exit).toEqual({ kind: "exited", status: 42 });
  await reading;
  expect(Buffer.compare(concat(...output), printed)).toBe(0);
  expect(Buffer.compare(concat(...process.input), typed)).toBe(0);
  await session.close();
  await guest.endpoint.stop();
}
