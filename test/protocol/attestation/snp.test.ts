// SEV-SNP reports made here: every bent field, signer and certificate extension, by the check that says so.

import { describe, expect, test } from "vitest";
import { NO_COLLATERAL } from "../../../protocol/attestation/collateral.ts";
import { VENDOR_ROOTS } from "../../../protocol/attestation/roots.ts";
import { checkSnp } from "../../../protocol/attestation/sev-snp/verify.ts";
import { concat, toHex } from "../../../protocol/bytes.ts";
import { SealttyError } from "../../../protocol/errors.ts";
import { der, madeKey } from "../../support/made-pki.ts";
import {
  GUIDS,
  MADE_CHIP_ID,
  MADE_CSP_ID,
  type MadeSnpOptions,
  REPORT_OFFSETS,
  type ReportField,
  amdName,
  littleEndian,
  madeCertificateTable,
  madeReport,
  madeSnp,
  policyOf,
} from "../../support/made-snp.ts";
import { bag, check, contextOf, refusal } from "./snp-support.ts";

const P384_ORDER = BigInt(
  "0xffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
);

describe("good evidence", () => {
  const products = ["Milan", "Genoa", "Turin"] as const;
  const cases = products.flatMap((product) =>
    (
      [
        ["vcek", 2],
        ["vcek", 3],
        ["vcek", 4],
        ["vcek", 5],
        ["vlek", 3],
      ] as const
    ).map(([kind, version]) => ({ product, kind, version })),
  );
  test.each(cases)("$product, $kind, version $version", async (options) => {
    const made = madeSnp(options);
    const facts = await check(made);
    expect(facts).toMatchObject({
      product: options.product,
      endorsement: { kind: options.kind, cspId: options.kind === "vlek" ? MADE_CSP_ID : undefined },
      root: made.roots.amd[options.product][0],
      crl: { thisUpdate: Date.UTC(2026, 5, 1), nextUpdate: Date.UTC(2027, 5, 1) },
      tcb: {
        reported: {
          fmc: options.product === "Turin" ? 1 : undefined,
          bootloader: 10,
          snp: 27,
          microcode: 219,
        },
      },
    });
    expect(facts.report.version).toBe(options.version);
    expect(facts.report.currentMitigation).toBe(options.version === 5 ? "000000000000000b" : undefined);
  });

  test("certificates may come from the host's table, from the evidence, from the owner, or from all of them", async () => {
    const made = madeSnp();
    const { report, certificateTable, collateral, leaf, intermediate, ark, crls } = made;
    const context = contextOf(made);
    const split = madeCertificateTable([[GUIDS.vcek, leaf]], 4096);
    const all = await Promise.all([
      checkSnp(report, certificateTable, NO_COLLATERAL, context),
      checkSnp(report, undefined, collateral, context),
      checkSnp(report, undefined, NO_COLLATERAL, contextOf(made, { collateral })),
      checkSnp(report, certificateTable, collateral, contextOf(made, { collateral })),
      checkSnp(report, split, bag([intermediate]), contextOf(made, { collateral: bag([ark], crls) })),
    ]);
    for (const facts of all) expect(facts).toEqual(all[0]);
    expect(all[0]?.crl).not.toBe("absent");
  });

  test("AMD's own roots do not vouch for a made chain", async () => {
    for (const product of products) {
      const made = madeSnp({ product });
      expect(await refusal(() => check(made, { roots: VENDOR_ROOTS }))).toMatch(/^snp\.root: .*is not AMD's/);
    }
  });

  test("a root pinned for one product does not vouch for another", async () => {
    const genoa = madeSnp({ product: "Genoa" });
    const turin = madeSnp({ product: "Turin" });
    await check(genoa);
    expect(await refusal(() => check(turin, { roots: genoa.roots }))).toMatch(/^snp\.root: /);
  });
});

describe("structure of the report", () => {
  const bit = (number: number, size = 8) => littleEndian(1n << BigInt(number), size);
  const or = (a: Uint8Array, b: Uint8Array) => a.map((byte, i) => byte | (b[i] ?? 0));
  test.each<[string, MadeSnpOptions, RegExp]>([
    ["version 1", { version: 1 }, /version/],
    ["version 6", { version: 6 }, /version/],
    ["version 0x10003", { fields: { version: littleEndian(0x10003, 4) } }, /version/],
    ["VMPL 4", { fields: { vmpl: littleEndian(4, 4) } }, /VMPL/],
    ["VMPL of a report that the host asked for", { fields: { vmpl: littleEndian(0xffffffff, 4) } }, /VMPL/],
    ["signature algorithm 0", { fields: { signatureAlgorithm: littleEndian(0, 4) } }, /signature algorithm/],
    ["signature algorithm 2", { fields: { signatureAlgorithm: littleEndian(2, 4) } }, /signature algorithm/],
    ["POLICY without bit 17", { fields: { policy: littleEndian(1 << 16, 8) } }, /bit 17/],
    ["POLICY with bit 26", { fields: { policy: or(policyOf([]), bit(26)) } }, /POLICY with a bit/],
    ["POLICY with bit 63", { fields: { policy: or(policyOf([]), bit(63)) } }, /POLICY with a bit/],
    ["PLATFORM_INFO with bit 8", { fields: { platformInfo: bit(8) } }, /PLATFORM_INFO with a bit/],
    ["PLATFORM_INFO with bit 32", { fields: { platformInfo: bit(32) } }, /PLATFORM_INFO with a bit/],
    ["signing key 2", { fields: { keys: littleEndian(2 << 2, 4) } }, /signing key/],
    ["a reserved bit beside the signing key", { fields: { keys: bit(5, 4) } }, /signing key/],
    ["a byte behind the signing key", { fields: { keys: concat(new Uint8Array(4), bit(0, 4)) } }, /reserved/],
    ["a byte behind CPUID", { fields: { cpuid: Uint8Array.of(0x19, 0x11, 1, 1) } }, /reserved/],
    ["CPUID in version 2", { version: 2, fields: { cpuid: Uint8Array.of(0x19, 0x11, 1) } }, /reserved/],
    [
      "a byte behind the firmware version",
      { fields: { currentFirmware: Uint8Array.of(1, 1, 1, 1) } },
      /reserved/,
    ],
    ["mitigations in version 3", { version: 3, fields: { currentMitigation: bit(0) } }, /reserved/],
    ["a byte behind the mitigations", { fields: { currentMitigation: concat(bit(0), bit(0)) } }, /reserved/],
    ["a CHIP_ID of more than 8 bytes on Turin", { product: "Turin", chipId: MADE_CHIP_ID }, /CHIP_ID/],
    [
      "a CURRENT_TCB byte that Genoa lacks",
      { fields: { currentTcb: Uint8Array.of(10, 0, 1, 0, 0, 0, 27, 219) } },
      /TCB/,
    ],
    [
      "a COMMITTED_TCB byte that Turin lacks",
      { product: "Turin", fields: { committedTcb: Uint8Array.of(1, 10, 0, 27, 1, 0, 0, 219) } },
      /TCB/,
    ],
    [
      "a byte behind r",
      { unsigned: { r: concat(new Uint8Array(48).fill(1), Uint8Array.of(1)) } },
      /longer than the curve/,
    ],
    [
      "a byte at the end of s's field",
      { unsigned: { s: concat(new Uint8Array(48).fill(1), new Uint8Array(23), Uint8Array.of(1)) } },
      /longer than the curve/,
    ],
    ["r = 0", { unsigned: { r: new Uint8Array(48) } }, /curve's order/],
    ["s = 0", { unsigned: { s: new Uint8Array(48) } }, /curve's order/],
    ["r = n", { unsigned: { r: littleEndian(P384_ORDER, 48) } }, /curve's order/],
    ["s = n", { unsigned: { s: littleEndian(P384_ORDER, 48) } }, /curve's order/],
    ["s = 2^384 - 1", { unsigned: { s: new Uint8Array(48).fill(0xff) } }, /curve's order/],
    ["a byte right behind the signature", { unsigned: { afterSignature: Uint8Array.of(1) } }, /reserved/],
    [
      "a byte at the end",
      { unsigned: { afterSignature: concat(new Uint8Array(367), Uint8Array.of(1)) } },
      /reserved/,
    ],
  ])("%s is refused", async (_, options, sentence) => {
    const told = await refusal(() => check(madeSnp(options)));
    expect(told).toMatch(/^snp\.report: /);
    expect(told).toMatch(sentence);
  });

  test.each<[string, (report: Uint8Array) => Uint8Array]>([
    ["empty", () => new Uint8Array()],
    ["one byte short", (report) => report.slice(0, -1)],
    ["one byte longer", (report) => concat(report, Uint8Array.of(0))],
    ["twice", (report) => concat(report, report)],
    ["the signed part alone", (report) => report.slice(0, 0x2a0)],
  ])("%s is refused", async (_, change) => {
    const made = madeSnp();
    expect(await refusal(() => check({ ...made, report: change(made.report) }))).toMatch(
      /^snp\.report: .*not 1184 bytes/,
    );
  });

  test.each(["r", "s"] as const)(
    "%s + n, which is the same number to the curve, is refused",
    async (half) => {
      const made = madeSnp();
      const at = REPORT_OFFSETS[half];
      const value = BigInt(`0x${toHex(made.report.slice(at, at + 48).reverse())}`);
      const report = made.report.slice();
      report.set(littleEndian(value + P384_ORDER, 49), at);
      expect(await refusal(() => check({ ...made, report }))).toMatch(/^snp\.report: /);
    },
  );

  test("bit 6 of PLATFORM_INFO, which Turin sets, is taken", async () => {
    const facts = await check(madeSnp({ fields: { platformInfo: littleEndian(0x67, 8) } }));
    expect(facts.report.platform.hex).toBe("0000000000000067");
  });
});

describe("who signed the report", () => {
  const keys = (value: number) => ({ keys: littleEndian(value, 4) });
  const zeros = { r: new Uint8Array(48), s: new Uint8Array(48) };
  test.each<[string, MadeSnpOptions, RegExp]>([
    ["no signature", { unsigned: zeros }, /^snp\.chip-key-masked: /],
    ["MASK_CHIP_KEY and no signature", { fields: keys(2), unsigned: zeros }, /^snp\.chip-key-masked: /],
    ["MASK_CHIP_KEY and a signature", { fields: keys(2) }, /^snp\.chip-key-masked: /],
    ["SIGNING_KEY none", { fields: keys(7 << 2) }, /^snp\.signing-key: .*no key signed/],
    ["VLEK said, VCEK given", { fields: keys(1 << 2) }, /^snp\.signing-key: .*only a VCEK/],
    ["VCEK said, VLEK given", { kind: "vlek", fields: keys(0) }, /^snp\.signing-key: .*only a VLEK/],
    ["a made-up r", { unsigned: { r: new Uint8Array(48).fill(1) } }, /^snp\.signature: /],
    ["r and s changed places", swapped(), /^snp\.signature: /],
    ["a changed REPORT_DATA", { unsigned: { reportData: Uint8Array.of(0) } }, /^snp\.signature: /],
    ["a changed MEASUREMENT", { unsigned: { measurement: Uint8Array.of(0) } }, /^snp\.signature: /],
    [
      "an unknown processor",
      { fields: { cpuid: Uint8Array.of(0x19, 0x20, 0) } },
      /^snp\.product: .*does not know/,
    ],
    ["an unknown family", { fields: { cpuid: Uint8Array.of(0x1b, 0, 0) } }, /^snp\.product: .*does not know/],
    [
      "another processor",
      { fields: { cpuid: Uint8Array.of(0x19, 0x01, 1) } },
      /^snp\.product: .*another product/,
    ],
    ["another chip", { chipId: MADE_CHIP_ID.toReversed() }, /^snp\.chip-id: .*another chip/],
    ["a masked chip", { chipId: new Uint8Array(64) }, /^snp\.chip-id: .*masks CHIP_ID/],
    [
      "a chip that differs behind the 8 bytes of a Turin",
      { product: "Turin", version: 2, chipId: MADE_CHIP_ID },
      /^snp\.chip-id: /,
    ],
    ...[0, 1, 6, 7].map((at): [string, MadeSnpOptions, RegExp] => [
      `REPORTED_TCB with another byte ${at}`,
      { fields: { reportedTcb: changedAt(Uint8Array.of(10, 0, 0, 0, 0, 0, 27, 219), at) } },
      /^snp\.reported-tcb: /,
    ]),
    [
      "REPORTED_TCB with a byte that Genoa lacks",
      { fields: { reportedTcb: Uint8Array.of(10, 0, 1, 0, 0, 0, 27, 219) } },
      /^snp\.reported-tcb: /,
    ],
    ...[0, 1, 2, 3, 7].map((at): [string, MadeSnpOptions, RegExp] => [
      `REPORTED_TCB of a Turin with another byte ${at}`,
      { product: "Turin", fields: { reportedTcb: changedAt(Uint8Array.of(1, 10, 0, 27, 0, 0, 0, 219), at) } },
      /^snp\.reported-tcb: /,
    ]),
  ])("%s", async (_, options, expected) => {
    expect(await refusal(() => check(madeSnp(options)))).toMatch(expected);
  });

  test("REPORTED_TCB counts, not CURRENT_TCB", async () => {
    const facts = await check(madeSnp({ fields: { currentTcb: Uint8Array.of(10, 0, 0, 0, 0, 0, 28, 220) } }));
    expect(facts.tcb.current.snp).toBe(28);
    expect(facts.tcb.reported.snp).toBe(27);
  });

  test("CHIP_ID may be masked where a VLEK signs", async () => {
    const facts = await check(madeSnp({ kind: "vlek", chipId: new Uint8Array(64) }));
    expect(facts.endorsement.hwId).toBeUndefined();
  });
});

describe("what AMD says in the certificate", () => {
  const part = (extensions: MadeSnpOptions["extensions"], more: MadeSnpOptions = {}): MadeSnpOptions => ({
    ...more,
    ...(extensions === undefined ? {} : { extensions }),
  });
  const required = ["1", "2", "3.1", "3.2", "3.3", "3.4", "3.5", "3.6", "3.7", "3.8", "4"];
  test.each<[string, MadeSnpOptions, RegExp]>([
    ...required.map((suffix): [string, MadeSnpOptions, RegExp] => [
      `extension ${suffix} missing`,
      part({ [suffix]: undefined }),
      /has no .* extension/,
    ]),
    ["fmcSPL missing on Turin", part({ "3.9": undefined }, { product: "Turin" }), /has no fmcSPL/],
    ["fmcSPL on Genoa", part({ "3.9": der.integer(0) }), /unknown firmware component/],
    ["spl4 on Turin", part({ "3.4": der.integer(0) }, { product: "Turin" }), /unknown firmware component/],
    ["a component that nobody knows", part({ "3.10": der.integer(0) }), /unknown firmware component/],
    ["spl5 with a version", part({ "3.5": der.integer(1) }), /no TCB version has/],
    ["structVersion 1 on Genoa", part({ "1": der.integer(1) }), /structVersion/],
    ["structVersion 0 on Turin", part({ "1": der.integer(0) }, { product: "Turin" }), /structVersion/],
    ["structVersion 2", part({ "1": der.integer(2) }), /structVersion/],
    ["another product name", part({ "2": der.ia5("Venice") }), /does not know/],
    ["a product name with more behind it", part({ "2": der.ia5("Genoa\n") }), /ASCII/],
    ["a product name as UTF-8", part({ "2": der.utf8("Genoa") }), /another type/],
    ["blSPL above a byte", part({ "3.1": der.integer(256) }), /too large/],
    ["blSPL as an octet string", part({ "3.1": der.octets(Uint8Array.of(10)) }), /another type/],
    ["blSPL with a byte behind it", part({ "3.1": concat(der.integer(10), Uint8Array.of(0)) }), /left over/],
    ["hwID of 63 bytes", part({ "4": MADE_CHIP_ID.slice(0, 63) }), /hwID/],
    ["hwID in DER", part({ "4": der.octets(MADE_CHIP_ID) }), /hwID/],
    ["hwID of 64 bytes on Turin", part({ "4": MADE_CHIP_ID }, { product: "Turin" }), /hwID/],
    ["a cloud's name in a VCEK", part({ "5": der.ia5("CN=x") }), /other kind/],
    ["hwID in a VLEK", part({ "4": MADE_CHIP_ID }, { kind: "vlek" }), /other kind/],
    ["a VLEK without a cloud", part({ "5": undefined }, { kind: "vlek" }), /no cspID/],
    ["a VLEK with an empty cloud", { kind: "vlek", cspId: "" }, /names no cloud/],
    ["a VLEK with a cloud of control characters", { kind: "vlek", cspId: "CN=\u001b[31m" }, /ASCII/],
  ])("%s", async (_, options, sentence) => {
    const told = await refusal(() => check(madeSnp(options)));
    expect(told).toMatch(options.kind === "vlek" ? /^snp\.vlek-extensions: / : /^snp\.vcek-extensions: /);
    expect(told).toMatch(sentence);
  });

  test("another chip's and another firmware's certificate", async () => {
    expect(await refusal(() => check(madeSnp(part({ "4": new Uint8Array(64) }))))).toMatch(/^snp\.chip-id: /);
    expect(await refusal(() => check(madeSnp(part({ "3.8": der.integer(218) }))))).toMatch(
      /^snp\.reported-tcb: /,
    );
    const turin: MadeSnpOptions = { product: "Turin" };
    expect(await refusal(() => check(madeSnp(part({ "3.9": der.integer(2) }, turin))))).toMatch(
      /^snp\.reported-tcb: /,
    );
  });
});

test("nothing of the report's texts or bytes gets into a refusal but hex and fixed words", async () => {
  const name = "\u001b[31mGenoa";
  const made = madeSnp({ leaf: { issuer: { name: amdName(name), key: madeKey("rsa", "made vcek") } } });
  try {
    await check(made);
    expect.unreachable();
  } catch (error) {
    expect(error).toBeInstanceOf(SealttyError);
    expect(
      JSON.stringify({ message: (error as SealttyError).message, ...(error as SealttyError).refusal }),
    ).not.toMatch(/\\u001b|\[31m/);
  }
});

test("another key's signature does not fit", async () => {
  const made = madeSnp();
  const report = madeReport({}, madeKey("ec-p384", "somebody"));
  expect(await refusal(() => check({ ...made, report }))).toMatch(/^snp\.signature: /);
});

test("a signature over another report does not fit", async () => {
  const made = madeSnp();
  const other = madeReport({ hostData: new Uint8Array(32).fill(9) }, made.leafKey);
  const mixed = concat(made.report.slice(0, REPORT_OFFSETS.r), other.slice(REPORT_OFFSETS.r));
  await check({ ...made, report: other });
  expect(await refusal(() => check({ ...made, report: mixed }))).toMatch(/^snp\.signature: /);
});

test("two certificates for one key are both good: AMD issues anew", async () => {
  const made = madeSnp();
  const again = madeSnp({ leaf: { serial: 9 } });
  expect(toHex(again.leaf)).not.toBe(toHex(made.leaf));
  await checkSnp(
    made.report,
    undefined,
    bag([...made.certificates, ...again.certificates], made.crls),
    contextOf(made),
  );
});

function changedAt(bytes: Uint8Array, at: number): Uint8Array {
  return bytes.with(at, (bytes[at] as number) ^ 1);
}

/** A report whose r and s have changed places. */
function swapped(): MadeSnpOptions {
  const report = madeReport({}, madeKey("ec-p384", "made leaf"));
  const half = (field: ReportField) => report.slice(REPORT_OFFSETS[field], REPORT_OFFSETS[field] + 48);
  return { unsigned: { r: half("s"), s: half("r") } };
}
