// User authentication against real ssh-keygen, and against an attacker at every bit.

import * as fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { nodeSshCrypto } from "../../node/ssh-crypto.ts";
import { concat, equalBytes, toHex, u8, utf8 } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { UserAuthFields } from "../../protocol/session/api.ts";
import { type AuthorizedKey, parseAuthorizedKeys } from "../../protocol/user-auth/authorized-keys.ts";
import { decodeBase64 } from "../../protocol/user-auth/base64.ts";
import { NO_OPTIONS } from "../../protocol/user-auth/key-options.ts";
import { decodePublicKey } from "../../protocol/user-auth/public-key.ts";
import { encodeEd25519Key, encodeEd25519Signature, sshString } from "../../protocol/user-auth/ssh-wire.ts";
import {
  decodeSshsig,
  encodeSshsig,
  type SshsigHash,
  sshsigToBeSigned,
  verifySshsig,
} from "../../protocol/user-auth/sshsig.ts";
import {
  isUserName,
  USER_AUTH_NAMESPACE,
  userAuthMessage,
} from "../../protocol/user-auth/user-auth-message.ts";
import { verifyUserAuth } from "../../protocol/user-auth/verify-user.ts";
import {
  blobOf,
  hasOpenssh,
  makeScratch,
  signWithSshKeygen,
  sshKeygen,
  sshKeygenAccepts,
  tellIfOpensshIsAbsent,
} from "../support/openssh.ts";

const scratch = makeScratch();
afterAll(() => scratch.remove());

const seed = new Uint8Array(32).fill(7);
const blob = encodeEd25519Key(nodeSuite.ed25519PublicKey(seed));
const line = `ssh-ed25519 ${Buffer.from(blob).toString("base64")} me@here`;
const fields: UserAuthFields = {
  handshakeHash: new Uint8Array(32).fill(1),
  evidenceDigest: new Uint8Array(32).fill(2),
  user: "alice",
  service: "sealtty-session",
};

function signed(
  over: UserAuthFields = fields,
  options: { namespace?: string; hash?: SshsigHash; key?: Uint8Array } = {},
): Uint8Array {
  const { namespace = USER_AUTH_NAMESPACE, hash = "sha512", key = seed } = options;
  const toSign = sshsigToBeSigned(nodeSuite, namespace, hash, userAuthMessage(over));
  const publicKey = encodeEd25519Key(nodeSuite.ed25519PublicKey(key));
  const signature = encodeEd25519Signature(nodeSuite.ed25519Sign(key, toSign));
  return encodeSshsig({ publicKey, namespace, hash, signature });
}

const keyEntry = (key: Uint8Array): AuthorizedKey => ({
  keyType: "ssh-ed25519",
  blob: key,
  options: NO_OPTIONS,
  comment: "",
  line: 1,
});
async function accepts(
  sshsig: Uint8Array,
  over = fields,
  publicKey: Uint8Array = blob,
  authorizedKeys = [keyEntry(blob)],
): Promise<boolean> {
  const attempt = { fields: over, publicKey, sshsig, authorizedKeys, passkeyOrigins: [], now: 0 };
  return (await verifyUserAuth(nodeSshCrypto, attempt)) !== undefined;
}

const flipped = (bytes: Uint8Array, bit: number): Uint8Array =>
  bytes.map((byte, i) => (i === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte));

tellIfOpensshIsAbsent();

describe("with ssh-keygen", () => {
  test.runIf(hasOpenssh).each(["sha512", "sha256"] as const)(
    "verifyUserAuth() takes its %s signatures",
    async (hash) => {
      const publicKeyLine = sshKeygen(scratch.path(`key-${hash}`));
      const key = blobOf(publicKeyLine);
      const sshsig = signWithSshKeygen(
        scratch.path(`key-${hash}`),
        USER_AUTH_NAMESPACE,
        userAuthMessage(fields),
        hash,
      );
      const { keys, refusedLines } = parseAuthorizedKeys(`# mine\n${publicKeyLine}\n`);
      expect(refusedLines).toEqual([]);
      expect(keys).toEqual([
        { keyType: "ssh-ed25519", blob: key, options: NO_OPTIONS, comment: "test key", line: 2 },
      ]);
      expect(await accepts(sshsig, fields, key, [...keys])).toBe(true);
      expect(
        equalBytes(encodeSshsig({ ...decodeSshsig(sshsig), namespace: USER_AUTH_NAMESPACE }), sshsig),
      ).toBe(true);
      const other = signWithSshKeygen(scratch.path(`key-${hash}`), "file", userAuthMessage(fields), hash);
      expect(await accepts(other, fields, key, [...keys])).toBe(false);
    },
  );

  test.runIf(hasOpenssh).each(["sha512", "sha256"] as const)(
    "it takes our %s signatures, and no others",
    (hash) => {
      const message = userAuthMessage(fields);
      const check = (message: Uint8Array, sshsig: Uint8Array, namespace = USER_AUTH_NAMESPACE): boolean =>
        sshKeygenAccepts(scratch.path("check"), line, namespace, message, sshsig);
      expect(check(message, signed(fields, { hash }))).toBe(true);
      expect(check(flipped(message, 3), signed(fields, { hash }))).toBe(false);
      expect(check(message, signed(fields, { hash }), "file")).toBe(false);
    },
  );
});

