// `import { connect } from "sealtty"`: all that a program sees of it. docs/api.md
// This file is published as it stands, with the one that it imports: nothing else is promised.

import type { Duplex, Readable, Writable } from "node:stream";
import type {
  Claims,
  ConnectionState,
  Destination,
  EvidenceEvent,
  Exit,
  GuestChange,
  ListenAddress,
  OnTerminal,
  Place,
  Running,
  Size,
  StreamDestination,
} from "../../protocol/api/types.ts";

export type * from "../../protocol/api/types.ts";

export interface ConnectOptions {
  /** The guest's address, as `sealtty help` lists them: `ws://…`, `unix:PATH`, `tcp:HOST:PORT`, … */
  readonly guest: string;
  /** The owner's policy that the guest's evidence must meet: a file, or its text. */
  readonly policy: string | { readonly text: string };
  /** User in the guest; default: the local user's name. */
  readonly user?: string;
  /**
   * File of an SSH key, or of its public half where ssh-agent holds it; default: the agent's keys, then those in ~/.ssh.
   * `false`: without a key, for which a guest opens nothing but its login program.
   */
  readonly identity?: string | false;
  /** Accept simulated evidence, which proves nothing, where the policy names it. */
  readonly simulated?: boolean;
  /** Directory of certificates, CRLs and TCB info of your own, beside what the guest sends. */
  readonly collateral?: string;
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

/** A guest whose evidence met the policy, and a user who is in. */
export interface Guest {
  /** Of the newest evidence that counts. */
  readonly claims: Claims;
  /** The key that the evidence is bound to, hex: the guest draws one at each start, and its sessions last as long. */
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
   * The same, and it lives on without this connection: in a session that `attach` comes back to. @throws SealttyError as `shell`.
   */
  keepShell(options: KeepOptions): Promise<KeptTerminal>;
  /** @throws SealttyError `session-gone` where it ended, or is not this user's, or another guest's; `limit-exceeded`, `api-misuse`. */
  attach(session: SessionName, options: AttachOptions): Promise<KeptTerminal>;
  /**
   * This user's sessions. @param known - without a key: those of which the secret is known, and no others are listed. Secrets of
   * other guests, or without a guest, are left out; of more than 16 the last count.
   */
  listSessions(known?: readonly SessionName[]): Promise<readonly SessionSummary[]>;
  /**
   * Hangs its program up, whoever is attached. @returns false where there is no such session of this user's.
   * @throws SealttyError `session-gone` where it is another guest's.
   */
  endSession(session: SessionName): Promise<boolean>;
  /**
   * Copies files and trees of this machine to the guest; or bytes, which become one file.
   * @param sources - paths; several go into a directory. @param target - a path in the guest, relative to the user's home.
   * @throws SealttyError `device-unavailable` or `program-failed` where something was not copied, unless `onTrouble` takes that.
   * `device-unavailable`, with its own message, where a stream that is to be copied fails.
   */
  put(
    sources: string | readonly string[] | AsyncIterable<Uint8Array>,
    target: string,
    options?: CopyOptions,
  ): Promise<CopyResult>;
  /** Copies files and trees of the guest's to this machine; one file also into a stream, which is not ended. @throws as `put`. */
  get(
    sources: string | readonly string[],
    target: string | Writable,
    options?: CopyOptions,
  ): Promise<CopyResult>;
  /** Copies from this guest to another one, through this program. @throws as `put`. */
  copyTo(
    other: Guest,
    sources: string | readonly string[],
    target: string,
    options?: CopyOptions,
  ): Promise<CopyResult>;
  /**
   * Connects to a port, a unix socket or a service of the guest's. Each direction ends on its own; destroying it breaks it
   * off. A connection that broke is an error of the direction that ends last; `exit` says it in any case.
   * @throws SealttyError `user-refused` where the guest does not allow it, `program-failed`, `limit-exceeded`.
   */
  openStream(to: StreamDestination, options?: StreamOptions): Promise<RemoteStream>;
  /**
   * Listens here; who connects comes out in the guest: at `to`, or wherever they ask for by SOCKS 5, 4 or 4a.
   * @throws SealttyError `device-unavailable` where it cannot listen.
   */
  forwardLocal(listen: ListenAddress, to: Destination | "socks", options?: ForwardOptions): Promise<Forward>;
  /**
   * Has the guest listen; who connects there comes out here.
   * @throws SealttyError `user-refused`, `program-failed`, `limit-exceeded`.
   */
  forwardRemote(listen: ListenAddress, to: Destination | "socks", options?: ForwardOptions): Promise<Forward>;
  /**
   * Asks for evidence now, and not only every so often. Resolves once the guest was asked, also where no evidence came:
   * `onEvidence` tells. A guest that is another one by then is asked about (`onChanged`), and this waits for the answer:
   * it resolves once the change is accepted. Otherwise the connection ends, and this rejects. @throws SealttyError `evidence-refused`,
   * `transport-lost`.
   */
  reattest(): Promise<void>;
  /** Hangs up what still runs, ends copies, streams and forwards, and then the connection. Idempotent. */
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
  readonly stdin?: true | string | Uint8Array | AsyncIterable<string | Uint8Array>;
}

export interface ShellOptions extends OnTerminal, Bounded {}

interface Attachment {
  /**
   * Where output is gone, the screen comes in its place, with at most so many lines above it, 10,000 at most: for who shows
   * it on a terminal. Default: nothing comes in its place.
   */
  readonly screenLines?: number;
  /** Told of a place in `output`, before the bytes behind it can be read. If it fails, this attachment ends with `api-misuse`. */
  onMark?(mark: OutputMark): void;
  /**
   * Told who is attached, and the size that the terminal has with them: at the beginning, and at each change. If it fails, this
   * attachment ends with `api-misuse`.
   */
  onViewers?(viewers: Viewers): void;
}

export interface KeepOptions extends OnTerminal, Attachment {
  /** Where several are attached: the size of the smallest that may type (the default), or of who typed or resized last. */
  readonly sizing?: "smallest" | "latest";
  /** Whole seconds without anybody attached until it is hung up; the guest's own limit by default, and at most. */
  readonly idleSeconds?: number;
}

export interface AttachOptions extends Size, Attachment {
  /** "read-only": looks on, and types nothing. Default "read-write". */
  readonly mode?: "read-write" | "read-only";
}

/** What it takes to come back to a session. */
export interface SessionName {
  /** 32 hex digits, and no secret. */
  readonly id: string;
  /** 64 hex digits, of a session that was opened without a key: whoever has it may attach. */
  readonly secret?: string | undefined;
  /** With a secret: the `key` of the guest that drew it. No other guest is told of it, whatever policy that meets. */
  readonly guest?: string | undefined;
}

export interface SessionSummary extends Size {
  readonly id: string;
  /** False: what is left is its output, for who comes back. */
  readonly running: boolean;
  readonly ageSeconds: number;
  /** Since something was last typed or printed. */
  readonly idleSeconds: number;
  /** How many are attached. */
  readonly viewers: number;
  /** What runs. Of the guest's making: to be shown escaped. */
  readonly title: string;
}

/** `at`: so many bytes of `output` come before it. */
export type OutputMark =
  /** So many bytes are gone: the session printed more than it keeps. */
  | { readonly kind: "gap"; readonly at: number; readonly lost: number }
  /** From here on it is new: a terminal must not answer again what programs asked it before. */
  | { readonly kind: "new"; readonly at: number }
  /** A screen comes, in place of output that is gone: for a terminal of its size that was reset. */
  | ({ readonly kind: "screen"; readonly at: number } & ScreenInfo);

export interface ScreenInfo extends Size {
  /** Offsets in all that the session printed: what the screen was made from (0 unless some of it was lost), and up to where. */
  readonly begin: number;
  readonly end: number;
  /** Lines above the screen, and those that were too much. */
  readonly lines: number;
  readonly cut: number;
}

export interface Viewers extends Size {
  readonly viewers: readonly Viewer[];
}

export interface Viewer {
  /** Tells attachments of one session apart; the newest has the highest. */
  readonly epoch: number;
  readonly mode: "read-write" | "read-only";
  /** This one. */
  readonly own: boolean;
  readonly user: string;
}

export interface RemoteProcess extends Running {
  /** With `stdin: true` only. Destroying it with an error hangs the program up. */
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
  /** @throws SealttyError `api-misuse` on a size that no terminal has; nothing is sent then. */
  resize(columns: number, rows: number): void;
}

/**
 * A terminal that lives on without this connection. `exit` rejects where this attachment ended first; destroying `output`
 * detaches. `hangUp` ends the program, and from a read-only attachment only detaches.
 */
export interface KeptTerminal extends RemoteTerminal {
  /** With its secret only where it was opened here without a key, or came with one. */
  readonly session: SessionName;
  readonly mode: "read-write" | "read-only";
  /** Bytes of output that are gone from its beginning. */
  readonly lost: number;
  /** What was printed before this attachment comes first; a mark says where it ends. */
  readonly replays: boolean;
  /** It is not known whether what was typed last, before this attachment, reached the program. */
  readonly inputUnsure: boolean;
  /**
   * Leaves once the program took all input that was accepted; it runs on, and `output` ends. Resolves once the guest said so.
   * Whoever cannot wait closes the connection.
   */
  detach(): Promise<void>;
  /** Resolves after all output before it was delivered. Rejects as `exit`, but where it was detached. */
  readonly ended: Promise<SessionEnd>;
}

export type SessionEnd =
  | { readonly kind: "exit"; readonly exit: Exit }
  /** "elsewhere": this very client attached again. */
  | { readonly kind: "detached"; readonly by: "request" | "elsewhere" };

export interface CopyOptions {
  /** Directories, too, with all that is in them; otherwise one is a trouble. */
  readonly recursive?: boolean;
  /** Permissions and times as they are at the source. */
  readonly preserve?: boolean;
  /** Which symbolic links are followed, in place of being copied: those that are a source (the default), all, or none. */
  readonly follow?: "named" | "always" | "never";
  /** Goes on with what an earlier copy did not finish, and skips files that are there already. */
  readonly resume?: boolean;
  /** The target is a directory, and has to be there. */
  readonly intoDirectory?: boolean;
  /** Ends it: the promise rejects with the signal's reason, and no unfinished file has its name. */
  readonly signal?: AbortSignal;
  /** How much there is, once, and not at all where it is not soon known. To be asked costs a look at every file. */
  onTotal?(total: CopyTotal): void;
  onProgress?(progress: CopyProgress): void;
  /** A file is through: at both ends it has this SHA-256. */
  onFile?(file: CopiedFile): void;
  /** One entry was not copied; the others go on. With this the copy does not reject for it. */
  onTrouble?(trouble: CopyTrouble): void;
}

export interface CopyTotal {
  readonly files: number;
  readonly bytes: number;
}

export interface CopyProgress {
  /** Bytes of content so far, those that were there already included. */
  readonly bytes: number;
  /** The entry that it is at: the sender's bytes, which need not be UTF-8, to be shown and never to be opened. */
  readonly path: Uint8Array;
}

export interface CopiedFile {
  readonly path: Uint8Array;
  readonly bytes: number;
  /** Hex. */
  readonly sha256: string;
}

export interface CopyTrouble {
  readonly path: Uint8Array;
  readonly code: CopyTroubleCode;
  /** For people, behind the path and a colon. */
  readonly words: string;
  readonly where: "here" | "in the guest" | "in the source's guest" | "in the target's guest";
}

export type CopyTroubleCode =
  | "not-found"
  | "no-permission"
  | "is-directory"
  | "not-directory"
  | "in-the-way"
  | "no-space"
  | "read-only"
  | "special"
  | "too-long"
  | "loop"
  | "changed"
  | "wrong-digest"
  | "read-or-write"
  | "too-deep"
  | "two-sources"
  | "dangling-link"
  | "version"
  | "busy"
  | "too-large";

export interface CopyResult {
  readonly files: number;
  readonly directories: number;
  readonly links: number;
  /** Of content. */
  readonly bytes: number;
  /** Of its content, hex, where exactly one file went over; of more, `onFile` tells each. */
  readonly sha256: string | undefined;
  /** Entries that were not copied; with `onTrouble` only anything but 0. */
  readonly failed: number;
  /** It ended before all was tried: no other file would have fared better. With `onTrouble` only. */
  readonly gaveUp: boolean;
}

export interface StreamOptions {
  /** Breaks it off: the stream fails with the signal's reason. */
  readonly signal?: AbortSignal;
  /** What the program behind a service says on its standard error; otherwise thrown away. If it fails, the stream does. */
  onStderr?(bytes: Uint8Array): void;
}

export type RemoteStream = Duplex & {
  /** How the guest's side ended: status 0 in order; of a service, as its program did. Rejects where the connection ended first. */
  readonly exit: Promise<Exit>;
};

export interface ForwardOptions {
  /** One who connected came to nothing; the others go on. @param to - for people; undefined where they never said. */
  onFailed?(error: Error, to: string | undefined): void;
}

export interface Forward {
  /** Where it listens, with the port that was chosen. */
  readonly address: { readonly host: string; readonly port: number } | { readonly path: string };
  /** Nobody can connect any more, and who has connected is cut off. Idempotent. */
  close(): void;
}
