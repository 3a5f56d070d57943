// ATTESTATION_REPORT of SEV-SNP firmware, versions 2 to 5: what the chip signed about a guest. AMD 56860, table 23
// The parser is strict because part of the structure is not covered by the signature (from 0x2A0 on).

import { isZero, toHex } from "../../bytes.ts";
import { LittleEndianReader } from "../little-endian.ts";
import { type Cpuid, type EndorsementKind, productOfCpuid } from "./product.ts";

export const SNP_REPORT_SIZE = 1184;
const SIGNED_SIZE = 0x2a0;
const ECDSA_P384_SHA384 = 1;
/** Bytes of r and of s that are used; each field has 72. */
const SCALAR = 48;
/** Order of P-384: FIPS 186-5, SP 800-186 §3.2.1.4. */
const P384_ORDER =
  "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973";

const SIGNING_KEYS: ReadonlyMap<number, EndorsementKind | "none"> = new Map([
  [0, "vcek"],
  [1, "vlek"],
  [7, "none"],
]);

/** POLICY: what the guest's owner asked of the firmware at launch. */
export interface GuestPolicy {
  /** 16 digits, most significant first. */
  readonly hex: string;
  readonly abiMajor: number;
  readonly abiMinor: number;
  readonly smt: boolean;
  readonly migrationAgent: boolean;
  readonly debug: boolean;
  readonly singleSocket: boolean;
  readonly cxl: boolean;
  readonly aes256Xts: boolean;
  readonly raplDisabled: boolean;
  readonly ciphertextHiding: boolean;
  readonly pageSwapDisabled: boolean;
}

/** PLATFORM_INFO: how the platform is set up now. */
export interface PlatformInfo {
  /** 16 digits, most significant first. */
  readonly hex: string;
  readonly smt: boolean;
  readonly tsme: boolean;
  readonly ecc: boolean;
  readonly raplDisabled: boolean;
  readonly ciphertextHiding: boolean;
  readonly aliasCheckComplete: boolean;
  readonly tio: boolean;
}

export interface FirmwareVersion {
  readonly major: number;
  readonly minor: number;
  readonly build: number;
}

/** All bytes are views into the report. */
export interface SnpReport {
  readonly version: 2 | 3 | 4 | 5;
  readonly guestSvn: number;
  readonly policy: GuestPolicy;
  /** 16 bytes each. */
  readonly familyId: Uint8Array;
  readonly imageId: Uint8Array;
  /** 0 to 3. */
  readonly vmpl: number;
  readonly platform: PlatformInfo;
  readonly authorKeyEnabled: boolean;
  /** MASK_CHIP_KEY: the firmware does not sign. */
  readonly chipKeyMasked: boolean;
  readonly signingKey: EndorsementKind | "none";
  /** 64 bytes. */
  readonly reportData: Uint8Array;
  /** 48 bytes. */
  readonly measurement: Uint8Array;
  /** 32 bytes. */
  readonly hostData: Uint8Array;
  /** 48 bytes each. */
  readonly idKeyDigest: Uint8Array;
  readonly authorKeyDigest: Uint8Array;
  /** 32 bytes each; the second is all 0xff where there is no migration agent. */
  readonly reportId: Uint8Array;
  readonly reportIdMa: Uint8Array;
  /** Undefined in version 2. */
  readonly cpuid: Cpuid | undefined;
  /** 64 bytes; all zero where the platform masks it. */
  readonly chipId: Uint8Array;
  /** TCB_VERSION, 8 bytes each: tcb.ts. */
  readonly currentTcb: Uint8Array;
  readonly reportedTcb: Uint8Array;
  readonly committedTcb: Uint8Array;
  readonly launchTcb: Uint8Array;
  readonly currentFirmware: FirmwareVersion;
  readonly committedFirmware: FirmwareVersion;
  /** Most significant digit first, 16 of them; undefined before version 5. */
  readonly launchMitigation: string | undefined;
  readonly currentMitigation: string | undefined;
  /** What the signature covers. */
  readonly signed: Uint8Array;
  /** r‖s, big-endian, 48 bytes each; undefined where both are zero, which is no signature. */
  readonly signature: Uint8Array | undefined;
}

