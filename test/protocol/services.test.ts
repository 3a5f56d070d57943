// What is asked of a service, the kernel's log, and a seed: as bytes, exactly, and whatever a peer makes of them.

import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Reader, concat, lv32, u32, u8, utf8 } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import {
  KERNEL_LOG_TYPES,
  KernelLogDecoder,
  type KernelLogMessage,
  encodeKernelLog,
} from "../../protocol/kernel-log/messages.ts";
import { parseKernelRecord } from "../../protocol/kernel-log/record.ts";
import { MAX_KERNEL_RECORD, MAX_META_DATA, MAX_USER_DATA } from "../../protocol/limits.ts";
import { type Seed, encodeSeed, readSeed } from "../../protocol/provision/seed.ts";
import { openBody, readOpen } from "../../protocol/session/open-request.ts";
import type { ServiceRequest } from "../../protocol/session/service-request.ts";
import { testSeed } from "../support/seeded.ts";

const seed = testSeed();
const misbehaved = expect.objectContaining({ code: "peer-misbehaved" });
const asOpen = (bytes: Uint8Array) => {
  const reader = new Reader(bytes, "Test");
  const request = readOpen(reader);
  reader.end();
  return request;
};

/** Nothing but a SealttyError comes out of a reader, whatever goes in. */
function survives(read: (bytes: Uint8Array) => unknown, maxLength = 200): true {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength }), (bytes) => {
      try {
        read(bytes);
      } catch (error) {
        expect(error).toBeInstanceOf(SealttyError);
      }
    }),
    { seed, numRuns: 2000 },
  );
  return true;
}

describe("OPEN of a service", () => {
  test.each<[string, ServiceRequest]>([
    ["060000", { name: "kernel-log", follow: false }],
    ["060001", { name: "kernel-log", follow: true }],
    ["060162", { name: "sysrq", key: "b" }],
    ["0602", { name: "provision" }],
  ])("%s", (hex, service) => {
    expect(Buffer.from(openBody({ kind: "service", service })).toString("hex")).toBe(hex);
    expect(asOpen(Buffer.from(hex, "hex"))).toEqual({ kind: "service", service });
  });
  test.each([
    "06",
    "0600",
    "060002",
    "06000000",
    "0601",
    "060142",
    "06010a",
    "0601627a",
    "0603",
    "020000",
    "06020a",
  ])("%s is refused", (hex) => {
    expect(() => asOpen(Buffer.from(hex, "hex"))).toThrow(misbehaved);
  });
  test("any bytes", () => expect(survives((bytes) => asOpen(concat(u8(6), bytes)))).toBe(true));
});

const record = (text: string): KernelLogMessage => ({ type: "record", bytes: utf8(text) });
const clock = { type: "clock", uptime: 123_456_789, wall: 1_790_000_000_000 } as const;

describe("the kernel's log", () => {
  const messages: KernelLogMessage[] = [
    clock,
    record("6,0,0,-;a\n"),
    { type: "lost" },
    record("x"),
    { type: "caught-up" },
  ];
  const stream = concat(...messages.map(encodeKernelLog));

  test("comes as it was sent, however it is cut", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }), (sizes) => {
        const decoder = new KernelLogDecoder();
        const got: KernelLogMessage[] = [];
        for (let at = 0, i = 0; at < stream.length; i++) {
          const size = sizes[i % sizes.length] ?? 1;
          got.push(...decoder.push(stream.subarray(at, at + size)));
          at += size;
        }
        expect(decoder.end()).toBe(true);
        expect(got).toEqual(messages);
      }),
      { seed },
    );
  });
  test("the longest record passes, one byte more does not, and is not waited for", () => {
    const longest = { type: "record", bytes: new Uint8Array(MAX_KERNEL_RECORD).fill(0x61) } as const;
    const decoder = new KernelLogDecoder();
    expect(decoder.push(concat(encodeKernelLog(clock), encodeKernelLog(longest)))).toEqual([clock, longest]);
    expect(() => decoder.push(Uint8Array.of(KERNEL_LOG_TYPES.record, 0, 0x20, 1))).toThrow(misbehaved);
  });
  test.each([
    ["a record before the clock", [record("x")]],
    ["a second clock", [clock, clock]],
    ["an empty record", [clock, { type: "record", bytes: new Uint8Array(0) } as const]],
    ["that all is said, twice", [clock, { type: "caught-up" } as const, { type: "caught-up" } as const]],
  ])("%s is refused", (_, wrong: readonly KernelLogMessage[]) => {
    expect(() => new KernelLogDecoder().push(concat(...wrong.map(encodeKernelLog)))).toThrow(misbehaved);
  });
  test("clocks go as far as a calendar, and a millisecond more is refused", () => {
    const last = { type: "clock", uptime: 8.64e15, wall: 8.64e15 } as const;
    expect(new KernelLogDecoder().push(encodeKernelLog(last))).toEqual([last]);
    for (const wrong of [{ wall: 8.64e15 + 1 }, { uptime: 8.64e15 + 1 }, { wall: Number.MAX_SAFE_INTEGER }])
      expect(() => new KernelLogDecoder().push(encodeKernelLog({ ...clock, ...wrong }))).toThrow(misbehaved);
  });
  test("one that ends within a message is not whole; one that ends early says so", () => {
    const decoder = new KernelLogDecoder();
    decoder.push(stream.subarray(0, stream.length - 6));
    expect(() => decoder.end()).toThrow(misbehaved);
    const early = new KernelLogDecoder();
    early.push(encodeKernelLog(clock));
    expect(early.end()).toBe(false);
  });
  test("any bytes", () => expect(survives((bytes) => new KernelLogDecoder().push(bytes))).toBe(true));
});

