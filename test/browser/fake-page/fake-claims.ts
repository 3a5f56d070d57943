// What the scripted guest claims: as long and as many as a real SEV-SNP guest has them.

import type { Policy } from "../../../protocol/attestation/policy/model.ts";
import {
  INSTANCE_DEFAULTS,
  POLICY_DEFAULTS,
  SNP_DEFAULTS,
} from "../../../protocol/attestation/policy/model.ts";
import type { AppraisedClaims, Assurance } from "../../../protocol/attestation/verified-guest.ts";

const hex = (seed: number, digits: number): string =>
  Array.from({ length: digits }, (_, i) => ((i * 7 + seed * 5 + ((i * i) >> 3)) % 16).toString(16)).join("");

export const MEASUREMENT = hex(3, 96);
const CHIP_ID = hex(9, 128);
const DIGEST = hex(5, 64);
const REPORT_ID = hex(11, 64);
const AK = `000b${hex(2, 64)}`;

export function fakePolicy(minimumAssurance: Assurance, anyInstance: boolean): Policy {
  return {
    ...POLICY_DEFAULTS,
    name: "build-7 reference values",
    minimumAssurance,
    anyInstance,
    instance: { ...INSTANCE_DEFAULTS, documents: anyInstance ? [] : [DIGEST] },
    snp: {
      ...SNP_DEFAULTS,
      measurements: [MEASUREMENT, hex(4, 96)],
      chipIds: anyInstance ? [] : [CHIP_ID, hex(8, 128)],
    },
  };
}

export function fakeClaims(assurance: Assurance, anyInstance: boolean): AppraisedClaims {
  return assurance === "hardware" ? snpClaims(anyInstance) : tpmClaims(assurance, anyInstance);
}

function snpClaims(anyInstance: boolean): AppraisedClaims {
  return {
    type: "sev-snp",
    assurance: "hardware",
    verdict:
      "A genuine AMD Genoa processor vouches that this guest was started with the software of your policy, and that this connection ends in it.",
    what: `Launch measurement ${MEASUREMENT.slice(0, 16)}…, accepted by your policy; guest policy: no debugging, no migration agent, VMPL 0`,
    signedBy: `VCEK of the AMD Genoa processor with CHIP_ID ${CHIP_ID.slice(0, 16)}…, certified by AMD (ARK-Genoa)`,
    instance: anyInstance
      ? `Any machine (the policy says so); this one is the processor with CHIP_ID ${CHIP_ID.slice(0, 16)}…`
      : `The guest “db-primary” of your instance document, on the processor with CHIP_ID ${CHIP_ID.slice(0, 16)}…`,
    fresh: "Signed for this connection and no other: the report holds the hash of its key exchange",
    anyInstance,
    instanceDocument: anyInstance
      ? undefined
      : {
          name: "db-primary",
          pinned: true,
          digest: DIGEST,
          text: [
            "version = 1",
            'name = "db-primary"',
            "",
            "[users.operator]",
            "authorizedKeys = [",
            '\t"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0x4m2m8s6wq3F7pD5r1aK9b2c4d6e8f0g2h4i6j8k0 operator@desk",',
            "]",
          ].join("\n"),
        },
    verified: [
      {
        check: "snp.vcek-chain",
        words:
          "AMD's root key vouches for the key of this processor, and none of the certificates is revoked",
        value: hex(7, 64),
        expected: "a pinned AMD root key",
      },
      { check: "snp.signature", words: "That key signed the report", value: "ECDSA P-384 with SHA-384" },
      {
        check: "snp.binding",
        words:
          "The report was made for this connection and no other: this key exchange, this nonce, this guest key",
      },
      {
        check: "snp.measurement",
        words: "The guest was started with accepted software",
        value: MEASUREMENT,
        expected: MEASUREMENT,
        policyKey: "snp.measurement",
      },
      {
        check: "snp.chip-id",
        words: "It runs on an accepted processor",
        value: CHIP_ID,
        expected: `one of ${CHIP_ID.slice(0, 16)}…, ${hex(8, 16)}…`,
        policyKey: "snp.chipId",
      },
      {
        check: "snp.vmpl",
        words: "The report was asked for from an accepted privilege level",
        value: "0",
        expected: "0",
        policyKey: "snp.vmpl",
      },
      {
        check: "snp.tcb",
        words: "The processor's firmware is at least as new as you ask for",
        value: "bootloader 9, tee 0, snp 22, microcode 72",
        expected: "at least bootloader 7, snp 20, microcode 64",
        policyKey: "snp.minimumTcb",
      },
    ],
    notVerified: [
      "That the software is free of faults: the measurement says which one it is, not how good it is",
      "What was loaded after the launch, where the measured software does not check it itself",
    ],
    warnings: [],
    values: [
      { name: "snp.measurement", words: "Launch measurement", value: MEASUREMENT, scope: "lasting" },
      { name: "snp.chip-id", words: "CHIP_ID", value: CHIP_ID, scope: "lasting" },
      { name: "snp.tcb", words: "Reported TCB", value: "9.0.22.72", scope: "lasting" },
      { name: "snp.report-id", words: "REPORT_ID", value: REPORT_ID, scope: "boot" },
    ],
    policyText: `version = 1\n\n[snp]\nmeasurement = ["${MEASUREMENT}"]\n`,
  };
}

function tpmClaims(assurance: Assurance, anyInstance: boolean): AppraisedClaims {
  return {
    type: assurance === "simulated" ? "simulated" : "tpm",
    assurance,
    verdict:
      assurance === "simulated"
        ? "Simulated evidence: it fits your policy and proves nothing."
        : "A TPM that your policy names says that this guest booted what you accept; the host has to be believed about that.",
    what: "The boot chain in PCR 4 and 11, accepted by your policy",
    signedBy: "TPM attestation key 000b4f1c…9e21",
    instance: anyInstance
      ? "Any machine (the policy says so); this one has the TPM attestation key 000b4f1c7a"
      : `The machine with the TPM attestation key ${AK}`,
    fresh: "Signed for this connection and no other",
    anyInstance,
    instanceDocument: undefined,
    verified: [
      { check: "tpm.signature", words: "That key signed the quote", value: "ECDSA P-256 with SHA-256" },
      {
        check: "tpm.binding",
        words:
          "The quote was made for this connection and no other: this key exchange, this nonce, this guest key",
      },
      {
        check: "tpm.pcr",
        words: "PCR 4 (boot loader and kernel) holds an accepted value",
        value: hex(1, 64),
        policyKey: "tpm.pcrs.4",
      },
      {
        check: "tpm.pcr",
        words: "PCR 11 (unified kernel image) holds an accepted value",
        value: hex(6, 64),
        policyKey: "tpm.pcrs.11",
      },
      { check: "tpm.event-log", words: "Replaying the event log gives the quoted value of PCR 4, 11" },
    ],
    notVerified: [
      "That the host does not read the guest's memory: no processor vouches for this guest",
      "PCRs quoted but not pinned by the policy: 0, 1, 2, 3, 5, 7",
    ],
    warnings:
      assurance === "host-vouched" ? ["The TPM is a program of the host: a host that wants to lie, can"] : [],
    values: [
      { name: "tpm.ak", words: "TPM attestation key", value: AK, scope: "lasting" },
      { name: "tpm.pcr.4", words: "PCR 4", value: hex(1, 64), scope: "lasting" },
      { name: "tpm.reset-count", words: "Resets of the TPM", value: "17", scope: "boot" },
    ],
    policyText: "version = 1\n",
  };
}
