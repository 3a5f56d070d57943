// All that a command touches outside itself: main.ts gives the real ones, tests give their own.

import type { Readable, Writable } from "node:stream";
import type { Policy } from "../protocol/attestation/policy.ts";
import type { Clock } from "../protocol/clock.ts";
import type { SignatureVerifier } from "../protocol/crypto/signatures.ts";
import type { CryptoSuite } from "../protocol/crypto/suite.ts";
import type { Pipe } from "../protocol/pipe.ts";
import type { AttestedGuest, ConnectOptions, UserAuthFields } from "../protocol/session/api.ts";
import type { Inspected } from "../protocol/session/connect.ts";
import type { GuestAddress } from "./address.ts";

export interface TerminalInput extends Readable {
  readonly isTTY?: boolean;
  setRawMode?(raw: boolean): unknown;
}
export interface TerminalOutput extends Writable {
  readonly isTTY?: boolean;
  readonly columns?: number;
  readonly rows?: number;
  readonly fd?: number;
}

/** A user's key, wherever it lives. */
export interface Identity {
  /** SSH wire format of the public key. */
  readonly publicKey: Uint8Array;
  /** Where the key is, for a person; not escaped. */
  readonly source: string;
  /** In a security key, which is about to be touched. */
  readonly touched?: boolean;
  /** Further keys of the user, for where this one is refused. */
  readonly others?: readonly Identity[];
  /** Signs the sealtty user authentication message and nothing else. @returns the SSHSIG blob. */
  sign(fields: UserAuthFields): Promise<Uint8Array>;
}

export interface HowToLoad {
  /** File of a certificate; absent: the one beside the key. */
  readonly certificate?: string | undefined;
  /** Nobody is asked for a passphrase. */
  readonly silent?: boolean;
  /** Told of a certificate beside a key that is of no use now: it has expired. The key is tried without. */
  readonly certificateSkipped?: (why: string) => void;
}

export type SignalName = "SIGINT" | "SIGTERM" | "SIGHUP" | "SIGWINCH" | "SIGCONT";

/** What it takes to reach a guest from this machine. */
export interface Machine {
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly suite: CryptoSuite;
  readonly signatures: SignatureVerifier;
  readonly clock: Clock;
  /** Milliseconds since 1970, UTC. */
  wallTime(): number;
  connect(options: ConnectOptions): Promise<AttestedGuest>;
  /** @throws SealttyError `bad-policy`. */
  parsePolicy(toml: string): Policy;
  /**
   * @param path - absent: the agent's keys, and those in ~/.ssh. @returns the best, with the others.
   * @throws SealttyError `bad-config`.
   */
  loadIdentity(path: string | undefined, how?: HowToLoad): Promise<Identity>;
  /** @param environment - in place of this process's own: what a host's API wants to know (docs/hosts.md). */
  dial(address: GuestAddress, environment?: Machine["environment"]): Promise<Pipe>;
  readonly localUser: string;
}

/** The process itself: what a command that only passes bytes on needs of it. */
export interface Surroundings {
  readonly stdin: TerminalInput;
  readonly stdout: TerminalOutput;
  readonly stderr: TerminalOutput;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly localUser: string;
  readonly clock: Clock;
  /** Where the bundle lies: dist/bin. The page is in ../page, the other programs beside it. */
  readonly programDirectory: string;
  readonly version: string;
  /** @returns a function that takes the handler off again. */
  onSignal(name: SignalName, handler: () => void): () => void;
  /** Runs on every way out of the process, an uncaught error included. @returns a function that takes it off again. */
  onExit(handler: () => void): () => void;
  /** Stops this process and those of its job, as ^Z does; returns when it goes on. */
  suspend(): void;
}

export interface Services extends Machine, Surroundings {
  inspectGuest(options: Omit<ConnectOptions, "policy">): Promise<Inspected>;
  /** Opens a browser; false where there is none to open. */
  openBrowser(url: string): boolean;
}
