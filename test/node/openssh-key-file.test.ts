// Key files made by the real ssh-keygen, whole and damaged.

import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import * as fc from "fast-check";
import { afterAll, expect, test } from "vitest";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { parseOpensshKey, publicKeyOfKeyFile } from "../../node/openssh-key-file.ts";
import { utf8 } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { decodeEd25519Key } from "../../protocol/user-auth/ssh-wire.ts";
import { blobOf, hasOpenssh, makeScratch, sshKeygen, tellIfOpensshIsAbsent } from "../support/openssh.ts";

const scratch = makeScratch();
afterAll(() => scratch.remove());
const read = (name: string): string => readFileSync(scratch.path(name), "utf8");

tellIfOpensshIsAbsent();

test.runIf(hasOpenssh)(
  "parseOpensshKey() reads keys with comments of every length modulo the padding",
  () => {
    for (let length = 0; length < 9; length++) {
      const line = sshKeygen(scratch.path(`plain${length}`), "ed25519", "-C", "c".repeat(length));
      const key = parseOpensshKey(read(`plain${length}`), "plain");
      expect(key.publicKeyBlob).toEqual(blobOf(line));
      expect(key.comment).toBe("c".repeat(length));
      const publicKey = decodeEd25519Key(key.publicKeyBlob);
      expect(nodeSuite.ed25519Verify(publicKey, utf8("text"), key.sign(utf8("text")))).toBe(true);
      expect(publicKeyOfKeyFile(read(`plain${length}`))).toEqual(blobOf(line));
      expect(publicKeyOfKeyFile(`${line}\n`)).toEqual(blobOf(line));
    }
  },
);

test.runIf(hasOpenssh)("parseOpensshKey() says what is wrong with a file it cannot use", () => {
  const line = sshKeygen(scratch.path("locked"), "ed25519", "-N", "secret words");
  sshKeygen(scratch.path("gcm"), "ed25519", "-N", "secret words", "-Z", "aes256-gcm@openssh.com");
  sshKeygen(scratch.path("rsa"), "rsa", "-b", "2048");
  sshKeygen(scratch.path("pem"), "ecdsa", "-m", "PEM");
  expect(() => parseOpensshKey(read("locked"), "FILE")).toThrow(
    /^FILE: this key is encrypted; load it into ssh-agent/,
  );
  expect(() => parseOpensshKey(read("gcm"), "FILE")).toThrow(/this key is encrypted/);
  expect(() => parseOpensshKey(read("rsa"), "FILE")).toThrow(/its type is ssh-rsa; only ssh-ed25519/);
  expect(() => parseOpensshKey(read("pem"), "FILE")).toThrow(/not OpenSSH's own key format/);
  expect(() => parseOpensshKey(line, "FILE")).toThrow(/this is a public key/);
  expect(() => parseOpensshKey("hello", "FILE")).toThrow(/not an OpenSSH private key file/);
  expect(publicKeyOfKeyFile(read("locked"))).toEqual(blobOf(line));
  expect(publicKeyOfKeyFile(read("gcm"))).toBeDefined();
  expect(publicKeyOfKeyFile(read("rsa"))).toBeUndefined();
});

test.runIf(hasOpenssh)("a file with any byte changed, cut or added is refused or gives the same key", () => {
  const line = sshKeygen(scratch.path("damaged"));
  const text = read("damaged");
  const body = text.split("\n").slice(1, -2).join("");
  const bytes = Buffer.from(body, "base64");
  const wrapped = (content: Uint8Array): string =>
    `-----BEGIN OPENSSH PRIVATE KEY-----\n${Buffer.from(content).toString("base64")}\n-----END OPENSSH PRIVATE KEY-----\n`;
  expect(parseOpensshKey(wrapped(bytes), "FILE").publicKeyBlob).toEqual(blobOf(line));
  const tryOut = (content: Uint8Array): void => {
    try {
      expect(parseOpensshKey(wrapped(content), "FILE").publicKeyBlob).toEqual(blobOf(line));
    } catch (error) {
      expect(error).toBeInstanceOf(SealttyError);
      expect(error).toHaveProperty("code", "bad-config");
    }
  };
  for (let at = 0; at < bytes.length; at++) {
    tryOut(bytes.map((byte, i) => (i === at ? byte ^ 0x01 : byte)));
    tryOut(bytes.map((byte, i) => (i === at ? byte ^ 0x80 : byte)));
    expect(() => parseOpensshKey(wrapped(bytes.subarray(0, at)), "FILE")).toThrow(/damaged/);
  }
  expect(() => parseOpensshKey(wrapped(Buffer.concat([bytes, Buffer.alloc(1)])), "FILE")).toThrow(/damaged/);
});

test("parseOpensshKey() throws nothing but `bad-config` on junk", () => {
  const piece = fc.oneof(
    fc.string(),
    fc.constantFrom(
      "\n",
      "-----BEGIN OPENSSH PRIVATE KEY-----",
      "-----END OPENSSH PRIVATE KEY-----",
      "b3BlbnNzaC1rZXktdjEA",
    ),
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
      expect(() => parseOpensshKey(pieces.join(""), "FILE")).toThrow(
        expect.objectContaining({ code: "bad-config" }),
      );
    }),
  );
});

test.runIf(hasOpenssh)("ssh-keygen agrees on the public half", () => {
  sshKeygen(scratch.path("agreed"));
  const theirs = execFileSync("ssh-keygen", ["-y", "-f", scratch.path("agreed")]).toString();
  expect(parseOpensshKey(read("agreed"), "FILE").publicKeyBlob).toEqual(blobOf(theirs));
});
