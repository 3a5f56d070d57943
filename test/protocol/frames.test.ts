import * as fc from "fast-check";
import { expect, test } from "vitest";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { concat, utf8 } from "../../protocol/bytes.ts";
import { armourLine, readArmourLine } from "../../protocol/frames/armour.ts";
import { cobsDecode, cobsEncodeInto, maxCobsLength } from "../../protocol/frames/cobs.ts";
import { crc32 } from "../../protocol/frames/crc32.ts";
import { FrameDecoder } from "../../protocol/frames/frame-decoder.ts";
import {
  encodeBinaryFrameInto,
  encodeFrame,
  encodeRawFrameInto,
  type FrameEncoding,
  MAX_BINARY_FRAME,
} from "../../protocol/frames/frame-encoder.ts";
import { MAX_ARMOUR_BODY, MAX_FRAME_BODY, MAX_NOISE_KEPT } from "../../protocol/limits.ts";
import { seeded, testSeed } from "../support/seeded.ts";

const seed = testSeed();

const bytes = (maxLength: number, minLength = 0) => fc.uint8Array({ minLength, maxLength });
/** What a decoder gives on: RAW is for itself. */
const frameBodies = (maxLength: number) => bytes(maxLength, 1).filter((body) => body[0] !== 0x1b);
const cobsEncode = (source: Uint8Array): Uint8Array => {
  const target = new Uint8Array(maxCobsLength(source.length));
  return target.subarray(0, cobsEncodeInto(new Uint8Array(source), target, 0));
};

test("crc32() gives the check value of the CRC catalogue", () => {
  expect(crc32(utf8("123456789"))).toBe(0xcbf43926);
  expect(crc32(new Uint8Array(0))).toBe(0);
});

test("the native checksum and ours agree, at every length and alignment", () => {
  fc.assert(
    fc.property(bytes(300), fc.nat({ max: 20 }), (data, skip) => {
      expect(crc32(data.subarray(skip))).toBe(nodeSuite.crc32(data.subarray(skip)));
      expect(crc32(data, Math.min(skip, data.length))).toBe(nodeSuite.crc32(data.subarray(skip)));
    }),
  );
});

test.each([
  ["00", "0101"],
  ["0000", "010101"],
  ["11220033", "0311220233"],
  ["11223344", "0511223344"],
  ["11000000", "0211010101"],
])("COBS of %s is %s (Cheshire and Baker, examples)", (plain, encoded) => {
  expect(Buffer.from(cobsEncode(Buffer.from(plain, "hex"))).toString("hex")).toBe(encoded);
  expect(Buffer.from(cobsDecode(Buffer.from(encoded, "hex")) ?? []).toString("hex")).toBe(plain);
});

test.each([0, 1, 253, 254, 255, 508, 509, MAX_FRAME_BODY + 4])(
  "COBS of %i bytes has no zero, its bound holds, and it comes back",
  (length) => {
    for (const fill of [0, 1, undefined]) {
      const source = Uint8Array.from({ length }, (_, i) => fill ?? (i * 31) & 0xff);
      const encoded = cobsEncode(source);
      expect(encoded.includes(0)).toBe(false);
      expect(encoded.length).toBeLessThanOrEqual(maxCobsLength(length));
      expect(Buffer.compare(cobsDecode(encoded) ?? new Uint8Array(1), source)).toBe(0);
    }
  },
);

/** As the paper has it: group by group. */
function plainCobs(source: Uint8Array): number[] {
  const encoded: number[] = [];
  let group: number[] = [];
  for (const byte of [...source, 0]) {
    if (byte !== 0) group.push(byte);
    if (byte === 0 || group.length === 254) {
      encoded.push(group.length + 1, ...group);
      group = [];
    }
  }
  return encoded;
}

const runs = fc
  .array(
    fc.tuple(
      fc.oneof(fc.integer({ min: 0, max: 600 }), fc.constantFrom(253, 254, 508)),
      fc.integer({ min: 0, max: 3 }),
    ),
    { maxLength: 12 },
  )
  .map((pieces) =>
    Uint8Array.from(
      pieces.flatMap(([length, zeros]) => [
        ...Array.from({ length }, (_, i) => 1 + (i % 255)),
        ...Array.from({ length: zeros }, () => 0),
      ]),
    ),
  );

