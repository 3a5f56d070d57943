// A session's screen on its way to a client that comes late: a guest and clients in memory, a ring that is long over.

import * as fc from "fast-check";
import { expect, test } from "vitest";
import { concat, u16, u32, u64, u8, utf8 } from "../../protocol/bytes.ts";
import { MAX_SCREEN_BYTES, MAX_SCREEN_LINES } from "../../protocol/limits.ts";
import type { Guest } from "../../protocol/session/api.ts";
import type { ScreenInfo, SessionChannel } from "../../protocol/session/session-api.ts";
import {
  dataRecord,
  gapRecord,
  RecordReader,
  screenHead,
  textRecord,
} from "../../protocol/session/session-records.ts";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { ScreenState } from "../../server/screen/screen-state.ts";
import { fastClock } from "../support/clocks.ts";
import { reachGuest } from "../support/reach.ts";
import { nearThreads } from "../support/screen-thread.ts";
import { echoProcess, SESSION_LIMITS, testGuest } from "../support/session.ts";

const SIZE = { columns: 80, rows: 24 };
const LOGIN = { kind: "login", term: "xterm", ...SIZE } as const;

/** @param factor - of the clock: more than 1 only where a thread is to hang. */
function world(factor = 1) {
  const clock = fastClock(factor);
  const threads = nearThreads();
  const guest = testGuest(clock, {}, echoProcess, nodeSuite, SESSION_LIMITS, threads.start);
  const reach = async (): Promise<Guest> => (await reachGuest(guest, clock)).guest;
  return { guest, threads, reach };
}

/** A client's terminal: what it was told, and what it shows. */
function viewer(channel: SessionChannel) {
  const told: (ScreenInfo | { readonly lost: number })[] = [];
  let state = new ScreenState(SIZE.columns, SIZE.rows);
  channel.onGap = (lost) => told.push({ lost });
  channel.onScreen = (screen) => {
    told.push(screen);
    state = new ScreenState(screen.columns, screen.rows);
  };
  let read = 0; // bytes, a screen's included
  const readOn = async (): Promise<boolean> => {
    const chunk = await channel.stdout.read();
    if (chunk === undefined) return false;
    state.feed(chunk);
    read += chunk.length;
    channel.stdout.consumed(chunk.length);
    return true;
  };
  return {
    told,
    readOn,
    read: () => read,
    until: async (offset: number): Promise<void> => {
      while (channel.nextOffset < offset && (await readOn()));
    },
    text: (lines = MAX_SCREEN_LINES) => Buffer.from(state.snapshot(lines).text).toString(),
  };
}

/** @param screenLines - null: no screen. */
const attachTo = ({ session }: SessionChannel, screenLines: number | null = MAX_SCREEN_LINES) => ({
  session,
  mode: "read-write" as const,
  from: 0,
  ...SIZE,
  ...(screenLines === null ? {} : { screenLines }),
});

/** Printed by the session's program, all of it taken by the session. */
async function print(
  guest: ReturnType<typeof world>["guest"],
  user: Guest,
  text: string,
): Promise<Uint8Array> {
  const bytes = utf8(text);
  const process = guest.processes[0];
  for (let at = 0; at < bytes.length; at += 16 * 1024) process?.print(bytes.slice(at, at + 16 * 1024));
  process?.finish({ kind: "exited", status: 0 });
  for (;;) {
    const [session] = await user.listSessions(proofs);
    if (session?.running === false) return bytes;
  }
}
let proofs: SessionChannel["session"][] = [];

async function late(script: string) {
  const own = world();
  const first = await own.reach();
  const one = await first.openSession({ request: LOGIN });
  proofs = [one.session];
  await one.detach();
  const bytes = await print(own.guest, first, script);
  const reference = new ScreenState(SIZE.columns, SIZE.rows);
  reference.feed(bytes);
  return {
    ...own,
    first,
    one,
    bytes,
    reference: Buffer.from(reference.snapshot(MAX_SCREEN_LINES).text).toString(),
  };
}

const LINES = Array.from({ length: 20_000 }, (_, index) => `\x1b[3${index % 8}mline ${index}\x1b[m\r\n`).join(
  "",
);

test("20,000 lines, a ring of a few: who comes late has the screen and 10,000 lines above it, and no gap", async () => {
  const { first, one, bytes, reference } = await late(`${LINES}$ `);
  const two = await first.attach(attachTo(one));
  expect(two).toMatchObject({ lost: 0, nextOffset: 0, replayEnd: bytes.length });
  const seen = viewer(two);
  await seen.until(bytes.length);
  expect(seen.told).toEqual([{ begin: 0, end: bytes.length, ...SIZE, lines: MAX_SCREEN_LINES, cut: 0 }]);
  expect(seen.text()).toBe(reference);
  expect(await two.exit).toEqual({ kind: "exited", status: 0 });
  await first.close();
});

