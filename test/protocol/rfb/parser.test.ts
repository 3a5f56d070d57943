// RFB's bytes, as they should be and as a hostile server has them: opening, messages, the framebuffer. No pipe here.

import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { concat, toHex, u16, u32, utf8 } from "../../../protocol/bytes.ts";
import { SealttyError } from "../../../protocol/errors.ts";
import {
  MAX_RFB_CUT_TEXT,
  MAX_RFB_NAME,
  MAX_RFB_PIXELS,
  MAX_RFB_REASON,
  MAX_RFB_SIDE,
} from "../../../protocol/limits.ts";
import {
  inputMessage,
  POKE,
  setEncodings,
  setPixelFormat,
  updateRequest,
} from "../../../protocol/rfb/client-messages.ts";
import { vncResponse } from "../../../protocol/rfb/des.ts";
import { Framebuffer, type RowRange } from "../../../protocol/rfb/framebuffer.ts";
import { Intake, type Parser, type TlsKind } from "../../../protocol/rfb/intake.ts";
import { opening, type RfbOpening } from "../../../protocol/rfb/opening.ts";
import { type RfbServerFindings, serverMessages } from "../../../protocol/rfb/server-messages.ts";
import {
  colourMap,
  cutText,
  desktopSize,
  opened,
  raw,
  type Rect,
  screen,
  update,
  VERSION,
  words,
} from "../../support/rfb-server.ts";
import { seeded, testSeed } from "../../support/seeded.ts";

const seed = testSeed();
const PLAIN: RfbOpening = { tls: "none" };

/** `bytes` in pieces of these lengths, in turns. */
function* pieces(bytes: Uint8Array, lengths: readonly number[]): Generator<Uint8Array> {
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const length = lengths[i % lengths.length] as number;
    yield bytes.slice(at, at + length);
    at += length;
  }
}

interface Talk<T> {
  readonly said: string;
  readonly value: T | undefined;
  readonly rest: string | undefined;
  readonly tls: TlsKind | undefined;
}

/** TLS, where it is asked for, is made at once. */
function talk<T>(
  parser: Parser<T>,
  bytes: Uint8Array,
  lengths: readonly number[] = [bytes.length || 1],
): Talk<T> {
  const intake = new Intake(parser);
  let said = new Uint8Array(0);
  let tls: TlsKind | undefined;
  for (const piece of pieces(bytes, lengths)) {
    let fed = intake.feed(piece);
    said = concat(said, fed.say);
    if (fed.tls !== undefined) {
      tls = fed.tls;
      fed = intake.afterTls();
      said = concat(said, fed.say);
    }
    if (fed.end !== undefined)
      return { said: toHex(said), value: fed.end.value, rest: toHex(fed.end.rest), tls };
  }
  return { said: toHex(said), value: undefined, rest: undefined, tls };
}

class Viewer {
  readonly screen = new Framebuffer();
  readonly findings: RfbServerFindings = { pointerIsAbsolute: undefined, extendedKeys: false };
  readonly updates: { readonly resized: boolean; readonly rows: RowRange[] }[] = [];
  readonly #intake: Intake<never>;

  constructor(width: number, height: number) {
    this.screen.resize(width, height);
    const onUpdate = (resized: boolean): void => {
      this.updates.push({ resized, rows: this.screen.takeChanges() });
    };
    this.#intake = new Intake(serverMessages(this.screen, this.findings, onUpdate));
  }

  feed(bytes: Uint8Array, lengths: readonly number[] = [bytes.length || 1]): this {
    for (const piece of pieces(bytes, lengths)) this.#intake.feed(piece);
    return this;
  }
}

/** What hostile bytes may do: nothing, or this one error. Anything else is rethrown. @returns the error's message. */
function refused(act: () => unknown): string | undefined {
  try {
    act();
    return undefined;
  } catch (error) {
    if (error instanceof SealttyError && error.code === "transport-lost") return error.message;
    throw error;
  }
}

