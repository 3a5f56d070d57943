// Private key files made by the real ssh-keygen: every type and cipher, whole and damaged.

import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, readFileSync } from "node:fs";
import * as fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { type KeyInFile, openKeyFile } from "../../node/key-file.ts";
import { parseOpensshKey } from "../../node/openssh-key-file.ts";
import type { PrivateKey } from "../../node/private-key.ts";
import { nodeSshCrypto } from "../../node/ssh-crypto.ts";
import { concat, u32, utf8 } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { verifySignature } from "../../protocol/user-auth/signature.ts";
import { sshString } from "../../protocol/user-auth/ssh-wire.ts";
import { blobOf, hasOpenssh, makeScratch, sshKeygen, tellIfOpensshIsAbsent } from "../support/openssh.ts";
import { SoftwareSecurityKey } from "../support/software-security-key.ts";

const scratch = makeScratch();
afterAll(() => scratch.remove());
const read = (name: string): string => readFileSync(scratch.path(name), "utf8");
const open = (name: string): KeyInFile => openKeyFile(read(name), "FILE");
const hasOpenssl = spawnSync("openssl", ["version"]).status === 0;
const PASSPHRASE = "secret wörds";

async function signs(key: PrivateKey): Promise<boolean> {
  const holds = await verifySignature(nodeSshCrypto, key.key, utf8("text"), key.sign(utf8("text")));
  return holds !== undefined;
}

tellIfOpensshIsAbsent();

const TYPES = [
  ["ed25519", []],
  ["ecdsa", ["-b", "256"]],
  ["ecdsa", ["-b", "384"]],
  ["ecdsa", ["-b", "521"]],
  ["rsa", ["-b", "2048"]],
] as const;

describe.runIf(hasOpenssh).each(TYPES)("ssh-keygen -t %s %j", (type, bits) => {
  const name = `${type}${bits.join("")}`;

  test("in its own format, clear and encrypted", async () => {
    const line = sshKeygen(scratch.path(name), type, ...bits);
    const key = parseOpensshKey(read(name), "FILE");
    expect(key.publicKeyBlob).toEqual(blobOf(line));
    expect(key.comment).toBe("test key");
    expect(await signs(key)).toBe(true);
    execFileSync("ssh-keygen", ["-q", "-p", "-P", "", "-N", PASSPHRASE, "-a", "2", "-f", scratch.path(name)]);
    const locked = open(name);
    expect(locked).toMatchObject({ encrypted: true, inSecurityKey: false, publicKeyBlob: blobOf(line) });
    expect(await locked.unlock("")).toBeUndefined();
    expect(await locked.unlock("wrong")).toBeUndefined();
    const unlocked = await locked.unlock(PASSPHRASE);
    expect(unlocked?.publicKeyBlob).toEqual(blobOf(line));
    expect(unlocked !== undefined && (await signs(unlocked))).toBe(true);
    expect(() => parseOpensshKey(read(name), "FILE")).toThrow(
      /^FILE: this key is encrypted; load it into ssh-agent/,
    );
  });

  // OpenSSH keeps no Ed25519 keys in PEM.
  test.each(type === "ed25519" ? [] : ["PEM", "PKCS8"])("in %s, clear and encrypted", async (format) => {
    const file = `${name}-${format}`;
    const line = sshKeygen(scratch.path(file), type, ...bits, "-m", format);
    const key = await open(file).unlock("");
    expect(key?.publicKeyBlob).toEqual(blobOf(line));
    expect(key !== undefined && (await signs(key))).toBe(true);
    execFileSync("ssh-keygen", [
      "-q",
      "-p",
      "-P",
      "",
      "-N",
      PASSPHRASE,
      "-m",
      format,
      "-f",
      scratch.path(file),
    ]);
    const locked = open(file);
    expect(locked).toMatchObject({ encrypted: true, publicKeyBlob: undefined });
    expect(await locked.unlock("wrong")).toBeUndefined();
    expect((await locked.unlock(PASSPHRASE))?.publicKeyBlob).toEqual(blobOf(line));
  });
});

