// Every key of a policy: a good value, its default, and what is refused; the rules that need several keys at once.

import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  type Policy,
  SNP_DEFAULTS,
  TDX_DEFAULTS,
  acceptedTypes,
  parsePolicy,
  policyDigest,
  policyProblems,
  reaches,
  renderPolicy,
} from "../../../protocol/attestation/policy.ts";
import { SECTIONS } from "../../../protocol/attestation/policy/keys.ts";
import { toHex } from "../../../protocol/bytes.ts";
import { SealttyError } from "../../../protocol/errors.ts";
import {
  AZURE,
  AZURE_PCRS,
  H128,
  H32,
  H64,
  H96,
  RTMRS,
  SNP,
  SNP_WHICH,
  TDX,
  TDX_WHICH,
  anyPolicy,
  head,
} from "./made-policies.ts";
import { suite } from "./support.ts";

const SSH_KEY =
  "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIfs1GGVHcL7xPQjUbkzTxdaPZVPMHHMCyyEgAgUcrd5 alice@laptop";
const SSH_KEY_HEX = "87ecd461951dc2fbc4f42351b9334f175a3d954f3071cc0b2c8480081472b779";

function refusal(toml: string): string {
  let error: unknown;
  try {
    parsePolicy(toml);
  } catch (thrown) {
    error = thrown;
  }
  expect(error).toBeInstanceOf(SealttyError);
  expect((error as SealttyError).code).toBe("bad-policy");
  return (error as SealttyError).message;
}

interface KeyCase {
  /** Path in the file. */
  readonly path: string;
  /** Good TOML, and what it is read as. */
  readonly good: readonly (readonly [string, unknown])[];
  /** Bad TOML, and a piece of the complaint. */
  readonly bad: readonly (readonly [string, string])[];
  readonly field?: string;
}

const hexList = (path: string, digits: number, field: string): KeyCase => ({
  path,
  field,
  good: [
    [`["${"AB".repeat(digits / 2)}"]`, ["ab".repeat(digits / 2)]],
    [
      `["${"01".repeat(digits / 2)}", "${"02".repeat(digits / 2)}"]`,
      ["01".repeat(digits / 2), "02".repeat(digits / 2)],
    ],
  ],
  bad: [
    [`"${"ab".repeat(digits / 2)}"`, "is not a list of strings"],
    ["[]", "is missing its values"],
    ["[1]", `[0] is not ${digits} hex digits; write ${digits} hex digits`],
    [`["${"ab".repeat(digits / 2)}", "${"ab".repeat(digits / 2 - 1)}"]`, "[1] is not"],
    [`["${"zz".repeat(digits / 2)}"]`, "[0] is not"],
    [`["0x${"ab".repeat(digits / 2)}"]`, "[0] is not"],
    [
      `[${Array.from({ length: 65 }, () => `"${"ab".repeat(digits / 2)}"`).join(",")}]`,
      "has more than 64 values",
    ],
  ],
});
const pinList = (path: string, digits: number, field: string): KeyCase => {
  const { good, bad } = hexList(path, digits, field);
  return { path, field, good, bad: [...bad, [`["${"00".repeat(digits / 2)}"]`, "is all zero"]] };
};
const flagKey = (path: string): KeyCase => ({
  path,
  good: [
    ["true", true],
    ["false", false],
  ],
  bad: [
    ['"true"', "is neither true nor false"],
    ["1", "is neither true nor false"],
  ],
});
const choiceKey = (path: string, ...values: readonly string[]): KeyCase => ({
  path,
  good: values.map((value) => [`"${value}"`, value]),
  bad: [
    ['"other"', "is none of"],
    ["true", "is none of"],
    [`"${(values[0] as string).toUpperCase()}"`, "is none of"],
  ],
});
const numberKey = (path: string, low: number, high: number): KeyCase => ({
  path,
  good: [
    [String(low), low],
    [String(high), high],
  ],
  bad: [
    [String(low - 1), "is not a whole number from"],
    [String(high + 1), "is not a whole number from"],
    [`${low}.0`, "is not a whole number from"],
    [`"${low}"`, "is not a whole number from"],
    ["nan", "is not a whole number from"],
  ],
});
const tcbKey = (path: string): KeyCase => ({
  path,
  good: [
    ["{ bootloader = 10, snp = 23, microcode = 84 }", { bootloader: 10, snp: 23, microcode: 84 }],
    ["{ fmc = 0, tee = 255 }", { fmc: 0, tee: 255 }],
  ],
  bad: [
    ["{ snp = 256 }", `${path}.snp is not a whole number from 0 to 255`],
    ["{ ucode = 1 }", `unknown key ${path}.ucode; remove it. Known`],
    ["{ microcod = 1 }", `unknown key ${path}.microcod; did you mean microcode?`],
    ["{}", "has no component"],
    ["3", "is not a section"],
  ],
});

