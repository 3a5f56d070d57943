// `import { connect } from "sealtty/browser"`: all that a program in a browser sees of it. docs/api.md
// This file is published as it stands, with the one that it imports: nothing else is promised.

import type {
  Claims,
  ConnectionState,
  EvidenceEvent,
  Exit,
  GuestChange,
  OnTerminal,
  Place,
  Running,
  StreamDestination,
} from "../../protocol/api/types.ts";

export type * from "../../protocol/api/types.ts";

export interface ConnectOptions {
  /** The guest's address: a web socket, `ws://…` or `wss://…`, of the host's or of a relay's. */
  readonly guest: string;
  /** The owner's policy that the guest's evidence must meet. */
  readonly policy: { readonly text: string };
  /** User in the guest. */
  readonly user: string;
  /**
   * What the user signs in with: an Ed25519 key pair of WebCrypto's that is not extractable, or whatever else can sign.
   * `false`: without a key, for which a guest opens nothing but its login program.
   */
  readonly key: CryptoKeyPair | UserKey | false;
  /** Accept simulated evidence, which proves nothing, where the policy names it. */
  readonly simulated?: boolean;
  /** Certificates, CRLs and TCB info of your own, beside what the guest sends. */
  readonly collateral?: OwnCollateral;
  /** Ms for connection and evidence; default 30,000. */
  readonly timeout?: number;
  readonly encoding?: "auto" | "binary" | "armour";
  /** Hide sizes and times from the host; default "off". */
  readonly obfuscate?: "strict" | "adaptive" | "off";
  /** Told of every step, and of a connection that is lost and back. If it fails, the connection ends with `api-misuse`. */
  onState?(state: ConnectionState): void;
  /** Told what came of asking for evidence again, once the user is in. If it fails, the connection ends with `api-misuse`. */
  onEvidence?(event: EvidenceEvent): void;
  /**
   * Asked once the guest is another one. Until it is answered nothing is sent, and nothing more is received: one that never
   * answers leaves the guest frozen. `true`: the change is the owner's own, and all goes on; to a `refusal` it overrules the
   * policy. Anything else, a failure, and no hook at all end the connection with `evidence-refused`.
   */
  onChanged?(change: GuestChange): boolean | Promise<boolean>;
}

/** A key that something else holds: an agent, an authenticator. */
export interface UserKey {
  /** SSH wire format, of a key or of a certificate for it. */
  readonly publicKey: Uint8Array;
  /**
   * Asked once. @returns a signature of `toBeSigned` in SSH wire format, as ssh-agent answers with. If it fails, or the signature
   * does not hold, nothing is sent, and `connect` rejects with `user-refused`.
   */
  sign(request: SignRequest): Uint8Array | Promise<Uint8Array>;
}

export interface SignRequest {
  /** What the key signs, and no other connection could use: an SSHSIG over all that follows. */
  readonly toBeSigned: Uint8Array<ArrayBuffer>;
  readonly user: string;
  readonly service: string;
  /** 32 bytes. */
  readonly handshakeHash: Uint8Array;
  /** SHA-256 of the evidence. */
  readonly evidenceDigest: Uint8Array;
}

/** DER, or of the latter two Intel's JSON, byte for byte. */
export interface OwnCollateral {
  readonly certificates?: readonly Uint8Array[];
  readonly crls?: readonly Uint8Array[];
  readonly tcbInfos?: readonly Uint8Array[];
  readonly qeIdentities?: readonly Uint8Array[];
}