test("an editor on the other screen, with its modes, in the middle of a sequence", async () => {
  const editor =
    "\x1b[?1049h\x1b[?1h\x1b=\x1b[?2004h\x1b[?1002h\x1b[?1006h\x1b[1;23r\x1b[2J\x1b[1;1H~ file\x1b[24;1H-- INSERT --\x1b[3;7H\x1b[38;5;";
  const { first, one, bytes, reference } = await late(`${LINES}${editor}`);
  const seen = viewer(await first.attach(attachTo(one, 100)));
  await seen.until(bytes.length);
  expect(seen.told).toMatchObject([{ lines: 100, cut: 0 }]);
  expect(reference.endsWith("\x1b[38;5;")).toBe(true);
  expect(seen.text(0)).toBe(reference.slice(reference.indexOf("\x1b[0;31mline 19977")));
  await first.close();
});

test("who asks for no screen is told of the gap, as ever", async () => {
  const { first, one, bytes } = await late(LINES);
  const two = await first.attach(attachTo(one, null));
  expect(two.lost).toBe(bytes.length - SESSION_LIMITS.ringBytes);
  const seen = viewer(two);
  await seen.until(bytes.length);
  expect(seen.told).toEqual([]);
  await first.close();
});

test("output that the ring still has comes as it was, whatever screen was asked for", async () => {
  const { first, one, bytes, threads } = await late("a short one\r\n");
  const seen = viewer(await first.attach(attachTo(one)));
  await seen.until(bytes.length);
  expect(seen.told).toEqual([]);
  expect(seen.read()).toBe(bytes.length);
  expect(threads.started).toBe(0);
  await first.close();
});

test("a keeper that hangs costs the screen: the gap is told, all that the ring has comes, the session lives", async () => {
  const own = world(20);
  const first = await own.reach();
  const one = await first.openSession({ request: LOGIN });
  proofs = [one.session];
  await one.detach();
  own.threads.hang();
  const bytes = await print(own.guest, first, LINES);
  const two = await first.attach(attachTo(one));
  const seen = viewer(two);
  await seen.until(bytes.length);
  expect(seen.told).toEqual([{ lost: bytes.length - SESSION_LIMITS.ringBytes }]);
  expect(own.guest.log).toContain("the keeper of a session's screen is ended: it hangs");
  expect(await two.exit).toEqual({ kind: "exited", status: 0 });
  await first.close();
});

test("who leaves in the middle of a screen gets all of it at the next attachment", async () => {
  const { first, one, bytes, reference } = await late(LINES);
  const two = await first.attach(attachTo(one));
  const seen = viewer(two);
  while (seen.read() < 1000) await seen.readOn();
  expect(two.nextOffset).toBe(0);
  const three = await first.attach({ ...attachTo(one), after: two });
  const again = viewer(three);
  await again.until(bytes.length);
  expect(again.told).toHaveLength(1);
  expect(again.text()).toBe(reference);
  await first.close();
});

test("a killed session's screen is gone with it", async () => {
  const { first, one, threads } = await late(LINES);
  expect(threads).toMatchObject({ started: 1, ended: 0 });
  expect(await first.killSession(one.session)).toBe(true);
  expect(threads.ended).toBe(1);
  await first.close();
});

test("records: data, gaps and screens come apart in every chunking", () => {
  const info = fc.record({
    begin: fc.nat(2 ** 40),
    more: fc.nat(2 ** 40),
    columns: fc.integer({ min: 1, max: 10_000 }),
    rows: fc.integer({ min: 1, max: 10_000 }),
    lines: fc.nat(MAX_SCREEN_LINES),
    cut: fc.nat(MAX_SCREEN_LINES),
  });
  const bytes = fc.uint8Array({ minLength: 1, maxLength: 40 });
  const record = fc.oneof(
    bytes.map((data) => ({ data })),
    fc.integer({ min: 1, max: 2 ** 50 }).map((lost) => ({ lost })),
    fc
      .tuple(info, bytes)
      .map(([{ more, ...rest }, text]) => ({ screen: { ...rest, end: rest.begin + more }, text })),
  );
  fc.assert(
    fc.property(fc.array(record), fc.infiniteStream(fc.integer({ min: 1, max: 50 })), (records, cuts) => {
      const stream = concat(
        ...records.map((each) => {
          if ("data" in each) return dataRecord(each.data);
          if ("lost" in each) return gapRecord(each.lost);
          const half = each.text.length >> 1;
          const text = [each.text.subarray(0, half), each.text.subarray(half)].filter(
            ({ length }) => length > 0,
          );
          return concat(screenHead(each.screen, each.text.length), ...text.map(textRecord));
        }),
      );
      const reader = new RecordReader();
      const seen: Seen[] = [];
      let heads = 0;
      for (let at = 0; at < stream.length; ) {
        const length = cuts.next().value ?? 1;
        const pushed = reader.push(stream.subarray(at, at + length));
        at += length;
        heads += pushed.heads;
        for (const part of pushed.parts) {
          if (part.kind === "gap") seen.push({ lost: part.lost });
          else if (part.kind === "screen") seen.push({ screen: part.screen });
          else if (part.kind === "data") seen.push({ data: [...part.bytes] });
          else seen.push({ text: [...part.bytes] });
        }
      }
      const expected = records.flatMap((each): Seen[] => {
        if ("data" in each) return [{ data: [...each.data] }];
        if ("lost" in each) return [each];
        return [{ screen: each.screen }, { text: [...each.text] }];
      });
      expect(joined(seen)).toEqual(joined(expected));
      expect(reader.whole).toBe(true);
      expect(heads).toBe(records.reduce((sum, each) => sum + headsOf(each), 0));
    }),
  );
});