describe("opening", () => {
  const lengths = [[1], [2, 3, 5], [1000]];
  const hello = toHex(VERSION);

  test.each(lengths)("without a password, in pieces of %i: version, None, shared", (...sizes) => {
    const { said, value, rest } = talk(opening(PLAIN), concat(opened(1280, 800)), sizes);
    expect(said).toBe(`${hello}0101`);
    expect(value).toEqual({ width: 1280, height: 800 });
    expect(rest).toBe("");
  });

  test("what comes behind it is kept, as a copy", () => {
    const bytes = concat(opened(8, 8), utf8("rest"));
    const { end } = new Intake(opening(PLAIN)).feed(bytes);
    bytes.fill(0);
    expect(end).toEqual({ value: { width: 8, height: 8 }, rest: utf8("rest") });
  });

  const challenge = Uint8Array.from({ length: 16 }, (_, i) => i * 11);
  const auth = concat(VERSION, Uint8Array.of(2, 2, 19), challenge, u32(0), screen(4, 4));
  test.each(lengths)("with a password, in pieces of %i", (...sizes) => {
    const { said, value } = talk(opening({ password: "secret", tls: "none" }), auth, sizes);
    expect(said).toBe(`${hello}02${toHex(vncResponse(utf8("secret"), challenge))}01`);
    expect(value).toEqual({ width: 4, height: 4 });
  });

  test("None is taken although there is a password: a challenge's answer can be guessed at", () => {
    const { said } = talk(
      opening({ password: "secret", tls: "any" }),
      concat(VERSION, Uint8Array.of(3, 19, 2, 1)),
    );
    expect(said).toBe(`${hello}01`);
  });

  const venCrypt = (...types: number[]): Uint8Array =>
    concat(VERSION, Uint8Array.of(1, 19, 0, 2, 0, types.length), ...types.map(u32), Uint8Array.of(1));
  const chosen = (type: number): string => `${hello}130002${toHex(u32(type))}`;

  test("VeNCrypt: TLS begins after the type, and the sign-in goes on inside", () => {
    const wishes: RfbOpening = { password: "secret", tls: "any" };
    const intake = new Intake(opening(wishes));
    const before = intake.feed(venCrypt(258, 261));
    expect(toHex(before.say)).toBe(chosen(261));
    expect(before.tls).toBe("certificate");
    expect(() => intake.feed(challenge)).toThrow("takes nothing");
    expect(intake.afterTls()).toEqual({ say: new Uint8Array(0) });
    expect(() => intake.afterTls()).toThrow("not asked for");
    expect(toHex(intake.feed(challenge).say)).toBe(toHex(vncResponse(utf8("secret"), challenge)));
    expect(intake.feed(concat(u32(0), screen(4, 4))).end?.value).toEqual({ width: 4, height: 4 });
  });

  test.each([
    [[262, 257], undefined, 257, "anonymous"],
    [[257, 260], undefined, 260, "certificate"],
    [[258, 257], undefined, 257, "anonymous"],
    [[258, 259], "secret", 258, "anonymous"],
  ] as const)("VeNCrypt: of %j with password %s takes %i", (types, password, type, tls) => {
    const wishes: RfbOpening = { tls: "any", ...(password === undefined ? {} : { password }) };
    const result = talk(opening(wishes), venCrypt(...types));
    expect(result.said).toBe(chosen(type));
    expect(result.tls).toBe(tls);
  });

  test("a password goes inside of TLS where there is TLS, although the server would take it in the clear", () => {
    const both = concat(VERSION, Uint8Array.of(2, 2, 19));
    expect(talk(opening({ password: "secret", tls: "any" }), both).said).toBe(`${hello}13`);
    expect(talk(opening({ password: "secret", tls: "none" }), both).said).toBe(`${hello}02`);
  });

  test("where a certificate is asked for nothing else is taken, and no challenge answered", () => {
    const wishes: RfbOpening = { password: "secret", tls: "certificate" };
    const all = concat(VERSION, Uint8Array.of(3, 1, 2, 19));
    expect(talk(opening(wishes), all).said).toBe(`${hello}13`);
    expect(talk(opening(wishes), venCrypt(257, 258, 261)).said).toBe(chosen(261));
    expect(talk(opening(wishes), venCrypt(258, 260)).tls).toBe("certificate");
    for (const list of [[1], [2], [1, 2]]) {
      const intake = new Intake(opening(wishes));
      expect(refused(() => intake.feed(concat(VERSION, Uint8Array.of(list.length, ...list))))).toContain(
        `offers no TLS, and a certificate of its was asked for (types ${list.join(", ")})`,
      );
    }
    expect(refused(() => talk(opening(wishes), venCrypt(257, 258)))).toContain(
      "TLS without a certificate alone",
    );
  });

  test("bytes in the clear behind the word for TLS are never taken for what comes inside of it", () => {
    const bytes = concat(venCrypt(257), u32(0), screen(4, 4));
    expect(refused(() => talk(opening({ tls: "any" }), bytes))).toContain("where TLS has to begin");
  });

  const types = (...list: number[]): Uint8Array => concat(VERSION, Uint8Array.of(list.length, ...list));
  test.each([
    ["no RFB", utf8("HTTP/1.1 400"), PLAIN, "does not speak RFB"],
    ["RFB 3.3", utf8("RFB 003.003\n"), PLAIN, "speaks RFB 3.3, and 3.8 is needed"],
    ["RFB 3.7", utf8("RFB 003.007\n"), PLAIN, "speaks RFB 3.7, and 3.8 is needed"],
    [
      "a refusal",
      concat(types(), words("busy\u0007\u001b[2J")),
      PLAIN,
      'refused the connection, and says "busy??[2J"',
    ],
    ["a refusal without words", concat(types(), u32(0)), PLAIN, "refused the connection."],
    ["password wanted", types(2), PLAIN, "wants a password, and none was given"],
    [
      "password wanted, and advice",
      types(2),
      { ...PLAIN, passwordAdvice: "say it" },
      "wants a password, and none was given: say it.",
    ],
    ["TLS wanted", types(19), PLAIN, "wants TLS inside RFB (VeNCrypt)"],
    ["other ways", types(16, 30, 255), { tls: "any", password: "x" }, "(types 16, 30, 255)"],
    [
      "a wrong password",
      concat(types(2), challenge, u32(1), words("no")),
      { tls: "none", password: "x" },
      'did not take the password, and says "no"',
    ],
    [
      "nobody let in",
      concat(types(1), u32(2), words("too many")),
      PLAIN,
      'let nobody in, and says "too many"',
    ],
    ["VeNCrypt 0.1", concat(types(19), Uint8Array.of(0, 1)), { tls: "any" }, "that is not 0.2"],
    ["VeNCrypt 1.2", concat(types(19), Uint8Array.of(1, 2)), { tls: "any" }, "that is not 0.2"],
    ["0.2 not taken", concat(types(19), Uint8Array.of(0, 2, 1)), { tls: "any" }, "does not take version 0.2"],
    [
      "no type of VeNCrypt",
      concat(types(19), Uint8Array.of(0, 2, 0, 0)),
      { tls: "any" },
      "by VeNCrypt that are not known",
    ],
    ["password inside TLS", venCrypt(258), { tls: "any" }, "wants a password, and none was given"],
    ["TLS that does not begin", venCrypt(257).fill(0, 22), { tls: "any" }, "does not begin TLS"],
    [
      "a long name",
      concat(types(1), u32(0), screen(4, 4, "", MAX_RFB_NAME + 1)),
      PLAIN,
      "a name that is too long",
    ],
    [
      "the longest name",
      concat(types(1), u32(0), screen(4, 4, "", 2 ** 32 - 1)),
      PLAIN,
      "a name that is too long",
    ],
    ["a long reason", concat(types(), u32(MAX_RFB_REASON + 1)), PLAIN, "refused the connection."],
    ["the longest reason", concat(types(), u32(2 ** 32 - 1)), PLAIN, "refused the connection."],
  ] as const)("%s is refused in words", (_, bytes, wishes, problem) => {
    for (const sizes of lengths)
      expect(refused(() => talk(opening(wishes), bytes, sizes))).toContain(problem);
  });

  test("the longest fields that are allowed are taken", () => {
    const name = "n".repeat(MAX_RFB_NAME);
    const bytes = concat(
      VERSION,
      Uint8Array.of(255, ...Array.from({ length: 254 }, () => 77), 1),
      u32(0),
      screen(4, 4, name),
    );
    for (const sizes of lengths)
      expect(talk(opening(PLAIN), bytes, sizes).value).toEqual({ width: 4, height: 4 });
    const reason = concat(VERSION, u8s(0), words("w".repeat(MAX_RFB_REASON)));
    expect(refused(() => talk(opening(PLAIN), reason, [7]))).toContain(`"${"w".repeat(200)}…"`);
    const many = concat(
      VERSION,
      Uint8Array.of(1, 19, 0, 2, 0, 255),
      ...Array.from({ length: 255 }, () => u32(257)),
    );
    expect(talk(opening({ tls: "any" }), many, [100]).said).toBe(chosen(257));
  });

  test("half of it, cut anywhere, is waited for", () => {
    const bytes = opened(4, 4);
    for (let length = 0; length < bytes.length; length++)
      expect(talk(opening(PLAIN), bytes.slice(0, length), [5]).value, `${length}`).toBeUndefined();
  });

  test("versions above 3.8, Apple's among them, are answered with ours", () => {
    for (const version of ["003.009", "003.889", "004.001", "005.000"])
      expect(talk(opening(PLAIN), utf8(`RFB ${version}\n`)).said).toBe(hello);
  });

  test(`whatever comes, it ends in order or in transport-lost, seed ${seed}`, () => {
    const starts = fc.constantFrom(
      new Uint8Array(0),
      VERSION,
      types(1),
      concat(types(1), u32(0)),
      concat(types(2), challenge),
      concat(types(19), Uint8Array.of(0, 2, 0)),
      concat(types(0), u32(3)),
    );
    fc.assert(
      fc.property(
        starts,
        fc.uint8Array({ maxLength: 80 }),
        fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 }),
        (start, noise, sizes) => {
          refused(() => talk(opening({ password: "x", tls: "any" }), concat(start, noise), sizes));
        },
      ),
      { seed, numRuns: 1000 },
    );
  });
});

