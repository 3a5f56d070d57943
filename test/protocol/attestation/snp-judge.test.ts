// What the owner's policy makes of a SEV-SNP report, and how the report is told.

import { describe, expect, test } from "vitest";
import { NO_COLLATERAL } from "../../../protocol/attestation/collateral.ts";
import { SNP_DEFAULTS, type SnpPolicy } from "../../../protocol/attestation/policy/model.ts";
import { Checks } from "../../../protocol/attestation/refusal.ts";
import {
  checkSnp,
  judgeSnp,
  reportSnp,
  type SnpFacts,
} from "../../../protocol/attestation/sev-snp/verify.ts";
import { concat, toHex } from "../../../protocol/bytes.ts";
import { SealttyError } from "../../../protocol/errors.ts";
import {
  MADE_CHIP_ID,
  MADE_CSP_ID,
  MADE_MEASUREMENT,
  type MadeSnpOptions,
  littleEndian,
  madeSnp,
  policyOf,
} from "../../support/made-snp.ts";
import { signatures, suite } from "./support.ts";

const facts = async (options: MadeSnpOptions): Promise<SnpFacts> => {
  const made = madeSnp(options);
  return await checkSnp(made.report, undefined, made.collateral, {
    now: made.now,
    clockSkew: 0,
    roots: made.roots,
    signatures,
    suite,
    collateral: NO_COLLATERAL,
  });
};

interface Failure {
  readonly check: string;
  readonly policyKey: string | undefined;
}

/** All that the policy does not accept. */
async function failures(options: MadeSnpOptions, policy: Partial<SnpPolicy>): Promise<Failure[]> {
  const checks = new Checks();
  judgeSnp(await facts(options), { ...SNP_DEFAULTS, ...policy }, checks);
  try {
    checks.settle();
    return [];
  } catch (error) {
    if (!(error instanceof SealttyError) || error.refusal === undefined) throw error;
    const { others = [], ...first } = error.refusal;
    return [first, ...others].map(({ check, policyKey, next, expected, found }) => {
      expect([next, expected, found].every((words) => words !== "")).toBe(true);
      if (policyKey !== undefined) expect(next.includes(policyKey) || next.includes("policy")).toBe(true);
      return { check, policyKey };
    });
  }
}

const bytes = (size: number, fill: number) => new Uint8Array(size).fill(fill);
const hex = (size: number, fill: number) => toHex(bytes(size, fill));
const signedBlock: MadeSnpOptions = {
  fields: {
    keys: littleEndian(1, 4), // AUTHOR_KEY_EN
    idKeyDigest: bytes(48, 0xab),
    authorKeyDigest: bytes(48, 0xcd),
    familyId: bytes(16, 0x0f),
    imageId: bytes(16, 0x1f),
    guestSvn: littleEndian(7, 4),
  },
};
const provisionalTcb: MadeSnpOptions = {
  fields: { committedTcb: Uint8Array.of(10, 0, 0, 0, 0, 0, 26, 219) },
};
const provisionalFirmware: MadeSnpOptions = { fields: { committedFirmware: Uint8Array.of(39, 55, 1) } };
const noAliasCheck: MadeSnpOptions = { fields: { platformInfo: littleEndian(0x05, 8) } };
const turin: MadeSnpOptions = { product: "Turin" };
const milan: MadeSnpOptions = { product: "Milan" };

type Row = readonly [what: string, made: MadeSnpOptions, policy: Partial<SnpPolicy>];

