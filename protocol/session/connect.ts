// The client's side of a connection, top to bottom: keys, evidence, appraisal, then the user, then channels.
// docs/protocol.md §4 to §8

import { onAbort } from "../abort.ts";
import { acceptedEvidenceTypes, appraise, describeUnderNoPolicy } from "../attestation/appraisal.ts";
import { type Commitment, commitmentOf } from "../attestation/commitment.ts";
import type { BindingContext } from "../attestation/binder.ts";
import { EVIDENCE_TYPES, type Evidence, type EvidenceType } from "../attestation/evidence.ts";
import { VENDOR_ROOTS } from "../attestation/roots.ts";
import type { AppraisedClaims, VerifiedGuest } from "../attestation/verified-guest.ts";
import { SealttyError } from "../errors.ts";
import { encodeClientHello } from "../handshake/client-hello.ts";
import { ClientConnection } from "./client-connection.ts";
import type { AttestedGuest, ConnectOptions, Guest, UserAuth } from "./api.ts";
import { ReAttestation } from "./re-attestation.ts";

/**
 * Resolves once the guest's evidence met the policy; until then the client sends nothing but handshake messages and
 * acknowledgements. @throws SealttyError `evidence-refused`, `evidence-unavailable`, `guest-silent`, `version-unknown`,
 * `device-unavailable`, `transport-lost`, `timeout`, `peer-misbehaved`.
 */
export async function connect(options: ConnectOptions): Promise<AttestedGuest> {
  const accepted = acceptedEvidenceTypes(options.policy, options.acceptSimulated);
  const verify = (evidence: Evidence, commitment: Commitment): Promise<VerifiedGuest> =>
    appraise({ ...appraisalParts(options), evidence, commitment, policy: options.policy });
  const { connection, evidence, encoded, context, result } = await reachEvidence(options, accepted, verify);
  connection.enter({ phase: "attested" });
  let authenticating = false;
  return {
    verified: result,
    evidence,
    context,
    get stats() {
      return connection.stats;
    },
    async authenticate(auth: UserAuth): Promise<Guest> {
      if (authenticating) throw new SealttyError("api-misuse", "Already authenticating on this connection");
      authenticating = true;
      try {
        if (options.shaping !== undefined) connection.shape(options.shaping);
        await connection.authenticate(auth, options.suite.sha256(encoded));
      } finally {
        authenticating = false;
      }
      return openGuest(options, connection, context, result, verify);
    },
    close: (how) => connection.close("done", how?.atOnce),
  };
}

/** The user is in: channels may open, and evidence is asked for again from now on. */
function openGuest(
  options: ConnectOptions,
  connection: ClientConnection,
  context: BindingContext,
  first: VerifiedGuest,
  verify: (evidence: Evidence, commitment: Commitment) => Promise<VerifiedGuest>,
): Guest {
  const again = new ReAttestation(
    {
      clock: options.clock,
      every: options.policy.reattestEvery * 1000,
      missesAllowed: options.policy.reattestMisses,
      async renew() {
        const renewalNonce = options.suite.randomBytes(32);
        const { counter, evidence } = await connection.renewEvidence(renewalNonce);
        if (evidence === undefined) return undefined;
        return await verify(evidence, commitmentOf(options.suite, { ...context, counter, renewalNonce }));
      },
      freeze: () => connection.freeze(),
      thaw: () => connection.thaw(),
      tell: (event) => options.onAttestation?.(event),
    },
    first,
  );
  void connection.closed.then(() => again.stop());
  return {
    get verified() {
      return again.accepted;
    },
    get stats() {
      return connection.stats;
    },
    openChannel: (request) => connection.channels.open(request),
    openSession: (request) => connection.channels.openSession(request),
    attach: (request) => connection.channels.attach(request),
    listSessions: (proofs = []) => connection.channels.list(proofs),
    killSession: (session) => connection.channels.kill(session),
    listen: (place, onIncoming) => connection.channels.listen(place, onIncoming),
    reattest: () => again.now(),
    get frozen() {
      return again.frozen;
    },
    goOn: () => again.goOn(),
    close: (how) => connection.close("done", how?.atOnce),
    closed: connection.closed,
  };
}

export type InspectOptions = Omit<ConnectOptions, "policy">;

export interface Inspected {
  readonly claims: AppraisedClaims;
  readonly evidence: Evidence;
  /** What the evidence commits to: kept beside it, it can be verified again later, offline. */
  readonly context: BindingContext;
}

/**
 * Fetches evidence and checks its signatures and its binding to this connection, but compares it with no reference
 * values: it says what a machine is, never that it is the right one. Nothing can be opened on the result.
 */
export async function inspectGuest(options: InspectOptions): Promise<Inspected> {
  const accepted = (Object.keys(EVIDENCE_TYPES) as EvidenceType[]).filter(
    (type) => type !== "simulated" || options.acceptSimulated,
  );
  const describe = (evidence: Evidence, commitment: Commitment) =>
    describeUnderNoPolicy({ ...appraisalParts(options), evidence, commitment, name: options.identity });
  const { connection, evidence, context, result } = await reachEvidence(options, accepted, describe);
  await connection.close("done");
  return { claims: result.claims, evidence, context };
}

function appraisalParts(options: InspectOptions) {
  return {
    suite: options.suite,
    signatures: options.signatures,
    acceptSimulated: options.acceptSimulated,
    now: options.wallTime(),
    roots: options.trustRoots ?? VENDOR_ROOTS,
    collateral: options.collateral,
  };
}

async function reachEvidence<Result>(
  options: InspectOptions,
  accepted: readonly EvidenceType[],
  judge: (evidence: Evidence, commitment: Commitment) => Promise<Result>,
): Promise<{
  connection: ClientConnection;
  evidence: Evidence;
  encoded: Uint8Array;
  context: BindingContext;
  result: Result;
}> {
  const nonce = options.suite.randomBytes(32);
  const connection = new ClientConnection(options, (pipe) =>
    encodeClientHello({
      nonce,
      address: options.address,
      identity: options.identity,
      evidenceTypes: accepted,
      pipe,
    }),
  );
  let off: () => void = () => {};
  const givenUp = new Promise<never>((_, reject) => {
    off = onAbort(options.signal, reject);
  });
  let stopTimer: () => void = () => {};
  const timeUp = new Promise<never>((_, reject) => {
    stopTimer = options.clock.after(options.timeout, () =>
      reject(connection.explainTimeout(options.timeout, options.address)),
    );
  });
  try {
    const { encoded, evidence, handshaken } = await Promise.race([connection.evidence(), timeUp, givenUp]);
    connection.enter({ phase: "appraising" });
    const { handshakeHash, guestStatic, exporter } = handshaken;
    const context: BindingContext = { handshakeHash, guestStatic, exporter, clientNonce: nonce };
    const result = await Promise.race([
      judge(evidence, commitmentOf(options.suite, context)),
      timeUp,
      givenUp,
    ]);
    return { connection, evidence, encoded, context, result };
  } catch (error) {
    await connection.close("not-authenticated");
    throw error;
  } finally {
    stopTimer();
    off();
  }
}
