// The parsers of SEV-SNP evidence: the host's certificate table, and any bytes at all in place of each part.

import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { NO_COLLATERAL } from "../../../protocol/attestation/collateral.ts";
import { parseCertificateTable } from "../../../protocol/attestation/sev-snp/certificate-table.ts";
import { parseEndorsement } from "../../../protocol/attestation/sev-snp/endorsement.ts";
import { productOfCpuid, productOfName } from "../../../protocol/attestation/sev-snp/product.ts";
import { parseSnpReport } from "../../../protocol/attestation/sev-snp/report.ts";
import { decodeTcb, encodeTcb, meetsTcb, tcbWords } from "../../../protocol/attestation/sev-snp/tcb.ts";
import { checkSnp } from "../../../protocol/attestation/sev-snp/verify.ts";
import { parseCertificate } from "../../../protocol/attestation/x509/certificate.ts";
import { concat, fromHex, toHex } from "../../../protocol/bytes.ts";
import { SealttyError } from "../../../protocol/errors.ts";
import { GUIDS, littleEndian, madeCertificateTable, madeSnp } from "../../support/made-snp.ts";
import { hasEvidence, onlySealttyErrors, sample, samples, signatures, suite } from "./support.ts";

describe("parseCertificateTable()", () => {
  const [a, b, c] = [Uint8Array.of(1, 2, 3), Uint8Array.of(4), Uint8Array.of(5, 6)] as const;
  const entry = (guid: string, offset: number, length: number) =>
    concat(fromHex(guid), littleEndian(offset, 4), littleEndian(length, 4));
  const end = new Uint8Array(24);

  test("finds what is in it, wherever that lies", () => {
    expect(
      parseCertificateTable(
        madeCertificateTable([
          [GUIDS.vcek, a],
          [GUIDS.crl, b],
          [GUIDS.ark, c],
        ]),
      ),
    ).toEqual({
      certificates: [a, c],
      crls: [b],
    });
    // Out of order, with a gap, and with whole pages of zeros behind.
    const table = concat(
      entry(GUIDS.vlek, 100, 3),
      entry(GUIDS.ask, 72, 1),
      end,
      b,
      new Uint8Array(27),
      a,
      new Uint8Array(4096),
    );
    expect(parseCertificateTable(table)).toEqual({ certificates: [a, b], crls: [] });
  });

  test("may be absent, empty, or have nothing that is known", () => {
    const nothing = { certificates: [], crls: [] };
    expect(parseCertificateTable(new Uint8Array())).toEqual(nothing);
    expect(parseCertificateTable(end)).toEqual(nothing);
    expect(parseCertificateTable(new Uint8Array(4096))).toEqual(nothing);
    expect(parseCertificateTable(madeCertificateTable([[GUIDS.googleExtra, a]]))).toEqual(nothing);
  });

  test("has its GUIDs in the order of their text", () => {
    const mixed = "5d78da6364e6 64 45 adc5f4b93be8accd".replaceAll(" ", ""); // as Microsoft would write the VCEK's
    expect(parseCertificateTable(madeCertificateTable([[mixed, a]])).certificates).toEqual([]);
  });

  test.each<[string, Uint8Array, RegExp]>([
    ["a byte", Uint8Array.of(0), /ends too early/],
    ["no end", entry(GUIDS.vcek, 24, 0), /outside|ends too early/],
    ["no end behind a good entry", entry(GUIDS.vcek, 0, 24), /ends too early/],
    ["an end with an offset", entry("00".repeat(16), 24, 0), /not empty/],
    ["an end with a length", entry("00".repeat(16), 0, 1), /not empty/],
    ["a length of zero", concat(entry(GUIDS.vcek, 48, 0), end, a), /outside/],
    ["a length of one too many", concat(entry(GUIDS.vcek, 48, 4), end, a), /outside/],
    ["a huge length", concat(entry(GUIDS.vcek, 48, 0xffffffff), end, a), /outside/],
    ["a huge offset", concat(entry(GUIDS.vcek, 0xffffffff, 3), end, a), /outside/],
    [
      "offset and length that add up beyond 2^32",
      concat(entry(GUIDS.vcek, 0xfffffff0, 0x20), end, a),
      /outside/,
    ],
    ["an entry over the list", concat(entry(GUIDS.vcek, 47, 4), end, a), /overlap/],
    ["an entry over the first", concat(entry(GUIDS.vcek, 72, 3), entry(GUIDS.ask, 74, 1), end, a), /overlap/],
    [
      "one entry within another",
      concat(entry(GUIDS.vcek, 73, 1), entry(GUIDS.ask, 72, 3), end, a),
      /overlap/,
    ],
    [
      "two VCEKs",
      madeCertificateTable([
        [GUIDS.vcek, a],
        [GUIDS.vcek, b],
      ]),
      /twice/,
    ],
    [
      "17 entries",
      madeCertificateTable(
        Array.from({ length: 17 }, (_, i): [string, Uint8Array] => [
          toHex(new Uint8Array(16).fill(i + 1)),
          b,
        ]),
      ),
      /too many entries/,
    ],
  ])("refuses one with %s", (_, table, sentence) => {
    expect(() => parseCertificateTable(table)).toThrow(sentence);
    expect(onlySealttyErrors(() => parseCertificateTable(table))).toBe(false);
  });
});

