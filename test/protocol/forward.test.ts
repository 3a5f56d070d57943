// Forwarding's bytes and rules: targets, messages, permissions, and the SOCKS greeting. No sockets here.

import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Reader, concat, lv16, u16, utf8 } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { FORWARD_TYPES } from "../../protocol/forward/forward-messages.ts";
import { mayListen, mayOpen } from "../../protocol/forward/permission.ts";
import {
  MAX_SOCKS_REQUEST,
  SocksGreeting,
  type SocksStep,
  socksReply,
} from "../../protocol/forward/socks.ts";
import {
  type ListenPlace,
  type StreamTarget,
  isForwardHost,
  isServiceName,
  isUnixPath,
  listenBody,
  readListenPlace,
  readTarget,
  targetBody,
} from "../../protocol/forward/target.ts";
import { MAX_FORWARD_HOST, MAX_UNIX_PATH } from "../../protocol/limits.ts";
import { decodeMessage, encodeMessage, TYPES } from "../../protocol/session/messages.ts";
import { testSeed } from "../support/seeded.ts";

const seed = testSeed();
const hosts = fc.constantFrom("localhost", "db.internal", "10.0.0.1", "::1", "fe80::1%eth0", "a".repeat(255));
const paths = fc
  .string({ maxLength: 60 })
  .map((text) => `/${text.replaceAll("\0", "")}`)
  .filter(isUnixPath);
const targets: fc.Arbitrary<StreamTarget> = fc.oneof(
  fc.record({ kind: fc.constant("tcp" as const), host: hosts, port: fc.integer({ min: 1, max: 65_535 }) }),
  fc.record({ kind: fc.constant("unix" as const), path: paths }),
  fc.record({ kind: fc.constant("service" as const), name: fc.constantFrom("ssh", "a", "x-1") }),
  fc.record({ kind: fc.constant("incoming" as const), incoming: fc.integer({ min: 0, max: 2 ** 32 - 1 }) }),
);
const places: fc.Arbitrary<ListenPlace> = fc.oneof(
  fc.record({
    kind: fc.constant("tcp" as const),
    host: fc.oneof(hosts, fc.constant("*")),
    port: fc.integer({ min: 0, max: 65_535 }),
  }),
  fc.record({ kind: fc.constant("unix" as const), path: paths }),
);

function throughReader<T>(bytes: Uint8Array, read: (reader: Reader) => T): T {
  const reader: Reader = new Reader(bytes, "Test");
  const value = read(reader);
  reader.end();
  return value;
}

/** What a decoder makes of bytes of the peer's: a value, or SealttyError `peer-misbehaved`, never anything else. */
function decoded<T>(decode: () => T): T | undefined {
  try {
    return decode();
  } catch (error) {
    expect(error).toBeInstanceOf(SealttyError);
    expect((error as SealttyError).code).toBe("peer-misbehaved");
    return undefined;
  }
}

