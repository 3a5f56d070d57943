// The owner's policy against a TD whose signatures hold: each key of [tdx], both ways, and the report that pins it.

import { expect, test } from "vitest";
import { TDX_DEFAULTS, type TdxPolicy } from "../../../protocol/attestation/policy/model.ts";
import { Checks } from "../../../protocol/attestation/refusal.ts";
import { judgeParavisorTd, judgeTdx } from "../../../protocol/attestation/tdx/judge.ts";
import { reportTdx } from "../../../protocol/attestation/tdx/report.ts";
import type { TdxFacts } from "../../../protocol/attestation/tdx/verify.ts";
import { fromHex, toHex } from "../../../protocol/bytes.ts";
import { SealttyError } from "../../../protocol/errors.ts";
import { MADE_PIID, type MadeTdxOptions } from "../../support/made-tdx.ts";
import { check, checkAndJudge, judge } from "./tdx-support.ts";

const hex = (byte: string) => byte.repeat(48);
const svn = (...first: readonly number[]) => Uint8Array.from({ length: 16 }, (_, i) => first[i] ?? 0);
/** TDATTRIBUTES with SEPT_VE_DISABLE and these bits. */
const attributes = (...bits: readonly number[]) => {
  const bytes = fromHex("0000001000000000");
  for (const bit of bits) bytes[bit >> 3] = (bytes[bit >> 3] as number) | (1 << (bit & 7));
  return bytes;
};

async function refusal(options: MadeTdxOptions, policy: Partial<TdxPolicy>) {
  try {
    await checkAndJudge(options, policy);
  } catch (error) {
    expect(error).toBeInstanceOf(SealttyError);
    const { refusal: found, message } = error as SealttyError;
    return { message, ...found };
  }
  throw new Error("Nothing refused");
}

const OTHER = "ab".repeat(48);
const serviceTd = new Uint8Array(48).fill(0x38);
const outdated: MadeTdxOptions = {
  platformStatus: "OutOfDate",
  advisories: ["INTEL-SA-00615", "INTEL-SA-00837"],
};

