import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { copyInto, isZero } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { PACKET_HEADER_LENGTH } from "../../protocol/frames/frame-body.ts";
import { MAX_ACK_RANGES, PACKETS_PER_GENERATION, REPLAY_WINDOW } from "../../protocol/limits.ts";
import { generationOf, PacketOpener, PacketSealer } from "../../protocol/packets/packet-cipher.ts";
import { type PacketFrame, PacketWriter, readPacketFrames } from "../../protocol/packets/packet-frames.ts";
import { ReceivedNumbers } from "../../protocol/packets/received-numbers.ts";
import { type Content, Recovery } from "../../protocol/packets/recovery.ts";
import { ReplayWindow } from "../../protocol/packets/replay-window.ts";
import { bothSuites } from "../support/both-suites.ts";
import { nodeSuite } from "../../node/crypto-suite.ts";

const ID = Uint8Array.of(1, 2, 3, 4);
const key = (fill = 7): Uint8Array => new Uint8Array(32).fill(fill);
const pair = (first = 0) =>
  [
    new PacketSealer(nodeSuite, ID, key(), first),
    new PacketOpener(nodeSuite, key(), generationOf(first)),
  ] as const;

describe.each(bothSuites)("packets with %s", (_name, suite) => {
  test("each opens once, in any order, whatever else arrives", () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 20 }),
        fc.infiniteStream(fc.nat()),
        (plaintexts, dice) => {
          const sealer = new PacketSealer(suite, ID, key());
          const opener = new PacketOpener(suite, key());
          const packets = plaintexts.map((plaintext) => ({ plaintext, ...sealer.seal(plaintext) }));
          const arriving = packets
            .flatMap((packet) => [packet, packet])
            .sort(() => ((dice.next().value as number) % 3) - 1);
          const opened = new Set<number>();
          for (const { body, plaintext, number } of arriving) {
            opener.open(Uint8Array.from({ length: 40 }, () => (dice.next().value as number) & 0xff));
            const result = opener.open(body);
            if (opened.has(number)) expect(result).toBeUndefined();
            else expect(result).toEqual({ number, plaintext });
            opened.add(number);
          }
        },
      ),
      { numRuns: 30 },
    );
  });
});

test.each([...Array((PACKET_HEADER_LENGTH + 16 + 5) * 8).keys()])(
  "flipping bit %i of a packet is dropped, and the true packet still opens",
  (bit) => {
    const [sealer, opener] = pair();
    const { body } = sealer.seal(Uint8Array.of(1, 2, 3, 4, 5));
    const flipped = body.slice();
    flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7));
    expect(opener.open(flipped)).toBeUndefined();
    expect(opener.open(body)?.plaintext).toEqual(Uint8Array.of(1, 2, 3, 4, 5));
    expect(opener.refused).toBe(1);
  },
);

test("a packet under another key, or too short to be one, does not open", () => {
  const [sealer, opener] = pair();
  expect(opener.open(new PacketSealer(nodeSuite, ID, key(8)).seal(ID).body)).toBeUndefined();
  expect(opener.open(sealer.seal(ID).body)?.number).toBe(0);
  for (let length = 0; length < PACKET_HEADER_LENGTH + 16; length++)
    expect(opener.open(new Uint8Array(length))).toBeUndefined();
});

test("the key changes with the packet's generation, and late packets of the one before still open", () => {
  const [sealer, opener] = pair(PACKETS_PER_GENERATION - 2);
  const packets = Array.from({ length: 5 }, (_, i) => sealer.seal(Uint8Array.of(i)));
  expect(packets.map(({ number }) => generationOf(number))).toEqual([0, 0, 1, 1, 1]);
  const late = packets[1] as { body: Uint8Array };
  for (const { number, body } of packets.filter((_, i) => i !== 1))
    expect(opener.open(body)?.number).toBe(number);
  expect(opener.hasPrevious).toBe(true);
  expect(opener.open(late.body)?.plaintext).toEqual(Uint8Array.of(1));
  opener.forgetPrevious();
  expect(opener.open(sealer.seal(ID).body)).toBeDefined();
});

test("once forgotten, a generation's packets are dropped", () => {
  const [sealer, opener] = pair(PACKETS_PER_GENERATION - 2);
  const old = sealer.seal(ID);
  sealer.seal(ID);
  expect(opener.open(sealer.seal(ID).body)).toBeDefined();
  opener.forgetPrevious();
  expect(opener.open(old.body)).toBeUndefined();
});

