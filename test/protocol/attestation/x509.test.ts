// X.509: the strict parser against node:crypto on every certificate of the sample evidence, against certificates made
// here, and against bytes that only a lax parser takes.

import { X509Certificate } from "node:crypto";
import { readdirSync } from "node:fs";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  type Certificate,
  hasUnknownCritical,
  isSignedBy,
  isValidAt,
  parseCertificate,
} from "../../../protocol/attestation/x509/certificate.ts";
import { isCrlCurrent, isCrlSignedBy, parseCrl } from "../../../protocol/attestation/x509/crl.ts";
import { DerReader } from "../../../protocol/attestation/x509/der.ts";
import { pemCertificates } from "../../../protocol/attestation/x509/pem.ts";
import { concat, equalBytes, fromHex, toHex, utf8 } from "../../../protocol/bytes.ts";
import { SealttyError } from "../../../protocol/errors.ts";
import {
  type MadeCertificate,
  type MadeCrl,
  type MadeName,
  USAGE,
  basicConstraints,
  caExtensions,
  der,
  keyUsage,
  madeKey,
  makeCertificate,
  makeCrl,
  pemOf,
  pssAlgorithm,
} from "../../support/made-pki.ts";
import { evidenceDirectory, hasEvidence, onlySealttyErrors, sample, signatures } from "./support.ts";

/** Sentence of the `peer-misbehaved` that `attempt` ends with. */
function refusedWith(attempt: () => unknown): string {
  let error: unknown;
  try {
    attempt();
  } catch (thrown) {
    error = thrown;
  }
  expect(error).toBeInstanceOf(SealttyError);
  expect((error as SealttyError).code).toBe("peer-misbehaved");
  return (error as SealttyError).message;
}

const NOT_BEFORE = Date.UTC(2026, 0, 1);
const NOT_AFTER = Date.UTC(2036, 0, 1);
const ROOT: MadeName = { O: "Made for a test", CN: "Root" };
const LEAF: MadeName = { O: "Made for a test", CN: "Leaf" };
const rootKey = madeKey("ec-p384", "x509 root");
const leafKey = madeKey("ec-p256", "x509 leaf");

function madeRoot(change: Partial<MadeCertificate> = {}): Uint8Array {
  return makeCertificate({
    subject: ROOT,
    key: rootKey,
    notBefore: NOT_BEFORE,
    notAfter: NOT_AFTER,
    extensions: caExtensions(),
    ...change,
  });
}
function madeLeaf(change: Partial<MadeCertificate> = {}): Uint8Array {
  return makeCertificate({
    subject: LEAF,
    key: leafKey,
    issuer: { name: ROOT, key: rootKey },
    serial: 0xf00dn,
    notBefore: NOT_BEFORE,
    notAfter: NOT_AFTER,
    ...change,
  });
}
function madeList(change: Partial<MadeCrl> = {}): Uint8Array {
  return makeCrl({
    issuer: { name: ROOT, key: rootKey },
    thisUpdate: Date.UTC(2026, 5, 1),
    nextUpdate: Date.UTC(2026, 6, 1),
    revoked: [{ serial: 0xf00dn, reason: 1 }, { serial: 7 }],
    number: 9,
    ...change,
  });
}

/** Every certificate and CRL file of the samples, each different one once. */
function collected(): { certificates: Map<string, Uint8Array>; crls: Map<string, Uint8Array> } {
  const certificates = new Map<string, Uint8Array>();
  const crls = new Map<string, Uint8Array>();
  for (const path of hasEvidence ? readdirSync(evidenceDirectory, { recursive: true }).map(String) : []) {
    if (path.endsWith("crl.der") && !path.includes("mut-crl-")) crls.set(toHex(sample(path)), sample(path));
    else if (path.endsWith(".der") && !/spki|crl/.test(path)) {
      certificates.set(toHex(sample(path)), sample(path));
    } else if (path.endsWith(".pem") && !path.endsWith("ak.pem")) {
      for (const certificate of pemCertificates(sample(path))) {
        certificates.set(toHex(certificate), certificate);
      }
    }
  }
  return { certificates, crls };
}

