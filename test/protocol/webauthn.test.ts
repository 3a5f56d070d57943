// Passkeys: signatures as a page makes them, checked for what the browser says beside the signature, and by ssh-keygen.

import * as fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { concat, u8, utf8 } from "../../protocol/bytes.ts";
import { decodeBase64, encodeBase64, encodeBase64Url } from "../../protocol/user-auth/base64.ts";
import { USER_AUTH_NAMESPACE } from "../../protocol/user-auth/user-auth-message.ts";
import {
  isAllowedOrigin,
  isHostOf,
  isOrigin,
  isOriginPattern,
  originOfClientData,
} from "../../protocol/user-auth/webauthn.ts";
import { hasOpenssh, makeScratch, sshKeygenAccepts, tellIfOpensshIsAbsent } from "../support/openssh.ts";
import {
  SoftwareSecurityKey,
  TOUCHED,
  VERIFIED,
  type WebAuthnOptions,
} from "../support/software-security-key.ts";
import { attempt, MESSAGE, sshsigOf, toBeSigned } from "../support/user-attempt.ts";

const scratch = makeScratch();
afterAll(() => scratch.remove());
tellIfOpensshIsAbsent();

const ORIGIN = "http://localhost:8743";
const ALLOWED = { passkeyOrigins: ["http://localhost:*"] };
const challenge = encodeBase64Url(toBeSigned());
const data = (rest: string, type = "webauthn.get", origin = ORIGIN): string =>
  `{"type":"${type}","challenge":"${challenge}","origin":"${origin}"${rest}}`;

describe("a passkey (a double in software)", () => {
  const key = new SoftwareSecurityKey("ecdsa", "localhost");
  const { blob, line } = key;
  const judge = (options?: WebAuthnOptions, lines = line, over = ALLOWED): ReturnType<typeof attempt> =>
    attempt(lines, blob, sshsigOf(blob, key.webauthn(toBeSigned(), options)), over);

  test.runIf(hasOpenssh)("ssh-keygen takes its signatures: the double has the true form", () => {
    const accepted = (options?: WebAuthnOptions): boolean => {
      const sshsig = sshsigOf(blob, key.webauthn(toBeSigned(), options));
      return sshKeygenAccepts(scratch.path("check"), line, USER_AUTH_NAMESPACE, MESSAGE, sshsig);
    };
    expect(accepted()).toBe(true);
    expect(accepted({ flags: TOUCHED | 0x80, extensions: utf8("\xa0") })).toBe(true);
    expect(accepted({ clientData: data("", "webauthn.create") })).toBe(false);
  });

  test("lets its user in from a page of an origin that the guest's configuration names", async () => {
    expect(await judge()).toMatchObject({ restrictions: { pty: true } });
    expect(await judge({}, line, { passkeyOrigins: [ORIGIN] })).toBeDefined();
    expect(await judge({}, line, { passkeyOrigins: ["http://localhost:8744"] })).toBeUndefined();
    expect(await judge({}, line, { passkeyOrigins: [] })).toBeUndefined();
    expect(await judge({ origin: "http://localhost:1" })).toBeDefined();
    expect(await judge({ origin: "https://localhost:8743" })).toBeUndefined();
    expect(await judge({ origin: "http://localhost.evil.example:8743" })).toBeUndefined();
    expect(await judge({}, "")).toBeUndefined();
  });

  test("the owner must have touched and verified, whatever the line says", async () => {
    expect(await judge({ flags: TOUCHED })).toBeUndefined();
    expect(await judge({ flags: VERIFIED })).toBeUndefined();
    expect(await judge({ flags: VERIFIED }, `no-touch-required ${line}`)).toBeUndefined();
    expect(await judge({ flags: 0x1d })).toBeDefined(); // backed up, too
  });

  test("attested data, or extensions that the flags do not announce, are refused", async () => {
    expect(await judge({ flags: 0x45 })).toBeUndefined();
    expect(await judge({ flags: 0x85 })).toBeUndefined();
    expect(await judge({ extensions: u8(0xa0) })).toBeUndefined();
    expect(await judge({ flags: 0x85, extensions: u8(0xa0) })).toBeDefined();
  });

  test.each([
    ["", true],
    [',"crossOrigin":false', true],
    [',"crossOrigin":false,"other":"do not compare this with a template"', true],
    [',"crossOrigin":true', false],
    [',"crossOrigin":"false"', false],
    [',"crossOrigin":null', false],
    [',"crossOrigin":false,"topOrigin":"https://evil.example"', false],
    [',"crossOrigin":false,"crossOrigin":true', false],
    [',"crossOrigin":true,"crossOrigin":false', false],
    [`,"type":"webauthn.create"`, false],
    [`,"origin":"http://localhost:1"`, false],
    [",", false],
    ["}", false],
  ])("client data that goes on with %j: %s", async (rest, good) => {
    expect((await judge({ clientData: data(rest) })) !== undefined).toBe(good);
  });

  test.each([
    data("", "webauthn.create"),
    data("", "payment.get"),
    data("").replace(challenge, `${challenge}A`),
    data("").replace(challenge, challenge.slice(1)),
    data("").replace(challenge, `${challenge}=`),
    data("", "webauthn.get", "http://localhost:1"),
    data("").replace("{", "{ "),
    `{"challenge":"${challenge}","type":"webauthn.get","origin":"${ORIGIN}"}`,
    "",
    "{}",
  ])("client data %j is not what was asked for", async (clientData) => {
    expect(await judge({ clientData })).toBeUndefined();
  });

  test("the key's RP ID must be the page's host, or a domain above it", async () => {
    const mine = new SoftwareSecurityKey("ecdsa", "example.com");
    const judgeMine = (origin: string): ReturnType<typeof attempt> =>
      attempt(mine.line, mine.blob, sshsigOf(mine.blob, mine.webauthn(toBeSigned(), { origin })), {
        passkeyOrigins: [origin],
      });
    expect(await judgeMine("https://example.com")).toBeDefined();
    expect(await judgeMine("https://console.example.com")).toBeDefined();
    expect(await judgeMine("https://badexample.com")).toBeUndefined();
    expect(await judgeMine("https://com")).toBeUndefined();
  });

  test("a passkey's plain signature and a security key's page are two things: one does not pass as the other", async () => {
    const plain = key.sign(utf8(data("")), { flags: TOUCHED | VERIFIED }); // what an authenticator signs for a page
    expect(await attempt(line, blob, sshsigOf(blob, plain), ALLOWED)).toBeUndefined();
    const ed = new SoftwareSecurityKey("ed25519", "localhost"); // there is no such form for Ed25519
    const signature = concat(key.webauthn(toBeSigned()));
    expect(await attempt(ed.line, ed.blob, sshsigOf(ed.blob, signature), ALLOWED)).toBeUndefined();
  });

  test("no changed bit is taken", async () => {
    const sshsig = sshsigOf(blob, key.webauthn(toBeSigned()));
    expect(await attempt(line, blob, sshsig, ALLOWED)).toBeDefined();
    for (let bit = 0; bit < sshsig.length * 8; bit += 3) {
      const changed = sshsig.map((byte, i) => (i === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte));
      expect(await attempt(line, blob, changed, ALLOWED), `bit ${bit}`).toBeUndefined();
    }
  });
});