test("rekeying early skips to the next generation, and not past one the peer has not answered in", () => {
  const [sealer, opener] = pair();
  expect(opener.open(sealer.seal(ID).body)?.number).toBe(0);
  sealer.acknowledged(0);
  sealer.advanceGeneration();
  const first = sealer.seal(ID);
  expect(first.number).toBe(PACKETS_PER_GENERATION);
  sealer.advanceGeneration();
  expect(sealer.seal(ID).number).toBe(PACKETS_PER_GENERATION + 1);
  sealer.acknowledged(first.number);
  sealer.advanceGeneration();
  expect(sealer.seal(ID).number).toBe(2 * PACKETS_PER_GENERATION);
  expect(opener.open(first.body)?.number).toBe(PACKETS_PER_GENERATION);
});

test("a sealer or opener that was destroyed refuses to work, and its key is gone", () => {
  const secret = key();
  const sealer = new PacketSealer(nodeSuite, ID, secret);
  sealer.destroy();
  expect(secret.every((byte) => byte === 0)).toBe(true);
  expect(() => sealer.seal(ID)).toThrow(SealttyError);
  const [, opener] = pair();
  opener.destroy();
  expect(() => opener.open(new Uint8Array(40))).toThrow(SealttyError);
});

test("ReplayWindow accepts each number once, and none older than its span", () => {
  fc.assert(
    fc.property(fc.array(fc.nat({ max: 3 * REPLAY_WINDOW }), { maxLength: 200 }), (numbers) => {
      const window = new ReplayWindow();
      const seen = new Set<number>();
      let highest = -1;
      for (const number of numbers) {
        expect(window.isNew(number)).toBe(!seen.has(number) && number >= highest + 1 - REPLAY_WINDOW);
        if (window.isNew(number)) window.mark(number, number);
        seen.add(number);
        highest = Math.max(highest, number);
      }
    }),
  );
});

test("ReplayWindow finds the number behind 32 bits of it, near the one expected", () => {
  fc.assert(
    fc.property(
      fc.nat({ max: 2 ** 40 }),
      fc.integer({ min: -(2 ** 30), max: 2 ** 30 }),
      (expected, distance) => {
        fc.pre(expected + distance >= 0);
        const window = new ReplayWindow();
        window.startAt(expected);
        expect(window.nearest((expected + distance) % 2 ** 32)).toBe(expected + distance);
      },
    ),
  );
});

const range = fc.tuple(fc.nat({ max: 1000 }), fc.nat({ max: 50 }));
const frame: fc.Arbitrary<PacketFrame> = fc.oneof(
  fc.array(range, { minLength: 1, maxLength: 10 }).map((parts): PacketFrame => {
    const ranges: { first: number; last: number }[] = [];
    let at = 0;
    for (const [gap, length] of parts) {
      ranges.unshift({ first: at + gap, last: at + gap + length });
      at += gap + length + 2;
    }
    return { type: "ack", ranges };
  }),
  fc.record({
    type: fc.constant("stream" as const),
    stream: fc.nat({ max: 2 ** 25 }),
    offset: fc.nat({ max: 2 ** 47 }),
    bytes: fc.uint8Array({ maxLength: 200 }),
    end: fc.boolean(),
  }),
  fc.record({
    type: fc.constant("window" as const),
    stream: fc.nat({ max: 2 ** 25 }),
    limit: fc.nat({ max: 2 ** 48 }),
  }),
  fc.constant<PacketFrame>({ type: "ping" }),
  fc.record({ type: fc.constant("close" as const), code: fc.nat({ max: 255 }) }),
);

test("packet frames come back as they went in", () => {
  fc.assert(
    fc.property(fc.array(frame, { maxLength: 8 }), (frames) => {
      const writer = new PacketWriter(16_000);
      for (const each of frames) {
        if (each.type === "ack") expect(writer.ack(each.ranges)).toBe(true);
        else if (each.type === "stream") writer.stream(each.stream, each.offset, each.bytes, each.end);
        else if (each.type === "window") writer.window(each.stream, each.limit);
        else if (each.type === "ping") writer.ping();
        else writer.close(each.code);
      }
      expect(readPacketFrames(writer.written)).toEqual(frames);
    }),
  );
});

test("any plaintext at all: frames or `peer-misbehaved`, nothing else", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      try {
        readPacketFrames(bytes);
      } catch (error) {
        expect(error).toBeInstanceOf(SealttyError);
        expect((error as SealttyError).code).toBe("peer-misbehaved");
      }
    }),
    { numRuns: 2000 },
  );
});