test("COBS is what its definition says, whatever the runs, and comes back", () => {
  fc.assert(
    fc.property(runs, (source) => {
      const encoded = cobsEncode(source);
      expect([...encoded]).toEqual(plainCobs(source));
      expect(Buffer.compare(cobsDecode(encoded) ?? new Uint8Array(1), source)).toBe(0);
      const last = source.length - 1 - source.lastIndexOf(0); // bytes behind the last zero
      if (last === 0 || last % 254 !== 0) return;
      const shorter = cobsDecode(encoded.subarray(0, -1)); // a full group at the end needs nothing behind it
      expect(Buffer.compare(shorter ?? new Uint8Array(1), source)).toBe(0);
    }),
  );
});

test("cobsDecode() takes any bytes between two zeros, and refuses a group that is cut", () => {
  const noZeros = fc.uint8Array({ min: 1, maxLength: 900 });
  fc.assert(
    fc.property(noZeros, (encoded) => {
      const decoded = cobsDecode(encoded);
      if (decoded === undefined) return;
      expect(decoded.length).toBeLessThanOrEqual(encoded.length);
      const again = cobsEncode(decoded);
      const most = Math.min(again.length, encoded.length);
      expect([...again.subarray(0, most)]).toEqual([...encoded.subarray(0, most)]);
    }),
    { examples: [[Uint8Array.of(2)], [Uint8Array.of(1)], [Uint8Array.of(255, 1)]] },
  );
  expect(cobsDecode(Uint8Array.of(3, 7))).toBeUndefined();
  expect(cobsDecode(Uint8Array.of(2, 7, 0))).toBeUndefined();
});

test("encodeBinaryFrameInto() writes encodeFrame()'s bytes, one frame behind the other", () => {
  fc.assert(
    fc.property(fc.array(bytes(2000, 1), { minLength: 1, maxLength: 4 }), (bodies) => {
      const target = new Uint8Array(bodies.length * MAX_BINARY_FRAME).fill(0xee);
      let end = 0;
      for (const body of bodies) end = encodeBinaryFrameInto(target, end, body, crc32);
      const frames = bodies.map((body) => encodeFrame(body, "binary"));
      expect(Buffer.compare(target.subarray(0, end), concat(...frames))).toBe(0);
    }),
    { numRuns: 30 },
  );
});

test("FrameDecoder that lends its bodies finds the same frames, however many one chunk holds", () => {
  const lengths = fc.array(fc.integer({ min: 1, max: MAX_FRAME_BODY }), { minLength: 1, maxLength: 6 });
  fc.assert(
    fc.property(lengths, fc.integer({ min: 1000, max: 400_000 }), (all, cut) => {
      const stream = concat(
        ...all.map((length, i) =>
          encodeFrame(
            Uint8Array.from({ length }, (_, at) => (at * 31 + i) >> 3),
            "binary",
          ),
        ),
      );
      const [lending, giving] = [new FrameDecoder(crc32, "lends"), new FrameDecoder(crc32)];
      for (let at = 0; at < stream.length; at += cut) {
        const chunk = stream.subarray(at, at + cut);
        const lent = lending.push(chunk).frames.map(({ body }) => Buffer.from(body).toString("latin1"));
        const given = giving.push(chunk).frames.map(({ body }) => Buffer.from(body).toString("latin1"));
        expect(lent.length).toBe(given.length);
        lent.forEach((body, i) => expect(body === given[i]).toBe(true));
      }
    }),
    { numRuns: 20 },
  );
});

/** A PACKET's body, as long as it says. */
const packetOf = (length: number, fill = 0): Uint8Array =>
  Uint8Array.from({ length }, (_, at) => (at < 5 ? [0x15, 1, 2, 3, 4][at] : (at * 31 + fill) >> 3) ?? 0);
const raw = (body: Uint8Array): Uint8Array => {
  const target = new Uint8Array(MAX_BINARY_FRAME);
  return target.subarray(0, encodeRawFrameInto(target, 0, body, crc32));
};
const inHex = (body: Uint8Array): string => Buffer.from(body).toString("hex");

test("a body as it is stands behind a RAW frame with its id and length (docs/protocol.md §2.5)", () => {
  const body = packetOf(20_000);
  const announced = encodeFrame(Buffer.from("1b0102030400004e20", "hex"), "binary");
  expect(inHex(raw(body))).toBe(inHex(concat(announced, body)));
});