const CASES: readonly KeyCase[] = [
  {
    path: "name",
    good: [['"db 1"', "db 1"]],
    bad: [
      ['""', "is not 1 to 64"],
      ['"a\\u202eb"', "is not 1 to 64"],
      ["3", "is not 1 to 64"],
    ],
  },
  choiceKey("minimumAssurance", "hardware", "paravisor", "host-vouched", "simulated"),
  numberKey("clockSkew", 0, 86_400),
  numberKey("reattestEvery", 10, 86_400),
  numberKey("reattestMisses", 0, 1000),
  hexList("instance.documents", 64, "documents"),
  {
    path: "instance.keys",
    good: [
      [`["${SSH_KEY}"]`, [SSH_KEY_HEX]],
      [`["${SSH_KEY_HEX.toUpperCase()}"]`, [SSH_KEY_HEX]],
    ],
    bad: [
      ['["ssh-rsa AAAAB3NzaC1yc2E="]', "is not an Ed25519 public key"],
      [`["${SSH_KEY}\\n${SSH_KEY}"]`, "is not an Ed25519 public key"],
      ['["# a comment"]', "is not an Ed25519 public key"],
      [`["${SSH_KEY_HEX}00"]`, "is not an Ed25519 public key"],
      ["[1]", "is not an Ed25519 public key"],
      [`"${SSH_KEY}"`, "is not a list of strings"],
    ],
  },
  numberKey("instance.pcr", 8, 15),
  hexList("snp.measurement", 96, "measurements"),
  pinList("snp.idKey", 96, "idKeys"),
  pinList("snp.authorKey", 96, "authorKeys"),
  pinList("snp.hostData", 64, "hostData"),
  {
    path: "snp.chipId",
    field: "chipIds",
    good: [
      [`["${H128.toUpperCase()}"]`, [H128]],
      ['["0123456789ABCDEF"]', [`0123456789abcdef${"0".repeat(112)}`]],
    ],
    bad: [
      [`["${"0".repeat(128)}"]`, "is all zero: that is a masked CHIP_ID"],
      ['["0000000000000000"]', "is all zero"],
      [`["${H64}"]`, "is not a CHIP_ID; write 128 hex digits"],
      ["[]", "is missing its values"],
      ["[7]", "is not a CHIP_ID"],
    ],
  },
  {
    path: "snp.cspId",
    field: "cspIds",
    good: [['["CN=cc-us-east-2.amazonaws.com"]', ["CN=cc-us-east-2.amazonaws.com"]]],
    bad: [
      ['["\\u00e9"]', "printable ASCII"],
      ['[""]', "printable ASCII"],
    ],
  },
  hexList("snp.familyId", 32, "familyIds"),
  hexList("snp.imageId", 32, "imageIds"),
  {
    path: "snp.products",
    good: [['["Genoa", "Turin"]', ["Genoa", "Turin"]]],
    bad: [
      ['["genoa"]', 'is none of "Milan", "Genoa", "Turin"'],
      ["[]", "an empty list accepts nothing"],
      ['"Genoa"', "is not a list"],
    ],
  },
  {
    path: "snp.signingKey",
    field: "signingKeys",
    good: [['["vcek", "vlek"]', ["vcek", "vlek"]]],
    bad: [
      ['["none"]', "is none of"],
      ["[]", "an empty list accepts nothing"],
    ],
  },
  {
    path: "snp.vmpl",
    field: "vmpls",
    good: [["[0, 1, 2, 3]", [0, 1, 2, 3]]],
    bad: [
      ["[4]", "[0] is not a whole number from 0 to 3"],
      ["[-1]", "is not a whole"],
      ["0", "is not a list of whole numbers"],
      ["[]", "accepts nothing"],
    ],
  },
  tcbKey("snp.minimumTcb"),
  tcbKey("snp.minimumLaunchTcb"),
  {
    path: "snp.minimumMitigation",
    good: [['"00000000000000FF"', "00000000000000ff"]],
    bad: [
      ['"ff"', "is not 16 hex digits"],
      ["255", "is not 16 hex digits"],
    ],
  },
  numberKey("snp.minimumGuestSvn", 0, 2 ** 32 - 1),
  {
    path: "snp.minimumAbi",
    good: [
      ['"1.55"', "1.55"],
      ['"255.0"', "255.0"],
    ],
    bad: [
      ['"1"', "is not an ABI version"],
      ["1.55", "is not an ABI version"],
      ['"01.5"', "is not"],
      ['"1.256"', "is not"],
      ['"1.5.0"', "is not"],
    ],
  },
  choiceKey("snp.smt", "any", "off"),
  choiceKey("snp.singleSocket", "any", "required"),
  choiceKey("snp.ciphertextHiding", "any", "required"),
  choiceKey("snp.aliasCheck", "any", "required"),
  choiceKey("snp.crl", "required", "if-present"),
  ...["allowDebug", "allowMigrationAgent", "allowProvisionalFirmware", "allowMilanWithoutChipId"].map(
    (name) => flagKey(`snp.${name}`),
  ),
  flagKey("tdx.allowAnyKernel"),
  hexList("tdx.mrtd", 96, "mrtd"),
  hexList("tdx.mrSeam", 96, "mrSeam"),
  pinList("tdx.mrConfigId", 96, "mrConfigId"),
  pinList("tdx.mrOwner", 96, "mrOwner"),
  hexList("tdx.mrOwnerConfig", 96, "mrOwnerConfig"),
  hexList("tdx.mrServiceTd", 96, "mrServiceTd"),
  pinList("tdx.piid", 32, "piids"),
  {
    path: "tdx.rtmrs",
    good: [
      [
        `{ 0 = ["${H96}"], 3 = ["${H96.toUpperCase()}"] }`,
        new Map([
          [0, [H96]],
          [3, [H96]],
        ]),
      ],
    ],
    bad: [
      [`{ 4 = ["${H96}"] }`, "tdx.rtmrs.4 is not an RTMR; write a number from 0 to 3"],
      [`{ 01 = ["${H96}"] }`, "is not an RTMR"],
      [`{ 1 = ["${H64}"] }`, "tdx.rtmrs.1[0] is not 96 hex digits"],
      ["{ 1 = [] }", "tdx.rtmrs.1 accepts no value"],
      [`{ 1 = "${H96}" }`, "is not a list of strings"],
      ["{}", "has no line, which pins nothing"],
      [`["${H96}"]`, "is not a section"],
    ],
  },
  {
    path: "tdx.tcbStatus",
    good: [['["UpToDate", "SWHardeningNeeded"]', ["UpToDate", "SWHardeningNeeded"]]],
    bad: [
      ['["Revoked"]', "no policy may accept"],
      ['["uptodate"]', "is none of"],
      ["[]", "accepts nothing"],
    ],
  },
  {
    path: "tdx.advisories",
    good: [['["INTEL-SA-00615"]', ["INTEL-SA-00615"]]],
    bad: [
      ['["SA-615"]', "is not the number of an advisory"],
      ['["INTEL-SA-00615 "]', "is not the number"],
    ],
  },
  numberKey("tdx.minimumTcbEvaluation", 0, 65_535),
  hexList("tdx.xfam", 16, "xfam"),
  choiceKey("tdx.smt", "any", "off"),
  choiceKey("tdx.dynamicPlatform", "any", "static"),
  ...["allowDebug", "allowSeptVe", "allowMigratable", "allowPerfmon"].map((name) => flagKey(`tdx.${name}`)),
  {
    path: "azure.vmId",
    field: "vmIds",
    good: [['["b7c1a6c3-0e1d-4c9b-8f4a-2d1e5a6b7c8d"]', ["B7C1A6C3-0E1D-4C9B-8F4A-2D1E5A6B7C8D"]]],
    bad: [
      ['["b7c1a6c3"]', "is not a VM's unique id"],
      ['["00000000-0000-0000-0000-000000000000"]', "is all zero"],
    ],
  },
  {
    path: "azure.bank",
    good: [['"sha256"', "sha256"]],
    bad: [
      ['"sha1"', "is not a bank that can be believed"],
      ["256", "is not a bank"],
    ],
  },
  {
    path: "azure.pcrs",
    good: [[`{ 4 = ["${H64}"] }`, new Map([[4, [H64]]])]],
    bad: [
      [`{ 24 = ["${H64}"] }`, "azure.pcrs.24 is not a PCR"],
      [`{ 16 = ["${H64}"] }`, "any software can reset"],
      [`{ 4 = ["${H96}"] }`, "azure.pcrs.4[0] is not a sha256 value"],
      ["{}", "azure.pcrs is missing, so any software could run; write [azure.pcrs]"],
    ],
  },
  flagKey("azure.allowHostConsole"),
  flagKey("azure.allowNoSecureBoot"),
];

