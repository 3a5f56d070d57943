// What holds of a checked SEV-SNP report before any policy was asked.

import type { SnpProduct } from "../roots.ts";
import type { CrlFacts } from "./chain.ts";
import type { Endorsement } from "./endorsement.ts";
import { type SnpReport, sameFirmware } from "./report.ts";
import { type Tcb, sameTcb } from "./tcb.ts";

/** A report that genuine AMD firmware signed; nothing about whether it is the owner's guest, or fresh. */
export interface SnpFacts {
  readonly report: SnpReport;
  readonly product: SnpProduct;
  /** Whose key signed, and what AMD says of it. */
  readonly endorsement: Endorsement;
  /** `reported` is that of the endorsement. */
  readonly tcb: {
    readonly current: Tcb;
    readonly reported: Tcb;
    readonly committed: Tcb;
    readonly launch: Tcb;
  };
  /** SHA-256 of the root's SubjectPublicKeyInfo, hex. */
  readonly root: string;
  readonly crl: CrlFacts | "absent";
}

/** The host can still go back to an older firmware: the current one is not committed. */
export function isProvisional({ report, tcb }: SnpFacts): boolean {
  return !(
    sameTcb(tcb.current, tcb.committed) && sameFirmware(report.currentFirmware, report.committedFirmware)
  );
}

/** A migration agent may move the guest: its launch policy lets one, or one is bound to it (REPORT_ID_MA). */
export function hasMigrationAgent({ report }: SnpFacts): boolean {
  return report.policy.migrationAgent || report.reportIdMa.some((byte) => byte !== 0xff);
}