describe.runIf(hasEvidence)("sample certificates", () => {
  const { certificates, crls } = collected();
  const parsed = [...certificates.values()].map((bytes) => ({
    ours: parseCertificate(bytes),
    theirs: new X509Certificate(bytes),
  }));

  test("say the same as node:crypto reads in them", () => {
    expect(parsed.length).toBeGreaterThan(50);
    for (const { ours, theirs } of parsed) {
      const commonName = (name: string) => /(?:^|\n)CN=(.*)/.exec(name)?.[1];
      expect({
        serial: BigInt(`0x${toHex(ours.serial)}`),
        issuer: ours.issuerCommonName,
        subject: ours.subjectCommonName,
        notBefore: ours.notBefore,
        notAfter: ours.notAfter,
        isCa: ours.isCa,
        spki: toHex(ours.spki),
      }).toEqual({
        serial: BigInt(`0x${theirs.serialNumber}`),
        issuer: commonName(theirs.issuer),
        subject: commonName(theirs.subject),
        notBefore: Date.parse(theirs.validFrom),
        notAfter: Date.parse(theirs.validTo),
        isCa: theirs.ca,
        spki: theirs.publicKey.export({ type: "spki", format: "der" }).toString("hex"),
      });
    }
  });

  test("are signed by whom node:crypto says they are", async () => {
    let signed = 0;
    let not = 0;
    for (const child of parsed) {
      for (const parent of parsed.filter(({ ours }) => equalBytes(ours.subject, child.ours.issuer))) {
        if (child.ours.signatureAlgorithm === "unsupported" || hasUnknownCritical(child.ours)) continue;
        const expected = parent.theirs.ca && child.theirs.verify(parent.theirs.publicKey);
        expect(await isSignedBy(child.ours, parent.ours, signatures)).toBe(expected);
        if (expected) signed++;
        else not++;
      }
    }
    expect(signed).toBeGreaterThan(50);
    expect(not).toBeGreaterThan(0);
  });

  test("revocation lists parse, and those of the vendors hold", async () => {
    expect(crls.size).toBeGreaterThan(5);
    let held = 0;
    for (const bytes of crls.values()) {
      const crl = parseCrl(bytes);
      expect(isCrlCurrent(crl, crl.thisUpdate, 0)).toBe(true);
      expect(isCrlCurrent(crl, crl.nextUpdate + 1, 0)).toBe(false);
      for (const { ours } of parsed) if (await isCrlSignedBy(crl, ours, signatures)) held++;
    }
    expect(held).toBeGreaterThan(5);
  });

  test.each(["mut-crl-empty-file", "mut-crl-garbage"])("%s is no revocation list", (name) => {
    expect(refusedWith(() => parseCrl(sample(`tdx/${name}/pck_crl.der`)))).toMatch(/^Revocation list/);
  });
});

