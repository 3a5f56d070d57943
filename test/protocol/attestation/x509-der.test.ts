// DER, lists and PEM: what a strict reader takes, and what only a lax one does.

import { describe, expect, test } from "vitest";
import { parseCertificate } from "../../../protocol/attestation/x509/certificate.ts";
import { isCrlSignedBy, parseCrl } from "../../../protocol/attestation/x509/crl.ts";
import { DerReader } from "../../../protocol/attestation/x509/der.ts";
import { pemCertificates } from "../../../protocol/attestation/x509/pem.ts";
import { concat, fromHex, toHex, utf8 } from "../../../protocol/bytes.ts";
import { basicConstraints, der, keyUsage, madeKey, pemOf } from "../../support/made-pki.ts";
import { signatures } from "./support.ts";
import { LEAF, madeLeaf, madeList, madeRoot, refusedWith } from "./x509-support.ts";

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
