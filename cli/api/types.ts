// `import { connect } from "sealtty"`: all that a program sees of it. docs/api.md
// This file is published as it stands: it imports nothing of ours, so that nothing else is promised.

import type { Readable, Writable } from "node:stream";

export interface ConnectOptions {
  /** The guest's address, as `sealtty help` lists them: `ws://…`, `unix:PATH`, `tcp:HOST:PORT`, … */
  readonly guest: string;
  /** The owner's policy that the guest's evidence must meet: a file, or its text. */
  readonly policy: string | { readonly text: string };
  /** User in the guest; default: the local user's name. */
  readonly user?: string;
  /** File of an SSH key, or of its public half where ssh-agent holds it; default: the agent's keys, then those in ~/.ssh. */
  readonly identity?: string;
  /** Accept simulated evidence, which proves nothing, where the policy names it. */
  readonly simulated?: boolean;
  /** Directory of certificates, CRLs and TCB info of your own, beside what the guest sends. */
  readonly collateral?: string;
  /** Ms for connection and evidence; default 30,000. */
  readonly timeout?: number;
  readonly encoding?: "auto" | "binary" | "armour";
  /** Hide sizes and times from the host; default "off". */
  readonly obfuscate?: "strict" | "adaptive" | "off";
  /** Told of every step, and of a connection that is lost and back. */
  onState?(state: ConnectionState): void;
}

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
  /** With "reconnecting" and "closed". */
  readonly reason?: string;
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

/** A guest whose evidence met the policy, and a user who is in. */
export interface Guest {
  /** Of the newest evidence. */
  readonly claims: Claims;
  /**
   * Starts a program without a terminal; no shell interprets the words. Resolves once the guest started it.
   * @throws SealttyError `bad-config` where the command is too long or malformed, `user-refused`, `program-failed`,
   * `limit-exceeded` with 64 open at once.
   */
  exec(command: readonly string[], options?: ExecOptions): Promise<RemoteProcess>;
  /** Starts the user's shell, or a program, on a terminal. @throws SealttyError as `exec`. */
  shell(options: ShellOptions): Promise<RemoteTerminal>;
  /** Asks for evidence now, and not only every so often. A guest that is another one by then ends the connection. */
  reattest(): Promise<void>;
  /** Hangs up what still runs, and ends the connection. Idempotent. */
  close(): Promise<void>;
  /** Resolves with the reason once the connection is over. */
  readonly closed: Promise<string>;
}

interface Place {
  /** Added to the guest's own environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Directory of the guest; relative to the user's home, which is the default. */
  readonly cwd?: string;
  /** Hangs the program up; `exit` rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

export interface ExecOptions extends Place {
  /** Its standard input: empty by default, these bytes, or `true` to write to `stdin` yourself. */
  readonly stdin?: true | string | Uint8Array | AsyncIterable<string | Uint8Array>;
  /** Ms that it may run: then SIGTERM, 5 s later SIGKILL, and `exit` rejects with the code `timeout`. */
  readonly timeout?: number;
}

export interface ShellOptions extends Place {
  /** A program with arguments on the terminal; default: the user's shell. */
  readonly command?: readonly string[];
  readonly columns: number;
  readonly rows: number;
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

interface Running {
  /**
   * Resolves after all output was received; as with a child process, output that nobody reads holds the program up.
   * Rejects where the connection ended first: never like a clean end.
   */
  readonly exit: Promise<Exit>;
  kill(signal?: SignalName): void;
  /** SIGHUP, and its output is thrown away. */
  hangUp(): void;
}

export interface RemoteProcess extends Running {
  /** With `stdin: true` only. */
  readonly stdin: Writable | undefined;
  /** Destroying it before its end hangs the program up, as a closed pipe would. */
  readonly stdout: Readable;
  readonly stderr: Readable;
  /**
   * Reads both outputs to their end.
   * @param maxBytes - of both together, by default 64 MiB. @throws SealttyError `limit-exceeded` above it; the program is hung up.
   */
  collect(maxBytes?: number): Promise<Exit & { readonly stdout: Buffer; readonly stderr: Buffer }>;
}

export interface RemoteTerminal extends Running {
  readonly input: Writable;
  readonly output: Readable;
  resize(columns: number, rows: number): void;
}

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
