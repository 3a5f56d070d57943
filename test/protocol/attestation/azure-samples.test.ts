// Every sample under shared/evidence/azure-snp and azure-tdx, with the verdict and the reason that its expected.json gives.

import { expect, test } from "vitest";
import type { AuxParts } from "../../../protocol/attestation/aux.ts";
import { checkAzure, judgeAzure, reportAzure } from "../../../protocol/attestation/azure/verify.ts";
import { parseHclReport } from "../../../protocol/attestation/azure/hcl.ts";
import { NO_COLLATERAL, encodeCollateral } from "../../../protocol/attestation/collateral.ts";
import { AZURE_DEFAULTS, POLICY_DEFAULTS, type Policy } from "../../../protocol/attestation/policy/model.ts";
import { encodePcrValues } from "../../../protocol/attestation/tpm/pcr.ts";
import { encodeTpmQuote } from "../../../protocol/attestation/tpm/quote.ts";
import { pemCertificates } from "../../../protocol/attestation/x509/pem.ts";
import { fromHex, toHex } from "../../../protocol/bytes.ts";
import { SealttyError } from "../../../protocol/errors.ts";
import {
  hasEvidence,
  refusedBy,
  rememberingSignatures,
  rsassa,
  sample,
  sampleJson,
  samples,
  settled,
  verifyAt,
} from "./support.ts";

const SNP: Record<string, string> = {
  "genoa-v3": "pass",
  "milan-v3-live": "pass",
  "milan-v3-userdata": "pass",
  "milan-v3-v1": "pass",
  "mut-pcr-value-changed": "tpm.pcr-digest",
  "mut-runtime-data": "azure.runtime-data",
  "mut-quote-from-other-vm": "azure.quote-signature",
  "kinvolk-vcek-mismatch": "snp.chip-id",
};
const TDX: Record<string, string> = { "td10-outofdate": "tdx.tcb-status" };

test.runIf(hasEvidence)("every Azure sample has a test", () => {
  expect(samples("azure-snp").sort()).toEqual(Object.keys(SNP).sort());
  expect(samples("azure-tdx")).toEqual(Object.keys(TDX));
});

/** PCR 0 to 23 of the SHA-256 bank, as a guest sends them. */
function pcrsOf(at: string): Uint8Array {
  const list = sampleJson(`${at}/pcrs_sha256.json`) as string[];
  return encodePcrValues(list.map((value, index) => ({ bank: "sha256", index, value: fromHex(value) })));
}

/** The samples hold the bare signature, as Azure's tools hand it out. */
function quoteOf(at: string): Uint8Array {
  return encodeTpmQuote({
    attest: sample(`${at}/tpm_quote.msg`),
    signature: rsassa(sample(`${at}/tpm_quote.sig`)),
  });
}

function snpParts(at: string, files = ["pcrs"]): AuxParts {
  const certificates = ["vcek", "ask", "ark"].map((name) => sample(`${at}/${name}.der`));
  const parts = {
    hclReport: sample(`${at}/hcl_report.bin`),
    collateral: encodeCollateral({ ...NO_COLLATERAL, certificates }),
  };
  return files.includes("pcrs") ? { ...parts, pcrs: pcrsOf(at) } : parts;
}

/** What `--save-policy` would write, and what a test loosens or tightens. */
function policyFrom(
  pins: Pick<Policy, "snp" | "tdx" | "azure" | "tpm">,
  changes: Partial<Policy> = {},
): Policy {
  return { ...POLICY_DEFAULTS, minimumAssurance: "paravisor", ...pins, ...changes };
}

