// What the page and the CLI see of a guest: the shapes only. protocol/session/connect.ts makes them.

import type { AbortLike } from "../abort.ts";
import type { BindingContext } from "../attestation/binder.ts";
import type { ClaimedChange } from "../attestation/changes.ts";
import type { Collateral } from "../attestation/collateral.ts";
import type { Evidence } from "../attestation/evidence.ts";
import type { Policy } from "../attestation/policy.ts";
import type { TrustRoots } from "../attestation/roots.ts";
import type { VerifiedGuest } from "../attestation/verified-guest.ts";
import type { Clock } from "../clock.ts";
import type { SignatureVerifier } from "../crypto/signatures.ts";
import type { CryptoSuite } from "../crypto/suite.ts";
import type { PipeFindings } from "../handshake/client-hello.ts";
import type { Refusal } from "../errors.ts";
import type { ShapingProfile } from "../packets/shaping.ts";
import type { Pipe } from "../pipe.ts";
import type { ListenPlace } from "../forward/target.ts";
import type { ChannelRequest, OwnChannel } from "./channel-api.ts";
import type {
  AttachRequest,
  OpenSessionRequest,
  SessionChannel,
  SessionName,
  SessionSummary,
} from "./session-api.ts";
import type { IncomingStream, Listener } from "./stream-api.ts";

export type ConnectionState =
  | { readonly phase: "dialing"; readonly attempt: number }
  | { readonly phase: "waiting-for-guest" }
  | { readonly phase: "handshaking" }
  | { readonly phase: "collecting-evidence" } // keys agreed, evidence under way
  | { readonly phase: "appraising" }
  | { readonly phase: "attested" }
  | { readonly phase: "reconnecting"; readonly reason: string }
  | { readonly phase: "closed"; readonly reason: string };

export interface ConnectOptions {
  /** Opens the pipe; called again, with back-off, when the pipe is lost. */
  dial(): Promise<Pipe>;
  readonly suite: CryptoSuite;
  readonly signatures: SignatureVerifier;
  readonly clock: Clock;
  /** Milliseconds since 1970, UTC: whether certificates and collateral are valid. */
  wallTime(): number;
  /** The owner's own collateral; what the guest sends is joined to it. */
  readonly collateral: Collateral;
  /** The vendors' keys unless a test brings its own. */
  readonly trustRoots?: TrustRoots;
  /** As the user named it; goes into the transcript. */
  readonly address: string;
  /** The guest the user means (alias or policy name); goes into the transcript. */
  readonly identity: string;
  readonly policy: Policy;
  /** Only ever true because the user said `--simulated`. */
  readonly acceptSimulated: boolean;
  /** Milliseconds until the appraisal must be done. */
  readonly timeout: number;
  /** Gives up what is not appraised yet: the pipe is closed, none is dialled any more, and `connect` throws the signal's reason. */
  readonly signal?: AbortLike;
  /** Frames for 8-bit clean pipes, armoured lines for the rest; "auto" tries both in turn. */
  readonly encoding: "auto" | "binary" | "armour";
  /** How sizes and times of packets are hidden, both ways, from the appraisal on. Absent: not at all, nor asked for. */
  readonly shaping?: ShapingProfile;
  onState?(state: ConnectionState): void;
  /** Re-attestation: every `policy.reattestEvery` seconds, and when asked for. */
  onAttestation?(event: AttestationEvent): void;
  /** Bytes on the pipe that were no frame (host noise): at most 4096 bytes a call, hostile, to be shown escaped only. */
  onHostNoise?(noise: Uint8Array): void;
}

