// What a TEE's hardware gives for 64 bytes of ours, whichever way the kernel offers it; and the checks before it is sent.

import { SNP_REPORT_SIZE } from "../../protocol/attestation/sev-snp/report.ts";
import { looksLikeCwt } from "../../protocol/attestation/tdx/quote.ts";
import { Reader, equalBytes } from "../../protocol/bytes.ts";
import type { SealttyError } from "../../protocol/errors.ts";
import { unavailable } from "./unavailable.ts";

export type Tee = "sev-snp" | "tdx";

export interface HardwareReport {
  /** SEV-SNP: ATTESTATION_REPORT, 1184 bytes. TDX: the quote, with the zero bytes that the kernel leaves behind it. */
  readonly report: Uint8Array;
  /** SEV-SNP: the certificate table as the host provisioned it; empty where it provisioned none. */
  readonly certificateTable: Uint8Array;
}

/** Has the hardware answer; paced, one at a time, bounded in time. */
export interface HardwareReporter {
  /** @param reportData - 64 bytes. @throws SealttyError `evidence-unavailable`. */
  report(reportData: Uint8Array): Promise<HardwareReport>;
  close(): Promise<void>;
}

/** A quote is about 5 KB, in a buffer of 8 KB; a larger one is of the kind that `checkQuoteFormat` names. */
export const MAX_TDX_QUOTE = 8192;
const TDX_TEE_TYPE = 0x81;

/** Offsets of fields that the guest itself looks at; a client's verifier parses the whole. */
const SNP = { reportData: 0x50, hostData: 0xc0 } as const;
const TDX = { reportData: 520 } as const;
const TDX_BODY = { 4: 48, 5: 54 } as const;

/** @throws SealttyError `evidence-unavailable` where it is no such report, or not over `reportData`. */
export function checkReport(tee: Tee, report: Uint8Array, reportData: Uint8Array): void {
  const echoed =
    tee === "sev-snp" ? snpField(report, SNP.reportData, 64) : tdxField(report, TDX.reportData, 64);
  if (equalBytes(echoed, reportData)) return;
  throw unavailable(
    "The hardware's report holds other report data than sealttyd asked for",
    "Another program, or a broken kernel, is in the way: find who else uses the attestation device.",
  );
}

/** HOST_DATA, 32 bytes: the report came from the security processor under this guest's own key, past the host. */
export function hostDataOf(report: Uint8Array): Uint8Array {
  return snpField(report, SNP.hostData, 32).slice();
}

function snpField(report: Uint8Array, offset: number, length: number): Uint8Array {
  if (report.length !== SNP_REPORT_SIZE) {
    throw unavailable(
      `The SEV-SNP report has ${report.length} bytes instead of ${SNP_REPORT_SIZE}`,
      "This version does not know such reports: install a newer sealtty.",
    );
  }
  return report.subarray(offset, offset + length);
}

function tdxField(quote: Uint8Array, offset: number, length: number): Uint8Array {
  checkQuoteFormat(quote);
  const body = TDX_BODY[quote[0] as 4 | 5];
  if (quote.length < body + 584) throw unavailable("The TDX quote is cut off", "Reboot the guest.");
  return quote.subarray(body + offset, body + offset + length);
}

/** Newer platforms answer with a CBOR Web Token signed by DICE keys, for which there is no verifier yet. */
export function checkQuoteFormat(quote: Uint8Array): void {
  if (quote.length === 0)
    throw unavailable("The TDX quote is empty", "See the host's quote generation service.");
  if (quote.length > MAX_TDX_QUOTE || looksLikeCwt(quote)) throw diceQuote();
  const header: Reader = new Reader(quote, "TDX quote");
  try {
    const version = header.bytes(2);
    const keyType = header.bytes(2);
    const teeType = header.bytes(4);
    const known =
      (version[0] === 4 || version[0] === 5) &&
      version[1] === 0 &&
      keyType[0] === 2 &&
      keyType[1] === 0 &&
      teeType[0] === TDX_TEE_TYPE &&
      teeType[1] === 0 &&
      teeType[2] === 0 &&
      teeType[3] === 0;
    if (known) return;
  } catch (cause) {
    throw unavailable("The TDX quote is cut off", "Reboot the guest.", cause);
  }
  throw unavailable(
    "The TDX quote is of a version or key type that sealtty does not know (it knows versions 4 and 5 with ECDSA P-256)",
    "Install a newer sealtty.",
  );
}

export function diceQuote(cause?: unknown): SealttyError {
  return unavailable(
    "This platform gives DICE (CWT) quotes, which this version of sealtty cannot verify",
    "Use a platform with DCAP quotes (versions 4 and 5), or a newer sealtty.",
    cause,
  );
}