describe("products", () => {
  test.each([
    [0x19, 0x00, "Milan"],
    [0x19, 0x0f, "Milan"],
    [0x19, 0x10, "Genoa"],
    [0x19, 0x1f, "Genoa"],
    [0x19, 0xa0, "Genoa"],
    [0x19, 0xaf, "Genoa"],
    [0x1a, 0x00, "Turin"],
    [0x1a, 0x11, "Turin"],
    [0x17, 0x31, undefined],
    [0x19, 0x20, undefined],
    [0x19, 0x9f, undefined],
    [0x19, 0xb0, undefined],
    [0x1a, 0x12, undefined],
    [0x1b, 0x00, undefined],
    [0x00, 0x00, undefined],
  ])("family %i, model %i: %s", (family, model, product) => {
    expect(productOfCpuid({ family, model, stepping: 0 })).toBe(product);
  });

  test.each([
    ["Milan", "Milan"],
    ["Milan-B0", "Milan"],
    ["Genoa", "Genoa"],
    ["Turin", "Turin"],
    ["milan", undefined],
    ["Milan-", undefined],
    ["Milan-B0-C1", undefined],
    ["Genoa ", undefined],
    ["", undefined],
  ])("certificate for %j", (name, product) => {
    expect(productOfName(name)).toBe(product);
  });
});

describe("TCB versions", () => {
  test("lie differently in Turin's eight bytes", () => {
    const raw = Uint8Array.of(1, 2, 3, 4, 0, 0, 0, 8);
    expect(decodeTcb(raw, "Turin")).toEqual({ fmc: 1, bootloader: 2, tee: 3, snp: 4, microcode: 8 });
    expect(() => decodeTcb(raw, "Genoa")).toThrow(/does not have/);
    const older = Uint8Array.of(1, 2, 0, 0, 0, 0, 7, 8);
    expect(decodeTcb(older, "Milan")).toEqual({
      fmc: undefined,
      bootloader: 1,
      tee: 2,
      snp: 7,
      microcode: 8,
    });
    expect(() => decodeTcb(older, "Turin")).toThrow(/does not have/);
    for (const [bytes, product] of [
      [raw, "Turin"],
      [older, "Genoa"],
    ] as const) {
      expect(encodeTcb(decodeTcb(bytes, product), product)).toEqual(bytes);
    }
    expect(() => decodeTcb(raw.slice(1), "Turin")).toThrow(/does not have/);
  });

  test("are compared one by one", () =>
    fc.assert(
      fc.property(
        fc.tuple(fc.nat(255), fc.nat(255), fc.nat(255), fc.nat(255)),
        fc.tuple(fc.nat(255), fc.nat(255), fc.nat(255), fc.nat(255)),
        (has, wants) => {
          const [bootloader, tee, snp, microcode] = has;
          const minimum = { bootloader: wants[0], tee: wants[1], snp: wants[2], microcode: wants[3] };
          expect(meetsTcb({ fmc: undefined, bootloader, tee, snp, microcode }, minimum)).toBe(
            has.every((value, i) => value >= (wants[i] as number)),
          );
        },
      ),
    ));

  test("in words", () => {
    expect(tcbWords({ fmc: 1, microcode: 2 })).toBe("fmc 1, microcode 2");
    expect(tcbWords({})).toBe("none");
  });
});

