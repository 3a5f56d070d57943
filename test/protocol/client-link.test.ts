// The client's dialling: how long it waits before it dials again, by how the last pipe ended.
import { expect, test } from "vitest";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { encodeFrame } from "../../protocol/frames/frame-encoder.ts";
import type { Pipe } from "../../protocol/pipe.ts";
import { ClientLink } from "../../protocol/session/client-link.ts";
import { connect } from "../../protocol/session/connect.ts";
import { ManualClock } from "../support/clocks.ts";
import { clientOptions } from "../support/session.ts";

const FRAME = encodeFrame(Uint8Array.of(0x15, 1, 2, 3, 4, 5), "binary");

async function* chunks(bytes: Uint8Array[], end: "clean" | "reset"): AsyncGenerator<Uint8Array> {
  yield* bytes;
  if (end === "reset") throw new SealttyError("transport-lost", "The host dropped the pipe");
}

/** @returns ms between one dialling and the next. */
async function waits(
  pipes: readonly { frames: number; authentic?: boolean; end: "clean" | "reset" }[],
): Promise<number[]> {
  const clock = new ManualClock();
  const dialled: number[] = [];
  const dial = async (): Promise<Pipe> => {
    const pipe = pipes[dialled.length];
    dialled.push(clock.now());
    if (pipe === undefined) throw new SealttyError("transport-lost", "nobody there");
    const incoming = chunks(
      Array.from({ length: pipe.frames }, () => FRAME),
      pipe.end,
    );
    return { incoming, send: async () => {}, close: async () => {} };
  };
  const link = new ClientLink(
    dial,
    clock,
    nodeSuite.crc32,
    "binary",
    { over: (pipe) => pipe, watching: false },
    {
      oneLength: () => false,
      mayGather: () => true,
      onPipe() {},
      onFrame() {
        if (pipes[dialled.length - 1]?.authentic !== false) link.heardGuest();
      },
      onNoise() {},
      onLost() {},
      source: () => undefined,
    },
  );
  const running = link.run();
  while (dialled.length <= pipes.length) {
    await new Promise((resolve) => setImmediate(resolve));
    clock.advance(10);
  }
  await link.close();
  await running;
  return dialled.slice(1).map((at, index) => at - (dialled[index] as number));
}

test.each(["clean", "reset"] as const)(
  "a pipe on which the guest was heard: dialled again after 100 ms, however it ended (%s)",
  async (end) => {
    const gaps = await waits(Array.from({ length: 8 }, () => ({ frames: 1, end })));
    for (const gap of gaps) expect(gap).toBeLessThan(200);
  },
);

test.each([
  ["clean", 0],
  ["reset", 0],
  ["clean", 3], // of the host's own making
] as const)(
  "pipes on which the guest is not heard: the waits grow to 5 s (%s, %i frames)",
  async (end, frames) => {
    const gaps = await waits(Array.from({ length: 9 }, () => ({ frames, authentic: false, end })));
    expect(gaps.slice(0, 6).every((gap, i) => gap >= 100 * 2 ** i)).toBe(true);
    expect(gaps.at(-1)).toBeGreaterThanOrEqual(5000);
    expect(gaps.at(-1)).toBeLessThan(5100);
  },
);

test.each([
  ["while nobody answers on its pipe", true],
  ["between two pipes", false],
])("a connection that is given up %s: its pipe is closed, and none is dialled any more", async (_, holds) => {
  const clock = new ManualClock();
  const givenUp = new AbortController();
  let dialled = 0;
  let closed = 0;
  const dial = async (): Promise<Pipe> => {
    dialled++;
    let end = (): void => undefined;
    const ended = new Promise<void>((resolve) => (end = resolve));
    const next = async (): Promise<IteratorResult<Uint8Array>> => {
      if (holds) await ended;
      return { done: true, value: undefined };
    };
    return {
      incoming: { [Symbol.asyncIterator]: () => ({ next }) },
      send: async () => undefined,
      close: async () => {
        closed++;
        end();
      },
    };
  };
  const connecting = connect(clientOptions(clock, dial, { timeout: 600_000, signal: givenUp.signal }));
  const outcome = connecting.catch((error: unknown) => error);
  while (dialled === 0 || (!holds && closed === 0)) await new Promise((resolve) => setImmediate(resolve));
  givenUp.abort(new Error("given up"));
  expect(await outcome).toMatchObject({ message: "given up" });
  expect(closed).toBeGreaterThan(0);
  for (let i = 0; i < 100; i++) {
    clock.advance(6000);
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(dialled).toBe(1);
  expect(clock.timers).toBe(0);
});

test("given up before it began: nothing of it stays", async () => {
  const clock = new ManualClock();
  const signal = AbortSignal.abort(new Error("given up"));
  const dial = () => Promise.reject(new SealttyError("transport-lost", "nobody there"));
  await expect(connect(clientOptions(clock, dial, { signal }))).rejects.toThrow("given up");
  expect(clock.timers).toBe(0);
});