describe("a record", () => {
  test("of a device, with its fields", () => {
    const text =
      "3,335,1267300,-;virtio_blk virtio1: h\\xc3\\xa9llo \\x5c \\x1b[2J\n SUBSYSTEM=virtio\n DEVICE=+virtio:virtio1\n";
    expect(parseKernelRecord(utf8(text))).toEqual({
      number: 335,
      level: "err",
      facility: "kern",
      time: 1_267_300,
      continues: false,
      text: "virtio_blk virtio1: héllo \\ \x1b[2J",
      fields: [
        ["SUBSYSTEM", "virtio"],
        ["DEVICE", "+virtio:virtio1"],
      ],
    });
  });
  test.each([
    ["of a program, by a number without a name", "187,1,2,-;x", { level: "err", facility: "23", text: "x" }],
    ["that goes on", "6,1,2,+;x\n", { continues: true }],
    ["with more in its head", "14,1,2,-,caller=T1;x\n", { facility: "user", level: "info" }],
    ["of several lines", "6,1,2,-;a\\x0ab\n", { text: "a\nb" }],
    ["without a text", "6,1,2,-;", { text: "" }],
    [
      "of bytes that are no UTF-8, and of a backslash that escapes nothing",
      "6,1,2,-;\\xff \\xg0 \\",
      { text: "\ufffd \\xg0 \\" },
    ],
  ])("%s", (_, text, expected) => {
    expect(parseKernelRecord(utf8(text))).toMatchObject(expected);
  });
  test.each([
    "",
    ";x",
    "6,1,2;x",
    "6,1,2,?;x",
    "-6,1,2,-;x",
    "6,99999999999999999,2,-;x",
    "6,9999999999999999,2,-;x",
    "6,1,2,-;x\nno field",
    "6,1,2,-;x\n =no name",
    `6,1,2,-,${"y".repeat(700)};x`,
  ])("%j is none", (text) => {
    expect(() => parseKernelRecord(utf8(text))).toThrow(misbehaved);
  });
  test("any bytes, and any text behind a good head", () => {
    expect(survives(parseKernelRecord)).toBe(true);
    expect(survives((bytes) => parseKernelRecord(concat(utf8("6,1,2,-;"), bytes)), 2000)).toBe(true);
  });
});

describe("a seed", () => {
  const part = fc.uint8Array({ minLength: 1, maxLength: 300 });
  test("is read as it was written", () => {
    fc.assert(
      fc.property(part, fc.option(part), fc.option(part), (userData, metaData, networkConfig) => {
        const whole: Seed = {
          userData,
          ...(metaData === null ? {} : { metaData }),
          ...(networkConfig === null ? {} : { networkConfig }),
        };
        expect(readSeed(encodeSeed(whole))).toEqual(whole);
      }),
      { seed },
    );
    expect(Buffer.from(encodeSeed({ userData: utf8("x") })).toString("hex")).toBe("01000000000178");
  });
  test.each([
    ["of another version", concat(u8(2), u8(0), lv32(utf8("x")))],
    ["with an unknown flag", concat(u8(1), u8(4), lv32(utf8("x")))],
    ["without user-data", concat(u8(1), u8(0), lv32(utf8("")))],
    ["with bytes left over", concat(u8(1), u8(0), lv32(utf8("x")), u8(0))],
    [
      "that claims more than there may be",
      concat(u8(1), u8(0), u32(MAX_USER_DATA + 1), new Uint8Array(MAX_USER_DATA + 1)),
    ],
    ["that ends early", concat(u8(1), u8(1), lv32(utf8("x")), u32(4), utf8("abc"))],
  ])("%s is none", (_, bytes) => {
    expect(() => readSeed(bytes)).toThrow(misbehaved);
  });
  test("of too much, or of nothing, does not leave", () => {
    const refused = expect.objectContaining({ code: "bad-config" });
    expect(() => encodeSeed({ userData: new Uint8Array(0) })).toThrow(refused);
    expect(() => encodeSeed({ userData: new Uint8Array(MAX_USER_DATA + 1) })).toThrow(refused);
    expect(() => encodeSeed({ userData: utf8("x"), metaData: new Uint8Array(MAX_META_DATA + 1) })).toThrow(
      refused,
    );
  });
  test("any bytes", () => expect(survives((bytes) => readSeed(concat(u8(1), bytes)))).toBe(true));
});
