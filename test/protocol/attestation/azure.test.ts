// Azure evidence made here: a paravisor that lies nowhere, and then everywhere.

import { expect, test } from "vitest";
import type { AuxParts } from "../../../protocol/attestation/aux.ts";
import { MAX_HCL_REPORT, parseHclReport } from "../../../protocol/attestation/azure/hcl.ts";
import { parseRuntimeClaims } from "../../../protocol/attestation/azure/runtime-claims.ts";
import { checkAzure, judgeAzure, reportAzure } from "../../../protocol/attestation/azure/verify.ts";
import {
  type AzurePolicy,
  POLICY_DEFAULTS,
  type Policy,
  type SnpPolicy,
  TDX_DEFAULTS,
} from "../../../protocol/attestation/policy/model.ts";
import { concat, toHex, utf8 } from "../../../protocol/bytes.ts";
import { SealttyError } from "../../../protocol/errors.ts";
import {
  MADE_PCRS,
  MADE_VM_ID,
  type MadeAzure,
  type MadeAzureOptions,
  type MadeAzureTdx,
  hclReport,
  madeAzure,
  madeAzureTdx,
  runtimeClaims,
} from "../../support/made-azure.ts";
import { madeKey } from "../../support/made-pki.ts";
import { MADE_SNP_NOW, littleEndian } from "../../support/made-snp.ts";
import {
  forEachOf,
  makeEventLog,
  pcrsOf,
  refusedBy,
  rememberingSignatures,
  settled,
  sha256,
  verifyAt,
} from "./support.ts";

const good = madeAzure();
const signatures = rememberingSignatures();
const contextOf = ({ snp }: MadeAzure) =>
  verifyAt(new Date(MADE_SNP_NOW).toISOString(), { roots: snp.roots, signatures });
const check = (made: MadeAzure, parts: AuxParts = {}) =>
  checkAzure("azure-snp", made.quote, { ...made.parts, ...parts }, contextOf(made));

type Sections = { readonly snp?: Partial<SnpPolicy>; readonly azure?: Partial<AzurePolicy> };

/** What the good evidence's own pins say, but for `changes`. */
async function policyOf(changes: Sections = {}): Promise<Policy> {
  const { pins } = reportAzure(await check(good));
  if (pins.snp === undefined || pins.azure === undefined) throw new Error("no pins");
  return {
    ...POLICY_DEFAULTS,
    minimumAssurance: "paravisor",
    snp: { ...pins.snp, ...changes.snp },
    azure: { ...pins.azure, ...changes.azure },
  };
}

async function judged(made: MadeAzure, policy: Policy) {
  const facts = await check(made);
  return settled((checks) => judgeAzure(facts, policy, checks));
}

