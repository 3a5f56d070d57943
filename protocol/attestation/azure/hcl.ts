// The report that Azure's paravisor (HCL, OpenHCL) leaves in its vTPM: a hardware report, and the runtime data that it covers.
// Layout: Microsoft's OpenHCL, attestation report v1 and v2; everything little-endian.

import { isZero } from "../../bytes.ts";
import { SealttyError } from "../../errors.ts";
import { LittleEndianReader, startsWith } from "../little-endian.ts";

/** Size of NV index 0x01400001: what is behind the runtime data is zero. */
export const MAX_HCL_REPORT = 2600;
const HEADER = 32;
/** SNP report, or TDREPORT and zeros. */
const HARDWARE_REPORT = 1184;
const TD_REPORT = 1024;
const RUNTIME_HEADER = 20;
const REQUEST_REPORT = 2;
const RUNTIME_VERSION = 1;

const HASHES = { 1: "sha256", 2: "sha384", 3: "sha512" } as const;
export type HclHash = (typeof HASHES)[keyof typeof HASHES];
const REPORTS = { 2: "snp", 4: "tdx" } as const;

export interface HclReport {
  readonly version: 1 | 2;
  /** `snp`: 1184 bytes; `tdx`: a TDREPORT of 1024 bytes, whose MAC only its own machine can check. */
  readonly type: "snp" | "tdx";
  readonly hardwareReport: Uint8Array;
  /** Of the runtime data, in REPORT_DATA. */
  readonly hash: HclHash;
  /** JSON: the exact bytes that are hashed. */
  readonly runtimeData: Uint8Array;
}

/**
 * Header of 32 bytes, hardware report of 1184, runtime header of 20, runtime data, zeros up to 2600 or fewer bytes.
 * @throws SealttyError `peer-misbehaved` on unknown versions and kinds, on a length that disagrees, on anything non-zero
 * where nothing is signed.
 */
export function parseHclReport(bytes: Uint8Array): HclReport {
  if (bytes.length > MAX_HCL_REPORT) fail(`is longer than ${MAX_HCL_REPORT} bytes`);
  const reader = new LittleEndianReader(bytes, WHAT);
  if (!startsWith(reader.bytes(4), "HCLA")) fail("does not begin as one");
  const version = reader.u32();
  if (version !== 1 && version !== 2) fail("has a version that this version does not know");
  const reportSize = reader.u32();
  if (reader.u32() !== REQUEST_REPORT) fail("answers another request than one for a report");
  if (reader.u32() !== 0) fail("has a status other than success");
  if (!isZero(reader.bytes(12))) fail("has something in its reserved bytes");
  const hardware = reader.bytes(HARDWARE_REPORT);

  const dataSize = reader.u32();
  if (reader.u32() !== RUNTIME_VERSION) fail("has runtime data of a version that this version does not know");
  const type = REPORTS[reader.u32() as keyof typeof REPORTS];
  if (type === undefined) return fail("holds a hardware report of a kind that this version does not know");
  const hash = HASHES[reader.u32() as keyof typeof HASHES];
  if (hash === undefined) return fail("names a hash that this version does not know");
  const size = reader.u32();
  if (size === 0) fail("has no runtime data");
  if (size > reader.remaining) fail("ends too early");
  if (dataSize !== RUNTIME_HEADER + size || reportSize !== HEADER + HARDWARE_REPORT + dataSize)
    fail("has lengths that disagree");
  const runtimeData = reader.bytes(size);
  if (!isZero(reader.rest())) fail("has something behind the runtime data");

  if (type === "tdx" && !isZero(hardware.subarray(TD_REPORT))) fail("has something behind the TDREPORT");
  const hardwareReport = type === "tdx" ? hardware.subarray(0, TD_REPORT) : hardware;
  return { version, type, hardwareReport, hash, runtimeData };
}

const TD_REPORT_TYPE = 0x81;
const TD_REPORT_DATA = 128;

/** REPORTDATA of a TDREPORT (REPORTMACSTRUCT, Intel TDX module ABI). @returns 64 bytes. @throws SealttyError `peer-misbehaved`. */
export function reportDataOfTdReport(report: Uint8Array): Uint8Array {
  if (report.length !== TD_REPORT || report[0] !== TD_REPORT_TYPE)
    fail("holds something else than a TDREPORT");
  return report.subarray(TD_REPORT_DATA, TD_REPORT_DATA + 64);
}

const WHAT = "Azure's HCL report";

function fail(problem: string): never {
  throw new SealttyError("peer-misbehaved", `${WHAT} ${problem}`);
}
