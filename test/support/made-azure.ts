// Evidence of an Azure confidential VM made here: a paravisor's report over a made SNP report, and a vTPM's quote. Every part
// can be bent before the part above it is signed.

import { createHash } from "node:crypto";
import type { AuxParts } from "../../protocol/attestation/aux.ts";
import { parseHclReport } from "../../protocol/attestation/azure/hcl.ts";
import { encodeCollateral } from "../../protocol/attestation/collateral.ts";
import { type PcrValue, encodePcrSelections, encodePcrValues } from "../../protocol/attestation/tpm/pcr.ts";
import { encodeTpmQuote } from "../../protocol/attestation/tpm/quote.ts";
import { concat, utf8 } from "../../protocol/bytes.ts";
import { type AttestFields, encodeAttest, le, pcrsOf, rsassa } from "../protocol/attestation/support.ts";
import { type MadeKey, madeKey } from "./made-pki.ts";
import { type MadeSnp, type MadeSnpOptions, madeSnp } from "./made-snp.ts";
import { type MadeTdx, type MadeTdxOptions, madeTdx } from "./made-tdx.ts";

export interface MadeHclOptions {
  readonly magic?: string;
  readonly version?: number;
  readonly requestType?: number;
  readonly status?: number;
  readonly reserved?: Uint8Array;
  readonly runtimeVersion?: number;
  /** 2: SNP, 4: TDX. */
  readonly reportType?: number;
  /** 1: SHA-256, 2: SHA-384, 3: SHA-512. */
  readonly hashType?: number;
  readonly reportSize?: number;
  readonly dataSize?: number;
  readonly size?: number;
  readonly padding?: Uint8Array;
}

/** @param hardware - 1184 bytes. */
export function hclReport(
  hardware: Uint8Array,
  runtimeData: Uint8Array,
  options: MadeHclOptions = {},
): Uint8Array {
  const size = options.size ?? runtimeData.length;
  const dataSize = options.dataSize ?? 20 + runtimeData.length;
  const report = concat(
    utf8(options.magic ?? "HCLA"),
    ...[options.version ?? 2, options.reportSize ?? 1216 + 20 + runtimeData.length].map((value) =>
      le(value, 4),
    ),
    ...[options.requestType ?? 2, options.status ?? 0].map((value) => le(value, 4)),
    options.reserved ?? new Uint8Array(12),
    hardware,
    ...[dataSize, options.runtimeVersion ?? 1, options.reportType ?? 2, options.hashType ?? 1, size].map(
      (value) => le(value, 4),
    ),
    runtimeData,
  );
  return concat(report, options.padding ?? new Uint8Array(Math.max(0, 2600 - report.length)));
}

export const MADE_VM_ID = "0B5F1E0A-1111-4222-8333-944444444444";

/** JSON as the paravisor writes it; `change` bends it. */
export function runtimeClaims(
  key: MadeKey,
  change: (claims: Record<string, unknown>) => void = () => undefined,
) {
  const { publicKey } = key;
  if (publicKey.kind !== "rsa") throw new Error("Azure's vTPM keys are RSA");
  const claims: Record<string, unknown> = {
    keys: [
      {
        kid: "HCLAkPub",
        key_ops: ["sign"],
        kty: "RSA",
        e: "AQAB",
        n: Buffer.from(publicKey.modulus).toString("base64url"),
      },
    ],
    "vm-configuration": {
      "console-enabled": false,
      "secure-boot": true,
      "tpm-enabled": true,
      "tpm-persisted": true,
      vmUniqueId: MADE_VM_ID,
    },
    "user-data": "00".repeat(64),
  };
  change(claims);
  return JSON.stringify(claims);
}

export interface MadeAzureOptions {
  /** Names the vTPM's key. */
  readonly ak?: string;
  /** What the vTPM signs as extraData. */
  readonly bound?: Uint8Array;
  readonly pcrs?: readonly PcrValue[];
  readonly claims?: (claims: Record<string, unknown>) => void;
  /** The runtime data as text, instead of the claims. */
  readonly runtimeData?: string;
  readonly hcl?: MadeHclOptions;
  readonly snp?: MadeSnpOptions;
  readonly attest?: Partial<AttestFields>;
  /** Signs the quote instead of the key in the runtime data. */
  readonly signer?: string;
}

export interface MadeAzure {
  readonly quote: Uint8Array;
  readonly parts: AuxParts & { readonly hclReport: Uint8Array; readonly pcrs: Uint8Array };
  readonly snp: MadeSnp;
}

export const MADE_PCRS: readonly PcrValue[] = pcrsOf({ 4: "kernel", 7: "secure boot", 11: "image" });
const HASHES = { 1: "sha256", 2: "sha384", 3: "sha512" } as const;

export interface MadeAzureTdx {
  readonly quote: Uint8Array;
  readonly parts: AuxParts & { readonly hclReport: Uint8Array; readonly hardwareQuote: Uint8Array };
  readonly tdx: MadeTdx;
}

/** The same on TDX. @param tdReport - changes the TDREPORT; `tdx` changes the TD quote over it. */
export function madeAzureTdx(
  options: Pick<MadeAzureOptions, "claims"> & {
    readonly tdx?: MadeTdxOptions;
    readonly tdReport?: (report: Uint8Array) => void;
  } = {},
): MadeAzureTdx {
  const snp = madeAzure(options);
  const { runtimeData } = parseHclReport(snp.parts.hclReport);
  const reportData = concat(
    new Uint8Array(createHash("sha256").update(runtimeData).digest()),
    new Uint8Array(32),
  );
  const tdx = madeTdx({ reportData, ...options.tdx });
  const hardware = new Uint8Array(1184);
  hardware[0] = 0x81;
  hardware.set(reportData, 128);
  options.tdReport?.(hardware);
  return {
    quote: snp.quote,
    parts: {
      hclReport: hclReport(hardware, runtimeData, { reportType: 4 }),
      pcrs: snp.parts.pcrs,
      hardwareQuote: tdx.quote,
      collateral: encodeCollateral(tdx.collateral),
    },
    tdx,
  };
}

/** Good evidence, but for what `options` bend. */
export function madeAzure(options: MadeAzureOptions = {}): MadeAzure {
  const { pcrs = MADE_PCRS, bound = new Uint8Array(32).fill(7) } = options;
  const ak = madeKey("rsa", `azure ${options.ak ?? "ak"}`);
  const runtimeData = utf8(options.runtimeData ?? runtimeClaims(ak, options.claims));
  const hash = HASHES[(options.hcl?.hashType ?? 1) as keyof typeof HASHES] ?? "sha256";
  const digest = new Uint8Array(createHash(hash).update(runtimeData).digest());
  const reportData = concat(digest, new Uint8Array(64 - digest.length));
  const snp = madeSnp({ reportData, ...options.snp });
  const attest = encodeAttest({
    extraData: bound,
    selections: encodePcrSelections([{ bank: "sha256", indexes: pcrs.map((pcr) => pcr.index) }]),
    pcrDigest: new Uint8Array(
      createHash("sha256")
        .update(concat(...pcrs.map((pcr) => pcr.value)))
        .digest(),
    ),
    ...options.attest,
  });
  const signer = options.signer === undefined ? ak : madeKey("rsa", `azure ${options.signer}`);
  return {
    quote: encodeTpmQuote({ attest, signature: rsassa(signer.sign("rsassa-sha256", attest)) }),
    parts: {
      hclReport: hclReport(snp.report, runtimeData, options.hcl),
      pcrs: encodePcrValues(pcrs),
      collateral: encodeCollateral(snp.collateral),
    },
    snp,
  };
}