test.runIf(hasEvidence).each(Object.entries(SNP))("sample azure-snp/%s: %s", async (name, outcome) => {
  const at = `azure-snp/${name}`;
  const expected = sampleJson(`${at}/expected.json`);
  expect(expected.expected).toBe(outcome === "pass" ? "pass" : "fail");
  const context = verifyAt(expected.verify_at);
  if (name === "kinvolk-vcek-mismatch") {
    // The sample has no quote: what is wrong with it lies below, and is found first.
    const parts = snpParts(at, []);
    expect(await refusedBy(() => checkAzure("azure-snp", new Uint8Array(), parts, context))).toBe(outcome);
    return;
  }
  const attempt = () => checkAzure("azure-snp", quoteOf(at), snpParts(at), context);
  if (outcome !== "pass") {
    expect(await refusedBy(attempt)).toBe(outcome);
    return;
  }
  const facts = await attempt();
  expect(toHex(facts.bound)).toBe(expected.tpm_quote.extra);
  const configuration = expected.runtime_claims["vm-configuration"];
  expect(facts.claims).toMatchObject({
    consoleEnabled: configuration["console-enabled"],
    secureBoot: configuration["secure-boot"],
    tpmPersisted: configuration["tpm-persisted"],
    vmId: configuration.vmUniqueId,
  });
  const report = reportAzure(facts);
  expect(report.assurance).toBe("paravisor");
  expect(report.documentDigest).toBeUndefined();
  expect(report.warnings[0]).toContain("serial console is ON"); // all of these machines have it
  expect(report.values.find((value) => value.name === "azure.vm-id")?.value).toBe(configuration.vmUniqueId);
  settled((checks) => judgeAzure(facts, policyFrom(report.pins), checks));

  // The same without the owner's word for the console.
  const azure = { ...(report.pins.azure ?? AZURE_DEFAULTS), allowHostConsole: false };
  expect(
    await refusedBy(() => settled((checks) => judgeAzure(facts, policyFrom(report.pins, { azure }), checks))),
  ).toBe("azure.host-console");
});

test.runIf(hasEvidence)(
  "sample milan-v3-userdata: what the guest had put into the report is shown",
  async () => {
    const at = "azure-snp/milan-v3-userdata";
    const facts = await checkAzure("azure-snp", quoteOf(at), snpParts(at), verifyAt("2026-06-01T00:00:00Z"));
    const line = reportAzure(facts).verified.find((each) => each.check === "azure.user-data");
    expect(line?.value).toBe(sampleJson(`${at}/expected.json`).runtime_claims["user-data"].toLowerCase());
    expect(line?.value?.slice(0, 96)).toBe(toHex(facts.bound));
  },
);

test.runIf(hasEvidence)(
  "mix and match: the quote, the runtime data and the report of two guests",
  async () => {
    const [one, two] = ["azure-snp/milan-v3-live", "azure-snp/milan-v3-v1"] as const;
    const context = verifyAt("2026-06-01T00:00:00Z");
    const check = (quote: Uint8Array, parts: AuxParts) =>
      refusedBy(() => checkAzure("azure-snp", quote, parts, context));
    expect(await check(quoteOf(two), { ...snpParts(one), pcrs: pcrsOf(two) })).toBe("azure.quote-signature");
    expect(await check(quoteOf(one), { ...snpParts(one), pcrs: pcrsOf(two) })).toBe("tpm.pcr-digest");
    expect(
      await check(quoteOf(one), { ...snpParts(one), hclReport: sample(`${two}/hcl_report.bin`) }),
    ).toMatch(/^snp\./);
    const grafted = sample(`${one}/hcl_report.bin`).slice();
    grafted.set(sample(`${two}/hcl_report.bin`).subarray(32, 1216), 32);
    const parts = {
      ...snpParts(one),
      hclReport: grafted,
      collateral: snpParts(two).collateral as Uint8Array,
    };
    expect(await check(quoteOf(one), parts)).toBe("azure.runtime-data");
    expect(await refusedBy(() => checkAzure("azure-tdx", quoteOf(one), snpParts(one), context))).toBe(
      "azure.report-type",
    );
  },
);

function tdxParts(at: string): AuxParts {
  const issuers = ["pck_crl", "qe_identity", "tcb_info"].flatMap((name) =>
    pemCertificates(sample(`${at}/${name}_issuer_chain.pem`)),
  );
  return {
    hclReport: sample(`${at}/hcl_report.bin`),
    pcrs: pcrsOf(at),
    hardwareQuote: sample(`${at}/td_quote.bin`),
    collateral: encodeCollateral({
      certificates: issuers,
      crls: [sample(`${at}/root_ca_crl.der`), sample(`${at}/pck_crl.der`)],
      tcbInfos: [sample(`${at}/tcb_info.json`)],
      qeIdentities: [sample(`${at}/qe_identity.json`)],
    }),
  };
}