describe(`targets and messages (seed ${seed})`, () => {
  test("come back as they went", () => {
    fc.assert(
      fc.property(targets, places, (target, place) => {
        expect(throughReader(targetBody(target), readTarget)).toEqual(target);
        expect(throughReader(listenBody(place), readListenPlace)).toEqual(place);
      }),
      { seed },
    );
  });

  test.each([
    ["an unknown kind", Uint8Array.of(4)],
    ["port 0", concat(Uint8Array.of(0), lv16(utf8("h")), u16(0))],
    ["no host", concat(Uint8Array.of(0), lv16(utf8("")), u16(1))],
    ["every address", concat(Uint8Array.of(0), lv16(utf8("*")), u16(1))],
    ["a blank in a host", concat(Uint8Array.of(0), lv16(utf8("a b")), u16(1))],
    ["a line's end in a host", concat(Uint8Array.of(0), lv16(utf8("a\n")), u16(1))],
    [
      "a host that is too long",
      concat(Uint8Array.of(0), lv16(utf8("a".repeat(MAX_FORWARD_HOST + 1))), u16(1)),
    ],
    ["a host that is not UTF-8", concat(Uint8Array.of(0), lv16(Uint8Array.of(0xff)), u16(1))],
    ["a path that is not absolute", concat(Uint8Array.of(1), lv16(utf8("run/x")))],
    ["an abstract socket", concat(Uint8Array.of(1), lv16(utf8("\0x")))],
    ["a NUL in a path", concat(Uint8Array.of(1), lv16(utf8("/a\0b")))],
    ["a path that is too long", concat(Uint8Array.of(1), lv16(utf8(`/${"a".repeat(MAX_UNIX_PATH)}`)))],
    ["a service of strange letters", concat(Uint8Array.of(2), lv16(utf8("../ssh")))],
    ["bytes left over", concat(Uint8Array.of(2), lv16(utf8("ssh")), Uint8Array.of(0))],
  ])("refuse %s", (_, bytes) => {
    expect(decoded(() => throughReader(bytes, readTarget))).toBeUndefined();
  });

  test("the longest of each is taken", () => {
    expect(isForwardHost("a".repeat(MAX_FORWARD_HOST))).toBe(true);
    expect(isUnixPath(`/${"a".repeat(MAX_UNIX_PATH - 1)}`)).toBe(true);
    expect(isUnixPath(`/${"ä".repeat(Math.ceil(MAX_UNIX_PATH / 2))}`)).toBe(false); // counted in bytes
    expect(isServiceName("ssh")).toBe(true);
  });

  test("whatever bytes come, a message is refused or is just those bytes", () => {
    const types = [...Object.values(FORWARD_TYPES), TYPES.open];
    let taken = 0;
    fc.assert(
      fc.property(
        fc.constantFrom(...types),
        fc.oneof(
          fc.uint8Array({ maxLength: 80 }),
          // Near the truth: a channel's or listener's number, then a body that was good before one byte was changed.
          fc
            .tuple(fc.oneof(targets, places), fc.nat(40), fc.nat(255), fc.boolean())
            .map(([target, at, value, change]) => {
              const isStream = target.kind === "service" || target.kind === "incoming";
              const body = isStream ? targetBody(target) : listenBody(target);
              const bytes = concat(Uint8Array.of(0, 0, 0, 1, 3), body);
              if (change && at < bytes.length) bytes[at] = value;
              return bytes;
            }),
        ),
        (type, body) => {
          // LISTEN has no kind of channel in front of its place.
          const own =
            type === TYPES.listen && body.length > 5 ? concat(body.subarray(0, 4), body.subarray(5)) : body;
          const message = decoded(() => decodeMessage(type, own));
          if (message === undefined) return;
          taken++;
          if (message.type === "open" && message.request.kind !== "stream") return;
          expect(encodeMessage(message).subarray(4)).toEqual(new Uint8Array(own));
        },
      ),
      { seed, numRuns: 3000 },
    );
    expect(taken).toBeGreaterThan(50);
  });
});

describe("permissions", () => {
  const tcp = (host: string, port: number) => ({ kind: "tcp", host, port }) as const;
  const only = (permitOpen: string[]) => ({ portForwarding: true, permitOpen });

  test("a key without options may open anything, one without port forwarding nothing", () => {
    expect(mayOpen(undefined, tcp("h", 1))).toBe(true);
    expect(mayOpen({ portForwarding: true }, { kind: "unix", path: "/x" })).toBe(true);
    for (const place of [
      tcp("h", 1),
      { kind: "unix", path: "/x" },
      { kind: "service", name: "ssh" },
    ] as const)
      expect(mayOpen({ portForwarding: false, permitOpen: ["h:1", "*:*"] }, place)).toBe(false);
    expect(mayListen({ portForwarding: false, permitListen: ["localhost:1"] }, tcp("localhost", 1))).toBe(
      false,
    );
  });

  test.each([
    ["db:5432", "db", 5432, true],
    ["db:5432", "DB", 5432, true],
    ["db:5432", "db", 5433, false],
    ["db:5432", "db.", 5432, false],
    ["db:5432", "xdb", 5432, false],
    ["db:*", "db", 1, true],
    ["*:80", "db", 80, false], // no pattern: sshd(8) has none either
    ["[::1]:80", "::1", 80, true],
    ["[::1]:80", "::", 80, false],
    ["127.0.0.1:22", "localhost", 22, false], // no name is looked up
    ["db:", "db", 0, false],
    ["db", "db", 22, false],
    ["", "", 0, false],
  ])("permitopen=%j and %s:%i: %s", (entry, host, port, expected) => {
    expect(mayOpen(only([entry]), tcp(host, port))).toBe(expected);
    expect(mayOpen(only(["other:1", entry]), tcp(host, port))).toBe(expected);
  });

  test("with permitopen sockets and services are refused, but ssh, which counts as its port", () => {
    expect(mayOpen(only(["db:1"]), { kind: "unix", path: "/db:1" })).toBe(false);
    expect(mayOpen(only(["db:*"]), { kind: "service", name: "db" })).toBe(false);
    expect(mayOpen(only(["127.0.0.1:22"]), { kind: "service", name: "ssh" })).toBe(true);
    expect(mayOpen(only(["127.0.0.1:23"]), { kind: "service", name: "ssh" })).toBe(false);
    expect(mayOpen(only([]), tcp("h", 1))).toBe(false);
  });

  test.each([
    ["8080", "localhost", 8080, true],
    ["8080", "*", 8080, false],
    ["8080", "localhost", 0, false],
    ["*", "localhost", 0, true],
    ["*:8080", "*", 8080, true],
    ["127.0.0.1:*", "127.0.0.1", 1, true],
    ["127.0.0.1:8080", "localhost", 8080, false],
  ])("permitlisten=%j and %s:%i: %s", (entry, host, port, expected) => {
    const restrictions = { portForwarding: true, permitListen: [entry] };
    expect(mayListen(restrictions, tcp(host, port))).toBe(expected);
    expect(mayListen(restrictions, { kind: "unix", path: "/x" })).toBe(false);
  });
});