/** What is made, a policy that accepts it, one that does not, the check, and the key that its refusal names. */
const KEYS: readonly (readonly [MadeTdxOptions, Partial<TdxPolicy>, Partial<TdxPolicy>, string, string])[] = [
  [{}, { mrtd: [OTHER, hex("11")] }, { mrtd: [OTHER] }, "tdx.mrtd", "tdx.mrtd"],
  ...[0, 1, 2, 3].map(
    (i) =>
      [
        {},
        { rtmrs: new Map([[i, [hex(`2${i}`)]]]) },
        { rtmrs: new Map([[i, [OTHER]]]) },
        "tdx.rtmr",
        `tdx.rtmrs.${i}`,
      ] as const,
  ),
  [{}, { mrSeam: [hex("99")] }, { mrSeam: [OTHER] }, "tdx.mrseam", "tdx.mrSeam"],
  [
    { mrConfigId: new Uint8Array(48).fill(0xcc) },
    { mrConfigId: [hex("cc")] },
    { mrConfigId: [OTHER] },
    "tdx.mrconfigid",
    "tdx.mrConfigId",
  ],
  [
    { body: { mrOwner: new Uint8Array(48).fill(0xdd) } },
    { mrOwner: [hex("dd")] },
    { mrOwner: [OTHER] },
    "tdx.mrowner",
    "tdx.mrOwner",
  ],
  [{}, { mrOwnerConfig: [hex("00")] }, { mrOwnerConfig: [OTHER] }, "tdx.mrownerconfig", "tdx.mrOwnerConfig"],
  [{}, { piids: [MADE_PIID] }, { piids: ["99".repeat(16)] }, "tdx.piid", "tdx.piid"],
  [{}, { xfam: ["e702060000000000"] }, { xfam: ["e700060000000000"] }, "tdx.xfam", "tdx.xfam"],
  [
    { version: 5, body: { mrServiceTd: serviceTd } },
    { mrServiceTd: [toHex(serviceTd)] },
    {},
    "tdx.mrservicetd",
    "tdx.mrServiceTd",
  ],
  [
    { version: 5, body: { mrServiceTd: serviceTd } },
    { mrServiceTd: [toHex(serviceTd)] },
    { mrServiceTd: [OTHER] },
    "tdx.mrservicetd",
    "tdx.mrServiceTd",
  ],
  // A report without the field does not meet a pinned service TD.
  [{}, {}, { mrServiceTd: [toHex(serviceTd)] }, "tdx.mrservicetd", "tdx.mrServiceTd"],
  [
    { evaluation: 17 },
    { minimumTcbEvaluation: 17 },
    { minimumTcbEvaluation: 18 },
    "tdx.tcb-evaluation",
    "tdx.minimumTcbEvaluation",
  ],
  [{ pck: { smtEnabled: false } }, { smt: "off" }, { smt: "off", mrtd: [OTHER] }, "tdx.mrtd", "tdx.mrtd"],
  [{}, { smt: "any" }, { smt: "off" }, "tdx.smt", "tdx.smt"],
  [
    { pck: { dynamicPlatform: false } },
    { dynamicPlatform: "static" },
    { dynamicPlatform: "static", mrtd: [OTHER] },
    "tdx.mrtd",
    "tdx.mrtd",
  ],
  [
    {},
    { dynamicPlatform: "any" },
    { dynamicPlatform: "static" },
    "tdx.dynamic-platform",
    "tdx.dynamicPlatform",
  ],
  // What a certificate does not say meets no demand.
  [{ ca: "Processor" }, {}, { smt: "off" }, "tdx.smt", "tdx.smt"],
  [{ ca: "Processor" }, {}, { dynamicPlatform: "static" }, "tdx.dynamic-platform", "tdx.dynamicPlatform"],
  [{ ca: "Processor" }, {}, { piids: [MADE_PIID] }, "tdx.piid", "tdx.piid"],
  [{ body: { tdAttributes: attributes(0) } }, { allowDebug: true }, {}, "tdx.debug", "tdx.allowDebug"],
  [
    { body: { tdAttributes: new Uint8Array(8) } },
    { allowSeptVe: true },
    {},
    "tdx.sept-ve",
    "tdx.allowSeptVe",
  ],
  [
    { body: { tdAttributes: attributes(29) } },
    { allowMigratable: true },
    {},
    "tdx.migratable",
    "tdx.allowMigratable",
  ],
  [{ body: { tdAttributes: attributes(63) } }, { allowPerfmon: true }, {}, "tdx.perfmon", "tdx.allowPerfmon"],
  [
    outdated,
    {
      tcbStatus: ["UpToDate", "OutOfDate"],
      advisories: ["INTEL-SA-00837", "INTEL-SA-00615", "INTEL-SA-00001"],
    },
    { advisories: ["INTEL-SA-00837", "INTEL-SA-00615"] },
    "tdx.tcb-status",
    "tdx.tcbStatus",
  ],
  [
    outdated,
    { tcbStatus: ["OutOfDate"], advisories: ["INTEL-SA-00837", "INTEL-SA-00615"] },
    { tcbStatus: ["OutOfDate"], advisories: ["INTEL-SA-00837"] },
    "tdx.advisories",
    "tdx.advisories",
  ],
  [
    { platformStatus: "OutOfDate" },
    { tcbStatus: ["OutOfDate"] },
    { tcbStatus: ["SWHardeningNeeded"] },
    "tdx.tcb-status",
    "tdx.tcbStatus",
  ],
];

test.for(KEYS.map(([options, good, bad, name, key]) => ({ options, good, bad, name, key })))(
  "$key decides $name",
  async ({ options, good, bad, name, key }) => {
    await checkAndJudge(options, good);
    const found = await refusal(options, bad);
    expect(found).toMatchObject({ check: name, policyKey: key });
    expect(found.next).toContain(key);
    expect(found.others ?? []).toEqual([]);
  },
);

