// All four algorithms against signatures that node:crypto's own signer made.

import { type KeyObject, constants, generateKeyPairSync, sign } from "node:crypto";
import { expect, test } from "vitest";
import type { HardwareKey, HardwareSignatureAlgorithm } from "../../../protocol/crypto/signatures.ts";
import { utf8 } from "../../../protocol/bytes.ts";
import { signatures } from "./support.ts";

const message = utf8("what the hardware said");
const bytesOf = (text: string | undefined) => new Uint8Array(Buffer.from(text ?? "", "base64url"));

function ec(namedCurve: string, hash: string) {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve });
  const { x, y } = publicKey.export({ format: "jwk" });
  const signature = sign(hash, message, { key: privateKey, dsaEncoding: "ieee-p1363" });
  return {
    key: { kind: "ec", x: bytesOf(x), y: bytesOf(y) } satisfies HardwareKey,
    signature: new Uint8Array(signature),
  };
}
const rsaPair = generateKeyPairSync("rsa", { modulusLength: 2048 });
function rsa(make: (privateKey: KeyObject) => Buffer) {
  const { n, e } = rsaPair.publicKey.export({ format: "jwk" });
  const key = { kind: "rsa", modulus: bytesOf(n), exponent: bytesOf(e) } satisfies HardwareKey;
  return { key, signature: new Uint8Array(make(rsaPair.privateKey)) };
}
const pss = (saltLength: number) => (key: KeyObject) =>
  sign("sha384", message, { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength });

const CASES: Record<HardwareSignatureAlgorithm, () => { key: HardwareKey; signature: Uint8Array }> = {
  "ecdsa-p256-sha256": () => ec("P-256", "sha256"),
  "ecdsa-p384-sha384": () => ec("P-384", "sha384"),
  "rsassa-sha256": () => rsa((key) => sign("sha256", message, key)),
  "rsapss-sha384": () => rsa(pss(48)),
};
const ALGORITHMS = Object.keys(CASES) as HardwareSignatureAlgorithm[];

test.each(ALGORITHMS)(
  "%s: a true signature holds, everything else is false and never an error",
  async (algorithm) => {
    const { key, signature } = CASES[algorithm]();
    expect(await signatures.verify(algorithm, key, message, signature)).toBe(true);
    expect(await signatures.verify(algorithm, key, utf8("something else"), signature)).toBe(false);
    for (const at of [0, 31, signature.length - 1]) {
      const changed = signature.slice();
      changed[at] = (changed[at] as number) ^ 1;
      expect(await signatures.verify(algorithm, key, message, changed)).toBe(false);
    }
    for (const bad of [new Uint8Array(), new Uint8Array(signature.length), signature.slice(1)]) {
      expect(await signatures.verify(algorithm, key, message, bad)).toBe(false);
    }
    for (const other of ALGORITHMS.filter((each) => each !== algorithm)) {
      expect(await signatures.verify(other, key, message, signature)).toBe(false);
    }
    const zero = new Uint8Array(32);
    const badKeys: HardwareKey[] = [
      { kind: "ec", x: zero, y: zero },
      { kind: "ec", x: new Uint8Array(48).fill(0xff), y: new Uint8Array(48) },
      { kind: "rsa", modulus: new Uint8Array(256), exponent: Uint8Array.of(1, 0, 1) },
      { kind: "rsa", modulus: new Uint8Array(256).fill(0xff), exponent: new Uint8Array() },
    ];
    for (const bad of badKeys)
      expect(await signatures.verify(algorithm, bad, message, signature)).toBe(false);
  },
);

test("RSA-PSS with another salt length is refused", async () => {
  const { key, signature } = rsa(pss(32));
  expect(await signatures.verify("rsapss-sha384", key, message, signature)).toBe(false);
});
