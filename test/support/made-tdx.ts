// A TDX platform made at test time: throw-away Intel PKI, quoting enclave, collateral, and quotes of version 4 and 5 with
// any field and any fault. Everything is good unless a test says otherwise.

import { createHash } from "node:crypto";
import type { Collateral } from "../../protocol/attestation/collateral.ts";
import { type TrustRoots, VENDOR_ROOTS } from "../../protocol/attestation/roots.ts";
import { concat, fromHex, toHex, utf8 } from "../../protocol/bytes.ts";
import {
  type MadeCertificate,
  type MadeExtension,
  type MadeKey,
  basicConstraints,
  caExtensions,
  der,
  keyUsage,
  madeKey,
  makeCertificate,
  makeCrl,
  pemOf,
} from "./made-pki.ts";

const DAY = 86_400_000;
/** When everything made here is valid. */
export const MADE_TDX_NOW = Date.UTC(2026, 5, 15);
export const MADE_FMSPC = "70a06d070000";
export const MADE_PIID = "88".repeat(16);
const SGX = "1.2.840.113741.1.13.1";
const QE_MRSIGNER = "dc9e2a7c6f948f17474e34a7fc43ed030f7c1563f1babddf6340c82e0e54a8c5";

/** Fields of a TD report body; lengths are the caller's, so that a wrong one can be made. */
export interface MadeTdBody {
  readonly teeTcbSvn: Uint8Array;
  readonly mrSeam: Uint8Array;
  readonly mrSignerSeam: Uint8Array;
  readonly seamAttributes: Uint8Array;
  readonly tdAttributes: Uint8Array;
  readonly xfam: Uint8Array;
  readonly mrTd: Uint8Array;
  readonly mrConfigId: Uint8Array;
  readonly mrOwner: Uint8Array;
  readonly mrOwnerConfig: Uint8Array;
  readonly rtmr0: Uint8Array;
  readonly rtmr1: Uint8Array;
  readonly rtmr2: Uint8Array;
  readonly rtmr3: Uint8Array;
  readonly reportData: Uint8Array;
  /** TD 1.5 only. */
  readonly teeTcbSvn2: Uint8Array;
  readonly mrServiceTd: Uint8Array;
}

export interface MadePck {
  readonly ppid: Uint8Array;
  readonly piid: Uint8Array;
  readonly fmspc: Uint8Array;
  readonly pceId: Uint8Array;
  readonly components: readonly number[];
  readonly pceSvn: number;
  readonly dynamicPlatform: boolean;
  readonly smtEnabled: boolean;
}

/** JSON as Intel's PCS gives it, before it is written and signed. */
export type MadeJson = Record<string, unknown>;
type Role = "root" | "ca" | "leaf" | "signer";

