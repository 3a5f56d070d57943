// Evidence of an Azure confidential VM, checked from the hardware down: processor → paravisor's report → runtime data → key
// of the vTPM → quote. The paravisor is Microsoft's and is trusted for all below it: assurance "paravisor".

import { sha384 } from "@noble/hashes/sha2.js";
import { concat, equalBytes, toHex } from "../../bytes.ts";
import { SealttyError } from "../../errors.ts";
import { AUX_PARTS, type AuxParts } from "../aux.ts";
import { NO_COLLATERAL, decodeCollateral } from "../collateral.ts";
import { parsing, refuse } from "../refusal.ts";
import type { SnpFacts } from "../sev-snp/facts.ts";
import { checkSnp } from "../sev-snp/verify.ts";
import { checkTdx } from "../tdx/verify.ts";
import { parsePcrValues } from "../tpm/pcr.ts";
import { TPM_ALG } from "../tpm/public.ts";
import { decodeTpmQuote } from "../tpm/quote.ts";
import { checkQuote, quotedBank, quotedEventLog } from "../tpm/quoted.ts";
import type { VerifyContext } from "../verify-context.ts";
import type { AzureFacts, AzureHardware } from "./facts.ts";
import { type HclHash, type HclReport, parseHclReport, reportDataOfTdReport } from "./hcl.ts";
import { parseRuntimeClaims } from "./runtime-claims.ts";

export type { AzureFacts } from "./facts.ts";
export { judgeAzure } from "./judge.ts";
export { reportAzure } from "./report.ts";

const TYPES = { "azure-snp": "snp", "azure-tdx": "tdx" } as const;
export type AzureType = keyof typeof TYPES;

const EXPONENT = Uint8Array.of(1, 0, 1);
const NEXT_CHANGED =
  "Connect again; if it stays, something between you and the guest changes the evidence, or another guest answers.";

/**
 * Everything about Azure evidence that needs no policy and no binder.
 * @param quote - tpm/quote.ts, by the vTPM's key at 0x81000003. @throws SealttyError `evidence-refused`.
 */
export async function checkAzure(
  type: AzureType,
  quote: Uint8Array,
  parts: AuxParts,
  context: VerifyContext,
): Promise<AzureFacts> {
  const report = parsing("azure.hcl-report", "Azure's HCL report", () =>
    parseHclReport(required(parts, "hclReport")),
  );
  if (report.type !== TYPES[type]) {
    refuse(
      "azure.report-type",
      "Azure's HCL report holds another kind of hardware report than the evidence says",
      TYPES[type],
      report.type,
      "The guest's sealttyd must name the evidence by the hardware that it runs on.",
    );
  }
  const hardware = await checkHardware(report, parts, context);
  requireRuntimeData(report, hardware, context);
  const claims = parsing("azure.runtime-data", "Azure's runtime data", () =>
    parseRuntimeClaims(report.runtimeData),
  );

  const container = parsing("tpm.format", "The vTPM's quote", () => decodeTpmQuote(quote));
  const pcrs = parsing("tpm.format", "The PCR values beside the vTPM's quote", () =>
    parsePcrValues(required(parts, "pcrs")),
  );
  const akId = toHex(context.suite.sha256(claims.akModulus));
  const key = {
    key: { kind: "rsa", modulus: claims.akModulus, exponent: EXPONENT },
    scheme: TPM_ALG.rsassa,
    name: `the vTPM key ${akId}`,
    check: "azure.quote-signature",
    problem: "The vTPM's quote is not signed by the key that Azure's paravisor vouches for",
  } as const;
  const facts = await checkQuote(container, pcrs, key, context);
  const bank = quotedBank(facts);
  const log = quotedEventLog(pcrs, parts.eventLog ?? new Uint8Array(), bank, context.suite);
  return { ...facts, hardware, claims, akId, bank, log };
}

async function checkHardware(
  report: HclReport,
  parts: AuxParts,
  context: VerifyContext,
): Promise<AzureHardware> {
  const collateral =
    parts.collateral === undefined
      ? NO_COLLATERAL
      : parsing("azure.collateral", "The collateral beside the quote", () =>
          decodeCollateral(parts.collateral ?? new Uint8Array()),
        );
  if (report.type === "snp") {
    const facts = await checkSnp(report.hardwareReport, parts.certificateTable, collateral, context);
    requireParavisor(facts);
    return { kind: "snp", facts };
  }
  const quote = parsing("azure.hardware-quote", "The data beside the vTPM's quote", () =>
    required(parts, "hardwareQuote"),
  );
  const facts = await checkTdx(quote, collateral, context);
  const asked = parsing("azure.hcl-report", "Azure's HCL report", () =>
    reportDataOfTdReport(report.hardwareReport),
  );
  if (!equalBytes(facts.body.reportData, asked)) {
    refuse(
      "azure.hardware-quote",
      "The TD quote was not made from the paravisor's report",
      toHex(asked),
      toHex(facts.body.reportData),
      NEXT_CHANGED,
    );
  }
  return { kind: "tdx", facts };
}

/** The guest's own software runs at a lower level: with a report of its own it could vouch for any key. No policy changes this. */
function requireParavisor(facts: SnpFacts): void {
  if (facts.report.vmpl === 0) return;
  refuse(
    "azure.vmpl",
    "The hardware report was made by the guest's own software, not by Azure's paravisor",
    "VMPL 0",
    `VMPL ${facts.report.vmpl}`,
    "Have the guest's sealttyd send the report that the vTPM holds.",
  );
}

/** REPORT_DATA begins with the hash of the runtime data, and is zero behind it. */
function requireRuntimeData(
  report: HclReport,
  { facts }: AzureHardware,
  { suite }: Pick<VerifyContext, "suite">,
): void {
  const hashes: Readonly<Record<HclHash, (message: Uint8Array) => Uint8Array>> = {
    sha256: (message) => suite.sha256(message),
    sha384: (message) => sha384(message),
    sha512: (message) => suite.sha512(message),
  };
  const digest = hashes[report.hash](report.runtimeData);
  const expected = concat(digest, new Uint8Array(64 - digest.length));
  const found = "body" in facts ? facts.body.reportData : facts.report.reportData;
  if (equalBytes(found, expected)) return;
  refuse(
    "azure.runtime-data",
    "Azure's runtime data is not what the hardware report covers: it was changed, or is another guest's",
    toHex(expected),
    toHex(found),
    NEXT_CHANGED,
  );
}

/** @throws SealttyError `peer-misbehaved`. */
function required(parts: AuxParts, part: "hclReport" | "pcrs" | "hardwareQuote"): Uint8Array {
  const value = parts[part];
  if (value !== undefined) return value;
  throw new SealttyError(
    "peer-misbehaved",
    `Data beside the vTPM's quote lacks part ${AUX_PARTS[part].number}`,
  );
}
