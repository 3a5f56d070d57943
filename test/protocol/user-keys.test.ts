// Users' keys of every type, against the real ssh-keygen in both directions, and against an attacker at every bit.

import { readFileSync } from "node:fs";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openKeyFile } from "../../node/key-file.ts";
import { nodeSshCrypto } from "../../node/ssh-crypto.ts";
import { concat, Reader, u8, utf8 } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { decodeKeyOrCertificate } from "../../protocol/user-auth/certificate.ts";
import { decodePublicKey, encodePublicKey, KEY_TYPES, typeOf } from "../../protocol/user-auth/public-key.ts";
import { UNRESTRICTED } from "../../protocol/user-auth/restrictions.ts";
import { verifySignature } from "../../protocol/user-auth/signature.ts";
import { readMpint, sshMpint, sshString } from "../../protocol/user-auth/ssh-wire.ts";
import { decodeSshsig } from "../../protocol/user-auth/sshsig.ts";
import { USER_AUTH_NAMESPACE } from "../../protocol/user-auth/user-auth-message.ts";
import {
  blobOf,
  hasOpenssh,
  makeScratch,
  signWithSshKeygen,
  sshKeygen,
  sshKeygenAccepts,
  tellIfOpensshIsAbsent,
} from "../support/openssh.ts";
import { SoftwareSecurityKey, TOUCHED, VERIFIED } from "../support/software-security-key.ts";
import { attempt, MESSAGE, sshsigOf, toBeSigned } from "../support/user-attempt.ts";

const scratch = makeScratch();
afterAll(() => scratch.remove());
tellIfOpensshIsAbsent();

const flipped = (bytes: Uint8Array, bit: number): Uint8Array =>
  bytes.map((byte, i) => (i === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte));

describe.runIf(hasOpenssh).each([
  ["ed25519", []],
  ["ecdsa", ["-b", "256"]],
  ["ecdsa", ["-b", "384"]],
  ["ecdsa", ["-b", "521"]],
  ["rsa", ["-b", "2048"]],
  ["rsa", ["-b", "4096"]],
] as const)("ssh-keygen -t %s %j", (type, bits) => {
  const file = scratch.path(`${type}${bits.join("")}`);
  let line: string;
  let blob: Uint8Array;
  beforeAll(() => {
    line = sshKeygen(file, type, ...bits);
    blob = blobOf(line);
  });

  test.each(["sha512", "sha256"] as const)(
    "its own %s signature lets the user in, and for nothing else",
    async (hash) => {
      const sshsig = signWithSshKeygen(file, USER_AUTH_NAMESPACE, MESSAGE, hash);
      const grant = await attempt(`# mine\n${line}\n`, blob, sshsig);
      expect(grant).toEqual({ key: nodeSshCrypto.suite.sha256(blob), restrictions: UNRESTRICTED });
      expect(await attempt("", blob, sshsig)).toBeUndefined();
      const forFiles = signWithSshKeygen(file, "file", MESSAGE, hash);
      expect(await attempt(line, blob, forFiles)).toBeUndefined();
      const other = signWithSshKeygen(file, USER_AUTH_NAMESPACE, flipped(MESSAGE, 400), hash);
      expect(await attempt(line, blob, other)).toBeUndefined();
    },
  );

  test("ssh-keygen takes a signature by the key file as we read it, and no other", async () => {
    const key = await openKeyFile(readFileSync(file, "utf8"), file).unlock("");
    if (key === undefined) throw new Error("locked");
    expect(key.publicKeyBlob).toEqual(blob);
    expect(key.comment).toBe("test key");
    const sshsig = sshsigOf(blob, key.sign(toBeSigned()));
    const check = (message: Uint8Array, namespace = USER_AUTH_NAMESPACE): boolean =>
      sshKeygenAccepts(scratch.path("check"), line, namespace, message, sshsig);
    expect(check(MESSAGE)).toBe(true);
    expect(check(flipped(MESSAGE, 3))).toBe(false);
    expect(check(MESSAGE, "file")).toBe(false);
    expect(await attempt(line, blob, sshsig)).toBeDefined();
  });

  test("no changed bit of its signature is taken", async () => {
    const sshsig = signWithSshKeygen(file, USER_AUTH_NAMESPACE, MESSAGE);
    const step = sshsig.length > 500 ? 31 : 3; // prime to the bits of a byte
    for (let bit = 0; bit < sshsig.length * 8; bit += step)
      expect(await attempt(line, blob, flipped(sshsig, bit)), `bit ${bit}`).toBeUndefined();
    for (const length of [0, 1, 10, sshsig.length - 1])
      expect(await attempt(line, blob, sshsig.subarray(0, length))).toBeUndefined();
    expect(await attempt(line, blob, concat(sshsig, u8(0)))).toBeUndefined();
  });
});

