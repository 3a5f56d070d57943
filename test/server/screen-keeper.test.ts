// The keeper of a session's screen: what its thread is given and when, and that a thread that hangs, dies or talks nonsense
// costs the screen and nothing else.

import type { ResourceLimits } from "node:worker_threads";
import { afterAll, expect, test } from "vitest";
import { concat, utf8 } from "../../protocol/bytes.ts";
import { MAX_SCREEN_BYTES } from "../../protocol/limits.ts";
import { ByteRing } from "../../protocol/streams/byte-ring.ts";
import type { Clock } from "../../protocol/clock.ts";
import { nodeClock } from "../../node/clock.ts";
import type { ScreenAnswer, ScreenOrder, ScreenStart } from "../../server/screen/messages.ts";
import { MAX_VISIBLE_CELLS } from "../../server/screen/screen-state.ts";
import { screenThreadFile, screenThreads } from "../../server/screen/start-thread.ts";
import {
  ScreenKeeper,
  type ScreenThreadEvents,
  type StartScreenThread,
} from "../../server/sessions/screen-keeper.ts";
import { fastClock, ManualClock } from "../support/clocks.ts";

const SIZE = { columns: 80, rows: 24 };
const SNAPSHOT = { ...SIZE, lines: 1, cut: 0, text: utf8("the screen") };

class FakeThread {
  readonly start: ScreenStart;
  readonly events: ScreenThreadEvents;
  readonly orders: ScreenOrder[] = [];
  answered = 0;
  ended = false;

  constructor(start: ScreenStart, events: ScreenThreadEvents) {
    this.start = start;
    this.events = events;
  }
  get output(): Uint8Array {
    return concat(...this.orders.flatMap((order) => (order.type === "feed" ? [order.output] : [])));
  }
  answer(answer: ScreenAnswer = { type: "done" }): void {
    this.answered++;
    this.events.answered(answer);
  }
  answerAll(snapshot = SNAPSHOT): void {
    while (this.answered < this.orders.length && !this.ended)
      this.answer(
        this.orders[this.answered]?.type === "snapshot" ? { type: "snapshot", snapshot } : { type: "done" },
      );
  }
}

function world(ringBytes = 1000, size = SIZE, instead?: StartScreenThread) {
  const ring = new ByteRing();
  const clock = new ManualClock();
  const threads: FakeThread[] = [];
  const log: string[] = [];
  let room = true;
  let changes = 0;
  const startThread: StartScreenThread = (start, events) => {
    if (!room) return undefined;
    const thread = new FakeThread(start, events);
    threads.push(thread);
    return {
      post: (order) => thread.orders.push(order),
      end: () => {
        thread.ended = true;
      },
    };
  };
  const keeper = new ScreenKeeper({
    ring,
    clock,
    ...size,
    startThread: instead ?? startThread,
    log: (event) => log.push(event),
    onChange: () => changes++,
  });
  /** As a session takes it. */
  const print = (bytes: Uint8Array): void => {
    keeper.keep(ring.end + bytes.length - ringBytes);
    ring.dropBelow(ring.end + bytes.length - ringBytes);
    ring.append(bytes);
  };
  return {
    ring,
    clock,
    threads,
    log,
    keeper,
    print,
    allowThreads: (allowed: boolean) => {
      room = allowed;
    },
    changes: () => changes,
  };
}

const numbers = (from: number, to: number) =>
  Uint8Array.from({ length: to - from }, (_, index) => (from + index) % 251);

test("no thread before something leaves the ring; then it has all of it, from the first byte on", async () => {
  const { threads, keeper, print } = world();
  print(numbers(0, 1000));
  expect(threads).toHaveLength(0);
  print(numbers(1000, 1400));
  print(numbers(1400, 2000));
  const [thread] = threads;
  expect(thread?.start).toEqual(SIZE);
  expect(thread?.output).toEqual(numbers(0, thread?.output.length ?? 0));
  expect(thread?.output.length).toBeGreaterThanOrEqual(1000);
  const screen = keeper.screen(7);
  expect(thread?.output).toEqual(numbers(0, 2000));
  expect(thread?.orders.at(-1)).toEqual({ type: "snapshot", lines: 7 });
  thread?.answerAll();
  expect(await screen).toEqual({ begin: 0, end: 2000, ...SNAPSHOT });
  expect(threads).toHaveLength(1);
});

