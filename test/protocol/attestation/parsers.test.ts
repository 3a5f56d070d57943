// Hostile bytes into every parser of guest-supplied structures: a SealttyError, or a value; text stays harmless.

import * as fc from "fast-check";
import { expect, test } from "vitest";
import { decodeSimulatedAux } from "../../../protocol/attestation/simulated.ts";
import { parseAttest } from "../../../protocol/attestation/tpm/attest.ts";
import { parseEventLog, reportEventLog, safeText } from "../../../protocol/attestation/tpm/event-log.ts";
import { parsePcrValues } from "../../../protocol/attestation/tpm/pcr.ts";
import { parsePublic, unwrapPublic } from "../../../protocol/attestation/tpm/public.ts";
import { decodeTpmAux, decodeTpmQuote } from "../../../protocol/attestation/tpm/quote.ts";
import { parseSignature } from "../../../protocol/attestation/tpm/signature.ts";
import { concat, utf8 } from "../../../protocol/bytes.ts";
import {
  SoftwareAk,
  encodeAttest,
  makeTpmEvidence,
  newContext,
  onlySealttyErrors,
  pcrsOf,
  sha256,
} from "./support.ts";

const le = (value: number, size: number) =>
  Uint8Array.from({ length: size }, (_, i) => Math.floor(value / 256 ** i));

/** A crypto-agile log with one SHA-256 bank. */
function makeLog(
  events: readonly { pcr: number; type: number; data: Uint8Array; digest?: Uint8Array }[],
  trailing = new Uint8Array(),
) {
  const spec = concat(
    utf8("Spec ID Event03\0"),
    le(0, 4),
    Uint8Array.of(0, 2, 0, 2),
    le(1, 4),
    le(0x0b, 2),
    le(32, 2),
    Uint8Array.of(0),
  );
  const header = concat(le(0, 4), le(3, 4), new Uint8Array(20), le(spec.length, 4), spec);
  const records = events.map(({ pcr, type, data, digest }) =>
    concat(le(pcr, 4), le(type, 4), le(1, 4), le(0x0b, 2), digest ?? sha256(data), le(data.length, 4), data),
  );
  return concat(header, ...records, trailing);
}

const ak = new SoftwareAk();
const evidence = makeTpmEvidence(
  ak,
  newContext(),
  pcrsOf({ 0: "a", 9: "b" }),
  makeLog([{ pcr: 9, type: 0x0d, data: utf8("hello") }]),
);
const PARSERS = {
  parseAttest,
  parsePublic,
  unwrapPublic,
  parseSignature,
  parsePcrValues,
  decodeTpmQuote,
  decodeTpmAux,
  decodeSimulatedAux,
  parseEventLog,
};
const SEEDS = [
  ak.publicArea,
  ak.sign(new Uint8Array(3)),
  encodeAttest({
    extraData: new Uint8Array(32),
    selections: Uint8Array.of(0, 0, 0, 1, 0, 0x0b, 3, 1, 0, 0),
    pcrDigest: new Uint8Array(32),
  }),
  evidence.quote,
  evidence.aux,
  makeLog([{ pcr: 0, type: 8, data: utf8("v1") }]),
];
/** Pure noise, and good structures with some bytes changed, cut or added. */
const hostile = fc.oneof(
  fc.uint8Array({ maxLength: 300 }),
  fc
    .tuple(
      fc.constantFrom(...SEEDS),
      fc.array(fc.tuple(fc.nat(2000), fc.nat(255)), { maxLength: 4 }),
      fc.nat(10),
      fc.uint8Array({ maxLength: 4 }),
    )
    .map(([seed, changes, cut, more]) => {
      const bytes = concat(seed.subarray(0, seed.length - cut), more);
      for (const [at, value] of changes) bytes[at % bytes.length] = value;
      return bytes;
    }),
);

test.each(Object.entries(PARSERS))("%s() never throws anything but a SealttyError", (_name, parse) => {
  fc.assert(
    fc.property(hostile, (bytes) => {
      expect(onlySealttyErrors(() => parse(bytes))).toBeTypeOf("boolean");
    }),
    { numRuns: 400 },
  );
});

test("reportEventLog() never throws, and never calls an entry verified whose PCR it does not reproduce", () => {
  const quoted = pcrsOf({ 0: "a", 9: "b" });
  fc.assert(
    fc.property(hostile, (log) => {
      const report = reportEventLog(log, quoted, "sha256", sha256);
      expect(report.reproduced).toEqual([]);
      expect(report.events.some((event) => event.verified || event.textProven)).toBe(false);
    }),
    { numRuns: 300 },
  );
});

test("text is proven only where it is what was hashed, under a reproduced PCR", () => {
  const log = makeLog([
    { pcr: 9, type: 0x0d, data: utf8("linux console=hvc0\0") },
    { pcr: 9, type: 0x0d, data: utf8("a lie"), digest: sha256(utf8("the truth")) },
  ]);
  const first = sha256(concat(new Uint8Array(32), sha256(utf8("linux console=hvc0\0"))));
  const value = sha256(concat(first, sha256(utf8("the truth"))));
  const report = reportEventLog(log, [{ bank: "sha256", index: 9, value }], "sha256", sha256);
  expect(report.events.map(({ text, verified, textProven }) => ({ text, verified, textProven }))).toEqual([
    { text: "linux console=hvc0", verified: true, textProven: true },
    { text: "a lie", verified: true, textProven: false },
  ]);
});

test("the startup locality begins PCR 0, and padding ends the log", () => {
  const locality = { pcr: 0, type: 3, data: concat(utf8("StartupLocality\0"), Uint8Array.of(3)) };
  const event = { pcr: 0, type: 8, data: utf8("v1") };
  const initial = new Uint8Array(32);
  initial[31] = 3;
  const value = sha256(concat(initial, sha256(event.data)));
  const quoted = [{ bank: "sha256", index: 0, value }] as const;
  for (const padding of [new Uint8Array(), new Uint8Array(50), new Uint8Array(50).fill(0xff)]) {
    const report = reportEventLog(makeLog([locality, event], padding), quoted, "sha256", sha256);
    expect(report.reproduced).toEqual([0]);
    expect(report.events).toHaveLength(2);
  }
  expect(reportEventLog(makeLog([event, locality]), quoted, "sha256", sha256).problem).toContain("malformed");
});

test("safeText() gives printable ASCII of bounded length, whatever comes", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => {
      const text = safeText(bytes);
      expect(text).toMatch(/^[\x20-\x7e]*$/);
      expect(text.length).toBeLessThanOrEqual(163);
    }),
  );
  expect(safeText(utf8("root=\x1b]0;x\x07ro quiet console=hvc0"))).toBe(
    "root=\\x1b]0;x\\x07ro quiet console=hvc0",
  );
  expect(safeText(Uint8Array.from([...utf8("initrd=x")].flatMap((byte) => [byte, 0])))).toBe("initrd=x");
});