test.runIf(hasOpenssh)("an RSA signature with SHA-1, or of another key's type, is none", async () => {
  const line = sshKeygen(scratch.path("sha1"), "rsa", "-b", "2048");
  const key = await openKeyFile(readFileSync(scratch.path("sha1"), "utf8"), "FILE").unlock("");
  if (key === undefined) throw new Error("locked");
  const reader = new Reader(key.sign(toBeSigned()), "signature");
  expect(new TextDecoder().decode(reader.lv32(64))).toBe("rsa-sha2-512");
  const raw = reader.lv32(1024);
  for (const name of ["ssh-rsa", "rsa-sha2-256", "ssh-ed25519", "", "rsa-sha2-512-cert-v01@openssh.com"]) {
    const signature = concat(sshString(name), sshString(raw));
    expect(
      await attempt(line, key.publicKeyBlob, sshsigOf(key.publicKeyBlob, signature)),
      name,
    ).toBeUndefined();
  }
  const good = concat(sshString("rsa-sha2-512"), sshString(raw));
  expect(await attempt(line, key.publicKeyBlob, sshsigOf(key.publicKeyBlob, good))).toBeDefined();
  const short = concat(sshString("rsa-sha2-512"), sshString(raw.subarray(1)));
  expect(await attempt(line, key.publicKeyBlob, sshsigOf(key.publicKeyBlob, short))).toBeUndefined();
});

describe.each(["ed25519", "ecdsa"] as const)("a security key (%s, a double in software)", (kind) => {
  const key = new SoftwareSecurityKey(kind);
  const { blob, line } = key;
  const signed = (flags: number): Uint8Array => sshsigOf(blob, key.sign(toBeSigned(), { flags }));

  test.runIf(hasOpenssh)("ssh-keygen takes its signatures: the double has the true form", () => {
    const accepted = (sshsig: Uint8Array): boolean =>
      sshKeygenAccepts(scratch.path("check"), line, USER_AUTH_NAMESPACE, MESSAGE, sshsig);
    expect(accepted(signed(TOUCHED))).toBe(true);
    expect(accepted(flipped(signed(TOUCHED), 8 * 200))).toBe(false);
  });

  test("must have been touched, unless its line says no-touch-required", async () => {
    expect(await attempt(line, blob, signed(TOUCHED))).toBeDefined();
    expect(await attempt(line, blob, signed(0))).toBeUndefined();
    expect(await attempt(`no-touch-required ${line}`, blob, signed(0))).toBeDefined();
    expect(await attempt(`no-touch-required,touch-required ${line}`, blob, signed(0))).toBeUndefined();
  });

  test("must have verified its owner where its line says verify-required", async () => {
    const strict = `verify-required ${line}`;
    expect(await attempt(strict, blob, signed(TOUCHED))).toBeUndefined();
    expect(await attempt(strict, blob, signed(TOUCHED | VERIFIED))).toBeDefined();
    expect(await attempt(strict, blob, signed(VERIFIED))).toBeUndefined();
  });

  test("no changed bit is taken: flags and counter are signed, too", async () => {
    const sshsig = signed(TOUCHED);
    for (let bit = 0; bit < sshsig.length * 8; bit += 3)
      expect(await attempt(line, blob, flipped(sshsig, bit)), `bit ${bit}`).toBeUndefined();
  });

  test("signs for its application only", async () => {
    const signature = key.sign(toBeSigned());
    const { key: plain } = decodeKeyOrCertificate(blob);
    if (!("application" in plain)) throw new Error("no security key");
    const other = encodePublicKey({ ...plain, application: utf8("ssh:other") });
    const otherLine = `${typeOf(plain)} ${Buffer.from(other).toString("base64")}`;
    expect(await attempt(otherLine, other, sshsigOf(other, signature))).toBeUndefined();
  });
});

test.runIf(hasOpenssh)("verify-required on a key that cannot show it lets nobody in", async () => {
  const line = sshKeygen(scratch.path("plain"));
  const sshsig = signWithSshKeygen(scratch.path("plain"), USER_AUTH_NAMESPACE, MESSAGE);
  expect(await attempt(line, blobOf(line), sshsig)).toBeDefined();
  expect(await attempt(`verify-required ${line}`, blobOf(line), sshsig)).toBeUndefined();
});

test.runIf(hasOpenssh)("of two lines with one key the first counts that is not over", async () => {
  const line = sshKeygen(scratch.path("twice"));
  const sshsig = signWithSshKeygen(scratch.path("twice"), USER_AUTH_NAMESPACE, MESSAGE);
  const grant = async (lines: string) => (await attempt(lines, blobOf(line), sshsig))?.restrictions;
  expect(await grant(`command="a" ${line}\n${line}`)).toEqual({
    ...UNRESTRICTED,
    portForwarding: false,
    command: "a",
  });
  expect(await grant(`${line}\ncommand="a" ${line}`)).toEqual(UNRESTRICTED);
  expect(await grant(`expiry-time="20260614Z" ${line}`)).toBeUndefined();
  expect(await grant(`expiry-time="20260614Z" ${line}\nno-pty ${line}`)).toEqual({
    ...UNRESTRICTED,
    pty: false,
  });
  expect(await grant(`expiry-time="20260616Z" ${line}`)).toEqual({
    ...UNRESTRICTED,
    expires: Date.UTC(2026, 5, 16),
  });
  expect(await grant(`cert-authority ${line}`)).toBeUndefined(); // it signs certificates, and lets nobody in itself
});

