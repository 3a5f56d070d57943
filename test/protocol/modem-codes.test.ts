// What the modem draws and presses, piece by piece: bytes to pixels, symbols to events and back, docs/vnc-modem.md.

import { readFileSync } from "node:fs";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { concat, toHex, utf8 } from "../../protocol/bytes.ts";
import { BitReader, BitWriter, type SymbolWidth } from "../../protocol/modem/bits.ts";
import {
  type Beacon,
  decodeBeacon,
  decodeSlot,
  decodeStatus,
  encodeBeacon,
  encodeSlot,
  encodeStatus,
} from "../../protocol/modem/blocks.ts";
import {
  AbsoluteReader,
  type DeviceReader,
  KeyReader,
  PacketReader,
  RelativeReader,
  ScanCodeReader,
} from "../../protocol/modem/device-reader.ts";
import { DEVICES } from "../../protocol/modem/devices.ts";
import {
  isPossible,
  layoutFor,
  pictureWidth,
  rowBytes,
  type ScreenSize,
  slotBytes,
} from "../../protocol/modem/geometry.ts";
import { KEY_WIDTH, keySymbol, SAFE_KEYS, START_KEY } from "../../protocol/modem/key-coding.ts";
import { lookForBeacon, type Picture } from "../../protocol/modem/picture.ts";
import { encodeRows, paletteCells } from "../../protocol/modem/pixels.ts";
import {
  AbsoluteSender,
  absoluteValue,
  absoluteWidth,
  RELATIVE_WIDTH,
  RelativeSender,
  relativeSymbol,
} from "../../protocol/modem/pointer-coding.ts";
import { encodeUp, UpDecoder, type UpEvent, type UpFrame } from "../../protocol/modem/up-frames.ts";
import { ManualClock } from "../support/clocks.ts";
import { seeded, testSeed } from "../support/seeded.ts";
import { record, SimulatedDisplay } from "../support/simulated-vnc.ts";

const nonce = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);
const SIZES: readonly ScreenSize[] = [
  { format: "rgb888", width: 1280, height: 800 },
  { format: "rgb888", width: 1366, height: 768 },
  { format: "rgb888", width: 640, height: 480 },
  { format: "rgb565", width: 1024, height: 768 },
  { format: "cells8", width: 80, height: 25 },
  { format: "cells4", width: 80, height: 25 },
  { format: "cells8", width: 160, height: 50 },
  { format: "cells4", width: 133, height: 44 },
];
const nameOf = ({ format, width, height }: ScreenSize): string => `${format} ${width}x${height}`;
const layoutOf = (size: ScreenSize) => {
  const layout = layoutFor(size);
  if (layout === undefined) throw new Error("too small");
  return layout;
};
const beaconOf = (size: ScreenSize): Beacon => ({
  nonce,
  size,
  layout: layoutOf(size),
  device: "virtio-tablet",
});

/** A display that shows whatever was written, at once after `show`. */
function shown(size: ScreenSize, cell?: readonly [number, number]) {
  const clock = new ManualClock();
  const display = new SimulatedDisplay(clock, seeded(1), size, cell === undefined ? {} : { cell });
  const screen = display.guestScreen();
  const cells = size.format.startsWith("cells");
  const beacon = encodeRows(size, encodeBeacon(beaconOf(size)));
  screen.writeRows(0, cells ? concat(paletteCells(), beacon) : beacon);
  return {
    screen,
    picture: () => {
      display.touched();
      clock.advance(31);
      return display.picture();
    },
  };
}

