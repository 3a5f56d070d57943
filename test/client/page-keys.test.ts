// Keys in the page, without a browser: where they are to be had, what is remembered, and that nothing asks before a click.

import { webcrypto } from "node:crypto";
import { describe, expect, test } from "vitest";
import type { KeyStore } from "../../client/key-store.ts";
import { parsePageConfig, type PageConfig } from "../../client/page-config.ts";
import type { PageKey, PagePlace } from "../../client/page-key.ts";
import { isOnOwnMachine, PageKeys } from "../../client/page-keys.ts";
import { passkeyWords } from "../../client/passkey.ts";
import { configFor, methodOf, SignIn, signerFor, type SignInWay } from "../../client/sign-in.ts";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { webCryptoSignatures } from "../../protocol/crypto/webcrypto-signatures.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { SoftwareSecurityKey } from "../support/software-security-key.ts";
import { attempt, FIELDS } from "../support/user-attempt.ts";

function placeOf(address: string): PagePlace {
  const { protocol, hostname, port, origin } = new URL(address);
  return { protocol, hostname, port, origin };
}

function memoryStore(): KeyStore & { readonly kept: Map<string, PageKey> } {
  const kept = new Map<string, PageKey>();
  return {
    kept,
    all: async () => [...kept.values()],
    put: async (id, key) => void kept.set(id, key),
    remove: async (id) => void kept.delete(id),
  };
}

let now = Date.UTC(2026, 10, 26, 14, 5);
function keysAt(address: string, store: KeyStore = memoryStore()): PageKeys {
  return new PageKeys({
    place: placeOf(address),
    suite: nodeSuite,
    signatures: webCryptoSignatures(webcrypto.subtle),
    store,
    wallTime: () => now++,
    randomBytes: (length) => new Uint8Array(length),
  });
}

const PASSKEY: PageKey = {
  kind: "passkey",
  publicKey: new SoftwareSecurityKey("ecdsa", "localhost").blob,
  madeAt: Date.UTC(2026, 0, 2, 3, 4),
  credentialId: new Uint8Array(16),
};

describe("where keys are to be had", () => {
  test.each(["http://localhost:8743/", "http://127.0.0.1:8743/", "http://[::1]:8743/"])("%s", (address) => {
    expect(isOnOwnMachine(placeOf(address))).toBe(true);
    expect(keysAt(address).whyNot("browser-key")).toBeUndefined();
  });

  test.each([
    "file:///home/me/console.html",
    "https://localhost:8743/",
    "http://192.168.1.2:8743/",
    "http://localhost.example:8743/",
    "http://x.localhost:8743/",
    "http://127.0.0.2:8743/",
    "https://console.example/",
  ])("%s: none is shown, made, or asked to sign", async (address) => {
    const store = memoryStore();
    await keysAt("http://localhost:8743/", store).make("browser-key");
    const keys = keysAt(address, store);
    expect(keys.forbidden).toBe(true);
    expect(await keys.all()).toEqual([]);
    const [key] = store.kept.values();
    if (key === undefined) throw new Error("no key");
    for (const kind of ["browser-key", "passkey"] as const)
      await expect(keys.make(kind)).rejects.toMatchObject({ code: "user-refused" });
    await expect(keys.sign(key, FIELDS, new AbortController().signal)).rejects.toMatchObject({
      code: "user-refused",
    });
    expect(store.kept.size).toBe(1);
  });

  test("passkeys at localhost alone, and only where the browser has any", async () => {
    expect(keysAt("http://127.0.0.1:9000/").whyNot("passkey")).toContain("http://localhost:9000");
    expect(keysAt("http://localhost:9000/").whyNot("passkey")).toBe("This browser has no passkeys.");
    await expect(keysAt("http://localhost:9000/").make("passkey")).rejects.toThrow("has no passkeys");
  });
});

