// What is remembered of guests: bounded, and a store that is missing, broken or full is a guest never seen, nothing else.

import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  MAX_GUESTS_SEEN,
  MAX_VALUES_SEEN,
  SeenStore,
  sinceSeen,
  valuesToKeep,
} from "../../client/seen-store.ts";
import type { AppraisedClaims, ClaimedValue } from "../../protocol/attestation/verified-guest.ts";

const KEY = "sealtty.seen.v1";

class MemoryStorage {
  readonly items = new Map<string, string>();
  quota = Infinity;
  getItem(key: string): string | null {
    return this.items.get(key) ?? null;
  }
  setItem(key: string, value: string): void {
    if (value.length > this.quota) throw new DOMException("full", "QuotaExceededError");
    this.items.set(key, value);
  }
}

function newStore(): { storage: MemoryStorage; store: SeenStore } {
  const storage = new MemoryStorage();
  return { storage, store: new SeenStore(() => storage) };
}

const lasting = (name: string, value: string): ClaimedValue => ({
  name,
  words: name.toUpperCase(),
  value,
  scope: "lasting",
});
const boot = (name: string, value: string): ClaimedValue => ({ ...lasting(name, value), scope: "boot" });
const claims = (values: readonly ClaimedValue[]): AppraisedClaims =>
  ({ type: "sev-snp", assurance: "hardware", values }) as AppraisedClaims;

describe("remembering", () => {
  test("each guest by name and address, the latest look", () => {
    const { store } = newStore();
    expect(store.recall("db", "ws://a")).toBeUndefined();
    store.remember("db", "ws://a", [lasting("m", "1")], 1000);
    store.remember("db", "ws://b", [lasting("m", "2")], 2000);
    store.remember("web", "ws://a", [lasting("m", "3")], 3000);
    store.remember("db", "ws://a", [lasting("m", "4")], 4000);
    expect(store.recall("db", "ws://a")).toMatchObject({ at: 4000, values: [lasting("m", "4")] });
    expect(store.recall("db", "ws://b")?.values).toEqual([lasting("m", "2")]);
    expect(store.recall("web", "ws://a")?.values).toEqual([lasting("m", "3")]);
  });

  test("names cannot run into addresses, nor into properties of objects", () => {
    const { store } = newStore();
    store.remember('a","b', "c", [lasting("m", "1")], 1);
    store.remember("__proto__", "constructor", [lasting("m", "2")], 1);
    expect(store.recall("a", 'b","c')).toBeUndefined();
    expect(store.recall("__proto__", "constructor")?.values).toEqual([lasting("m", "2")]);
    expect(store.recall("toString", "constructor")).toBeUndefined();
  });

  test("only so many guests, the oldest go first", () => {
    const { store, storage } = newStore();
    for (let i = 0; i < MAX_GUESTS_SEEN + 5; i++) store.remember(`g${i}`, "a", [lasting("m", "1")], i);
    expect(store.recall("g4", "a")).toBeUndefined();
    expect(store.recall("g5", "a")).toBeDefined();
    expect(JSON.parse(storage.items.get(KEY) as string)).toHaveLength(MAX_GUESTS_SEEN);
  });

  test("only so many characters, whatever is in it", () => {
    const { store, storage } = newStore();
    const values = valuesToKeep(
      claims(Array.from({ length: 500 }, (_, i) => lasting(`n${i}`, "\u0001".repeat(100_000)))),
    );
    expect(values).toHaveLength(MAX_VALUES_SEEN);
    for (let i = 0; i < MAX_GUESTS_SEEN; i++) store.remember(`g${i}`, "a", values, i);
    expect(storage.items.get(KEY)?.length).toBeLessThanOrEqual(1024 * 1024);
    expect(store.recall(`g${MAX_GUESTS_SEEN - 1}`, "a")).toBeDefined();
  });
});

