// Recordings of terminals: what comes back out of a second reader is what went in.

import * as fc from "fast-check";
import { expect, test } from "vitest";
import { AsciicastEncoder } from "../../protocol/terminal/asciicast.ts";
import { readCast } from "../support/read-cast.ts";
import { testSeed } from "../support/seeded.ts";

const seed = testSeed();
const START = Date.UTC(2026, 5, 15);
const HEADER = { columns: 80, rows: 24, term: "xterm", startedAt: START, title: "shell of root" };
const SIGNALS = { SIGKILL: 9 };

test("the lines that the format's description has", () => {
  const encoder = new AsciicastEncoder(1000);
  expect(
    encoder.header(HEADER) +
      encoder.output(new TextEncoder().encode("a\r\n\u001b[1m\u0000"), 1248.7) +
      encoder.resize(100, 50, 2250) +
      encoder.marker("here", 2250) +
      encoder.exit({ kind: "exited", status: 3 }, SIGNALS, 3000),
  ).toBe(
    `{"version":3,"term":{"cols":80,"rows":24,"type":"xterm"},"timestamp":${START / 1000},"title":"shell of root"}\n` +
      `[0.248,"o","a\\r\\n\\u001b[1m\\u0000"]\n[1.002,"r","100x50"]\n[0,"m","here"]\n[0.75,"x","3"]\n`,
  );
});

test("a signal has a shell's number, and a clock that goes back stands still", () => {
  const encoder = new AsciicastEncoder(1000);
  expect(encoder.exit({ kind: "signalled", signal: "SIGKILL" }, SIGNALS, 500)).toBe('[0,"x","137"]\n');
});

test("any bytes in any pieces: what is shown is the whole's UTF-8, and times add up", () =>
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string({ unit: "binary" }).map((text) => new TextEncoder().encode(text)),
        fc.uint8Array(),
      ),
      fc.array(fc.nat({ max: 5 })),
      fc.array(fc.double({ min: 0, max: 5000, noNaN: true }), { minLength: 1 }),
      (bytes, sizes, steps) => {
        const encoder = new AsciicastEncoder(0);
        let now = 0;
        let text = encoder.header(HEADER);
        let at = 0;
        for (let i = 0; at < bytes.length; i++) {
          const size = sizes.length === 0 ? 1 : Math.max(1, sizes[i % sizes.length] as number);
          now += steps[i % steps.length] as number;
          text += encoder.output(bytes.subarray(at, at + size), now);
          at += size;
        }
        text += encoder.exit({ kind: "exited", status: 0 }, SIGNALS, now);
        const cast = readCast(text);
        expect(cast.shown).toBe(new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes));
        expect(cast.events.at(-1)?.at).toBeCloseTo(Math.floor(now) / 1000, 6);
      },
    ),
    { seed },
  ));