test
  .runIf(hasOpenssh)
  .each([
    "aes256-ctr",
    "aes192-ctr",
    "aes128-ctr",
    "aes256-cbc",
    "aes192-cbc",
    "aes128-cbc",
    "aes256-gcm@openssh.com",
    "aes128-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "3des-cbc",
  ])("a key under %s is unlocked by its passphrase, and by no other", async (cipher) => {
  const name = `cipher-${cipher}`;
  const line = sshKeygen(scratch.path(name), "ed25519", "-N", PASSPHRASE, "-Z", cipher, "-a", "3");
  const locked = open(name);
  expect(await locked.unlock(`${PASSPHRASE} `)).toBeUndefined();
  expect((await locked.unlock(PASSPHRASE))?.publicKeyBlob).toEqual(blobOf(line));
});

test.runIf(hasOpenssh)(
  "a key that takes many rounds leaves everything else its turn between them",
  async () => {
    const line = sshKeygen(scratch.path("rounds"), "ed25519", "-N", PASSPHRASE, "-a", "20");
    let turns = 0;
    let next = setImmediate(function turn() {
      turns++;
      next = setImmediate(turn);
    });
    const key = await open("rounds").unlock(PASSPHRASE);
    clearImmediate(next);
    expect(key?.publicKeyBlob).toEqual(blobOf(line));
    expect(turns).toBeGreaterThan(20);
  },
);

describe.runIf(hasOpenssl)("PKCS#8 by openssl", () => {
  const pkcs8 = (name: string, ...options: readonly string[]): string => {
    const clear = scratch.path("clear.pem");
    const sealed = scratch.path(name);
    execFileSync("openssl", [
      "genpkey",
      "-algorithm",
      "EC",
      "-pkeyopt",
      "ec_paramgen_curve:P-256",
      "-out",
      clear,
    ]);
    const args = ["pkcs8", "-topk8", "-in", clear, "-out", sealed, "-passout", `pass:${PASSPHRASE}`];
    execFileSync("openssl", [...args, ...options]);
    return name;
  };
  const clearBlob = () => openKeyFile(readFileSync(scratch.path("clear.pem"), "utf8"), "FILE").publicKeyBlob;
  test.each([
    ["aes-128-cbc", "hmacWithSHA256"],
    ["aes-192-cbc", "hmacWithSHA384"],
    ["aes-256-cbc", "hmacWithSHA512"],
    ["des3", "hmacWithSHA1"],
  ])("%s with %s is unlocked by its passphrase, and by no other", async (cipher, digest) => {
    const locked = open(pkcs8("sealed.pem", "-v2", cipher, "-v2prf", digest, "-iter", "5000"));
    expect(await locked.unlock("wrong")).toBeUndefined();
    expect((await locked.unlock(PASSPHRASE))?.publicKeyBlob).toEqual(clearBlob());
  });
  test("more rounds than anybody waits for, scrypt, and a damaged file are refused", async () => {
    const name = pkcs8("sealed.pem", "-v2", "aes-256-cbc", "-iter", "5000");
    const text = read(name);
    const der = Buffer.from(text.split("\n").slice(1, -2).join(""), "base64");
    const iterations = der.indexOf(Buffer.from([2, 2, 0x13, 0x88])); // INTEGER 5000
    expect(iterations).toBeGreaterThan(0);
    // INTEGER 2,000,001 is a byte longer, and so is each sequence around it: 30 82 lengths of two bytes, 30 of one.
    const grown = Buffer.concat([
      der.subarray(0, iterations),
      Buffer.from([2, 3, 0x1e, 0x84, 0x81]),
      der.subarray(iterations + 4),
    ]);
    for (const at of around(der, iterations)) grown[at] = (grown[at] ?? 0) + 1;
    const pem = (bytes: Uint8Array) =>
      `-----BEGIN ENCRYPTED PRIVATE KEY-----\n${Buffer.from(bytes).toString("base64")}\n-----END ENCRYPTED PRIVATE KEY-----\n`;
    await expect(openKeyFile(pem(grown), "FILE").unlock("x")).rejects.toThrow(/2000001 rounds/);
    await expect(openKeyFile(pem(der.subarray(1)), "FILE").unlock("x")).rejects.toThrow(/damaged/);
    await expect(open(pkcs8("scrypt.pem", "-scrypt")).unlock(PASSPHRASE)).rejects.toThrow(/not known/);
  });

  /** Where the last byte of each length is whose element holds this place. */
  function around(der: Uint8Array, place: number): number[] {
    const found: number[] = [];
    for (let at = 0; at < place; ) {
      const first = der[at + 1] ?? 0;
      const head = first < 0x80 ? 2 : 2 + (first & 0x7f);
      let length = 0;
      if (first < 0x80) length = first;
      else for (let i = at + 2; i < at + head; i++) length = length * 256 + (der[i] ?? 0);
      if (at + head + length > place && at + head <= place) {
        found.push(at + head - 1);
        at += head;
      } else at += head + length;
    }
    return found;
  }
});