/** A guest whose evidence met the policy, and a user who is in. */
export interface Guest {
  /** Of the newest evidence that counts. */
  readonly claims: Claims;
  /** The key that the evidence is bound to, hex: the guest draws one at each start. */
  readonly key: string;
  /**
   * Starts a program without a terminal; no shell interprets the words. Resolves once the guest started it.
   * @throws SealttyError `bad-config` where the command is too long or malformed, `user-refused`, `program-failed`,
   * `limit-exceeded` with 64 open at once.
   */
  exec(command: readonly string[], options?: ExecOptions): Promise<RemoteProcess>;
  /** Starts the user's shell, or a program, on a terminal. @throws SealttyError as `exec`; `api-misuse` on a size that none has. */
  shell(options: ShellOptions): Promise<RemoteTerminal>;
  /**
   * Connects to a port, a unix socket or a service of the guest's.
   * @throws SealttyError `user-refused` where the guest does not allow it, `program-failed`, `limit-exceeded`.
   */
  openStream(to: StreamDestination, options?: StreamOptions): Promise<RemoteStream>;
  /**
   * Asks for evidence now, and not only every so often. Resolves once the guest was asked, also where no evidence came:
   * `onEvidence` tells. A guest that is another one by then is asked about (`onChanged`), and this waits for the answer:
   * it resolves once the change is accepted. Otherwise the connection ends, and this rejects. @throws SealttyError `evidence-refused`,
   * `transport-lost`.
   */
  reattest(): Promise<void>;
  /** Hangs up what still runs, ends streams, and then the connection. Idempotent. */
  close(): Promise<void>;
  /** Resolves with the reason once the connection is over. */
  readonly closed: Promise<string>;
}

interface Bounded {
  /** Hangs the program up; `exit` rejects with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Ms that it may run: then SIGTERM, 5 s later SIGKILL, and `exit` rejects with the code `timeout`. */
  readonly timeout?: number;
}

export interface ExecOptions extends Place, Bounded {
  /** Its standard input: empty by default, these bytes, or `true` to write to `stdin` yourself. */
  readonly stdin?:
    | true
    | string
    | Uint8Array
    | ReadableStream<string | Uint8Array>
    | AsyncIterable<string | Uint8Array>;
}

export interface ShellOptions extends OnTerminal, Bounded {}

export interface StreamOptions {
  /** Breaks it off: both directions fail with the signal's reason. */
  readonly signal?: AbortSignal;
  /** What the program behind a service says on its standard error; otherwise thrown away. If it fails, the stream does. */
  onStderr?(bytes: Uint8Array): void;
}

/**
 * Streams give and take as much as their reader and their program do: nothing is read ahead, and a `write` resolves once its bytes
 * are on their way. Every piece that is read is the reader's own.
 */
export interface RemoteProcess extends Running {
  /** With `stdin: true` only. Closing it is the end of input; aborting it hangs the program up: half of an input is none. */
  readonly stdin: WritableStream<string | Uint8Array> | undefined;
  /** Cancelling it before its end hangs the program up, as a closed pipe would. */
  readonly stdout: ReadableStream<Uint8Array<ArrayBuffer>>;
  /** Cancelled, it is thrown away. */
  readonly stderr: ReadableStream<Uint8Array<ArrayBuffer>>;
  /**
   * Reads both outputs to their end.
   * @param maxBytes - of both together, by default 64 MiB. @throws SealttyError `limit-exceeded` above it; the program is hung up.
   */
  collect(
    maxBytes?: number,
  ): Promise<Exit & { readonly stdout: Uint8Array<ArrayBuffer>; readonly stderr: Uint8Array<ArrayBuffer> }>;
}

export interface RemoteTerminal extends Running {
  /** Closing it is ^D; aborting it hangs the terminal up. */
  readonly input: WritableStream<string | Uint8Array>;
  /** Cancelling it hangs the terminal up. */
  readonly output: ReadableStream<Uint8Array<ArrayBuffer>>;
  /** @throws SealttyError `api-misuse` on a size that no terminal has; nothing is sent then. */
  resize(columns: number, rows: number): void;
}

/**
 * Each direction ends on its own; cancelling or aborting either breaks the connection off. One that broke is an error of the
 * direction that ends last; `exit` says it in any case.
 */
export interface RemoteStream {
  readonly readable: ReadableStream<Uint8Array<ArrayBuffer>>;
  readonly writable: WritableStream<string | Uint8Array>;
  /** How the guest's side ended: status 0 in order; of a service, as its program did. Rejects where the connection ended first. */
  readonly exit: Promise<Exit>;
}
