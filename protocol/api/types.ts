// What programs see of a guest, in Node and in a browser alike. docs/api.md
// This file is published as it stands: it imports nothing, so that nothing else is promised.

export interface ConnectionState {
  readonly phase:
    | "dialing"
    | "waiting-for-guest"
    | "handshaking"
    | "collecting-evidence"
    | "appraising"
    | "attested"
    | "reconnecting"
    | "closed";
  /** With "dialing": 1 is the first. */
  readonly attempt?: number;
  /** With "reconnecting" and "closed". */
  readonly reason?: string;
}

export type EvidenceEvent =
  /** "renewed": the same guest, and the policy is met. "accepted": it is another one, and `onChanged` said yes. */
  | { readonly kind: "renewed" | "accepted"; readonly claims: Claims }
  /** None came this time. As many in a row as the policy allows count as a change. */
  | { readonly kind: "unavailable"; readonly reason: string; readonly inARow: number };

/** A guest that is not any more what it was. */
export interface GuestChange {
  /** For people. */
  readonly reason: string;
  /** What is different; empty where its evidence was refused, or none came. */
  readonly changes: readonly ChangedValue[];
  /** Where its evidence was refused. */
  readonly refusal: Refusal | undefined;
}

export interface ChangedValue {
  /** Stable, e.g. `tpm.pcr7`. */
  readonly name: string;
  /** The same for people. */
  readonly words: string;
  /** Undefined: there was none. */
  readonly before: string | undefined;
  readonly after: string | undefined;
  /** "boot": another one at each start of the guest. */
  readonly scope: "boot" | "lasting";
}

/** What the evidence says, checked; the same as `sealtty inspect --json` prints. */
export interface Claims {
  readonly type: string;
  readonly assurance: string;
  readonly verdict: string;
  readonly instance: string;
  readonly signedBy: string;
  /** Never to be hidden from a person, e.g. that the evidence is simulated. */
  readonly warnings: readonly string[];
}

export interface Place {
  /** Added to the guest's own environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Directory of the guest; relative to the user's home, which is the default. */
  readonly cwd?: string;
}

export interface Size {
  /** 1 to 10,000, as rows. */
  readonly columns: number;
  readonly rows: number;
}

export interface OnTerminal extends Place, Size {
  /** A program with arguments on the terminal; default: the user's shell. */
  readonly command?: readonly string[];
  /** The guest's own login program, which asks who is there; not with `command`, `env` or `cwd`, which it decides itself. */
  readonly login?: boolean;
  /** Default "xterm-256color". */
  readonly term?: string;
}

export type SignalName =
  | "SIGHUP"
  | "SIGINT"
  | "SIGQUIT"
  | "SIGKILL"
  | "SIGUSR1"
  | "SIGUSR2"
  | "SIGALRM"
  | "SIGTERM"
  | "SIGCONT"
  | "SIGSTOP"
  | "SIGTSTP";

/** How a program ended. */
export interface Exit {
  /** Its exit status; 128 + n where signal n ended it, as shells have it. */
  readonly status: number;
  /** "SIGKILL", …, where a signal ended it. */
  readonly signal?: string;
}

export interface Running {
  /**
   * Resolves after all output was received; as with a child process, output that nobody reads holds the program up.
   * Rejects where the connection ended first: never like a clean end.
   */
  readonly exit: Promise<Exit>;
  kill(signal?: SignalName): void;
  /** SIGHUP, and its output is thrown away. */
  hangUp(): void;
}

/** A port, or an absolute path of a unix socket. Names are looked up where it connects from. */
export type Destination = { readonly host: string; readonly port: number } | { readonly path: string };

/** Or a service of the guest's configuration: `ssh` is always one. */
export type StreamDestination = Destination | { readonly service: string };

/** `host`: "localhost" by default, "*" for every address. Port 0: any that is free. */
export type ListenAddress = { readonly host?: string; readonly port: number } | { readonly path: string };

/** What went wrong, for programs. Stable; docs and README say what to do about each. */
export type SealttyErrorCode =
  | "api-misuse"
  | "bad-policy"
  | "bad-config"
  | "peer-misbehaved"
  | "evidence-refused"
  | "evidence-unavailable"
  | "user-refused"
  | "program-failed"
  | "session-gone"
  | "handed-over"
  | "guest-silent"
  | "version-unknown"
  | "decrypt-failed"
  | "limit-exceeded"
  | "timeout"
  | "state-rolled-back"
  | "device-unavailable"
  | "transport-lost";

/** With `evidence-refused`: the first check that failed. */
export interface Refusal {
  readonly check: string;
  readonly expected: string;
  readonly found: string;
  /** What the owner can do next. */
  readonly next: string;
  /** The policy's key that decides it. */
  readonly policyKey?: string;
}
