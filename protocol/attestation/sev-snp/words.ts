// A checked SEV-SNP report told: words for people, values that tell guests and boots apart, and the policy that it meets.

import { isZero, toHex } from "../../bytes.ts";
import type { EvidenceReport } from "../appraised-report.ts";
import { SNP_DEFAULTS, type SnpPolicy } from "../policy/model.ts";
import type { CheckedLine, ClaimedValue } from "../verified-guest.ts";
import { timeWords } from "../validity.ts";
import { type SnpFacts, hasMigrationAgent, isProvisional } from "./facts.ts";
import { intermediateName, rootName } from "./product.ts";
import { type GuestPolicy, firmwareWords } from "./report.ts";
import { minimumOf, tcbWords } from "./tcb.ts";

export function reportSnp(facts: SnpFacts): EvidenceReport {
  const { report, product, endorsement } = facts;
  const measurement = toHex(report.measurement);
  const chip = isZero(report.chipId) ? undefined : chipWords(facts);
  return {
    assurance: "hardware",
    bound: report.reportData,
    signedBy:
      endorsement.cspId === undefined
        ? `AMD EPYC ${product}, with the chip's own key (VCEK)`
        : `AMD EPYC ${product}, with a key that AMD lent to ${endorsement.cspId} (VLEK)`,
    what: `A SEV-SNP guest with the launch measurement ${measurement}`,
    which: chip === undefined ? "The machine hides which chip it has" : `The machine with the chip ${chip}`,
    documentDigest: isZero(report.hostData)
      ? undefined
      : { hash: "sha256", value: report.hostData, field: "HOST_DATA" },
    verified: verifiedLines(facts),
    notVerified: [
      "Physical attacks on the machine: who can open it can tap its memory, and has taken keys out of such chips",
      "What ran after the launch: the measurement covers the memory that the guest began with, and what that checks in turn",
      ...(report.reportIdMa.every((byte) => byte === 0xff)
        ? []
        : ["The migration agent that may move the guest"]),
    ],
    warnings: warningsOf(facts),
    values: valuesOf(facts),
    pins: { snp: pinsOf(facts), tdx: undefined, azure: undefined, tpm: undefined },
  };
}

/** CHIP_ID without the zeros that Turin's ends with. */
function chipWords({ report, endorsement, product }: SnpFacts): string {
  return toHex(report.chipId.subarray(0, endorsement.hwId?.length ?? (product === "Turin" ? 8 : 64)));
}

function verifiedLines(facts: SnpFacts): CheckedLine[] {
  const { endorsement, product, root, crl, tcb } = facts;
  const key = endorsement.kind.toUpperCase();
  const lines: CheckedLine[] = [
    {
      check: "snp.root",
      words: `${rootName(product)} is AMD's root key, as pinned in this program`,
      value: root,
    },
    {
      check: `snp.${endorsement.kind}-chain`,
      words: `AMD certified the ${key}: signed by ${intermediateName(endorsement.kind, product)}, and that by ${rootName(product)}`,
    },
    { check: "snp.signature", words: `The ${key} signed the report`, value: "ECDSA P-384 with SHA-384" },
    {
      check: "snp.reported-tcb",
      words: `The ${key} is that of the firmware that the report names`,
      value: tcbWords(tcb.reported),
    },
  ];
  if (endorsement.hwId !== undefined) {
    lines.push({
      check: "snp.chip-id",
      words: "The VCEK is that of the chip that the report names",
      value: toHex(endorsement.hwId),
    });
  }
  if (crl !== "absent") {
    lines.push({
      check: "snp.crl",
      words: `${intermediateName(endorsement.kind, product)} is not on AMD's revocation list`,
      value: `of ${timeWords(crl.thisUpdate)}, until ${timeWords(crl.nextUpdate)}`,
    });
  }
  return lines;
}

function warningsOf(facts: SnpFacts): string[] {
  const { report, product, endorsement, crl } = facts;
  const warnings: [boolean, string][] = [
    [report.policy.debug, "The guest may be debugged: the host can read and change all of its memory"],
    [hasMigrationAgent(facts), "A migration agent may move the guest's memory to another machine"],
    [
      report.vmpl !== 0,
      `The report comes from privilege level ${report.vmpl}: software above it, often the cloud's, can read and change the guest`,
    ],
    [
      isProvisional(facts),
      "The platform's firmware is provisional: the host can still go back to an older one",
    ],
    [
      !report.platform.aliasCheckComplete,
      "The firmware has not checked the memory for aliases: doctored modules can undo the encryption (BadRAM)",
    ],
    [
      product === "Milan",
      "Milan processors: the root of their keys can be taken out with software alone, so a report is worth as much as the machine's operator",
    ],
    [
      endorsement.kind === "vlek",
      "The key that signed is lent to a cloud, which uses it for all of its machines",
    ],
    [crl === "absent", "Nothing says whether AMD has revoked the certificates: there is no revocation list"],
  ];
  return warnings.filter(([applies]) => applies).map(([, words]) => words);
}

