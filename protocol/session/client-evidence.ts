// The guest's first message is its evidence; before that nothing else means anything.

import type { Evidence } from "../attestation/evidence.ts";
import { SealttyError } from "../errors.ts";
import type { Handshaken } from "../handshake/messages.ts";
import type { SessionMessage } from "./messages.ts";

export interface ReceivedEvidence {
  readonly encoded: Uint8Array;
  readonly evidence: Evidence;
  readonly handshaken: Handshaken;
}

/** @throws SealttyError `evidence-unavailable` where the guest has none, `peer-misbehaved` where this is something else. */
export function evidenceOf(message: SessionMessage, handshaken: Handshaken): ReceivedEvidence {
  if (message.type === "no-evidence") {
    throw new SealttyError(
      "evidence-unavailable",
      "The guest could not collect evidence, so nothing can be verified. Its own log says why (journalctl -u sealttyd, in the guest).",
    );
  }
  if (message.type !== "evidence")
    throw new SealttyError("peer-misbehaved", "The guest sent something before its evidence");
  const { encoded, evidence } = message;
  return { encoded, evidence, handshaken };
}