const MET: readonly Row[] = [
  ["the defaults", {}, {}],
  ["Turin under the defaults", turin, {}],
  ["a pinned measurement", {}, { measurements: [hex(48, 9), toHex(MADE_MEASUREMENT)] }],
  ["pinned signers", signedBlock, { idKeys: [hex(48, 0xab)], authorKeys: [hex(48, 0xcd)] }],
  [
    "pinned identity block",
    signedBlock,
    { familyIds: [hex(16, 0x0f)], imageIds: [hex(16, 0x1f)], minimumGuestSvn: 7 },
  ],
  ["pinned HOST_DATA", {}, { hostData: [hex(32, 0x22)] }],
  ["a pinned chip", {}, { chipIds: [toHex(MADE_CHIP_ID)] }],
  ["a pinned Turin chip", turin, { chipIds: [toHex(MADE_CHIP_ID).slice(0, 16).padEnd(128, "0")] }],
  ["a pinned cloud", { kind: "vlek" }, { signingKeys: ["vlek"], cspIds: [MADE_CSP_ID] }],
  ["an allowed level", { fields: { vmpl: littleEndian(2, 4) } }, { vmpls: [0, 2] }],
  ["allowed debugging", { fields: { policy: policyOf(["debug"]) } }, { allowDebug: true }],
  [
    "an allowed migration agent",
    { fields: { policy: policyOf(["migrationAgent"]), reportIdMa: bytes(32, 1) } },
    { allowMigrationAgent: true },
  ],
  ["allowed provisional firmware", provisionalTcb, { allowProvisionalFirmware: true }],
  ["an alias check that is not asked for", noAliasCheck, { aliasCheck: "any" }],
  ["no list where none is required", { crl: "none" }, { crl: "if-present" }],
  [
    "the TCB that is there",
    {},
    { minimumTcb: { bootloader: 10, tee: 0, snp: 27, microcode: 219 }, minimumLaunchTcb: { snp: 27 } },
  ],
  ["the fmc that is there", turin, { minimumTcb: { fmc: 1 } }],
  ["a minimum fmc of 0 where there is none", {}, { minimumTcb: { fmc: 0 } }],
  ["the mitigations that are there", {}, { minimumMitigation: "000000000000000b" }],
  ["an ABI that is asked for", { fields: { policy: policyOf(["smt"], 0x0137) } }, { minimumAbi: "1.55" }],
  ["a higher major ABI", { fields: { policy: policyOf(["smt"], 0x0200) } }, { minimumAbi: "1.55" }],
  ["SMT off", { fields: { platformInfo: littleEndian(0x24, 8) } }, { smt: "off" }],
  ["one socket", { fields: { policy: policyOf(["singleSocket"]) } }, { singleSocket: "required" }],
  [
    "hidden ciphertext",
    { fields: { platformInfo: littleEndian(0x34, 8) } },
    { ciphertextHiding: "required" },
  ],
  ["Milan with its chip pinned", milan, { chipIds: [toHex(MADE_CHIP_ID)] }],
  ["Milan where the owner accepts all", milan, { allowMilanWithoutChipId: true }],
  [
    "Milan with a VLEK and its cloud pinned",
    { ...milan, kind: "vlek" },
    { signingKeys: ["vlek"], cspIds: [MADE_CSP_ID] },
  ],
];

