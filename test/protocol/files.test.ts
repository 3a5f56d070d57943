// Messages about files: what is written is read back, whatever the pieces; what is malformed is refused, whatever it is.
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { concat, Reader, u16, u32, u64, u8, utf8 } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { FilesDecoder } from "../../protocol/files/decoder.ts";
import {
  FILES_TYPES,
  type FilesMessage,
  isFileName,
  LINK_RULES,
  TROUBLES,
  type TroubleName,
} from "../../protocol/files/messages.ts";
import { encodeFilesMessage, longestBody, readFilesMessage } from "../../protocol/files/messages-codec.ts";
import { MAX_FILES_DATA, MAX_FILES_START } from "../../protocol/limits.ts";
import { readOpen, openBody } from "../../protocol/session/open-request.ts";
import { seeded, testSeed } from "../support/seeded.ts";

const bytes = (minLength: number, maxLength: number) => fc.uint8Array({ minLength, maxLength });
const name = bytes(1, 255).filter(isFileName);
const path = bytes(0, 4095).map((path) => path.map((byte) => byte || 1));
const count = fc.maxSafeNat();
const time = fc.record({ seconds: count, nanoseconds: fc.nat(999_999_999) });
const attributes = fc.record({ mode: fc.nat(0o777), accessed: time, modified: time });
const flag = fc.boolean();
const flags = fc.record({ recursive: flag, preserve: flag, resume: flag, intoDirectory: flag, count: flag });
const digest = bytes(32, 32);
const type = <T extends string>(value: T) => fc.constant(value);
const nameOrNone = fc.oneof(name, fc.constant(new Uint8Array(0)));

const message: fc.Arbitrary<FilesMessage> = fc.oneof(
  fc.record({
    type: type("start"),
    role: type("source"),
    flags,
    links: fc.constantFrom(...LINK_RULES),
    paths: fc.array(path, { minLength: 1, maxLength: 5 }),
  }),
  fc.record({
    type: type("start"),
    role: type("sink"),
    flags,
    links: fc.constantFrom(...LINK_RULES),
    target: path,
    names: fc.array(nameOrNone, { minLength: 1, maxLength: 5 }),
  }),
  fc.record({ type: type("root"), index: fc.nat(2 ** 32 - 1) }),
  fc.record({ type: type("directory"), name: nameOrNone, attributes }),
  fc.record({
    type: type("file"),
    name: nameOrNone,
    attributes,
    size: fc.constant(undefined),
    sparse: flag,
    asks: fc.constant(false),
  }),
  fc.record({ type: type("file"), name: nameOrNone, attributes, size: count, sparse: flag, asks: flag }),
  fc.record({
    type: type("link"),
    name: nameOrNone,
    target: bytes(1, 4095).map((path) => path.map((byte) => byte || 1)),
    attributes,
  }),
  fc.record({ type: type("hole"), length: count.filter((length) => length > 0) }),
  fc.record({ type: type("end"), digest }),
  fc.record({ type: type("claim"), digest }),
  fc.record({ type: type("total"), files: count, bytes: count }),
  fc.record({ type: type("offer"), length: count.filter((length) => length > 0) }),
  fc.record({ type: type("from"), offset: fc.oneof(fc.constant(undefined), count) }),
  fc.record({
    type: type("finished"),
    files: count,
    directories: count,
    links: count,
    bytes: count,
    failed: count,
  }),
  fc.record({
    type: type("trouble"),
    code: fc.constantFrom(...(Object.keys(TROUBLES) as TroubleName[])),
    fatal: flag,
    file: count,
    path,
  }),
  fc.constantFrom<FilesMessage>({ type: "up" }, { type: "drop" }, { type: "done" }),
  fc.record({ type: type("data"), bytes: bytes(1, 300) }),
);

/** Feeds pieces; data that came in several is put together. */
function decodeAll(stream: Uint8Array, cuts: (left: number) => number): FilesMessage[] {
  const decoder = new FilesDecoder();
  const messages: FilesMessage[] = [];
  for (let at = 0; at < stream.length; ) {
    const length = Math.max(1, Math.min(cuts(stream.length - at), stream.length - at));
    for (const message of decoder.push(stream.slice(at, at + length)))
      messages.push(message.type === "data" ? { type: "data", bytes: message.bytes.slice() } : message);
    at += length;
  }
  decoder.end();
  return messages;
}
const joinData = (messages: readonly FilesMessage[]): Uint8Array =>
  concat(...messages.flatMap((message) => (message.type === "data" ? [message.bytes] : [])));
const others = (messages: readonly FilesMessage[]): FilesMessage[] =>
  messages.filter(({ type }) => type !== "data");