export interface MadeTdxOptions {
  readonly version?: 4 | 5;
  /** Default: TD 1.0 in version 4, TD 1.5 in version 5. */
  readonly kind?: "td-1.0" | "td-1.5";
  readonly body?: Partial<MadeTdBody>;
  readonly reportData?: Uint8Array;
  readonly mrConfigId?: Uint8Array;
  readonly pck?: Partial<MadePck>;
  readonly ca?: "Platform" | "Processor";
  /** Changes the parts of the SGX extension before they are written. */
  readonly sgxParts?: (parts: Uint8Array[]) => readonly Uint8Array[];
  readonly platformStatus?: string;
  readonly moduleStatus?: string;
  readonly qeStatus?: string;
  /** Of the platform's level. */
  readonly advisories?: readonly string[];
  readonly evaluation?: number;
  readonly tcbInfo?: (info: MadeJson) => MadeJson;
  readonly qeIdentity?: (identity: MadeJson) => MadeJson;
  /** Changes the whole text after it was signed. */
  readonly tcbInfoText?: (text: string) => string;
  readonly qeIdentityText?: (text: string) => string;
  /** Whose key signs TCB info and QE identity. */
  readonly tcbInfoSigner?: Role | "other";
  readonly qeIdentitySigner?: Role | "other";
  readonly certificates?: { readonly [role in Role]?: Partial<MadeCertificate> };
  readonly revoked?: readonly Role[];
  /** Made with another key, of the same name. */
  readonly forged?: readonly ("pckCrl" | "rootCrl" | "leaf" | "ca" | "root" | "signer")[];
  /** Days around MADE_TDX_NOW in which CRLs, TCB info and QE identity are valid. */
  readonly crlDays?: readonly [number, number];
  readonly jsonDays?: readonly [number, number];
  readonly qeReport?: {
    readonly mrSigner?: Uint8Array;
    readonly isvProdId?: number;
    readonly isvSvn?: number;
    readonly miscSelect?: number;
    readonly attributes?: Uint8Array;
  };
  /** What the QE report commits to instead of the attestation key. */
  readonly qeReportData?: Uint8Array;
  /** The 32 bytes behind that commitment. */
  readonly qeReportTail?: Uint8Array;
  readonly authData?: Uint8Array;
  readonly teeType?: number;
  readonly keyType?: number;
  readonly qeVendor?: Uint8Array;
  readonly bodyType?: number;
  readonly bodySize?: number;
  readonly outerType?: number;
  readonly innerType?: number;
  /** Text of the certificate chain in the quote. */
  readonly pem?: (pem: string) => string;
  readonly trailing?: Uint8Array;
  /** Bytes at the end of the inner and the outer container, counted in their lengths. */
  readonly certificationTail?: Uint8Array;
  readonly signatureTail?: Uint8Array;
}

export interface MadeTdx {
  readonly quote: Uint8Array;
  readonly collateral: Collateral;
  /** VENDOR_ROOTS with Intel's replaced by the one made here. */
  readonly roots: TrustRoots;
  readonly now: number;
}

export function madeTdx(options: MadeTdxOptions = {}): MadeTdx {
  const pki = makePki(options);
  return {
    quote: makeQuote(options, pki),
    collateral: makeCollateral(options, pki),
    roots: { ...VENDOR_ROOTS, intel: [madeKey("ec-p256", "tdx root").pin] },
    now: MADE_TDX_NOW,
  };
}

const filled = (byte: number, length: number) => new Uint8Array(length).fill(byte);
const u16le = (value: number) => Uint8Array.of(value, value >>> 8);
const u32le = (value: number) => Uint8Array.of(value, value >>> 8, value >>> 16, value >>> 24);
const key = (role: Role | "other" | "attestation"): MadeKey => madeKey("ec-p256", `tdx ${role}`);
const other = (name: string): MadeKey => madeKey("ec-p256", `tdx other ${name}`);
const nameOf = (commonName: string) => ({
  CN: commonName,
  O: "Made for a test",
  L: "Santa Clara",
  ST: "CA",
  C: "US",
});

interface Pki {
  readonly certificates: Readonly<Record<Role, Uint8Array>>;
  readonly caName: ReturnType<typeof nameOf>;
}

const ROOT_NAME = nameOf("Intel SGX Root CA");
const SERIALS: Readonly<Record<Role, number>> = { root: 0x1001, ca: 0x1002, leaf: 0x1003, signer: 0x1004 };

function makePki(options: MadeTdxOptions): Pki {
  const caName = nameOf(`Intel SGX PCK ${options.ca ?? "Platform"} CA`);
  const forged = (role: Role) => options.forged?.includes(role) === true;
  const make = (
    role: Role,
    certificate: Omit<MadeCertificate, "key" | "notBefore" | "notAfter" | "serial">,
  ) => {
    const made: MadeCertificate = {
      key: key(role),
      serial: SERIALS[role],
      notBefore: MADE_TDX_NOW - 100 * DAY,
      notAfter: MADE_TDX_NOW + 3000 * DAY,
      ...certificate,
      ...options.certificates?.[role],
    };
    if (!forged(role)) return makeCertificate(made);
    const issuer = made.issuer ?? { name: made.subject, key: made.key };
    return makeCertificate({ ...made, issuer: { name: issuer.name, key: other(role) } });
  };
  const leafExtensions = [basicConstraints(false), keyUsage("digitalSignature")];
  const root = { name: ROOT_NAME, key: key("root") };
  return {
    caName,
    certificates: {
      root: make("root", { subject: ROOT_NAME, extensions: caExtensions(1) }),
      ca: make("ca", { subject: caName, issuer: root, extensions: caExtensions(0) }),
      leaf: make("leaf", {
        subject: nameOf("Intel SGX PCK Certificate"),
        issuer: { name: caName, key: key("ca") },
        extensions: [...leafExtensions, sgxExtension(options)],
      }),
      signer: make("signer", {
        subject: nameOf("Intel SGX TCB Signing"),
        issuer: root,
        extensions: leafExtensions,
      }),
    },
  };
}