const REFUSED: readonly (readonly [...Row, check: string, policyKey: string])[] = [
  ["another measurement", {}, { measurements: [hex(48, 9)] }, "snp.measurement", "snp.measurement"],
  ["another ID key", signedBlock, { idKeys: [hex(48, 1)] }, "snp.id-key", "snp.idKey"],
  ["no ID key", {}, { idKeys: [hex(48, 0xab)] }, "snp.id-key", "snp.idKey"],
  ["no ID key where zeros are pinned", {}, { idKeys: [hex(48, 0)] }, "snp.id-key", "snp.idKey"],
  ["another author key", signedBlock, { authorKeys: [hex(48, 1)] }, "snp.author-key", "snp.authorKey"],
  [
    "an author key that does not count",
    { fields: { authorKeyDigest: bytes(48, 0xcd) } },
    { authorKeys: [hex(48, 0xcd)] },
    "snp.author-key",
    "snp.authorKey",
  ],
  ["another family", signedBlock, { familyIds: [hex(16, 1)] }, "snp.family-id", "snp.familyId"],
  ["another image", signedBlock, { imageIds: [hex(16, 1)] }, "snp.image-id", "snp.imageId"],
  ["an older guest", signedBlock, { minimumGuestSvn: 8 }, "snp.guest-svn", "snp.minimumGuestSvn"],
  ["other HOST_DATA", {}, { hostData: [hex(32, 1)] }, "snp.host-data", "snp.hostData"],
  [
    "no HOST_DATA where zeros are pinned",
    { hostData: bytes(32, 0) },
    { hostData: [hex(32, 0)] },
    "snp.host-data",
    "snp.hostData",
  ],
  ["another chip", {}, { chipIds: [hex(64, 1)] }, "snp.chip-id", "snp.chipId"],
  [
    "a masked chip",
    { kind: "vlek", chipId: bytes(64, 0) },
    { signingKeys: ["vlek"], chipIds: [hex(64, 0)] },
    "snp.chip-id",
    "snp.chipId",
  ],
  ["another cloud", { kind: "vlek" }, { signingKeys: ["vlek"], cspIds: ["CN=x"] }, "snp.csp-id", "snp.cspId"],
  ["no cloud", {}, { cspIds: [MADE_CSP_ID] }, "snp.csp-id", "snp.cspId"],
  ["another product", {}, { products: ["Turin"] }, "snp.product", "snp.products"],
  ["a VLEK", { kind: "vlek" }, {}, "snp.signing-key", "snp.signingKey"],
  ["a VCEK", {}, { signingKeys: ["vlek"] }, "snp.signing-key", "snp.signingKey"],
  ["another level", { fields: { vmpl: littleEndian(3, 4) } }, {}, "snp.vmpl", "snp.vmpl"],
  ["level 0 where 1 is asked for", {}, { vmpls: [1] }, "snp.vmpl", "snp.vmpl"],
  ["debugging", { fields: { policy: policyOf(["debug"]) } }, {}, "snp.debug", "snp.allowDebug"],
  [
    "a migration agent that may come",
    { fields: { policy: policyOf(["migrationAgent"]) } },
    {},
    "snp.migration-agent",
    "snp.allowMigrationAgent",
  ],
  [
    "a migration agent that is there",
    { fields: { reportIdMa: bytes(32, 0) } },
    {},
    "snp.migration-agent",
    "snp.allowMigrationAgent",
  ],
  [
    "a TCB that is not committed",
    provisionalTcb,
    {},
    "snp.provisional-firmware",
    "snp.allowProvisionalFirmware",
  ],
  [
    "firmware that is not committed",
    provisionalFirmware,
    {},
    "snp.provisional-firmware",
    "snp.allowProvisionalFirmware",
  ],
  ["no alias check", noAliasCheck, {}, "snp.alias-check", "snp.aliasCheck"],
  ["no list", { crl: "none" }, {}, "snp.crl", "snp.crl"],
  ...(["bootloader", "tee", "snp", "microcode"] as const).map((part) => {
    // All other components are far above: as one number the TCB would be new enough.
    const tcb = { bootloader: 200, tee: 200, snp: 200, microcode: 200, [part]: 9 };
    return [
      `an older ${part}`,
      { tcb },
      { minimumTcb: { [part]: 10 } },
      "snp.minimum-tcb",
      "snp.minimumTcb",
    ] as const;
  }),
  ["an older fmc", turin, { minimumTcb: { fmc: 2 } }, "snp.minimum-tcb", "snp.minimumTcb"],
  ["no fmc", {}, { minimumTcb: { fmc: 1 } }, "snp.minimum-tcb", "snp.minimumTcb"],
  [
    "an older firmware at the start",
    { fields: { launchTcb: Uint8Array.of(10, 0, 0, 0, 0, 0, 26, 219) } },
    { minimumLaunchTcb: { snp: 27 } },
    "snp.minimum-launch-tcb",
    "snp.minimumLaunchTcb",
  ],
  [
    "a mitigation that is missing",
    {},
    { minimumMitigation: "000000000000000f" },
    "snp.mitigation",
    "snp.minimumMitigation",
  ],
  [
    "a high mitigation bit that is missing",
    {},
    { minimumMitigation: "8000000000000000" },
    "snp.mitigation",
    "snp.minimumMitigation",
  ],
  [
    "mitigations that are not told",
    { version: 4 },
    { minimumMitigation: "0000000000000001" },
    "snp.mitigation",
    "snp.minimumMitigation",
  ],
  [
    "an older minor ABI",
    { fields: { policy: policyOf(["smt"], 0x0136) } },
    { minimumAbi: "1.55" },
    "snp.abi",
    "snp.minimumAbi",
  ],
  [
    "an older major ABI",
    { fields: { policy: policyOf(["smt"], 0x00ff) } },
    { minimumAbi: "1.0" },
    "snp.abi",
    "snp.minimumAbi",
  ],
  ["SMT on", {}, { smt: "off" }, "snp.smt", "snp.smt"],
  ["many sockets", {}, { singleSocket: "required" }, "snp.single-socket", "snp.singleSocket"],
  [
    "ciphertext to see",
    {},
    { ciphertextHiding: "required" },
    "snp.ciphertext-hiding",
    "snp.ciphertextHiding",
  ],
  [
    "ciphertext to see although the guest asks to hide it",
    { fields: { policy: policyOf(["ciphertextHiding"]) } },
    { ciphertextHiding: "required" },
    "snp.ciphertext-hiding",
    "snp.ciphertextHiding",
  ],
  ["Milan under the defaults", milan, {}, "snp.milan", "snp.chipId"],
  ["Milan with a VCEK and a cloud pinned", milan, { cspIds: [MADE_CSP_ID] }, "snp.milan", "snp.chipId"],
  [
    "Milan with a VLEK and nothing pinned",
    { ...milan, kind: "vlek" },
    { signingKeys: ["vlek"] },
    "snp.milan",
    "snp.cspId",
  ],
];