/** Whole files in which one key is written. */
function fileWith(path: string, toml: string): string {
  const [section, key] = path.includes(".") ? (path.split(".") as [string, string]) : ["", path];
  const line = `${key} = ${toml}\n`;
  const wanted = (name: string, lines: Record<string, string>) =>
    `[${name}]\n${Object.entries(lines)
      .map(([own, value]) => (name === section && own === key ? line : `${own} = ${value}\n`))
      .join("")}${name === section && !(key in lines) ? line : ""}`;
  const assurance =
    path === "minimumAssurance"
      ? line
      : `minimumAssurance = "${section === "azure" ? "paravisor" : "hardware"}"\n`;
  const top = `version = 1\n${assurance}${section === "" && path !== "minimumAssurance" ? line : ""}`;
  const instance = wanted("instance", { documents: `["${H64}"]` });
  const snp = wanted("snp", { measurement: `["${H96}"]` });
  // RTMR 1 and 2 must be pinned, which a case about RTMRs may not want.
  const kernel = path === "tdx.rtmrs" ? { allowAnyKernel: "true" } : { rtmrs: RTMRS };
  const tdx = wanted("tdx", { mrtd: `["${H96}"]`, ...kernel });
  const azure = wanted("azure", { pcrs: `{ 4 = ["${H64}"] }` });
  const simulated = assurance.includes('"simulated"') ? '[simulated]\ninstance = "x"\n' : "";
  if (path === "minimumAssurance" && !assurance.includes("hardware")) return top + instance + snp + simulated;
  return top + instance + (section === "tdx" ? tdx : section === "azure" ? snp + azure : snp);
}