test("sizes stand between the bytes where they changed; of very many some are left out, the last never", async () => {
  const { ring, threads, keeper, print } = world();
  keeper.resized(100, 30);
  print(numbers(0, 600));
  keeper.resized(90, 20);
  print(numbers(600, 900));
  keeper.resized(70, 10);
  print(numbers(900, 1700));
  void keeper.screen(0);
  expect(threads[0]?.start).toEqual({ columns: 100, rows: 30 });
  const orders = (threads[0]?.orders ?? []).map((order) =>
    order.type === "feed"
      ? order.output.length
      : order.type === "size"
        ? `${order.columns}x${order.rows}`
        : "ask",
  );
  const fed = orders.map((order) => (typeof order === "number" ? order : 0));
  const before = (size: string) =>
    fed.slice(0, orders.indexOf(size)).reduce((sum, length) => sum + length, 0);
  expect([before("90x20"), before("70x10"), before("ask")]).toEqual([600, 900, 1700]);
  for (let columns = 10; columns < 400; columns++) keeper.resized(columns, 5);
  void keeper.screen(1);
  const sizes = (threads[0]?.orders ?? []).filter((order) => order.type === "size");
  expect(sizes.at(-1)).toMatchObject({ columns: 399 });
  expect(sizes.length).toBeLessThan(70);
  expect(ring.end).toBe(1700);
});

test("who asks while an answer is under way gets the same one; each asks for its own number of lines", async () => {
  const { threads, keeper, print } = world();
  print(numbers(0, 1000));
  print(numbers(1000, 1500));
  const one = keeper.screen(5);
  expect(keeper.screen(5)).toBe(one);
  const other = keeper.screen(6);
  expect(other).not.toBe(one);
  threads[0]?.answerAll();
  expect(await one).toMatchObject({ end: 1500 });
  expect(await other).toMatchObject({ end: 1500 });
  expect(threads[0]?.orders.filter(({ type }) => type === "snapshot")).toHaveLength(2);
});

test("a thread that hangs is ended, whoever waits is told, and the next one begins behind what ended it", async () => {
  const { clock, threads, log, keeper, print } = world();
  print(numbers(0, 1000));
  print(numbers(1000, 1500));
  const screen = keeper.screen(5);
  clock.advance(9000);
  threads[0]?.answer(); // each answer begins the wait anew
  clock.advance(9000);
  expect(threads[0]?.ended).toBe(false);
  clock.advance(1500);
  expect(threads[0]?.ended).toBe(true);
  expect(await screen).toBeUndefined();
  expect(log).toEqual(["the keeper of a session's screen is ended: it hangs"]);
  threads[0]?.answer({ type: "snapshot", snapshot: SNAPSHOT }); // late, of a thread that is gone
  print(numbers(1500, 1600));
  expect(await keeper.screen(5)).toBeUndefined(); // the ring has all that it could have, and more
  print(numbers(1600, 2500));
  print(numbers(2500, 2700));
  const again = keeper.screen(5);
  threads[1]?.answerAll();
  expect(await again).toMatchObject({ begin: 1500, end: 2700 });
  expect(threads[1]?.output).toEqual(numbers(1500, 2700));
});

test("a thread that was just started has a minute to say its first word, on a machine that is slow", async () => {
  const { clock, threads, keeper, print } = world();
  print(numbers(0, 1000));
  print(numbers(1000, 1500));
  const screen = keeper.screen(5);
  clock.advance(59_000);
  expect(threads[0]?.ended).toBe(false);
  clock.advance(1001);
  expect(threads[0]?.ended).toBe(true);
  expect(await screen).toBeUndefined();
});

test("a session that ends three threads gets no other; its output never waits for one", async () => {
  const { threads, keeper, print } = world();
  for (let lost = 1; lost <= 5; lost++) {
    print(numbers(0, 1000));
    print(numbers(0, 1000));
    threads.at(-1)?.events.gone("failed (ERR_WORKER_OUT_OF_MEMORY)");
    expect(threads).toHaveLength(Math.min(lost, 3));
  }
  expect(await keeper.screen(5)).toBeUndefined();
  expect(threads.every(({ ended }) => ended)).toBe(true);
  expect(keeper.full).toBe(false);
});