const COMPONENTS = [4, 4, 2, 2, 4, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0];

/** The SGX extension with nothing wrong: parts 1 to 7, 6 and 7 of a Platform CA only. */
export function sgxExtension({ pck = {}, ca = "Platform", sgxParts }: MadeTdxOptions): MadeExtension {
  const entry = (suffix: string, value: Uint8Array) => der.sequence(der.oid(`${SGX}.${suffix}`), value);
  const components = pck.components ?? COMPONENTS;
  const tcb = der.sequence(
    ...components.map((svn, i) => entry(`2.${i + 1}`, der.integer(svn))),
    entry("2.17", der.integer(pck.pceSvn ?? 13)),
    entry("2.18", der.octets(Uint8Array.from(components))),
  );
  const parts = [
    entry("1", der.octets(pck.ppid ?? filled(0x77, 16))),
    entry("2", tcb),
    entry("3", der.octets(pck.pceId ?? new Uint8Array(2))),
    entry("4", der.octets(pck.fmspc ?? fromHex(MADE_FMSPC))),
    entry("5", der.enumerated(ca === "Platform" ? 1 : 0)),
  ];
  if (ca === "Platform") {
    const configuration = der.sequence(
      entry("7.1", der.boolean(pck.dynamicPlatform ?? true)),
      entry("7.2", der.boolean(false)),
      entry("7.3", der.boolean(pck.smtEnabled ?? true)),
    );
    parts.push(entry("6", der.octets(pck.piid ?? fromHex(MADE_PIID))), entry("7", configuration));
  }
  return { oid: SGX, value: der.sequence(...(sgxParts?.(parts) ?? parts)) };
}

function makeCollateral(options: MadeTdxOptions, { certificates, caName }: Pki): Collateral {
  const [crlFrom, crlUntil] = options.crlDays ?? [-5, 25];
  const list = (role: "root" | "ca", forged: boolean, revokes: readonly Role[]) =>
    makeCrl({
      issuer: { name: role === "root" ? ROOT_NAME : caName, key: forged ? other(`${role} crl`) : key(role) },
      thisUpdate: MADE_TDX_NOW + crlFrom * DAY,
      nextUpdate: MADE_TDX_NOW + crlUntil * DAY,
      revoked: revokes.map((each) => ({ serial: SERIALS[each], reason: 1 })),
    });
  const revoked = options.revoked ?? [];
  const forged = options.forged ?? [];
  return {
    certificates: [certificates.signer, certificates.root],
    crls: [
      list(
        "ca",
        forged.includes("pckCrl"),
        revoked.filter((role) => role === "leaf"),
      ),
      list(
        "root",
        forged.includes("rootCrl"),
        revoked.filter((role) => role !== "leaf"),
      ),
    ],
    tcbInfos: [
      signedText(
        "tcbInfo",
        options.tcbInfo?.(tcbInfoOf(options)) ?? tcbInfoOf(options),
        options.tcbInfoSigner ?? "signer",
        options.tcbInfoText,
      ),
    ],
    qeIdentities: [
      signedText(
        "enclaveIdentity",
        options.qeIdentity?.(qeIdentityOf(options)) ?? qeIdentityOf(options),
        options.qeIdentitySigner ?? "signer",
        options.qeIdentityText,
      ),
    ],
  };
}