test("bodies as they are, binary frames and lines come back in order, whatever the chunks, lent and given", () => {
  const part = fc.tuple(
    fc.constantFrom("raw", "binary", "armour"),
    fc.integer({ min: 25, max: 70_000 }),
    fc.nat({ max: 255 }),
  );
  fc.assert(
    fc.property(
      fc.array(part, { minLength: 1, maxLength: 6 }),
      fc.integer({ min: 700, max: 200_000 }),
      (all, cut) => {
        const bodies = all.map(([how, length, fill]) =>
          packetOf(Math.min(length, how === "armour" ? MAX_ARMOUR_BODY : MAX_FRAME_BODY), fill),
        );
        const stream = concat(
          ...bodies.map((body, i) =>
            all[i]?.[0] === "raw"
              ? raw(body)
              : encodeFrame(body, all[i]?.[0] === "armour" ? "armour" : "binary"),
          ),
        );
        const [lending, giving] = [new FrameDecoder(crc32, "lends"), new FrameDecoder(crc32)];
        const lent: string[] = [];
        const given: Uint8Array[] = [];
        for (let at = 0; at < stream.length; at += cut) {
          const chunk = Buffer.from(stream.subarray(at, at + cut)); // of its own, and overwritten below
          for (const { body } of lending.push(chunk).frames) lent.push(inHex(body));
          given.push(...giving.push(chunk).frames.map(({ body }) => body));
          chunk.fill(0);
        }
        const expected = bodies.map(inHex);
        expect(lent.length).toBe(expected.length);
        lent.forEach((body, i) => expect(body === expected[i]).toBe(true));
        given.forEach((body, i) => expect(inHex(body) === expected[i]).toBe(true));
        expect(given.length).toBe(expected.length);
        expect([lending.noiseBytes, giving.noiseBytes]).toEqual([0, 0]);
      },
    ),
    { numRuns: 60 },
  );
});

test.each(["binary", "armour"] as const)(
  "a body whose rest never comes is given up where a read begins with a frame (%s)",
  (encoding) => {
    for (const missing of [1, 100, 29_999]) {
      const decoder = new FrameDecoder(crc32, "lends");
      const body = packetOf(30_000);
      const sent = raw(body);
      expect(decoder.push(sent.subarray(0, sent.length - missing)).frames).toEqual([]);
      const hello = encodeFrame(Uint8Array.of(0x11, 9, 9, 9, 9), encoding);
      const { frames, noise } = decoder.push(hello);
      expect(frames.map((frame) => [...frame.body])).toEqual([[0x11, 9, 9, 9, 9]]);
      expect(noise.length).toBe(0);
      expect(decoder.push(sent).frames.map((frame) => inHex(frame.body))).toEqual([inHex(body)]);
    }
  },
);

test(`forged and torn bodies among all else: lent as given, nothing held, and after a silence every frame comes, byte by byte (seed ${seed})`, () => {
  const random = seeded(seed);
  for (let round = 0; round < 40; round++) {
    const parts: Uint8Array[] = [];
    for (let i = 0; i < 12; i++) {
      const body = packetOf(25 + random.below(MAX_FRAME_BODY - 25), random.below(256));
      const kind = random.below(6);
      if (kind === 0) parts.push(raw(body));
      else if (kind === 1) parts.push(raw(body).subarray(0, random.below(body.length)));
      else if (kind === 2) parts.push(encodeFrame(body, "binary"));
      else if (kind === 3) parts.push(encodeFrame(body.subarray(0, MAX_ARMOUR_BODY), "armour"));
      else if (kind === 4) parts.push(random.bytes(random.below(2000)));
      else parts.push(encodeFrame(concat(Uint8Array.of(0x1b), random.bytes(8)), "binary")); // any id, any length
    }
    const stream = concat(...parts);
    const [lending, giving] = [new FrameDecoder(crc32, "lends"), new FrameDecoder(crc32)];
    for (let at = 0; at < stream.length; ) {
      const cut = 1 + random.below(random.chance(0.5) ? 20 : 70_000);
      const chunk = Buffer.from(stream.subarray(at, at + cut));
      const lent = lending.push(chunk, round).frames.map(({ body }) => inHex(body));
      const given = giving.push(chunk, round).frames;
      expect(given.length).toBe(lent.length);
      given.forEach(({ body }, i) => expect(inHex(body) === lent[i]).toBe(true));
      for (const { body } of given) expect(body.length).toBeLessThanOrEqual(MAX_FRAME_BODY);
      at += cut;
    }
    const announced = encodeFrame(Buffer.from("1b010203040000ea60", "hex"), "binary");
    let now = 1000;
    for (const encoding of ["binary", "armour"] as const) {
      const honest = encodeFrame(Uint8Array.of(0x11, 9, 9, 9, 9), encoding);
      now += 1000;
      for (const decoder of [lending, giving]) {
        decoder.push(concat(Uint8Array.of(0), announced, random.bytes(5)), now);
        const found = [...honest].flatMap((byte) => decoder.push(Uint8Array.of(byte), now + 500).frames);
        expect(found.map(({ body }) => [...body])).toEqual([[0x11, 9, 9, 9, 9]]);
      }
    }
  }
});