test("where no thread can be started there is no screen; after three tries none is tried", async () => {
  let tries = 0;
  const { keeper, print, log } = world(1000, SIZE, () => {
    tries++;
    throw Object.assign(new Error("no process is left"), { code: "ERR_WORKER_INIT_FAILED" });
  });
  for (let piece = 0; piece < 10; piece++) print(numbers(0, 1000));
  expect(await keeper.screen(5)).toBeUndefined();
  expect(keeper.full).toBe(false);
  expect(tries).toBe(3);
  expect(log).toEqual(
    Array(3).fill("the keeper of a session's screen is ended: it cannot be started (ERR_WORKER_INIT_FAILED)"),
  );
});

test("a thread that could not be started takes nobody's place", () => {
  const start = screenThreads("no-path.js", 1); // the engine throws at once, as where no process is left
  for (let tries = 0; tries < 2; tries++)
    expect(() => start(SIZE, { answered: () => {}, gone: () => {} })).toThrow(/no-path/);
});

test("the program waits while four MiB are not parsed, and no longer than the thread lives", () => {
  const { clock, threads, keeper, print, changes } = world(64 * 1024);
  const piece = new Uint8Array(64 * 1024);
  for (let written = 0; !keeper.full; written++) {
    expect(written).toBeLessThan(100);
    print(piece);
  }
  const before = changes();
  threads[0]?.answer();
  expect(keeper.full).toBe(false);
  expect(changes()).toBeGreaterThan(before);
  print(piece);
  expect(keeper.full).toBe(true);
  clock.advance(10_001);
  expect(keeper.full).toBe(false);
});

test("of a large ring the thread is never more than four MiB behind, so that asking it stays cheap", () => {
  const { threads, keeper, print } = world(32 * 1024 * 1024);
  for (let at = 0; at < 160; at++) {
    print(new Uint8Array(64 * 1024));
    threads[0]?.answerAll();
  }
  const fed = threads[0]?.output.length ?? 0;
  expect(160 * 64 * 1024 - fed).toBeLessThanOrEqual(4.2 * 1024 * 1024);
  void keeper.screen(0);
});

test("answers that cannot be are no screen; an answer to nothing ends the thread", async () => {
  const { threads, keeper, print } = world();
  print(numbers(0, 1000));
  print(numbers(1000, 1500));
  const screen = keeper.screen(5);
  threads[0]?.answerAll({ ...SNAPSHOT, text: new Uint8Array(MAX_SCREEN_BYTES + 1) });
  expect(await screen).toBeUndefined();
  expect(threads[0]?.ended).toBe(false);
  threads[0]?.answer();
  expect(threads[0]?.ended).toBe(true);
});

test("too many threads, or a screen beyond all bounds: no screen, and one again later", async () => {
  const { threads, keeper, print, allowThreads } = world();
  allowThreads(false);
  print(numbers(0, 1000));
  print(numbers(1000, 1500));
  expect(await keeper.screen(5)).toBeUndefined();
  allowThreads(true);
  keeper.resized(10_000, MAX_VISIBLE_CELLS / 10_000 + 1);
  print(numbers(1500, 1600));
  expect(await keeper.screen(5)).toBeUndefined();
  expect(threads.every(({ ended }) => ended)).toBe(true);
  keeper.resized(80, 24);
  print(numbers(1600, 2500));
  print(numbers(2500, 2700));
  const screen = keeper.screen(5);
  threads.at(-1)?.answerAll();
  expect(await screen).toMatchObject({ begin: 1600, end: 2700 });
});

test("at the session's end nothing of it stays", async () => {
  const { threads, keeper, print } = world();
  print(numbers(0, 1000));
  print(numbers(1000, 1500));
  const screen = keeper.screen(5);
  keeper.end();
  expect(threads[0]?.ended).toBe(true);
  expect(await screen).toBeUndefined();
  print(numbers(1500, 3500));
  expect(await keeper.screen(5)).toBeUndefined();
  expect(threads).toHaveLength(1);
});

// From here on with the real thread.

const keepers: ScreenKeeper[] = [];
afterAll(() => {
  for (const keeper of keepers) keeper.end();
});