describe("a key of the browser", () => {
  test("lets its user in by its line, and its private half cannot be read", async () => {
    const store = memoryStore();
    const keys = keysAt("http://localhost:8743/", store);
    const key = await keys.make("browser-key");
    const sshsig = await keys.sign(key, FIELDS, new AbortController().signal);
    expect(await attempt(keys.line(key), key.publicKey, sshsig)).toBeDefined();
    expect(await attempt("", key.publicKey, sshsig)).toBeUndefined();
    if (key.kind !== "browser-key") throw new Error("another kind");
    await expect(webcrypto.subtle.exportKey("pkcs8", key.privateKey)).rejects.toThrow("not extractable");
    expect(await keys.all()).toEqual([key]);
    await keys.forget(key);
    expect(await keys.all()).toEqual([]);
  });

  test("a signature of another key than the one that is shown is not handed out", async () => {
    const keys = keysAt("http://localhost:8743/");
    const [one, other] = [await keys.make("browser-key"), await keys.make("browser-key")];
    const mixed: PageKey = { ...one, publicKey: other.publicKey };
    await expect(keys.sign(mixed, FIELDS, new AbortController().signal)).rejects.toThrow("does not hold");
  });

  test("is not made where it cannot be kept", async () => {
    const full: KeyStore = { ...memoryStore(), put: () => Promise.reject(new Error("QuotaExceededError")) };
    await expect(keysAt("http://localhost:8743/", full).make("browser-key")).rejects.toThrow("would be lost");
  });
});

test("the line says what kind of key it is and when it was made", () => {
  expect(keysAt("http://localhost:1/").line(PASSKEY)).toMatch(
    /^sk-ecdsa-sha2-nistp256@openssh\.com [A-Za-z0-9+/]+=* sealtty-passkey-20260102T0304Z$/,
  );
});

test("each refusal of a browser has words of its own, and none of them is empty", () => {
  const names = ["NotAllowedError", "NotSupportedError", "SecurityError", "AbortError", "another"];
  const words = names.map((name) => passkeyWords(name, "use"));
  expect(new Set(words).size).toBe(names.length);
  expect(passkeyWords("NotAllowedError", "make")).not.toBe(words[0]);
});

const CONFIG = {
  identity: "db1",
  address: "ws://x/",
  user: "root",
  auth: "ssh-key",
  publicKey: Uint8Array.of(7),
  keys: [
    { publicKey: Uint8Array.of(7), source: "~/.ssh/work" },
    { publicKey: Uint8Array.of(8), source: "agent" },
  ],
} as unknown as PageConfig;

function storage(): Pick<Storage, "getItem" | "setItem"> & { readonly texts: Map<string, string> } {
  const texts = new Map<string, string>();
  return {
    texts,
    getItem: (name) => texts.get(name) ?? null,
    setItem: (name, text) => void texts.set(name, text),
  };
}

describe("the way that was chosen", () => {
  const forbidden = (): never => {
    throw new DOMException("The operation is insecure", "SecurityError");
  };

  test("is the command line's until the user chooses; then remembered for each guest and user, by fingerprints alone", async () => {
    const texts = storage();
    const keys = keysAt("http://localhost:8743/");
    const key = await keys.make("browser-key");
    const signIn = (config = CONFIG) => new SignIn(keys, () => texts, config);
    expect(await signIn().chosen()).toEqual({ kind: "command-key", key: CONFIG.keys[0] });
    expect(await signIn({ ...CONFIG, auth: "none", publicKey: undefined }).chosen()).toEqual({
      kind: "prompt",
    });
    signIn().remember({ kind: "page-key", key });
    expect(await signIn().chosen()).toEqual({ kind: "page-key", key });
    for (const other of [{ user: "me" }, { identity: "db2" }, { address: "ws://y/" }])
      expect((await signIn({ ...CONFIG, ...other }).chosen()).kind).toBe("command-key");
    signIn().remember({ kind: "command-key", key: { publicKey: Uint8Array.of(8), source: "agent" } });
    expect(await signIn().chosen()).toEqual({ kind: "command-key", key: CONFIG.keys[1] });
    signIn().remember({ kind: "prompt" });
    expect(await signIn().chosen()).toEqual({ kind: "prompt" });
    signIn().remember({ kind: "page-key", key });
    expect([...texts.texts.values()].join("")).toBe(
      JSON.stringify([
        { identity: "db1", address: "ws://x/", user: "root", way: keys.fingerprint(key.publicKey) },
      ]),
    );
    await keys.forget(key);
    expect((await signIn().chosen()).kind).toBe("command-key"); // it is gone: as the command line says
  });

  test.each([
    "[1,null,{}]",
    "{",
    `[{"identity":"db1","address":"ws://x/","user":"root","way":"SHA256:none"}]`,
  ])("a store of %s is none", async (text) => {
    const texts = storage();
    texts.setItem("sealtty.sign-in.v1", text);
    const signIn = new SignIn(keysAt("http://localhost:8743/"), () => texts, CONFIG);
    expect((await signIn.chosen()).kind).toBe("command-key");
  });

  test("storage that is forbidden is no trouble", async () => {
    const signIn = new SignIn(keysAt("http://localhost:8743/"), forbidden, CONFIG);
    signIn.remember({ kind: "prompt" });
    expect((await signIn.chosen()).kind).toBe("command-key");
  });

  test("decides the session's method and key", () => {
    const ways: SignInWay[] = [
      { kind: "prompt" },
      { kind: "command-key", key: { publicKey: Uint8Array.of(8), source: "" } },
      { kind: "page-key", key: PASSKEY },
    ];
    expect(ways.map(methodOf)).toEqual(["none", "ssh-key", "passkey"]);
    expect(ways.map((way) => configFor(CONFIG, way).publicKey)).toEqual([
      undefined,
      Uint8Array.of(8),
      PASSKEY.publicKey,
    ]);
  });
});