describe("judgeSnp()", () => {
  test.each(MET)("accepts %s", async (_, made, policy) => {
    expect(await failures(made, policy)).toEqual([]);
  });

  test.each(REFUSED)("refuses %s", async (_, made, policy, check, policyKey) => {
    expect(await failures(made, policy)).toContainEqual({ check, policyKey });
    // And only that, but for a VCEK that has no cloud's name.
    const others = (await failures(made, policy)).filter((failure) => failure.check !== check);
    expect(others.filter((failure) => failure.check !== "snp.csp-id")).toEqual([]);
  });

  test("every key of the policy decides something here", () => {
    const decided = new Set([...MET, ...REFUSED].flatMap(([, , policy]) => Object.keys(policy)));
    expect([...decided].toSorted()).toEqual(Object.keys(SNP_DEFAULTS).toSorted());
  });

  test("names all that does not fit", async () => {
    const found = await failures(
      {
        crl: "none",
        fields: {
          policy: policyOf(["debug", "migrationAgent"]),
          vmpl: littleEndian(1, 4),
          platformInfo: littleEndian(0, 8),
          committedTcb: new Uint8Array(8),
        },
      },
      { measurements: [hex(48, 9)], hostData: [hex(32, 1)] },
    );
    expect(found.map(({ check }) => check)).toEqual([
      "snp.measurement",
      "snp.host-data",
      "snp.debug",
      "snp.migration-agent",
      "snp.vmpl",
      "snp.provisional-firmware",
      "snp.alias-check",
      "snp.crl",
    ]);
  });

  test("writes down what holds, with the key that decides", async () => {
    const checks = new Checks();
    judgeSnp(await facts({}), { ...SNP_DEFAULTS, hostData: [hex(32, 0x22)] }, checks);
    const lines = checks.settle();
    expect(lines).toContainEqual({
      check: "snp.host-data",
      words: "HOST_DATA is one that the policy names",
      value: hex(32, 0x22),
      expected: hex(32, 0x22),
      policyKey: "snp.hostData",
    });
    expect(lines.map(({ check }) => check)).toContain("snp.debug");
  });
});

/** The line or the failure of one check. */
async function told(made: MadeSnpOptions, policy: Partial<SnpPolicy>, check: string) {
  const checks = new Checks();
  judgeSnp(await facts(made), { ...SNP_DEFAULTS, ...policy }, checks);
  try {
    return checks.settle().find((line) => line.check === check);
  } catch (error) {
    if (!(error instanceof SealttyError) || error.refusal === undefined) throw error;
    const { others = [], ...first } = error.refusal;
    return [first, ...others].find((each) => each.check === check);
  }
}