test("good evidence: bound, told, and accepted by what --save-policy would write", async () => {
  const report = reportAzure(await check(good));
  expect(report.assurance).toBe("paravisor");
  expect(report.bound).toEqual(new Uint8Array(32).fill(7));
  expect(report.signedBy).toContain("which Azure's paravisor vouches for");
  expect(report.which).toContain(MADE_VM_ID);
  expect(report.warnings).toEqual([]);
  expect(report.notVerified.join("\n")).toContain("it is Microsoft's");
  expect(report.notVerified.join("\n")).toContain("not its attributes");
  const old = report.notVerified.filter((line) => /How old the paravisor's report is/.test(line));
  expect(old).toEqual([
    expect.stringMatching(/serial console and Secure Boot: .*only the vTPM's quote is fresh/),
  ]);
  expect(report.verified.map((line) => line.check)).toEqual(
    expect.arrayContaining([
      "snp.signature",
      "azure.runtime-data",
      "azure.quote-signature",
      "tpm.pcr-digest",
    ]),
  );
  const values = Object.fromEntries(report.values.map(({ name, value }) => [name, value]));
  expect(values).toMatchObject({
    "azure.vm-id": MADE_VM_ID,
    "azure.host-console": "off",
    "azure.secure-boot": "on",
    "azure.pcr-11": toHex(MADE_PCRS[2]?.value as Uint8Array),
    "azure.reset-count": "2",
  });
  const { verified } = await judged(good, await policyOf());
  expect(verified.map((line) => line.check)).toEqual(
    expect.arrayContaining([
      "azure.paravisor",
      "azure.vm-id",
      "azure.host-console",
      "azure.secure-boot",
      "azure.pcr",
    ]),
  );
});

test.each([2, 3])("the runtime data may be hashed as the report says (%i)", async (hashType) => {
  await check(madeAzure({ hcl: { hashType } }));
  const wrong = madeAzure({ hcl: { hashType } });
  const relabelled = wrong.parts.hclReport.slice();
  relabelled[1228] = 1;
  expect(await refusedBy(() => check(wrong, { hclReport: relabelled }))).toBe("azure.runtime-data");
});

test("a serial console that is on is a loud warning, and refused unless the policy says otherwise", async () => {
  const open = madeAzure({
    claims: (claims) => Object.assign(claims["vm-configuration"] as object, { "console-enabled": true }),
  });
  const report = reportAzure(await check(open));
  expect(report.warnings[0]).toContain("serial console is ON");
  expect(report.pins.azure?.allowHostConsole).toBe(true);
  expect(await refusedBy(async () => judged(open, await policyOf()))).toBe("azure.host-console");
  await judged(open, await policyOf({ azure: { allowHostConsole: true } }));
});

test("Secure Boot that is off is refused unless the policy says otherwise", async () => {
  const off = madeAzure({
    claims: (claims) => Object.assign(claims["vm-configuration"] as object, { "secure-boot": false }),
  });
  expect(await refusedBy(async () => judged(off, await policyOf()))).toBe("azure.secure-boot");
  await judged(off, await policyOf({ azure: { allowNoSecureBoot: true } }));
});

test("a vTPM that is not kept has another key at every boot", async () => {
  const scope = async (made: MadeAzure) =>
    reportAzure(await check(made)).values.find(({ name }) => name === "azure.vtpm-key")?.scope;
  expect(await scope(good)).toBe("lasting");
  for (const persisted of [false, undefined]) {
    const made = madeAzure({
      claims: (claims) => Object.assign(claims["vm-configuration"] as object, { "tpm-persisted": persisted }),
    });
    expect(await scope(made)).toBe("boot");
  }
});

test.each([
  ["another VM", "azure.vm-id", { azure: { vmIds: ["AAAAAAAA-1111-4222-8333-944444444444"] } }],
  ["another kernel", "azure.pcr", { azure: { pcrs: new Map([[4, ["11".repeat(32)]]]) } }],
  ["a PCR outside the quote", "azure.pcr-selection", { azure: { pcrs: new Map([[9, ["11".repeat(32)]]]) } }],
  [
    "another bank",
    "azure.pcr-selection",
    { azure: { bank: "sha384", pcrs: new Map([[4, ["11".repeat(48)]]]) } },
  ],
  ["another paravisor", "snp.measurement", { snp: { measurements: ["22".repeat(48)] } }],
  [
    "a paravisor that nobody named",
    "azure.paravisor",
    { snp: { measurements: [], idKeys: [], authorKeys: [] } },
  ],
] as const)("%s is refused by %s", async (_what, expected, changes: Sections) => {
  expect(await refusedBy(async () => judged(good, await policyOf(changes)))).toBe(expected);
});

test("a policy needs both sections, and a refusal lists all that differs", async () => {
  const policy = await policyOf();
  for (const section of ["azure", "snp"] as const)
    expect(await refusedBy(() => judged(good, { ...policy, [section]: undefined }))).toBe("evidence.type");
  let refusal: SealttyError["refusal"];
  try {
    await judged(
      good,
      await policyOf({
        snp: { measurements: ["22".repeat(48)] },
        azure: { vmIds: ["X"], pcrs: new Map([[4, ["11".repeat(32)]]]) },
      }),
    );
  } catch (error) {
    if (error instanceof SealttyError) ({ refusal } = error);
  }
  expect([refusal?.check, ...(refusal?.others ?? []).map((other) => other.check)]).toEqual([
    "snp.measurement",
    "azure.vm-id",
    "azure.pcr",
  ]);
});

// --- attacks -------------------------------------------------------------------------------------------------------------

const withReport = (made: MadeAzure, options: Parameters<typeof hclReport>[2]) => {
  const { hardwareReport, runtimeData } = parseHclReport(made.parts.hclReport);
  return { hclReport: hclReport(hardwareReport, runtimeData, options) };
};
const otherGuest = madeAzure({ ak: "other", pcrs: pcrsOf({ 4: "other", 7: "secure boot", 11: "image" }) });

test.each<[string, string, () => Promise<unknown>]>([
  [
    "another guest's quote",
    "azure.quote-signature",
    () => check({ ...good, quote: otherGuest.quote }, { pcrs: otherGuest.parts.pcrs }),
  ],
  ["another guest's values", "tpm.pcr-digest", () => check(good, { pcrs: otherGuest.parts.pcrs })],
  [
    "another guest's runtime data under the report",
    "azure.runtime-data",
    () =>
      check(good, {
        hclReport: hclReport(good.snp.report, parseHclReport(otherGuest.parts.hclReport).runtimeData),
      }),
  ],
  ["a quote by a stranger's key", "azure.quote-signature", () => check(madeAzure({ signer: "stranger" }))],
  ["a quote that is none", "tpm.type", () => check(madeAzure({ attest: { type: 0x8017 } }))],
  ["a quote that no TPM made", "tpm.magic", () => check(madeAzure({ attest: { magic: 1 } }))],
  [
    "a report by the guest's own software",
    "azure.vmpl",
    () => check(madeAzure({ snp: { fields: { vmpl: littleEndian(2, 4) } } })),
  ],
  [
    "REPORT_DATA with more than the hash",
    "azure.runtime-data",
    () => {
      const json = runtimeClaims(madeKey("rsa", "azure ak"));
      const reportData = concat(sha256(utf8(json)), new Uint8Array(31), Uint8Array.of(1));
      return check(madeAzure({ runtimeData: json, snp: { reportData } }));
    },
  ],
  [
    "zero REPORT_DATA",
    "azure.runtime-data",
    () => check(madeAzure({ snp: { reportData: new Uint8Array(64) } })),
  ],
  [
    "a report of another AMD",
    "snp.root",
    () => {
      const foreign = madeAzure({ snp: { keys: "foreign" } });
      return checkAzure("azure-snp", foreign.quote, foreign.parts, contextOf(good));
    },
  ],
  [
    "a claim of TDX",
    "azure.report-type",
    () => checkAzure("azure-tdx", good.quote, good.parts, contextOf(good)),
  ],
  [
    "a TDX report without its quote",
    "azure.hardware-quote",
    () =>
      checkAzure(
        "azure-tdx",
        good.quote,
        { ...good.parts, ...withReport(good, { reportType: 4 }) },
        contextOf(good),
      ),
  ],
  [
    "no report",
    "azure.hcl-report",
    () => checkAzure("azure-snp", good.quote, { pcrs: good.parts.pcrs }, contextOf(good)),
  ],
  [
    "no values",
    "tpm.format",
    () => checkAzure("azure-snp", good.quote, { ...good.parts, pcrs: new Uint8Array(1) }, contextOf(good)),
  ],
  ["collateral that is none", "azure.collateral", () => check(good, { collateral: Uint8Array.of(9) })],
  ["a quote in pieces", "tpm.format", () => check({ ...good, quote: good.quote.subarray(1) })],
])("%s is refused by %s", async (_what, expected, attempt) => {
  expect(await refusedBy(attempt)).toBe(expected);
});

test.each([
  ["another magic", { magic: "HCLB" }, "does not begin"],
  ["version 3", { version: 3 }, "version"],
  ["another request", { requestType: 1 }, "another request"],
  ["a failure", { status: 1 }, "status"],
  ["reserved bytes", { reserved: new Uint8Array(12).fill(1) }, "reserved"],
  ["runtime data of another version", { runtimeVersion: 2 }, "runtime data of a version"],
  ["another hardware", { reportType: 3 }, "kind"],
  ["another hash", { hashType: 4 }, "hash"],
  ["a report size that disagrees", { reportSize: 2000 }, "disagree"],
  ["a data size that disagrees", { dataSize: 21 }, "disagree"],
  ["no runtime data", { size: 0 }, "no runtime data"],
  ["more runtime data than bytes", { size: 0xffffffff }, "ends too early"],
  ["something in the padding", { padding: Uint8Array.of(0, 0, 1) }, "behind the runtime data"],
  ["too many bytes", { padding: new Uint8Array(MAX_HCL_REPORT) }, "longer than"],
] as const)("an HCL report with %s is malformed", (_what, options, problem) => {
  const { runtimeData } = parseHclReport(good.parts.hclReport);
  expect(() => parseHclReport(hclReport(good.snp.report, runtimeData, options))).toThrow(problem);
});

test("an HCL report of a TD has its TDREPORT and zeros", () => {
  const runtimeData = utf8("{}");
  const hardware = concat(new Uint8Array(1024).fill(0x81), new Uint8Array(160));
  expect(parseHclReport(hclReport(hardware, runtimeData, { reportType: 4 })).hardwareReport).toHaveLength(
    1024,
  );
  hardware[1183] = 1;
  expect(() => parseHclReport(hclReport(hardware, runtimeData, { reportType: 4 }))).toThrow(
    "behind the TDREPORT",
  );
});

test("a changed byte anywhere in the HCL report is refused, and so is one cut into", async () => {
  await check(good);
  const bytes = good.parts.hclReport;
  await forEachOf(bytes.keys(), async (at) => {
    const changed = bytes.slice();
    changed[at] = (changed[at] as number) ^ 0x01;
    expect(await refusedBy(() => check(good, { hclReport: changed }))).toMatch(/^(?:azure|snp)\./);
  });
  const { runtimeData } = parseHclReport(bytes);
  for (let length = 0; length < 1236 + runtimeData.length; length += 7)
    expect(await refusedBy(() => check(good, { hclReport: bytes.subarray(0, length) }))).toBe(
      "azure.hcl-report",
    );
});

test("a changed byte anywhere in the quote or the values is refused", async () => {
  await forEachOf(good.quote.keys(), async (at) => {
    const quote = good.quote.slice();
    quote[at] = (quote[at] as number) ^ 0x80;
    expect(await refusedBy(() => check({ ...good, quote }))).toMatch(/^(?:azure|tpm)\./);
  });
  await forEachOf(good.parts.pcrs.keys(), async (at) => {
    const pcrs = good.parts.pcrs.slice();
    pcrs[at] = (pcrs[at] as number) ^ 0x80;
    expect(await refusedBy(() => check(good, { pcrs }))).toMatch(/^tpm\./);
  });
});

test("the event log of the vTPM is replayed against its PCRs", async () => {
  const data = utf8("kernel_cmdline: quiet");
  const eventLog = makeEventLog([{ index: 4, type: 0x0d, data }]);
  const value = sha256(concat(new Uint8Array(32), sha256(data)));
  const facts = await check(madeAzure({ pcrs: [{ bank: "sha256", index: 4, value }] }), { eventLog });
  expect(reportAzure(facts).verified.find((line) => line.check === "azure.event-log")?.words).toContain(
    "PCR 4",
  );
});

// --- TDX -----------------------------------------------------------------------------------------------------------------

const onTdx = madeAzureTdx();
const checkOnTdx = (made: MadeAzureTdx, parts: AuxParts = {}) =>
  checkAzure(
    "azure-tdx",
    made.quote,
    { ...made.parts, ...parts },
    {
      ...verifyAt(new Date(made.tdx.now).toISOString(), { roots: made.tdx.roots }),
      signatures,
    },
  );

test("the same on TDX: bound, told, and accepted by what --save-policy would write, but not by less", async () => {
  const facts = await checkOnTdx(onTdx);
  const report = reportAzure(facts);
  expect(report.assurance).toBe("paravisor");
  expect(report.bound).toEqual(new Uint8Array(32).fill(7));
  expect(report.documentDigest).toBeUndefined();
  const policy = { ...POLICY_DEFAULTS, minimumAssurance: "paravisor", ...report.pins } as const;
  const judge = (changes: Partial<Policy>) =>
    settled((checks) => judgeAzure(facts, { ...policy, ...changes }, checks));
  judge({});
  // PCRs say the kernel: a paravisor's TD without pinned RTMRs is nothing to warn about.
  const { rtmrs } = TDX_DEFAULTS;
  expect(judge({ tdx: policy.tdx && { ...policy.tdx, rtmrs } }).warnings.join()).not.toContain("tdx.rtmrs");
  expect(await refusedBy(() => judge({ tdx: undefined }))).toBe("evidence.type");
  expect(await refusedBy(() => judge({ azure: undefined }))).toBe("evidence.type");
  const { tdx } = policy;
  if (tdx === undefined) throw new Error("no pins");
  expect(await refusedBy(() => judge({ tdx: { ...tdx, mrtd: [] } }))).toBe("azure.paravisor");
  expect(await refusedBy(() => judge({ tdx: { ...tdx, mrtd: ["22".repeat(48)] } }))).toMatch(/^tdx\./);
});

test.each<[string, string, () => Promise<unknown>]>([
  [
    "a TD quote over another report",
    "azure.hardware-quote",
    () => checkOnTdx(madeAzureTdx({ tdx: { reportData: new Uint8Array(64).fill(1) } })),
  ],
  [
    "a TDREPORT over another guest's runtime data",
    "azure.runtime-data",
    () => {
      const other = new Uint8Array(64).fill(1);
      return checkOnTdx(
        madeAzureTdx({ tdx: { reportData: other }, tdReport: (report) => report.set(other, 128) }),
      );
    },
  ],
  [
    "something else than a TDREPORT",
    "azure.hcl-report",
    () => checkOnTdx(madeAzureTdx({ tdReport: (report) => report.set([0x00]) })),
  ],
  [
    "something behind the TDREPORT",
    "azure.hcl-report",
    () => checkOnTdx(madeAzureTdx({ tdReport: (report) => report.set([1], 1100) })),
  ],
  ["a revoked platform", "tdx.pck-revoked", () => checkOnTdx(madeAzureTdx({ tdx: { revoked: ["leaf"] } }))],
  [
    "another guest's report",
    "azure.hardware-quote",
    () => {
      const other = madeAzureTdx({ claims: (claims) => (claims.note = "other") });
      return checkOnTdx(onTdx, { hclReport: other.parts.hclReport });
    },
  ],
  [
    "a claim of SNP",
    "azure.report-type",
    () => checkAzure("azure-snp", onTdx.quote, onTdx.parts, contextOf(good)),
  ],
])("on TDX, %s is refused by %s", async (_what, expected, attempt) => {
  expect(await refusedBy(attempt)).toBe(expected);
});

// --- runtime data ----------------------------------------------------------------------------------------------------------

const ak = madeKey("rsa", "azure ak");
const parse = (text: string) => parseRuntimeClaims(utf8(text));
const changed = (change: MadeAzureOptions["claims"]) => runtimeClaims(ak, change);
const configured = (members: object) =>
  changed((claims) => Object.assign(claims["vm-configuration"] as object, members));
const keyed = (members: object) =>
  changed((claims) => Object.assign((claims.keys as object[])[0] as object, members));

test("runtime data: what is read, and what is tolerated", () => {
  const claims = parse(
    changed((all) => {
      all.future = { nested: [1, "two", null, true] };
      all["user-data"] = `AB${"00".repeat(63)}`;
      (all.keys as object[]).push({ kid: "HCLEkPub", kty: "RSA" });
    }),
  );
  expect(claims).toMatchObject({
    consoleEnabled: false,
    secureBoot: true,
    tpmPersisted: true,
    vmId: MADE_VM_ID,
  });
  expect(claims.userData?.[0]).toBe(0xab);
  expect(parse(changed(() => undefined)).userData).toBeUndefined();
  expect(parse(changed((all) => delete all["user-data"])).userData).toBeUndefined();
  expect(parse(configured({ vmUniqueId: MADE_VM_ID.toLowerCase() })).vmId).toBe(MADE_VM_ID);
  expect(parse(keyed({ key_ops: ["encrypt"] })).akModulus).toHaveLength(256);
});

test.each([
  ["no JSON", "", "not JSON"],
  ["a list", "[]", "not JSON"],
  ["no configuration", changed((all) => delete all["vm-configuration"]), "vm-configuration"],
  ["no console flag", configured({ "console-enabled": undefined }), "console-enabled"],
  ["a console flag in words", configured({ "console-enabled": "false" }), "console-enabled"],
  ["a console flag that is 0", configured({ "console-enabled": 0 }), "console-enabled"],
  ["no Secure Boot flag", configured({ "secure-boot": undefined }), "secure-boot"],
  ["a TPM that is off", configured({ "tpm-enabled": false }), "no vTPM"],
  ["a flag for keeping that is null", configured({ "tpm-persisted": null }), "tpm-persisted"],
  ["no VM id", configured({ vmUniqueId: undefined }), "UUID"],
  ["a VM id of another form", configured({ vmUniqueId: `${MADE_VM_ID}\n` }), "UUID"],
  ["no keys", changed((all) => delete all.keys), "list of keys"],
  ["keys that are no list", changed((all) => (all.keys = {})), "list of keys"],
  ["no attestation key", keyed({ kid: "HCLEkPub" }), "exactly one"],
  [
    "two attestation keys",
    changed((all) => (all.keys as object[]).push((all.keys as object[])[0] as object)),
    "exactly one",
  ],
  ["another kind of key", keyed({ kty: "EC" }), "exponent"],
  ["another exponent", keyed({ e: "Aw" }), "exponent"],
  ["a short modulus", keyed({ n: Buffer.alloc(128, 0xff).toString("base64url") }), "2048"],
  ["a modulus with a leading zero", keyed({ n: Buffer.alloc(256).toString("base64url") }), "2048"],
  ["padding in base64url", keyed({ n: `${Buffer.alloc(256, 0xff).toString("base64url")}==` }), "2048"],
  ["user-data of another length", changed((all) => (all["user-data"] = "00")), "64 bytes"],
  ["a member twice", changed(() => undefined).replace('"keys"', '"user-data":"x","keys"'), "twice"],
  [
    "a console flag twice",
    configured({}).replace('"secure-boot"', '"console-enabled":true,"secure-boot"'),
    "twice",
  ],
  [
    "a console flag twice, once in escapes",
    configured({}).replace('"secure-boot"', '"\\u0063onsole-enabled":true,"secure-boot"'),
    "escape",
  ],
  ["something behind", `${changed(() => undefined)}x`, "after the object"],
  ["a zero byte behind", `${changed(() => undefined)}\0`, "after the object"],
  ["a comma at the end", changed(() => undefined).replace(/\}$/, ",}"), "not printable|not JSON"],
  ["text beyond ASCII", changed((all) => (all.note = "ü")), "printable ASCII"],
  ["a control character", changed(() => undefined).replace("HCLAkPub", "HCLAkPub\u0001"), "printable ASCII"],
  ["an unknown escape", changed(() => undefined).replace("HCLAkPub", "\\x41"), "escape"],
  ["a fraction", changed((all) => (all.note = 1.5)), "not JSON"],
  ["a number that is too large", changed((all) => (all.note = 2 ** 60)), "whole"],
  ["a leading zero", changed((all) => (all.note = 7)).replace('"note":7', '"note":07'), "whole"],
  ["nesting without end", `{"a":${"[".repeat(50)}${"]".repeat(50)}}`, "too deeply"],
  ["members without end", `{${Array.from({ length: 65 }, (_, i) => `"m${i}":1`).join()}}`, "too many"],
  ["a list without end", `{"a":[${Array(257).fill(1).join()}]}`, "too many"],
  ["a text without end", '{"a":"', "printable ASCII"],
])("runtime data with %s is malformed", (_what, text, problem) => {
  expect(() => parse(text)).toThrow(new RegExp(problem));
  expect(() => parse(text)).toThrow(SealttyError);
});
