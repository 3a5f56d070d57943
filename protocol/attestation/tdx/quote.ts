// The bytes of a TDX quote, versions 4 and 5 (Intel TDX DCAP Quoting Library API, appendix A.3 and A.4). Little-endian.
// What is a quote of another kind is told apart from what is malformed: the words for people differ.

import { isZero, toHex } from "../../bytes.ts";
import { LittleEndianReader } from "../little-endian.ts";

const TEE_TYPE_TDX = 0x81;
const KEY_TYPE_P256 = 2;
const INTEL_QE_VENDOR = "939a7233f79c4ca9940a0db3957f0607";
const BODY_SIZES: Readonly<Record<TdxBody["kind"], number>> = { "td-1.0": 584, "td-1.5": 648 };
const CERTIFICATION_QE_REPORT = 6;
const CERTIFICATION_PCK_CHAIN = 5;
const MAX_AUTH_DATA = 1024;
const MAX_PCK_CHAIN = 16 * 1024;
/** The kernel hands out the whole buffer of 8 KiB, its rest zero. */
const MAX_TRAILING = 16 * 1024;

/** TD report body; every field is a view into the quote. */
export interface TdxBody {
  readonly kind: "td-1.0" | "td-1.5";
  /** 16 bytes: [0] ISVSVN and [1] major version of the TDX module, [2] SEAM loader. */
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
  /** RTMR0 to RTMR3. */
  readonly rtmrs: readonly Uint8Array[];
  readonly reportData: Uint8Array;
  /** What a TD 1.0 report does not have. */
  readonly td15: { readonly teeTcbSvn2: Uint8Array; readonly mrServiceTd: Uint8Array } | undefined;
}

/** SGX REPORT body of the quoting enclave, 384 bytes; the fields that its identity is about. */
export interface QeReport {
  readonly bytes: Uint8Array;
  readonly miscSelect: Uint8Array;
  readonly attributes: Uint8Array;
  readonly mrSigner: Uint8Array;
  readonly isvProdId: number;
  readonly isvSvn: number;
  readonly reportData: Uint8Array;
}

export interface TdxQuote {
  readonly version: 4 | 5;
  /** Header, descriptor and body: what the attestation key signed. */
  readonly signed: Uint8Array;
  readonly body: TdxBody;
  /** r‖s. */
  readonly signature: Uint8Array;
  /** x‖y on P-256. */
  readonly attestationKey: Uint8Array;
  readonly qeReport: QeReport;
  readonly qeReportSignature: Uint8Array;
  readonly authData: Uint8Array;
  /** PEM: PCK leaf, its CA, the root. */
  readonly pckChain: Uint8Array;
}

/** A kind of quote that is known but not verified here. `check` names the refusal. */
export interface UnsupportedQuote {
  readonly check:
    | "tdx.dice-quote"
    | "tdx.quote-version"
    | "tdx.tee-type"
    | "tdx.key-type"
    | "tdx.certification-data";
  readonly problem: string;
  readonly found: string;
}

export type ParsedQuote =
  | { readonly supported: true; readonly quote: TdxQuote }
  | { readonly supported: false; readonly unsupported: UnsupportedQuote };

