// Every sample under shared/evidence/tpm and shared/evidence/eventlog, with the verdict that its expected.json gives.

import { createHash, createPublicKey } from "node:crypto";
import { expect, test } from "vitest";
import type { TpmPolicy } from "../../../protocol/attestation/policy.ts";
import { parseAttest } from "../../../protocol/attestation/tpm/attest.ts";
import { parseEventLog, replayEvents, reportEventLog } from "../../../protocol/attestation/tpm/event-log.ts";
import { type BankName, type PcrValue, bankOfAlgorithm } from "../../../protocol/attestation/tpm/pcr.ts";
import { parsePublic, sha256Name, unwrapPublic } from "../../../protocol/attestation/tpm/public.ts";
import { checkTpmQuote, judgeTpm } from "../../../protocol/attestation/tpm/verify.ts";
import { concat, fromHex, lv16, toHex, u16, u32 } from "../../../protocol/bytes.ts";
import {
  GOOD_ATTRIBUTES,
  evidenceDirectory,
  hasEvidence,
  onlySealttyErrors,
  refusedBy,
  sample,
  sampleJson,
  samples,
  signatures,
  sha256,
  suite,
} from "./support.ts";

if (!hasEvidence)
  test("sample evidence is absent: its tests did not run", () => {
    expect(samples("tpm")).toEqual([]);
    console.warn(`No sample evidence at ${evidenceDirectory}; the other attestation tests still ran.`);
  });

type Selection = readonly [string, readonly number[]];

/** PCR values of a sample, in the order of its selection, as a guest would send them. */
function pcrsInOrder(
  selections: readonly Selection[],
  banks: Record<string, Record<string, string>>,
): PcrValue[] {
  return selections.flatMap(([alg, indexes]) => {
    const bank = bankOfAlgorithm(Number(alg)) as BankName;
    return indexes.map((index) => ({ bank, index, value: fromHex(banks[bank]?.[index] as string) }));
  });
}

const hash = (bank: string) => (message: Uint8Array) =>
  new Uint8Array(createHash(bank).update(message).digest());
const BOOT_PCRS = [0, 4, 7, 11];

/** The owner's policy of a sample: that key, those values (PCR 11 of the substituted case as it truly was). */
function policyFor(akName: string, pcrs: readonly PcrValue[]): TpmPolicy {
  const bank = pcrs.some((pcr) => pcr.bank === "sha256") ? "sha256" : "sha384";
  const values = new Map<number, string[]>();
  for (const index of BOOT_PCRS) {
    const value = pcrs.find((pcr) => pcr.bank === bank && pcr.index === index)?.value ?? new Uint8Array(32);
    values.set(index, [toHex(value)]);
  }
  return { akNames: [akName], bank, pcrs: values };
}

const EXPECTED_CHECK: Record<string, string> = {
  "swtpm-rsa-pcr16-only": "tpm.pcr-selection",
  "swtpm-forged-by-unrestricted-key": "tpm.ak-attributes",
  "swtpm-pcr11-substituted": "tpm.pcr-digest",
  "swtpm-sig-flip": "tpm.signature",
  "swtpm-wrong-ak": "tpm.signature-scheme",
  "swtpm-nonce-replay": "tpm.binding",
  "swtpm-attest-certify-as-quote": "tpm.type",
};
const PARSE_ONLY = ["dstack-quote-msg-parse-only", "swtpm-make-activate-credential"];
const FOREIGN_LAYOUT = ["gce-cos85-nonce9009", "trustee-swtpm-rsa"];
const ordinary = samples("tpm").filter((name) => ![...PARSE_ONLY, ...FOREIGN_LAYOUT].includes(name));

test.runIf(hasEvidence)("every TPM sample has a test", () => {
  const failing = samples("tpm").filter(
    (name) => sampleJson(`tpm/${name}/expected.json`).expected === "fail",
  );
  expect(failing.sort()).toEqual(Object.keys(EXPECTED_CHECK).sort());
  expect(samples("tpm")).toHaveLength(15);
});