describe("a store that does not work", () => {
  test.each([
    "",
    "{",
    "null",
    "5",
    '"text"',
    "{}",
    "[null]",
    "[[]]",
    '[{"identity":"db","address":"a"}]',
    '[{"identity":"db","address":"a","at":"x","values":[]}]',
    '[{"identity":"db","address":"a","at":1e300,"values":[]}]',
    '[{"identity":"db","address":"a","at":1,"values":[5]}]',
    '[{"identity":"db","address":"a","at":1,"values":[{"name":"m","words":"M","value":1,"scope":"lasting"}]}]',
    '[{"identity":"db","address":"a","at":1,"values":[{"name":"m","words":"M","value":"1","scope":"x"}]}]',
  ])("holding %j: never seen, and written anew", (text) => {
    const { store, storage } = newStore();
    storage.items.set(KEY, text);
    expect(store.recall("db", "a")).toBeUndefined();
    store.remember("db", "a", [lasting("m", "1")], 1);
    expect(store.recall("db", "a")?.values).toEqual([lasting("m", "1")]);
  });

  test("any JSON at all", () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        const { store, storage } = newStore();
        storage.items.set(KEY, text);
        expect(store.recall("db", "a")).toBeUndefined();
        store.remember("db", "a", [], 1);
        expect(store.recall("db", "a")).toBeDefined();
      }),
    );
  });

  test("a text that is too long is not even parsed", () => {
    const { store, storage } = newStore();
    storage.items.set(KEY, `[${" ".repeat(2 * 1024 * 1024)}]`);
    expect(store.recall("db", "a")).toBeUndefined();
  });

  test("one bad entry does not take the good ones along", () => {
    const { store, storage } = newStore();
    store.remember("db", "a", [lasting("m", "1")], 1);
    storage.items.set(KEY, `[5,${(storage.items.get(KEY) as string).slice(1)}`);
    expect(store.recall("db", "a")).toBeDefined();
  });

  test("full: what was there stays", () => {
    const { store, storage } = newStore();
    store.remember("db", "a", [lasting("m", "1")], 1);
    storage.quota = 10;
    store.remember("db", "a", [lasting("m", "2")], 2);
    expect(store.recall("db", "a")?.values).toEqual([lasting("m", "1")]);
  });

  test("forbidden: nothing throws", () => {
    const store = new SeenStore(() => {
      throw new DOMException("forbidden", "SecurityError");
    });
    expect(() => store.remember("db", "a", [], 1)).not.toThrow();
    expect(store.recall("db", "a")).toBeUndefined();
  });
});

describe("then and now", () => {
  const before = (values: readonly ClaimedValue[]) => ({ at: 5, values });

  test("the same", () => {
    const values = valuesToKeep(claims([lasting("m", "1"), boot("r", "1")]));
    expect(sinceSeen(before(values), values)).toEqual({ at: 5, lasting: [], rebooted: false });
  });

  test("a change of what lasts is told apart from a new boot", () => {
    const since = sinceSeen(before([lasting("m", "1"), boot("r", "1")]), [lasting("m", "2"), boot("r", "2")]);
    expect(since.rebooted).toBe(true);
    expect(since.lasting).toEqual([{ name: "m", words: "M", before: "1", after: "2", scope: "lasting" }]);
  });

  test("what came and what went counts", () => {
    const since = sinceSeen(before([lasting("old", "1")]), [lasting("new", "1")]);
    expect(since.lasting.map(({ name, before, after }) => [name, before, after])).toEqual([
      ["new", undefined, "1"],
      ["old", "1", undefined],
    ]);
  });

  test("weaker evidence of another kind is a change by itself", () => {
    const was = valuesToKeep(claims([]));
    const now = valuesToKeep({ ...claims([]), type: "tpm", assurance: "host-vouched" });
    expect(sinceSeen(before(was), now).lasting.map(({ name }) => name)).toEqual([
      "evidence.type",
      "evidence.assurance",
    ]);
  });

  test("values that are cut to be kept are cut to be compared: no change where there is none", () => {
    const long = claims([lasting("m".repeat(500), "x".repeat(5000))]);
    const { store } = newStore();
    store.remember("db", "a", valuesToKeep(long), 1);
    const seen = store.recall("db", "a");
    expect(seen && sinceSeen(seen, valuesToKeep(long)).lasting).toEqual([]);
  });
});
