// X.509 certificates and lists: against node:crypto on all of the sample evidence, and any bytes at all.

import { X509Certificate } from "node:crypto";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  hasUnknownCritical,
  isSignedBy,
  parseCertificate,
} from "../../../protocol/attestation/x509/certificate.ts";
import { isCrlCurrent, isCrlSignedBy, parseCrl } from "../../../protocol/attestation/x509/crl.ts";
import { DerReader } from "../../../protocol/attestation/x509/der.ts";
import { pemCertificates } from "../../../protocol/attestation/x509/pem.ts";
import { concat, equalBytes, toHex, utf8 } from "../../../protocol/bytes.ts";
import { pemOf } from "../../support/made-pki.ts";
import { hasEvidence, onlySealttyErrors, sample, signatures } from "./support.ts";
import { collected, madeLeaf, madeList, madeRoot, refusedWith } from "./x509-support.ts";

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
