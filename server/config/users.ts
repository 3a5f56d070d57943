// `[users]`: who may log in, and how.

import type { Table } from "./table.ts";

/** A PAM session for users' programs: where it is to be had, or else sealttyd does not start, or never. */
export type PamUse = "auto" | "required" | "off";

export interface UsersConfig {
  /** File of public keys; absent: nobody can use a key, unless an instance document lists keys. */
  readonly authorizedKeys: string | undefined;
  /** Who may log in with a key of that file; a file of all users' must say it, of each user's own the place says it. */
  readonly names: readonly string[] | "any";
  /** Program and arguments for a session without a key; absent: not allowed. */
  readonly login: readonly string[] | undefined;
  /** Program and arguments of a session with a key; absent: the user's own shell from /etc/passwd. */
  readonly shell: readonly string[] | undefined;
  /** Pages that may ask for a passkey's signature: protocol/user-auth/webauthn.ts. */
  readonly passkeyOrigins: readonly string[];
  readonly pam: PamUse;
  /** Of one user's, and likewise of all logins without a key together, that run at a time. */
  readonly maxPrograms: number;
}

/** Programs that run at a time, whoever asked for them. */
export const MAX_PROGRAMS = 4096;

/** Where `sealtty open` serves its page: on the user's own machine, and on another port each time. */
const DEFAULT_PASSKEY_ORIGINS: readonly string[] = ["http://localhost:*"];

/** Eight connections with all their channels. */
const DEFAULT_MAX_PROGRAMS = 512;

export const NO_USERS: UsersConfig = {
  authorizedKeys: undefined,
  names: [],
  login: undefined,
  shell: undefined,
  passkeyOrigins: DEFAULT_PASSKEY_ORIGINS,
  pam: "auto",
  maxPrograms: DEFAULT_MAX_PROGRAMS,
};

/** @param byDocument - an instance document says who may log in; this table then says only how. */
export function usersOf(table: Table, byDocument: boolean): UsersConfig {
  table.allow("authorized_keys", "names", "login", "shell", "passkey_origins", "pam", "max_programs");
  if (byDocument && table.has("authorized_keys")) {
    table.fail(
      "both authorized_keys and the instance document ([instance] document) would say whose keys are good",
      "Remove one of the two.",
    );
  }
  const authorizedKeys = table.has("authorized_keys") ? table.path("authorized_keys") : undefined;
  const users: UsersConfig = {
    authorizedKeys,
    names: namesOf(table, authorizedKeys, byDocument),
    login: table.has("login") ? table.command("login") : undefined,
    shell: table.has("shell") ? table.command("shell") : undefined,
    passkeyOrigins: table.has("passkey_origins") ? table.origins("passkey_origins") : DEFAULT_PASSKEY_ORIGINS,
    pam: table.has("pam") ? table.oneOf("pam", ["auto", "required", "off"]) : "auto",
    maxPrograms: table.whole("max_programs", 1, MAX_PROGRAMS) ?? DEFAULT_MAX_PROGRAMS,
  };
  if (!byDocument && users.authorizedKeys === undefined && users.login === undefined) {
    table.fail(
      "nobody could log in",
      'Set authorized_keys = "/etc/sealtty/authorized_keys", or login = ["/bin/login"], or both.',
    );
  }
  return users;
}

/**
 * Never "anybody" because nothing is said: a line for one user would be good for root.
 * @throws SealttyError `bad-config`.
 */
function namesOf(
  table: Table,
  authorizedKeys: string | undefined,
  byDocument: boolean,
): UsersConfig["names"] {
  if (authorizedKeys === undefined) {
    if (!table.has("names")) return [];
    table.fail(
      byDocument
        ? "the instance document ([instance] document) says which users its keys are good for"
        : '"names" says who may use a key, and no authorized_keys says whose keys are good',
      byDocument ? "Remove names." : "Add authorized_keys, or remove names.",
    );
  }
  if (table.has("names")) return table.userNames("names");
  if (authorizedKeys.includes("%u")) return "any"; // each user has a file, which says it
  table.fail(
    '"names" is missing: authorized_keys is one file for all users, so each key in it would be good for every user, root as well',
    'Write names = ["alice", "bob"], or ["*"] for everybody; or give each user a file: authorized_keys = "/etc/sealtty/keys/%u".',
  );
}