function u8s(...values: number[]): Uint8Array {
  return Uint8Array.of(...values);
}

describe("client messages", () => {
  test("have the layouts of RFC 6143 and rfbproto", () => {
    const hex = (spaced: string): string => spaced.replaceAll(" ", "");
    expect(toHex(setPixelFormat())).toBe(hex("00 000000 20180001 00ff00ff00ff 100800 000000"));
    expect(toHex(setEncodings())).toBe(hex("02 00 0004 00000000 ffffff21 fffffeff fffffefe"));
    expect(toHex(updateRequest(true, 1280, 800))).toBe(hex("03 01 0000 0000 0500 0320"));
    expect(toHex(updateRequest(false, 1, 2))).toBe(hex("03 00 0000 0000 0001 0002"));
    const move = { kind: "pointer", buttons: 5, x: 258, y: 65_535 } as const;
    expect(toHex(inputMessage(move, true))).toBe(hex("05 05 0102 ffff"));
    const key = { kind: "key", down: true, scancode: 0x1e, keysym: 0x61 } as const;
    expect(toHex(inputMessage(key, false))).toBe(hex("04 01 0000 00000061"));
    expect(toHex(inputMessage(key, true))).toBe(hex("ff 00 0001 00000000 0000001e"));
    expect(toHex(inputMessage(POKE, true))).toBe(hex("ff 00 0000 00000000 00000058"));
    expect(toHex(inputMessage(POKE, false))).toBe(hex("04 00 0000 0000ffc9"));
  });

  test.each([
    { kind: "pointer", buttons: 256, x: 0, y: 0 },
    { kind: "pointer", buttons: 0, x: -1, y: 0 },
    { kind: "pointer", buttons: 0, x: 0, y: 65_536 },
    { kind: "pointer", buttons: 0, x: 0.5, y: 0 },
    { kind: "key", down: true, scancode: 0, keysym: 1 },
    { kind: "key", down: true, scancode: 256, keysym: 1 },
    { kind: "key", down: true, scancode: 1, keysym: 0 },
    { kind: "key", down: true, scancode: 1, keysym: 2 ** 32 },
    { kind: "key", down: true, scancode: Number.NaN, keysym: 1 },
  ] as const)("%j does not fit", (input) => {
    for (const extended of [true, false])
      expect(() => inputMessage(input, extended)).toThrow(expect.objectContaining({ code: "api-misuse" }));
  });
});