function valueAt(policy: Policy, path: string, field: string | undefined): unknown {
  const [section, key] = path.includes(".") ? (path.split(".") as [keyof Policy, string]) : [undefined, path];
  const table = section === undefined ? policy : policy[section];
  return (table as Readonly<Record<string, unknown>>)[field ?? key];
}

describe.each(CASES)("$path", ({ path, good, bad, field }) => {
  test.each(good)("= %s is read, and written so that it is read again", (toml, value) => {
    const policy = parsePolicy(fileWith(path, toml));
    expect(valueAt(policy, path, field)).toEqual(value);
    expect(parsePolicy(renderPolicy(policy))).toEqual(policy);
  });
  test.each(bad)("= %s is refused, with place and advice", (toml, part) => {
    const message = refusal(fileWith(path, toml));
    expect(message).toContain(path);
    expect(message).toContain(part);
    expect(message).toMatch(/write |remove |did you mean/);
  });
});

test("every key of the table has a case above or in policy.test.ts", () => {
  const elsewhere = ["version", "anyInstance", "tpm.ak", "tpm.bank", "tpm.pcrs", "simulated.instance"];
  const known = SECTIONS.flatMap((section) => section.rows().map(({ path }) => path));
  expect([...CASES.map(({ path }) => path), ...elsewhere].sort()).toEqual([...known].sort());
});

