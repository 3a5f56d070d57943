// Simulated evidence: refused unless the user asked for it, and bound to its connection all the same.

import { randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { decodeAux, encodeAux } from "../../../protocol/attestation/aux.ts";
import {
  checkSimulated,
  judgeSimulated,
  readSimulatedParts,
  reportSimulated,
  signSimulatedQuote,
  simulatedParts,
} from "../../../protocol/attestation/simulated.ts";
import { concat } from "../../../protocol/bytes.ts";
import { SealttyError } from "../../../protocol/errors.ts";
import { refusedBy, settled, suite } from "./support.ts";

const secretKey = new Uint8Array(randomBytes(32));
const parts = simulatedParts({ publicKey: suite.ed25519PublicKey(secretKey), instance: "demo" });
const binder = new Uint8Array(randomBytes(64));
const quote = signSimulatedQuote(suite, secretKey, binder);
const check = (
  changes: { quote?: Uint8Array; simulated?: Uint8Array; binder?: Uint8Array; accept?: boolean } = {},
) =>
  checkSimulated(
    changes.quote ?? quote,
    changes.simulated === undefined ? parts : { simulated: changes.simulated },
    changes.binder ?? binder,
    suite,
    changes.accept ?? true,
  );

test("good simulated evidence says that it proves nothing", () => {
  const report = reportSimulated(check());
  expect(report.assurance).toBe("simulated");
  expect(report.bound).toEqual(binder);
  expect(report.warnings.join()).toContain("SIMULATED");
  expect(report.notVerified.join()).toContain("Everything");
  expect(report.pins).toMatchObject({ snp: undefined, tdx: undefined, azure: undefined, tpm: undefined });
  const { verified } = settled((checks) => judgeSimulated(check(), { instance: "demo" }, checks));
  expect(verified.map((line) => line.check)).toEqual(["simulated.instance"]);
});

test("it needs the user's word, the name, and this connection", async () => {
  expect(await refusedBy(() => check({ accept: false }))).toBe("simulated.accepted");
  expect(await refusedBy(() => check({ binder: new Uint8Array(64) }))).toBe("simulated.binding");
  const other = () => settled((checks) => judgeSimulated(check(), { instance: "other" }, checks));
  expect(await refusedBy(other)).toBe("simulated.instance");
});

test("a changed byte anywhere but in the name, one cut and one added are refused", async () => {
  const simulated = parts.simulated as Uint8Array;
  for (let at = 0; at < quote.length; at++) {
    const changed = quote.slice();
    changed[at] = (changed[at] as number) ^ 0x04;
    expect(await refusedBy(() => check({ quote: changed }))).toMatch(/^simulated\./);
  }
  for (let at = 0; at < simulated.length; at++) {
    const changed = simulated.slice();
    changed[at] = (changed[at] as number) ^ 0x04;
    // The name is in the binder of a real connection, with all that is beside the quote; here the binder is fixed.
    const attempt = () =>
      settled((checks) => judgeSimulated(check({ simulated: changed }), { instance: "demo" }, checks));
    expect(await refusedBy(attempt)).toMatch(/^simulated\./);
  }
  for (const bytes of [simulated.slice(0, -1), concat(simulated, new Uint8Array(1)), new Uint8Array()])
    expect(await refusedBy(() => check({ simulated: bytes }))).toBe("simulated.format");
  for (const bytes of [quote.slice(0, -1), concat(quote, new Uint8Array(1)), new Uint8Array()])
    expect(await refusedBy(() => check({ quote: bytes }))).toBe("simulated.format");
});

test("the part gives back what went in, and takes no other names", () => {
  const read = readSimulatedParts(decodeAux("simulated", encodeAux(parts)));
  expect(read).toEqual({ publicKey: suite.ed25519PublicKey(secretKey), instance: "demo" });
  for (const instance of ["", "a\nb", "ü", "x".repeat(65)])
    expect(() => simulatedParts({ publicKey: read.publicKey, instance })).toThrow(SealttyError);
});
