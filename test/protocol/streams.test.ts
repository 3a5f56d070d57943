import * as fc from "fast-check";
import { expect, test, vi } from "vitest";
import { concat } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { MAX_STREAM_PIECES } from "../../protocol/limits.ts";
import { OffsetRanges } from "../../protocol/streams/offset-ranges.ts";
import { Reassembly } from "../../protocol/streams/reassembly.ts";
import { SendBuffer } from "../../protocol/streams/send-buffer.ts";
import { StreamConnection } from "../../protocol/streams/stream-connection.ts";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { seeded } from "../support/seeded.ts";

function drain(reassembly: Reassembly): Uint8Array {
  const parts: Uint8Array[] = [];
  for (let part = reassembly.shift(); part !== undefined; part = reassembly.shift()) parts.push(part);
  return concat(...parts);
}

test("Reassembly gives the stream once and in order, whatever pieces come in whatever order", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 400 }),
      fc.array(fc.tuple(fc.nat(), fc.nat({ max: 60 })), { maxLength: 60 }),
      (data, cuts) => {
        const reassembly = new Reassembly(1000);
        const got: Uint8Array[] = [];
        for (const [at, length] of cuts) {
          const from = at % (data.length + 1);
          const to = Math.min(data.length, from + length);
          expect(reassembly.push(from, data.slice(from, to), false)).toBe(true);
          got.push(drain(reassembly));
        }
        reassembly.push(0, data, true);
        got.push(drain(reassembly));
        expect(concat(...got)).toEqual(data);
        expect(reassembly.drained).toBe(true);
      },
    ),
  );
});

test("Reassembly refuses data beyond the credit, behind the end, and a second end", () => {
  expect(() => new Reassembly(10).push(5, new Uint8Array(6), false)).toThrow(/credit/);
  const ended = new Reassembly(10);
  ended.push(0, new Uint8Array(4), true);
  expect(() => ended.push(4, new Uint8Array(1), false)).toThrow(/behind its end/);
  expect(() => ended.push(0, new Uint8Array(3), true)).toThrow(/two places/);
});

test("Reassembly keeps a bounded number of pieces, says so, and the rest can come again", () => {
  const reassembly = new Reassembly(1_000_000);
  let refused = 0;
  for (let i = 1; i < 4 * MAX_STREAM_PIECES; i += 2)
    if (!reassembly.push(i, Uint8Array.of(i), false)) refused++;
  expect(refused).toBeGreaterThan(0);
  for (let i = 0; i < 4 * MAX_STREAM_PIECES; i++) reassembly.push(i, Uint8Array.of(i), false);
  expect(drain(reassembly)).toEqual(Uint8Array.from({ length: 4 * MAX_STREAM_PIECES }, (_, i) => i));
});

test("credit grows as bytes are consumed, in steps worth a message", () => {
  const reassembly = new Reassembly(1000);
  reassembly.push(0, new Uint8Array(900), false);
  drain(reassembly);
  expect(reassembly.consume(100)).toBe(false);
  expect(reassembly.limit).toBe(1000);
  expect(reassembly.consume(200)).toBe(true);
  expect(reassembly.limit).toBe(1300);
  reassembly.consume(10_000); // more than was delivered gives no more than was delivered
  expect(reassembly.limit).toBe(1900);
});

test("a wider window gives more credit with the next bytes that are consumed", () => {
  const reassembly = new Reassembly(1000);
  reassembly.push(0, new Uint8Array(900), false);
  drain(reassembly);
  reassembly.widen(5000);
  expect(reassembly.limit).toBe(1000);
  expect(reassembly.consume(10)).toBe(true);
  expect(reassembly.limit).toBe(5010);
  reassembly.widen(2000); // never narrower
  reassembly.consume(890);
  expect(reassembly.limit).toBe(5010);
});

