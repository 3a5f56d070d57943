// SEV-SNP evidence made here: an AMD-like chain with throw-away keys, and reports that its VCEK or VLEK signs. Every part
// can be bent before it is signed, which is what most attacks amount to.

import { type Collateral, NO_COLLATERAL } from "../../protocol/attestation/collateral.ts";
import { type SnpProduct, type TrustRoots, VENDOR_ROOTS } from "../../protocol/attestation/roots.ts";
import {
  type EndorsementKind,
  intermediateName,
  rootName,
} from "../../protocol/attestation/sev-snp/product.ts";
import { type Tcb, encodeTcb } from "../../protocol/attestation/sev-snp/tcb.ts";
import { concat, fromHex } from "../../protocol/bytes.ts";
import {
  type MadeCertificate,
  type MadeCrl,
  type MadeExtension,
  type MadeKey,
  type MadeName,
  basicConstraints,
  caExtensions,
  der,
  keyUsage,
  madeKey,
  makeCertificate,
  makeCrl,
} from "./made-pki.ts";

/** When everything made here is valid, unless asked otherwise: milliseconds since 1970. */
export const MADE_SNP_NOW = Date.UTC(2026, 5, 15);
const FROM = Date.UTC(2026, 0, 1);
const UNTIL = Date.UTC(2036, 0, 1);

export function amdName(commonName: string): MadeName {
  return {
    OU: "Engineering",
    C: "US",
    L: "Santa Clara",
    ST: "CA",
    O: "Made for a test, not AMD",
    CN: commonName,
  };
}

const ARC = "1.3.6.1.4.1.3704.1";
const CPUID: Readonly<Record<SnpProduct, readonly [number, number, number]>> = {
  Milan: [0x19, 0x01, 0x01],
  Genoa: [0x19, 0x11, 0x01],
  Turin: [0x1a, 0x02, 0x01],
};

/** Bytes of a report at their offsets (AMD 56860): what a test changes before or after the signature. */
export const REPORT_OFFSETS = {
  version: 0x000,
  guestSvn: 0x004,
  policy: 0x008,
  familyId: 0x010,
  imageId: 0x020,
  vmpl: 0x030,
  signatureAlgorithm: 0x034,
  currentTcb: 0x038,
  platformInfo: 0x040,
  keys: 0x048,
  reportData: 0x050,
  measurement: 0x090,
  hostData: 0x0c0,
  idKeyDigest: 0x0e0,
  authorKeyDigest: 0x110,
  reportId: 0x140,
  reportIdMa: 0x160,
  reportedTcb: 0x180,
  cpuid: 0x188,
  chipId: 0x1a0,
  committedTcb: 0x1e0,
  currentFirmware: 0x1e8,
  committedFirmware: 0x1ec,
  launchTcb: 0x1f0,
  launchMitigation: 0x1f8,
  currentMitigation: 0x200,
  r: 0x2a0,
  s: 0x2e8,
  afterSignature: 0x330,
} as const;
export type ReportField = keyof typeof REPORT_OFFSETS;

export const POLICY_BITS = {
  smt: 16,
  always: 17,
  migrationAgent: 18,
  debug: 19,
  singleSocket: 20,
  ciphertextHiding: 24,
} as const;

/** Little-endian. */
export function littleEndian(value: number | bigint, size: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(size);
  let rest = BigInt(value);
  for (let i = 0; i < size; i++, rest >>= 8n) bytes[i] = Number(rest & 0xffn);
  return bytes;
}

/** POLICY with bit 17 and others. */
export function policyOf(bits: readonly (keyof typeof POLICY_BITS)[], abi = 0): Uint8Array {
  return littleEndian(
    bits.reduce((value, bit) => value | (1 << POLICY_BITS[bit]), abi | (1 << POLICY_BITS.always)),
    8,
  );
}

export interface MadeSnpOptions {
  /** Default Genoa. */
  readonly product?: SnpProduct;
  /** Default "vcek": which key signs, and what the report says of it. */
  readonly kind?: EndorsementKind;
  /** Default 5. */
  readonly version?: number;
  /** 64 bytes: a binder. */
  readonly reportData?: Uint8Array;
  readonly measurement?: Uint8Array;
  readonly hostData?: Uint8Array;
  /** 64 bytes in the report. */
  readonly chipId?: Uint8Array;
  /** Used for all four of a report's TCB versions, and for the certificate. */
  readonly tcb?: Partial<Tcb>;
  /** Bytes that go to the place of a field, before the report is signed. */
  readonly fields?: { readonly [field in ReportField]?: Uint8Array };
  /** The same after it is signed. */
  readonly unsigned?: { readonly [field in ReportField]?: Uint8Array };
  /** Changes of the certificates. */
  readonly ark?: Partial<MadeCertificate>;
  readonly intermediate?: Partial<MadeCertificate>;
  readonly leaf?: Partial<MadeCertificate>;
  /** Changes the VCEK's or VLEK's extensions, by the last arcs of their name ("3.1"); undefined leaves one out. */
  readonly extensions?: { readonly [suffix: string]: Uint8Array | undefined };
  /** Behind them. */
  readonly moreExtensions?: readonly MadeExtension[];
  readonly cspId?: string;
  /** Names the set of keys; another name is another AMD. */
  readonly keys?: string;
  /** Changes of the revocation list; "none" leaves it out. */
  readonly crl?: Partial<MadeCrl> | "none";
}

