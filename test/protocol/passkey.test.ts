// A browser's passkey in OpenSSH's forms: WebAuthn's DER and authenticator data in, SSH wire format out, and nothing malformed.

import { createHash, generateKeyPairSync, sign } from "node:crypto";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { concat, u8, u32, utf8 } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { encodeBase64Url } from "../../protocol/user-auth/base64.ts";
import { authorizedKeysLine, fingerprintOf } from "../../protocol/user-auth/key-line.ts";
import { encodePasskeySignature, passkeyPublicKey } from "../../protocol/user-auth/passkey.ts";
import { decodePublicKey } from "../../protocol/user-auth/public-key.ts";
import { verifySignature } from "../../protocol/user-auth/signature.ts";
import { nodeSshCrypto } from "../../node/ssh-crypto.ts";

const ORIGIN = "http://localhost:8743";
const sha256 = (bytes: Uint8Array): Uint8Array => createHash("sha256").update(bytes).digest();
const pair = generateKeyPairSync("ec", { namedCurve: "P-256" });
const spkiOf = (key: typeof pair.publicKey): Uint8Array =>
  new Uint8Array(key.export({ format: "der", type: "spki" }));
const message = utf8("what is to be signed");

/** As an authenticator and a browser make it together. */
function assertion(flags = 0x05, extensions: Uint8Array = new Uint8Array(0)) {
  const challenge = encodeBase64Url(message);
  const clientData = utf8(
    `{"type":"webauthn.get","challenge":"${challenge}","origin":"${ORIGIN}","crossOrigin":false}`,
  );
  const authenticatorData = concat(sha256(utf8("localhost")), u8(flags), u32(9), extensions);
  const signature = new Uint8Array(
    sign("sha256", concat(authenticatorData, sha256(clientData)), pair.privateKey),
  );
  return { clientData, authenticatorData, signature };
}
const blob = passkeyPublicKey(spkiOf(pair.publicKey), "localhost");
const facts = (signature: Uint8Array) =>
  verifySignature(nodeSshCrypto, decodePublicKey(blob), message, signature);

describe("a passkey's signature", () => {
  test("holds in OpenSSH's form, and says what the authenticator said", async () => {
    expect(await facts(encodePasskeySignature(assertion(), ORIGIN))).toEqual({
      securityKey: { present: true, verified: true, origin: ORIGIN },
    });
    expect(await facts(encodePasskeySignature(assertion(0x01), ORIGIN))).toMatchObject({
      securityKey: { verified: false },
    });
    expect(await facts(encodePasskeySignature(assertion(0x85, utf8("\xa0")), ORIGIN))).toBeDefined();
    expect(await facts(encodePasskeySignature(assertion(), "http://localhost:1"))).toBeUndefined();
  });

  test("that of a creation, and authenticator data that is too short, are refused", () => {
    expect(() => encodePasskeySignature(assertion(0x45), ORIGIN)).toThrow("is of a creation");
    const { authenticatorData, ...rest } = assertion();
    for (let length = 0; length < 37; length++)
      expect(() =>
        encodePasskeySignature({ ...rest, authenticatorData: authenticatorData.subarray(0, length) }, ORIGIN),
      ).toThrow(SealttyError);
  });

  test("a DER signature with any byte changed is refused or does not hold", async () => {
    const made = assertion();
    await fc.assert(
      fc.asyncProperty(
        fc.nat(made.signature.length - 1),
        fc.integer({ min: 1, max: 255 }),
        async (at, change) => {
          const signature = made.signature.slice();
          signature[at] = (signature[at] ?? 0) ^ change;
          let encoded: Uint8Array;
          try {
            encoded = encodePasskeySignature({ ...made, signature }, ORIGIN);
          } catch (error) {
            expect(error).toMatchObject({ code: "peer-misbehaved" });
            return;
          }
          expect(await facts(encoded)).toBeUndefined();
        },
      ),
    );
  });
});

describe("a passkey's public key", () => {
  test("keeps its point, and the RP ID as its application", () => {
    const { x, y } = pair.publicKey.export({ format: "jwk" });
    expect(decodePublicKey(blob)).toEqual({
      kind: "sk-ecdsa",
      x: new Uint8Array(Buffer.from(x ?? "", "base64url")),
      y: new Uint8Array(Buffer.from(y ?? "", "base64url")),
      application: utf8("localhost"),
    });
  });

  test("of any other kind, or with a byte more or less, is refused", () => {
    const spki = spkiOf(pair.publicKey);
    const others = [
      spkiOf(generateKeyPairSync("ec", { namedCurve: "P-384" }).publicKey),
      spkiOf(generateKeyPairSync("rsa", { modulusLength: 2048 }).publicKey),
      spkiOf(generateKeyPairSync("ed25519").publicKey),
      concat(spki, u8(0)),
      spki.subarray(0, -1),
      new Uint8Array(0),
    ];
    for (const other of others) expect(() => passkeyPublicKey(other, "localhost")).toThrow(SealttyError);
  });
});

test("line and fingerprint as ssh-keygen has them", () => {
  expect(authorizedKeysLine(blob, "mine")).toBe(
    `sk-ecdsa-sha2-nistp256@openssh.com ${Buffer.from(blob).toString("base64")} mine`,
  );
  expect(fingerprintOf(new Uint8Array(32))).toBe(`SHA256:${"A".repeat(43)}`);
});
