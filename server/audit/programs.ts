// Who was let in, and what was started for them: told by what starts programs, before and after.

import { nodeSshCrypto } from "../../node/ssh-crypto.ts";
import type { Clock } from "../../protocol/clock.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { ExitStatus } from "../../protocol/session/channel-api.ts";
import type { GuestServices } from "../../protocol/session/guest-connection.ts";
import type { AuthenticatedUser } from "../../protocol/session/guest-process.ts";
import { fingerprintOf } from "../../protocol/user-auth/key-line.ts";
import { type KeyGrant, offeredKey } from "../../protocol/user-auth/verify-user.ts";
import { encodePublicKey } from "../../protocol/user-auth/public-key.ts";
import { isUserName } from "../../protocol/user-auth/user-auth-message.ts";
import type { Log } from "../log.ts";
import type { Recording } from "../recording/recording.ts";
import type { Recordings } from "../recording/recordings.ts";
import { findAccount } from "../sessions/account.ts";
import type { Launch } from "../sessions/launch.ts";
import type { VerifyAndSay, WhyRefused } from "../user-keys.ts";
import type { Audit } from "./audit.ts";
import { boundedText, secondsSince } from "./events.ts";

export interface ProgramsOptions {
  readonly audit: Audit;
  readonly recordings: Recordings;
  readonly clock: Clock;
  readonly log: Log;
}

/** What is about to be started. */
export interface Asked {
  readonly user: AuthenticatedUser;
  /** "login", "shell", "exec", "files"; a service (auditName); "ssh", or a helper of forwarding. */
  readonly service: string;
  readonly launch: Launch;
  /** Absent: three streams. */
  readonly terminal?: { readonly columns: number; readonly rows: number } | undefined;
}

/** A program of which was written that it starts. */
export interface Begun {
  /** Counts from 1. */
  readonly program: number;
  readonly recording: Recording | undefined;
  ended(status: ExitStatus): void;
  /** It could not be started. */
  failed(error: unknown): void;
}

export class Programs {
  readonly #options: ProgramsOptions;
  #next = 1;

  constructor(options: ProgramsOptions) {
    this.#options = options;
  }

  /** The same check of keys, each answer written down. */
  watchKeys(verify: VerifyAndSay): GuestServices["verifyUserKey"] {
    const { audit, log } = this.#options;
    return async (fields, publicKey, sshsig) => {
      let why: WhyRefused | undefined;
      const grant = await verify(fields, publicKey, sshsig, (reason) => (why = reason));
      // For whoever is let in as well: no more work for one than for the other.
      const exists = isUserName(fields.user) && (await findAccount(fields.user)) !== undefined;
      if (grant === undefined) {
        const user = exists ? fields.user : undefined;
        audit.refused({ event: "user-refused", user, key: offeredFingerprint(publicKey), why });
        return undefined;
      }
      try {
        audit.before({ event: "user-in", user: fields.user, ...keyFields(grant) });
      } catch (error) {
        log.error("nobody is let in", { why: error instanceof Error ? error.message : "unknown" });
        return undefined;
      }
      return grant;
    };
  }

  /** @throws SealttyError `device-unavailable` where it would have to be written down or recorded, and cannot. */
  begin({ user, service, launch, terminal }: Asked): Begun {
    const { audit, recordings, clock } = this.#options;
    const program = this.#next++;
    const recording = terminal && recordings.open({ user, service, program, ...terminal, launch });
    const named = { user: user.method === "none" ? undefined : user.name, service };
    try {
      audit.before({
        event: "program-start",
        program,
        ...named,
        ...userFields(user),
        argv0: boundedText(launch.command[0] ?? ""),
        forced: user.method === "ssh-key" && user.restrictions.command !== undefined ? true : undefined,
        recording: recording?.name,
      });
    } catch (error) {
      recording?.close("not-started");
      throw error;
    }
    const began = clock.now();
    return {
      program,
      recording,
      ended: (status) => {
        const seconds = secondsSince(clock, began);
        const how = status.kind === "exited" ? { status: status.status } : { signal: status.signal };
        audit.after({ event: "program-end", program, ...named, ...how, seconds });
        recording?.ended(status);
      },
      failed: (error) => {
        const why = reason(error);
        audit.refused({ event: "program-refused", program, ...named, ...userFields(user), why });
        recording?.close("not-started");
      },
    };
  }

  /** It came to no program: the user may not have it, or it is not there. */
  refused(user: AuthenticatedUser, service: string, error: unknown): void {
    this.#options.audit.refused({
      event: "program-refused",
      service,
      ...userFields(user),
      why: reason(error),
    });
  }

  close(): void {
    this.#options.recordings.close();
    this.#options.audit.close();
  }
}

/** Of a user without a key there is no name that anybody checked: login asks for that. */
export function userFields(user: AuthenticatedUser): {
  readonly user?: string;
  readonly key?: string;
  readonly certificate?: string;
  readonly authority?: string;
} {
  return user.method === "none" ? {} : { user: user.name, ...keyFields(user) };
}

/** @returns undefined where it is no key. */
function offeredFingerprint(publicKey: Uint8Array): string | undefined {
  const offered = offeredKey(publicKey);
  return offered && fingerprintOf(nodeSshCrypto.suite.sha256(encodePublicKey(offered.key)));
}

function keyFields({ key, certificate }: Pick<KeyGrant, "key" | "certificate">) {
  if (certificate === undefined) return { key: fingerprintOf(key) };
  const { serial, authority } = certificate;
  return { key: fingerprintOf(key), certificate: serial, authority: fingerprintOf(authority) };
}

/** A code: sentences may hold what the user asked for. */
function reason(error: unknown): string {
  return error instanceof SealttyError ? error.code : "internal";
}