test("ReceivedNumbers keeps the newest ranges, merged", () => {
  fc.assert(
    fc.property(fc.array(fc.nat({ max: 120 }), { maxLength: 150 }), (numbers) => {
      const received = new ReceivedNumbers();
      for (const number of numbers) received.add(number);
      const covered = new Set<number>();
      let below = Number.POSITIVE_INFINITY;
      for (const { first, last } of received.ranges) {
        expect(last).toBeLessThan(below - 1);
        below = first;
        for (let n = first; n <= last; n++) covered.add(n);
      }
      expect(received.ranges.length).toBeLessThanOrEqual(MAX_ACK_RANGES);
      for (const number of covered) expect(numbers).toContain(number);
      if (received.ranges.length < MAX_ACK_RANGES) expect(covered).toEqual(new Set(numbers));
    }),
  );
});

test("Recovery: a flight that was lost whole is probed after one RTO, and the probe's answer gives the rest up", () => {
  for (const [packets, size] of [
    [32, 1000], // the frames are full
    [27, 1200], // the bytes are
  ] as const) {
    const recovery = new Recovery({ bytes: 64 * 1024, frames: 64 });
    const send = (number: number, now: number): void =>
      recovery.onSent(
        number,
        size,
        [{ kind: "stream", stream: 0, offset: number, length: 1, end: false }],
        now,
      );
    for (let number = 0; number < packets; number++) send(number, 0);
    expect(recovery.room).toBeLessThan(512);
    const due = recovery.deadline as number;
    expect(recovery.onTimeout(due).length).toBe(2);
    for (const probe of [packets, packets + 1]) {
      expect(recovery.room).toBeGreaterThanOrEqual(size);
      expect(recovery.room).toBeLessThanOrEqual(2048);
      send(probe, due);
    }
    expect(recovery.room).toBeLessThan(512); // two, and no more
    const { arrived, lost } = recovery.onAck([{ first: packets + 1, last: packets + 1 }], due + 10);
    expect(arrived.length).toBe(1);
    expect(lost.length).toBe(packets - 4); // two were given up, two are within the reordering that is put up with
    expect(recovery.room).toBeGreaterThanOrEqual(512);
  }
});

test("Recovery: a probe never goes beyond the hard limits", () => {
  const recovery = new Recovery({ bytes: 4096, frames: 4 });
  const send = (number: number, size: number): void => recovery.onSent(number, size, [{ kind: "ping" }], 0);
  for (const [number, size] of [100, 100, 1900, 1900].entries()) send(number, size);
  recovery.onTimeout(1000);
  expect(recovery.room).toBe(4096 - 3800); // the two oldest were small: what they left, and no more
  send(4, 200);
  send(5, 90);
  expect(recovery.room).toBe(0);
});

test("copyInto() is set(), and isZero() finds a single bit, at every alignment", () => {
  const part = fc.tuple(fc.nat({ max: 9000 }), fc.nat({ max: 70 }), fc.nat({ max: 70 }));
  fc.assert(
    fc.property(part, ([length, from, at]) => {
      const source = Uint8Array.from({ length: from + length }, (_, i) => (i * 7) >> 1).subarray(from);
      const [ours, theirs] = [new Uint8Array(length + 100), new Uint8Array(length + 100)];
      copyInto(ours, at, source);
      theirs.set(source, at);
      expect(Buffer.compare(ours, theirs)).toBe(0);
      const zeros = new Uint8Array(from + length).subarray(from);
      expect(isZero(zeros)).toBe(true);
      if (length === 0) return;
      zeros[(at * 131) % length] = 1 << (at % 8);
      expect(isZero(zeros)).toBe(false);
    }),
  );
});

test("Recovery: a wide flight grows beyond the usual one, and is no larger than that once it is narrow again", () => {
  const recovery = new Recovery({ bytes: 64 * 1024, frames: 64, longBytes: 256 * 1024 });
  const grow = (from: number): void => {
    for (let number = from; number < from + 200; number++) {
      recovery.onSent(number, 4000, [{ kind: "ping" }], number);
      recovery.onAck([{ first: 0, last: number }], number + 1);
    }
  };
  grow(0);
  expect(recovery.room).toBe(64 * 1024);
  recovery.widen(true);
  grow(200);
  expect(recovery.room).toBe(256 * 1024);
  recovery.widen(false);
  expect(recovery.room).toBe(64 * 1024);
});