describe("server messages", () => {
  const random = seeded(seed);

  test("a picture comes as it was sent, byte by byte as well", () => {
    const pixels = random.bytes(5 * 3 * 3);
    const whole = new Viewer(5, 3).feed(update(raw(0, 0, 5, 3, pixels)));
    const single = new Viewer(5, 3).feed(update(raw(0, 0, 5, 3, pixels)), [1]);
    for (const viewer of [whole, single]) {
      expect(toHex(viewer.screen.pixels)).toBe(toHex(pixels));
      expect(toHex(viewer.screen.row(1))).toBe(toHex(pixels.slice(15, 30)));
      expect(viewer.updates).toEqual([{ resized: false, rows: [{ from: 0, to: 3 }] }]);
    }
  });

  test("rows that changed are told once, neighbours together, at the end of an update", () => {
    const viewer = new Viewer(4, 10);
    const line = (y: number, height = 1) => raw(1, y, 2, height, random.bytes(6 * height));
    const bytes = update(line(7), line(1, 2), line(3), line(9));
    viewer.feed(bytes.subarray(0, -1));
    expect(viewer.updates).toEqual([]);
    viewer
      .feed(bytes.subarray(-1))
      .feed(update())
      .feed(update(line(0)));
    expect(viewer.updates.map(({ rows }) => rows)).toEqual([
      [
        { from: 1, to: 4 },
        { from: 7, to: 8 },
        { from: 9, to: 10 },
      ],
      [],
      [{ from: 0, to: 1 }],
    ]);
  });

  test("what a server can do is found out, and changes", () => {
    const viewer = new Viewer(4, 4);
    const said = (encoding: number, x = 0): Rect => ({ x, y: 0, width: 4, height: 4, encoding });
    expect(viewer.findings).toEqual({ pointerIsAbsolute: undefined, extendedKeys: false });
    viewer.feed(update(said(-257, 1), said(-258)));
    expect(viewer.findings).toEqual({ pointerIsAbsolute: true, extendedKeys: true });
    viewer.feed(update(said(-257, 0)));
    expect(viewer.findings).toEqual({ pointerIsAbsolute: false, extendedKeys: true });
  });

  test("bell, clipboard and colours are passed over", () => {
    const viewer = new Viewer(2, 1);
    const pixels = random.bytes(6);
    const between = concat(
      u8s(2),
      cutText(5, utf8("hello")),
      cutText(0),
      colourMap(0),
      colourMap(2, random.bytes(12)),
    );
    for (const sizes of [[1], [3, 4], [1000]])
      viewer.feed(concat(between, update(raw(0, 0, 2, 1, pixels)), between), sizes);
    expect(viewer.updates.length).toBe(3);
    expect(toHex(viewer.screen.pixels)).toBe(toHex(pixels));
  });

  test("the longest clipboard and colour map that are allowed are passed over, none of it held", () => {
    const viewer = new Viewer(1, 1);
    viewer.feed(
      concat(
        cutText(MAX_RFB_CUT_TEXT, new Uint8Array(MAX_RFB_CUT_TEXT)),
        colourMap(65_535, new Uint8Array(6 * 65_535)),
      ),
      [60_000],
    );
    expect(viewer.feed(update()).updates.length).toBe(1);
  });

  test("a new size within an update: rectangles before it go by the old one, those behind by the new", () => {
    const viewer = new Viewer(4, 4);
    const pixels = random.bytes(6 * 3);
    viewer.feed(update(raw(3, 3, 1, 1, random.bytes(3)), desktopSize(6, 1), raw(0, 0, 6, 1, pixels)));
    expect([viewer.screen.width, viewer.screen.height]).toEqual([6, 1]);
    expect(toHex(viewer.screen.pixels)).toBe(toHex(pixels));
    expect(viewer.updates).toEqual([{ resized: true, rows: [{ from: 0, to: 1 }] }]);
    expect(refused(() => viewer.feed(update(raw(3, 3, 1, 1, random.bytes(3)))))).toContain(
      "outside its screen",
    );
  });

  const side = MAX_RFB_SIDE;
  test.each([
    ["a type that is not asked for", u8s(4), "(type 4)"],
    ["QEMU's audio", u8s(255), "(type 255)"],
    ["the longest clipboard", cutText(2 ** 32 - 1), "clipboard that is too long"],
    ["a long clipboard", cutText(MAX_RFB_CUT_TEXT + 1), "clipboard that is too long"],
    ["Hextile", update({ x: 0, y: 0, width: 1, height: 1, encoding: 5 }), "(5)"],
    ["Tight", update({ x: 0, y: 0, width: 1, height: 1, encoding: 7 }), "(7)"],
    ["CopyRect", update({ x: 0, y: 0, width: 1, height: 1, encoding: 1 }), "(1)"],
    ["a cursor", update({ x: 0, y: 0, width: 1, height: 1, encoding: -239 }), "(-239)"],
    ["ExtendedDesktopSize", update({ x: 0, y: 0, width: 1, height: 1, encoding: -308 }), "(-308)"],
    [
      "the least encoding",
      update({ x: 0, y: 0, width: 1, height: 1, encoding: -(2 ** 31) }),
      "(-2147483648)",
    ],
    ["too wide", update(raw(0, 0, 5, 1, new Uint8Array(15))), "outside its screen"],
    ["too far right", update(raw(4, 0, 1, 1, new Uint8Array(3))), "outside its screen"],
    ["too high", update(raw(0, 0, 1, 5, new Uint8Array(15))), "outside its screen"],
    ["too far down", update(raw(0, 4, 1, 1, new Uint8Array(3))), "outside its screen"],
    [
      "all of 16 bits",
      update({ x: 65_535, y: 65_535, width: 65_535, height: 65_535, encoding: 0 }),
      "outside its screen",
    ],
    ["empty, outside", update({ x: 5, y: 0, width: 0, height: 0, encoding: 0 }), "outside its screen"],
    ["size 0 × 1", update(desktopSize(0, 1)), "without any pixels"],
    ["size 1 × 0", update(desktopSize(1, 0)), "without any pixels"],
    ["size 65535 × 65535", update(desktopSize(65_535, 65_535)), "too large"],
    ["a side too long", update(desktopSize(side + 1, 1)), "too large"],
    ["the other too long", update(desktopSize(1, side + 1)), "too large"],
    ["too many pixels", update(desktopSize(side, MAX_RFB_PIXELS / side + 1)), "too large"],
  ] as const)("%s is refused in words", (_, bytes, problem) => {
    for (const sizes of [[1], [1000]])
      expect(refused(() => new Viewer(4, 4).feed(bytes, sizes))).toContain(problem);
  });

  test("rectangles without pixels, and as many rectangles as a count can say, are taken", () => {
    const empty = { x: 4, y: 4, width: 0, height: 0, encoding: 0 };
    const flat = { x: 0, y: 0, width: 4, height: 0, encoding: 0 };
    const viewer = new Viewer(4, 4).feed(update(empty, flat, raw(0, 0, 1, 1, random.bytes(3))));
    expect(viewer.updates).toEqual([{ resized: false, rows: [{ from: 0, to: 1 }] }]);
    const count = 65_535;
    const head = concat(u8s(0, 0), u16(count));
    const many = new Uint8Array(12 * count);
    viewer.feed(concat(head, many.subarray(0, -1)));
    expect(viewer.updates.length).toBe(1);
    viewer.feed(many.subarray(-1));
    expect(viewer.updates.length).toBe(2);
  });

  test("a storm of sizes allocates nothing, and the largest picture no more than its bound", () => {
    const viewer = new Viewer(1, 1);
    const two = concat(updateRects(desktopSize(4096, 4096)), updateRects(desktopSize(1, 1)));
    const storm = new Uint8Array(two.length * 32_767);
    for (let i = 0; i < 32_767; i++) storm.set(two, i * two.length);
    viewer.feed(concat(u8s(0, 0), u16(65_534), storm));
    expect(viewer.screen.pixels.buffer.byteLength).toBe(3);
    const stores = new Set<ArrayBufferLike>();
    for (let height = 1; height < MAX_RFB_SIDE; height++) {
      viewer.feed(update(desktopSize(1, height), raw(0, height - 1, 1, 1, random.bytes(3))));
      expect(viewer.screen.pixels.buffer.byteLength).toBeLessThan(Math.max(4, 2 * 3 * height));
      stores.add(viewer.screen.pixels.buffer);
    }
    expect(stores.size).toBe(1 + Math.log2(MAX_RFB_SIDE)); // doubled each time, not one for each size
    viewer.feed(update(desktopSize(4096, 4096), raw(4095, 4095, 1, 1, u8s(1, 2, 3))));
    expect(viewer.screen.pixels.buffer.byteLength).toBe(3 * MAX_RFB_PIXELS);
    expect([...viewer.screen.row(4095).slice(-3)]).toEqual([1, 2, 3]);
    expect(() => viewer.screen.row(4096)).toThrow("outside");
    expect(() => viewer.screen.row(-1)).toThrow("outside");
  });
});