test("what is absent has the defaults of the model", () => {
  const snp = parsePolicy(head("hardware") + SNP + SNP_WHICH);
  expect(snp.snp).toEqual({ ...SNP_DEFAULTS, measurements: [H96], hostData: [H64] });
  const tdx = parsePolicy(head("hardware") + TDX + TDX_WHICH);
  expect(tdx.tdx).toEqual({
    ...TDX_DEFAULTS,
    mrtd: [H96],
    rtmrs: new Map([
      [1, [H96]],
      [2, [H96]],
    ]),
    mrConfigId: [H96],
  });
  const azure = parsePolicy(head("paravisor") + SNP + AZURE + AZURE_PCRS);
  expect(azure.azure).toEqual({
    vmIds: ["B7C1A6C3-0E1D-4C9B-8F4A-2D1E5A6B7C8D"],
    bank: "sha256",
    pcrs: new Map([[4, [H64]]]),
    allowHostConsole: false,
    allowNoSecureBoot: false,
  });
  expect(azure).toMatchObject({ anyInstance: false, clockSkew: 300, reattestEvery: 600 });
  expect(azure.instance).toEqual({ documents: [], keys: [], pcr: 15 });
});

test.each([
  ["measurment", "did you mean measurement?"],
  ["minimumTCB", "did you mean minimumTcb?"],
  ["chip_id", "did you mean chipId?"],
  ["mrtd", "unknown key snp.mrtd; remove it. Known in [snp]: measurement"],
  ["key", "unknown key snp.key; remove it. Known"],
])("an unknown key %s of [snp] is named", (key, part) => {
  expect(refusal(`${head("hardware")}${SNP}${SNP_WHICH}${key} = 1\n`)).toContain(part);
});

const PINNED = `[instance]\ndocuments = ["${H64}"]\n`;
const AK = `000b${H64}`;
const TPM = `[tpm]\nak = ["${AK}"]\n[tpm.pcrs]\n4 = ["${H64}"]\n`;
const ID_KEY = `[snp]\nidKey = ["${H96}"]\n`;
const AUTHOR_KEY = `[snp]\nauthorKey = ["${H96}"]\n`;
const SIMULATED = '[simulated]\ninstance = "x"\n';
const ANY = "anyInstance = true\n";
const FIRMWARE = TDX.replace(/rtmrs = .*\n/, "");