/** What came of asking the guest for evidence again. */
export type AttestationEvent =
  /** The same guest, the same boot, the policy still met. */
  | { readonly kind: "renewed"; readonly verified: VerifiedGuest }
  /**
   * FROZEN: no input goes out and no output comes in until the user chose (`Guest.goOn` or `close`).
   * @param changes - what is different; empty where `refusal` says that the evidence itself was refused.
   */
  | {
      readonly kind: "changed";
      readonly reason: string;
      readonly changes: readonly ClaimedChange[];
      readonly refusal: Refusal | undefined;
    }
  /** No evidence this time: none could be collected, or no answer came. Too many in a row are told as "changed", too. */
  | { readonly kind: "unavailable"; readonly reason: string; readonly inARow: number };

/** `sign` gets the to-be-signed user authentication fields and returns the SSHSIG blob. */
export type UserAuth =
  | { readonly method: "none"; readonly user: string }
  | {
      readonly method: "ssh-key";
      readonly user: string;
      /** SSH wire format of the public key. */
      readonly publicKey: Uint8Array;
      sign(fields: UserAuthFields): Promise<Uint8Array>;
    };

/** What a user signs; protocol/user-auth/user-auth-message.ts gives the bytes. */
export interface UserAuthFields {
  readonly handshakeHash: Uint8Array; // 32 bytes
  readonly evidenceDigest: Uint8Array; // SHA-256 of the encoded evidence, 32 bytes
  readonly user: string;
  readonly service: string; // "sealtty-session"
}

export interface ConnectionStats {
  readonly roundTripMs: number | undefined;
  readonly packetsSent: number;
  readonly packetsReceived: number;
  readonly packetsLost: number;
  readonly packetsRefused: number; // did not open: forged, damaged, replayed
  readonly pipes: number; // how many pipes this connection has used
  /** What the pipe carries towards the guest, as far as is known now. */
  readonly carries: PipeFindings;
}

/** Evidence appraised; nothing secret was sent yet. */
export interface AttestedGuest {
  readonly verified: VerifiedGuest;
  readonly evidence: Evidence;
  /** What the evidence commits to. */
  readonly context: BindingContext;
  readonly stats: ConnectionStats;
  /** @throws SealttyError `user-refused`. */
  authenticate(auth: UserAuth): Promise<Guest>;
  /** Sends an authenticated CLOSE and ends. Idempotent. */
  close(how?: Closing): Promise<void>;
}

export interface Closing {
  /** Nothing is waited for, not even a slot: for a page that goes away, and whose pipe the host sees end with it. */
  readonly atOnce: boolean;
}

/** The user is authenticated. */
export interface Guest {
  /** Of the beginning, of the last renewal, or what the user accepted since. */
  readonly verified: VerifiedGuest;
  readonly stats: ConnectionStats;
  /** @throws SealttyError `user-refused` where the guest does not allow it, `limit-exceeded`. */
  openChannel(request: ChannelRequest): Promise<OwnChannel>;
  /** A program that lives on when the connection does not. @throws SealttyError as `openChannel`. */
  openSession(request: OpenSessionRequest): Promise<SessionChannel>;
  /** @throws SealttyError `session-gone`, `limit-exceeded`, `user-refused`. */
  attach(request: AttachRequest): Promise<SessionChannel>;
  /** This user's. @param proofs - without a key: the sessions whose secrets are known. */
  listSessions(proofs?: readonly SessionName[]): Promise<readonly SessionSummary[]>;
  /** Hangs its program up. @returns false where there is no such session of this user's. */
  killSession(session: SessionName): Promise<boolean>;
  /**
   * Has the guest listen. @param onIncoming - told of each who connects, until the listener is closed or the connection over.
   * @throws SealttyError `user-refused`, `limit-exceeded`, `program-failed`.
   */
  listen(place: ListenPlace, onIncoming: (stream: IncomingStream) => void): Promise<Listener>;
  /** Asks for evidence now; what came of it is told by `onAttestation`. Resolves after that. */
  reattest(): Promise<void>;
  readonly frozen: boolean;
  /** The user says that the change is their own: what is there now counts from here on. No effect unless frozen. */
  goOn(): void;
  close(how?: Closing): Promise<void>;
  /** Resolves with the reason once the connection is over. */
  readonly closed: Promise<string>;
}
