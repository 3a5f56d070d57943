// Identity of Intel's TD quoting enclave, version 2: what its report must say. Intel PCS API v4, "Get TDX QE Identity"

import { equalBytes } from "../../bytes.ts";
import { JsonObject } from "./json-fields.ts";
import type { QeReport } from "./quote.ts";
import { malformed } from "./signed-json.ts";
import { type IsvLevel, readIsvLevels } from "./tcb-info.ts";

const WHAT = "QE identity";

export interface QeIdentity {
  /** Milliseconds since 1970. */
  readonly issueDate: number;
  readonly nextUpdate: number;
  readonly evaluationNumber: number;
  /** 4 bytes each, in the report's byte order. */
  readonly miscSelect: Uint8Array;
  readonly miscSelectMask: Uint8Array;
  /** 16 bytes each. */
  readonly attributes: Uint8Array;
  readonly attributesMask: Uint8Array;
  /** 32 bytes. */
  readonly mrSigner: Uint8Array;
  readonly isvProdId: number;
  /** In Intel's order, newest first. */
  readonly levels: readonly IsvLevel[];
}

/** @param value - parsed from the exact bytes that are signed. @throws SealttyError `peer-misbehaved`. */
export function readQeIdentity(value: unknown): QeIdentity {
  const identity = new JsonObject(value, WHAT);
  identity.choice("id", ["TD_QE"]);
  if (identity.number("version", 255) !== 2) malformed(WHAT, "has a version that this version does not know");
  return {
    issueDate: identity.date("issueDate"),
    nextUpdate: identity.date("nextUpdate"),
    evaluationNumber: identity.number("tcbEvaluationDataNumber", 0xffff),
    miscSelect: identity.hex("miscselect", 4),
    miscSelectMask: identity.hex("miscselectMask", 4),
    attributes: identity.hex("attributes", 16),
    attributesMask: identity.hex("attributesMask", 16),
    mrSigner: identity.hex("mrsigner", 32),
    isvProdId: identity.number("isvprodid", 0xffff),
    levels: readIsvLevels(identity, WHAT),
  };
}

/** @returns what does not fit; undefined: this report is of that enclave. */
export function qeMismatch(report: QeReport, identity: QeIdentity): string | undefined {
  if (!equalMasked(report.miscSelect, identity.miscSelect, identity.miscSelectMask)) return "MISCSELECT";
  if (!equalMasked(report.attributes, identity.attributes, identity.attributesMask)) return "ATTRIBUTES";
  if (!equalBytes(report.mrSigner, identity.mrSigner)) return "MRSIGNER";
  if (report.isvProdId !== identity.isvProdId) return "ISVPRODID";
  return undefined;
}

function equalMasked(found: Uint8Array, expected: Uint8Array, mask: Uint8Array): boolean {
  return equalBytes(
    found.map((byte, i) => byte & (mask[i] as number)),
    expected,
  );
}