const updateRects = (rectangle: Rect): Uint8Array => update(rectangle).slice(4);

/** A server that keeps to the rules, beside what it should look like. */
type Act =
  | { readonly kind: "update"; readonly rects: readonly Drawn[] }
  | { readonly kind: "bell" }
  | { readonly kind: "cut"; readonly length: number }
  | { readonly kind: "colours"; readonly count: number };
/** As parts of the screen that there is by then: 0 to 1. */
type Drawn =
  | {
      readonly kind: "raw";
      readonly x: number;
      readonly y: number;
      readonly w: number;
      readonly h: number;
      readonly seed: number;
    }
  | { readonly kind: "size"; readonly width: number; readonly height: number }
  | { readonly kind: "pointer"; readonly absolute: boolean }
  | { readonly kind: "keys" };

const part = fc.double({ min: 0, max: 1, noNaN: true });
const small = fc.integer({ min: 1, max: 24 });
const drawn: fc.Arbitrary<Drawn> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("raw" as const),
      x: part,
      y: part,
      w: part,
      h: part,
      seed: fc.nat(),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("size" as const), width: small, height: small }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("pointer" as const), absolute: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("keys" as const) }) },
);
const act: fc.Arbitrary<Act> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constant("update" as const), rects: fc.array(drawn, { maxLength: 6 }) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("bell" as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("cut" as const), length: fc.nat({ max: 40 }) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("colours" as const), count: fc.nat({ max: 5 }) }) },
);
const acts = fc.array(act, { maxLength: 8 });
const cuts = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 12 });

