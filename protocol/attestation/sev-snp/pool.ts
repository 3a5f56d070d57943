// Everything that somebody handed in for checking a report: the host's certificate table, what travels with the evidence,
// the owner's own files. All of it parses, or nothing of it is used.

import { toHex } from "../../bytes.ts";
import { MAX_COLLATERAL_PIECES } from "../../limits.ts";
import { type Collateral, MAX_OWNER_PIECES } from "../collateral.ts";
import { parsing, refuse } from "../refusal.ts";
import type { VerifyContext } from "../verify-context.ts";
import { type Certificate, parseCertificate } from "../x509/certificate.ts";
import { type RevocationList, parseCrl } from "../x509/crl.ts";
import { MAX_ENTRIES, parseCertificateTable } from "./certificate-table.ts";

/** Certificates, or CRLs, of all sources together. */
const MAX_PIECES = MAX_OWNER_PIECES + MAX_COLLATERAL_PIECES + MAX_ENTRIES;

export interface Pool {
  readonly certificates: readonly Certificate[];
  readonly crls: readonly RevocationList[];
}

/** @throws SealttyError `evidence-refused`. */
export function poolOf(
  certificateTable: Uint8Array | undefined,
  collateral: Collateral,
  context: VerifyContext,
): Pool {
  const table = parsing("snp.certificate-table", "The certificate table beside the report", () =>
    parseCertificateTable(certificateTable ?? new Uint8Array()),
  );
  const bags = [table, collateral, context.collateral];
  const certificates = distinct(bags.flatMap((bag) => bag.certificates)).map((piece) =>
    parsing("snp.collateral", "A certificate beside the report", () => parseCertificate(piece)),
  );
  const crls = distinct(bags.flatMap((bag) => bag.crls)).map((piece) =>
    parsing("snp.collateral", "A revocation list beside the report", () => parseCrl(piece)),
  );
  return { certificates, crls };
}

/** The same bytes often come from two sources. */
function distinct(pieces: readonly Uint8Array[]): Uint8Array[] {
  if (pieces.length > MAX_PIECES) {
    refuse(
      "snp.collateral",
      "There are too many certificates or revocation lists beside the report",
      `at most ${MAX_PIECES}`,
      `${pieces.length}`,
      "Keep only AMD's certificates of your own machines in the collateral directory.",
    );
  }
  return [...new Map(pieces.map((piece) => [toHex(piece), piece])).values()];
}