describe("what a line says", () => {
  const lines = async (policy: Partial<SnpPolicy>) => {
    const checks = new Checks();
    judgeSnp(await facts({}), { ...SNP_DEFAULTS, ...policy }, checks);
    return checks.settle().map(({ check }) => check);
  };
  test.each<[string, Partial<SnpPolicy>, Partial<SnpPolicy>]>([
    ["snp.minimum-tcb", { minimumTcb: { tee: 0 } }, { minimumTcb: { snp: 1 } }],
    ["snp.minimum-launch-tcb", { minimumLaunchTcb: {} }, { minimumLaunchTcb: { snp: 1 } }],
    ["snp.guest-svn", { minimumGuestSvn: 0 }, { minimumGuestSvn: 1 }],
    ["snp.abi", { minimumAbi: "0.0" }, { minimumAbi: "0.1" }],
    ["snp.mitigation", { minimumMitigation: "0".repeat(16) }, { minimumMitigation: "1".padStart(16, "0") }],
  ])(
    "%s: a comparison that compares nothing is not told as one that holds",
    async (check, nothing, something) => {
      expect(await lines({})).not.toContain(check);
      expect(await lines(nothing)).not.toContain(check);
      expect(await told({}, something, check)).toBeDefined();
    },
  );

  test("of Milan: what is pinned and what was found; in a refusal the report's own, and the key to put it into", async () => {
    const chip = toHex(MADE_CHIP_ID);
    const vlek: MadeSnpOptions = { ...milan, kind: "vlek" };
    expect(await told(milan, { chipIds: [chip] }, "snp.milan")).toMatchObject({
      value: `CHIP_ID ${chip}`,
      expected: `CHIP_ID ${chip}`,
      policyKey: "snp.chipId",
    });
    expect(await told(vlek, { signingKeys: ["vlek"], cspIds: [MADE_CSP_ID] }, "snp.milan")).toMatchObject({
      value: MADE_CSP_ID,
      expected: MADE_CSP_ID,
      policyKey: "snp.cspId",
    });
    expect(await told(milan, { allowMilanWithoutChipId: true }, "snp.milan")).toMatchObject({
      value: `CHIP_ID ${chip}`,
      expected: "any",
    });
    expect(await told(milan, {}, "snp.milan")).toMatchObject({
      found: `CHIP_ID ${chip}`,
      policyKey: "snp.chipId",
      next: expect.stringContaining("in this report"),
    });
    expect(await told(vlek, { signingKeys: ["vlek"] }, "snp.milan")).toMatchObject({
      found: MADE_CSP_ID,
      policyKey: "snp.cspId",
      next: expect.stringContaining("VLEK"),
    });
  });

  test("of provisional firmware: which is current, and which is committed", async () => {
    expect(await told(provisionalFirmware, {}, "snp.provisional-firmware")).toMatchObject({
      expected: expect.stringMatching(/^committed, as current: 1\.55\.40, bootloader 10/),
      found: expect.stringMatching(/^committed: 1\.55\.39, bootloader 10/),
    });
  });
});