describe("DerReader", () => {
  const read = (hex: string) => new DerReader(fromHex(hex.replaceAll(" ", "")), "It");
  type Read = (reader: DerReader) => unknown;
  const integer: Read = (reader) => toHex(reader.integer());
  const time: Read = (reader) => reader.time();
  const timeHex = (tag: string, text: string) =>
    `${tag}${text.length.toString(16).padStart(2, "0")}${toHex(utf8(text))}`;

  test.each<[string, string, Read, unknown]>([
    ["a short integer", "02 01 7f", integer, "7f"],
    ["an integer with the sign byte it needs", "02 02 00 80", integer, "0080"],
    ["a negative integer", "02 01 80", integer, "80"],
    ["a long length", `04 81 80 ${"00".repeat(128)}`, (reader) => reader.octetString().length, 128],
    ["true", "01 01 ff", (reader) => reader.boolean(), true],
    ["false", "01 01 00", (reader) => reader.boolean(), false],
    ["a bit string", "03 02 00 aa", (reader) => toHex(reader.bitString()), "aa"],
    ["named bits", "03 02 01 06", (reader) => [...reader.namedBits(9)], [5, 6]],
    ["no named bit", "03 01 00", (reader) => [...reader.namedBits(9)], []],
    [
      "an object identifier",
      "06 0a 2b 06 01 04 01 9c 78 01 03 08",
      (reader) => reader.oid(),
      "1.3.6.1.4.1.3704.1.3.8",
    ],
    ["one under joint-iso-itu-t", "06 03 88 37 03", (reader) => reader.oid(), "2.999.3"],
    ["UTCTime", timeHex("17", "260217230136Z"), time, Date.UTC(2026, 1, 17, 23, 1, 36)],
    ["UTCTime of the last century", timeHex("17", "500101000000Z"), time, Date.UTC(1950, 0, 1)],
    ["UTCTime of a leap day", timeHex("17", "240229000000Z"), time, Date.UTC(2024, 1, 29)],
    ["GeneralizedTime", timeHex("18", "99991231235959Z"), time, Date.UTC(9999, 11, 31, 23, 59, 59)],
  ])("reads %s", (_, hex, how, expected) => {
    const reader = read(hex);
    expect(how(reader)).toEqual(expected);
    reader.end();
  });

  test.each<[string, string, Read]>([
    ["nothing at all", "", (reader) => reader.element()],
    ["a tag alone", "02", (reader) => reader.element()],
    ["content that ends too early", "02 02 01", (reader) => reader.element()],
    ["an indefinite length", "30 80 00 00", (reader) => reader.element()],
    ["a length in more bytes than it needs", "02 81 01 01", (reader) => reader.element()],
    ["a length with a leading zero", `04 82 00 80 ${"00".repeat(128)}`, (reader) => reader.element()],
    ["a length of four bytes", "04 84 00 00 00 01 00", (reader) => reader.element()],
    ["a reserved length", "04 ff 01", (reader) => reader.element()],
    ["a length of three bytes that nothing has", "04 83 ff ff ff 00", (reader) => reader.element()],
    ["a tag of two bytes", "1f 81 00 00", (reader) => reader.element()],
    ["another tag", "04 01 00", integer],
    ["an empty integer", "02 00", integer],
    ["an integer with a zero too many", "02 02 00 7f", integer],
    ["a negative integer with a byte too many", "02 02 ff 80", integer],
    ["a negative number", "02 01 ff", (reader) => reader.number(1000)],
    ["a number above the limit", "02 02 03 e9", (reader) => reader.number(1000)],
    ["a number above 32 bits", "02 05 01 00 00 00 00", (reader) => reader.number(1000)],
    ["a truth value of 1", "01 01 01", (reader) => reader.boolean()],
    ["a truth value of two bytes", "01 02 ff ff", (reader) => reader.boolean()],
    ["an empty truth value", "01 00", (reader) => reader.boolean()],
    ["a NULL with content", "05 01 00", (reader) => reader.null()],
    ["a bit string of 7 bits", "03 02 01 fe", (reader) => reader.bitString()],
    ["an empty bit string", "03 00", (reader) => reader.bitString()],
    ["named bits that are not there", "03 02 01 01", (reader) => reader.namedBits(9)],
    ["named bits with 8 unused", "03 02 08 00", (reader) => reader.namedBits(9)],
    ["no named bits with unused ones", "03 01 01", (reader) => reader.namedBits(9)],
    ["a named bit without a name", "03 03 06 00 40", (reader) => reader.namedBits(9)],
    ["an empty object identifier", "06 00", (reader) => reader.oid()],
    ["an object identifier with a zero too many", "06 03 2b 80 01", (reader) => reader.oid()],
    ["an object identifier that ends within a number", "06 02 2b 81", (reader) => reader.oid()],
    [
      "an object identifier with a huge number",
      "06 0a 2b ff ff ff ff ff ff ff ff 7f",
      (reader) => reader.oid(),
    ],
    ["an endless object identifier", `06 29 ${"01".repeat(41)}`, (reader) => reader.oid()],
    ["a text with a control character", "16 02 41 00", (reader) => reader.ia5String(8)],
    ["a text that is too long", "16 09 414141414141414141", (reader) => reader.ia5String(8)],
    ["a time without seconds", timeHex("17", "2602172301Z"), time],
    ["a time with a zone", timeHex("17", "2602172301+0100"), time],
    ["a time with fractions", timeHex("18", "20500101000000.5Z"), time],
    ["a time without a zone", timeHex("17", "260217230136"), time],
    ["GeneralizedTime before 2050", timeHex("18", "20260217230136Z"), time],
    ["a month 13", timeHex("17", "261317230136Z"), time],
    ["a month 0", timeHex("17", "260017230136Z"), time],
    ["February 29 of 2026", timeHex("17", "260229000000Z"), time],
    ["April 31", timeHex("17", "260431000000Z"), time],
    ["an hour 24", timeHex("17", "260101240000Z"), time],
    ["a second 60", timeHex("17", "260101000060Z"), time],
    ["a time with letters", timeHex("17", "26010100000xZ"), time],
    ["a text where a time must be", timeHex("16", "260217230136Z"), time],
    ["bytes left over", "02 01 00 00", (reader) => (reader.integer(), reader.end())],
  ])("refuses %s", (_, hex, how) => {
    expect(refusedWith(() => how(read(hex)))).toMatch(/^It /);
  });

  test("follows nesting to a limit only", () => {
    let nested = der.null();
    for (let i = 0; i < 40; i++) nested = der.sequence(nested);
    const dig = (reader: DerReader): unknown => dig(reader.open());
    expect(refusedWith(() => dig(new DerReader(nested, "It")))).toBe("It is nested too deeply");
  });
});

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

