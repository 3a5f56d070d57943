// A channel, as the page and the CLI have it: a program in the guest, its input, its output, and how it ended.

import type { StreamTarget } from "../forward/target.ts";
import type { ServiceRequest } from "./service-request.ts";

/** Of programs that a user names: where they start, and what they know. */
export interface ProgramPlace {
  readonly environment: Readonly<Record<string, string>>;
  /** Where the program starts; relative to the user's home, which it is where this is absent. */
  readonly directory?: string;
}

export type ChannelRequest =
  | {
      readonly kind: "login"; // the guest's configured login program on a pty
      readonly term: string;
      readonly columns: number;
      readonly rows: number;
    }
  | ({
      readonly kind: "shell"; // the user's shell on a pty, or `command` with arguments on a pty
      readonly command: readonly string[];
      readonly term: string;
      readonly columns: number;
      readonly rows: number;
    } & ProgramPlace)
  | ({
      readonly kind: "exec"; // no pty
      readonly command: readonly string[];
    } & ProgramPlace)
  | {
      readonly kind: "stream"; // a connection to somewhere in the guest: exit status 0 where it ended in order
      readonly target: StreamTarget;
    }
  | { readonly kind: "files" } // the guest's program that copies files: protocol/files/messages.ts
  | { readonly kind: "prompts" } // the one that hands over questions for passphrases: protocol/prompts/messages.ts
  | {
      readonly kind: "service"; // what a program of sealttyd's does with root's rights, for whom the guest's configuration names
      readonly service: ServiceRequest;
    };

/** Those that start a program for the user. */
export type ProgramRequest = Exclude<ChannelRequest, { kind: "stream" }>;

export type ExitStatus =
  | { readonly kind: "exited"; readonly status: number } // 0 to 255
  | { readonly kind: "signalled"; readonly signal: string }; // "SIGKILL"

export interface ReceiveStream {
  /** The next bytes in order; undefined at the end. @throws SealttyError where the connection ended before the stream did. */
  read(): Promise<Uint8Array | undefined>;
  /** Gives `length` bytes of credit back: call it once they were parsed, written or thrown away. */
  consumed(length: number): void;
}

/** One that was opened for its own connection alone, and not for a session. */
export interface OwnChannel extends Channel {
  /**
   * Hang up, also while the connection is frozen: of what was written and has not arrived nothing leaves any more. Zeros go
   * in its place, where it was on its way.
   */
  hangUpUnsent(): void;
}

export interface Channel {
  readonly stdout: ReceiveStream;
  /** Empty on a pty. */
  readonly stderr: ReceiveStream;
  /** Resolves when the bytes are buffered below the credit limit: await it, or memory grows. */
  write(bytes: Uint8Array): Promise<void>;
  /** EOF to the remote program. */
  end(): void;
  resize(columns: number, rows: number): void;
  /** "SIGINT", … @throws SealttyError `api-misuse` on a name that docs/protocol.md §8 does not list. */
  signal(name: string): void;
  /** Hang up: the guest sends SIGHUP and forgets the channel. */
  hangUp(): void;
  /** Resolves after all output before it was delivered. Rejects where the connection ended first: never like a clean exit. */
  readonly exit: Promise<ExitStatus>;
}