test("originOfClientData() takes no junk, and throws nothing", () =>
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), fc.nat(400), fc.string(), (junk, at, origin) => {
      const good = utf8(data(""));
      const clientData = concat(good.subarray(0, at), junk, good.subarray(at + junk.length));
      const found = originOfClientData({ origin: utf8(ORIGIN), clientData }, toBeSigned());
      if (found !== undefined) expect(clientData.subarray(0, good.length - 1)).toEqual(good.subarray(0, -1));
      expect(originOfClientData({ origin: utf8(origin), clientData: good }, toBeSigned())).toBeUndefined();
    }),
  ));

test("origins and their patterns", () => {
  for (const good of [
    "http://localhost",
    "http://localhost:8743",
    "https://a.example",
    "https://a-b.example:65535",
  ])
    expect(isOrigin(good), good).toBe(true);
  for (const bad of [
    "",
    "localhost",
    "http://localhost/",
    "http://localhost:0",
    "http://Localhost",
    "ftp://localhost",
    "http://a b",
    'http://"',
    "http://localhost:*",
    "http://-a",
    "null",
    `http://${"a".repeat(300)}`,
  ]) {
    expect(isOrigin(bad), bad).toBe(false);
  }
  expect(isOriginPattern("http://localhost:*")).toBe(true);
  for (const bad of ["*", "http://*", "http://*:*", "http://localhost:80:*"])
    expect(isOriginPattern(bad), bad).toBe(false);
  expect(isAllowedOrigin("http://localhost", ["http://localhost:*"])).toBe(true);
  expect(isAllowedOrigin("http://localhost:5", ["http://localhost"])).toBe(false);
  expect(isHostOf("localhost", "http://localhost:8743")).toBe(true);
  expect(isHostOf("", "http://localhost:8743")).toBe(false);
});

test("base64 encodes as Buffer does, and decodes back", () =>
  fc.assert(
    fc.property(fc.uint8Array(), (bytes) => {
      expect(encodeBase64(bytes)).toBe(Buffer.from(bytes).toString("base64"));
      expect(encodeBase64Url(bytes)).toBe(Buffer.from(bytes).toString("base64url"));
      expect(decodeBase64(encodeBase64(bytes))).toEqual(bytes);
    }),
  ));