class Model {
  width = 16;
  height = 12;
  /** Undefined: never sent at this size. */
  rows: (number[] | undefined)[][] = this.#blank();
  updates: { resized: boolean; rows: number[] }[] = [];
  absolute: boolean | undefined;

  bytesOf(step: Act): Uint8Array {
    if (step.kind === "bell") return u8s(2);
    if (step.kind === "cut") return cutText(step.length, new Uint8Array(step.length));
    if (step.kind === "colours") return colourMap(step.count, new Uint8Array(6 * step.count));
    let resized = false;
    const touched = new Set<number>();
    const rects = step.rects.map((one): Rect => {
      if (one.kind === "pointer") {
        this.absolute = one.absolute;
        return { x: one.absolute ? 1 : 0, y: 0, width: this.width, height: this.height, encoding: -257 };
      }
      if (one.kind === "keys") return { x: 0, y: 0, width: this.width, height: this.height, encoding: -258 };
      if (one.kind === "size") {
        [this.width, this.height] = [one.width, one.height];
        this.rows = this.#blank();
        touched.clear();
        resized = true;
        return desktopSize(one.width, one.height);
      }
      const x = Math.floor(one.x * this.width);
      const y = Math.floor(one.y * this.height);
      const width = Math.round(one.w * (this.width - x));
      const height = Math.round(one.h * (this.height - y));
      const pixels = seeded(one.seed).bytes(3 * width * height);
      for (let i = 0; i < width * height; i++) {
        const row = y + Math.floor(i / width);
        touched.add(row);
        (this.rows[row] as unknown[])[x + (i % width)] = [...pixels.slice(3 * i, 3 * i + 3)];
      }
      return raw(x, y, width, height, pixels);
    });
    this.updates.push({ resized, rows: [...touched].sort((a, b) => a - b) });
    return update(...rects);
  }