describe("verifyUserAuth()", () => {
  test("takes a true signature by any of the user's keys, and by no other key", async () => {
    expect(await accepts(signed())).toBe(true);
    const stranger = encodeEd25519Key(nodeSuite.ed25519PublicKey(new Uint8Array(32).fill(8)));
    const strangers = signed(fields, { key: new Uint8Array(32).fill(8) });
    expect(await accepts(signed(), fields, blob, [stranger, blob, stranger].map(keyEntry))).toBe(true);
    expect(await accepts(signed(), fields, blob, [])).toBe(false);
    expect(await accepts(signed(), fields, blob, [keyEntry(stranger)])).toBe(false);
    expect(await accepts(strangers, fields, stranger)).toBe(false);
    expect(await accepts(strangers, fields, blob)).toBe(false); // named one key, signed with another
    expect(await accepts(signed(), fields, stranger, [blob, stranger].map(keyEntry))).toBe(false);
  });

  test("does the same work for a key that is not authorized: the signature is checked all the same", async () => {
    let checked = 0;
    const counting = {
      ...nodeSuite,
      ed25519Verify: (...args: Parameters<typeof nodeSuite.ed25519Verify>) => {
        checked++;
        return nodeSuite.ed25519Verify(...args);
      },
    };
    for (const authorizedKeys of [[], [keyEntry(blob)]]) {
      const attempt = { fields, publicKey: blob, sshsig: signed(), authorizedKeys };
      await verifyUserAuth({ ...nodeSshCrypto, suite: counting }, { ...attempt, passkeyOrigins: [], now: 0 });
    }
    expect(checked).toBe(2);
  });

  test("refuses every flipped bit of the signature blob and of the key", async () => {
    const sshsig = signed();
    for (let bit = 0; bit < sshsig.length * 8; bit++) {
      expect(await accepts(flipped(sshsig, bit)), `bit ${bit}`).toBe(false);
    }
    for (let bit = 0; bit < blob.length * 8; bit++) {
      const key = flipped(blob, bit);
      expect(await accepts(sshsig, fields, key, [blob, key].map(keyEntry)), `key bit ${bit}`).toBe(false);
    }
  });

  test("refuses a blob cut anywhere, with a byte too many, or with one inside a field", async () => {
    const sshsig = signed();
    for (let length = 0; length < sshsig.length; length++)
      expect(await accepts(sshsig.subarray(0, length))).toBe(false);
    expect(await accepts(concat(sshsig, u8(0)))).toBe(false);
    expect(await accepts(concat(sshsig, new Uint8Array(100_000)))).toBe(false);
    const toSign = sshsigToBeSigned(nodeSuite, USER_AUTH_NAMESPACE, "sha512", userAuthMessage(fields));
    const signature = nodeSuite.ed25519Sign(seed, toSign);
    const rebuilt = (reserved: string, namespace: string, tail: Uint8Array, version = 1): Uint8Array =>
      concat(
        utf8("SSHSIG"),
        Uint8Array.of(0, 0, 0, version),
        sshString(blob),
        sshString(namespace),
        sshString(reserved),
        sshString("sha512"),
        sshString(concat(sshString("ssh-ed25519"), sshString(concat(signature, tail)))),
      );
    const none = new Uint8Array(0);
    expect(await accepts(rebuilt("", USER_AUTH_NAMESPACE, none))).toBe(true);
    expect(await accepts(rebuilt("x", USER_AUTH_NAMESPACE, none))).toBe(false);
    expect(await accepts(rebuilt("", `${USER_AUTH_NAMESPACE}\0`, none))).toBe(false);
    expect(await accepts(rebuilt("", "", none))).toBe(false);
    expect(await accepts(rebuilt("", USER_AUTH_NAMESPACE, u8(0)))).toBe(false);
    expect(await accepts(rebuilt("", USER_AUTH_NAMESPACE, none, 2))).toBe(false);
  });

  test("refuses a signature for another handshake, evidence, user, service or namespace", async () => {
    const other = new Uint8Array(32).fill(9);
    const changes: Partial<UserAuthFields>[] = [
      { handshakeHash: other },
      { evidenceDigest: other },
      { handshakeHash: fields.evidenceDigest, evidenceDigest: fields.handshakeHash },
      { user: "alicf" },
      { user: "alic" },
      { service: "sealtty-exec" },
    ];
    for (const change of changes) {
      const over = { ...fields, ...change };
      expect(await accepts(signed(over))).toBe(false);
      expect(await accepts(signed(), over)).toBe(false);
      expect(await accepts(signed(over), over)).toBe(true);
    }
    for (const namespace of ["file", "git", "auth@sealtty2", "auth@sealtt", "Auth@sealtty"]) {
      expect(await accepts(signed(fields, { namespace }))).toBe(false);
    }
  });

  test("refuses, and never throws on, any user, service, key and blob of a client", () =>
    fc.assert(
      fc.asyncProperty(
        fc.oneof(fc.string(), fc.constant("alice")),
        fc.oneof(fc.string(), fc.constant("sealtty-session")),
        fc.oneof(fc.uint8Array({ maxLength: 80 }), fc.constant(blob)),
        fc.oneof(
          fc.uint8Array({ maxLength: 400 }),
          fc.uint8Array({ maxLength: 200 }).map((junk) => concat(signed().subarray(0, junk.length), junk)),
        ),
        async (user, service, publicKey, sshsig) => {
          expect(await accepts(sshsig, { ...fields, user, service }, publicKey)).toBe(false);
        },
      ),
      { numRuns: 500 },
    ));

  test("an Ed25519 key of small order, even if authorized, signs for nobody", async () => {
    const publicKey = encodeEd25519Key(concat(u8(1), new Uint8Array(31)));
    const signature = encodeEd25519Signature(concat(u8(1), new Uint8Array(63))); // R neutral, S = 0: fits every message
    const sshsig = encodeSshsig({ publicKey, namespace: USER_AUTH_NAMESPACE, hash: "sha512", signature });
    expect(await accepts(sshsig, fields, publicKey, [keyEntry(publicKey)])).toBe(false);
  });
});

