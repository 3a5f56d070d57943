// SEV-SNP evidence, checked from the bytes of the report up to AMD's pinned root key; nothing here needs a policy.
// judge.ts compares the facts with the owner's policy, words.ts tells them.

import { equalBytes, isZero, toHex } from "../../bytes.ts";
import type { Collateral } from "../collateral.ts";
import { parsing, refuse } from "../refusal.ts";
import type { SnpProduct } from "../roots.ts";
import type { VerifyContext } from "../verify-context.ts";
import type { Certificate } from "../x509/certificate.ts";
import { checkChain, firstThatHolds } from "./chain.ts";
import { type Endorsement, parseEndorsement } from "./endorsement.ts";
import type { SnpFacts } from "./facts.ts";
import { type Pool, poolOf } from "./pool.ts";
import { type EndorsementKind, LEAF_NAMES, productOfCpuid, rootName } from "./product.ts";
import { type SnpReport, parseSnpReport } from "./report.ts";
import { decodeTcb, encodeTcb, tcbParts, tcbWords } from "./tcb.ts";

export type { SnpFacts } from "./facts.ts";
export { judgeSnp } from "./judge.ts";
export { reportSnp } from "./words.ts";

interface Candidate {
  readonly certificate: Certificate;
  readonly endorsement: Endorsement;
}

const NEXT_CERTIFICATE =
  "The host, or the guest's image, must provide the certificate that AMD issued for this chip and firmware; or fetch it yourself, with the evidence in FILE: `sealtty collateral fetch --for FILE`, or name a directory that has it: `--collateral DIR`.";

/**
 * Everything about a report that needs no policy and no binder.
 * @param report - ATTESTATION_REPORT. @param certificateTable - as the host provisioned it, if it did.
 * @param collateral - what travelled with the evidence. @throws SealttyError `evidence-refused`.
 */
export async function checkSnp(
  report: Uint8Array,
  certificateTable: Uint8Array | undefined,
  collateral: Collateral,
  context: VerifyContext,
): Promise<SnpFacts> {
  const parsed = parsing("snp.report", "The SEV-SNP report", () => parseSnpReport(report));
  const signature = requireSigned(parsed);
  const product = parsed.cpuid === undefined ? undefined : requireProduct(parsed.cpuid);
  const pool = poolOf(certificateTable, collateral, context);
  const { fitting, closest, difference } = candidatesFor(parsed, product, pool);
  if (difference !== undefined) {
    // A certificate that AMD never made is the worse news: its contents do not count. Of another product there is no root
    // to ask, and that it is of another product is news enough.
    const name = rootName(closest.endorsement.product);
    if (pool.certificates.some(({ subjectCommonName }) => subjectCommonName === name))
      await checkChain(closest.certificate, closest.endorsement, pool, context);
    refuse(difference.check, difference.problem, difference.expected, difference.found, NEXT_CERTIFICATE);
  }
  const { candidate, chain } = await firstThatHolds(
    `snp.${signature.kind}-chain`,
    fitting,
    async (tried) => ({
      candidate: tried,
      chain: await checkChain(tried.certificate, tried.endorsement, pool, context),
    }),
  );
  const { certificate, endorsement } = candidate;
  const holds = await context.signatures.verify(
    "ecdsa-p384-sha384",
    certificate.key,
    parsed.signed,
    signature.bytes,
  );
  if (!holds) {
    refuse(
      "snp.signature",
      "The SEV-SNP report's signature does not hold",
      `a signature by the ${signature.kind.toUpperCase()} of the certificate`,
      "another",
      "Ask for evidence again; if it stays, something on the way changes it, or the certificate is of another boot's firmware.",
    );
  }
  return {
    report: parsed,
    product: endorsement.product,
    endorsement,
    tcb: tcbsOf(parsed, endorsement.product),
    root: chain.root,
    crl: chain.crl,
  };
}

function requireSigned(report: SnpReport): { bytes: Uint8Array; kind: EndorsementKind } {
  const { signature, signingKey } = report;
  if (report.chipKeyMasked || signature === undefined) {
    return refuse(
      "snp.chip-key-masked",
      "The firmware did not sign the report: the host has masked the chip's key, or the signature was taken out",
      "a signature",
      report.chipKeyMasked ? "MASK_CHIP_KEY" : "zeros",
      "The host must not mask the chip's key (MASK_CHIP_KEY in SNP_CONFIG).",
    );
  }
  if (signingKey === "none") {
    return refuse(
      "snp.signing-key",
      "The report says that no key signed it",
      "VCEK or VLEK",
      "none",
      "The host must configure the firmware to sign reports.",
    );
  }
  return { bytes: signature, kind: signingKey };
}