test.runIf(hasEvidence).each(ordinary)("sample %s gets its expected verdict", async (name) => {
  const expected = sampleJson(`tpm/${name}/expected.json`);
  const akPublic = unwrapPublic(sample(`tpm/${name}/ak.tpm2b_public`));
  const akName = toHex(sha256Name(akPublic, sha256));
  const certify = name === "swtpm-attest-certify-as-quote";
  const pcrs = certify ? [] : pcrsInOrder(expected.tpm_quote.sel, sampleJson(`tpm/${name}/pcrs.json`));
  const nonce =
    name === "swtpm-nonce-replay"
      ? hash("sha256")(new TextEncoder().encode("other"))
      : fromHex(expected.tpm_quote?.extra ?? "");
  const judge = async () => {
    const quote = { attest: sample(`tpm/${name}/quote.msg`), signature: sample(`tpm/${name}/quote.sig`) };
    const aux = { akPublic, pcrs, eventLog: new Uint8Array() };
    return judgeTpm(
      await checkTpmQuote(quote, aux, nonce, suite, signatures),
      policyFor(akName, pcrs),
      suite,
    );
  };
  if (expected.expected === "fail") {
    expect(await refusedBy(judge)).toBe(EXPECTED_CHECK[name]);
  } else {
    const verdict = await judge();
    expect(verdict.verified.map((line) => line.check)).toContain("tpm.ak-name");
    expect(verdict.verified.filter((line) => line.check === "tpm.pcr")).toHaveLength(BOOT_PCRS.length);
    expect(verdict.notVerified).toContain("The event log: the guest sent no event log");
    expect(toHex(sample(`tpm/${name}/ak.name`))).toBe(akName);
  }
});

test.runIf(hasEvidence)(
  "sample gce-cos85: quotes of three banks verify, the log replays to PCR 0-9, PCR 10 is not in it",
  async () => {
    const at = "tpm/gce-cos85-nonce9009";
    const akPublic = sample(`${at}/ak.tpmt_public`);
    const eventLog = sample(`${at}/eventlog.bin`);
    for (const { bank, quote } of sampleJson(`${at}/expected.json`).quotes) {
      const pcrs = pcrsInOrder(quote.sel, { [bank]: sampleJson(`${at}/pcrs_${bank}.json`) });
      const facts = await checkTpmQuote(
        { attest: sample(`${at}/quote_${bank}.msg`), signature: sample(`${at}/quote_${bank}.sig`) },
        { akPublic, pcrs, eventLog },
        fromHex(quote.extra),
        suite,
        signatures,
      );
      const report = reportEventLog(eventLog, facts.pcrs, bank, hash(bank));
      expect(report.problem).toBeUndefined();
      expect(report.reproduced).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
      expect(report.differing).toEqual([]);
      expect(report.uncovered).toContain(10);
      expect(report.events.every((event) => event.verified || event.type === "EV_NO_ACTION")).toBe(true);
      if (bank === "sha1") continue; // no policy may pin it
      const verdict = judgeTpm(facts, policyFor(facts.akName, pcrs), suite);
      expect(verdict.verified.find((line) => line.check === "tpm.event-log")?.words).toContain(
        "PCR 0, 1, 2, 3",
      );
      expect(verdict.notVerified.join("\n")).toContain("How PCR 10");
    }
  },
);

test.runIf(hasEvidence)(
  "sample gce-cos85: a log with one digest changed is not verified where it matters",
  () => {
    const at = "tpm/gce-cos85-nonce9009";
    const values = sampleJson(`${at}/pcrs_sha256.json`) as Record<string, string>;
    const quoted = Object.entries(values).map(([index, value]) => ({
      bank: "sha256" as const,
      index: Number(index),
      value: fromHex(value),
    }));
    const log = sample(`${at}/eventlog.bin`);
    const parsed = parseEventLog(log);
    if (parsed.format !== "crypto-agile") throw new Error("not crypto-agile");
    const target = parsed.events.findLast((event) => event.index === 4)?.digests.get("sha256") as Uint8Array;
    target[0] = (target[0] as number) ^ 1; // a view into `log`
    const report = reportEventLog(log, quoted, "sha256", sha256);
    expect(report.differing).toEqual([4]);
    expect(report.events.filter((event) => event.pcr === 4).some((event) => event.verified)).toBe(false);
    expect(report.events.filter((event) => event.pcr === 7).some((event) => event.verified)).toBe(true);
  },
);