test.runIf(hasOpenssh)("keys with comments of every length modulo the padding", () => {
  for (let length = 0; length < 9; length++) {
    sshKeygen(scratch.path(`plain${length}`), "ed25519", "-C", "c".repeat(length));
    expect(parseOpensshKey(read(`plain${length}`), "plain").comment).toBe("c".repeat(length));
  }
});

test.runIf(hasOpenssh)("what is wrong with a file that cannot be used is said", async () => {
  const line = sshKeygen(scratch.path("fine"));
  expect(() => openKeyFile(line, "FILE")).toThrow(/^FILE: this is a public key/);
  expect(() => openKeyFile("hello", "FILE")).toThrow(/^FILE: this is not an OpenSSH private key file/);
  expect(() => openKeyFile("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "FILE")).toThrow(
    /^FILE: the key file is damaged/,
  );
  execFileSync("ssh-keygen", ["-q", "-t", "dsa", "-f", scratch.path("dsa"), "-N", ""]);
  await expect(open("dsa").unlock("")).rejects.toThrow(/^FILE: keys of this type are not supported/);
});

const wrapped = (content: Uint8Array): string =>
  `-----BEGIN OPENSSH PRIVATE KEY-----\n${Buffer.from(content).toString("base64")}\n-----END OPENSSH PRIVATE KEY-----\n`;

/** A key file's envelope. */
function fileOf(
  publicKey: Uint8Array,
  privatePart: Uint8Array,
  { cipher = "none", derivation = "none", parameters = new Uint8Array(0), tag = new Uint8Array(0) } = {},
): string {
  return wrapped(
    concat(
      utf8("openssh-key-v1\0"),
      sshString(cipher),
      sshString(derivation),
      sshString(parameters),
      u32(1),
      sshString(publicKey),
      sshString(privatePart),
      tag,
    ),
  );
}

test("a security key's file has no key: the agent is named; nobody computes for hours; unknown ciphers are refused", async () => {
  const { blob } = new SoftwareSecurityKey("ed25519");
  const file = openKeyFile(fileOf(blob, new Uint8Array(16)), "FILE");
  expect(file).toMatchObject({ encrypted: false, inSecurityKey: true });
  await expect(file.unlock("")).rejects.toThrow(/in a security key; load it into ssh-agent/);
  const bcrypt = (rounds: number) => concat(sshString(new Uint8Array(16)), u32(rounds));
  const locked = (over: Parameters<typeof fileOf>[2]): KeyInFile =>
    openKeyFile(
      fileOf(blob, new Uint8Array(32), { cipher: "aes256-ctr", derivation: "bcrypt", ...over }),
      "FILE",
    );
  await expect(locked({ parameters: bcrypt(1_000_000) }).unlock("x")).rejects.toThrow(/1000000 rounds/);
  await expect(locked({ parameters: bcrypt(513) }).unlock("x")).rejects.toThrow(/513 rounds/);
  await expect(locked({ parameters: bcrypt(0) }).unlock("x")).rejects.toThrow(/damaged/);
  await expect(locked({ parameters: new Uint8Array(3) }).unlock("x")).rejects.toThrow(/damaged/);
  await expect(locked({ cipher: "rot13" }).unlock("x")).rejects.toThrow(
    /encrypted in a way that is not known/,
  );
  await expect(locked({ derivation: "none" }).unlock("x")).rejects.toThrow(
    /encrypted in a way that is not known/,
  );
  await expect(locked({ tag: new Uint8Array(16) }).unlock("x")).rejects.toThrow(/damaged/);
});

describe.runIf(hasOpenssh).each(TYPES)("a file of %s %j", (type, bits) => {
  test("with any byte changed, cut or added is refused or gives the same key", () => {
    const name = `damaged-${type}${bits.join("")}`;
    const line = sshKeygen(scratch.path(name), type, ...bits);
    const body = read(name).split("\n").slice(1, -2).join("");
    const bytes = Buffer.from(body, "base64");
    expect(parseOpensshKey(wrapped(bytes), "FILE").publicKeyBlob).toEqual(blobOf(line));
    const tryOut = (content: Uint8Array): void => {
      try {
        expect(parseOpensshKey(wrapped(content), "FILE").publicKeyBlob).toEqual(blobOf(line));
      } catch (error) {
        expect(error).toBeInstanceOf(SealttyError);
        expect(error).toHaveProperty("code", "bad-config");
      }
    };
    const step = bytes.length > 500 ? 7 : 1;
    for (let at = 0; at < bytes.length; at += step) {
      tryOut(bytes.map((byte, i) => (i === at ? byte ^ 0x01 : byte)));
      tryOut(bytes.map((byte, i) => (i === at ? byte ^ 0x80 : byte)));
      expect(() => parseOpensshKey(wrapped(bytes.subarray(0, at)), "FILE")).toThrow(/damaged/);
    }
    expect(() => parseOpensshKey(wrapped(Buffer.concat([bytes, Buffer.alloc(1)])), "FILE")).toThrow(
      /damaged/,
    );
  });
});

test("openKeyFile() throws nothing but `bad-config` on junk", async () => {
  const piece = fc.oneof(
    fc.string(),
    fc.constantFrom(
      "\n",
      "-----BEGIN OPENSSH PRIVATE KEY-----",
      "-----END OPENSSH PRIVATE KEY-----",
      "-----BEGIN RSA PRIVATE KEY-----",
      "-----END RSA PRIVATE KEY-----",
      "-----BEGIN ENCRYPTED PRIVATE KEY-----",
      "Proc-Type: 4,ENCRYPTED",
      "b3BlbnNzaC1rZXktdjEA",
    ),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(piece, { maxLength: 12 }), async (pieces) => {
      try {
        expect(await openKeyFile(pieces.join(""), "FILE").unlock("x")).toBeUndefined(); // of what says that it is encrypted
      } catch (error) {
        expect(error).toHaveProperty("code", "bad-config");
      }
    }),
  );
});

test.runIf(hasOpenssh)("ssh-keygen agrees on the public half", () => {
  sshKeygen(scratch.path("agreed"), "ecdsa");
  chmodSync(scratch.path("agreed"), 0o600);
  const theirs = execFileSync("ssh-keygen", ["-y", "-f", scratch.path("agreed")]).toString();
  expect(parseOpensshKey(read("agreed"), "FILE").publicKeyBlob).toEqual(blobOf(theirs));
});
