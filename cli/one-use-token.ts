// Secrets that let a page of ours in: 32 random bytes, compared without telling how much was right.

import { randomBytes, timingSafeEqual } from "node:crypto";

export function newToken(): string {
  return randomBytes(32).toString("base64url");
}

export function sameToken(presented: string, expected: string): boolean {
  const a = Buffer.from(presented);
  const b = Buffer.from(expected);
  return a.length === b.length && timingSafeEqual(a, b); // the length is no secret
}

/** Worth one entry; whoever comes second, or with another value, is refused. */
export class OneUseToken {
  #value: string | undefined = newToken();

  get value(): string | undefined {
    return this.#value;
  }

  use(presented: string): boolean {
    if (this.#value === undefined || !sameToken(presented, this.#value)) return false;
    this.#value = undefined;
    return true;
  }
}