describe("pixels and cells", () => {
  test.each(SIZES.map((size) => [nameOf(size), size] as const))(
    "%s: a beacon is found, and any slot reads back as it was drawn",
    (_, size) => {
      const { screen, picture } = shown(size);
      const layout = layoutOf(size);
      const sight = lookForBeacon(picture());
      expect(sight).toMatchObject({ kind: "beacon", beacon: beaconOf(size) });
      if (sight.kind !== "beacon") return;
      fc.assert(
        fc.property(
          fc.uint8Array({ maxLength: slotBytes(size, layout) }),
          fc.nat({ max: layout.slots - 1 }),
          (bytes, slot) => {
            const row = layout.top + slot * layout.rowsPerSlot;
            screen.writeRows(row, encodeRows(size, bytes));
            expect(sight.view.bytes(picture(), row, bytes.length)).toEqual(bytes);
          },
        ),
        { numRuns: 25, seed: testSeed() },
      );
      expect(isPossible(size, layout)).toBe(true);
      expect(sight.view.bytes(picture(), size.height, rowBytes(size))).toBeUndefined();
    },
  );

  test.each([
    [8, 16],
    [8, 14],
    [8, 8],
    [12, 24],
  ] as const)("cells of %i by %i pixels are recognised", (width, height) => {
    const { picture } = shown({ format: "cells8", width: 80, height: 25 }, [width, height]);
    expect(lookForBeacon(picture()).kind).toBe("beacon");
  });

  test("a picture that was scaled up is told from one without a beacon, and carries nothing", () => {
    const { picture } = shown({ format: "rgb888", width: 640, height: 480 });
    const small = picture();
    for (const [width, height] of [
      [1280, 960],
      [1920, 1440],
      [1024, 768],
    ] as const)
      expect(lookForBeacon(resized(small, width, height))).toEqual({ kind: "scaled" });
    expect(lookForBeacon({ ...small, pixels: seeded(5).bytes(small.pixels.length) })).toEqual({
      kind: "nothing",
    });
    expect(lookForBeacon({ width: 0, height: 0, pixels: new Uint8Array(0) })).toEqual({ kind: "nothing" });
  });

  test("a beacon in a picture of another size is cut", () => {
    const { picture } = shown({ format: "rgb888", width: 640, height: 480 });
    const whole = picture();
    const pixels = whole.pixels.subarray(0, whole.width * 400 * 3);
    expect(lookForBeacon({ width: whole.width, height: 400, pixels })).toEqual({ kind: "cut" });
  });

  test("in the guest's memory bytes stand as the document says", () => {
    const bytes = Uint8Array.of(0xab, 0xcd, 0xef);
    const of = (format: ScreenSize["format"]) => [...encodeRows({ format, width: 640, height: 480 }, bytes)];
    expect(of("rgb888")).toEqual([0xab, 0xcd, 0xef, 0]); // blue, green, red, unused
    expect(of("rgb565")).toEqual([0xcd, 0xab, 0, 0xef]);
    expect(of("cells8")).toEqual([0xdc, 0xab, 0xdc, 0xcd, 0xdc, 0xef]);
    expect(of("cells4")).toEqual(
      [0xa0, 0xb0, 0xc0, 0xd0, 0xe0, 0xf0].flatMap((attribute) => [0x20, attribute]),
    );
    expect([...paletteCells()].filter((_, i) => i % 2 === 1)).toEqual(
      Array.from({ length: 16 }, (_, i) => i * 16),
    );
  });

  test("screens without room for slots have no layout", () => {
    expect(layoutFor({ format: "rgb888", width: 320, height: 40 })).toBeUndefined();
    expect(layoutFor({ format: "cells8", width: 40, height: 25 })).toBeUndefined();
    expect(layoutFor({ format: "cells4", width: 80, height: 8 })).toBeUndefined();
  });
});

function resized(picture: Picture, width: number, height: number): Picture {
  const pixels = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const from =
        (Math.floor(((y + 0.5) * picture.height) / height) * picture.width +
          Math.floor(((x + 0.5) * picture.width) / width)) *
        3;
      pixels.set(picture.pixels.subarray(from, from + 3), (y * width + x) * 3);
    }
  }
  return { width, height, pixels };
}