test("OffsetRanges is the set of its offsets", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.boolean(), fc.nat({ max: 60 }), fc.nat({ max: 20 }))), (steps) => {
      const ranges = new OffsetRanges();
      const model = new Set<number>();
      for (const [add, from, length] of steps) {
        if (add) ranges.add(from, from + length);
        else ranges.remove(from, from + length);
        for (let i = from; i < from + length; i++) {
          if (add) model.add(i);
          else model.delete(i);
        }
      }
      const covered = new Set<number>();
      let end = -1;
      for (const { from, to } of ranges.all) {
        expect(from).toBeGreaterThan(end);
        end = to;
        for (let i = from; i < to; i++) covered.add(i);
      }
      expect(covered).toEqual(model);
      for (let i = 0; i < 80; i++) {
        let to = i;
        while (model.has(to)) to++;
        expect(ranges.coveredFrom(i)).toBe(to);
        const overlapping = ranges.all.filter((range) => range.from < i + 7 && range.to > i);
        expect(ranges.overlapping(i, i + 7)).toEqual(overlapping);
      }
    }),
  );
});

test("SendBuffer: a loss among thousands of holes looks at what it overlaps, not at every hole", () => {
  const holes = 1000;
  const buffer = new SendBuffer();
  buffer.allow(2 ** 40);
  buffer.write(new Uint8Array(3 * holes));
  for (let i = 0; i < holes; i++) buffer.take(3);
  for (let i = 0; i < holes; i++) buffer.onArrived(3 * i + 1, 1, false); // the middle byte of each three
  const removals = vi.spyOn(OffsetRanges.prototype, "remove");
  const lookups = vi.spyOn(OffsetRanges.prototype, "overlapping");
  for (let i = 0; i < holes; i++) buffer.onLost(3 * i, 3, false);
  expect(removals).toHaveBeenCalledTimes(holes); // one overlap each
  const looked = lookups.mock.results.reduce((sum, { value }) => sum + (value as unknown[]).length, 0);
  expect(looked).toBeLessThanOrEqual(2 * holes);
  vi.restoreAllMocks();
  expect(buffer.sendable).toBe(2 * holes);
  for (let i = 0; i < holes; i++) buffer.onArrived(3 * i, 3, false);
  expect(buffer.held).toBe(0);
});

test("SendBuffer: what is blanked leaves as zeros, lost or never sent, and nothing is written behind it", () => {
  const buffer = new SendBuffer();
  buffer.allow(6);
  buffer.write(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8));
  const sent = buffer.take(4);
  expect(sent?.bytes).toEqual(Uint8Array.of(1, 2, 3, 4));
  buffer.onArrived(0, 1, false);
  buffer.onLost(0, 4, false);
  buffer.blank();
  expect(buffer.ended).toBe(true);
  expect(buffer.take(9)).toEqual({ offset: 1, bytes: new Uint8Array(3), end: false });
  expect(buffer.take(9)).toEqual({ offset: 4, bytes: new Uint8Array(2), end: false });
  buffer.allow(8);
  expect(buffer.take(9)).toEqual({ offset: 6, bytes: new Uint8Array(2), end: true });
});

test("SendBuffer: what is lost comes again, what arrived does not, and credit is never overdrawn", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 500 }), fc.infiniteStream(fc.nat({ max: 100 })), (data, dice) => {
      const next = (): number => dice.next().value as number;
      const buffer = new SendBuffer();
      const received = new Map<number, number>();
      let limit = 50;
      buffer.allow(limit);
      let written = 0;
      let ended = false;
      const flight: { offset: number; bytes: Uint8Array; end: boolean }[] = [];
      for (let step = 0; step < 5000 && !buffer.finished; step++) {
        if (written < data.length) {
          const part = data.subarray(written, written + 1 + next());
          buffer.write(part);
          written += part.length;
        } else if (!buffer.ended) buffer.end();
        const taken = buffer.take(1 + next());
        if (taken !== undefined) {
          expect(taken.offset + taken.bytes.length).toBeLessThanOrEqual(limit);
          flight.push({ ...taken, bytes: taken.bytes.slice() });
        }
        if (next() < 20) buffer.allow((limit += 25));
        const sent = flight.length > 0 ? flight.splice(next() % flight.length, 1)[0] : undefined;
        if (sent === undefined) continue;
        if (next() < 30) buffer.onLost(sent.offset, sent.bytes.length, sent.end);
        else {
          sent.bytes.forEach((byte, i) => received.set(sent.offset + i, byte));
          ended ||= sent.end;
          buffer.onArrived(sent.offset, sent.bytes.length, sent.end);
        }
      }
      expect(buffer.finished).toBe(true);
      expect(ended).toBe(true);
      expect(Uint8Array.from({ length: data.length }, (_, i) => received.get(i) ?? 0)).toEqual(data);
      expect(received.size).toBe(data.length);
    }),
    { numRuns: 60 },
  );
});

