// The client's side of a connection, top to bottom: keys, evidence, appraisal, then the user, then channels.
// docs/protocol.md §4 to §8

import { acceptedEvidenceTypes, appraise, describeUnderNoPolicy } from "../attestation/appraisal.ts";
import type { BindingContext } from "../attestation/binder.ts";
import { EVIDENCE_TYPES, type Evidence, type EvidenceType } from "../attestation/evidence.ts";
import type { AppraisedClaims, VerifiedGuest } from "../attestation/verified-guest.ts";
import { SealttyError } from "../errors.ts";
import { encodeClientHello } from "../handshake/client-hello.ts";
import { ClientConnection } from "./client-connection.ts";
import type { AttestedGuest, ConnectOptions, Guest, UserAuth } from "./api.ts";

/**
 * Resolves once the guest's evidence met the policy; until then the client sends nothing but handshake messages and
 * acknowledgements. @throws SealttyError `evidence-refused`, `evidence-unavailable`, `guest-silent`, `version-unknown`,
 * `device-unavailable`, `transport-lost`, `timeout`, `peer-misbehaved`.
 */
export async function connect(options: ConnectOptions): Promise<AttestedGuest> {
  const accepted = acceptedEvidenceTypes(options.policy, options.acceptSimulated);
  const verify = (evidence: Evidence, context: BindingContext): Promise<VerifiedGuest> =>
    appraise({
      evidence,
      context,
      policy: options.policy,
      suite: options.suite,
      signatures: options.signatures,
      acceptSimulated: options.acceptSimulated,
    });
  const { connection, evidence, encoded, result: verified } = await reachEvidence(options, accepted, verify);
  connection.enter({ phase: "attested" });
  let authenticating = false;
  return {
    verified,
    evidence,
    get stats() {
      return connection.stats;
    },
    async authenticate(auth: UserAuth): Promise<Guest> {
      if (authenticating) throw new SealttyError("api-misuse", "Already authenticating on this connection");
      authenticating = true;
      try {
        await connection.authenticate(auth, options.suite.sha256(encoded));
      } finally {
        authenticating = false;
      }
      return {
        verified,
        get stats() {
          return connection.stats;
        },
        openChannel: (request) => connection.openChannel(request),
        close: () => connection.close("done"),
        closed: connection.closed,
      };
    },
    close: () => connection.close("done"),
  };
}

export type InspectOptions = Omit<ConnectOptions, "policy">;

/**
 * Fetches evidence and checks its signatures and its binding to this connection, but compares it with no reference
 * values: it says what a machine is, never that it is the right one. Nothing can be opened on the result.
 */
export async function inspectGuest(
  options: InspectOptions,
): Promise<{ claims: AppraisedClaims; evidence: Evidence }> {
  const accepted = (Object.keys(EVIDENCE_TYPES) as EvidenceType[]).filter(
    (type) => type !== "simulated" || options.acceptSimulated,
  );
  const describe = (evidence: Evidence, context: BindingContext) =>
    describeUnderNoPolicy({
      evidence,
      context,
      suite: options.suite,
      signatures: options.signatures,
      acceptSimulated: options.acceptSimulated,
      name: options.identity,
    });
  const { connection, evidence, result } = await reachEvidence(options, accepted, describe);
  await connection.close("done");
  return { claims: result.claims, evidence };
}

async function reachEvidence<Result>(
  options: InspectOptions,
  accepted: readonly EvidenceType[],
  judge: (evidence: Evidence, context: BindingContext) => Promise<Result>,
): Promise<{ connection: ClientConnection; evidence: Evidence; encoded: Uint8Array; result: Result }> {
  const nonce = options.suite.randomBytes(32);
  const clientHello = encodeClientHello({
    nonce,
    address: options.address,
    identity: options.identity,
    evidenceTypes: accepted,
  });
  const connection = new ClientConnection(options, clientHello);
  let stopTimer: () => void = () => {};
  const timeUp = new Promise<never>((_, reject) => {
    stopTimer = options.clock.after(options.timeout, () =>
      reject(connection.explainTimeout(options.timeout)),
    );
  });
  try {
    const { encoded, evidence, handshaken } = await Promise.race([connection.evidence(), timeUp]);
    connection.enter({ phase: "appraising" });
    const context = { ...handshaken, clientNonce: nonce };
    const result = await Promise.race([judge(evidence, context), timeUp]);
    return { connection, evidence, encoded, result };
  } catch (error) {
    await connection.close("not-authenticated");
    throw error;
  } finally {
    stopTimer();
  }
}