describe("blocks", () => {
  const size: ScreenSize = { format: "rgb888", width: 1280, height: 800 };
  const slot = { number: 70_000, expected: 513, payload: seeded(2).bytes(90) };
  const status = { epoch: 7, base: 3, released: 70_000, heard: 4_000_000_000, expected: 9, spoiled: 65_535 };

  test("what was drawn decodes; with any bit changed it does not, nor under another nonce", () => {
    const other = Uint8Array.from(nonce, (byte) => byte + 1);
    const blocks = [
      { bytes: encodeBeacon(beaconOf(size)), decode: decodeBeacon, value: beaconOf(size) },
      {
        bytes: encodeStatus(status, nonce),
        decode: (bytes: Uint8Array) => decodeStatus(bytes, nonce),
        value: status,
      },
      {
        bytes: encodeSlot(slot, nonce),
        decode: (bytes: Uint8Array) => decodeSlot(bytes, nonce),
        value: slot,
      },
    ];
    for (const { bytes, decode, value } of blocks) {
      expect(decode(bytes)).toEqual(value);
      for (let bit = 0; bit < bytes.length * 8; bit++) {
        const changed = bytes.slice();
        changed[bit >>> 3] = (changed[bit >>> 3] as number) ^ (1 << (bit & 7));
        expect(decode(changed), `bit ${bit}`).toBeUndefined();
      }
      for (let length = 0; length < bytes.length; length++)
        expect(decode(bytes.subarray(0, length)), `length ${length}`).toBeUndefined();
    }
    expect(decodeStatus(encodeStatus(status, nonce), other)).toBeUndefined();
    expect(decodeSlot(encodeSlot(slot, nonce), other)).toBeUndefined();
  });

  test("a slot that is half of one and half of another is neither", () => {
    const older = encodeSlot({ ...slot, payload: seeded(3).bytes(90) }, nonce);
    const newer = encodeSlot(slot, nonce);
    for (
      let cut = 13;
      cut < newer.length;
      cut++ // the heads are the same but for their sums
    )
      expect(decodeSlot(concat(newer.subarray(0, cut), older.subarray(cut)), nonce)).toBeUndefined();
  });

  test("a beacon whose slots do not fit is none", () => {
    const layout = { top: 8, rowsPerSlot: 30, slots: 32 };
    expect(decodeBeacon(encodeBeacon({ ...beaconOf(size), layout }))).toBeUndefined();
    expect(
      decodeBeacon(encodeBeacon({ ...beaconOf(size), layout: { ...layout, slots: 0 } })),
    ).toBeUndefined();
  });

  test("no device has another's code, a batch beyond its queue, or a first rung that is not there", () => {
    const all = Object.values(DEVICES);
    expect(new Set(all.map(({ code }) => code)).size).toBe(all.length);
    for (const { rungs, start, coding } of all) {
      expect(rungs[start]).toBeDefined();
      for (const { batch } of rungs) expect(batch).toBeLessThanOrEqual(coding === "relative" ? 4 : 10);
      for (const [index, { batch, every }] of rungs.entries()) {
        const before = rungs[index - 1];
        if (before !== undefined) expect(batch / every / (before.batch / before.every)).toBeCloseTo(2);
      }
    }
  });
});

describe("symbols", () => {
  const widths: readonly SymbolWidth[] = [
    { start: 17, bits: 17 },
    { start: 19, bits: 19 },
    { start: 23, bits: 23 },
    RELATIVE_WIDTH,
    KEY_WIDTH,
  ];
  const context = { nonce, epoch: 77 };
  const frames = fc.oneof(
    fc.record({
      kind: fc.constant("data" as const),
      number: fc.nat({ max: 0xffff }),
      ack: fc.nat({ max: 255 }),
      payload: fc.uint8Array({ minLength: 1, maxLength: 64 }),
    }),
    fc.record({ kind: fc.constant("ack" as const), ack: fc.nat({ max: 255 }) }),
    fc.record({ kind: fc.constant("reset" as const), epoch: fc.integer({ min: 1, max: 0xffff }) }),
  );
  const expectedFor = (frame: UpFrame): number => (frame.kind === "data" ? frame.number : 0);

  test("bits go in and come out in order", () =>
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), fc.constantFrom(...widths), (bytes, width) => {
        const reader = new BitReader();
        for (const { start, value } of new BitWriter().bytes(bytes).symbols(width))
          reader.push(value, start ? width.start : width.bits);
        expect(reader.bytes(bytes.length)).toEqual(bytes);
      }),
      { seed: testSeed() },
    ));

  test("a frame comes out as it went in, at any width", () =>
    fc.assert(
      fc.property(
        fc.array(frames, { minLength: 1, maxLength: 5 }),
        fc.constantFrom(...widths),
        (all, width) => {
          const decoder = new UpDecoder(width);
          for (const frame of all) {
            const events = encodeUp(frame, context, width).flatMap((symbol) =>
              decoder.push(symbol, context, expectedFor(frame)),
            );
            expect(events).toEqual([frame]);
          }
        },
      ),
      { seed: testSeed() },
    ));

  test("a symbol lost, doubled or changed never makes another frame of data, and the next frame is whole", () =>
    fc.assert(
      fc.property(
        frames.filter(({ kind }) => kind === "data"),
        fc.constantFrom(...widths),
        fc.nat(),
        fc.constantFrom("lost", "doubled", "changed"),
        (frame, width, where, how) => {
          const symbols = encodeUp(frame, context, width);
          const at = where % symbols.length;
          const hit = symbols[at];
          if (hit === undefined || (how === "changed" && hit.start && width.start === 0)) return;
          // Of the last symbol only the highest bit is sure to be a frame's.
          const top = 2 ** ((hit.start ? width.start : width.bits) - 1);
          const value = hit.value >= top ? hit.value - top : hit.value + top;
          if (how === "lost") symbols.splice(at, 1);
          else if (how === "doubled") symbols.splice(at, 0, hit);
          else symbols[at] = { ...hit, value };
          const decoder = new UpDecoder(width);
          const events: UpEvent[] = [];
          for (const symbol of [...symbols, ...encodeUp(frame, context, width)])
            events.push(...decoder.push(symbol, context, expectedFor(frame)));
          const whole = events.filter(({ kind }) => kind === "data");
          for (const event of whole) expect(event).toEqual(frame);
          expect(events.at(-1)).toEqual(frame);
        },
      ),
      { seed: testSeed(), numRuns: 500 },
    ));

  test("another epoch's frames are spoiled", () => {
    const width = { start: 19, bits: 19 };
    const frame = { kind: "data", number: 1, ack: 2, payload: nonce } as const;
    const decoder = new UpDecoder(width);
    const events = encodeUp(frame, { nonce, epoch: 78 }, width).flatMap((symbol) =>
      decoder.push(symbol, context, 1),
    );
    expect(events).toEqual([{ kind: "spoiled" }]);
  });

  test.each([
    [24, { start: 19, bits: 19 }, 13],
    [64, { start: 19, bits: 19 }, 30],
    [24, KEY_WIDTH, 43],
    [64, KEY_WIDTH, 96],
    [24, RELATIVE_WIDTH, 14],
  ])("%i bytes take as many events as the prototype's", (length, width, events) => {
    const frame = { kind: "data", number: 0, ack: 0, payload: new Uint8Array(length) } as const;
    expect(encodeUp(frame, context, width)).toHaveLength(events);
  });
});

