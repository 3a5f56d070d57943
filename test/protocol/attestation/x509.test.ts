// X.509 certificates made here: what is read in them, and what is refused.

import { describe, expect, test } from "vitest";
import {
  type Certificate,
  isSignedBy,
  isValidAt,
  parseCertificate,
} from "../../../protocol/attestation/x509/certificate.ts";
import { DerReader } from "../../../protocol/attestation/x509/der.ts";
import { concat, fromHex, toHex, utf8 } from "../../../protocol/bytes.ts";
import {
  type MadeName,
  USAGE,
  basicConstraints,
  caExtensions,
  der,
  keyUsage,
  madeKey,
  pssAlgorithm,
} from "../../support/made-pki.ts";
import { onlySealttyErrors, signatures } from "./support.ts";
import { NOT_AFTER, NOT_BEFORE, ROOT, leafKey, madeLeaf, madeRoot, refusedWith } from "./x509-support.ts";

describe("parseCertificate()", () => {
  test("reads what was written", async () => {
    const root = parseCertificate(madeRoot({ extensions: caExtensions(3) }));
    const leaf = parseCertificate(madeLeaf({ extensions: [{ oid: "1.2.3", value: utf8("raw") }] }));
    expect(root).toMatchObject({ isCa: true, pathLength: 3, keyKind: "ec-p384", subjectCommonName: "Root" });
    expect(root.keyUsage).toEqual(new Set(["keyCertSign", "cRLSign"]));
    expect(leaf).toMatchObject({
      isCa: false,
      pathLength: undefined,
      keyUsage: undefined,
      keyKind: "ec-p256",
      key: leafKey.publicKey,
      spki: leafKey.spki,
      issuerCommonName: "Root",
      subjectCommonName: "Leaf",
      notBefore: NOT_BEFORE,
      notAfter: NOT_AFTER,
      signatureAlgorithm: "ecdsa-p384-sha384",
    });
    expect(toHex(leaf.serial)).toBe("00f00d");
    expect(leaf.signature).toHaveLength(96);
    expect(leaf.extensions).toEqual(new Map([["1.2.3", { critical: false, value: utf8("raw") }]]));
    expect(await isSignedBy(leaf, root, signatures)).toBe(true);
    expect(await isSignedBy(root, root, signatures)).toBe(true);
    expect(await isSignedBy(root, leaf, signatures)).toBe(false);
  });

  test.each(["ecdsa-p256-sha256", "ecdsa-p384-sha384", "rsassa-sha256", "rsapss-sha384"] as const)(
    "takes a signature by %s, of the key that made it only",
    async (algorithm) => {
      const kind = algorithm.startsWith("rsa")
        ? "rsa"
        : algorithm === "ecdsa-p256-sha256"
          ? "ec-p256"
          : "ec-p384";
      const [key, other] = [madeKey(kind, "x509 root"), madeKey(kind, "x509 another")];
      const leaf = parseCertificate(madeLeaf({ issuer: { name: ROOT, key }, algorithm }));
      expect(leaf.signatureAlgorithm).toBe(algorithm);
      expect(await isSignedBy(leaf, parseCertificate(madeRoot({ key })), signatures)).toBe(true);
      expect(await isSignedBy(leaf, parseCertificate(madeRoot({ key: other })), signatures)).toBe(false);
    },
  );

  test("an ECDSA signature has the width of its curve however small its numbers are", () => {
    const small = der.bits(der.sequence(der.integer(1), der.integer(2)));
    const parts = madeLeafParts();
    const { signature } = parseCertificate(der.sequence(parts.tbs, parts.identifier, small));
    expect(toHex(signature)).toBe(`${"00".repeat(47)}01${"00".repeat(47)}02`);
  });

  test.each<[string, Uint8Array]>([
    ["r of one byte too many", der.sequence(der.integer(2n ** 384n), der.integer(2))],
    ["a negative s", der.sequence(der.integer(1), fromHex("0201ff"))],
    ["a third number", der.sequence(der.integer(1), der.integer(2), der.integer(3))],
    ["bytes behind it", concat(der.sequence(der.integer(1), der.integer(2)), Uint8Array.of(0))],
    ["raw bytes", new Uint8Array(96).fill(1)],
  ])("refuses an ECDSA signature with %s", (_, bits) => {
    const { tbs, identifier } = madeLeafParts();
    expect(refusedWith(() => parseCertificate(der.sequence(tbs, identifier, der.bits(bits))))).toMatch(
      /^ECDSA signature /,
    );
  });

  test.each<[string, () => Uint8Array, RegExp]>([
    ["a byte behind it", () => concat(madeLeaf(), Uint8Array.of(0)), /bytes left over/],
    ["the last byte missing", () => madeLeaf().slice(0, -1), /ends too early/],
    ["more than 16 KiB", () => new Uint8Array(16_385), /longer than 16 KiB/],
    ["version 1", () => madeLeaf({ version: 0 }), /another version/],
    ["no version", () => madeLeaf({ change: ([, ...rest]) => rest }), /another type/],
    [
      "two algorithms",
      () => madeLeaf({ outerIdentifier: pssAlgorithm("sha384", 48) }),
      /two different signature/,
    ],
    [
      "one algorithm written in two ways",
      () => madeLeaf({ outerIdentifier: der.sequence(der.oid("1.2.840.10045.4.3.3"), der.null()) }),
      /bytes left over/,
    ],
    [
      "an extension twice",
      () => madeLeaf({ extensions: [basicConstraints(false), basicConstraints(false)] }),
      /one extension twice/,
    ],
    [
      "an empty list of extensions",
      () => madeLeaf({ change: (all) => [...all, der.explicit(3, der.sequence())] }),
      /empty list/,
    ],
    [
      "33 extensions",
      () =>
        madeLeaf({
          extensions: Array.from({ length: 33 }, (_, i) => ({ oid: `1.2.${i}`, value: der.null() })),
        }),
      /too many extensions/,
    ],
    [
      "a unique identifier",
      () => madeLeaf({ change: (all) => [...all, der.implicit(1, Uint8Array.of(0, 1))] }),
      /bytes left over/,
    ],
    [
      "a negative serial number",
      () => madeLeaf({ change: (all) => all.with(1, fromHex("0201ff")) }),
      /negative serial/,
    ],
    ["a serial number of 22 bytes", () => madeLeaf({ serial: 2n ** 170n }), /serial number that is too long/],
    [
      "a path length without being a CA",
      () => madeLeaf({ extensions: [{ oid: "2.5.29.19", value: der.sequence(der.integer(1)) }] }),
      /no CA/,
    ],
    [
      "bytes behind its basic constraints",
      () => madeLeaf({ extensions: [{ oid: "2.5.29.19", value: concat(der.sequence(), der.null()) }] }),
      /Basic constraints has bytes left over/,
    ],
    [
      "a key usage without a name",
      () => madeLeaf({ extensions: [{ oid: "2.5.29.15", value: der.namedBits(9) }] }),
      /no meaning/,
    ],
    [
      "a compressed point",
      () =>
        madeLeaf({
          change: (all) =>
            all.with(6, spkiOf("1.2.840.10045.3.1.7", concat(Uint8Array.of(2), new Uint8Array(32)))),
        }),
      /uncompressed point/,
    ],
    [
      "a key on another curve",
      () =>
        madeLeaf({
          change: (all) => all.with(6, spkiOf("1.3.132.0.10", concat(Uint8Array.of(4), new Uint8Array(64)))),
        }),
      /unknown curve/,
    ],
    [
      "an Ed25519 key",
      () =>
        madeLeaf({
          change: (all) =>
            all.with(6, der.sequence(der.sequence(der.oid("1.3.101.112")), der.bits(new Uint8Array(32)))),
        }),
      /unknown kind/,
    ],
    [
      "a name of 17 parts",
      () => {
        const part = der.set(der.sequence(der.oid("2.5.4.10"), der.utf8("x")));
        return madeLeaf({
          change: (all) => all.with(5, der.sequence(...Array.from({ length: 17 }, () => part))),
        });
      },
      /too many parts/,
    ],
    [
      "an empty part of a name",
      () => madeLeaf({ change: (all) => all.with(5, der.sequence(der.set())) }),
      /ends too early/,
    ],
  ])("refuses one with %s", (_, make, sentence) => {
    expect(refusedWith(() => parseCertificate(make()))).toMatch(sentence);
  });

  test.each<[string, Uint8Array, Certificate["signatureAlgorithm"]]>([
    ["salt 48, trailer left out", pssAlgorithm("sha384", 48), "rsapss-sha384"],
    ["salt 48, trailer written out", pssAlgorithm("sha384", 48, 1), "rsapss-sha384"],
    ["trailer 2", pssAlgorithm("sha384", 48, 2), "unsupported"],
    ["salt 32", pssAlgorithm("sha384", 32), "unsupported"],
    ["SHA-256", pssAlgorithm("sha256", 48), "unsupported"],
    ["a mask with SHA-256", pssAlgorithm("sha384", 48, undefined, "sha256"), "unsupported"],
    [
      "the defaults, which are SHA-1",
      der.sequence(der.oid("1.2.840.113549.1.1.10"), der.sequence()),
      "unsupported",
    ],
    ["SHA-1 with RSA", der.sequence(der.oid("1.2.840.113549.1.1.5"), der.null()), "unsupported"],
  ])("RSASSA-PSS with %s", async (_, identifier, expected) => {
    const key = madeKey("rsa", "x509 root");
    const root = parseCertificate(madeRoot({ key }));
    const leaf = parseCertificate(madeLeaf({ issuer: { name: ROOT, key }, identifier }));
    expect(leaf.signatureAlgorithm).toBe(expected);
    expect(await isSignedBy(leaf, root, signatures)).toBe(expected !== "unsupported");
  });

  test.each<[string, MadeName | Uint8Array, string | undefined]>([
    ["plain", { CN: "SEV-Genoa" }, "SEV-Genoa"],
    ["absent", { O: "x" }, undefined],
    ["not ASCII", { CN: "SEV\u2011Genoa" }, undefined],
    ["with a line end", { CN: "SEV-Genoa\n" }, undefined],
    ["of 129 characters", { CN: "x".repeat(129) }, undefined],
    [
      "twice",
      der.sequence(...["a", "b"].map((text) => der.set(der.sequence(der.oid("2.5.4.3"), der.utf8(text))))),
      undefined,
    ],
    ["a number", der.sequence(der.set(der.sequence(der.oid("2.5.4.3"), der.integer(65)))), undefined],
  ])("a common name that is %s", (_, name, expected) => {
    const certificate =
      name instanceof Uint8Array
        ? madeLeaf({ change: (all) => all.with(5, name) })
        : madeLeaf({ subject: name });
    expect(parseCertificate(certificate).subjectCommonName).toBe(expected);
  });
});