test("who takes no binary frames is told nothing by one", () => {
  const decoder = new FrameDecoder(crc32, "lends", false);
  const line = encodeFrame(Uint8Array.of(0x11, 9, 9, 9, 9), "armour");
  const announced = encodeFrame(Buffer.from("1b010203040000ea60", "hex"), "binary");
  const { frames } = decoder.push(concat(announced, Uint8Array.of(0x0a), line));
  expect(frames.map(({ encoding, body }) => [encoding, body[0]])).toEqual([["armour", 0x11]]);
});

test("a frame in the same read as a body's torn end is swallowed at most until the length is full", () => {
  const decoder = new FrameDecoder();
  const sent = raw(packetOf(30_000));
  const small = encodeFrame(Uint8Array.of(1, 2, 3, 4, 5), "binary");
  decoder.push(concat(sent.subarray(0, 29_000), small)); // 1016 bytes are still awaited
  const filler = new Uint8Array(1100).fill(7);
  expect(decoder.push(filler).frames.length).toBeLessThanOrEqual(1); // a packet that will not open
  expect(decoder.push(concat(Uint8Array.of(0), small)).frames.map(({ body }) => [...body])).toEqual([
    [1, 2, 3, 4, 5],
  ]);
});

test("only a PACKET of the announced id is taken as it is, and no impossible length", () => {
  const foreign = packetOf(20_000);
  foreign[4] = 5;
  const handshake = packetOf(20_000);
  handshake[0] = 0x13;
  for (const body of [foreign, handshake]) {
    const decoder = new FrameDecoder();
    const announced = encodeFrame(Buffer.from("1b0102030400004e20", "hex"), "binary");
    expect(decoder.push(concat(announced, body)).frames).toEqual([]);
    expect(decoder.push(encodeFrame(Uint8Array.of(8), "binary")).frames.length).toBe(1);
  }
  for (const length of ["00000018", "000101d1", "ffffffff"]) {
    const decoder = new FrameDecoder();
    decoder.push(encodeFrame(Buffer.from(`1b01020304${length}`, "hex"), "binary"));
    const two = concat(encodeFrame(Uint8Array.of(8), "binary"), encodeFrame(Uint8Array.of(9), "armour"));
    expect(decoder.push(two).frames.map(({ body }) => [...body])).toEqual([[8], [9]]);
  }
});

test("an armoured line is found wherever it stands in other bytes, and however it is cut", () => {
  const filler = fc
    .array(fc.constantFrom("~", "~s", "~sealtty1", "~sealtty1:", "y1:", "x", "~~"), { maxLength: 12 })
    .map((words) => words.join(""));
  fc.assert(
    fc.property(filler, frameBodies(40), fc.integer({ min: 1, max: 40 }), (before, body, cut) => {
      const stream = concat(utf8(before), encodeFrame(body, "armour").subarray(1)); // no line end before the mark
      const decoder = new FrameDecoder();
      const found: Uint8Array[] = [];
      for (let at = 0; at < stream.length; at += cut)
        for (const frame of decoder.push(stream.subarray(at, at + cut)).frames) found.push(frame.body);
      // Behind a mark what looks like base64 belongs to it; "~" is no such character.
      expect(found.map((one) => [...one])).toEqual([[...body]]);
    }),
  );
});

