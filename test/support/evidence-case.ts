// Runs one case of sample evidence, a directory with files and an expected.json, through the product's own verifiers. What
// the case expects decides nothing: of expected.json only the inputs are read (time, trust anchor, what the policy needs, nonce).

import { checkAzure, judgeAzure, reportAzure } from "../../protocol/attestation/azure/verify.ts";
import { checkCca } from "../../protocol/attestation/cca/verify.ts";
import { type Collateral, NO_COLLATERAL } from "../../protocol/attestation/collateral.ts";
import { checkNitro } from "../../protocol/attestation/nitro/verify.ts";
import {
  AZURE_DEFAULTS,
  POLICY_DEFAULTS,
  SNP_DEFAULTS,
  type SnpPolicy,
  TDX_DEFAULTS,
  type TdxPolicy,
} from "../../protocol/attestation/policy/model.ts";
import { parsing, refuse } from "../../protocol/attestation/refusal.ts";
import { SNP_PRODUCTS, type TrustRoots, VENDOR_ROOTS } from "../../protocol/attestation/roots.ts";
import { parseSnpReport } from "../../protocol/attestation/sev-snp/report.ts";
import { type SnpFacts, checkSnp, judgeSnp, reportSnp } from "../../protocol/attestation/sev-snp/verify.ts";
import { judgeTdx } from "../../protocol/attestation/tdx/judge.ts";
import { reportTdx } from "../../protocol/attestation/tdx/report.ts";
import { type TdxFacts, checkTdx } from "../../protocol/attestation/tdx/verify.ts";
import { parseEventLog } from "../../protocol/attestation/tpm/event-log-format.ts";
import { textOfEvent } from "../../protocol/attestation/tpm/event-text.ts";
import { encodeTpmQuote } from "../../protocol/attestation/tpm/quote.ts";
import type { VerifyContext } from "../../protocol/attestation/verify-context.ts";
import { parseCertificate } from "../../protocol/attestation/x509/certificate.ts";
import { pemCertificates } from "../../protocol/attestation/x509/pem.ts";
import { concat, lv16, toHex, u16 } from "../../protocol/bytes.ts";
import type { HardwareKey } from "../../protocol/crypto/signatures.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { bootPcrs, checkTpmFiles, pcrList } from "./evidence-case-tpm.ts";
import { CASE_CRYPTO, EvidenceCase, type Verdict, memberOf, requireNonce, settle } from "./evidence-files.ts";

export interface CaseResult {
  /** `snp/genoa-v3-yaxi`. */
  readonly name: string;
  readonly kind: string;
  readonly verdict: Verdict;
  /** Of the refusal: the stable name of the check. */
  readonly check: string | undefined;
  readonly sentence: string | undefined;
  /** Names of the other checks that failed beside it. */
  readonly others: readonly string[];
  /** TDX, where the quote's verification got that far. */
  readonly tcbStatus?: string;
  readonly advisories?: readonly string[];
  /** What the report leaves open, as a user would be told. */
  readonly notVerified?: readonly string[];
}

/** What a run finds out on its way: kept where a later check refuses. */
type Told = { -readonly [key in "tcbStatus" | "advisories" | "notVerified"]?: CaseResult[key] };

/** A Nitro document says when it was made, its certificate lives for three hours: nobody keeps one longer than this. */
const NITRO_MAX_AGE = 3_600_000;

/** @param directory - with an expected.json. @throws Error where the case itself makes no sense, or a verifier broke. */
export async function runCase(directory: string): Promise<CaseResult> {
  const each = new EvidenceCase(directory);
  const { name, kind } = each;
  const told: Told = {};
  const run = RUNNERS.get(kind);
  if (run === undefined) throw new Error(`${name} is of a kind that nobody here knows: ${kind}`);
  try {
    const verdict = await run(each, told);
    return { name, kind, verdict, check: undefined, sentence: undefined, others: [], ...told };
  } catch (error) {
    if (!(error instanceof SealttyError) || error.refusal === undefined) throw error;
    const { check, others = [] } = error.refusal;
    const names = others.map((other) => other.check);
    return { name, kind, verdict: "fail", check, sentence: error.message, others: names, ...told };
  }
}

const RUNNERS: ReadonlyMap<string, (each: EvidenceCase, told: Told) => Promise<Verdict>> = new Map([
  ["snp", runSnp],
  ["tdx", runTdx],
  ["azure-snp", runAzure],
  ["azure-tdx", runAzure],
  ["tpm", runTpm],
  ["nitro", runNitro],
  ["cca", runCca],
  ["eventlog", runEventLog],
]);

function contextOf(each: EvidenceCase, roots: TrustRoots, collateral = NO_COLLATERAL): VerifyContext {
  return { ...CASE_CRYPTO, now: each.now, clockSkew: 0, roots, collateral };
}

