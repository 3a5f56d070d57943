// The one error class of the project: a closed list of codes, named for who is at fault.

export type SealttyErrorCode =
  | "api-misuse" // our own caller
  | "bad-policy" // the owner's policy file: missing, malformed, incomplete
  | "bad-config" // a configuration file or command line of this machine
  | "peer-misbehaved" // the authenticated peer broke the protocol
  | "evidence-refused" // the appraisal of the evidence failed
  | "evidence-unavailable" // the guest could not collect evidence
  | "user-refused" // the guest refused the user's authentication
  | "program-failed" // the guest could not start the program asked for
  | "session-gone" // the session to attach to: ended, or not this user's
  | "handed-over" // another sealttyd of the guest takes over: after the initramfs
  | "guest-silent" // nothing that makes sense came back in time
  | "version-unknown" // the guest speaks another protocol version
  | "decrypt-failed"
  | "limit-exceeded"
  | "timeout"
  | "state-rolled-back" // one end is an earlier state of itself: restored from a snapshot, or cloned
  | "device-unavailable" // a pipe of this machine: missing, busy, no permission
  | "transport-lost";

/** What a refused appraisal tells a person; texts from the evidence are hex or fixed words, never raw guest text. */
export interface Refusal {
  /** Stable name of the check, e.g. `tpm.pcr`. */
  readonly check: string;
  readonly expected: string;
  readonly found: string;
  /** What the owner can do next, one sentence. */
  readonly next: string;
  /** The key of the policy that decides this check, e.g. `snp.vmpl`; absent where no key can change the answer. */
  readonly policyKey?: string;
  /** Every further check that failed beside this one, so that a policy can be mended in one go. */
  readonly others?: readonly FailedCheck[];
}

/** A check that failed, told whole. */
export interface FailedCheck extends Omit<Refusal, "others"> {
  /** What is wrong, for a person. */
  readonly problem: string;
}

/** What was thrown, which may be anything, as an error. */
export function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}

/**
 * Codes are stable and safe to log. A peer only ever sees a fixed close code (protocol/session/messages.ts);
 * `message` and `cause` stay local.
 */
export class SealttyError extends Error {
  override readonly name = "SealttyError";
  readonly code: SealttyErrorCode;
  /** Present with `evidence-refused`. */
  readonly refusal: Refusal | undefined;

  constructor(code: SealttyErrorCode, message: string, options?: ErrorOptions & { refusal?: Refusal }) {
    super(message, options);
    this.code = code;
    this.refusal = options?.refusal;
  }
}