/** @throws SealttyError `peer-misbehaved` on anything but the exact structure, trailing bytes that are not zero included. */
export function parseTdxQuote(bytes: Uint8Array): ParsedQuote {
  if (looksLikeCwt(bytes)) {
    return unsupported(
      "tdx.dice-quote",
      "This is a DICE quote (a CBOR web token), which newer TDX platforms give; this version cannot verify it",
      "a CBOR web token",
    );
  }
  const reader: LittleEndianReader = new LittleEndianReader(bytes, "TDX quote");
  const version = reader.u16();
  const keyType = reader.u16();
  const teeType = reader.u32();
  if (version !== 4 && version !== 5)
    return unsupported(
      "tdx.quote-version",
      "The quote has a version that this version cannot verify",
      `${version}`,
    );
  if (teeType !== TEE_TYPE_TDX)
    return unsupported(
      "tdx.tee-type",
      "The quote is not of a TD",
      teeType === 0 ? "SGX enclave" : `${teeType}`,
    );
  if (keyType !== KEY_TYPE_P256)
    return unsupported("tdx.key-type", "The quote's attestation key is not on P-256", `key type ${keyType}`);
  reader.bytes(4); // reserved, or SVNs that the QE report repeats
  if (toHex(reader.bytes(16)) !== INTEL_QE_VENDOR) reader.fail("names a quoting enclave that is not Intel's");
  reader.bytes(20); // user data of the quoting enclave
  const body = version === 4 ? parseBody("td-1.0", reader) : parseDescribedBody(reader);
  if (body === undefined) return unsupported("tdx.tee-type", "The quote is not of a TD", "SGX enclave");
  const signed = bytes.subarray(0, reader.offset);

  const signatureData = sized(reader, "signature data");
  const rest = reader.rest();
  if (rest.length > MAX_TRAILING || !isZero(rest)) reader.fail("is followed by other bytes");
  const data: LittleEndianReader = new LittleEndianReader(signatureData, "Signature data of the TDX quote");
  const signature = data.bytes(64);
  const attestationKey = data.bytes(64);
  const outerType = data.u16();
  const outer = sized(data, "certification data");
  data.end();
  if (outerType !== CERTIFICATION_QE_REPORT)
    return unsupported("tdx.certification-data", "The quote carries no QE report", `type ${outerType}`);

  const certification: LittleEndianReader = new LittleEndianReader(
    outer,
    "Certification data of the TDX quote",
  );
  const qeReport = parseQeReport(certification.bytes(384));
  const qeReportSignature = certification.bytes(64);
  const authLength = certification.u16();
  if (authLength > MAX_AUTH_DATA)
    certification.fail(`has more than ${MAX_AUTH_DATA} bytes of authentication data`);
  const authData = certification.bytes(authLength);
  const innerType = certification.u16();
  const pckChain = sized(certification, "certificates");
  certification.end();
  if (innerType !== CERTIFICATION_PCK_CHAIN) {
    return unsupported(
      "tdx.certification-data",
      "The quote carries no PCK certificate chain",
      `type ${innerType}`,
    );
  }
  if (pckChain.length > MAX_PCK_CHAIN)
    certification.fail(`has more than ${MAX_PCK_CHAIN} bytes of certificates`);
  const quote = {
    version,
    signed,
    body,
    signature,
    attestationKey,
    qeReport,
    qeReportSignature,
    authData,
    pckChain,
  } as const;
  return { supported: true, quote };
}

/** A COSE_Sign1 array or any CBOR tag; a quote of version 4 or 5 begins with that number. */
export function looksLikeCwt(bytes: Uint8Array): boolean {
  const first = bytes[0] ?? 0;
  return first === 0x84 || (first >= 0xc0 && first <= 0xdb);
}

/** @returns undefined for an SGX enclave's body. */
function parseDescribedBody(reader: LittleEndianReader): TdxBody | undefined {
  const type = reader.u16();
  const size = reader.u32();
  if (type === 1) return undefined;
  const kind = type === 2 ? "td-1.0" : type === 3 ? "td-1.5" : reader.fail("has a body of an unknown type");
  if (size !== BODY_SIZES[kind]) reader.fail("has a body whose size does not match its type");
  return parseBody(kind, reader);
}

function parseBody(kind: TdxBody["kind"], reader: LittleEndianReader): TdxBody {
  const field = (length: number) => reader.bytes(length);
  return {
    kind,
    teeTcbSvn: field(16),
    mrSeam: field(48),
    mrSignerSeam: field(48),
    seamAttributes: field(8),
    tdAttributes: field(8),
    xfam: field(8),
    mrTd: field(48),
    mrConfigId: field(48),
    mrOwner: field(48),
    mrOwnerConfig: field(48),
    rtmrs: [field(48), field(48), field(48), field(48)],
    reportData: field(64),
    td15: kind === "td-1.5" ? { teeTcbSvn2: field(16), mrServiceTd: field(48) } : undefined,
  };
}

function parseQeReport(bytes: Uint8Array): QeReport {
  const u16At = (at: number) => (bytes[at] as number) | ((bytes[at + 1] as number) << 8);
  return {
    bytes,
    miscSelect: bytes.subarray(16, 20),
    attributes: bytes.subarray(48, 64),
    mrSigner: bytes.subarray(128, 160),
    isvProdId: u16At(256),
    isvSvn: u16At(258),
    reportData: bytes.subarray(320, 384),
  };
}

function unsupported(check: UnsupportedQuote["check"], problem: string, found: string): ParsedQuote {
  return { supported: false, unsupported: { check, problem, found } };
}

/** u32 length, then that many bytes: a view, so a huge length allocates nothing. */
function sized(reader: LittleEndianReader, what: string): Uint8Array {
  const length = reader.u32();
  if (length > reader.remaining) reader.fail(`ends inside its ${what}`);
  return reader.bytes(length);
}