/** SHA-256 of the key that a certificate is for, hex; undefined where there is no whole certificate: nothing is trusted then. */
function pinOf(certificate: Uint8Array | undefined): { pin: string; commonName: string } | undefined {
  try {
    const { spki, subjectCommonName } = parseCertificate(certificate ?? new Uint8Array());
    return { pin: toHex(CASE_CRYPTO.suite.sha256(spki)), commonName: subjectCommonName ?? "" };
  } catch {
    return undefined;
  }
}

// --- SEV-SNP ------------------------------------------------------------------------------------------------------------

const AMD_CERTIFICATES = ["vcek.der", "vlek.der", "ask.der", "asvk.der", "ark.der"];

function amdContext(each: EvidenceCase): VerifyContext {
  const certificates = each.files(...AMD_CERTIFICATES);
  const collateral: Collateral = { ...NO_COLLATERAL, certificates, crls: each.files("crl.der") };
  const own = each.ownAnchor ? pinOf(each.file("ark.der")) : undefined;
  const product = SNP_PRODUCTS.find((line) => own?.commonName === `ARK-${line}`);
  const roots =
    own === undefined || product === undefined
      ? VENDOR_ROOTS
      : { ...VENDOR_ROOTS, amd: { ...VENDOR_ROOTS.amd, [product]: [own.pin] } };
  return contextOf(each, roots, collateral);
}

/** Neither product nor machine is restricted: a Milan, which counts only where it is named, is named as it is found. */
function snpBaseline(each: EvidenceCase, { report, endorsement, product }: SnpFacts): SnpPolicy {
  const baseline: SnpPolicy = {
    ...SNP_DEFAULTS,
    // The bit came with version 3 of the report.
    aliasCheck: report.version === 2 ? "any" : "required",
    // Most cases bring no list; one that does is about it.
    crl: each.has("crl.der") ? "required" : "if-present",
    ...(product === "Milan" && endorsement.kind === "vcek" ? { chipIds: [toHex(report.chipId)] } : {}),
    ...(product === "Milan" && endorsement.cspId !== undefined ? { cspIds: [endorsement.cspId] } : {}),
  };
  return each.loosened(baseline, [
    [/^vmpl=([0-3])$/, (level) => ({ vmpls: [Number(level)] })],
    [/^allow_vlek$/, () => ({ signingKeys: ["vcek", "vlek"] })],
    [/^permit_provisional_firmware$/, () => ({ allowProvisionalFirmware: true })],
    [/^allow_debug$/, () => ({ allowDebug: true })],
    [/^allow_migrate_ma$/, () => ({ allowMigrationAgent: true })],
  ]);
}

async function runSnp(each: EvidenceCase, told: Told): Promise<Verdict> {
  const report = each.file("report.bin");
  if (!each.hasTime && each.files(...AMD_CERTIFICATES).length === 0) {
    parsing("snp.report", "The SEV-SNP report", () => parseSnpReport(report));
    return "parse-ok";
  }
  const facts = await checkSnp(report, undefined, NO_COLLATERAL, amdContext(each));
  told.notVerified = reportSnp(facts).notVerified;
  settle((checks) => judgeSnp(facts, snpBaseline(each, facts), checks));
  return "pass";
}

// --- TDX ----------------------------------------------------------------------------------------------------------------

const ISSUER_CHAINS = ["pck_crl", "tcb_info", "qe_identity"].map((name) => `${name}_issuer_chain.pem`);

function intelContext(each: EvidenceCase): VerifyContext {
  const chains = parsing("tdx.collateral-format", "An issuer chain in the collateral", () =>
    each.files(...ISSUER_CHAINS).map((text) => pemCertificates(text)),
  );
  const collateral: Collateral = {
    certificates: chains.flat(),
    crls: each.files("pck_crl.der", "root_ca_crl.der"),
    tcbInfos: each.files("tcb_info.json"),
    qeIdentities: each.files("qe_identity.json"),
  };
  const own = each.ownAnchor
    ? pinOf(each.has(ISSUER_CHAINS[0] ?? "") ? chains[0]?.at(-1) : undefined)
    : undefined;
  return contextOf(
    each,
    own === undefined ? VENDOR_ROOTS : { ...VENDOR_ROOTS, intel: [own.pin] },
    collateral,
  );
}

function tdxBaseline(each: EvidenceCase): TdxPolicy {
  const evaluation = /min_tcb_evaluation_data_number\s*=\s*(\d+)/.exec(each.notes)?.[1];
  return each.loosened<TdxPolicy>({ ...TDX_DEFAULTS, minimumTcbEvaluation: Number(evaluation ?? 0) }, [
    [/^mr_servicetd pinned to ([0-9a-f]{96})$/, (value) => ({ mrServiceTd: [value] })],
    [/^allow_debug$/, () => ({ allowDebug: true })],
  ]);
}