test("Recovery: a wide flight that was lost whole is asked for after one timeout, though the loss makes it narrow", () => {
  const recovery = new Recovery({ bytes: 64 * 1024, frames: 128, longBytes: 512 * 1024 });
  recovery.widen(true);
  let number = 0;
  for (; number < 200; number++) {
    recovery.onSent(number, 4000, [{ kind: "ping" }], number);
    recovery.onAck([{ first: 0, last: number }], number + 1);
  }
  for (; recovery.room >= 4096; number++) recovery.onSent(number, 4096, [{ kind: "ping" }], 1000);
  expect(recovery.inFlight).toBeGreaterThan(100);
  recovery.onTimeout(5000);
  recovery.widen(false);
  expect(recovery.room).toBeGreaterThanOrEqual(512); // what a packet with content needs
});

test("Recovery: the rate that was shown is that of what arrived, and a loss or a new pipe forgets it", () => {
  const recovery = new Recovery({ bytes: 64 * 1024, frames: 64 });
  for (let number = 0; number < 8; number++) recovery.onSent(number, 1000, [{ kind: "ping" }], 0);
  recovery.onAck([{ first: 0, last: 7 }], 20);
  expect(recovery.deliveryRate).toBe(400_000);
  recovery.onSent(8, 1000, [{ kind: "ping" }], 100);
  recovery.onAck([{ first: 0, last: 8 }], 200);
  expect(recovery.deliveryRate).toBe(400_000); // little was sent: no reason to think less of the pipe
  recovery.onSent(9, 1000, [{ kind: "ping" }], 300);
  recovery.onTimeout(5000);
  expect(recovery.deliveryRate).toBe(0);
});

test("Recovery: each packet as it is that is lost makes the next long one four times rarer, until a new pipe", () => {
  const recovery = new Recovery({ bytes: 2 ** 20, frames: 512 });
  let number = 0;
  const untilLong = (): number => {
    let bytes = 0;
    for (; recovery.quickShare < 65_536; bytes += 16_000) {
      recovery.onSent(number, 16_000, [{ kind: "ping" }], number);
      recovery.onAck([{ first: 0, last: number }], number + 1);
      number++;
    }
    return bytes;
  };
  const lose = (): void => {
    recovery.onSent(number++, 65_000, [{ kind: "ping" }], number);
    recovery.onTimeout(number + 1);
  };
  untilLong();
  lose();
  const once = untilLong();
  lose();
  const twice = untilLong();
  expect(twice / once).toBeCloseTo(4, 1);
  recovery.onNewPipe(number);
  expect(untilLong()).toBeLessThan(once / 3);
});

test("Recovery: every content ends as lost at most once and arrived at most once, and the flight stays within its limits", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat({ max: 5 }), fc.boolean()), { maxLength: 100 }), (steps) => {
      const recovery = new Recovery({ bytes: 64 * 1024, frames: 64 });
      const open = new Set<number>();
      const givenUp = new Set<number>();
      const offsetOf = (content: Content): number => (content as { offset: number }).offset;
      const gave = (contents: Content[]): void => {
        for (const content of contents) {
          expect(open.delete(offsetOf(content))).toBe(true);
          givenUp.add(offsetOf(content));
        }
      };
      const came = (contents: Content[]): void => {
        // Late is late, but it did arrive.
        for (const content of contents) {
          expect(open.delete(offsetOf(content)) || givenUp.delete(offsetOf(content))).toBe(true);
        }
      };
      let number = 0;
      let now = 0;
      for (const [action, flag] of steps) {
        now += 10;
        if (action < 3 && recovery.room >= 1000) {
          open.add(number);
          recovery.onSent(
            number,
            1000,
            [{ kind: "stream", stream: 0, offset: number, length: 1, end: false }],
            now,
          );
          number++;
        } else if (action === 3 && number > 0) {
          const { arrived, lost } = recovery.onAck([{ first: flag ? 0 : number - 1, last: number - 1 }], now);
          came(arrived);
          gave(lost);
        } else if (action === 4 && recovery.deadline !== undefined) {
          gave(recovery.onTimeout(now));
        } else if (action === 5 && flag) {
          gave(recovery.onNewPipe(now));
          givenUp.clear();
          expect(recovery.inFlight).toBe(0);
        }
        expect(recovery.inFlight).toBe(open.size);
        expect(recovery.inFlight).toBeLessThanOrEqual(64);
      }
    }),
  );
});
