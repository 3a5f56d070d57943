// Frames into a pipe: one at a time, or several in one chunk where the pipe says so.
import { expect, test } from "vitest";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { concat } from "../../protocol/bytes.ts";
import { encodeFrame, type OutgoingFrame } from "../../protocol/frames/frame-encoder.ts";
import { RAW_ABOVE } from "../../protocol/limits.ts";
import { PipePump } from "../../protocol/session/pipe-pump.ts";

const frameOf = (length: number, more: Partial<OutgoingFrame> = {}): OutgoingFrame => ({
  body: Uint8Array.from({ length }, (_, i) => i * length),
  encoding: "binary",
  ...more,
});
const bytesOf = ({ body, encoding, oneLength }: OutgoingFrame): Uint8Array =>
  encodeFrame(body, encoding, nodeSuite.crc32, oneLength);

/** @returns the chunks that a pipe was given, each taken a turn later. */
async function sent(
  frames: readonly OutgoingFrame[],
  gathers: number | undefined,
  now?: () => number,
): Promise<Uint8Array[]> {
  const chunks: Uint8Array[] = [];
  const waiting = [...frames];
  const pipe = {
    incoming: (async function* () {})(),
    ...(gathers === undefined ? {} : { gathers }),
    async send(chunk: Uint8Array) {
      await new Promise((resolve) => setImmediate(resolve));
      chunks.push(chunk.slice()); // as it is when the pipe is done with it
    },
    async close() {},
  };
  const pump = new PipePump(pipe, nodeSuite.crc32, () => waiting.shift(), now);
  pump.wake();
  await pump.drained();
  return chunks;
}

test("one frame in each chunk, where the pipe says nothing", async () => {
  const frames = [frameOf(5), frameOf(900), frameOf(17)];
  expect(await sent(frames, undefined)).toEqual(frames.map(bytesOf));
});

test("several in one chunk, in order, up to the bytes that the pipe takes", async () => {
  const frames = [100, 200, 300, 400, 50, 60].map((length) => frameOf(length));
  const chunks = await sent(frames, 500);
  expect(concat(...chunks)).toEqual(concat(...frames.map(bytesOf)));
  expect(chunks.length).toBe(2); // full with the third, which goes a little beyond
  expect(chunks[0]?.length).toBe(concat(...frames.slice(0, 3).map(bytesOf)).length);
});

test("an armoured frame and one of a slot have chunks of their own, and keep their place", async () => {
  const frames = [
    frameOf(10),
    frameOf(20),
    frameOf(30, { encoding: "armour" }),
    frameOf(40),
    frameOf(50, { oneLength: true }),
    frameOf(60, { oneLength: true }),
    frameOf(70),
  ];
  const chunks = await sent(frames, 65_536);
  const expected = [frames.slice(0, 2), ...frames.slice(2).map((frame) => [frame])];
  expect(chunks).toEqual(expected.map((group) => concat(...group.map(bytesOf))));
});

test("a long body goes as it is where several go at once, and nowhere else", async () => {
  const packet = (length: number): OutgoingFrame => ({
    body: Uint8Array.from({ length }, (_, at) => [0x15, 1, 2, 3, 4][at] ?? at >> 2),
    encoding: "binary",
  });
  const [usual, long] = [packet(RAW_ABOVE), packet(RAW_ABOVE + 1)];
  const announced = Buffer.from("1b0102030400004075", "hex");
  const asItIs = concat(encodeFrame(announced, "binary"), long.body);
  expect(concat(...(await sent([usual, long, usual], 65_536)))).toEqual(
    concat(bytesOf(usual), asItIs, bytesOf(usual)),
  );
  const slotted = { ...long, oneLength: true };
  expect(await sent([slotted], 65_536)).toEqual([bytesOf(slotted)]);
  expect(await sent([long], undefined)).toEqual([bytesOf(long)]);
});

test("one at a time again while the pipe is watched", async () => {
  const frames = [frameOf(10), frameOf(20), frameOf(30)];
  expect(await sent(frames, 65_536, () => 0)).toEqual(frames.map(bytesOf));
});