describe("events", () => {
  const surfaces = [
    [1280, 800],
    [1024, 768],
    [800, 600],
    [720, 400],
    [640, 480],
    [1376, 768],
    [1920, 1080],
  ] as const;

  test.each(surfaces)("%i by %i: every position comes back from what QEMU makes of it", (width, height) => {
    const surface = { width, height };
    const rows = 2 ** Math.floor(Math.log2(height));
    for (let x = 0; x < 2 ** Math.floor(Math.log2(width)); x++) {
      const y = x % rows;
      const value = absoluteValue(Math.floor((x * 32767) / width), Math.floor((y * 32767) / height), surface);
      expect(value).toBe(x * rows + y);
    }
    for (let y = 0; y < rows; y++)
      expect(absoluteValue(0, Math.floor((y * 32767) / height), surface)).toBe(y);
    expect(absoluteValue(32767, 0, surface)).toBeUndefined();
    expect(absoluteValue(-5000, 0, surface)).toBeUndefined();
  });

  test("an absolute pointer says each symbol by turning its clock, and starts with the right button", () => {
    const surface = { width: 1280, height: 800 };
    expect(absoluteWidth(surface)).toEqual({ start: 19, bits: 19 });
    const sender = new AbsoluteSender(surface);
    const events = [true, false, false].flatMap((start, i) => sender.events({ start, value: 512 * 3 + i }));
    expect(events).toEqual([
      { kind: "pointer", x: 3, y: 0, mask: 5 },
      { kind: "pointer", x: 3, y: 1, mask: 0 },
      { kind: "pointer", x: 3, y: 2, mask: 1 },
    ]);
    expect(sender.resync().map(({ events }) => events)).toMatchObject([[{ mask: 7 }], [{ mask: 0 }]]);
    expect(sender.events({ start: false, value: 0 })).toMatchObject([{ mask: 1 }]);
    expect(sender.guard()).toMatchObject([{ mask: 3 }]);
    expect(sender.events({ start: false, value: 1 })).toMatchObject([{ mask: 2 }]);
    expect(sender.events({ start: true, value: 1 })).toMatchObject([{ mask: 5 }]); // never all three
  });

  test("a relative pointer has a motion for each symbol, never none, none beyond a packet's", () => {
    const sender = new RelativeSender();
    const seen = new Set<string>();
    for (const start of [true, false]) {
      for (let motion = 0; motion < 2 ** (start ? 14 : 15); motion++) {
        const value = motion * 8 + (motion % 8);
        const event = sender.events({ start, value })[0];
        if (event?.kind !== "pointer") throw new Error("not a pointer event");
        const [dx, dy] = [event.x - 0x7fff, event.y - 0x7fff];
        expect(Math.max(Math.abs(dx), Math.abs(dy))).toBeLessThanOrEqual(127);
        seen.add(`${dx},${dy}`);
        expect(relativeSymbol(dx, dy, event.mask)).toEqual({ start, value });
      }
    }
    expect(seen.size).toBe(2 ** 14 + 2 ** 15);
    expect(seen.has("0,0")).toBe(false);
    expect(relativeSymbol(127, 127, 0)).toBeUndefined();
  });

  test("keys are 64 and one, and none of them does anything but type", () => {
    expect(SAFE_KEYS).toHaveLength(64);
    const keys = [...SAFE_KEYS, START_KEY];
    expect(new Set(keys).size).toBe(65);
    // Escape, Backspace, Tab, Enter, Ctrl, Shift, Print/SysRq, Alt, Space, locks, F11, F12, and all with a prefix (96 and above).
    const others = [1, 14, 15, 28, 29, 42, 54, 55, 56, 57, 58, 69, 70, 84, 87, 88];
    for (const code of keys) {
      expect(others).not.toContain(code);
      expect(code).toBeLessThan(96);
    }
    for (const [value, code] of SAFE_KEYS.entries()) expect(keySymbol(code)).toEqual({ start: false, value });
    for (const code of others) expect(keySymbol(code)).toBeUndefined();
  });
});