function valuesOf(facts: SnpFacts): ClaimedValue[] {
  const { report, product, tcb, endorsement } = facts;
  const lasting = (name: string, words: string, value: string): ClaimedValue => ({
    name: `snp.${name}`,
    words,
    value,
    scope: "lasting",
  });
  const digest = (name: string, words: string, bytes: Uint8Array) =>
    isZero(bytes) ? [] : [lasting(name, words, toHex(bytes))];
  return [
    lasting("measurement", "Launch measurement (MEASUREMENT)", toHex(report.measurement)),
    ...digest("host-data", "Host data (HOST_DATA)", report.hostData),
    ...digest("id-key", "Key of the identity block (ID_KEY_DIGEST)", report.idKeyDigest),
    ...(report.authorKeyEnabled
      ? digest("author-key", "Author key (AUTHOR_KEY_DIGEST)", report.authorKeyDigest)
      : []),
    ...digest("family-id", "FAMILY_ID", report.familyId),
    ...digest("image-id", "IMAGE_ID", report.imageId),
    lasting("guest-svn", "Security version of the guest (GUEST_SVN)", `${report.guestSvn}`),
    lasting("chip-id", "Chip (CHIP_ID)", isZero(report.chipId) ? "masked" : chipWords(facts)),
    ...(endorsement.cspId === undefined ? [] : [lasting("csp-id", "Cloud", endorsement.cspId)]),
    lasting("product", "Processor", `AMD EPYC ${product}`),
    lasting("signing-key", "Kind of key that signed", endorsement.kind.toUpperCase()),
    lasting("vmpl", "Privilege level (VMPL)", `${report.vmpl}`),
    lasting("policy", "Launch policy of the guest", policyWords(report.policy)),
    lasting("platform", "Platform (PLATFORM_INFO)", platformWords(facts)),
    lasting("firmware", "Firmware of the platform", firmwareWords(report.currentFirmware)),
    lasting("reported-tcb", "Firmware versions (REPORTED_TCB)", tcbWords(tcb.reported)),
    lasting("launch-tcb", "Firmware versions at the guest's start (LAUNCH_TCB)", tcbWords(tcb.launch)),
    ...(report.currentMitigation === undefined
      ? []
      : [lasting("mitigation", "Mitigations of the firmware", report.currentMitigation)]),
    {
      name: "snp.report-id",
      words: "This boot of the guest (REPORT_ID)",
      value: toHex(report.reportId),
      scope: "boot",
    },
  ];
}

function policyWords(policy: GuestPolicy): string {
  const words = [
    `ABI ${policy.abiMajor}.${policy.abiMinor} or newer`,
    policy.smt ? "SMT allowed" : "no SMT",
    policy.debug ? "debugging allowed" : "no debugging",
    policy.migrationAgent ? "migration agent allowed" : "no migration agent",
    ...(policy.singleSocket ? ["one socket"] : []),
    ...(policy.cxl ? ["CXL allowed"] : []),
    ...(policy.aes256Xts ? ["AES-256-XTS"] : []),
    ...(policy.raplDisabled ? ["no power readings"] : []),
    ...(policy.ciphertextHiding ? ["ciphertext hidden"] : []),
    ...(policy.pageSwapDisabled ? ["no page swapping"] : []),
  ];
  return `${words.join(", ")} (${policy.hex})`;
}

function platformWords({ report: { platform } }: SnpFacts): string {
  const words = [
    platform.smt ? "SMT on" : "SMT off",
    ...(platform.tsme ? ["TSME on"] : []),
    ...(platform.ecc ? ["ECC memory"] : []),
    ...(platform.raplDisabled ? ["power readings off"] : []),
    ...(platform.ciphertextHiding ? ["ciphertext hidden"] : []),
    platform.aliasCheckComplete ? "memory checked for aliases" : "memory not checked for aliases",
    ...(platform.tio ? ["trusted I/O on"] : []),
  ];
  return `${words.join(", ")} (${platform.hex})`;
}

/** The strictest policy that this report meets: what is there is pinned, and a switch is loosened only where it must be. */
function pinsOf(facts: SnpFacts): SnpPolicy {
  const { report, product, endorsement, tcb, crl } = facts;
  const unlessZero = (bytes: Uint8Array) => (isZero(bytes) ? [] : [toHex(bytes)]);
  const chipIds = unlessZero(report.chipId);
  const cspIds = endorsement.cspId === undefined ? [] : [endorsement.cspId];
  return {
    ...SNP_DEFAULTS,
    measurements: [toHex(report.measurement)],
    idKeys: unlessZero(report.idKeyDigest),
    authorKeys: report.authorKeyEnabled ? unlessZero(report.authorKeyDigest) : [],
    hostData: unlessZero(report.hostData),
    chipIds,
    cspIds,
    familyIds: unlessZero(report.familyId),
    imageIds: unlessZero(report.imageId),
    products: [product],
    signingKeys: [endorsement.kind],
    vmpls: [report.vmpl],
    minimumTcb: minimumOf(tcb.reported),
    minimumLaunchTcb: minimumOf(tcb.launch),
    minimumMitigation: report.currentMitigation ?? SNP_DEFAULTS.minimumMitigation,
    minimumGuestSvn: report.guestSvn,
    minimumAbi: `${report.policy.abiMajor}.${report.policy.abiMinor}`,
    smt: report.platform.smt ? "any" : "off",
    singleSocket: report.policy.singleSocket ? "required" : "any",
    ciphertextHiding: report.platform.ciphertextHiding ? "required" : "any",
    aliasCheck: report.platform.aliasCheckComplete ? "required" : "any",
    crl: crl === "absent" ? "if-present" : "required",
    allowDebug: report.policy.debug,
    allowMigrationAgent: hasMigrationAgent(facts),
    allowProvisionalFirmware: isProvisional(facts),
    allowMilanWithoutChipId: product === "Milan" && chipIds.length === 0 && cspIds.length === 0,
  };
}