describe("FilesDecoder", () => {
  test("gives back what was encoded, however it is cut", () => {
    fc.assert(
      fc.property(
        fc.array(message, { maxLength: 20 }),
        fc.infiniteStream(fc.integer({ min: 1, max: 64 })),
        (sent, cut) => {
          const got = decodeAll(concat(...sent.map(encodeFilesMessage)), () => cut.next().value as number);
          expect(others(got)).toEqual(others(sent));
          expect(joinData(got)).toEqual(joinData(sent));
        },
      ),
    );
  });
  test("holds no message above its type's length, and no data at all", () => {
    for (const number of Object.values(FILES_TYPES)) {
      const longest = longestBody(number) as number;
      const head = (length: number): Uint8Array =>
        concat(u8(number), u8(length >>> 16), u16(length & 0xffff));
      expect(() => new FilesDecoder().push(head(longest + 1))).toThrow(/too long/);
    }
    expect(longestBody(FILES_TYPES.start)).toBe(MAX_FILES_START);
    expect(longestBody(0)).toBeUndefined();
    const decoder = new FilesDecoder();
    expect(decoder.push(concat(u8(FILES_TYPES.data), u8(1), u16(0)))).toEqual([]);
    expect(decoder.push(new Uint8Array(40_000))).toHaveLength(1);
    expect(() => decoder.end()).toThrow(/ends too early/);
    expect(joinData(decoder.push(new Uint8Array(MAX_FILES_DATA - 40_000)))).toHaveLength(
      MAX_FILES_DATA - 40_000,
    );
    decoder.end();
  });
  test("random bytes, and good streams with one bit changed, end in a refusal or in messages, and in nothing else", () => {
    const random = seeded(testSeed());
    const good = fc.sample(message, { numRuns: 400, seed: random.seed });
    for (const sent of good) {
      const stream = encodeFilesMessage(sent);
      const changed = stream.slice();
      const place = random.below(changed.length);
      changed[place] = (changed[place] ?? 0) ^ (1 << random.below(8));
      for (const input of [
        changed,
        stream.slice(0, random.below(stream.length)),
        random.bytes(random.below(80)),
      ]) {
        try {
          for (const got of decodeAll(input, () => 1 + random.below(30))) {
            // Whatever comes out can be sent again and is the same.
            if (got.type !== "data") expect(decodeAll(encodeFilesMessage(got), () => 1000)).toEqual([got]);
          }
        } catch (error) {
          expect(error, `seed ${random.seed}`).toBeInstanceOf(SealttyError);
          expect((error as SealttyError).code).toBe("peer-misbehaved");
        }
      }
    }
  });
});

describe("names lead nowhere", () => {
  const BAD: readonly [string, string][] = [
    ["..", ".."],
    [".", "."],
    ["a slash", "a/b"],
    ["absolute", "/etc/passwd"],
    ["up and away", "../x"],
    ["a slash behind", "x/"],
    ["NUL", "a\0b"],
    ["too long", "n".repeat(256)],
  ];
  const lv = (text: string): Uint8Array => concat(u16(utf8(text).length), utf8(text));
  const zeros = new Uint8Array(26);
  test.each(BAD)("%s", (_, bad) => {
    expect(isFileName(utf8(bad))).toBe(false);
    const read = (number: number, ...body: Uint8Array[]): FilesMessage =>
      readFilesMessage(number, new Reader(concat(...body), "Test"));
    expect(() => read(FILES_TYPES.directory, lv(bad), zeros)).toThrow(SealttyError);
    expect(() => read(FILES_TYPES.file, lv(bad), zeros, u8(0), u64(0))).toThrow(SealttyError);
    expect(() => read(FILES_TYPES.link, lv(bad), lv("x"), zeros)).toThrow(SealttyError);
    const start = [u8(1), u8(1), u8(0), u8(0), lv("t"), u16(1)];
    expect(() => read(FILES_TYPES.start, ...start, lv(bad))).toThrow(SealttyError);
    expect(read(FILES_TYPES.start, ...start, lv("good"))).toMatchObject({ role: "sink" });
  });
  test.each(["a", "...", "..a", "a..", " ", "\n", "\x1b[2J", "-rf", "~", "\u{202e}gpj.exe"])(
    "%j is a name like any other",
    (good) => {
      expect(isFileName(utf8(good))).toBe(true);
    },
  );
  test("bytes that are no UTF-8 are names", () => {
    expect(isFileName(Uint8Array.of(0xff, 0xfe))).toBe(true);
  });
});

test.each([
  ["set-user-id", concat(u16(1), utf8("x"), u16(0o4755), new Uint8Array(24))],
  [
    "a time with a billion nanoseconds",
    concat(u16(1), utf8("x"), u16(0), u64(0), u32(1e9), new Uint8Array(12)),
  ],
])("a directory with %s is refused", (_, body) => {
  expect(() => readFilesMessage(FILES_TYPES.directory, new Reader(body, "Test"))).toThrow(SealttyError);
});

test("OPEN asks for files with its kind alone", () => {
  const body = openBody({ kind: "files" });
  expect([...body]).toEqual([4]);
  expect(readOpen(new Reader(body, "Test"))).toEqual({ kind: "files" });
});