describe("parseCrl()", () => {
  test("reads what was written", async () => {
    const root = parseCertificate(madeRoot());
    const crl = parseCrl(madeList());
    expect(crl).toMatchObject({
      issuerCommonName: "Root",
      thisUpdate: Date.UTC(2026, 5, 1),
      nextUpdate: Date.UTC(2026, 6, 1),
      number: "09",
      revoked: new Set(["00f00d", "07"]),
    });
    expect(crl.revoked.has(toHex(parseCertificate(madeLeaf()).serial))).toBe(true);
    expect(await isCrlSignedBy(crl, root, signatures)).toBe(true);
    expect(parseCrl(madeList({ revoked: [] })).revoked.size).toBe(0);
  });

  const extension = (oid: string, critical: boolean) => ({ oid, critical, value: der.null() });
  test.each<[string, () => Uint8Array, RegExp]>([
    ["no end", () => madeList({ nextUpdate: undefined }), /where a time must be/],
    [
      "its end before its begin",
      () => madeList({ nextUpdate: Date.UTC(2026, 4, 1) }),
      /ends before it begins/,
    ],
    [
      "a delta indicator",
      () => madeList({ extensions: [extension("2.5.29.27", false)] }),
      /not a complete list/,
    ],
    [
      "a distribution point",
      () => madeList({ extensions: [extension("2.5.29.28", false)] }),
      /not a complete list/,
    ],
    [
      "an unknown critical extension",
      () => madeList({ extensions: [extension("1.2.3", true)] }),
      /critical extension/,
    ],
    [
      "an unknown critical extension in an entry",
      () => madeList({ revoked: [{ serial: 1, extensions: [extension("2.5.29.29", true)] }] }),
      /critical extension/,
    ],
    ["a byte behind it", () => concat(madeList(), Uint8Array.of(0)), /bytes left over/],
    ["more than 128 KiB", () => new Uint8Array(131_073), /longer than 128 KiB/],
    ["nothing in it", () => new Uint8Array(), /ends too early/],
    ["a certificate in its place", () => madeLeaf(), /another type/],
  ])("refuses one with %s", (_, make, sentence) => {
    expect(refusedWith(() => parseCrl(make()))).toMatch(sentence);
  });

  test("takes an unknown extension that is not critical", () => {
    expect(
      parseCrl(
        madeList({
          extensions: [extension("1.2.3", false)],
          revoked: [{ serial: 1, extensions: [extension("1.2.3", false)] }],
        }),
      ).revoked.size,
    ).toBe(1);
  });

  test.each<[string, () => Uint8Array]>([
    ["is no CA", () => madeRoot({ extensions: [keyUsage("cRLSign")] })],
    ["may not sign lists", () => madeRoot({ extensions: [basicConstraints(true), keyUsage("keyCertSign")] })],
    ["has another name", () => madeRoot({ subject: LEAF })],
    ["has another key", () => madeRoot({ key: madeKey("ec-p384", "x509 another") })],
  ])("isCrlSignedBy() refuses an issuer that %s", async (_, make) => {
    expect(await isCrlSignedBy(parseCrl(madeList()), parseCertificate(make()), signatures)).toBe(false);
  });
});