describe("signing", () => {
  const never = (): never => {
    throw new Error("not to be asked");
  };

  test("with a key of the command names that key", async () => {
    const asked: Uint8Array[] = [];
    const sign = signerFor(
      { kind: "command-key", key: { publicKey: Uint8Array.of(8), source: "" } },
      keysAt("http://localhost:1/"),
      async (_, publicKey) => {
        asked.push(publicKey);
        return Uint8Array.of(1);
      },
      never,
      new AbortController().signal,
    );
    expect(await sign(FIELDS)).toEqual(Uint8Array.of(1));
    expect(asked).toEqual([Uint8Array.of(8)]);
  });

  test("with a passkey: one click, one question; after a failure another click; none once the session is over", async () => {
    const over = new AbortController();
    const clicks: ((trouble: string | undefined) => void)[] = [];
    const troubles: (string | undefined)[] = [];
    const answers = [new SealttyError("user-refused", "cancelled"), Uint8Array.of(5)];
    let questions = 0;
    class Scripted extends PageKeys {
      override async sign(): Promise<Uint8Array> {
        questions++;
        const answer = answers.shift();
        if (answer === undefined) over.abort(); // the session ends while the authenticator waits
        if (answer instanceof Uint8Array) return answer;
        throw answer ?? new SealttyError("user-refused", "stopped");
      }
    }
    const keys = new Scripted({
      place: placeOf("http://localhost:1/"),
      suite: nodeSuite,
      signatures: webCryptoSignatures(webcrypto.subtle),
      store: memoryStore(),
      wallTime: () => 0,
      randomBytes: (length) => new Uint8Array(length),
    });
    const sign = signerFor(
      { kind: "page-key", key: PASSKEY },
      keys,
      never,
      (trouble) =>
        new Promise((resolve) => {
          troubles.push(trouble);
          clicks.push(() => resolve());
        }),
      over.signal,
    );
    const turns = async (): Promise<void> => {
      for (let i = 0; i < 20; i++) await Promise.resolve();
    };
    const signed = sign(FIELDS);
    await turns();
    expect(questions).toBe(0);
    clicks.shift()?.(undefined);
    await turns();
    expect([questions, troubles]).toEqual([1, [undefined, "cancelled"]]);
    clicks.shift()?.(undefined);
    expect(await signed).toEqual(Uint8Array.of(5));
    const again = sign(FIELDS);
    clicks.shift()?.(undefined);
    await expect(again).rejects.toMatchObject({ name: "AbortError" });
    expect([questions, troubles.length]).toEqual([3, 3]); // and no further button
  });
});

test("the local server's keys come whole, or the configuration is refused", () => {
  const config = {
    type: "config",
    page: "fresh",
    address: "tcp:h:1",
    pipe: { kind: "through-server" },
    policyText: "",
    simulated: false,
    user: "root",
    auth: "none",
    identity: "db1",
    hostView: false,
    encoding: "auto",
    obfuscate: "off",
  };
  const parsed = (keys: unknown) => parsePageConfig(JSON.stringify({ ...config, keys })).keys;
  expect(parsed(undefined)).toEqual([]);
  expect(parsed([{ publicKey: "CA==", source: "agent" }])).toEqual([
    { publicKey: Uint8Array.of(8), source: "agent" },
  ]);
  for (const bad of [
    {},
    [1],
    [{ publicKey: "!", source: "" }],
    [{ publicKey: "CA==" }],
    Array.from({ length: 33 }, () => ({ publicKey: "CA==", source: "" })),
  ])
    expect(() => parsed(bad)).toThrow(SealttyError);
});