test.runIf(hasEvidence)("sample azure-tdx/td10-outofdate fails by its TCB status only", async () => {
  const at = "azure-tdx/td10-outofdate";
  const expected = sampleJson(`${at}/expected.json`);
  expect(expected.expected).toBe("fail");
  const context = verifyAt(expected.verify_at);
  const facts = await checkAzure("azure-tdx", quoteOf(at), tdxParts(at), context);
  expect(toHex(facts.bound)).toBe(expected.tpm_quote.extra);
  const report = reportAzure(facts);
  expect(report.assurance).toBe("paravisor");
  const tdx = report.pins.tdx;
  if (tdx === undefined) throw new Error("no pins");
  const judge = (changes: Partial<typeof tdx>) =>
    settled((checks) => judgeAzure(facts, policyFrom(report.pins, { tdx: { ...tdx, ...changes } }), checks));
  judge({});
  let refusal: SealttyError["refusal"];
  try {
    judge({ tcbStatus: ["UpToDate"] });
  } catch (error) {
    if (error instanceof SealttyError) ({ refusal } = error);
  }
  expect(refusal?.check).toBe(TDX["td10-outofdate"]);
  expect(refusal?.others ?? []).toEqual([]);
});

test.runIf(hasEvidence)(
  "azure-tdx: the TDREPORT, the TD quote and the runtime data belong together",
  async () => {
    const at = "azure-tdx/td10-outofdate";
    const context = verifyAt("2025-07-08T00:00:00Z");
    const parts = tdxParts(at);
    const check = (changes: AuxParts) =>
      refusedBy(() => checkAzure("azure-tdx", quoteOf(at), { ...parts, ...changes }, context));
    const changed = (offset: number) => {
      const report = sample(`${at}/hcl_report.bin`).slice();
      report[offset] = (report[offset] as number) ^ 1;
      return report;
    };
    expect(await check({ hclReport: changed(32 + 128) })).toBe("azure.hardware-quote");
    expect(await check({ hclReport: changed(1236 + 100) })).toBe("azure.runtime-data");
    expect(await check({ hclReport: changed(32) })).toBe("azure.hcl-report");
    const { hardwareQuote: _, ...without } = parts;
    expect(await refusedBy(() => checkAzure("azure-tdx", quoteOf(at), without, context))).toBe(
      "azure.hardware-quote",
    );
  },
);

test.runIf(hasEvidence).each([
  ["azure-snp", "azure-snp/milan-v3-v1", 1],
  ["azure-tdx", "azure-tdx/td10-outofdate", 2],
] as const)(
  "%s: a changed byte in %s is refused, or is one that nothing was read from",
  async (type, at, version) => {
    const bytes = sample(`${at}/hcl_report.bin`);
    expect(parseHclReport(bytes).version).toBe(version);
    const context = verifyAt(sampleJson(`${at}/expected.json`).verify_at, {
      signatures: rememberingSignatures(),
    });
    const parts = type === "azure-snp" ? snpParts(at) : tdxParts(at);
    const quote = quoteOf(at);
    const good = reportAzure(await checkAzure(type, quote, parts, context));
    let harmless = 0;
    for (let offset = 0; offset < bytes.length; offset += 13) {
      const changed = bytes.slice();
      changed[offset] = (changed[offset] as number) ^ 0x01;
      try {
        const facts = await checkAzure(type, quote, { ...parts, hclReport: changed }, context);
        // Of a TDREPORT only the TD quote's copy is believed; the MAC is for its own machine.
        expect(type).toBe("azure-tdx");
        expect(offset).toBeGreaterThanOrEqual(32 + 1);
        expect(offset).toBeLessThan(32 + 1024);
        expect(reportAzure(facts)).toEqual(good);
        harmless++;
      } catch (error) {
        if (!(error instanceof SealttyError)) throw error;
        expect(error.code).toBe("evidence-refused");
      }
    }
    expect(harmless > 0).toBe(type === "azure-tdx");
  },
);
