// What this browser saw of a guest when it was last opened here. A memory aid: the policy alone decides about trust, so a
// store that is missing, broken, full or cleared means "never seen", and nothing else.

import { changesBetween, type ClaimedChange } from "../protocol/attestation/changes.ts";
import type { AppraisedClaims, ClaimedValue } from "../protocol/attestation/verified-guest.ts";

const KEY = "sealtty.seen.v1";
export const MAX_GUESTS_SEEN = 32; // the ones seen last
export const MAX_VALUES_SEEN = 64; // of one guest
const MAX_VALUE = 1024; // characters
const MAX_WORDS = 120;
/** Characters of the whole store: well below what browsers give an origin. */
const MAX_STORE = 1024 * 1024;

export interface SeenBefore {
  /** Milliseconds since 1970, UTC. */
  readonly at: number;
  readonly values: readonly ClaimedValue[];
}

interface SeenGuest extends SeenBefore {
  readonly identity: string;
  readonly address: string;
}

/** What is different now. */
export interface SinceSeen {
  readonly at: number;
  /** Values that need an explanation when they change. */
  readonly lasting: readonly ClaimedChange[];
  /** Values that are new at every boot changed. */
  readonly rebooted: boolean;
  /** Since another sealttyd of the same boot handed over. */
  readonly handOver?: true;
}

export class SeenStore {
  readonly #storage: () => Pick<Storage, "getItem" | "setItem">;

  /** @param storage - asked for each time: where a browser forbids it, even looking at it throws. */
  constructor(storage: () => Pick<Storage, "getItem" | "setItem">) {
    this.#storage = storage;
  }

  recall(identity: string, address: string): SeenBefore | undefined {
    return this.#read().find((guest) => guest.identity === identity && guest.address === address);
  }

  remember(identity: string, address: string, values: readonly ClaimedValue[], at: number): void {
    const others = this.#read().filter((guest) => guest.identity !== identity || guest.address !== address);
    const guests = [{ identity, address, at, values }, ...others].slice(0, MAX_GUESTS_SEEN);
    let text = JSON.stringify(guests);
    while (text.length > MAX_STORE && guests.length > 1) {
      guests.pop();
      text = JSON.stringify(guests);
    }
    if (text.length > MAX_STORE) return;
    try {
      this.#storage().setItem(KEY, text);
    } catch {
      // Full or forbidden: the guest stays one that was never seen.
    }
  }

  #read(): SeenGuest[] {
    try {
      const text = this.#storage().getItem(KEY);
      if (text === null || text.length > MAX_STORE) return [];
      const stored: unknown = JSON.parse(text);
      return Array.isArray(stored) ? stored.filter(isSeenGuest).slice(0, MAX_GUESTS_SEEN) : [];
    } catch {
      return [];
    }
  }
}

/** What is kept of a guest's claims; kind and strength of the evidence count as values that last. */
export function valuesToKeep(claims: AppraisedClaims): ClaimedValue[] {
  const values: ClaimedValue[] = [
    { name: "evidence.type", words: "Kind of evidence", value: claims.type, scope: "lasting" },
    { name: "evidence.assurance", words: "Assurance", value: claims.assurance, scope: "lasting" },
    ...claims.values,
  ];
  return values.slice(0, MAX_VALUES_SEEN).map(({ name, words, value, scope }) => ({
    name: name.slice(0, MAX_WORDS),
    words: words.slice(0, MAX_WORDS),
    value: value.slice(0, MAX_VALUE),
    scope,
  }));
}

export function sinceSeen(before: SeenBefore, now: readonly ClaimedValue[]): SinceSeen {
  const changes = changesBetween(before.values, now);
  return {
    at: before.at,
    lasting: changes.filter(({ scope }) => scope === "lasting"),
    rebooted: changes.some(({ scope }) => scope === "boot"),
  };
}

/** The machine that is to go on, by its own word: then it is the same boot, too, and all of it is to be as it was. */
export function sinceHandOver(before: SeenBefore, now: readonly ClaimedValue[]): SinceSeen {
  return {
    at: before.at,
    lasting: changesBetween(before.values, now),
    rebooted: false,
    handOver: true,
  };
}

function isSeenGuest(value: unknown): value is SeenGuest {
  if (typeof value !== "object" || value === null) return false;
  const { identity, address, at, values } = value as Record<string, unknown>;
  return (
    typeof identity === "string" &&
    typeof address === "string" &&
    typeof at === "number" &&
    Math.abs(at) <= 8.64e15 && // what a Date can say
    Array.isArray(values) &&
    values.length <= MAX_VALUES_SEEN &&
    values.every(isClaimedValue)
  );
}

function isClaimedValue(value: unknown): value is ClaimedValue {
  if (typeof value !== "object" || value === null) return false;
  const { name, words, value: text, scope } = value as Record<string, unknown>;
  return (
    isText(name, MAX_WORDS) &&
    isText(words, MAX_WORDS) &&
    isText(text, MAX_VALUE) &&
    (scope === "boot" || scope === "lasting")
  );
}

function isText(value: unknown, limit: number): value is string {
  return typeof value === "string" && value.length <= limit;
}
