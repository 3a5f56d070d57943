// Hostile bytes into every parser of guest-supplied structures: a SealttyError, or a value; text stays harmless.

import { sha384 } from "@noble/hashes/sha2.js";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { decodeAux } from "../../../protocol/attestation/aux.ts";
import { parseHclReport, reportDataOfTdReport } from "../../../protocol/attestation/azure/hcl.ts";
import { parseRuntimeClaims } from "../../../protocol/attestation/azure/runtime-claims.ts";
import { parseStrictJson } from "../../../protocol/attestation/strict-json.ts";
import { decodeCbor } from "../../../protocol/attestation/cbor.ts";
import { parseCcaToken } from "../../../protocol/attestation/cca/verify.ts";
import { parseNitroDocument } from "../../../protocol/attestation/nitro/verify.ts";
import { readSimulatedParts } from "../../../protocol/attestation/simulated.ts";
import { parseAttest } from "../../../protocol/attestation/tpm/attest.ts";
import { parseEventLog } from "../../../protocol/attestation/tpm/event-log-format.ts";
import { reportCcEventLog, reportEventLog } from "../../../protocol/attestation/tpm/event-log.ts";
import { safeText, textOfEvent } from "../../../protocol/attestation/tpm/event-text.ts";
import { parsePcrValues } from "../../../protocol/attestation/tpm/pcr.ts";
import { parsePublic, unwrapPublic } from "../../../protocol/attestation/tpm/public.ts";
import { decodeTpmQuote, readTpmParts } from "../../../protocol/attestation/tpm/quote.ts";
import { parseSignature } from "../../../protocol/attestation/tpm/signature.ts";
import { concat, lv16, utf8 } from "../../../protocol/bytes.ts";
import { madeAzure } from "../../support/made-azure.ts";
import { Tagged, cbor } from "../../support/made-cbor.ts";
import {
  SoftwareAk,
  encodeAttest,
  makeEventLog,
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
  readTpmParts: (bytes: Uint8Array) => readTpmParts(decodeAux("tpm", bytes)),
  "readTpmParts of the values": (bytes: Uint8Array) => readTpmParts({ akPublic: bytes, pcrs: bytes }),
  readSimulatedParts: (bytes: Uint8Array) => readSimulatedParts({ simulated: bytes }),
  parseEventLog,
  parseHclReport,
  reportDataOfTdReport,
  parseStrictJson: (bytes: Uint8Array) => parseStrictJson(bytes, "Test"),
  parseRuntimeClaims,
  decodeCbor: (bytes: Uint8Array) => decodeCbor(bytes, "Test", { indefiniteMaps: true }),
  parseNitroDocument,
  parseCcaToken,
};
const azure = madeAzure();
const sign1 = [
  new Uint8Array([0xa1, 1, 0x38, 0x22]),
  new Map(),
  new Uint8Array([0xbf, 0xff]),
  new Uint8Array(96),
];
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
  azure.parts.hclReport,
  parseHclReport(azure.parts.hclReport).runtimeData,
  cbor(sign1),
  cbor(new Tagged(399, new Map([44234, 44241].map((key) => [key, cbor(new Tagged(18, sign1))])))),
  concat(lv16(new Uint8Array(32)), lv16(utf8("demo"))),
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

const RTMRS = Array.from({ length: 4 }, () => new Uint8Array(48).fill(1));

test("reportEventLog() never throws, and never calls an entry verified whose PCR it does not reproduce", () => {
  const quoted = pcrsOf({ 0: "a", 9: "b" });
  fc.assert(
    fc.property(hostile, (log) => {
      const report = reportEventLog(log, quoted, "sha256", sha256);
      const cc = reportCcEventLog(log, RTMRS, sha384);
      for (const { reproduced, events } of [report, cc]) {
        expect(reproduced).toEqual([]);
        expect(events.some((event) => event.verified || event.textProven)).toBe(false);
      }
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

test("textOfEvent() gives printable ASCII of bounded length, whatever comes", () => {
  const types = fc.oneof(
    fc.nat(0x20),
    fc.nat(0x10).map((low) => 0x80000000 + low),
    fc.constant(0x800000e0),
  );
  // Numbers that look like lengths of something short, so that the paths behind them are reached.
  const data = fc.array(fc.oneof(fc.nat(255), fc.constant(0), fc.nat(8)), { maxLength: 400 });
  fc.assert(
    fc.property(types, data, (type, bytes) => {
      const text = textOfEvent({ index: 0, type, digests: new Map(), data: Uint8Array.from(bytes) });
      expect(text).toMatch(/^[\x20-\x7e]*$/);
      expect(text.length).toBeLessThanOrEqual(163);
    }),
    { numRuns: 2000 },
  );
});