describe("isSignedBy()", () => {
  const leaf = () => parseCertificate(madeLeaf());
  test.each<[string, () => Uint8Array]>([
    ["is no CA", () => madeRoot({ extensions: [] })],
    ["says that it is no CA", () => madeRoot({ extensions: [basicConstraints(false)] })],
    [
      "may not sign certificates",
      () => madeRoot({ extensions: [basicConstraints(true), keyUsage("cRLSign")] }),
    ],
    ["has another name", () => madeRoot({ subject: { ...ROOT, CN: "Root " } })],
    ["has the same name in another order", () => madeRoot({ subject: { CN: "Root", O: "Made for a test" } })],
    ["has another key", () => madeRoot({ key: madeKey("ec-p384", "x509 another") })],
    ["has a key of another kind", () => madeRoot({ key: madeKey("ec-p256", "x509 another") })],
    [
      "has a critical extension that nobody knows",
      () =>
        madeRoot({
          extensions: [...caExtensions(), { oid: "2.5.29.30", critical: true, value: der.sequence() }],
        }),
    ],
  ])("refuses an issuer that %s", async (_, make) => {
    expect(await isSignedBy(leaf(), parseCertificate(make()), signatures)).toBe(false);
  });

  test("takes an issuer that does not say what its key is for", async () => {
    const root = parseCertificate(madeRoot({ extensions: [basicConstraints(true)] }));
    expect(await isSignedBy(leaf(), root, signatures)).toBe(true);
  });

  test("refuses a certificate with a critical extension that nobody knows, and takes the same one where it is not", async () => {
    const root = parseCertificate(madeRoot());
    const extension = { oid: "1.2.3.4", value: der.null() };
    const plain = parseCertificate(madeLeaf({ extensions: [extension] }));
    const critical = parseCertificate(madeLeaf({ extensions: [{ ...extension, critical: true }] }));
    expect(await isSignedBy(plain, root, signatures)).toBe(true);
    expect(await isSignedBy(critical, root, signatures)).toBe(false);
  });

  test("refuses a certificate of which any byte was changed", async () => {
    const root = parseCertificate(madeRoot());
    const bytes = madeLeaf({ extensions: [{ oid: "1.2.3.4", value: der.null() }] });
    expect(await isSignedBy(parseCertificate(bytes), root, signatures)).toBe(true);
    for (let at = 0; at < bytes.length; at++) {
      const changed = bytes.slice();
      changed[at] = (changed[at] as number) ^ (1 << (at % 8));
      let held = false;
      if (onlySealttyErrors(() => parseCertificate(changed))) {
        held = await isSignedBy(parseCertificate(changed), root, signatures);
      }
      expect([at, held]).toEqual([at, false]);
    }
  });

  test("isValidAt() takes both ends, and the skew", () => {
    const certificate = leaf();
    expect(
      [NOT_BEFORE - 1, NOT_BEFORE, NOT_AFTER, NOT_AFTER + 1].map((now) => isValidAt(certificate, now, 0)),
    ).toEqual([false, true, true, false]);
    expect(
      [NOT_BEFORE - 101, NOT_BEFORE - 100, NOT_AFTER + 100, NOT_AFTER + 101].map((now) =>
        isValidAt(certificate, now, 100),
      ),
    ).toEqual([false, true, true, false]);
  });
});

test("the writer's key usage bits are RFC 5280's", () => {
  expect(Object.values(USAGE)).toEqual([0, 5, 6]);
});

function madeLeafParts(): { tbs: Uint8Array; identifier: Uint8Array } {
  const outer = new DerReader(madeLeaf(), "It").open();
  return { tbs: outer.element().whole, identifier: outer.element().whole };
}

function spkiOf(curve: string, point: Uint8Array): Uint8Array {
  return der.sequence(der.sequence(der.oid("1.2.840.10045.2.1"), der.oid(curve)), der.bits(point));
}