describe("decodePublicKey(), readMpint(), verifySignature()", () => {
  test("every key has one form: what is decoded encodes to the same bytes", () => {
    const name = fc.constantFrom(...KEY_TYPES, "ssh-dss", "").map((type) => sshString(type));
    const field = fc.oneof(
      fc.uint8Array({ maxLength: 300 }).map(sshString),
      fc.uint8Array({ minLength: 32, maxLength: 32 }).map(sshString),
      fc.uint8Array({ minLength: 64, maxLength: 64 }).map((point) => sshString(concat(u8(4), point))),
      fc.constantFrom("nistp256", "nistp384", "nistp521", "ssh:").map((text) => sshString(text)),
      fc.uint8Array({ minLength: 250, maxLength: 260 }).map(sshMpint),
      fc.constant(sshMpint(Uint8Array.of(1, 0, 1))),
      fc.uint8Array({ maxLength: 8 }),
    );
    let decoded = 0;
    fc.assert(
      fc.property(name, fc.array(field, { maxLength: 4 }), (type, fields) => {
        const blob = concat(type, ...fields);
        try {
          const key = decodePublicKey(blob);
          decoded++;
          expect(encodePublicKey(key)).toEqual(blob);
        } catch (error) {
          expect(error).toBeInstanceOf(SealttyError);
          expect(error).toHaveProperty("code", "peer-misbehaved");
        }
      }),
      { numRuns: 20_000 },
    );
    expect(decoded).toBeGreaterThan(0);
  });

  test("a number has one form", () => {
    const read = (bytes: readonly number[], limit = 4): Uint8Array => {
      const reader = new Reader(Uint8Array.from(bytes), "number");
      const number = readMpint(reader, limit);
      reader.end();
      return number;
    };
    expect(read([0, 0, 0, 1, 5])).toEqual(Uint8Array.of(5));
    expect(read([0, 0, 0, 2, 0, 0x80])).toEqual(Uint8Array.of(0x80));
    expect(read([0, 0, 0, 4, 1, 2, 3, 4])).toEqual(Uint8Array.of(1, 2, 3, 4));
    for (const bad of [
      [0, 0, 0, 0], // zero
      [0, 0, 0, 1, 0],
      [0, 0, 0, 1, 0x80], // negative
      [0, 0, 0, 2, 0, 5], // longer than needed
      [0, 0, 0, 5, 1, 2, 3, 4, 5], // too large
      [0, 0, 0, 6, 0, 0x80, 2, 3, 4, 5],
      [0, 0, 0, 2, 1],
    ]) {
      expect(() => read(bad), String(bad)).toThrow(SealttyError);
    }
  });

  test("no junk is a signature, and none throws", async () => {
    const keys = [new SoftwareSecurityKey("ed25519").key, new SoftwareSecurityKey("ecdsa").key];
    const names = fc.constantFrom(
      "sk-ssh-ed25519@openssh.com",
      "sk-ecdsa-sha2-nistp256@openssh.com",
      "webauthn-sk-ecdsa-sha2-nistp256@openssh.com",
    );
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...keys),
        names.map((name) => sshString(name)),
        fc.array(
          fc.oneof(fc.uint8Array({ maxLength: 100 }), fc.uint8Array({ maxLength: 300 }).map(sshString)),
          {
            maxLength: 6,
          },
        ),
        async (key, name, rest) => {
          expect(await verifySignature(nodeSshCrypto, key, utf8("x"), concat(name, ...rest))).toBeUndefined();
        },
      ),
      { numRuns: 1000 },
    );
  });

  test("decodeSshsig() throws nothing but peer-misbehaved, and takes nothing longer than its bound", () => {
    const key = new SoftwareSecurityKey("ecdsa");
    const good = sshsigOf(key.blob, key.sign(toBeSigned()));
    expect(decodeSshsig(good).publicKey).toEqual(key.blob);
    fc.assert(
      fc.property(fc.nat(good.length), fc.uint8Array({ maxLength: 40 }), (at, junk) => {
        try {
          decodeSshsig(concat(good.subarray(0, at), junk, good.subarray(at)));
        } catch (error) {
          expect(error).toHaveProperty("code", "peer-misbehaved");
        }
      }),
    );
    expect(() => decodeSshsig(sshsigOf(key.blob, new Uint8Array(9000)))).toThrow(SealttyError);
  });
});