/** `{"<member>":…,"signature":"…"}`; the signature is over the value exactly as written. */
function signedText(
  member: string,
  value: MadeJson,
  signer: Role | "other",
  change: (text: string) => string = (text) => text,
): Uint8Array {
  const body = JSON.stringify(value);
  const signature = toHex(key(signer).signRaw(utf8(body)));
  return utf8(change(`{"${member}":${body},"signature":"${signature}"}`));
}

const dateOf = (days: number) => new Date(MADE_TDX_NOW + days * DAY).toISOString().replace(/\.\d+Z$/, "Z");
const LEVEL_DATE = "2026-01-01T00:00:00Z";
const SIGNER = { mrsigner: "00".repeat(48), attributes: "00".repeat(8), attributesMask: "FF".repeat(8) };
const svns = (values: readonly number[]) => values.map((svn) => ({ svn }));

/** Two platform levels (the lower one OutOfDate), module identities TDX_01 and TDX_03 with two levels each. */
function tcbInfoOf(options: MadeTdxOptions): MadeJson {
  const [from, until] = options.jsonDays ?? [-5, 25];
  const isvLevel = (isvsvn: number, tcbStatus: string, more: MadeJson = {}) => ({
    tcb: { isvsvn },
    tcbDate: LEVEL_DATE,
    tcbStatus,
    ...more,
  });
  const level = (
    sgx: readonly number[],
    tdx: readonly number[],
    pcesvn: number,
    tcbStatus: string,
    advisoryIDs: readonly string[],
  ) => ({
    tcb: { sgxtcbcomponents: svns(sgx), pcesvn, tdxtcbcomponents: svns(tdx) },
    tcbDate: LEVEL_DATE,
    tcbStatus,
    ...(advisoryIDs.length === 0 ? {} : { advisoryIDs }),
  });
  const rest = Array.from({ length: 13 }, () => 0);
  return {
    id: "TDX",
    version: 3,
    issueDate: dateOf(from),
    nextUpdate: dateOf(until),
    fmspc: MADE_FMSPC,
    pceId: "0000",
    tcbType: 0,
    tcbEvaluationDataNumber: options.evaluation ?? 19,
    tdxModule: SIGNER,
    tdxModuleIdentities: [
      {
        id: "TDX_03",
        ...SIGNER,
        tcbLevels: [
          isvLevel(5, options.moduleStatus ?? "UpToDate"),
          isvLevel(3, "OutOfDate", { advisoryIDs: ["INTEL-SA-00002"] }),
        ],
      },
      { id: "TDX_01", ...SIGNER, tcbLevels: [isvLevel(6, "UpToDate"), isvLevel(4, "OutOfDate")] },
    ],
    tcbLevels: [
      level(
        COMPONENTS,
        [5, 0, 6, ...rest],
        13,
        options.platformStatus ?? "UpToDate",
        options.advisories ?? [],
      ),
      level(
        COMPONENTS.map((svn) => Math.max(svn - 1, 0)),
        [3, 0, 5, ...rest],
        11,
        "OutOfDate",
        ["INTEL-SA-00001"],
      ),
    ],
  };
}

function qeIdentityOf(options: MadeTdxOptions): MadeJson {
  const [from, until] = options.jsonDays ?? [-5, 25];
  return {
    id: "TD_QE",
    version: 2,
    issueDate: dateOf(from),
    nextUpdate: dateOf(until),
    tcbEvaluationDataNumber: options.evaluation ?? 19,
    miscselect: "00000000",
    miscselectMask: "FFFFFFFF",
    attributes: "11000000000000000000000000000000",
    attributesMask: "FBFFFFFFFFFFFFFF0000000000000000",
    mrsigner: QE_MRSIGNER.toUpperCase(),
    isvprodid: 2,
    tcbLevels: [{ tcb: { isvsvn: 4 }, tcbDate: LEVEL_DATE, tcbStatus: options.qeStatus ?? "UpToDate" }],
  };
}