export interface MadeSnp {
  readonly report: Uint8Array;
  readonly ark: Uint8Array;
  readonly intermediate: Uint8Array;
  /** VCEK or VLEK. */
  readonly leaf: Uint8Array;
  /** Leaf, intermediate, root. */
  readonly certificates: readonly Uint8Array[];
  readonly crls: readonly Uint8Array[];
  /** Certificates and CRLs as a bag. */
  readonly collateral: Collateral;
  /** Certificates and CRLs as the host would hand them over. */
  readonly certificateTable: Uint8Array;
  /** AMD's root for this product is the made one; all others are the vendors'. */
  readonly roots: TrustRoots;
  readonly now: number;
  readonly leafKey: MadeKey;
}

export const MADE_CHIP_ID: Uint8Array = Uint8Array.from({ length: 64 }, (_, i) => i + 1);
export const MADE_MEASUREMENT: Uint8Array = new Uint8Array(48).fill(0x11);
export const MADE_CSP_ID = "CN=made-cloud.example";

/** Good evidence, but for what `options` bend. */
export function madeSnp(options: MadeSnpOptions = {}): MadeSnp {
  const { product = "Genoa", kind = "vcek", keys = "made" } = options;
  const root = { name: amdName(rootName(product)), key: madeKey("rsa", `${keys} ark`) };
  const middle = { name: amdName(intermediateName(kind, product)), key: madeKey("rsa", `${keys} ${kind}`) };
  const leafKey = madeKey("ec-p384", `${keys} leaf`);
  const validity = { notBefore: FROM, notAfter: UNTIL };
  const ark = makeCertificate({
    subject: root.name,
    key: root.key,
    serial: 0x10000,
    ...validity,
    extensions: caExtensions(),
    ...options.ark,
  });
  const intermediate = makeCertificate({
    subject: middle.name,
    key: middle.key,
    issuer: root,
    serial: 0x10001,
    ...validity,
    extensions: [basicConstraints(true, 0), keyUsage("keyCertSign")],
    ...options.intermediate,
  });
  const leaf = makeCertificate({
    subject: amdName(kind === "vcek" ? "SEV-VCEK" : "SEV-VLEK"),
    key: leafKey,
    issuer: middle,
    serial: 0,
    ...validity,
    extensions: leafExtensions(options),
    ...options.leaf,
  });
  const crls =
    options.crl === "none"
      ? []
      : [
          makeCrl({
            issuer: root,
            thisUpdate: Date.UTC(2026, 5, 1),
            nextUpdate: Date.UTC(2027, 5, 1),
            ...options.crl,
          }),
        ];
  const certificates = [leaf, intermediate, ark];
  return {
    report: madeReport(options, options.leaf?.key ?? leafKey),
    ark,
    intermediate,
    leaf,
    certificates,
    crls,
    collateral: { ...NO_COLLATERAL, certificates, crls },
    certificateTable: madeCertificateTable([
      [GUIDS[kind], leaf],
      [GUIDS.ask, intermediate],
      [GUIDS.ark, ark],
      ...crls.map((crl): [string, Uint8Array] => [GUIDS.crl, crl]),
    ]),
    roots: { ...VENDOR_ROOTS, amd: { ...VENDOR_ROOTS.amd, [product]: [root.key.pin] } },
    now: MADE_SNP_NOW,
    leafKey,
  };
}

function tcbOf({ product = "Genoa", tcb }: MadeSnpOptions): Tcb {
  return {
    fmc: product === "Turin" ? 1 : undefined,
    bootloader: 10,
    tee: 0,
    snp: 27,
    microcode: 219, // above 127: two bytes in DER
    ...tcb,
  };
}