describe("userAuthMessage()", () => {
  test("is the label and four fields with their lengths", () => {
    const part = (bytes: Uint8Array): string => bytes.length.toString(16).padStart(4, "0") + toHex(bytes);
    expect(toHex(userAuthMessage(fields))).toBe(
      toHex(utf8("sealtty-user-auth/1")) +
        "00" +
        [fields.handshakeHash, fields.evidenceDigest, utf8("alice"), utf8("sealtty-session")]
          .map(part)
          .join(""),
    );
  });

  test("takes plain user names only", () => {
    for (const name of ["a", "root", "alice.b", "_svc", "x-1", "9", "A".repeat(64)])
      expect(isUserName(name)).toBe(true);
    for (const name of ["", "-f", "A".repeat(65), "a b", "a\n", "a\0", "ä", "a/b", "a$"]) {
      expect(isUserName(name)).toBe(false);
      expect(() => userAuthMessage({ ...fields, user: name })).toThrow(SealttyError);
    }
    expect(() => userAuthMessage({ ...fields, service: "" })).toThrow(SealttyError);
    expect(() => userAuthMessage({ ...fields, handshakeHash: new Uint8Array(31) })).toThrow(SealttyError);
  });
});

test("sshsigToBeSigned() refuses an empty namespace, verifySshsig() checks what it is given", async () => {
  expect(() => sshsigToBeSigned(nodeSuite, "", "sha512", utf8("x"))).toThrow(SealttyError);
  const own = { publicKey: blob, key: decodePublicKey(blob), namespace: USER_AUTH_NAMESPACE };
  const expected = { ...own, message: userAuthMessage(fields) };
  expect(await verifySshsig(nodeSshCrypto, signed(), expected)).toEqual({ securityKey: undefined });
  const other = { ...expected, message: utf8("other") };
  expect(await verifySshsig(nodeSshCrypto, signed(), other)).toBeUndefined();
});

test("decodeBase64() takes what Buffer writes, and one spelling only", () =>
  fc.assert(
    fc.property(fc.uint8Array(), fc.string({ maxLength: 12 }), (bytes, junk) => {
      const text = Buffer.from(bytes).toString("base64");
      expect(equalBytes(decodeBase64(text) ?? u8(0), bytes)).toBe(true);
      const decoded = decodeBase64(junk);
      if (decoded !== undefined) expect(Buffer.from(decoded).toString("base64")).toBe(junk);
      expect(decodeBase64("AB==")).toBeUndefined(); // stray bits
      expect(decodeBase64("A===")).toBeUndefined();
    }),
  ));
