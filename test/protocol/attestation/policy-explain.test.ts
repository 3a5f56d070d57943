// The explanation says what a policy means: by meaning, not by exact words.

import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { explainPolicy, explanationOf, parsePolicy } from "../../../protocol/attestation/policy.ts";
import {
  AZURE,
  AZURE_PCRS,
  H128,
  H32,
  H64,
  H96,
  SNP,
  SNP_WHICH,
  TDX,
  TDX_WHICH,
  anyPolicy,
  head,
} from "./made-policies.ts";

const explained = (toml: string) => explanationOf(parsePolicy(toml));
const warnedKeys = (toml: string) => explained(toml).warnings.map(({ key }) => key);
const RTMRS = `[tdx.rtmrs]\n1 = ["${H96}"]\n2 = ["${H96}"]\n`;

test("a careful policy: who, what, which, and every default that restricts; no warning", () => {
  const { summary, written, defaults, notCompared, warnings } = explained(head("hardware") + SNP + SNP_WHICH);
  expect(summary.join("\n")).toMatch(/"db1".*"hardware"/);
  expect(summary.join("\n")).toMatch(/Accepted: .*SEV-SNP/);
  expect(summary.join("\n")).toMatch(/Which machine .*snp\.hostData/);
  expect(written.map(({ key }) => key)).toEqual(["snp.measurement", "snp.hostData"]);
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
  for (const key of ["snp.chipId", "snp.minimumTcb", "snp.smt", "instance.documents"]) {
    expect(notCompared).toContain(key);
  }
  expect(notCompared).not.toContain("snp.hostData");
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
    expect(warnedKeys(`${head("hardware")}${SNP}${SNP_WHICH}${line}\n`)).toEqual([key]);
  });
  test.each([
    ["tdx.allowDebug", "allowDebug = true"],
    ["tdx.allowSeptVe", "allowSeptVe = true"],
    ["tdx.allowMigratable", "allowMigratable = true"],
    ["tdx.allowPerfmon", "allowPerfmon = true"],
    ["tdx.mrServiceTd", `mrServiceTd = ["${H96}"]`],
    ["tdx.tcbStatus", 'tcbStatus = ["UpToDate", "OutOfDate"]\nadvisories = ["INTEL-SA-00615"]'],
  ])("%s", (key, line) => {
    expect(warnedKeys(`${head("hardware")}${TDX}${TDX_WHICH}${line}\n${RTMRS}`)).toEqual([key]);
  });
  test.each([
    ["azure.allowHostConsole", "allowHostConsole = true"],
    ["azure.allowNoSecureBoot", "allowNoSecureBoot = true"],
  ])("%s", (key, line) => {
    expect(warnedKeys(`${head("paravisor")}${SNP}${AZURE}${line}\n${AZURE_PCRS}`)).toEqual([key]);
  });
  test.each([
    ["anyInstance", head("hardware", "anyInstance = true\n") + SNP],
    ["clockSkew", head("hardware", "clockSkew = 86400\n") + SNP + SNP_WHICH],
  ])("%s", (key, toml) => expect(warnedKeys(toml)).toEqual([key]));
  test("simulated evidence, twice", () => {
    const toml = `${head("simulated")}[simulated]\ninstance = "x"\n`;
    expect(warnedKeys(toml)).toEqual(["minimumAssurance", "simulated"]);
    expect(explained(toml).summary.join("\n")).toContain("--simulated");
  });
});

describe("combinations", () => {
  test("Milan alone without its CHIP_ID accepts no machine, and says so", () => {
    const milan = `${head("hardware")}${SNP}${SNP_WHICH}products = ["Milan"]\n`;
    const [warning, ...more] = explained(milan).warnings;
    expect(warning?.key).toBe("snp.chipId");
    expect(warning?.words).toMatch(/Milan.*accepts no machine/);
    expect(more).toEqual([]);
    expect(warnedKeys(`${milan}chipId = ["${H128}"]\n`)).toEqual([]);
    expect(warnedKeys(`${milan}allowMilanWithoutChipId = true\n`)).toEqual(["snp.allowMilanWithoutChipId"]);
    expect(warnedKeys(`${milan}signingKey = ["vlek"]\ncspId = ["CN=x"]\n`)).toEqual(["snp.signingKey"]);
  });
  test("a VLEK of any cloud", () => {
    expect(warnedKeys(`${head("hardware")}${SNP}${SNP_WHICH}signingKey = ["vlek"]\n`)).toContain("snp.cspId");
  });
  test.each([
    ["no RTMR", "", ["tdx.rtmrs"]],
    ["RTMR 1 only", `[tdx.rtmrs]\n1 = ["${H96}"]\n`, ["tdx.rtmrs"]],
    ["RTMR 1 and 2", RTMRS, []],
  ])("TDX with %s", (_what, rtmrs, keys) => {
    expect(warnedKeys(head("hardware") + TDX + TDX_WHICH + rtmrs)).toEqual(keys);
  });
  test("advisories that have no effect, or are missing", () => {
    const tdx = head("hardware") + TDX + TDX_WHICH;
    expect(warnedKeys(`${tdx}advisories = ["INTEL-SA-00615"]\n${RTMRS}`)).toEqual(["tdx.advisories"]);
    expect(warnedKeys(`${tdx}tcbStatus = ["OutOfDate"]\n${RTMRS}`)).toEqual([
      "tdx.tcbStatus",
      "tdx.advisories",
    ]);
  });
  test("a processor is not a guest", () => {
    expect(warnedKeys(`${head("hardware")}${SNP}chipId = ["${H128}"]\n`)).toEqual(["snp.chipId"]);
    expect(warnedKeys(`${head("hardware")}${SNP}${SNP_WHICH}chipId = ["${H128}"]\n`)).toEqual([]);
    expect(warnedKeys(`${head("hardware")}${TDX}piid = ["${H32}"]\n${RTMRS}`)).toEqual(["tdx.piid"]);
  });
  test("PCRs that say nothing about the kernel", () => {
    expect(warnedKeys(`${head("paravisor")}${SNP}${AZURE}[azure.pcrs]\n7 = ["${H64}"]\n`)).toEqual([
      "azure.pcrs",
    ]);
  });
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
