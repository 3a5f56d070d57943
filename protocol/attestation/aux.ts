// What travels beside a quote: named parts in one container. Its SHA-256 is in the binder, so nobody on the way can swap
// a part; what the guest itself put in is still only as good as the check that covers it. docs/protocol.md §6.3

import { Reader, concat, lv32, u8 } from "../bytes.ts";
import { SealttyError } from "../errors.ts";
import {
  MAX_CERTIFICATE_TABLE,
  MAX_COLLATERAL,
  MAX_EVENT_LOG,
  MAX_HARDWARE_REPORT,
  MAX_INSTANCE_DOCUMENT,
} from "../limits.ts";
import type { EvidenceType } from "./evidence.ts";

const VERSION = 2;

/** Numbers are on the wire and never re-used; limits in bytes. */
export const AUX_PARTS = {
  /** SEV-SNP: the certificate table as the host provisioned it (auxblob). */
  certificateTable: { number: 1, limit: MAX_CERTIFICATE_TABLE },
  /** Certificates, CRLs, TCB info, QE identity that the guest has: collateral.ts. */
  collateral: { number: 2, limit: MAX_COLLATERAL },
  /** Firmware event log (TCG), or CC event log (TDX). */
  eventLog: { number: 3, limit: MAX_EVENT_LOG },
  /** TPMT_PUBLIC of the attestation key. */
  akPublic: { number: 4, limit: 1024 },
  /** tpm/pcr.ts: the quoted values. */
  pcrs: { number: 5, limit: 96 * 67 },
  /** Azure: the HCL report, as read from the vTPM's NV index. */
  hclReport: { number: 6, limit: MAX_HARDWARE_REPORT },
  /** Azure on TDX: the TD quote over the HCL report's TDREPORT. */
  hardwareQuote: { number: 7, limit: MAX_HARDWARE_REPORT },
  /** The owner's instance document: believed only where its digest is in the evidence. */
  instanceDocument: { number: 8, limit: MAX_INSTANCE_DOCUMENT },
  /** Ed25519 public key (32 bytes) and its signature (64) over this connection: instance/key-proof.ts. */
  instanceKey: { number: 9, limit: 96 },
  /** lv16 SSH public keys of the guest's sshd. */
  sshHostKeys: { number: 10, limit: 8192 },
  /** Simulated evidence only. */
  simulated: { number: 240, limit: 128 },
} as const satisfies Record<string, { number: number; limit: number }>;
export type AuxPart = keyof typeof AUX_PARTS;
export type AuxParts = { readonly [part in AuxPart]?: Uint8Array };

const COMMON = ["instanceDocument", "instanceKey", "sshHostKeys"] as const satisfies readonly AuxPart[];
/** The parts that evidence of a type may have; another one is refused. */
const ALLOWED: Readonly<Record<EvidenceType, readonly AuxPart[]>> = {
  "sev-snp": ["certificateTable", "collateral", "eventLog", ...COMMON],
  tdx: ["collateral", "eventLog", ...COMMON],
  tpm: ["eventLog", "akPublic", "pcrs", ...COMMON],
  "azure-snp": ["certificateTable", "collateral", "eventLog", "pcrs", "hclReport", ...COMMON],
  "azure-tdx": ["collateral", "eventLog", "pcrs", "hclReport", "hardwareQuote", ...COMMON],
  nitro: [],
  cca: [],
  simulated: ["simulated", ...COMMON],
};

/** u8 version, then (u8 number, u32 length, bytes)* with the numbers ascending. @throws SealttyError `api-misuse`. */
export function encodeAux(parts: AuxParts): Uint8Array {
  const present = Object.entries(AUX_PARTS)
    .flatMap(([name, { number, limit }]) => {
      const value = parts[name as AuxPart];
      if (value === undefined) return [];
      if (value.length > limit)
        throw new SealttyError("api-misuse", `Part "${name}" beside the quote is too long`);
      return [{ number, value }];
    })
    .sort((a, b) => a.number - b.number);
  return concat(u8(VERSION), ...present.flatMap(({ number, value }) => [u8(number), lv32(value)]));
}

/** @throws SealttyError `peer-misbehaved` on any other shape, and on a part that evidence of this type does not have. */
export function decodeAux(type: EvidenceType, bytes: Uint8Array): AuxParts {
  const reader: Reader = new Reader(bytes, "Data beside the quote");
  if (reader.u8() !== VERSION) reader.fail("has a version that this version does not know");
  const parts: { [part in AuxPart]?: Uint8Array } = {};
  let last = -1;
  while (reader.remaining > 0) {
    const number = reader.u8();
    if (number <= last) reader.fail("has its parts out of order, or one twice");
    last = number;
    const name = ALLOWED[type].find((part) => AUX_PARTS[part].number === number);
    if (name === undefined) reader.fail("has a part that does not belong to this kind of evidence");
    parts[name] = reader.lv32(AUX_PARTS[name].limit);
  }
  return parts;
}