test("an armoured line is printable, short enough, and comes back", () => {
  fc.assert(
    fc.property(bytes(MAX_ARMOUR_BODY + 4, 1), (body) => {
      const line = armourLine(body);
      const inner = line.subarray(1, line.length - 2);
      expect(inner.length).toBeLessThanOrEqual(1024);
      expect(inner.every((byte) => byte > 0x20 && byte < 0x7f)).toBe(true);
      expect(readArmourLine(inner)).toEqual(body);
    }),
  );
});

test("FrameDecoder finds every frame, in both encodings at once, whatever the chunks and the noise between", () => {
  const frame = fc.record({
    body: frameBodies(MAX_ARMOUR_BODY),
    encoding: fc.constantFrom<FrameEncoding>("binary", "armour"),
  });
  // Text noise after a line end cannot change a frame behind it; noise inside a frame costs that frame.
  const noise = fc.constantFrom(
    "",
    "[ 1.0] kernel line\r\n",
    "login: \n",
    "\0",
    "\0\0",
    "~sealtty1:broken\n",
    "\x1bc\n",
  );
  fc.assert(
    fc.property(
      fc.array(fc.tuple(frame, noise), { maxLength: 8 }),
      fc.array(fc.integer({ min: 1, max: 900 })),
      (parts, cuts) => {
        const stream = concat(
          ...parts.flatMap(([{ body, encoding }, text]) => [utf8(text), encodeFrame(body, encoding)]),
        );
        const decoder = new FrameDecoder();
        const found: Uint8Array[] = [];
        let at = 0;
        for (let i = 0; at < stream.length; i++) {
          const next = at + (cuts[i % Math.max(1, cuts.length)] ?? stream.length);
          for (const { body } of decoder.push(stream.subarray(at, next)).frames) found.push(body.slice());
          at = next;
        }
        expect(found.length).toBe(parts.length);
        parts.forEach(([{ body }], i) => expect(found[i]).toEqual(body));
      },
    ),
  );
});

test("a full-size frame in one chunk and in single bytes", () => {
  const body = Uint8Array.from({ length: MAX_FRAME_BODY }, (_, i) => (i * 7919) >> 5);
  const line = encodeFrame(body, "binary");
  expect(Buffer.compare(new FrameDecoder().push(line).frames[0]?.body ?? new Uint8Array(), body)).toBe(0);
  const decoder = new FrameDecoder();
  const frames = [...line].flatMap((byte) => decoder.push(Uint8Array.of(byte)).frames);
  expect(frames.length).toBe(1);
});

test("any bytes at all: no throw, no frame without a CRC, noise bounded, and the next true frame is found", () => {
  fc.assert(
    fc.property(fc.array(bytes(40_000), { maxLength: 4 }), (chunks) => {
      const decoder = new FrameDecoder();
      for (const chunk of chunks) {
        const { frames, noise } = decoder.push(chunk);
        expect(frames.length).toBe(0); // 2^-32 each
        expect(noise.length).toBeLessThanOrEqual(MAX_NOISE_KEPT);
      }
      decoder.push(Uint8Array.of(0));
      expect(
        decoder.push(encodeFrame(Uint8Array.of(1, 2, 3), "binary")).frames.map(({ body }) => [...body]),
      ).toEqual([[1, 2, 3]]);
    }),
    { numRuns: 50 },
  );
});

test("noise is what was no frame, and an armoured line is not noise", () => {
  const decoder = new FrameDecoder();
  const { frames, noise } = decoder.push(
    concat(utf8("[ 1.0] hello\r\n"), encodeFrame(Uint8Array.of(9), "armour")),
  );
  expect(frames.length).toBe(1);
  expect(new TextDecoder().decode(noise)).toBe("[ 1.0] hello\r\n\n");
});

test.each([0, MAX_FRAME_BODY + 1])("encodeFrame() refuses a body of %i bytes", (length) => {
  expect(() => encodeFrame(new Uint8Array(length), "binary")).toThrow(/1 to/);
});
test("encodeFrame() refuses an armoured body that would not fit its line", () => {
  expect(() => encodeFrame(new Uint8Array(MAX_ARMOUR_BODY + 1), "armour")).toThrow(/752/);
});