describe("pemCertificates()", () => {
  const [one, two] = [madeRoot(), madeLeaf()];
  test.each<[string, string]>([
    ["blocks after each other", pemOf(one, two)],
    ["with carriage returns", pemOf(one, two).replaceAll("\n", "\r\n")],
    ["with empty lines between and around", `\n\n${pemOf(one)}\n \n${pemOf(two)}\t\n`],
    ["without a line end", pemOf(one, two).trimEnd()],
    ["with a zero byte behind", `${pemOf(one, two)}\0`],
    ["in lines of 76", pemOf(one, two).replace(/(.{64})\n(.{12})(.{52})\n/, "$1$2\n$3\n")],
  ])("reads %s", (_, text) => {
    expect(pemCertificates(utf8(text)).map(toHex)).toEqual([one, two].map(toHex));
  });

  const body = (base64: string) => `-----BEGIN CERTIFICATE-----\n${base64}\n-----END CERTIFICATE-----\n`;
  test.each<[string, string | Uint8Array]>([
    ["nothing", ""],
    ["white space only", " \n\n"],
    ["zero bytes only", "\0\0"],
    ["words before a block", `Subject: x\n${pemOf(one)}`],
    ["words behind a block", `${pemOf(one)}trailing`],
    ["a zero byte between blocks", `${pemOf(one)}\0${pemOf(two)}`],
    ["a private key", pemOf(one).replaceAll("CERTIFICATE", "PRIVATE KEY")],
    ["a block without its end", pemOf(one).replace(/-----END.*/s, "")],
    ["an empty block", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"],
    ["bits that no byte uses", body("AB==")],
    ["base64 without padding", body("AAA")],
    ["padding in the middle", body("AA==AAAA")],
    ["too much padding", body("AAAA====")],
    ["url-safe base64", body("-_-_")],
    ["a space in base64", body("AA AA")],
    ["a byte above ASCII", concat(utf8(pemOf(one)), Uint8Array.of(0xa0))],
    ["17 blocks", pemOf(...Array.from({ length: 17 }, () => two))],
    ["more than 64 KiB", " ".repeat(65_537)],
  ])("refuses %s", (_, text) => {
    const bytes = typeof text === "string" ? utf8(text) : text;
    expect(refusedWith(() => pemCertificates(bytes))).toMatch(/^Certificates in PEM /);
  });
});

describe("fuzzed", () => {
  const { certificates, crls } = collected();
  const pick = (all: Map<string, Uint8Array>) =>
    [...all.values()].filter((bytes) => bytes.length < 4096).slice(0, 40);
  const certificateCorpus = [madeRoot(), madeLeaf(), ...pick(certificates)];
  const crlCorpus = [madeList(), ...pick(crls)];

  /** One of the corpus with some bytes changed, cut out, doubled or put in. */
  const mutated = (corpus: readonly Uint8Array[]) =>
    fc
      .record({
        base: fc.constantFrom(...corpus),
        edits: fc.array(
          fc.record({
            at: fc.nat(4096),
            drop: fc.integer({ min: 0, max: 4 }),
            put: fc.uint8Array({ maxLength: 4 }),
          }),
          { minLength: 1, maxLength: 6 },
        ),
      })
      .map(({ base, edits }) =>
        edits.reduce<Uint8Array>((bytes, { at, drop, put }) => {
          const start = at % (bytes.length + 1);
          return concat(bytes.subarray(0, start), put, bytes.subarray(start + drop));
        }, base),
      );

  test.each<[string, readonly Uint8Array[], (bytes: Uint8Array) => unknown]>([
    ["parseCertificate()", certificateCorpus, parseCertificate],
    ["parseCrl()", crlCorpus, parseCrl],
    ["pemCertificates()", [utf8(pemOf(madeRoot(), madeLeaf()))], pemCertificates],
  ])("%s throws nothing but SealttyError", (_, corpus, parse) => {
    for (const good of corpus) parse(good);
    fc.assert(
      fc.property(fc.oneof(mutated(corpus), fc.uint8Array({ maxLength: 200 })), (bytes) => {
        onlySealttyErrors(() => parse(bytes));
      }),
      { numRuns: 3000 },
    );
  });

  test("a certificate that parses is made of exactly its own bytes", () =>
    fc.assert(
      fc.property(mutated(certificateCorpus), (bytes) => {
        if (!onlySealttyErrors(() => parseCertificate(bytes))) return;
        const { tbs, der: whole, spki } = parseCertificate(bytes);
        expect(toHex(whole)).toBe(toHex(bytes));
        expect(toHex(bytes)).toContain(toHex(tbs));
        expect(toHex(tbs)).toContain(toHex(spki));
      }),
      { numRuns: 1000 },
    ));

  test("DerReader reads any bytes to an end or an error", () => {
    const walk = (reader: DerReader): void => {
      while (reader.remaining > 0) {
        const element = reader.element();
        if ((element.tag & 0x20) !== 0) walk(reader.inside(element));
      }
    };
    fc.assert(
      fc.property(fc.oneof(mutated(certificateCorpus), fc.uint8Array()), (bytes) => {
        onlySealttyErrors(() => walk(new DerReader(bytes, "It")));
      }),
      { numRuns: 1000 },
    );
  });
});

/** What a leaf's signature covers, and its algorithm: for putting another signature behind. */
function madeLeafParts(): { tbs: Uint8Array; identifier: Uint8Array } {
  const outer = new DerReader(madeLeaf(), "It").open();
  return { tbs: outer.element().whole, identifier: outer.element().whole };
}

function spkiOf(curve: string, point: Uint8Array): Uint8Array {
  return der.sequence(der.sequence(der.oid("1.2.840.10045.2.1"), der.oid(curve)), der.bits(point));
}

test("the writer's key usage bits are RFC 5280's", () => {
  expect(Object.values(USAGE)).toEqual([0, 5, 6]);
});