/** @throws SealttyError `peer-misbehaved` on anything but 1184 bytes of a known version with nothing in reserved places. */
export function parseSnpReport(bytes: Uint8Array): SnpReport {
  const reader = new LittleEndianReader(bytes, "SEV-SNP report");
  if (bytes.length !== SNP_REPORT_SIZE) reader.fail("is not 1184 bytes long");
  const reserved = (length: number) => {
    if (!isZero(reader.bytes(length))) reader.fail("has something in a reserved place");
  };
  const version = reader.u32();
  if (version !== 2 && version !== 3 && version !== 4 && version !== 5) {
    return reader.fail("has a version that this version does not know");
  }
  const guestSvn = reader.u32();
  const policy = readPolicy(reader);
  const familyId = reader.bytes(16);
  const imageId = reader.bytes(16);
  const vmpl = reader.u32();
  if (vmpl > 3) reader.fail("was not asked for by a guest: its VMPL is above 3");
  if (reader.u32() !== ECDSA_P384_SHA384) reader.fail("has an unknown signature algorithm");
  const currentTcb = reader.bytes(8);
  const platform = readPlatform(reader);
  const keys = reader.u32();
  const signingKey = SIGNING_KEYS.get((keys >> 2) & 7);
  if (keys >= 1 << 5 || signingKey === undefined) return reader.fail("names an unknown signing key");
  reserved(4);
  const reportData = reader.bytes(64);
  const measurement = reader.bytes(48);
  const hostData = reader.bytes(32);
  const idKeyDigest = reader.bytes(48);
  const authorKeyDigest = reader.bytes(48);
  const reportId = reader.bytes(32);
  const reportIdMa = reader.bytes(32);
  const reportedTcb = reader.bytes(8);
  const cpuid =
    version === 2 ? undefined : { family: reader.u8(), model: reader.u8(), stepping: reader.u8() };
  reserved(cpuid === undefined ? 24 : 21);
  const chipId = reader.bytes(64);
  if (cpuid !== undefined && productOfCpuid(cpuid) === "Turin" && !isZero(chipId.subarray(8))) {
    reader.fail("has a CHIP_ID that is longer than this processor's");
  }
  const committedTcb = reader.bytes(8);
  const currentFirmware = readFirmware(reader);
  const committedFirmware = readFirmware(reader);
  const launchTcb = reader.bytes(8);
  const mitigations = version === 5 ? [reader.bytes(8), reader.bytes(8)].map(hexOfLittleEndian) : [];
  reserved(version === 5 ? 152 : 168);
  const signature = readSignature(reader);
  reserved(reader.remaining);
  return {
    version,
    guestSvn,
    policy,
    familyId,
    imageId,
    vmpl,
    platform,
    authorKeyEnabled: (keys & 1) !== 0,
    chipKeyMasked: (keys & 2) !== 0,
    signingKey,
    reportData,
    measurement,
    hostData,
    idKeyDigest,
    authorKeyDigest,
    reportId,
    reportIdMa,
    cpuid,
    chipId,
    currentTcb,
    reportedTcb,
    committedTcb,
    launchTcb,
    currentFirmware,
    committedFirmware,
    launchMitigation: mitigations[0],
    currentMitigation: mitigations[1],
    signed: bytes.subarray(0, SIGNED_SIZE),
    signature,
  };
}

function readPolicy(reader: LittleEndianReader): GuestPolicy {
  const { hex, bit } = readFlags(reader, 26, "POLICY");
  const [abiMajor, abiMinor] = [hex.slice(12, 14), hex.slice(14, 16)].map((digits) =>
    Number.parseInt(digits, 16),
  );
  if (!bit(17)) reader.fail("has a POLICY whose bit 17 is not set, as it always is");
  return {
    hex,
    abiMajor: abiMajor as number,
    abiMinor: abiMinor as number,
    smt: bit(16),
    migrationAgent: bit(18),
    debug: bit(19),
    singleSocket: bit(20),
    cxl: bit(21),
    aes256Xts: bit(22),
    raplDisabled: bit(23),
    ciphertextHiding: bit(24),
    pageSwapDisabled: bit(25),
  };
}

function readPlatform(reader: LittleEndianReader): PlatformInfo {
  const { hex, bit } = readFlags(reader, 8, "PLATFORM_INFO"); // bit 6 has no published name, and Turin sets it
  return {
    hex,
    smt: bit(0),
    tsme: bit(1),
    ecc: bit(2),
    raplDisabled: bit(3),
    ciphertextHiding: bit(4),
    aliasCheckComplete: bit(5),
    tio: bit(7),
  };
}

/** A 64-bit set of flags of which the first `known` (at most 32) have a meaning. */
function readFlags(reader: LittleEndianReader, known: number, name: string) {
  const raw = reader.bytes(8);
  const low = new LittleEndianReader(raw, name).u32();
  if (low >= 2 ** known || !isZero(raw.subarray(4)))
    reader.fail(`has a ${name} with a bit that has no meaning`);
  return { hex: hexOfLittleEndian(raw), bit: (number: number) => ((low >>> number) & 1) === 1 };
}

function readFirmware(reader: LittleEndianReader): FirmwareVersion {
  const [build, minor, major] = [reader.u8(), reader.u8(), reader.u8()];
  if (reader.u8() !== 0) reader.fail("has something in a reserved place");
  return { major, minor, build };
}

function readSignature(reader: LittleEndianReader): Uint8Array | undefined {
  const signature = new Uint8Array(2 * SCALAR);
  for (const at of [0, SCALAR]) {
    const field = reader.bytes(72);
    if (!isZero(field.subarray(SCALAR))) reader.fail("has a signature that is longer than the curve's");
    signature.set(field.slice(0, SCALAR).reverse(), at);
  }
  if (isZero(signature)) return undefined;
  for (const half of [signature.subarray(0, SCALAR), signature.subarray(SCALAR)]) {
    // Equal lengths: the order of hex strings is that of the numbers.
    if (isZero(half) || toHex(half) >= P384_ORDER)
      reader.fail("has a signature outside of the curve's order");
  }
  return signature;
}

function hexOfLittleEndian(bytes: Uint8Array): string {
  return toHex(bytes.slice().reverse());
}

/** Whether two versions are one. */
export function sameFirmware(a: FirmwareVersion, b: FirmwareVersion): boolean {
  return a.major === b.major && a.minor === b.minor && a.build === b.build;
}

export function firmwareWords({ major, minor, build }: FirmwareVersion): string {
  return `${major}.${minor}.${build}`;
}