test("an unaccepted status with untolerated advisories names both keys at once", async () => {
  const found = await refusal(outdated, {});
  expect(found).toMatchObject({ check: "tdx.tcb-status", policyKey: "tdx.tcbStatus", found: "OutOfDate" });
  expect(found.next).toMatch(/tdx\.tcbStatus.*tdx\.advisories/);
  expect(found.others).toEqual([
    expect.objectContaining({
      check: "tdx.advisories",
      policyKey: "tdx.advisories",
      found: "INTEL-SA-00615 INTEL-SA-00837",
    }),
  ]);
});

test("advisories need no mention where the status is UpToDate", async () => {
  expect((await checkAndJudge({ advisories: ["INTEL-SA-00615"] })).advisories).toEqual(["INTEL-SA-00615"]);
});

test("Revoked is never accepted, whatever a policy says", async () => {
  const facts = await check();
  const policy: Partial<TdxPolicy> = { tcbStatus: ["UpToDate", "Revoked"] };
  judge(facts, policy);
  expect(() => judge({ ...facts, status: "Revoked" }, policy)).toThrow(SealttyError);
  expect((await refusal({ platformStatus: "Revoked" }, policy)).check).toBe("tdx.tcb-revoked");
});

test.for([1, 2, 3, 4, 5, 6, 7, 8, 16, 23, 27, 32, 47, 62])(
  "TDATTRIBUTES bit %i is reserved, and no key allows it",
  async (bit) => {
    const found = await refusal(
      { body: { tdAttributes: attributes(bit) } },
      { allowDebug: true, allowMigratable: true, allowPerfmon: true, allowSeptVe: true },
    );
    expect(found).toMatchObject({ check: "tdx.attributes" });
    expect(found.policyKey).toBeUndefined();
  },
);

test.for([30, 31])("TDATTRIBUTES bit %i only gives the guest a feature", async (bit) => {
  expect((await checkAndJudge({ body: { tdAttributes: attributes(bit) } })).status).toBe("UpToDate");
});

test.for([
  ["no SSE", "0100000000000000"],
  ["no x87", "0200000000000000"],
  ["bit 3", "0b00000000000000"],
  ["bit 19", "0300080000000000"],
  ["bit 32", "0300000001000000"],
  ["bit 63", "0300000000000080"],
] as const)("XFAM with %s is impossible", async ([, xfam]) => {
  expect((await refusal({ body: { xfam: fromHex(xfam) } }, { xfam: [xfam] })).check).toBe("tdx.xfam-fixed");
});

test("a refusal lists everything that does not fit", async () => {
  const found = await refusal(
    { ...outdated, version: 5, body: { tdAttributes: fromHex("0100002000000080"), mrServiceTd: serviceTd } },
    { mrtd: [OTHER], piids: ["00".repeat(16)], minimumTcbEvaluation: 99, smt: "off" },
  );
  const failed: string[] = [`${found.check}`, ...(found.others ?? []).map((each) => each.check)];
  expect(failed.toSorted()).toEqual([
    "tdx.advisories",
    "tdx.debug",
    "tdx.migratable",
    "tdx.mrservicetd",
    "tdx.mrtd",
    "tdx.perfmon",
    "tdx.piid",
    "tdx.sept-ve",
    "tdx.smt",
    "tdx.tcb-evaluation",
    "tdx.tcb-status",
  ]);
  for (const each of [found, ...(found.others ?? [])]) {
    expect(each.expected).not.toBe("");
    expect(each.found).not.toBe("");
    expect(each.next).toMatch(/\.$/);
  }
});

test("what passed is told with its value", async () => {
  const lines = judge(await check(), { mrtd: [hex("11")], minimumTcbEvaluation: 1 });
  expect(lines).toContainEqual(
    expect.objectContaining({ check: "tdx.mrtd", value: hex("11"), policyKey: "tdx.mrtd" }),
  );
  expect(lines.find((line) => line.check === "tdx.tcb-evaluation")?.words).toContain("2026-07-10T00:00:00Z");
});

