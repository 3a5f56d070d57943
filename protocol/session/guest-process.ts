// What a channel needs of a program in the guest; server/sessions makes it.

import type { KeyGrant } from "../user-auth/verify-user.ts";
import type { UserRestrictions } from "../user-auth/restrictions.ts";
import type { ExitStatus, ProgramRequest } from "./channel-api.ts";
import type { SignalName } from "./messages.ts";

export interface ProcessOutput {
  /** The next bytes, the caller's until the next read; undefined at the end. The program is held back until this is asked for. */
  read(): Promise<Uint8Array | undefined>;
  /** A flood: it is read best in long pieces, up to 256 KiB. */
  widen?(): void;
}

export interface GuestProcess {
  readonly stdout: ProcessOutput;
  /** At its end from the start on a pty. */
  readonly stderr: ProcessOutput;
  /** Resolves once the program (or the pty's own buffer) took the bytes; bytes for a program that is gone are dropped. */
  write(bytes: Uint8Array): Promise<void>;
  endInput(): void;
  resize(columns: number, rows: number): void;
  signal(name: SignalName): void;
  hangUp(): void;
  /** Never rejects. Does not wait for the output to be read. */
  readonly exit: Promise<ExitStatus>;
}

/** Who was let in, and how. */
export type AuthenticatedUser =
  | { readonly name: string; readonly method: "none" } // the login program, and nothing else
  | {
      readonly name: string;
      readonly method: "ssh-key";
      /** SHA-256 of the plain public key in SSH wire format, 32 bytes: the same with every certificate for it. */
      readonly key: Uint8Array;
      readonly restrictions: UserRestrictions;
      /** Of this sign-in (KeyGrant). */
      readonly ticket?: number;
      /** For the guest's log: by which certificate the key was let in. */
      readonly certificate?: KeyGrant["certificate"];
    };

/** @throws where the program cannot be started; the reason stays in the guest's log. */
export type StartProcess = (user: AuthenticatedUser, request: ProgramRequest) => Promise<GuestProcess>;