describe("fuzzed", () => {
  const made = [
    madeSnp(),
    madeSnp({ product: "Turin" }),
    madeSnp({ product: "Milan", version: 2, kind: "vlek" }),
  ];
  const [good] = made as [(typeof made)[number]];
  const reports = [
    ...made.map(({ report }) => report),
    ...(hasEvidence ? samples("snp").map((name) => sample(`snp/${name}/report.bin`)) : []),
  ];
  const leaves = [
    ...made.map(({ leaf }) => leaf),
    ...(hasEvidence
      ? samples("snp")
          .filter((name) => samples(`snp/${name}`).includes("vcek.der"))
          .map((name) => sample(`snp/${name}/vcek.der`))
      : []),
  ];
  const edited = (corpus: readonly Uint8Array[], most = 5) =>
    fc
      .tuple(
        fc.constantFrom(...corpus),
        fc.array(fc.tuple(fc.nat(4096), fc.nat(255)), { minLength: 1, maxLength: most }),
        fc.integer({ min: -2, max: 2 }),
      )
      .map(([base, edits, longer]) => {
        const bytes = concat(
          base.subarray(0, base.length + Math.min(longer, 0)),
          new Uint8Array(Math.max(longer, 0)),
        );
        for (const [at, value] of edits) if (bytes.length > 0) bytes[at % bytes.length] = value;
        return bytes;
      });

  test("parseSnpReport() throws nothing but SealttyError, and says what is in the bytes", () =>
    fc.assert(
      fc.property(fc.oneof(edited(reports), fc.uint8Array({ minLength: 1184, maxLength: 1184 })), (bytes) => {
        if (!onlySealttyErrors(() => parseSnpReport(bytes))) return;
        const report = parseSnpReport(bytes);
        expect(bytes).toHaveLength(1184);
        expect(report.vmpl).toBeLessThan(4);
        expect(toHex(report.signed)).toBe(toHex(bytes.subarray(0, 0x2a0)));
        expect(toHex(report.reportData)).toBe(toHex(bytes.subarray(0x50, 0x90)));
      }),
      { numRuns: 3000 },
    ));

  test("parseCertificateTable() throws nothing but SealttyError, and gives parts of the table only", () => {
    const tables = [
      good.certificateTable.slice(0, 200),
      madeCertificateTable([
        [GUIDS.vcek, Uint8Array.of(1)],
        [GUIDS.crl, Uint8Array.of(2)],
      ]),
    ];
    const any = fc
      .array(fc.tuple(fc.constantFrom(...Object.values(GUIDS)), fc.nat(300), fc.nat(300)), { maxLength: 20 })
      .map((entries) =>
        concat(
          ...entries.map(([guid, offset, length]) =>
            concat(fromHex(guid), littleEndian(offset, 4), littleEndian(length, 4)),
          ),
          new Uint8Array(200),
        ),
      );
    fc.assert(
      fc.property(fc.oneof(edited(tables), any, fc.uint8Array({ maxLength: 100 })), (table) => {
        if (!onlySealttyErrors(() => parseCertificateTable(table))) return;
        const { certificates, crls } = parseCertificateTable(table);
        const total = [...certificates, ...crls].reduce((sum, piece) => sum + piece.length, 0);
        expect(total).toBeLessThanOrEqual(table.length);
        for (const piece of [...certificates, ...crls]) expect(piece.buffer).toBe(table.buffer);
      }),
      { numRuns: 3000 },
    );
  });

  test("parseEndorsement() throws nothing but SealttyError", () =>
    fc.assert(
      fc.property(edited(leaves, 2), fc.constantFrom("vcek" as const, "vlek" as const), (bytes, kind) => {
        onlySealttyErrors(() => parseEndorsement(parseCertificate(bytes), kind));
      }),
      { numRuns: 2000 },
    ));

  test("checkSnp() refuses any bytes with a refusal, in any place", async () => {
    const any = (whole: Uint8Array) => fc.oneof(edited([whole]), fc.uint8Array({ maxLength: 300 }));
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(
          any(good.report).map((report) => ({ report })),
          any(good.certificateTable).map((certificateTable) => ({ certificateTable })),
          any(good.leaf).map((leaf) => ({ leaf })),
          any(good.crls[0] as Uint8Array).map((crl) => ({ crl })),
        ),
        async (change) => {
          const { report, certificateTable, leaf, crl } = {
            report: good.report,
            certificateTable: undefined,
            leaf: good.leaf,
            crl: good.crls[0] as Uint8Array,
            ...change,
          };
          const collateral = {
            ...NO_COLLATERAL,
            certificates: [leaf, good.intermediate, good.ark],
            crls: [crl],
          };
          try {
            const facts = await checkSnp(report, certificateTable, collateral, {
              now: good.now,
              clockSkew: 0,
              roots: good.roots,
              signatures,
              suite,
              collateral: NO_COLLATERAL,
            });
            // An edit may change nothing, or only what nobody believes: the table, a list in another name.
            expect(toHex(facts.report.signed)).toBe(toHex(good.report.subarray(0, 0x2a0)));
          } catch (error) {
            expect(error).toBeInstanceOf(SealttyError);
            expect((error as SealttyError).code).toBe("evidence-refused");
          }
        },
      ),
      { numRuns: 500 },
    );
  });
});