describe("reportSnp()", () => {
  test("tells a good report", async () => {
    const reportData = Uint8Array.from({ length: 64 }, (_, i) => i);
    const report = reportSnp(await facts({ ...signedBlock, reportData }));
    expect(report).toMatchObject({
      assurance: "hardware",
      bound: reportData,
      signedBy: "AMD EPYC Genoa, with the chip's own key (VCEK)",
      what: `A SEV-SNP guest with the launch measurement ${toHex(MADE_MEASUREMENT)}`,
      which: `The machine with the chip ${toHex(MADE_CHIP_ID)}`,
      documentDigest: { hash: "sha256", value: bytes(32, 0x22), field: "HOST_DATA" },
      warnings: [],
    });
    const value = (name: string) => report.values.find((each) => each.name === name);
    expect(value("snp.report-id")).toMatchObject({ value: hex(32, 0x33), scope: "boot" });
    expect(value("snp.measurement")).toMatchObject({ value: toHex(MADE_MEASUREMENT), scope: "lasting" });
    expect(value("snp.id-key")?.value).toBe(hex(48, 0xab));
    expect(value("snp.author-key")?.value).toBe(hex(48, 0xcd));
    expect(value("snp.reported-tcb")?.value).toBe("bootloader 10, tee 0, snp 27, microcode 219");
    expect(value("snp.firmware")?.value).toBe("1.55.40");
    expect(value("snp.policy")?.value).toMatch(
      /^ABI 0\.0 or newer, SMT allowed, no debugging, no migration agent/,
    );
    expect(value("snp.vmpl")?.value).toBe("0");
    expect(value("snp.product")?.value).toBe("AMD EPYC Genoa");
    expect(new Set(report.values.map(({ name }) => name)).size).toBe(report.values.length);
    expect(report.verified.map(({ check }) => check)).toEqual([
      "snp.root",
      "snp.vcek-chain",
      "snp.signature",
      "snp.reported-tcb",
      "snp.chip-id",
      "snp.crl",
    ]);
    expect(report.notVerified.join()).toMatch(/Physical attacks/);
  });

  test("has no document's digest where HOST_DATA is zero", async () => {
    const report = reportSnp(await facts({ hostData: bytes(32, 0) }));
    expect(report.documentDigest).toBeUndefined();
    expect(report.values.map(({ name }) => name)).not.toContain("snp.host-data");
  });

  test.each<[string, MadeSnpOptions, RegExp]>([
    ["debugging", { fields: { policy: policyOf(["debug"]) } }, /may be debugged/],
    ["a migration agent", { fields: { reportIdMa: bytes(32, 0) } }, /migration agent/],
    ["VMPL 2", { fields: { vmpl: littleEndian(2, 4) } }, /privilege level 2/],
    ["provisional firmware", provisionalFirmware, /provisional/],
    ["no alias check", noAliasCheck, /BadRAM/],
    ["Milan", milan, /Milan/],
    ["a VLEK", { kind: "vlek" }, /lent to a cloud/],
    ["no list", { crl: "none" }, /revocation list/],
  ])("warns of %s, and of nothing else", async (_, options, sentence) => {
    const { warnings } = reportSnp(await facts(options));
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(sentence);
  });

  test("names the cloud of a VLEK, and that the chip is hidden", async () => {
    const report = reportSnp(await facts({ kind: "vlek", chipId: bytes(64, 0) }));
    expect(report.signedBy).toBe(`AMD EPYC Genoa, with a key that AMD lent to ${MADE_CSP_ID} (VLEK)`);
    expect(report.which).toBe("The machine hides which chip it has");
    expect(report.verified.map(({ check }) => check)).not.toContain("snp.chip-id");
    expect(report.values.find(({ name }) => name === "snp.csp-id")?.value).toBe(MADE_CSP_ID);
  });

  test("a Turin's chip has 8 bytes in words and 64 in the policy", async () => {
    const report = reportSnp(await facts(turin));
    expect(report.which).toBe("The machine with the chip 0102030405060708");
    expect(report.pins.snp?.chipIds).toEqual([`0102030405060708${"0".repeat(112)}`]);
  });

  test.each<Row>([...MET, ...REFUSED.map(([what, made, policy]) => [what, made, policy] as const)])(
    "of %s meets the policy that it would save, which loosens only what it must",
    async (_, made) => {
      const found = await facts(made);
      const { pins } = reportSnp(found);
      const saved = pins.snp as SnpPolicy;
      const checks = new Checks();
      judgeSnp(found, saved, checks);
      checks.settle();
      expect(saved.measurements).toEqual([toHex(found.report.measurement)]);
      for (const key of LOOSENING) {
        if (JSON.stringify(saved[key]) === JSON.stringify(SNP_DEFAULTS[key])) continue;
        expect([key, await failures(made, { ...saved, [key]: SNP_DEFAULTS[key] })]).not.toEqual([key, []]);
      }
    },
  );
});

