// The explanation says what a policy means: by meaning, not by exact words.

import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { explainPolicy, explanationOf, parsePolicy } from "../../../protocol/attestation/policy.ts";
import { AZURE, AZURE_PCRS, H128, H32, H64, H96, SNP, TDX, anyPolicy, head } from "./made-policies.ts";

/** The pin that holds against the host. */
const PINNED = `[instance]\ndocuments = ["${H64}"]\n`;
const explained = (toml: string) => explanationOf(parsePolicy(toml));
const warnedKeys = (toml: string) => explained(toml).warnings.map(({ key }) => key);

test("a careful policy: who, what, which, and every default that restricts; no warning", () => {
  const { summary, written, defaults, notCompared, warnings } = explained(head("hardware") + PINNED + SNP);
  expect(summary.join("\n")).toMatch(/"db1".*"hardware"/);
  expect(summary.join("\n")).toMatch(/Accepted: .*SEV-SNP/);
  expect(summary.join("\n")).toMatch(/Which machine .*instance\.documents/);
  expect(written.map(({ key }) => key)).toEqual(["instance.documents", "snp.measurement"]);
  const strict = Object.fromEntries(defaults.map(({ key, value }) => [key, value]));
  expect(strict).toMatchObject({
    anyInstance: "false",
    "snp.vmpl": "[0]",
    "snp.signingKey": '["vcek"]',
    "snp.aliasCheck": '"required"',
    "snp.crl": '"required"',
    "snp.allowDebug": "false",
    "snp.allowMilanWithoutChipId": "false",
  });
  for (const key of ["snp.chipId", "snp.minimumTcb", "snp.smt", "snp.hostData"]) {
    expect(notCompared).toContain(key);
  }
  expect(notCompared).not.toContain("instance.documents");
  expect(warnings).toEqual([]);
});

test("every key of a policy is either written, a default in force, not compared, or a mere name", () =>
  fc.assert(
    fc.property(anyPolicy, (policy) => {
      const { written, defaults, notCompared } = explanationOf(policy);
      const all = [...written, ...defaults].map(({ key }) => key).concat(notCompared);
      expect(new Set(all).size).toBe(all.length);
      for (const section of ["snp", "tdx", "azure", "tpm"] as const) {
        const count = all.filter((key) => key.startsWith(`${section}.`) && !key.endsWith(".bank")).length;
        const fields = Object.keys(policy[section] ?? {}).filter((field) => field !== "bank").length;
        expect(count, section).toBe(fields);
      }
    }),
    { numRuns: 50 },
  ));

describe("switches that give something up are warned about", () => {
  test.each([
    ["snp.allowDebug", "allowDebug = true"],
    ["snp.allowMigrationAgent", "allowMigrationAgent = true"],
    ["snp.allowProvisionalFirmware", "allowProvisionalFirmware = true"],
    ["snp.allowMilanWithoutChipId", "allowMilanWithoutChipId = true"],
    ["snp.aliasCheck", 'aliasCheck = "any"'],
    ["snp.crl", 'crl = "if-present"'],
    ["snp.vmpl", "vmpl = [0, 2]"],
    ["snp.signingKey", 'signingKey = ["vlek"]\ncspId = ["CN=x"]'],
  ])("%s", (key, line) => {
    expect(warnedKeys(`${head("hardware")}${PINNED}${SNP}${line}\n`)).toEqual([key]);
  });
  test.each([
    ["tdx.allowDebug", "allowDebug = true"],
    ["tdx.allowSeptVe", "allowSeptVe = true"],
    ["tdx.allowMigratable", "allowMigratable = true"],
    ["tdx.allowPerfmon", "allowPerfmon = true"],
    ["tdx.mrServiceTd", `mrServiceTd = ["${H96}"]`],
    ["tdx.tcbStatus", 'tcbStatus = ["UpToDate", "OutOfDate"]\nadvisories = ["INTEL-SA-00615"]'],
  ])("%s", (key, line) => {
    expect(warnedKeys(`${head("hardware")}${PINNED}${TDX}${line}\n`)).toEqual([key]);
  });
  test.each([
    ["azure.allowHostConsole", "allowHostConsole = true"],
    ["azure.allowNoSecureBoot", "allowNoSecureBoot = true"],
  ])("%s", (key, line) => {
    expect(warnedKeys(`${head("paravisor")}${PINNED}${SNP}${AZURE}${line}\n${AZURE_PCRS}`)).toEqual([key]);
  });
  test.each([
    ["anyInstance", head("hardware", "anyInstance = true\n") + SNP],
    ["clockSkew", head("hardware", "clockSkew = 86400\n") + PINNED + SNP],
  ])("%s", (key, toml) => expect(warnedKeys(toml)).toEqual([key]));
  test("simulated evidence, twice", () => {
    const toml = `${head("simulated")}[simulated]\ninstance = "x"\n`;
    expect(warnedKeys(toml)).toEqual(["minimumAssurance", "simulated"]);
    expect(explained(toml).summary.join("\n")).toContain("--simulated");
  });
});