describe("readers", () => {
  const bytesOf = (...records: number[][]): Uint8Array => Uint8Array.from(records.flat());
  const report = record(0, 0, 0);

  test("a tablet's report without a turned clock is somebody's hand; one with all three buttons begins anew", () => {
    const reader = new AbsoluteReader([{ width: 1280, height: 800 }]);
    const move = bytesOf(record(3, 0, 100), record(3, 1, 200), report);
    expect(reader.push(move)).toEqual([]);
    expect(reader.push(bytesOf(record(1, 0x110, 1), record(1, 0x111, 1), report))).toEqual([
      { kind: "symbol", symbols: [{ start: true, value: 4 * 512 + 5 }] },
    ]);
    expect(reader.push(bytesOf(record(1, 0x112, 1), report))).toEqual([{ kind: "gap" }]);
    const released = bytesOf(record(1, 0x110, 0), record(1, 0x111, 0), record(1, 0x112, 0), report);
    expect(reader.push(released)).toEqual([]);
    expect(reader.push(bytesOf(record(1, 0x112, 1), report))).toEqual([]); // a guard
  });

  test("after SYN_DROPPED everything up to the next report is left out", () => {
    const reader = new AbsoluteReader([{ width: 1280, height: 800 }]);
    const dropped = bytesOf(record(0, 3, 0), record(1, 0x110, 1), report);
    expect(reader.push(dropped)).toEqual([{ kind: "gap" }]);
    expect(reader.push(bytesOf(record(3, 0, 500), record(1, 0x110, 0), report))).toHaveLength(1);
  });

  test("a mouse's packets are found again after half of one", () => {
    const reader = new PacketReader();
    const packet = (dx: number, dy: number): number[] => [
      8 | (dx < 0 ? 16 : 0) | (dy > 0 ? 32 : 0),
      dx & 255,
      -dy & 255,
    ];
    const symbol = (dx: number, dy: number) => ({ kind: "symbol", symbols: [relativeSymbol(dx, dy, 0)] });
    expect(reader.push(bytesOf(packet(5, -7), packet(-3, 0)), 0)).toEqual([symbol(5, -7), symbol(-3, 0)]);
    expect(reader.push(bytesOf(packet(1, 1).slice(0, 2)), 10)).toEqual([]);
    expect(reader.push(bytesOf(packet(9, 9)), 60)).toEqual([{ kind: "gap" }, symbol(9, 9)]);
    expect(reader.push(bytesOf([1, 2], packet(4, 4)), 61)).toEqual([
      { kind: "gap" },
      { kind: "gap" },
      symbol(4, 4),
    ]);
  });

  test("a mouse behind psmouse says a symbol in each report", () => {
    const moved = bytesOf(record(2, 0, 5), record(2, 1, -7), record(1, 0x112, 1), report);
    expect(new RelativeReader().push(moved)).toEqual([
      { kind: "symbol", symbols: [relativeSymbol(5, -7, 2)] },
    ]);
  });

  test("keys count when they change, or when they go down; never when they repeat", () => {
    const bytes = bytesOf(record(1, 30, 1), record(1, 30, 2), record(1, 30, 0), record(1, 29, 1), report);
    expect(new KeyReader("toggle").push(bytes)).toHaveLength(2);
    expect(new KeyReader("tap").push(bytes)).toHaveLength(1);
    expect(new ScanCodeReader().push(Uint8Array.of(30, 0x9e, 0xe0, 30, 0xe1, 30, 31, 80))).toEqual([
      { kind: "symbol", symbols: [keySymbol(30)] },
      { kind: "symbol", symbols: [keySymbol(30)] },
      { kind: "symbol", symbols: [{ start: true, value: 0 }] },
    ]);
  });

  test("whatever a host sends, however it is cut: the same symbols, and no error", () => {
    const readers: readonly (() => DeviceReader)[] = [
      () =>
        new AbsoluteReader([
          { width: 1280, height: 800 },
          { width: 720, height: 400 },
        ]),
      () => new RelativeReader(),
      () => new PacketReader(),
      () => new KeyReader("toggle"),
      () => new ScanCodeReader(),
    ];
    const records = fc
      .array(
        fc.tuple(
          fc.nat({ max: 5 }),
          fc.oneof(fc.nat({ max: 100 }), fc.integer({ min: 0x10f, max: 0x113 })),
          fc.integer(),
        ),
        { maxLength: 40 },
      )
      .map((all) => bytesOf(...all.map(([type, code, value]) => record(type, code, value | 0))));
    fc.assert(
      fc.property(
        fc.constantFrom(...readers),
        fc.oneof(records, fc.uint8Array({ maxLength: 500 })),
        fc.nat({ max: 500 }),
        (make, bytes, cut) => {
          const reader = make();
          const parts = [...reader.push(bytes.subarray(0, cut), 0), ...reader.push(bytes.subarray(cut), 0)];
          expect(parts).toEqual(make().push(bytes, 0));
        },
      ),
      { seed: testSeed(), numRuns: 300 },
    );
  });

  test("a picture's width is a multiple of 16", () => {
    expect([1366, 1280, 1].map(pictureWidth)).toEqual([1376, 1280, 16]);
  });
});