function headsOf(record: object): number {
  if ("data" in record) return 3;
  if ("text" in record) return 33 + 3 * ((record.text as Uint8Array).length > 1 ? 2 : 1);
  return 9;
}

type Seen =
  | { readonly data: number[] }
  | { readonly text: number[] }
  | { readonly lost: number }
  | { readonly screen: ScreenInfo };

/** Neighbouring pieces of the same kind as one. */
function joined(all: readonly Seen[]): Seen[] {
  const out: Seen[] = [];
  for (const each of all) {
    const last = out.at(-1);
    if (last !== undefined && "data" in each && "data" in last) last.data.push(...each.data);
    else if (last !== undefined && "text" in each && "text" in last) last.text.push(...each.text);
    else out.push(structuredClone(each));
  }
  return out;
}

const head = (
  own: Partial<Record<"begin" | "end" | "columns" | "rows" | "lines" | "cut" | "length", number>>,
) => {
  const all = { begin: 0, end: 1, ...SIZE, lines: 0, cut: 0, length: 1, ...own };
  return concat(
    u8(2),
    u64(all.begin),
    u64(all.end),
    u16(all.columns),
    u16(all.rows),
    u32(all.lines),
    u32(all.cut),
    u32(all.length),
  );
};

test.each([
  ["begin behind its end", head({ begin: 2 })],
  ["no columns", head({ columns: 0 })],
  ["no rows", head({ rows: 0 })],
  ["too many columns", head({ columns: 10_001 })],
  ["too many lines", head({ lines: MAX_SCREEN_LINES + 1 })],
  ["too much cut", head({ cut: 2 ** 31 })],
  ["no text", head({ length: 0 })],
  ["too much text", head({ length: MAX_SCREEN_BYTES + 1 })],
  [
    "an end that is no number here",
    concat(u8(2), u64(0), new Uint8Array(8).fill(0xff), new Uint8Array(16).fill(1)),
  ],
])("a screen with %s is refused", (_why, bytes) => {
  expect(() => new RecordReader().push(bytes)).toThrow(/impossible screen/);
  expect(new RecordReader().push(head({})).parts).toHaveLength(1);
});

test("text belongs to a screen, and nothing else comes before all of it", () => {
  const reader = () => {
    const made = new RecordReader();
    made.push(concat(head({ length: 5 }), textRecord(utf8("abc"))));
    return made;
  };
  expect(() => new RecordReader().push(textRecord(utf8("a")))).toThrow(/no screen's/);
  expect(() => reader().push(textRecord(utf8("abc")))).toThrow(/no screen's/);
  expect(() => reader().push(concat(u8(3), u16(0)))).toThrow(/no screen's/);
  for (const other of [dataRecord(utf8("x")), gapRecord(1), head({})])
    expect(() => reader().push(other)).toThrow(/before a screen is whole/);
  expect(reader().push(concat(textRecord(utf8("de")), dataRecord(utf8("x")))).parts).toMatchObject([
    { kind: "text", left: 0 },
    { kind: "data" },
  ]);
});

test("detached in the middle of a screen: the stream ends between two records, and the session runs on", async () => {
  const own = world();
  const first = await own.reach();
  const one = await first.openSession({ request: LOGIN });
  own.guest.processes[0]?.print(utf8(LINES));
  const other = await own.reach();
  const two = await other.attach({ ...attachTo(one), mode: "read-only" });
  const seen = viewer(one);
  while (one.nextOffset < LINES.length && (await seen.readOn()));
  const three = await other.attach(attachTo(one));
  const late = viewer(three);
  while (late.read() < 1000) await late.readOn();
  await Promise.all([
    three.detach(),
    (async () => {
      while (await late.readOn());
    })(),
  ]);
  expect(await three.ended).toEqual({ kind: "detached", by: "request" });
  await two.detach().catch(() => undefined);
  expect(own.guest.processes[0]?.events).toEqual([]);
  await first.close();
  await other.close();
});