test.each([
  ["SNP without what", head("hardware") + PINNED + "[snp]\n", "[snp] does not say what may run"],
  ["SNP without which", head("hardware") + SNP, "[snp] has no key that says which machine"],
  ["SNP with an id key only: who signed is not which", head("hardware") + ID_KEY, "[snp] has no key"],
  ["SNP with a cloud's name only", `${head("hardware")}${SNP}cspId = ["CN=x"]\n`, "[snp] has no key"],
  ["TDX without what", head("hardware") + PINNED + "[tdx]\n", "tdx.mrtd is missing"],
  [
    "TDX with RTMRs alone",
    `${head("hardware")}${PINNED}[tdx.rtmrs]\n1 = ["${H96}"]\n`,
    "tdx.mrtd is missing",
  ],
  ["TDX without the kernel", head("hardware") + PINNED + FIRMWARE, "tdx.rtmrs does not pin both 1 and 2"],
  [
    "TDX with half of the kernel",
    `${head("hardware")}${PINNED}${FIRMWARE}rtmrs = { 0 = ["${H96}"], 1 = ["${H96}"], 3 = ["${H96}"] }\n`,
    "`allowAnyKernel = true` into [tdx]",
  ],
  [
    "TDX that says that it does not want any kernel",
    `${head("hardware")}${PINNED}${FIRMWARE}allowAnyKernel = false\n`,
    "tdx.rtmrs does not pin both 1 and 2",
  ],
  ["TDX without which", head("hardware") + TDX, "[tdx] has no key that says which machine"],
  [
    "TDX with an owner's configuration only",
    `${head("hardware")}${TDX}mrOwnerConfig = ["${H96}"]\n`,
    "[tdx] has no key",
  ],
  ["one of two kinds without which", head("hardware") + SNP + SNP_WHICH + TDX, "[tdx] has no key"],
  ["Azure alone", head("paravisor") + AZURE + AZURE_PCRS, "add an [snp] or a [tdx] section"],
  ["Azure without PCRs", head("paravisor") + SNP + AZURE, "azure.pcrs is missing"],
  [
    "Azure without what below",
    `${head("paravisor")}[snp]\n${AZURE}${AZURE_PCRS}`,
    "[snp] does not say what may run",
  ],
  [
    "Azure without which",
    head("paravisor") + SNP + `[azure]\n${AZURE_PCRS}`,
    "[azure] has no key that says which machine",
  ],
  [
    "Azure claimed to be hardware",
    head("hardware") + SNP + AZURE + AZURE_PCRS,
    '[azure] reaches at most "paravisor"',
  ],
  ["a TPM claimed to be a paravisor", head("paravisor") + TPM, '[tpm] reaches at most "host-vouched"'],
  ["a TPM beside hardware", head("hardware") + SNP + SNP_WHICH + TPM, '[tpm] reaches at most "host-vouched"'],
  [
    "any instance and HOST_DATA",
    head("hardware", ANY) + SNP + SNP_WHICH,
    "anyInstance = true and snp.hostData contradict",
  ],
  [
    "any instance and an author key",
    head("hardware", ANY) + AUTHOR_KEY,
    "snp.authorKey contradict each other",
  ],
  [
    "any instance and a chip",
    `${head("hardware", ANY)}${SNP}chipId = ["${H128}"]\n`,
    "snp.chipId contradict",
  ],
  ["any instance and MRCONFIGID", head("hardware", ANY) + TDX + TDX_WHICH, "tdx.mrConfigId contradict"],
  [
    "any instance and MROWNER",
    `${head("hardware", ANY)}${TDX}mrOwner = ["${H96}"]\n`,
    "tdx.mrOwner contradict",
  ],
  ["any instance and a platform", `${head("hardware", ANY)}${TDX}piid = ["${H32}"]\n`, "tdx.piid contradict"],
  ["any instance and a VM", head("paravisor", ANY) + SNP + AZURE + AZURE_PCRS, "azure.vmId contradict"],
  ["any instance and a document", head("hardware", ANY) + PINNED + SNP, "instance.documents contradict"],
  [
    "any instance and a key",
    `${head("hardware", ANY)}[instance]\nkeys = ["${H64}"]\n${SNP}`,
    "instance.keys contradict",
  ],
  [
    "simulated beside hardware",
    head("hardware") + SNP + SNP_WHICH + SIMULATED,
    "evidence that proves nothing",
  ],
  [
    "a TPM by an instance document alone",
    `${head("host-vouched")}${PINNED}${TPM.replace(/ak = .*\n/, "")}`,
    "[instance] documents count only beside tpm.ak or [instance] keys",
  ],
  ["an instance and nothing else", head("hardware") + PINNED, "no kind of evidence is accepted"],
])("a policy is refused: %s", (_what, toml, part) => {
  expect(refusal(toml)).toContain(part);
});

test.each([
  ["a signer and a document", head("hardware") + PINNED + ID_KEY, ["sev-snp"]],
  ["an author key, which is what and which", head("hardware") + AUTHOR_KEY, ["sev-snp"]],
  ["any instance, in so many words", head("hardware", ANY) + SNP, ["sev-snp"]],
  ["a document for two kinds", head("hardware") + PINNED + SNP + TDX, ["sev-snp", "tdx"]],
  ["Azure by the VM's id", head("paravisor") + SNP + AZURE + AZURE_PCRS, ["azure-snp"]],
  [
    "Azure by the hardware below",
    `${head("paravisor")}${SNP}${SNP_WHICH}[azure]\n${AZURE_PCRS}`,
    ["azure-snp"],
  ],
  [
    "a TD of any kernel, in so many words",
    `${head("hardware")}${PINNED}${FIRMWARE}allowAnyKernel = true\n`,
    ["tdx"],
  ],
  [
    "a paravisor's TD, whose PCRs say the kernel",
    head("paravisor") + FIRMWARE + AZURE + AZURE_PCRS,
    ["azure-tdx"],
  ],
  ["Azure on both", head("paravisor") + SNP + TDX + AZURE + AZURE_PCRS, ["azure-snp", "azure-tdx"]],
  ["less assurance than there is", head("host-vouched") + SNP + SNP_WHICH, ["sev-snp"]],
  [
    "a TPM by an instance key",
    `${head("host-vouched")}[instance]\nkeys = ["${H64}"]\n${TPM.replace(/ak = .*\n/, "")}`,
    ["tpm"],
  ],
  [
    "everything for a test",
    head("simulated") + SNP + SNP_WHICH + TPM + SIMULATED,
    ["sev-snp", "tpm", "simulated"],
  ],
])("a policy is accepted: %s", (_what, toml, types) => {
  const policy = parsePolicy(toml);
  expect(acceptedTypes(policy)).toEqual(types);
  expect(policyProblems(policy)).toEqual([]);
});