function connections() {
  const keys = () => [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)] as const;
  const connectionId = Uint8Array.of(1, 2, 3, 4);
  const flight = { bytes: 64 * 1024, frames: 64 };
  const [a, b] = keys();
  const [c, d] = keys();
  return [
    new StreamConnection(nodeSuite, { connectionId, sendKey: a, receiveKey: b }, flight, 0),
    new StreamConnection(nodeSuite, { connectionId, sendKey: d, receiveKey: c }, flight, 0),
  ] as const;
}

test("StreamConnection, without pipe or clock: lossy both ways, everything arrives in the end", () => {
  const [left, right] = connections();
  const random = seeded(5);
  const windows = { receive: 4096, send: 4096 };
  const from = left.openStream(2, windows);
  const to = right.openStream(2, windows);
  const data = random.bytes(50_000);
  from.send.write(data);
  from.send.end();
  const got: Uint8Array[] = [];
  let now = 0;
  for (; now < 3_000_000 && !to.receive.drained; now += 5) {
    for (const [here, there] of [
      [left, right],
      [right, left],
    ] as const) {
      for (let body = here.next(2000, now); body !== undefined; body = here.next(2000, now)) {
        expect(body.length).toBeLessThanOrEqual(2000);
        if (!random.chance(0.3)) there.receive(body, now);
      }
      const deadline = here.deadline;
      if (deadline !== undefined && deadline <= now) here.onTime(now, 2000);
    }
    for (let part = to.receive.shift(); part !== undefined; part = to.receive.shift()) {
      got.push(part);
      if (to.receive.consume(part.length)) to.windowDue = true;
    }
  }
  expect(Buffer.compare(concat(...got), data)).toBe(0);
});

/** A flood over a pipe that answers after `roundTrip` ms. @returns the longest body of each hundred packets. */
function longest(roundTrip: number, lose: (packet: number) => boolean = () => false): number[] {
  const window = 1024 * 1024;
  const keys = { connectionId: Uint8Array.of(1, 2, 3, 4) };
  const flight = { bytes: window, frames: 512 };
  const key = (fill: number) => new Uint8Array(32).fill(fill);
  const left = new StreamConnection(nodeSuite, { ...keys, sendKey: key(1), receiveKey: key(2) }, flight, 0);
  const right = new StreamConnection(nodeSuite, { ...keys, sendKey: key(2), receiveKey: key(1) }, flight, 0);
  const from = left.openStream(2, { receive: 0, send: window });
  const to = right.openStream(2, { receive: window, send: 0 });
  const most: number[] = [];
  let packets = 0;
  for (let now = 0; packets < 400; now += roundTrip) {
    if (from.send.unsent < window) from.send.write(new Uint8Array(window));
    const bodies: Uint8Array[] = [];
    for (
      let body = left.next(16_500, now, undefined, 65_800);
      body;
      body = left.next(16_500, now, undefined, 65_800)
    )
      bodies.push(body);
    for (const body of bodies) {
      const hundred = Math.floor(packets / 100);
      most[hundred] = Math.max(most[hundred] ?? 0, body.length);
      if (!lose(packets++)) right.receive(body, now);
    }
    for (let part = to.receive.shift(); part !== undefined; part = to.receive.shift())
      if (to.receive.consume(part.length)) to.windowDue = true;
    right.onTime(now + 20, 16_500);
    for (let body = right.next(16_500, now + 20); body; body = right.next(16_500, now + 20))
      left.receive(body, now + roundTrip);
    if ((left.deadline ?? Number.POSITIVE_INFINITY) <= now) left.onTime(now, 16_500);
  }
  return most;
}

