// Who collects evidence, of whichever kind.

import type { AuxParts } from "../../protocol/attestation/aux.ts";
import type { EvidenceType } from "../../protocol/attestation/evidence.ts";

/**
 * What goes beside the quote must be known before the quote is made, because the binder commits to it; so a
 * provider first prepares its parts, then has the hardware sign `binder` (64 bytes, protocol/attestation/binder.ts).
 */
export interface EvidenceProvider {
  readonly type: EvidenceType;
  /** The parts that this hardware needs; the collector adds those that every kind may have. @throws SealttyError `evidence-unavailable`. */
  prepareAux(): Promise<AuxParts>;
  /** @returns the quote bytes. @throws SealttyError `evidence-unavailable`; StaleAuxError where parts must be prepared again. */
  quote(binder: Uint8Array, aux: AuxParts): Promise<Uint8Array>;
  /** Really has the hardware answer, once; called at start and by health probes. @throws SealttyError `evidence-unavailable`. */
  probe(): Promise<void>;
  close(): Promise<void>;
}