function tellTcb(told: Told, { status, advisories }: TdxFacts): void {
  told.tcbStatus = status;
  told.advisories = advisories;
}

async function runTdx(each: EvidenceCase, told: Told): Promise<Verdict> {
  const facts = await checkTdx(each.file("quote.bin"), NO_COLLATERAL, intelContext(each));
  tellTcb(told, facts);
  told.notVerified = reportTdx(facts, each.files("ccel.bin")[0]).notVerified;
  settle((checks) => judgeTdx(facts, tdxBaseline(each), checks));
  return "pass";
}

// --- Azure --------------------------------------------------------------------------------------------------------------

/** The paravisor is believed as it is found, its VM may have a host console: the baseline is about hardware, quote and nonce. */
async function runAzure(each: EvidenceCase, told: Told): Promise<Verdict> {
  const type = each.kind === "azure-tdx" ? "azure-tdx" : "azure-snp";
  const attest = each.file("tpm_quote.msg");
  // Azure's tools hand out the bare signature; a TPM wraps it: RSASSA, SHA-256.
  const quote = parsing("tpm.format", "The vTPM's quote", () => {
    const signature = concat(u16(0x14), u16(0x0b), lv16(each.file("tpm_quote.sig")));
    return encodeTpmQuote({ attest, signature });
  });
  const pcrs = pcrList(each, attest);
  const eventLog = each.files("eventlog.bin")[0];
  const facts = await checkAzure(
    type,
    quote,
    {
      hclReport: each.file("hcl_report.bin"),
      ...(pcrs.length === 0 ? {} : { pcrs }),
      ...(eventLog === undefined ? {} : { eventLog }),
      ...(each.has("td_quote.bin") ? { hardwareQuote: each.file("td_quote.bin") } : {}),
    },
    type === "azure-tdx" ? intelContext(each) : amdContext(each),
  );
  const { hardware } = facts;
  if (hardware.kind === "tdx") tellTcb(told, hardware.facts);
  told.notVerified = reportAzure(facts).notVerified;
  requireNonce("azure.binding", facts.bound, each.nonce());
  const policy = {
    ...POLICY_DEFAULTS,
    minimumAssurance: "paravisor",
    azure: { ...AZURE_DEFAULTS, ...bootPcrs(facts.pcrs), allowHostConsole: true, allowNoSecureBoot: true },
    snp:
      hardware.kind === "snp"
        ? { ...snpBaseline(each, hardware.facts), measurements: [toHex(hardware.facts.report.measurement)] }
        : undefined,
    // Azure's paravisor TDs do not set SEPT_VE_DISABLE; it handles the exception itself.
    tdx:
      hardware.kind === "tdx"
        ? { ...tdxBaseline(each), allowSeptVe: true, mrtd: [toHex(hardware.facts.body.mrTd)] }
        : undefined,
  } as const;
  settle((checks) => judgeAzure(facts, policy, checks));
  return "pass";
}

// --- the others ---------------------------------------------------------------------------------------------------------

async function runTpm(each: EvidenceCase, told: Told): Promise<Verdict> {
  const result = await checkTpmFiles(each);
  if (result.notVerified !== undefined) told.notVerified = result.notVerified;
  return result.verdict;
}

async function runNitro(each: EvidenceCase): Promise<Verdict> {
  const own = each.ownAnchor ? pinOf(each.file("root_g1.der")) : undefined;
  const roots = own === undefined ? VENDOR_ROOTS : { ...VENDOR_ROOTS, nitro: [own.pin] };
  await checkNitro(each.file("document.cbor"), contextOf(each, roots), NITRO_MAX_AGE);
  return "pass";
}

async function runCca(each: EvidenceCase): Promise<Verdict> {
  const key = parsing("cca.platform-key", "The platform's key", (): HardwareKey => {
    const jwk = each.json("platform_key.jwk");
    const [x, y] = ["x", "y"].map((name) => {
      const coordinate = memberOf(jwk, name);
      return new Uint8Array(Buffer.from(typeof coordinate === "string" ? coordinate : "", "base64url"));
    });
    if (memberOf(jwk, "kty") !== "EC" || x === undefined || y === undefined || x.length !== y.length)
      throw new SealttyError("peer-misbehaved", "The platform's key is not one of an elliptic curve");
    return { kind: "ec", x, y };
  });
  await checkCca(each.file("token.cbor"), key, CASE_CRYPTO);
  return "pass";
}

/** Parsed and told whole; what a log is worth, the quoted registers say. */
async function runEventLog(each: EvidenceCase): Promise<Verdict> {
  const log = parsing("event-log.format", "The event log", () => parseEventLog(each.file("eventlog.bin")));
  if (log.format === "empty")
    refuse("event-log.format", "The event log is empty", "a header", "nothing", "Take the whole log.");
  if (log.format === "crypto-agile") for (const event of log.events) textOfEvent(event);
  return "parse-ok";
}
