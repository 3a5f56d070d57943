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

const ak = new SoftwareAk();
const evidence = makeTpmEvidence(
  ak,
  newContext(),
  pcrsOf({ 0: "a", 9: "b" }),
  makeEventLog([{ index: 9, type: 0x0d, data: utf8("hello") }]),
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
  makeEventLog([{ index: 0, type: 8, data: utf8("v1") }]),
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