function makeQuote(options: MadeTdxOptions, { certificates }: Pki): Uint8Array {
  const version = options.version ?? 4;
  const kind = options.kind ?? (version === 4 ? "td-1.0" : "td-1.5");
  const body = bodyOf(options, kind);
  const header = concat(
    u16le(version),
    u16le(options.keyType ?? 2),
    u32le(options.teeType ?? 0x81),
    new Uint8Array(4),
    options.qeVendor ?? fromHex("939a7233f79c4ca9940a0db3957f0607"),
    new Uint8Array(20),
  );
  const descriptor =
    version === 4
      ? new Uint8Array()
      : concat(
          u16le(options.bodyType ?? (kind === "td-1.0" ? 2 : 3)),
          u32le(options.bodySize ?? body.length),
        );
  const signed = concat(header, descriptor, body);
  const attestationKey = key("attestation").point;
  const authData = options.authData ?? Uint8Array.from({ length: 32 }, (_, i) => i);
  const qeReport = qeReportOf(options, attestationKey, authData);
  const chain = pemOf(certificates.leaf, certificates.ca, certificates.root);
  const pem = utf8(options.pem?.(chain) ?? chain);
  const certification = concat(
    ...[qeReport, key("leaf").signRaw(qeReport), u16le(authData.length), authData],
    ...[u16le(options.innerType ?? 5), u32le(pem.length), pem],
    options.certificationTail ?? new Uint8Array(),
  );
  const signatureData = concat(
    ...[key("attestation").signRaw(signed), attestationKey],
    ...[u16le(options.outerType ?? 6), u32le(certification.length), certification],
    options.signatureTail ?? new Uint8Array(),
  );
  return concat(signed, u32le(signatureData.length), signatureData, options.trailing ?? new Uint8Array());
}

function bodyOf(options: MadeTdxOptions, kind: "td-1.0" | "td-1.5"): Uint8Array {
  const rest = new Uint8Array(13);
  const body: MadeTdBody = {
    teeTcbSvn: concat(Uint8Array.of(5, 3, 6), rest),
    mrSeam: filled(0x99, 48),
    mrSignerSeam: new Uint8Array(48),
    seamAttributes: new Uint8Array(8),
    tdAttributes: fromHex("0000001000000000"),
    xfam: fromHex("e702060000000000"),
    mrTd: filled(0x11, 48),
    mrConfigId: options.mrConfigId ?? new Uint8Array(48),
    mrOwner: new Uint8Array(48),
    mrOwnerConfig: new Uint8Array(48),
    rtmr0: filled(0x20, 48),
    rtmr1: filled(0x21, 48),
    rtmr2: filled(0x22, 48),
    rtmr3: filled(0x23, 48),
    reportData: options.reportData ?? filled(0xa5, 64),
    teeTcbSvn2: concat(Uint8Array.of(5, 3, 6), rest),
    mrServiceTd: new Uint8Array(48),
    ...options.body,
  };
  const { teeTcbSvn2, mrServiceTd, ...common } = body;
  return concat(...Object.values(common), ...(kind === "td-1.5" ? [teeTcbSvn2, mrServiceTd] : []));
}

function qeReportOf(options: MadeTdxOptions, attestationKey: Uint8Array, authData: Uint8Array): Uint8Array {
  const { qeReport = {}, qeReportData } = options;
  const report = new Uint8Array(384);
  const committed = createHash("sha256").update(attestationKey).update(authData).digest();
  report.set(u32le(qeReport.miscSelect ?? 0), 16);
  report.set(qeReport.attributes ?? fromHex("11000000000000000000000000000000"), 48);
  report.set(filled(0x55, 32), 64);
  report.set(qeReport.mrSigner ?? fromHex(QE_MRSIGNER), 128);
  report.set(u16le(qeReport.isvProdId ?? 2), 256);
  report.set(u16le(qeReport.isvSvn ?? 4), 258);
  report.set(qeReportData ?? committed, 320);
  if (options.qeReportTail !== undefined) report.set(options.qeReportTail, 352);
  return report;
}