test.runIf(hasEvidence)(
  "sample trustee-swtpm-rsa: a quote with 64 bytes of qualifying data verifies",
  async () => {
    const at = "tpm/trustee-swtpm-rsa";
    const key = createPublicKey({
      key: Buffer.from(sample(`${at}/ak_spki.der`)),
      format: "der",
      type: "spki",
    });
    const modulus = new Uint8Array(Buffer.from(key.export({ format: "jwk" }).n as string, "base64url"));
    // The sample has no TPMT_PUBLIC: this one has its modulus and the usual attributes.
    const akPublic = concat(
      ...[
        u16(1),
        u16(0x0b),
        u32(GOOD_ATTRIBUTES),
        u16(0),
        u16(0x10),
        u16(0x14),
        u16(0x0b),
        u16(2048),
        u32(0),
      ],
      lv16(modulus),
    );
    const { extra, sel } = sampleJson(`${at}/expected.json`).tpm_quote;
    const list = sampleJson(`${at}/pcrs_sha256.json`) as string[];
    const pcrs = pcrsInOrder(sel, { sha256: Object.fromEntries(list.entries()) });
    const quote = { attest: sample(`${at}/quote.msg`), signature: sample(`${at}/quote.sig`) };
    const aux = { akPublic, pcrs, eventLog: new Uint8Array() };
    const facts = await checkTpmQuote(quote, aux, fromHex(extra), suite, signatures);
    expect(facts.resetCount).toBe(2);
  },
);

test.runIf(hasEvidence)("sample dstack: a quote of another maker parses to its values", () => {
  const { tpm_quote: expected } = sampleJson("tpm/dstack-quote-msg-parse-only/expected.json");
  const attest = parseAttest(sample("tpm/dstack-quote-msg-parse-only/quote.msg"));
  expect(toHex(attest.qualifiedSigner)).toBe(expected.qs);
  expect(toHex(attest.extraData)).toBe(expected.extra);
  expect(attest.quote?.selections).toEqual([{ bank: "sha256", indexes: [0, 1, 2] }]);
  expect(toHex(attest.quote?.pcrDigest as Uint8Array)).toBe(expected.pcrDigest);
});

test.runIf(hasEvidence)(
  "sample make-activate-credential: the AK parses to its name, the EK is no signing key",
  () => {
    const at = "tpm/swtpm-make-activate-credential";
    const ak = unwrapPublic(sample(`${at}/ak.tpm2b_public`));
    expect(parsePublic(ak).kind).toBe("rsa-2048");
    expect(toHex(sha256Name(ak, sha256))).toBe(toHex(sample(`${at}/ak.name`)));
    expect(() => parsePublic(unwrapPublic(sample(`${at}/ek_rsa.tpm2b_public`)))).toThrow(
      "storage or decryption key",
    );
  },
);

test.runIf(hasEvidence).each([
  ["tpm-arch-linux", ["sha1", "sha256"]],
  ["tpm-ubuntu2404-sevsnp", ["sha1", "sha256", "sha384"]],
  ["ccel-trustee-ovmf", ["sha384"]],
] as const)("event log %s parses and replays", (name, banks) => {
  const log = parseEventLog(sample(`eventlog/${name}/eventlog.bin`));
  if (log.format !== "crypto-agile") throw new Error(`parsed as ${log.format}`);
  expect([...log.banks].sort()).toEqual([...banks]);
  expect(log.events.length).toBeGreaterThan(5);
  for (const bank of log.banks) expect(replayEvents(log.events, bank, hash(bank)).size).toBeGreaterThan(2);
});

test.runIf(hasEvidence)("the SHA-1 log of an old machine is recognised, not mis-parsed", () => {
  const log = sample("eventlog/tpm-debian10-sha1-only-legacy/eventlog.bin");
  expect(parseEventLog(log)).toEqual({ format: "legacy-sha1" });
  const report = reportEventLog(log, [], "sha256", sha256);
  expect(report.problem).toBe("the event log has SHA-1 digests only");
  expect(report.events).toEqual([]);
});

test.runIf(hasEvidence)(
  "an event log cut anywhere is malformed or ends between two events, and never throws anything else",
  () => {
    const log = sample("eventlog/tpm-arch-linux/eventlog.bin");
    let whole = 0;
    for (let length = 1; length < log.length; length++) {
      if (onlySealttyErrors(() => parseEventLog(log.subarray(0, length)))) whole++;
    }
    const parsed = parseEventLog(log);
    const events = parsed.format === "crypto-agile" ? parsed.events.length : 0;
    // Cuts between events, and the few where what is left over looks like padding.
    expect(whole).toBeGreaterThanOrEqual(events);
    expect(whole).toBeLessThan(4 * events);
  },
);
