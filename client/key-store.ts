// The browser's own database, with the page's keys in it: one origin's, so one port's too. No private key in it can be read.

import type { PageKey } from "./page-key.ts";

export interface KeyStore {
  all(): Promise<readonly PageKey[]>;
  put(id: string, key: PageKey): Promise<void>;
  remove(id: string): Promise<void>;
}

const DATABASE = "sealtty";
const KEYS = "keys";
const MAX_KEYS = 64; // shown

/** Every method rejects where the browser forbids it, or has no room. */
export function browserKeyStore(databases: () => IDBFactory): KeyStore {
  const use = async <Value>(
    mode: IDBTransactionMode,
    ask: (store: IDBObjectStore) => IDBRequest<Value>,
  ): Promise<Value> => {
    const database = await open(databases());
    try {
      const transaction = database.transaction(KEYS, mode, { durability: "strict" });
      const done = finished(transaction);
      const value = await answered(ask(transaction.objectStore(KEYS)));
      await done;
      return value;
    } finally {
      database.close();
    }
  };
  return {
    all: async () =>
      (await use<unknown[]>("readonly", (store) => store.getAll(null, MAX_KEYS))).filter(isPageKey),
    put: async (id, key) => void (await use("readwrite", (store) => store.put(key, id))),
    remove: (id) => use("readwrite", (store) => store.delete(id)),
  };
}

function open(databases: IDBFactory): Promise<IDBDatabase> {
  const request = databases.open(DATABASE, 1);
  request.addEventListener("upgradeneeded", () => request.result.createObjectStore(KEYS));
  return answered(request);
}

function answered<Value>(request: IDBRequest<Value>): Promise<Value> {
  return new Promise((resolve, reject) => {
    request.addEventListener("success", () => resolve(request.result));
    request.addEventListener("error", () => reject(request.error ?? new Error("no answer")));
  });
}

function finished(transaction: IDBTransaction): Promise<void> {
  const done = new Promise<void>((resolve, reject) => {
    transaction.addEventListener("complete", () => resolve());
    transaction.addEventListener("abort", () => reject(transaction.error ?? new Error("not kept")));
  });
  done.catch(() => undefined); // the request may have failed first
  return done;
}

/** An older or later version of this page may have written something else. */
function isPageKey(value: unknown): value is PageKey {
  if (typeof value !== "object" || value === null) return false;
  const { kind, publicKey, madeAt, credentialId, privateKey } = value as Record<string, unknown>;
  if (!(publicKey instanceof Uint8Array) || typeof madeAt !== "number" || !(Math.abs(madeAt) <= 8.64e15))
    return false;
  if (kind === "passkey") return credentialId instanceof Uint8Array;
  return kind === "browser-key" && privateKey instanceof CryptoKey && !privateKey.extractable;
}