describe("combinations", () => {
  test("Milan alone without its CHIP_ID accepts no machine, and says so", () => {
    const milan = `${head("hardware")}${PINNED}${SNP}products = ["Milan"]\n`;
    const [warning, ...more] = explained(milan).warnings;
    expect(warning?.key).toBe("snp.chipId");
    expect(warning?.words).toMatch(/Milan.*accepts no machine/);
    expect(more).toEqual([]);
    expect(warnedKeys(`${milan}chipId = ["${H128}"]\n`)).toEqual([]);
    expect(warnedKeys(`${milan}allowMilanWithoutChipId = true\n`)).toEqual(["snp.allowMilanWithoutChipId"]);
    expect(warnedKeys(`${milan}signingKey = ["vlek"]\ncspId = ["CN=x"]\n`)).toEqual(["snp.signingKey"]);
  });
  test("a VLEK of any cloud", () => {
    expect(warnedKeys(`${head("hardware")}${PINNED}${SNP}signingKey = ["vlek"]\n`)).toContain("snp.cspId");
  });
  test("a TD of any kernel is said to be one; beside [azure] the PCRs say the kernel", () => {
    const open = TDX.replace(/rtmrs = .*\n/, "");
    const any = explained(`${head("hardware")}${PINNED}${open}allowAnyKernel = true\n`);
    expect(any.warnings.map(({ key }) => key)).toEqual(["tdx.allowAnyKernel"]);
    expect(any.warnings[0]?.words).toMatch(/whoever starts it chooses the kernel/);
    expect(any.notCompared).toContain("tdx.rtmrs");
    expect(warnedKeys(head("hardware") + PINNED + TDX)).toEqual([]);
    expect(warnedKeys(`${head("paravisor")}${PINNED}${open}${AZURE}${AZURE_PCRS}`)).toEqual([]);
  });
  test("beside [azure] several firmwares are several paravisors", () => {
    const two = (toml: string) => toml.replace(`"${H96}"`, `"${H96}", "${"9b".repeat(48)}"`);
    const azure = AZURE + AZURE_PCRS;
    expect(warnedKeys(head("paravisor") + PINNED + two(SNP) + azure)).toEqual(["snp.measurement"]);
    expect(warnedKeys(head("paravisor") + PINNED + two(TDX) + azure)).toEqual(["tdx.mrtd"]);
    expect(warnedKeys(head("hardware") + PINNED + two(SNP))).toEqual([]);
  });
  test("an Azure VM's id alone is its host's word", () => {
    const azure = AZURE + AZURE_PCRS;
    const [warning, ...more] = explained(head("paravisor") + SNP + azure).warnings;
    expect(warning?.key).toBe("azure.vmId");
    expect(warning?.words).toMatch(/Azure's host/);
    expect(more).toEqual([]);
    expect(warnedKeys(`${head("paravisor")}${SNP}chipId = ["${H128}"]\n${azure}`)).toEqual(["azure.vmId"]);
    expect(warnedKeys(head("paravisor") + PINNED + SNP + azure)).toEqual([]);
  });
  test("advisories that have no effect, or are missing", () => {
    const tdx = head("hardware") + PINNED + TDX;
    expect(warnedKeys(`${tdx}advisories = ["INTEL-SA-00615"]\n`)).toEqual(["tdx.advisories"]);
    expect(warnedKeys(`${tdx}tcbStatus = ["OutOfDate"]\n`)).toEqual(["tdx.tcbStatus", "tdx.advisories"]);
  });
  test("a processor is not a guest", () => {
    expect(warnedKeys(`${head("hardware")}${SNP}chipId = ["${H128}"]\n`)).toEqual(["snp.chipId"]);
    expect(warnedKeys(`${head("hardware")}${PINNED}${SNP}chipId = ["${H128}"]\n`)).toEqual([]);
    expect(warnedKeys(`${head("hardware")}${TDX}piid = ["${H32}"]\n`)).toEqual(["tdx.piid"]);
  });
  test("a field that whoever starts a guest chooses is not a guest either", () => {
    const chosen: [string, string][] = [
      ["snp.hostData", `${SNP}hostData = ["${H64}"]\n`],
      ["snp.authorKey", `${SNP}authorKey = ["${H96}"]\n`],
      ["tdx.mrConfigId", `${TDX}mrConfigId = ["${H96}"]\n`],
      ["tdx.mrOwner", `${TDX}mrOwner = ["${H96}"]\n`],
    ];
    for (const [key, section] of chosen) {
      expect(warnedKeys(head("hardware") + section)).toEqual([key]);
      expect(warnedKeys(head("hardware") + PINNED + section)).toEqual([]);
    }
  });
  test("PCRs that say nothing about the kernel", () => {
    expect(warnedKeys(`${head("paravisor")}${PINNED}${SNP}${AZURE}[azure.pcrs]\n7 = ["${H64}"]\n`)).toEqual([
      "azure.pcrs",
    ]);
  });
});

test("values are whole, and a table has one entry for each of its lines", () => {
  const long = Array.from({ length: 9 }, (_, i) => `"${String(i).repeat(64)}"`).join(", ");
  const toml = `${head("host-vouched")}[instance]\nkeys = ["${H64}"]\n[snp]\nmeasurement = ["${H96}"]\nminimumTcb = { snp = 22, microcode = 84 }\n[tpm]\n[tpm.pcrs]\n4 = [${long}]\n1 = ["${H64}"]\n`;
  const { written } = explained(toml);
  const of = (key: string) => written.find((each) => each.key === key);
  expect(of("tpm.pcrs")?.entries).toEqual([
    {
      key: "tpm.pcrs.1",
      value: `["${H64}"]`,
      words: expect.stringMatching(/^firmware configuration: .*boot order/),
    },
    { key: "tpm.pcrs.4", value: `[${long}]`, words: "boot loader or kernel image" },
  ]);
  expect(of("snp.minimumTcb")?.entries?.map(({ key, value }) => `${key} = ${value}`)).toEqual([
    "snp.minimumTcb.snp = 22",
    "snp.minimumTcb.microcode = 84",
  ]);
  expect(of("snp.measurement")).toEqual(expect.objectContaining({ value: `["${H96}"]` }));
  const lines = explainPolicy(parsePolicy(toml));
  expect(lines).toContain(`tpm.pcrs.4 = [${long}]: boot loader or kernel image`);
  expect(lines).toContain("snp.minimumTcb.snp = 22");
  expect(lines.join("\n")).not.toContain("…");
});

test("what Milan needs is said as it is, for both kinds of key", () => {
  const words = explained(`${head("hardware")}${PINNED}${SNP}signingKey = ["vlek"]\ncspId = ["CN=x"]\n`)
    .defaults.filter(({ key }) => key === "snp.allowMilanWithoutChipId" || key === "snp.products")
    .map((each) => each.words);
  expect(words).toHaveLength(2);
  for (const each of words) expect(each).toMatch(/cspId/);
});

test("explainPolicy() has the same, line by line", () => {
  const lines = explainPolicy(
    parsePolicy(`${head("hardware", "anyInstance = true\n")}${SNP}allowDebug = true\n`),
  );
  expect(lines.some((line) => /^Which machine .*ANY/.test(line))).toBe(true);
  expect(lines.filter((line) => line.startsWith("Warning: "))).toHaveLength(2);
  expect(lines).toContainEqual(expect.stringMatching(/^Default snp\.vmpl = \[0\]: /));
  expect(lines).toContainEqual(expect.stringMatching(/^Not compared.*snp\.chipId/));
  for (const line of lines) expect(line).not.toMatch(/[\u0000-\u001f]/);
});