test("what compares nothing is not told as a check that holds", async () => {
  const checks = (policy: Partial<TdxPolicy>, options: MadeTdxOptions) =>
    check(options).then((facts) => judge(facts, policy).map((line) => line.check));
  expect(await checks({}, {})).not.toContain("tdx.tcb-evaluation");
  expect(await checks({ minimumTcbEvaluation: 1 }, {})).toContain("tdx.tcb-evaluation");
  // A TD 1.0 report has no MRSERVICETD; a TD 1.5 report has.
  expect(await checks({}, {})).not.toContain("tdx.mrservicetd");
  expect(await checks({}, { version: 5, kind: "td-1.0" })).not.toContain("tdx.mrservicetd");
  expect(await checks({}, { version: 5 })).toContain("tdx.mrservicetd");
});

test("whether a TD 1.0 has a service TD nobody can tell, which is said once", async () => {
  const facts = await check();
  const told = judged(facts, {});
  const all = [...reportTdx(facts).notVerified, ...told.notVerified].filter((line) =>
    /service TD/.test(line),
  );
  expect(all).toEqual(["Whether a service TD is bound: a TD 1.0 report does not say"]);
  expect((await refusal({}, { mrServiceTd: [toHex(serviceTd)] })).message).toMatch(/cannot tell .* TD 1\.0/);
});

/** Warnings, and what stays open, of a policy that is met. */
function judged(facts: TdxFacts, policy: Partial<TdxPolicy>, by = judgeTdx) {
  const checks = new Checks();
  by(facts, { ...TDX_DEFAULTS, ...policy }, checks);
  checks.settle();
  const { warnings, notVerified } = checks;
  return { warnings, notVerified };
}

test("a policy that pins no kernel is warned about for as long as the connection lives", async () => {
  const facts = await check();
  const pins = (...indexes: readonly number[]) => ({
    rtmrs: new Map(indexes.map((i) => [i, [hex(`2${i}`)]])),
  });
  const noKernel = [expect.stringMatching(/^The policy pins no kernel: .*tdx\.rtmrs 1 and 2/)];
  for (const policy of [{}, { allowAnyKernel: true }, pins(1), pins(2), pins(0, 1, 3)])
    expect(judged(facts, policy).warnings).toEqual(noKernel);
  for (const policy of [pins(1, 2), { ...pins(0, 1, 2, 3), allowAnyKernel: true }])
    expect(judged(facts, policy).warnings).toEqual([]);
  // Under a paravisor PCRs say the kernel.
  expect(judged(facts, {}, judgeParavisorTd).warnings).toEqual([]);
});

test("RTMRs that the policy does not pin are named", async () => {
  const facts = await check();
  const open = (...pinned: readonly number[]) =>
    judged(facts, { rtmrs: new Map(pinned.map((i) => [i, [hex(`2${i}`)]])) }).notVerified;
  expect(open()).toEqual(["RTMRs quoted but not pinned by the policy: 0, 1, 2, 3"]);
  expect(open(1, 2)).toEqual(["RTMRs quoted but not pinned by the policy: 0, 3"]);
  expect(open(0, 1, 2, 3)).toEqual([]);
});

const SHAPES: readonly (readonly [string, MadeTdxOptions])[] = [
  ["plain", {}],
  [
    "TD 1.5 with everything",
    {
      version: 5,
      mrConfigId: new Uint8Array(48).fill(1),
      body: { mrOwner: serviceTd, mrOwnerConfig: serviceTd, mrServiceTd: serviceTd },
    },
  ],
  ["outdated", outdated],
  ["relaunch advised", { version: 5, body: { teeTcbSvn: svn(3, 3, 6) } }],
  ["debug, migratable, perfmon, no SEPT_VE_DISABLE", { body: { tdAttributes: fromHex("0100002000000080") } }],
  ["Processor CA", { ca: "Processor" }],
  ["SMT off, static", { pck: { smtEnabled: false, dynamicPlatform: false } }],
  ["zero PIID", { pck: { piid: new Uint8Array(16) } }],
];