describe(`SOCKS (seed ${seed})`, () => {
  const hex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text.replaceAll(" ", ""), "hex"));
  /** Everything at once. */
  const feed = (bytes: Uint8Array): SocksStep => new SocksGreeting().feed(bytes);
  const greeted5 = (): SocksGreeting => {
    const greeting = new SocksGreeting();
    expect(greeting.feed(hex("05 01 00"))).toEqual({ kind: "more", reply: hex("05 00") });
    return greeting;
  };

  test("SOCKS5: a name, both kinds of address, and what comes behind", () => {
    expect(greeted5().feed(concat(hex("05 01 00 03 0b"), utf8("example.com"), hex("01bb aabb")))).toEqual({
      kind: "request",
      reply: new Uint8Array(0),
      request: { version: 5, host: "example.com", port: 443 },
      rest: hex("aabb"),
    });
    expect(greeted5().feed(hex("05 01 00 01 7f000001 0050"))).toMatchObject({
      request: { host: "127.0.0.1", port: 80 },
    });
    expect(greeted5().feed(hex("05 01 00 04 20010db8000000000000000000000001 0050"))).toMatchObject({
      request: { host: "2001:db8:0:0:0:0:0:1", port: 80 },
    });
  });

  test("SOCKS5: a client need not wait for the answer to its greeting", () => {
    expect(feed(hex("05 02 02 00 05 01 00 01 7f000001 0050"))).toEqual({
      kind: "request",
      reply: hex("05 00"),
      request: { version: 5, host: "127.0.0.1", port: 80 },
      rest: new Uint8Array(0),
    });
  });

  test("SOCKS4 and 4a", () => {
    expect(feed(concat(hex("04 01 0050 7f000001"), utf8("me\0rest")))).toEqual({
      kind: "request",
      reply: new Uint8Array(0),
      request: { version: 4, host: "127.0.0.1", port: 80 },
      rest: utf8("rest"),
    });
    expect(feed(concat(hex("04 01 0050 00000001"), utf8("\0example.com\0")))).toMatchObject({
      request: { version: 4, host: "example.com", port: 80 },
    });
  });

  test.each([
    ["another version", "06 01 00", ""],
    ["HTTP", "474554202f", ""],
    ["only a password", "05 01 02", "05ff"],
    ["no method at all", "05 00", "05ff"],
    ["BIND", "05 01 00 05 02 00 01 7f000001 0050", "0500 05 07 00 01 00000000 0000"],
    ["UDP ASSOCIATE", "05 01 00 05 03 00 01 7f000001 0050", "0500 05 07 00 01 00000000 0000"],
    ["an unknown address", "05 01 00 05 01 00 02 7f000001 0050", "0500 05 08 00 01 00000000 0000"],
    ["an empty name", "05 01 00 05 01 00 03 00 0050", "0500 05 08 00 01 00000000 0000"],
    ["a NUL in a name", "05 01 00 05 01 00 03 02 6100 0050", "0500 05 08 00 01 00000000 0000"],
    ["port 0", "05 01 00 05 01 00 01 7f000001 0000", "0500 05 08 00 01 00000000 0000"],
    ["SOCKS4's BIND", "04 02 0050 7f000001 00", "00 5b 0000 00000000"],
    ["SOCKS4a's empty name", "04 01 0050 00000001 00 00", "00 5b 0000 00000000"],
    ["SOCKS4's endless user", `04 01 0050 7f000001 ${"61".repeat(256)}`, "00 5b 0000 00000000"],
    ["SOCKS4a's endless name", `04 01 0050 00000001 00 ${"61".repeat(256)}`, "00 5b 0000 00000000"],
    ["4 after 5's greeting", "05 01 00 04 01 0050 7f000001 00", "0500"],
  ])("refused: %s", (_, bytes, reply) => {
    const step = feed(hex(bytes));
    expect(step).toMatchObject({ kind: "refused", reply: hex(reply) });
  });

  test("the answers are as RFC 1928 has them", () => {
    expect(socksReply(5, "succeeded")).toEqual(hex("05 00 00 01 00000000 0000"));
    expect(socksReply(5, "refused")).toEqual(hex("05 05 00 01 00000000 0000"));
    expect(socksReply(5, "not-allowed")).toEqual(hex("05 02 00 01 00000000 0000"));
    expect(socksReply(4, "succeeded")).toEqual(hex("00 5a 0000 00000000"));
    expect(socksReply(4, "unreachable")).toEqual(hex("00 5b 0000 00000000"));
  });

  /** @returns the last step, with all replies joined. */
  function inPieces(bytes: Uint8Array, cuts: readonly number[]): SocksStep {
    const greeting = new SocksGreeting();
    let reply = new Uint8Array(0);
    let step: SocksStep = { kind: "more", reply };
    const edges = [...new Set([...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length])].sort(
      (a, b) => a - b,
    );
    let from = 0;
    for (const to of edges) {
      step = greeting.feed(bytes.subarray(from, to));
      reply = concat(reply, step.reply);
      if (step.kind !== "more") {
        const rest = bytes.subarray(to);
        return step.kind === "request"
          ? { ...step, reply, rest: concat(step.rest, rest) }
          : { ...step, reply };
      }
      from = to;
    }
    return { ...step, reply };
  }

  const near = fc.oneof(
    fc.uint8Array({ maxLength: 64 }),
    fc.uint8Array({ maxLength: 40 }).map((bytes) => concat(Uint8Array.of(5, 1, 0), bytes)),
    fc.uint8Array({ maxLength: 40 }).map((bytes) => concat(Uint8Array.of(5, 1, 0, 5, 1, 0), bytes)),
    fc.uint8Array({ maxLength: 40 }).map((bytes) => concat(Uint8Array.of(4, 1), bytes)),
    fc
      .tuple(fc.uint8Array({ minLength: 1, maxLength: 30 }), fc.uint8Array({ maxLength: 9 }))
      .map(([name, rest]) =>
        concat(
          Uint8Array.of(5, 1, 0, 5, 1, 0, 3, name.length),
          name.map((byte) => 97 + (byte % 26)),
          rest,
        ),
      ),
  );

  test("whatever bytes come, in whatever pieces: one outcome, no exception, and a host that may be sent on", () => {
    let requests = 0;
    fc.assert(
      fc.property(near, fc.array(fc.nat(100), { maxLength: 6 }), (bytes, cuts) => {
        const whole = inPieces(bytes, []);
        expect(inPieces(bytes, cuts)).toEqual(whole);
        if (whole.kind !== "request") return;
        requests++;
        const { host, port } = whole.request;
        expect(throughReader(targetBody({ kind: "tcp", host, port }), readTarget)).toEqual({
          kind: "tcp",
          host,
          port,
        });
      }),
      { seed, numRuns: 3000 },
    );
    expect(requests).toBeGreaterThan(100);
  });

  test("it never waits for more than a request can need", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: MAX_SOCKS_REQUEST + 1, maxLength: 2 * MAX_SOCKS_REQUEST }),
        (bytes) => {
          expect(feed(bytes).kind).not.toBe("more");
        },
      ),
      { seed },
    );
    for (const first of [4, 5])
      expect(
        feed(new Uint8Array(MAX_SOCKS_REQUEST + 1).fill(1).map((one, at) => (at === 0 ? first : one))).kind,
      ).toBe("refused");
  });
});