function realWorld(ringBytes = 64 * 1024, size = SIZE, clock: Clock = nodeClock, memory?: ResourceLimits) {
  const file = screenThreadFile();
  if (file === undefined) throw new Error("npm run build makes dist/bin/sealttyd-screen.js");
  const ring = new ByteRing();
  const log: string[] = [];
  let wake: () => void = () => {};
  const keeper = new ScreenKeeper({
    ring,
    clock,
    ...size,
    startThread: screenThreads(file, 1, memory),
    log: (event) => {
      log.push(event);
      wake();
    },
    onChange: () => wake(),
  });
  keepers.push(keeper);
  const print = (bytes: Uint8Array): void => {
    for (let at = 0; at < bytes.length; at += ringBytes) {
      const part = bytes.subarray(at, at + ringBytes);
      keeper.keep(ring.end + part.length - ringBytes);
      ring.dropBelow(ring.end + part.length - ringBytes);
      ring.append(part);
    }
  };
  const untilLogged = async (): Promise<void> => {
    while (log.length === 0) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  };
  return { ring, keeper, print, log, untilLogged };
}

test("the thread's screen: lines above it, a flood of plain text, and a second answer", async () => {
  const { keeper, print, ring } = realWorld();
  for (let at = 0; at < 40; at++) print(utf8(`line ${at}\r\n`.repeat(4000)));
  const screen = await keeper.screen(100);
  expect(screen).toMatchObject({ begin: 0, end: ring.end, ...SIZE, lines: 100, cut: 0 });
  const text = Buffer.from(screen?.text ?? []).toString();
  expect(text.split("\r\n").slice(0, -1)).toEqual(Array.from({ length: 123 }, () => "line 39"));
  print(utf8("\x1b[?1049h\x1b[2Jeditor"));
  expect(Buffer.from((await keeper.screen(0))?.text ?? []).toString()).toMatch(/\?1047h.*editor/s);
});

test("a thread that runs out of its memory is gone, and said to be; the next one goes on", async () => {
  const { keeper, print, log, untilLogged, ring } = realWorld(64 * 1024, SIZE, nodeClock, {
    maxOldGenerationSizeMb: 24,
  });
  // Cells with a string of their own each: no limit of ours counts these.
  const marks = utf8(`\x1b[H${`e${"\u0301".repeat(400)}`.repeat(1920)}`);
  for (let at = 0; at < 400 && log.length === 0; at++) {
    print(marks);
    while (keeper.full && log.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    if (at % 4 === 0) print(utf8("\x1b[24H\r\n".repeat(24)));
  }
  await untilLogged();
  expect(log[0]).toContain("is ended: it");
  print(utf8(`${"x".repeat(70_000)}\x1b[2J\x1b[Hafterwards`));
  const screen = await keeper.screen(0);
  expect(screen?.begin).toBeGreaterThan(0);
  expect(screen?.end).toBe(ring.end);
  expect(Buffer.from(screen?.text ?? []).toString()).toContain("afterwards");
});

test("a thread that really hangs is ended; output goes on all the while, and another thread has its place", async () => {
  const { keeper, print, log, untilLogged } = realWorld(
    64 * 1024,
    { columns: 100, rows: 10_000 },
    fastClock(2),
  );
  // Each of these moves thousands of lines thousands of times: hours in a piece.
  print(utf8("\x1b[H\x1b[9999L".repeat(6000)));
  const screen = keeper.screen(10);
  await untilLogged();
  expect(log).toEqual(["the keeper of a session's screen is ended: it hangs"]);
  expect(await screen).toBeUndefined();
  expect(keeper.full).toBe(false);
  for (let piece = 0; piece < 200; piece++) print(utf8(`harmless ${piece}\r\n`.repeat(50)));
  let again = await keeper.screen(10);
  while (again === undefined && log.length < 2) {
    await new Promise((resolve) => setTimeout(resolve, 20)); // its place is free once the hung one is gone
    print(utf8("harmless\r\n".repeat(5000)));
    again = await keeper.screen(10);
  }
  expect(again?.begin).toBeGreaterThan(0);
  expect(Buffer.from(again?.text ?? []).toString()).toContain("harmless");
});
