// What a user signs: this connection, this evidence, this user, this service. docs/protocol.md §8.2

import { concat, lv16, utf8 } from "../bytes.ts";
import { SealttyError } from "../errors.ts";
import { MAX_USER_NAME } from "../limits.ts";
import type { UserAuthFields } from "../session/api.ts";

/** SSHSIG namespace: a signature made for files, git or another program never passes here, nor ours there. */
export const USER_AUTH_NAMESPACE = "auth@sealtty";

const LABEL = utf8("sealtty-user-auth/1\0");

/** 1 to 64 of the characters that user names of every guest have; the leading `-` would be an option to `login`. */
export function isUserName(name: string): boolean {
  return name.length <= MAX_USER_NAME && /^[A-Za-z0-9_.][A-Za-z0-9_.-]*$/.test(name);
}

export function isServiceName(name: string): boolean {
  return name.length <= 64 && /^[a-z][a-z0-9-]*$/.test(name);
}

/** @throws SealttyError `api-misuse` where a field has not its form: a server asks `isUserName` first. */
export function userAuthMessage(fields: UserAuthFields): Uint8Array<ArrayBuffer> {
  if (fields.handshakeHash.length !== 32 || fields.evidenceDigest.length !== 32) {
    throw new SealttyError("api-misuse", "Handshake hash and evidence digest must be 32 bytes each");
  }
  if (!isUserName(fields.user)) throw new SealttyError("api-misuse", "Not a user name");
  if (!isServiceName(fields.service)) throw new SealttyError("api-misuse", "Not a service name");
  return concat(
    LABEL,
    lv16(fields.handshakeHash),
    lv16(fields.evidenceDigest),
    lv16(utf8(fields.user)),
    lv16(utf8(fields.service)),
  );
}
