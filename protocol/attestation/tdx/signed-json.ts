// Intel PCS bodies: a JSON object and a signature over the exact bytes of it. The bytes are found by a strict reader of
// our own, because writing the object anew would not give them; what is read later are those same bytes.

import { fromHex, textOf } from "../../bytes.ts";
import { SealttyError } from "../../errors.ts";
import { MAX_COLLATERAL_PIECE } from "../../limits.ts";
import { strictJsonParts } from "../strict-json.ts";

export interface SignedJson {
  /** The signed object, a view of the exact bytes. */
  readonly body: Uint8Array;
  /** r‖s. */
  readonly signature: Uint8Array;
}

/**
 * `{"<member>":{…},"signature":"<128 hex digits>"}` in either order and nothing else: as strict-json.ts reads.
 * @throws SealttyError `peer-misbehaved`.
 */
export function parseSignedJson(
  bytes: Uint8Array,
  member: "tcbInfo" | "enclaveIdentity",
  what: string,
): SignedJson {
  if (bytes.length > MAX_COLLATERAL_PIECE) malformed(what, `is longer than ${MAX_COLLATERAL_PIECE} bytes`);
  const parts = strictJsonParts(bytes, what);
  const body = parts.get(member);
  const signature = parts.get("signature");
  if (parts.size !== 2 || body === undefined || signature === undefined)
    malformed(what, `is not an object of "${member}" and "signature"`);
  if (body[0] !== 0x7b) malformed(what, `has a "${member}" that is not an object`);
  const digits = textOf(signature);
  if (!/^"[0-9a-fA-F]{128}"$/.test(digits)) malformed(what, "has a signature that is not 128 hex digits");
  return { body, signature: fromHex(digits.slice(1, -1)) };
}

/** @param what - names the structure; never taken from it. */
export function malformed(what: string, problem: string): never {
  throw new SealttyError("peer-misbehaved", `${what} ${problem}`);
}
