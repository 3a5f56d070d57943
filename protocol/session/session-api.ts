// Sessions that outlive their connections: the shapes that guest, client and messages share. docs/protocol.md §8.7

import type { Channel, ChannelRequest, ExitStatus } from "./channel-api.ts";

/** A program on a terminal: an `exec` has no screen to come back to. */
export type TerminalRequest = Extract<ChannelRequest, { kind: "login" | "shell" }>;

export type AttachMode = "read-write" | "read-only";
/** Whose size the terminal has: the smallest of all that may type, or of the one that typed or resized last. */
export type Sizing = "smallest" | "latest";

/** What it takes to come back to a session. */
export interface SessionName {
  readonly id: Uint8Array; // 16 bytes, not secret
  /** 32 bytes, of a session that was opened without a key: whoever has it may attach. */
  readonly secret: Uint8Array | undefined;
}

/** One attachment, as all others see it. */
export interface Viewer {
  readonly epoch: number; // tells attachments of one session apart; the newest has the highest
  readonly mode: AttachMode;
  /** The one that is told. */
  readonly own: boolean;
  readonly user: string;
}

export interface Viewers {
  /** The size that the terminal has now. */
  readonly columns: number;
  readonly rows: number;
  readonly viewers: readonly Viewer[];
}

export interface SessionSummary {
  readonly id: Uint8Array; // 16 bytes
  readonly running: boolean;
  readonly ageSeconds: number;
  /** Since something was last typed or printed. */
  readonly idleSeconds: number;
  readonly columns: number;
  readonly rows: number;
  readonly viewers: number;
  /** What runs: "login", "shell", or the program's name and arguments, cut. Of the guest's making: to be shown escaped. */
  readonly title: string;
}

/** A session's screen, in place of output that the guest no longer has. */
export interface ScreenInfo {
  /** What the guest's own terminal was given: the session's output from `begin`, which is 0 unless it lost its memory. */
  readonly begin: number;
  /** Output offset that the screen stands for: what comes next goes on from it. */
  readonly end: number;
  /** The size that the terminal had. */
  readonly columns: number;
  readonly rows: number;
  /** Lines above the screen that come with it. */
  readonly lines: number;
  /** Lines that the guest had, and that did not fit: the oldest. */
  readonly cut: number;
}

export interface SessionScreen extends ScreenInfo {
  /** For a terminal of that size that was reset: UTF-8 with control sequences, at most MAX_SCREEN_BYTES. */
  readonly text: Uint8Array;
}

export interface OpenSessionRequest {
  readonly request: TerminalRequest;
  readonly sizing?: Sizing;
  /** Whole seconds without anybody attached after which it is hung up; the guest's own limit where absent or longer. */
  readonly idleSeconds?: number;
  /** As in an AttachRequest. */
  readonly screenLines?: number;
}

export interface AttachRequest {
  readonly session: SessionName;
  readonly mode: AttachMode;
  /** Output is wanted from this byte on; 0 for all that the guest still has. Ignored with `after`. */
  readonly from: number;
  readonly columns: number;
  readonly rows: number;
  /**
   * For a terminal: where output is gone the screen comes in its place, with at most so many lines above it (at most
   * MAX_SCREEN_LINES). Absent: nothing comes in its place.
   */
  readonly screenLines?: number;
  /**
   * Goes on where this one ended: at its next byte, and with the input that it had accepted and the session had not
   * taken. It is fenced off, where it still lives.
   */
  readonly after?: SessionChannel;
  /** 16 bytes that name this client: an older attachment of the same client is fenced off. Ignored with `after`. */
  readonly client?: Uint8Array;
}

/** How an attachment ended. */
export type SessionEnd =
  | { readonly kind: "exit"; readonly status: ExitStatus } // the program, and with it the session
  | { readonly kind: "detached"; readonly by: "request" | "newer-attachment" };

/**
 * A channel whose program lives on without it. `hangUp` ends the program (not from a read-only attachment, which it only
 * detaches); `exit` rejects where the attachment ended before the program did.
 */
export interface SessionChannel extends Channel {
  readonly session: SessionName;
  readonly client: Uint8Array; // 16 bytes
  readonly mode: AttachMode;
  readonly epoch: number;
  /** Bytes that were asked for and are gone. */
  readonly lost: number;
  /** Output below this offset was there before: a terminal must not answer the questions in it again. */
  readonly replayEnd: number;
  /** Offset, in the session's output, of the next byte that `stdout.read()` gives. */
  readonly nextOffset: number;
  /** Input from `after` that could not be matched with what the session has: it was dropped, never sent twice. */
  readonly inputUnsure: boolean;
  /** Called within `stdout.read()`, between the bytes before and the bytes behind the gap. */
  onGap: (lost: number) => void;
  /**
   * Called within `stdout.read()` where the next `length` bytes that it gives are the screen's text: the terminal is to be
   * reset first. `nextOffset` moves behind them.
   */
  onScreen: (screen: ScreenInfo, length: number) => void;
  readonly viewers: Viewers | undefined;
  onViewers: (viewers: Viewers) => void;
  /**
   * Leaves once the program took all input that was accepted before; it runs on. Resolves once the guest said so and all
   * output before it can be read. Whoever cannot wait closes the connection.
   */
  detach(): Promise<void>;
  /**
   * Resolves after all output before it was delivered. Rejects where the connection ended first, and with `session-gone`
   * where the session ended and output that this attachment had not taken yet is gone.
   */
  readonly ended: Promise<SessionEnd>;
}

export const SESSION_ID_LENGTH = 16;
export const CLIENT_ID_LENGTH = 16;
export const SESSION_SECRET_LENGTH = 32;
