// What the host sees of a shaped connection is the same whatever was typed: times and lengths, both ways, to the byte.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { FrameEncoding } from "../../protocol/frames/frame-encoder.ts";
import { ShapedSession, type Trace } from "../support/shaped-session.ts";

const SECONDS = 4;

interface Typing {
  readonly name: string;
  readonly echo: boolean;
  type(session: ShapedSession): Promise<void>;
}
const gaps = (mean: number) => (key: number) => mean + ((key * 37) % 91);
const short = (session: ShapedSession) => session.type("hunter2\r", gaps(60));
const long = (session: ShapedSession) => session.type("correct horse batte\r", gaps(110));
const classes: readonly Typing[] = [
  { name: "nothing", echo: false, type: async () => {} },
  { name: "8 keys, no echo", echo: false, type: short },
  { name: "20 keys, no echo", echo: false, type: long },
  { name: "8 keys, echo", echo: true, type: short },
  { name: "20 keys, echo", echo: true, type: long },
];

async function traceOf(
  profile: "adaptive" | "strict" | undefined,
  encoding: FrameEncoding,
  typing: Typing,
  lossSeed?: number,
): Promise<Trace> {
  const session = await ShapedSession.open(profile, encoding);
  if (typing.echo) session.process.onInput = (bytes) => session.process.print(bytes.slice());
  if (lossSeed !== undefined) session.loseBySeed(lossSeed, 0.05);
  session.restart();
  const start = session.clock.now();
  await typing.type(session);
  await session.run(SECONDS * 1000 - (session.clock.now() - start));
  const trace = structuredClone(session.trace);
  session.lose = () => false;
  await session.run(3000); // what was lost comes again
  const keys = session.process.input.reduce((sum, { length }) => sum + length, 0);
  expect(keys).toBe(typing.name === "nothing" ? 0 : Number.parseInt(typing.name, 10));
  if (typing.echo) expect(session.output.reduce((sum, { length }) => sum + length, 0)).toBe(keys);
  await session.close();
  return trace;
}

describe.each(["binary", "armour"] as const)("in %s", (encoding) => {
  describe.each(["adaptive", "strict"] as const)("%s", (profile) => {
    test.each([undefined, 7, 8])(
      "the host's trace is equal for every typing, losses by seed %s",
      async (seed) => {
        const [first, ...others] = await Promise.all(
          classes.map((typing) => traceOf(profile, encoding, typing, seed)),
        );
        const slots = (SECONDS * 1000) / (encoding === "binary" ? 20 : 50);
        expect(Math.abs((first as Trace)["to-guest"].length - slots)).toBeLessThanOrEqual(1);
        expect(Math.abs((first as Trace)["to-client"].length - slots)).toBeLessThanOrEqual(1);
        for (const other of others) expect(other).toEqual(first);
      },
    );
  });

  test("without shaping the same comparison tells the classes apart", async () => {
    const [first, ...others] = await Promise.all(
      classes.map((typing) => traceOf(undefined, encoding, typing)),
    );
    for (const other of others) expect(other).not.toEqual(first);
  });
});