/** A signed report. */
export function madeReport(options: MadeSnpOptions, key: MadeKey): Uint8Array<ArrayBuffer> {
  const { product = "Genoa", kind = "vcek", version = 5 } = options;
  const report = new Uint8Array(1184);
  const put = (fields: MadeSnpOptions["fields"]) => {
    for (const [name, bytes] of Object.entries(fields ?? {}))
      report.set(bytes, REPORT_OFFSETS[name as ReportField]);
  };
  const tcb = encodeTcb(tcbOf(options), product);
  put({
    version: littleEndian(version, 4),
    policy: policyOf(["smt"]),
    signatureAlgorithm: littleEndian(1, 4),
    currentTcb: tcb,
    platformInfo: littleEndian(0x25, 8), // SMT, ECC, alias check complete
    keys: littleEndian(kind === "vlek" ? 4 : 0, 4),
    reportData: options.reportData ?? new Uint8Array(64).fill(0xa5),
    measurement: options.measurement ?? MADE_MEASUREMENT,
    hostData: options.hostData ?? new Uint8Array(32).fill(0x22),
    reportId: new Uint8Array(32).fill(0x33),
    reportIdMa: new Uint8Array(32).fill(0xff),
    reportedTcb: tcb,
    ...(version >= 3 ? { cpuid: Uint8Array.from(CPUID[product]) } : {}),
    chipId: options.chipId ?? madeChipId(product),
    committedTcb: tcb,
    currentFirmware: Uint8Array.of(40, 55, 1),
    committedFirmware: Uint8Array.of(40, 55, 1),
    launchTcb: tcb,
    ...(version >= 5
      ? { launchMitigation: littleEndian(0x0b, 8), currentMitigation: littleEndian(0x0b, 8) }
      : {}),
  });
  put(options.fields);
  signReport(report, key);
  put(options.unsigned);
  return report;
}

/** Puts a signature over what a report says now, in place. */
export function signReport(report: Uint8Array, key: MadeKey): void {
  const signature = key.signRaw(report.slice(0, REPORT_OFFSETS.r));
  report.set(signature.slice(0, 48).reverse(), REPORT_OFFSETS.r);
  report.set(signature.slice(48).reverse(), REPORT_OFFSETS.s);
}

/** Turin's has 8 bytes, and zeros. */
export function madeChipId(product: SnpProduct): Uint8Array {
  return product === "Turin" ? concat(MADE_CHIP_ID.subarray(0, 8), new Uint8Array(56)) : MADE_CHIP_ID;
}

function leafExtensions(options: MadeSnpOptions): MadeExtension[] {
  const { product = "Genoa", kind = "vcek", cspId = MADE_CSP_ID } = options;
  const tcb = tcbOf(options);
  const turin = product === "Turin";
  const values: Record<string, Uint8Array | undefined> = {
    "1": der.integer(turin ? 1 : 0),
    "2": der.ia5(product === "Milan" && kind === "vcek" ? "Milan-B0" : product),
    "3.1": der.integer(tcb.bootloader),
    "3.2": der.integer(tcb.tee),
    "3.3": der.integer(tcb.snp),
    "3.4": turin ? undefined : der.integer(0),
    "3.5": der.integer(0),
    "3.6": der.integer(0),
    "3.7": der.integer(0),
    "3.8": der.integer(tcb.microcode),
    "3.9": tcb.fmc === undefined ? undefined : der.integer(tcb.fmc),
    "4": kind === "vcek" ? madeChipId(product).slice(0, turin ? 8 : 64) : undefined,
    "5": kind === "vlek" ? der.ia5(cspId) : undefined,
    ...options.extensions,
  };
  const own = Object.entries(values).flatMap(([suffix, value]) =>
    value === undefined ? [] : [{ oid: `${ARC}.${suffix}`, value }],
  );
  return [...own, ...(options.moreExtensions ?? [])];
}

/** Of the certificate table's entries, hex in the order of the text. */
export const GUIDS = {
  vcek: "63da758de6644564adc5f4b93be8accd",
  vlek: "a8074bc2a25a483eaae639c045a0b8a1",
  ask: "4ab7b379bbac4fe4a02f05aef327c782",
  ark: "c0b406a4a803495297433fb6014cd0ae",
  crl: "92f81bc358114d3d97ffd19f88dc67ea",
  googleExtra: "ecae0c0f950243b1afa20ae2e0d565b6",
} as const;

/** GHCB certificate table. @param padding - zero bytes at the end, as the kernel's whole pages have them. */
export function madeCertificateTable(
  entries: readonly (readonly [guid: string, piece: Uint8Array])[],
  padding = 0,
): Uint8Array<ArrayBuffer> {
  let offset = 24 * (entries.length + 1);
  const heads = entries.map(([guid, piece]) => {
    const head = concat(fromHex(guid), littleEndian(offset, 4), littleEndian(piece.length, 4));
    offset += piece.length;
    return head;
  });
  return concat(...heads, new Uint8Array(24), ...entries.map(([, piece]) => piece), new Uint8Array(padding));
}