/** Keys whose default is the strict one. */
const LOOSENING = [
  "signingKeys",
  "vmpls",
  "aliasCheck",
  "crl",
  "allowDebug",
  "allowMigrationAgent",
  "allowProvisionalFirmware",
  "allowMilanWithoutChipId",
] as const satisfies readonly (keyof SnpPolicy)[];

/** What madeSnp() has by default. */
const LAUNCH_TCB = Uint8Array.of(10, 0, 0, 0, 0, 0, 27, 219);

test("what the report shows is asked for by the saved policy, and what it does not show is not", async () => {
  const fields = {
    policy: policyOf(["singleSocket"], 0x0137),
    platformInfo: littleEndian(0x34, 8), // SMT off, ciphertext hidden, memory checked
    familyId: bytes(16, 0x0f),
    imageId: bytes(16, 0x1f),
  };
  const strict: MadeSnpOptions = { fields };
  const saved = reportSnp(await facts(strict)).pins.snp as SnpPolicy;
  expect(saved).toMatchObject({
    minimumLaunchTcb: { bootloader: 10, tee: 0, snp: 27, microcode: 219 },
    minimumAbi: "1.55",
    minimumMitigation: "000000000000000b",
    smt: "off",
    singleSocket: "required",
    ciphertextHiding: "required",
    familyIds: [hex(16, 0x0f)],
    imageIds: [hex(16, 0x1f)],
  });
  expect(await failures(strict, saved)).toEqual([]);
  const weaker: [Partial<typeof fields>, string][] = [
    [{ policy: policyOf(["singleSocket"], 0x0136) }, "snp.abi"],
    [{ policy: policyOf([], 0x0137) }, "snp.single-socket"],
    [{ platformInfo: littleEndian(0x35, 8) }, "snp.smt"],
    [{ platformInfo: littleEndian(0x24, 8) }, "snp.ciphertext-hiding"],
  ];
  for (const [change, check] of weaker)
    expect((await failures({ fields: { ...fields, ...change } }, saved)).map((each) => each.check)).toEqual([
      check,
    ]);
  const plain = reportSnp(await facts({ version: 4 })).pins.snp as SnpPolicy;
  expect(plain).toMatchObject({
    minimumMitigation: "0".repeat(16),
    smt: "any",
    singleSocket: "any",
    ciphertextHiding: "any",
    familyIds: [],
    imageIds: [],
  });
});

test("the saved policy is of one guest: another one does not meet it", async () => {
  const saved = reportSnp(await facts(signedBlock)).pins.snp as SnpPolicy;
  const others: MadeSnpOptions[] = [
    { ...signedBlock, measurement: bytes(48, 1) },
    { ...signedBlock, hostData: bytes(32, 1) },
    { ...signedBlock, hostData: bytes(32, 0) },
    { ...signedBlock, fields: { ...signedBlock.fields, idKeyDigest: bytes(48, 1) } },
    { ...signedBlock, fields: { ...signedBlock.fields, keys: littleEndian(0, 4) } },
    { ...signedBlock, fields: { ...signedBlock.fields, guestSvn: littleEndian(6, 4) } },
    { ...signedBlock, tcb: { snp: 26 }, fields: { ...signedBlock.fields, launchTcb: LAUNCH_TCB } },
    {
      ...signedBlock,
      fields: { ...signedBlock.fields, launchTcb: Uint8Array.of(10, 0, 0, 0, 0, 0, 26, 219) },
    },
    { ...signedBlock, fields: { ...signedBlock.fields, familyId: bytes(16, 1) } },
    { ...signedBlock, fields: { ...signedBlock.fields, imageId: bytes(16, 1) } },
    {
      ...signedBlock,
      chipId: concat(MADE_CHIP_ID.subarray(1), MADE_CHIP_ID.subarray(0, 1)),
      extensions: { "4": concat(MADE_CHIP_ID.subarray(1), MADE_CHIP_ID.subarray(0, 1)) },
    },
  ];
  expect(await failures(signedBlock, saved)).toEqual([]);
  for (const other of others) expect(await failures(other, saved)).toHaveLength(1);
});