describe("docs/vnc-modem.md", () => {
  const text = readFileSync(new URL("../../docs/vnc-modem.md", import.meta.url), "utf8");
  const lines = text.split("\n").map((line) => line.trim());

  test("has these bytes of beacon, status and slot", () => {
    expect(lines).toContain(toHex(encodeBeacon(beaconOf({ format: "rgb888", width: 1280, height: 800 }))));
    expect(lines).toContain(
      toHex(encodeStatus({ epoch: 7, base: 3, released: 5, heard: 40, expected: 2, spoiled: 1 }, nonce)),
    );
    expect(lines).toContain(toHex(encodeSlot({ number: 5, expected: 2, payload: utf8("hi") }, nonce)));
  });

  test.each<UpFrame>([
    { kind: "data", number: 2, ack: 6, payload: utf8("hi") },
    { kind: "ack", ack: 6 },
    { kind: "reset", epoch: 7 },
  ])("has these symbols of $kind", (frame) => {
    for (const width of [{ start: 19, bits: 19 }, RELATIVE_WIDTH, KEY_WIDTH]) {
      const symbols = encodeUp(frame, { nonce, epoch: 7 }, width);
      expect(lines).toContain(symbols.map(({ value }) => value).join(" "));
    }
  });

  test("has these devices and keys", () => {
    for (const [device, { code, coding, rungs, start, ackDelay }] of Object.entries(DEVICES)) {
      const paces = rungs.map(({ batch, every }) => `${batch}/${every}`);
      const ack = ackDelay === 0 ? "at once" : `after ${ackDelay} ms`;
      expect(lines).toContain(
        `| \`${device}\` | ${code} | ${coding} | ${paces.join(", ")} | ${paces[start]} | ${ack} |`,
      );
    }
    expect(lines).toContain(SAFE_KEYS.slice(0, 36).join(" "));
    expect(lines).toContain(SAFE_KEYS.slice(36).join(" "));
  });
});