test("packets become long on a pipe that is quick and loses nothing, and not on a slow one", () => {
  // The length of a part is reckoned with the longest head, so a few bytes may stay free.
  for (const most of longest(2).slice(2)) expect(most).toBeGreaterThan(65_700);
  expect(Math.max(...longest(2))).toBeLessThanOrEqual(65_800);
  expect(Math.max(...longest(150))).toBeLessThanOrEqual(16_500);
});

test("packets are no longer than usual while a tenth of them is lost", () => {
  expect(Math.max(...longest(2, (packet) => packet % 10 === 9))).toBeLessThanOrEqual(16_500);
});

test("a keystroke's packet is small: 40 bytes with header and tag, so that it fits the slowest pipe", () => {
  const [left] = connections();
  const stream = left.openStream(2, { receive: 1, send: 1000 });
  stream.send.write(Uint8Array.of(0x61));
  expect(left.next(4000, 0)?.length).toBeLessThanOrEqual(36);
});

test("StreamConnection ends with a peer that acknowledges what was never sent, and bounds its streams", () => {
  const [left, right] = connections();
  const body = left.next(2000, 0);
  expect(body).toBeUndefined();
  left.ping();
  const ping = left.next(2000, 0) as Uint8Array;
  right.receive(ping, 0);
  const ack = right.next(2000, 100) as Uint8Array;
  const [fresh] = connections(); // same keys, but has sent nothing
  expect(() => fresh.receive(ack, 100)).toThrow(SealttyError);
  expect(() => {
    for (let id = 0; ; id++) left.openStream(id, { receive: 1, send: 1 });
  }).toThrow(/Too many streams/);
});

test("a round trip of three seconds, without loss: everything arrives, and little is sent twice", () => {
  const [left, right] = connections();
  const windows = { receive: 65_536, send: 65_536 };
  const from = left.openStream(2, windows);
  const to = right.openStream(2, windows);
  const data = seeded(9).bytes(60_000);
  from.send.write(data);
  const sky: { at: number; body: Uint8Array; to: StreamConnection }[] = [];
  const got: Uint8Array[] = [];
  let length = 0;
  for (let now = 0; now < 120_000 && (length < data.length || from.send.held > 0); now += 5) {
    for (const [here, there] of [
      [left, right],
      [right, left],
    ] as const) {
      for (let body = here.next(2000, now); body !== undefined; body = here.next(2000, now)) {
        sky.push({ at: now + 1500, body, to: there });
      }
      if ((here.deadline ?? Number.POSITIVE_INFINITY) <= now) here.onTime(now, 2000);
    }
    while (sky[0] !== undefined && sky[0].at <= now) {
      const { body, to } = sky.shift() as (typeof sky)[number];
      to.receive(body, now);
    }
    for (let part = to.receive.shift(); part !== undefined; part = to.receive.shift()) {
      got.push(part);
      length += part.length;
      if (to.receive.consume(part.length)) to.windowDue = true;
    }
  }
  expect(Buffer.compare(concat(...got), data)).toBe(0);
  expect(from.send.held).toBe(0);
});

test("one byte of credit holds about one byte: small pieces neither keep their packets alive nor cost an array each", () => {
  const reassembly = new Reassembly(100_000);
  for (let i = 0; i < 50_000; i++)
    reassembly.push(i, new Uint8Array(16_000).fill(i, 7, 8).subarray(7, 8), false);
  const parts: Uint8Array[] = [];
  const buffers = new Set<ArrayBufferLike>();
  for (let part = reassembly.shift(); part !== undefined; part = reassembly.shift()) {
    parts.push(part.slice());
    buffers.add(part.buffer);
  }
  expect([...buffers].reduce((sum, { byteLength }) => sum + byteLength, 0)).toBeLessThan(60_000);
  expect(
    Buffer.compare(
      concat(...parts),
      Uint8Array.from({ length: 50_000 }, (_, i) => i),
    ),
  ).toBe(0);
});
