// The host keys of the guest's sshd, out of evidence that was verified: what ssh then need not learn by trusting a first look.
// docs/protocol.md §6.3

import { Reader } from "../bytes.ts";
import { keyTypeOf } from "../user-auth/ssh-wire.ts";
import { AUX_PARTS, decodeAux } from "./aux.ts";
import type { Evidence } from "./evidence.ts";
import type { VerifiedGuest } from "./verified-guest.ts";

export interface SshHostKey {
  /** "ssh-ed25519". */
  readonly type: string;
  /** SSH wire format. */
  readonly blob: Uint8Array;
}

/** A certificate is no key of a host's: who signed it was not said. */
const TYPES: ReadonlySet<string> = new Set([
  "ssh-ed25519",
  "ecdsa-sha2-nistp256",
  "ecdsa-sha2-nistp384",
  "ecdsa-sha2-nistp521",
  "ssh-rsa",
  "ssh-mldsa44-ed25519@openssh.com",
]);

/**
 * @param guest - only what an appraisal made of the evidence beside it: its binder commits to these keys.
 * @returns none where the guest named none. @throws SealttyError `peer-misbehaved` on any other shape.
 */
export function hostKeysOf(guest: {
  readonly verified: VerifiedGuest;
  readonly evidence: Evidence;
}): readonly SshHostKey[] {
  const { type, aux } = guest.evidence;
  const { sshHostKeys } = decodeAux(type, aux);
  if (sshHostKeys === undefined) return [];
  const reader: Reader = new Reader(sshHostKeys, "SSH host keys");
  const keys: SshHostKey[] = [];
  while (reader.remaining > 0) {
    const blob = reader.lv16(AUX_PARTS.sshHostKeys.limit).slice();
    const keyType = keyTypeOf(blob);
    if (keyType === undefined) reader.fail("are malformed");
    if (TYPES.has(keyType)) keys.push({ type: keyType, blob }); // of a kind that this version does not know: no harm
  }
  return keys;
}