  #blank(): (number[] | undefined)[][] {
    return Array.from({ length: this.height }, () => Array.from({ length: this.width }, () => undefined));
  }
}

function expectSame(viewer: Viewer, model: Model): void {
  expect([viewer.screen.width, viewer.screen.height]).toEqual([model.width, model.height]);
  expect(viewer.findings.pointerIsAbsolute).toBe(model.absolute);
  model.rows.forEach((row, y) => {
    const bytes = viewer.screen.row(y);
    expect(bytes.length).toBe(3 * model.width);
    row.forEach((pixel, x) => {
      if (pixel !== undefined) expect([...bytes.slice(3 * x, 3 * x + 3)], `${x},${y}`).toEqual(pixel);
    });
  });
  const told = viewer.updates.map(({ resized, rows }) => ({
    resized,
    rows: rows.flatMap(({ from, to }) => Array.from({ length: to - from }, (_, i) => from + i)),
  }));
  expect(told).toEqual(model.updates);
}

describe(`properties, seed ${seed}`, () => {
  test("whatever a server draws, and however it is cut, the framebuffer has it", () => {
    fc.assert(
      fc.property(acts, cuts, (steps, sizes) => {
        const model = new Model();
        const bytes = concat(...steps.map((step) => model.bytesOf(step)));
        expectSame(new Viewer(16, 12).feed(bytes, sizes), model);
      }),
      { seed, numRuns: 300 },
    );
  });

  test("one byte changed, put in or left out anywhere: transport-lost or a picture, never anything else", () => {
    const change = fc.record({
      at: part,
      value: fc.integer({ min: 0, max: 255 }),
      how: fc.constantFrom("set", "insert", "drop"),
    });
    fc.assert(
      fc.property(acts, cuts, change, (steps, sizes, { at, value, how }) => {
        const model = new Model();
        const bytes = concat(...steps.map((step) => model.bytesOf(step)));
        const place = Math.floor(at * bytes.length);
        const behind = bytes.slice(how === "insert" ? place : place + 1);
        const changed = concat(
          bytes.slice(0, place),
          how === "drop" ? new Uint8Array(0) : u8s(value),
          behind,
        );
        const viewer = new Viewer(16, 12);
        refused(() => viewer.feed(changed, sizes));
        expect(viewer.screen.pixels.buffer.byteLength).toBeLessThanOrEqual(3 * MAX_RFB_PIXELS);
      }),
      { seed, numRuns: 400 },
    );
  });

  test("noise: the same", () => {
    const starts = fc.constantFrom(
      u8s(),
      u8s(0, 0, 0, 1),
      u8s(0, 0, 255, 255, 0, 0, 0, 0),
      u8s(3, 0, 0, 0),
      u8s(1),
    );
    fc.assert(
      fc.property(starts, fc.uint8Array({ maxLength: 200 }), cuts, (start, noise, sizes) => {
        const viewer = new Viewer(16, 12);
        refused(() => viewer.feed(concat(start, noise), sizes));
        for (const { rows } of viewer.updates) for (const { from, to } of rows) expect(from).toBeLessThan(to);
      }),
      { seed, numRuns: 1000 },
    );
  });
});
