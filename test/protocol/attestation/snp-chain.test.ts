// AMD's chain and revocation lists made here: every wrong link, by the check that says so; every byte counts.

import { describe, expect, test } from "vitest";
import { type Collateral, NO_COLLATERAL } from "../../../protocol/attestation/collateral.ts";
import { checkSnp } from "../../../protocol/attestation/sev-snp/verify.ts";
import { SealttyError } from "../../../protocol/errors.ts";
import { basicConstraints, caExtensions, der, keyUsage, madeKey, makeCrl } from "../../support/made-pki.ts";
import {
  GUIDS,
  MADE_CHIP_ID,
  MADE_SNP_NOW,
  type MadeSnp,
  type MadeSnpOptions,
  amdName,
  littleEndian,
  madeCertificateTable,
  madeSnp,
} from "../../support/made-snp.ts";
import { bag, check, contextOf, refusal } from "./snp-support.ts";

describe("chain", () => {
  const day = 86_400_000;
  const past = { notBefore: MADE_SNP_NOW - 20 * day, notAfter: MADE_SNP_NOW - day };
  const future = { notBefore: MADE_SNP_NOW + day, notAfter: MADE_SNP_NOW + 20 * day };
  const issuer = (commonName: string, key: string) => ({
    issuer: { name: amdName(commonName), key: madeKey("rsa", key) },
  });
  test.each<[string, MadeSnpOptions, RegExp]>([
    [
      "a VCEK that names the ASVK",
      { leaf: issuer("SEV-VLEK-Genoa", "made vlek") },
      /^snp\.vcek-chain: .*does not issue VCEKs/,
    ],
    [
      "a VLEK that names the ASK",
      { kind: "vlek", leaf: issuer("SEV-Genoa", "made vcek") },
      /^snp\.vlek-chain: .*does not issue VLEKs/,
    ],
    [
      "a VCEK that names another product's ASK",
      { leaf: issuer("SEV-Turin", "made vcek") },
      /^snp\.vcek-chain: .*for Genoa/,
    ],
    ["a VCEK that the ARK signed", { leaf: issuer("ARK-Genoa", "made ark") }, /^snp\.vcek-chain: /],
    [
      "a VCEK that signed itself",
      { leaf: { issuer: { name: amdName("SEV-Genoa"), key: madeKey("ec-p384", "made leaf") } } },
      /^snp\.vcek-chain: .*did not sign the VCEK/,
    ],
    [
      "a VCEK that another key signed",
      { leaf: issuer("SEV-Genoa", "other vcek") },
      /^snp\.vcek-chain: .*did not sign the VCEK/,
    ],
    [
      "a VCEK with a P-256 key",
      { leaf: { key: madeKey("ec-p256", "leaf") } },
      /^snp\.vcek-chain: .*not one for a signing key/,
    ],
    [
      "a VCEK that is a CA",
      { moreExtensions: caExtensions() },
      /^snp\.vcek-chain: .*not one for a signing key/,
    ],
    ["a VCEK signed with PKCS #1 v1.5", { leaf: { algorithm: "rsassa-sha256" } }, /^snp\.vcek-chain: /],
    [
      "a VCEK signed with a salt of 32",
      { leaf: { algorithm: "rsapss-sha384-salt-32" } },
      /^snp\.vcek-chain: /,
    ],
    ["a VCEK signed with SHA-256", { leaf: { algorithm: "rsapss-sha256" } }, /^snp\.vcek-chain: /],
    [
      "an ASK that another root signed",
      { intermediate: issuer("ARK-Genoa", "other ark") },
      /^snp\.vcek-chain: AMD's root did not sign/,
    ],
    [
      "an ASK that signed itself",
      { intermediate: issuer("SEV-Genoa", "made vcek") },
      /^snp\.vcek-chain: AMD's root did not sign/,
    ],
    [
      "an ASK that is no CA",
      { intermediate: { extensions: [] } },
      /^snp\.vcek-chain: .*did not sign the VCEK/,
    ],
    [
      "an ASK that may not sign certificates",
      { intermediate: { extensions: [basicConstraints(true), keyUsage("cRLSign")] } },
      /^snp\.vcek-chain: .*did not sign the VCEK/,
    ],
    [
      "an ASK signed with PKCS #1 v1.5",
      { intermediate: { algorithm: "rsassa-sha256" } },
      /^snp\.vcek-chain: AMD's root did not sign/,
    ],
    [
      "an ASK with a critical extension that nobody knows",
      {
        intermediate: {
          extensions: [...caExtensions(0), { oid: "1.2.3", critical: true, value: der.null() }],
        },
      },
      /^snp\.vcek-chain: /,
    ],
    [
      "an ASK with another name",
      { intermediate: { subject: amdName("SEV-Genoa-2") } },
      /^snp\.vcek-chain: .*missing/,
    ],
    ["an ARK with another key", { ark: { key: madeKey("rsa", "other ark") } }, /^snp\.root: .*is not AMD's/],
    [
      "an ARK that another key signed",
      { ark: issuer("ARK-Genoa", "other ark") },
      /^snp\.root: .*was changed/,
    ],
    ["an ARK that is no CA", { ark: { extensions: [] } }, /^snp\.root: .*was changed/],
    [
      "an ARK that allows no CA below it",
      { ark: { extensions: caExtensions(0) } },
      /^snp\.root: .*was changed/,
    ],
    ["an ARK with another name", { ark: { subject: amdName("ARK-Turin") } }, /^snp\.root: .*is missing/],
    ["a VCEK of the past", { leaf: past }, /^snp\.validity: The VCEK/],
    ["a VCEK of the future", { leaf: future }, /^snp\.validity: The VCEK/],
    ["a VLEK of the past", { kind: "vlek", leaf: past }, /^snp\.validity: The VLEK/],
    ["an ASK of the past", { intermediate: past }, /^snp\.validity: The SEV-Genoa/],
    ["an ASK of the future", { intermediate: future }, /^snp\.validity: The SEV-Genoa/],
    ["an ARK of the past", { ark: past }, /^snp\.validity: The ARK-Genoa/],
    ["an ARK of the future", { ark: future }, /^snp\.validity: The ARK-Genoa/],
  ])("%s is refused", async (_, options, expected) => {
    expect(await refusal(() => check(madeSnp(options)))).toMatch(expected);
  });

  test("validity has the skew that the context allows, and no more", async () => {
    const made = madeSnp({ leaf: past });
    await check(made, { clockSkew: day });
    expect(await refusal(() => check(made, { clockSkew: day - 1 }))).toMatch(/^snp\.validity: /);
    expect(await refusal(() => check(madeSnp(), { now: Date.UTC(2040, 0, 1) }))).toMatch(/^snp\.validity: /);
  });

  test.each<[string, (made: MadeSnp) => readonly Uint8Array[], RegExp]>([
    ["the VCEK", ({ intermediate, ark }) => [intermediate, ark], /^snp\.certificate: .*missing/],
    ["the ASK", ({ leaf, ark }) => [leaf, ark], /^snp\.vcek-chain: .*missing/],
    ["the ARK", ({ leaf, intermediate }) => [leaf, intermediate], /^snp\.root: .*missing/],
    ["everything", () => [], /^snp\.certificate: .*missing/],
  ])("without %s, evidence is refused", async (_, left, expected) => {
    const made = madeSnp();
    expect(await refusal(() => checkSnp(made.report, undefined, bag(left(made)), contextOf(made)))).toMatch(
      expected,
    );
  });

  test("a missing VCEK: the refusal says how to fetch it, and how to hand it in", async () => {
    const made = madeSnp();
    const attempt = checkSnp(made.report, undefined, bag([made.intermediate, made.ark]), contextOf(made));
    await expect(attempt).rejects.toMatchObject({
      refusal: {
        check: "snp.certificate",
        next: expect.stringMatching(/`sealtty collateral fetch --for FILE`.*`--collateral DIR`/),
      },
    });
  });

  test("an owner's own collateral may be of many machines", async () => {
    const made = madeSnp();
    const owned = (count: number) =>
      check(made, { collateral: bag(Array.from({ length: count }, () => made.leaf)) });
    await owned(512);
    expect(await refusal(() => owned(700))).toMatch(/^snp\.collateral: .*too many/);
  });

  test("a stranger's certificates beside the good ones change nothing", async () => {
    const made = madeSnp();
    const others = [
      ...madeSnp({ keys: "other" }).certificates, // the same names, other keys
      ...madeSnp({ product: "Turin" }).certificates,
      ...madeSnp({ kind: "vlek" }).certificates,
      ...madeSnp({ extensions: { "4": MADE_CHIP_ID.toReversed() } }).certificates,
      ...madeSnp({ extensions: { "3.8": der.integer(1) } }).certificates,
      ...madeSnp({ leaf: past }).certificates,
    ];
    for (const certificates of [
      [...others, ...made.certificates],
      [...made.certificates, ...others],
    ]) {
      const facts = await checkSnp(made.report, undefined, bag(certificates, made.crls), contextOf(made));
      expect(facts.root).toBe(made.roots.amd.Genoa[0]);
    }
  });

  test("a stranger's whole chain with the right names is not AMD's", async () => {
    const made = madeSnp();
    const other = madeSnp({ keys: "other" });
    expect(await refusal(() => check(other, { roots: made.roots }))).toMatch(/^snp\.root: .*is not AMD's/);
    // Nor does the real root help a stranger's ASK.
    const certificates = [...other.certificates, made.ark];
    expect(
      await refusal(() => checkSnp(other.report, undefined, bag(certificates), contextOf(made))),
    ).toMatch(/^snp\.vcek-chain: AMD's root did not sign/);
  });

  test("the difference of the certificate that comes closest is told", async () => {
    const made = madeSnp();
    const near = madeSnp({ extensions: { "3.8": der.integer(1) } });
    const far = madeSnp({ extensions: { "4": MADE_CHIP_ID.toReversed() } });
    for (const leaves of [
      [near.leaf, far.leaf],
      [far.leaf, near.leaf],
    ]) {
      const certificates = [...leaves, made.intermediate, made.ark];
      expect(
        await refusal(() => checkSnp(made.report, undefined, bag(certificates), contextOf(made))),
      ).toMatch(/^snp\.reported-tcb: /);
    }
  });

  test("more candidates than are tried are refused", async () => {
    const made = madeSnp();
    const leaves = (count: number) =>
      Array.from({ length: count }, (_, i) => madeSnp({ leaf: { serial: i + 1, ...past } }).leaf);
    const run = (count: number) =>
      checkSnp(made.report, undefined, bag([...leaves(count), ...made.certificates]), contextOf(made));
    await run(7);
    expect(await refusal(() => run(8))).toMatch(/^snp\.vcek-chain: Too many/);
  });

  test("more pieces than are read are refused before they are read", async () => {
    const made = madeSnp();
    const certificates = Array.from({ length: 512 + 64 + 16 + 1 }, (_, i) => littleEndian(i, 2));
    expect(await refusal(() => checkSnp(made.report, undefined, bag(certificates), contextOf(made)))).toMatch(
      /^snp\.collateral: There are too many/,
    );
  });

  test.each<[string, (made: MadeSnp) => [Uint8Array | undefined, Collateral, Collateral], RegExp]>([
    [
      "in the table",
      ({ collateral }) => [madeCertificateTable([[GUIDS.ask, Uint8Array.of(1)]]), collateral, NO_COLLATERAL],
      /^snp\.collateral: A certificate/,
    ],
    [
      "among the evidence's certificates",
      ({ certificates }) => [undefined, bag([...certificates, Uint8Array.of(1)]), NO_COLLATERAL],
      /^snp\.collateral: A certificate/,
    ],
    [
      "among the evidence's lists",
      ({ certificates }) => [undefined, bag(certificates, [new Uint8Array()]), NO_COLLATERAL],
      /^snp\.collateral: A revocation list/,
    ],
    [
      "among the owner's certificates",
      ({ collateral }) => [undefined, collateral, bag([Uint8Array.of(1)])],
      /^snp\.collateral: A certificate/,
    ],
    [
      "instead of a table",
      ({ collateral }) => [Uint8Array.of(1), collateral, NO_COLLATERAL],
      /^snp\.certificate-table: /,
    ],
  ])("garbage %s is refused", async (_, split, expected) => {
    const made = madeSnp();
    const [table, evidence, collateral] = split(made);
    expect(
      await refusal(() => checkSnp(made.report, table, evidence, contextOf(made, { collateral }))),
    ).toMatch(expected);
  });
});

describe("revocation", () => {
  const ark = (keys = "made") => ({ name: amdName("ARK-Genoa"), key: madeKey("rsa", `${keys} ark`) });
  const june = { thisUpdate: Date.UTC(2026, 5, 1), nextUpdate: Date.UTC(2027, 5, 1) };
  test.each<[string, MadeSnpOptions, RegExp]>([
    [
      "the ASK on it",
      { crl: { revoked: [{ serial: 5 }, { serial: 0x10001, reason: 1 }] } },
      /^snp\.crl: AMD has revoked/,
    ],
    [
      "the ASVK on it",
      { kind: "vlek", crl: { revoked: [{ serial: 0x10001 }] } },
      /^snp\.crl: AMD has revoked/,
    ],
    ["the ARK on it", { crl: { revoked: [{ serial: 0x10000 }] } }, /^snp\.crl: AMD has revoked/],
    ["a signature of another key", { crl: { issuer: ark("other") } }, /^snp\.crl: .*not signed by AMD/],
    [
      "a signature with PKCS #1 v1.5",
      { crl: { algorithm: "rsassa-sha256" } },
      /^snp\.crl: .*not signed by AMD/,
    ],
    [
      "its end in the past",
      { crl: { nextUpdate: MADE_SNP_NOW - 1000 } },
      /^snp\.crl: .*not valid at this time/,
    ],
    [
      "its begin in the future",
      { crl: { thisUpdate: MADE_SNP_NOW + 1000 } },
      /^snp\.crl: .*not valid at this time/,
    ],
    [
      "an ARK that may not sign lists",
      { ark: { extensions: [basicConstraints(true), keyUsage("keyCertSign")] } },
      /^snp\.crl: .*not signed by AMD/,
    ],
    ["no end", { crl: { nextUpdate: undefined } }, /^snp\.collateral: A revocation list/],
    [
      "a distribution point",
      { crl: { extensions: [{ oid: "2.5.29.28", value: der.sequence() }] } },
      /^snp\.collateral: A revocation list/,
    ],
  ])("a list with %s is refused", async (_, options, expected) => {
    expect(await refusal(() => check(madeSnp(options)))).toMatch(expected);
  });

  test("a list with other certificates on it, or none, passes", async () => {
    for (const revoked of [[{ serial: 0x100 }, { serial: 0x1000100 }], []]) {
      expect((await check(madeSnp({ crl: { revoked } }))).crl).not.toBe("absent");
    }
  });

  test("without a list the facts say so", async () => {
    expect((await check(madeSnp({ crl: "none" }))).crl).toBe("absent");
  });

  test("a list of somebody else is none", async () => {
    const other = makeCrl({
      issuer: { name: amdName("ARK-Turin"), key: madeKey("rsa", "other ark") },
      ...june,
    });
    const made = madeSnp({ crl: "none" });
    const facts = await checkSnp(made.report, undefined, bag(made.certificates, [other]), contextOf(made));
    expect(facts.crl).toBe("absent");
  });

  test("of several lists the newest is told, and none may be bad or revoke", async () => {
    const made = madeSnp();
    const newer = makeCrl({ issuer: ark(), thisUpdate: Date.UTC(2026, 5, 10), nextUpdate: june.nextUpdate });
    const run = (...crls: Uint8Array[]) =>
      checkSnp(made.report, undefined, bag(made.certificates, crls), contextOf(made));
    const [older] = made.crls as [Uint8Array];
    for (const crls of [
      [older, newer],
      [newer, older],
    ]) {
      expect((await run(...crls)).crl).toMatchObject({ thisUpdate: Date.UTC(2026, 5, 10) });
    }
    const forged = makeCrl({ issuer: ark("other"), ...june });
    const revoking = makeCrl({ issuer: ark(), ...june, revoked: [{ serial: 0x10001 }] });
    for (const crls of [
      [newer, forged],
      [forged, newer],
    ]) {
      expect(await refusal(() => run(...crls))).toMatch(/^snp\.crl: .*not signed by AMD/);
    }
    expect(await refusal(() => run(newer, revoking))).toMatch(/^snp\.crl: AMD has revoked/);
    // An owner's cache ages: an outdated list does no harm beside a current one, and what it revokes stays revoked.
    const past = { nextUpdate: MADE_SNP_NOW - 1000 };
    const [outdated] = madeSnp({ crl: past }).crls as [Uint8Array];
    expect((await run(outdated, newer)).crl).toMatchObject({ thisUpdate: Date.UTC(2026, 5, 10) });
    expect(await refusal(() => run(outdated))).toMatch(/^snp\.crl: .*not valid at this time/);
    const [revoked] = madeSnp({ crl: { ...past, revoked: [{ serial: 0x10001 }] } }).crls as [Uint8Array];
    expect(await refusal(() => run(newer, revoked))).toMatch(/^snp\.crl: AMD has revoked/);
    const many = Array.from({ length: 9 }, (_, i) => makeCrl({ issuer: ark(), ...june, number: i + 10 }));
    expect(await refusal(() => run(...many))).toMatch(/^snp\.crl: Too many/);
  });
});

describe("every byte", () => {
  const made = madeSnp({ crl: "none" });
  const flipped = (bytes: Uint8Array, at: number) => {
    const changed = bytes.slice();
    changed[at] = (changed[at] as number) ^ (1 << (at % 8));
    return changed;
  };

  test("of a good report counts", async () => {
    await check(made);
    const accepted: number[] = [];
    for (let at = 0; at < made.report.length; at++) {
      try {
        await check({ ...made, report: flipped(made.report, at) });
        accepted.push(at);
      } catch (error) {
        expect((error as SealttyError).code).toBe("evidence-refused");
      }
    }
    expect(accepted).toEqual([]);
  });

  test.each(["leaf", "intermediate", "ark"] as const)("of the chain's %s counts", async (name) => {
    const accepted: number[] = [];
    for (let at = 0; at < made[name].length; at++) {
      const certificates = made.certificates.map((bytes) =>
        bytes === made[name] ? flipped(bytes, at) : bytes,
      );
      try {
        await checkSnp(made.report, undefined, bag(certificates), contextOf(made));
        accepted.push(at);
      } catch (error) {
        expect((error as SealttyError).code).toBe("evidence-refused");
      }
    }
    expect(accepted).toEqual([]);
  });
});
