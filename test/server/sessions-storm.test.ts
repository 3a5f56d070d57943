// Again and again the client is gone at some point of two-way traffic, and comes back with new keys: nothing is lost,
// doubled or out of order, either way. Every return is a full handshake with evidence and user authentication.

import { expect, test } from "vitest";
import type { SessionChannel } from "../../protocol/session/session-api.ts";
import { fastClock } from "../support/clocks.ts";
import { memoryPipes } from "../support/memory-pipe.ts";
import { NOBODY, reachGuest } from "../support/reach.ts";
import { seeded, testSeed } from "../support/seeded.ts";
import { FakeProcess, testGuest } from "../support/session.ts";
import { nodeSuite } from "../../node/crypto-suite.ts";

/** A thousand take two minutes; `SEALTTY_STORM_ROUNDS=1000` runs them. */
const ROUNDS = Number(process.env["SEALTTY_STORM_ROUNDS"] ?? 150);
const LOGIN = { kind: "login", term: "xterm", columns: 80, rows: 24 } as const;

const byteAt = (offset: number): number => (offset * 31 + (offset >>> 8) * 7 + (offset >>> 16)) & 0xff;
const pattern = (from: number, length: number) => new Uint8Array(length).map((_, i) => byteAt(from + i));
const turn = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

const seed = testSeed();

test(`${ROUNDS} lost connections in two-way traffic (seed ${seed})`, { timeout: 300_000 }, async () => {
  const random = seeded(seed);
  const clock = fastClock(50);
  let taken = 0; // bytes that the program got
  let wrong = 0; // bytes that are not the next one, either way
  let printed = 0;
  const makeProcess = (): FakeProcess => {
    const made = new FakeProcess();
    made.reads = () => (random.chance(0.2) ? turn(1) : Promise.resolve());
    made.onInput = (bytes) => {
      for (const byte of bytes) if (byte !== byteAt(taken++)) wrong++;
    };
    return made;
  };
  const guest = testGuest(clock, {}, makeProcess, nodeSuite, { ringBytes: 2 ** 20, idleMs: 3_600_000 });
  const reach = async () => {
    let left = Number.POSITIVE_INFINITY; // chunks until the host drops this pipe
    const pipes = memoryPipes((chunk, deliver) => {
      if (--left < 0) return pipes.cut();
      if (left === 0 && random.chance(0.5)) return deliver(chunk.subarray(0, random.below(chunk.length)));
      deliver(chunk);
    });
    const { guest: user } = await reachGuest(guest, clock, NOBODY, pipes);
    const dropAfter = (chunks: number): void => {
      left = chunks;
    };
    return { user, pipes, dropAfter };
  };

  let typed = 0;
  let seen = 0;
  const read = async (channel: SessionChannel): Promise<void> => {
    if (channel.nextOffset !== seen) wrong++;
    for (;;) {
      const chunk = await channel.stdout.read().catch(() => undefined);
      if (chunk === undefined) return;
      for (const byte of chunk) if (byte !== byteAt(seen++)) wrong++;
      if (seen !== channel.nextOffset) wrong++;
      channel.stdout.consumed(chunk.length);
    }
  };

  let gone = false;
  const type = async (channel: SessionChannel): Promise<void> => {
    while (!gone) {
      const bytes = pattern(typed, 1 + random.below(random.chance(0.1) ? 20_000 : 200));
      typed += bytes.length;
      try {
        await channel.write(bytes);
      } catch {
        typed -= bytes.length; // refused whole: nothing of it may ever arrive
        return;
      }
      await turn(random.below(2));
    }
  };

  let first = await reach();
  let channel = await first.user.openSession({ request: LOGIN });
  let printing = true;
  const print = (async () => {
    const program = guest.processes[0] as FakeProcess;
    while (printing) {
      const bytes = pattern(printed, 1 + random.below(random.chance(0.05) ? 100_000 : 500));
      printed += bytes.length;
      program.print(bytes);
      await turn(1);
    }
  })();
  const ends = { cut: 0, closed: 0, fenced: 0, "cut while attaching": 0 };
  for (let round = 0; round < ROUNDS; round++) {
    gone = false;
    const reading = read(channel);
    const typing = type(channel);
    const how = random.below(4);
    if (how < 2) {
      first.dropAfter(random.below(40));
      await turn(random.below(8));
      first.pipes.cut();
      ends.cut++;
    } else {
      await turn(random.below(8));
      if (how === 2) await first.user.close();
      ends[how === 2 ? "closed" : "fenced"]++;
    }
    gone = true;
    if (how !== 3) void first.user.close();
    if (how !== 3) await Promise.all([reading, typing]);
    const before = first;
    for (;;) {
      first = await reach();
      const lost = random.chance(0.1);
      if (lost) first.dropAfter(random.below(6)); // before, in or after the answer
      const attaching = first.user.attach({
        session: channel.session,
        mode: "read-write",
        from: 0,
        columns: 80,
        rows: 24,
        after: channel,
      });
      if (lost) {
        void turn(5).then(() => first.pipes.cut());
        const connection = first.user;
        void turn(6).then(() => connection.close());
      }
      const next = await attaching.catch(() => undefined);
      if (next !== undefined) {
        channel = next;
        break;
      }
      ends["cut while attaching"]++;
    }
    if (how === 3) await Promise.all([reading, typing, before.user.close()]);
    if (channel.lost > 0 || channel.inputUnsure) wrong++;
  }
  printing = false;
  await print;
  gone = true;
  // The last one may have been lost, too: once more, and to the end.
  void first.user.close();
  first = await reach();
  channel = await first.user.attach({
    session: channel.session,
    mode: "read-write",
    from: 0,
    columns: 80,
    rows: 24,
    after: channel,
  });
  void read(channel);
  while ((seen < printed || taken < typed) && wrong === 0) await turn(5);
  await turn(50);
  console.log(
    `seed ${seed}: ${JSON.stringify(ends)}, ${taken} bytes typed, ${seen} bytes printed, wrong ${wrong}`,
  );
  expect({ wrong, taken, seen }).toEqual({ wrong: 0, taken: typed, seen: printed });
  await guest.endpoint.stop();
  guest.sessions.stop();
});