function requireProduct(cpuid: NonNullable<SnpReport["cpuid"]>): SnpProduct {
  return (
    productOfCpuid(cpuid) ??
    refuse(
      "snp.product",
      "The report is from a processor that this version does not know",
      "Milan, Genoa or Turin",
      `family ${cpuid.family}, model ${cpuid.model}`,
      "A newer version of sealtty may know it.",
    )
  );
}

interface Candidates {
  /** The certificates that say of themselves that they are for exactly this chip (or a cloud) and firmware. */
  readonly fitting: readonly Candidate[];
  /** The one that differs least. */
  readonly closest: Candidate;
  /** What differs in it; undefined where some fit. */
  readonly difference: Difference | undefined;
}

/** Picks by contents, before any signature. @throws SealttyError `evidence-refused` where there is nothing to pick from. */
function candidatesFor(report: SnpReport, product: SnpProduct | undefined, pool: Pool): Candidates {
  const kind = report.signingKey === "vlek" ? "vlek" : "vcek";
  const words = kind.toUpperCase();
  const named = (name: string) =>
    pool.certificates.filter(({ subjectCommonName }) => subjectCommonName === name);
  const leaves = named(LEAF_NAMES[kind]);
  if (leaves.length === 0) {
    const other = kind === "vcek" ? "vlek" : "vcek";
    const wrong = named(LEAF_NAMES[other]).length > 0;
    refuse(
      wrong ? "snp.signing-key" : "snp.certificate",
      wrong
        ? `The report says that a ${words} signed it, and there is only a ${other.toUpperCase()} certificate`
        : `The ${words} certificate of the key that signed the report is missing`,
      words,
      wrong ? other.toUpperCase() : "none",
      NEXT_CERTIFICATE,
    );
  }
  if (kind === "vcek" && isZero(report.chipId)) {
    refuse(
      "snp.chip-id",
      "The platform masks CHIP_ID, so nothing says that the VCEK certificate is this chip's",
      "CHIP_ID",
      "zeros",
      "The host must not mask CHIP_ID (MASK_CHIP_ID in SNP_CONFIG) where reports are signed with a VCEK.",
    );
  }
  const all = leaves.map((certificate) => {
    const endorsement = parsing(`snp.${kind}-extensions`, `The ${words} certificate`, () =>
      parseEndorsement(certificate, kind),
    );
    const difference = differenceOf(report, product, endorsement);
    return { candidate: { certificate, endorsement }, difference };
  });
  const sorted = all.toSorted((a, b) => agreement(b.difference) - agreement(a.difference));
  const first = sorted[0] as (typeof all)[number]; // there is a leaf
  return {
    fitting: all.filter(({ difference }) => difference === undefined).map(({ candidate }) => candidate),
    closest: first.candidate,
    difference: first.difference,
  };
}

interface Difference {
  /** 0 to 2: how far the comparison came. */
  readonly rank: number;
  readonly check: string;
  readonly problem: string;
  readonly expected: string;
  readonly found: string;
}

/** The higher, the more agrees. */
function agreement(difference: Difference | undefined): number {
  return difference?.rank ?? 3;
}

/** What keeps a certificate from being that of the key that signed. */
function differenceOf(
  report: SnpReport,
  product: SnpProduct | undefined,
  endorsement: Endorsement,
): Difference | undefined {
  const words = endorsement.kind.toUpperCase();
  if (product !== undefined && product !== endorsement.product) {
    return {
      rank: 0,
      check: "snp.product",
      problem: `The ${words} certificate is for another product than the processor that the report is from`,
      expected: product,
      found: endorsement.product,
    };
  }
  const { hwId } = endorsement;
  if (hwId !== undefined) {
    const head = report.chipId.subarray(0, hwId.length);
    if (!equalBytes(head, hwId) || !isZero(report.chipId.subarray(hwId.length))) {
      return {
        rank: 1,
        check: "snp.chip-id",
        problem: "The VCEK certificate is of another chip than the report",
        expected: toHex(report.chipId),
        found: toHex(hwId),
      };
    }
  }
  if (!equalBytes(report.reportedTcb, encodeTcb(endorsement.tcb, endorsement.product))) {
    return {
      rank: 2,
      check: "snp.reported-tcb",
      problem: `The ${words} certificate is for other firmware versions than the report (REPORTED_TCB)`,
      expected: tcbWords(tcbParts(report.reportedTcb, endorsement.product)),
      found: tcbWords(endorsement.tcb),
    };
  }
  return undefined;
}

function tcbsOf(report: SnpReport, product: SnpProduct): SnpFacts["tcb"] {
  return parsing("snp.report", "The SEV-SNP report", () => ({
    current: decodeTcb(report.currentTcb, product),
    reported: decodeTcb(report.reportedTcb, product),
    committed: decodeTcb(report.committedTcb, product),
    launch: decodeTcb(report.launchTcb, product),
  }));
}