test("reaches() orders assurance", () => {
  expect(reaches("hardware", "paravisor")).toBe(true);
  expect(reaches("paravisor", "paravisor")).toBe(true);
  expect(reaches("host-vouched", "paravisor")).toBe(false);
  expect(reaches("simulated", "host-vouched")).toBe(false);
});

/** The same policy with one key's value changed, for every key that has another value in `other`. */
function* changedKeys(policy: Policy, other: Policy): Generator<[string, Policy]> {
  for (const section of ["instance", "snp", "tdx", "azure", "tpm"] as const) {
    const [own, foreign] = [policy[section], other[section]];
    if (own === undefined || foreign === undefined) continue;
    for (const [field, value] of Object.entries(foreign)) {
      yield [`${section}.${field}`, { ...policy, [section]: { ...own, [field]: value as unknown } }];
    }
  }
  for (const field of [
    "name",
    "minimumAssurance",
    "anyInstance",
    "clockSkew",
    "reattestEvery",
    "reattestMisses",
    "snp",
    "tdx",
    "tpm",
  ] as const) {
    yield [field, { ...policy, [field]: other[field] }];
  }
}

/** Sets and maps as sorted text, so that equal means equal in meaning. */
const canonical = (value: unknown): string =>
  JSON.stringify(value, (_key, each: unknown) =>
    each instanceof Map
      ? [...(each as Map<number, readonly string[]>)]
          .sort(([a], [b]) => a - b)
          .map(([i, v]) => [i, [...new Set(v)].sort()])
      : Array.isArray(each)
        ? [...new Set(each.map((item: unknown) => JSON.stringify(item)))].sort()
        : typeof each === "object" && each !== null
          ? Object.fromEntries(Object.entries(each).sort(([a], [b]) => (a < b ? -1 : 1)))
          : (each ?? null),
  );

test("policyDigest() changes with every key exactly where the meaning does", () =>
  fc.assert(
    fc.property(anyPolicy, anyPolicy, (policy, other) => {
      const digest = toHex(policyDigest(suite, policy));
      for (const [field, changed] of changedKeys(policy, other)) {
        const same = canonical(changed) === canonical(policy);
        expect(toHex(policyDigest(suite, changed)) === digest, field).toBe(same);
      }
    }),
    { numRuns: 20 },
  ));

test("policyDigest() knows neither order nor repeats of a list, nor whether a default is written", () => {
  const digest = (toml: string) => toHex(policyDigest(suite, parsePolicy(toml)));
  const two = `measurement = ["${H96}", "${"01".repeat(48)}"]\n`;
  const turned = `measurement = ["${"01".repeat(48)}", "${H96.toUpperCase()}", "${H96}"]\n`;
  const base = digest(`${head("hardware")}[snp]\n${two}${SNP_WHICH}`);
  expect(digest(`${head("hardware")}[snp]\n${turned}${SNP_WHICH}vmpl = [0]\nsmt = "any"\n`)).toBe(base);
  expect(
    digest(`${head("hardware", "clockSkew = 300\n")}[instance]\npcr = 15\n[snp]\n${two}${SNP_WHICH}`),
  ).toBe(base);
  expect(digest(`${head("hardware")}[snp]\n${two}${SNP_WHICH}vmpl = [0, 1]\n`)).not.toBe(base);
});
