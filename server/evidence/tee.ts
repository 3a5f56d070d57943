// Evidence from a TEE's own hardware: SEV-SNP and TDX. What travels beside the report comes from the host and from the image.

import type { AuxParts } from "../../protocol/attestation/aux.ts";
import type { EvidenceProvider } from "./provider.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import type { CryptoSuite } from "../../protocol/crypto/suite.ts";
import { StaleAuxError } from "./collect.ts";
import type { CollateralSource } from "./collateral-source.ts";
import { CC_EVENT_LOG, readEventLog, withoutPadding } from "./event-log-file.ts";
import { type HardwareReporter, type Tee, hostDataOf } from "./hardware-report.ts";

export interface TeeOptions {
  readonly type: Tee;
  readonly suite: CryptoSuite;
  readonly reporter: HardwareReporter;
  readonly collateral: CollateralSource;
  /** TDX; undefined: send no log. */
  readonly eventLogPath?: string | undefined;
}

export class TeeEvidenceProvider implements EvidenceProvider {
  readonly type: Tee;
  readonly #options: TeeOptions;
  /** As it came with the last report; the binder must commit to it before the next one. */
  #certificateTable: Uint8Array | undefined;

  constructor(options: TeeOptions) {
    this.type = options.type;
    this.#options = options;
  }

  async prepareAux(): Promise<AuxParts> {
    if (this.#certificateTable === undefined) await this.probe();
    const table = this.#certificateTable ?? new Uint8Array();
    const collateral = await this.#options.collateral.encoded();
    const eventLog = withoutPadding(await readEventLog(this.#options.eventLogPath));
    return {
      ...(table.length > 0 ? { certificateTable: table } : {}),
      ...(collateral.length > 0 ? { collateral } : {}),
      ...(eventLog.length > 0 ? { eventLog } : {}),
    };
  }

  /** @throws StaleAuxError where the host meanwhile provisioned other certificates. */
  async quote(binder: Uint8Array, aux: AuxParts): Promise<Uint8Array> {
    const report = await this.#report(binder);
    if (!equalBytes(this.#certificateTable ?? new Uint8Array(), aux.certificateTable ?? new Uint8Array())) {
      throw new StaleAuxError(
        "evidence-unavailable",
        "The host changed this machine's certificates while evidence was collected",
      );
    }
    return report;
  }

  async probe(): Promise<void> {
    await this.#report(this.#options.suite.randomBytes(64));
  }

  /** SEV-SNP: HOST_DATA, 32 bytes, out of a report made for this. */
  async hostData(): Promise<Uint8Array> {
    return hostDataOf(await this.#report(this.#options.suite.randomBytes(64)));
  }

  close(): Promise<void> {
    return this.#options.reporter.close();
  }

  async #report(reportData: Uint8Array): Promise<Uint8Array> {
    const { report, certificateTable } = await this.#options.reporter.report(reportData);
    // TDX has no certificates beside its quotes; whatever came in their place does not belong to its evidence.
    this.#certificateTable = this.type === "sev-snp" ? certificateTable : new Uint8Array();
    return report;
  }
}

export const eventLogOf = (tee: Tee): string | undefined => (tee === "tdx" ? CC_EVENT_LOG : undefined);
