// User authentication against real ssh-keygen, and against an attacker at every bit.

import * as fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { concat, equalBytes, toHex, u8, utf8 } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { UserAuthFields } from "../../protocol/session/api.ts";
import { type AuthorizedKey, parseAuthorizedKeys } from "../../protocol/user-auth/authorized-keys.ts";
import { decodeBase64 } from "../../protocol/user-auth/base64.ts";
import { encodeEd25519Key, sshString } from "../../protocol/user-auth/ssh-wire.ts";
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
  return encodeSshsig({ publicKey, namespace, hash, signature: nodeSuite.ed25519Sign(key, toSign) });
}

const keyEntry = (key: Uint8Array): AuthorizedKey => ({
  keyType: "ssh-ed25519",
  blob: key,
  comment: "",
  line: 1,
});
const accepts = (
  sshsig: Uint8Array,
  over = fields,
  publicKey: Uint8Array = blob,
  keys = [keyEntry(blob)],
): boolean => verifyUserAuth(nodeSuite, { fields: over, publicKey, sshsig, authorizedKeys: keys });

const flipped = (bytes: Uint8Array, bit: number): Uint8Array =>
  bytes.map((byte, i) => (i === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte));

tellIfOpensshIsAbsent();

describe("with ssh-keygen", () => {
  test.runIf(hasOpenssh).each(["sha512", "sha256"] as const)(
    "verifyUserAuth() takes its %s signatures",
    (hash) => {
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
      expect(keys).toEqual([{ keyType: "ssh-ed25519", blob: key, comment: "test key", line: 2 }]);
      expect(accepts(sshsig, fields, key, [...keys])).toBe(true);
      expect(
        equalBytes(encodeSshsig({ ...decodeSshsig(sshsig), namespace: USER_AUTH_NAMESPACE }), sshsig),
      ).toBe(true);
      const other = signWithSshKeygen(scratch.path(`key-${hash}`), "file", userAuthMessage(fields), hash);
      expect(accepts(other, fields, key, [...keys])).toBe(false);
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

  test.runIf(hasOpenssh)("RSA and ECDSA keys are refused, as signature and as authorized key", () => {
    for (const type of ["rsa", "ecdsa"]) {
      const publicKeyLine = sshKeygen(scratch.path(type), type);
      const sshsig = signWithSshKeygen(scratch.path(type), USER_AUTH_NAMESPACE, userAuthMessage(fields));
      const key = blobOf(publicKeyLine);
      expect(accepts(sshsig, fields, key, [keyEntry(key)])).toBe(false);
      expect(parseAuthorizedKeys(publicKeyLine).refusedLines).toEqual([
        { line: 1, reason: "this version accepts only ssh-ed25519 keys" },
      ]);
    }
  });
});

describe("verifyUserAuth()", () => {
  test("takes a true signature by any of the user's keys, and by no other key", () => {
    expect(accepts(signed())).toBe(true);
    const stranger = encodeEd25519Key(nodeSuite.ed25519PublicKey(new Uint8Array(32).fill(8)));
    const strangers = signed(fields, { key: new Uint8Array(32).fill(8) });
    expect(accepts(signed(), fields, blob, [stranger, blob, stranger].map(keyEntry))).toBe(true);
    expect(accepts(signed(), fields, blob, [])).toBe(false);
    expect(accepts(signed(), fields, blob, [keyEntry(stranger)])).toBe(false);
    expect(accepts(strangers, fields, stranger)).toBe(false);
    expect(accepts(strangers, fields, blob)).toBe(false); // named one key, signed with another
    expect(accepts(signed(), fields, stranger, [blob, stranger].map(keyEntry))).toBe(false);
  });

  test("does the same work for a key that is not authorized: the signature is checked all the same", () => {
    let checked = 0;
    const counting = {
      ...nodeSuite,
      ed25519Verify: (...args: Parameters<typeof nodeSuite.ed25519Verify>) => {
        checked++;
        return nodeSuite.ed25519Verify(...args);
      },
    };
    for (const authorizedKeys of [[], [keyEntry(blob)]]) {
      verifyUserAuth(counting, { fields, publicKey: blob, sshsig: signed(), authorizedKeys });
    }
    expect(checked).toBe(2);
  });

  test("refuses every flipped bit of the signature blob and of the key", () => {
    const sshsig = signed();
    for (let bit = 0; bit < sshsig.length * 8; bit++) {
      expect(accepts(flipped(sshsig, bit)), `bit ${bit}`).toBe(false);
    }
    for (let bit = 0; bit < blob.length * 8; bit++) {
      const key = flipped(blob, bit);
      expect(accepts(sshsig, fields, key, [blob, key].map(keyEntry)), `key bit ${bit}`).toBe(false);
    }
  });

  test("refuses a blob cut anywhere, with a byte too many, or with one inside a field", () => {
    const sshsig = signed();
    for (let length = 0; length < sshsig.length; length++)
      expect(accepts(sshsig.subarray(0, length))).toBe(false);
    expect(accepts(concat(sshsig, u8(0)))).toBe(false);
    expect(accepts(concat(sshsig, new Uint8Array(100_000)))).toBe(false);
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
    expect(accepts(rebuilt("", USER_AUTH_NAMESPACE, none))).toBe(true);
    expect(accepts(rebuilt("x", USER_AUTH_NAMESPACE, none))).toBe(false);
    expect(accepts(rebuilt("", `${USER_AUTH_NAMESPACE}\0`, none))).toBe(false);
    expect(accepts(rebuilt("", "", none))).toBe(false);
    expect(accepts(rebuilt("", USER_AUTH_NAMESPACE, u8(0)))).toBe(false);
    expect(accepts(rebuilt("", USER_AUTH_NAMESPACE, none, 2))).toBe(false);
  });

  test("refuses a signature for another handshake, evidence, user, service or namespace", () => {
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
      expect(accepts(signed(over))).toBe(false);
      expect(accepts(signed(), over)).toBe(false);
      expect(accepts(signed(over), over)).toBe(true);
    }
    for (const namespace of ["file", "git", "auth@sealtty2", "auth@sealtt", "Auth@sealtty"]) {
      expect(accepts(signed(fields, { namespace }))).toBe(false);
    }
  });

  test("refuses, and never throws on, any user, service, key and blob of a client", () =>
    fc.assert(
      fc.property(
        fc.oneof(fc.string(), fc.constant("alice")),
        fc.oneof(fc.string(), fc.constant("sealtty-session")),
        fc.oneof(fc.uint8Array({ maxLength: 80 }), fc.constant(blob)),
        fc.oneof(
          fc.uint8Array({ maxLength: 400 }),
          fc.uint8Array({ maxLength: 200 }).map((junk) => concat(signed().subarray(0, junk.length), junk)),
        ),
        (user, service, publicKey, sshsig) => {
          expect(accepts(sshsig, { ...fields, user, service }, publicKey)).toBe(false);
        },
      ),
      { numRuns: 500 },
    ));

  test("an Ed25519 key of small order, even if authorized, signs for nobody", () => {
    const publicKey = encodeEd25519Key(concat(u8(1), new Uint8Array(31)));
    const signature = concat(u8(1), new Uint8Array(63)); // R neutral, S = 0: fits every message
    const sshsig = encodeSshsig({ publicKey, namespace: USER_AUTH_NAMESPACE, hash: "sha512", signature });
    expect(accepts(sshsig, fields, publicKey, [keyEntry(publicKey)])).toBe(false);
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

test("sshsigToBeSigned() refuses an empty namespace, verifySshsig() checks what it is given", () => {
  expect(() => sshsigToBeSigned(nodeSuite, "", "sha512", utf8("x"))).toThrow(SealttyError);
  const expected = { publicKey: blob, namespace: USER_AUTH_NAMESPACE, message: userAuthMessage(fields) };
  expect(verifySshsig(nodeSuite, signed(), expected)).toBe(true);
  expect(verifySshsig(nodeSuite, signed(), { ...expected, message: utf8("other") })).toBe(false);
});

describe("parseAuthorizedKeys()", () => {
  test("takes plain lines with their comment and line number, skips blank lines and comments", () => {
    const other = line.replace("me@here", "two  words ");
    const { keys, refusedLines } = parseAuthorizedKeys(
      `\n# a comment\r\n \t\n${line}\r\n\t ${other}\n${line.slice(0, -8)}`,
    );
    expect(refusedLines).toEqual([]);
    expect(keys.map((key) => [key.line, key.comment])).toEqual([
      [4, "me@here"],
      [5, "two  words"],
      [6, ""],
    ]);
    for (const key of keys) expect(key.blob).toEqual(new Uint8Array(blob));
  });

  const options = "it has options, and this version understands none";
  const base64 = line.split(" ")[1] ?? "";
  test.each([
    [`restrict ${line}`, options],
    [`command="echo \\"a b\\"",no-pty\t${line}`, options],
    [`from="*" ${line.replace("ssh-ed25519", "ssh-rsa")}`, options],
    [`cert-authority ${line}`, options],
    [`command="unclosed ${line}`, "not a public key line"],
    [`@cert-authority * ${line}`, "not a public key line"],
    [base64, "not a public key line"],
    ["ssh-ed25519", "the key is malformed"],
    ["ssh-ed25519 ", "the key is malformed"],
    [`ssh-ed25519 ${base64.slice(0, -4)}`, "the key is malformed"],
    [`ssh-ed25519 ${base64}AAAA`, "the key is malformed"],
    [`ssh-ed25519 ${base64.slice(0, 10)}\u{fffd}${base64.slice(11)}`, "the key is malformed"],
    [`ssh-ed25519,${base64}`, "not a public key line"],
    [`Ssh-Ed25519 ${base64}`, "not a public key line"],
    [`sk-ssh-ed25519@openssh.com ${base64}`, "this version accepts only ssh-ed25519 keys"],
    [`${line}${" x".repeat(4100)}`, "longer than 8 KiB"],
    [`${line} ${"ä".repeat(4090)}`, "longer than 8 KiB"],
  ])("refuses the line %j", (text, reason) => {
    expect(parseAuthorizedKeys(`${text}\n${line}`)).toEqual({
      keys: [{ keyType: "ssh-ed25519", blob: new Uint8Array(blob), comment: "me@here", line: 2 }],
      refusedLines: [{ line: 1, reason }],
    });
  });

  test("never throws on junk, and takes only well-formed keys out of it", () => {
    const piece = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.constantFrom("\n", " ", '"', "\\", "ssh-ed25519", "restrict", base64, line, "#", "\0", "\r"),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 30 }), (pieces) => {
        const { keys, refusedLines } = parseAuthorizedKeys(pieces.join(""));
        for (const key of keys) expect(key.blob.length).toBe(51);
        const lines = [...keys, ...refusedLines].map((found) => found.line);
        expect(new Set(lines).size).toBe(lines.length);
      }),
      { numRuns: 1000 },
    );
  });
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