test.for(SHAPES)("the saved policy is whole and meets its guest: %s", async ([, options]) => {
  const facts = await check(options);
  const { pins } = reportTdx(facts);
  const policy = pins.tdx as TdxPolicy;
  judge(facts, policy);
  expect(Object.keys(policy).sort()).toEqual(Object.keys(TDX_DEFAULTS).sort());
  expect([...policy.rtmrs.keys()]).toEqual([0, 1, 2]);
  expect(pins).toMatchObject({ snp: undefined, azure: undefined, tpm: undefined });
  // Values that a policy file refuses to pin, because they say nothing.
  for (const list of [policy.mrConfigId, policy.mrOwner, policy.piids])
    expect(list.join("")).not.toMatch(/^0+$/);
});

test("the saved policy refuses a sibling with another firmware, kernel or owner's value", async () => {
  const policy = reportTdx(await check({ mrConfigId: new Uint8Array(48).fill(1) })).pins.tdx as TdxPolicy;
  const changes: readonly MadeTdxOptions[] = [
    { body: { mrTd: serviceTd } },
    { body: { rtmr1: serviceTd } },
    { mrConfigId: new Uint8Array(48).fill(2) },
    { pck: { piid: new Uint8Array(16).fill(3) } },
    { evaluation: 18 },
    { body: { xfam: fromHex("0700000000000000") } },
  ];
  for (const change of changes) {
    const facts = await check({ mrConfigId: new Uint8Array(48).fill(1), ...change });
    expect(() => judge(facts, policy)).toThrow(SealttyError);
  }
});

test("the report tells values by name and how long they last", async () => {
  const report = reportTdx(await check({ version: 5, reportData: new Uint8Array(64).fill(9) }));
  expect(toHex(report.bound)).toBe("09".repeat(64));
  expect(report.assurance).toBe("hardware");
  const values = new Map(report.values.map(({ name, value, scope }) => [name, `${scope} ${value}`]));
  expect(values.get("tdx.mrtd")).toBe(`lasting ${hex("11")}`);
  expect(values.get("tdx.rtmr2")).toBe(`lasting ${hex("22")}`);
  expect(values.get("tdx.rtmr3")).toBe(`boot ${hex("23")}`);
  expect(values.get("tdx.piid")).toBe(`lasting ${MADE_PIID}`);
  expect(values.get("tdx.tcb-status")).toBe("lasting UpToDate");
  expect(report.which).toContain(MADE_PIID);
  expect(report.warnings).toEqual([]);
  expect(report.documentDigest).toBeUndefined();
});

test("what is weak is a warning; what is not known is said", async () => {
  const debug = reportTdx(await check({ ...outdated, body: { tdAttributes: fromHex("0100003000000000") } }));
  expect(debug.warnings.join("\n")).toMatch(/debug TD[^]*migrated[^]*OutOfDate: INTEL-SA-00615/);
  expect(debug.notVerified.join("\n")).toMatch(/TD 1\.0 report/);
  const service = reportTdx(await check({ version: 5, body: { mrServiceTd: serviceTd } }));
  expect(service.warnings).toEqual(["A service TD is bound to this guest"]);
  const processor = reportTdx(await check({ ca: "Processor" }));
  expect(processor.notVerified.join("\n")).toMatch(/no instance id/);
});

test("MRCONFIGID is where an instance document's digest may be", async () => {
  const mrConfigId = new Uint8Array(48).fill(0x5a);
  const { documentDigest } = reportTdx(await check({ mrConfigId }));
  expect(documentDigest).toEqual({ hash: "sha384", value: mrConfigId, field: "MRCONFIGID" });
});

test("an event log that reproduces nothing proves nothing", async () => {
  const facts = await check();
  for (const log of [new Uint8Array([1, 2, 3]), new Uint8Array(4096).fill(0x41)]) {
    const report = reportTdx(facts, log);
    expect(report.verified.some((line) => line.check === "tdx.event-log")).toBe(false);
    expect(report.notVerified.join("\n")).toMatch(/What the RTMRs are made of/);
  }
});
