// The policy file: strict, and every refusal says what, where, and what to write instead.

import * as fc from "fast-check";
import { expect, test } from "vitest";
import { parsePolicy, policyDigest, renderPolicy } from "../../../protocol/attestation/policy.ts";
import { toHex } from "../../../protocol/bytes.ts";
import { SealttyError } from "../../../protocol/errors.ts";
import { anyPolicy } from "./made-policies.ts";
import { onlySealttyErrors, suite } from "./support.ts";

const AK = `000b${"ab".repeat(32)}`;
const VALUE = "0c".repeat(32);
const HEAD = 'version = 1\nname = "db1"\nminimumAssurance = "host-vouched"\n';
const TPM = `[tpm]\nak = ["${AK}"]\n`;
const PCRS = `[tpm.pcrs]\n4 = ["${VALUE}"]\n`;

test("parsePolicy() reads every key", () => {
  const policy = parsePolicy(
    `${HEAD}${TPM}bank = "sha384"\n[tpm.pcrs]\n4 = ["${"AB".repeat(48)}"]\n11 = ["${"01".repeat(48)}", "${"02".repeat(48)}"]\n`,
  );
  expect(policy).toEqual({
    version: 1,
    name: "db1",
    minimumAssurance: "host-vouched",
    anyInstance: false,
    clockSkew: 300,
    reattestEvery: 600,
    reattestMisses: 3,
    instance: { documents: [], keys: [], pcr: 15 },
    snp: undefined,
    tdx: undefined,
    azure: undefined,
    tpm: {
      akNames: [AK],
      bank: "sha384",
      pcrs: new Map([
        [4, ["ab".repeat(48)]],
        [11, ["01".repeat(48), "02".repeat(48)]],
      ]),
    },
    simulated: undefined,
  });
});

test.each([
  ["no version", HEAD.replace("version = 1\n", "") + TPM + PCRS, "version is missing; write `version = 1`"],
  ["another version", HEAD.replace("= 1", "= 2") + TPM + PCRS, "write `version = 1`"],
  ["a version that is no integer", HEAD.replace("= 1", "= 1.0") + TPM + PCRS, "write `version = 1`"],
  ["a version that is a string", HEAD.replace("= 1", '= "1"') + TPM + PCRS, "write `version = 1`"],
  ["no assurance", `version = 1\n${TPM}${PCRS}`, "minimumAssurance is missing; write"],
  ["an unknown assurance", `version = 1\nminimumAssurance = "high"\n${TPM}${PCRS}`, 'none of "hardware"'],
  [
    "too much assurance",
    `version = 1\nminimumAssurance = "hardware"\n${TPM}${PCRS}`,
    '[tpm] reaches at most "host-vouched"',
  ],
  [
    "an unknown key at the top",
    `${HEAD}minimum_assurance = 1\n${TPM}${PCRS}`,
    "unknown key minimum_assurance; did you mean minimumAssurance?",
  ],
  ["an unknown key in a section", `${HEAD}${TPM}pcr = 1\n${PCRS}`, "unknown key tpm.pcr; did you mean pcrs?"],
  [
    "an unknown key in [simulated]",
    'version = 1\nminimumAssurance = "simulated"\n[simulated]\nname = "x"\n',
    "unknown key simulated.name",
  ],
  ["an unknown section", `${HEAD}${TPM}${PCRS}[sgx]\n`, "unknown key sgx; remove it. Known at the top: "],
  ["no evidence at all", HEAD, "add a [tpm] section"],
  ["no key", `${HEAD}[tpm]\n${PCRS}`, "tpm.ak is missing, so any machine could answer"],
  ["no key: a document would not be one", `${HEAD}[tpm]\n${PCRS}`, "shows, or [instance] keys, or, if any"],
  ["an empty list of keys", `${HEAD}[tpm]\nak = []\n${PCRS}`, "tpm.ak is missing"],
  ["a key that is no name", `${HEAD}[tpm]\nak = ["abcd"]\n${PCRS}`, "tpm.ak[0] is not the name of a key"],
  ["a key and anyInstance", `${HEAD}anyInstance = true\n${TPM}${PCRS}`, "contradict each other"],
  [
    "anyInstance that is no boolean",
    `${HEAD}anyInstance = "yes"\n${TPM}${PCRS}`,
    "anyInstance is neither true nor false",
  ],
  ["no PCR", `${HEAD}${TPM}`, "tpm.pcrs is missing"],
  ["an empty [tpm.pcrs]", `${HEAD}${TPM}[tpm.pcrs]\n`, "tpm.pcrs is missing"],
  ["a PCR without values", `${HEAD}${TPM}[tpm.pcrs]\n4 = []\n`, "tpm.pcrs.4 accepts no value"],
  ["a PCR that does not exist", `${HEAD}${TPM}[tpm.pcrs]\n24 = ["${VALUE}"]\n`, "tpm.pcrs.24 is not a PCR"],
  ["a PCR written oddly", `${HEAD}${TPM}[tpm.pcrs]\n04 = ["${VALUE}"]\n`, "tpm.pcrs.04 is not a PCR"],
  ["the debug PCR", `${HEAD}${TPM}[tpm.pcrs]\n16 = ["${VALUE}"]\n`, "any software can reset"],
  [
    "a value of another bank",
    `${HEAD}${TPM}bank = "sha384"\n${PCRS}`,
    "tpm.pcrs.4[0] is not a sha384 value; write 96 hex digits",
  ],
  ["a value that is not hex", `${HEAD}${TPM}[tpm.pcrs]\n4 = ["${"zz".repeat(32)}"]\n`, "write 64 hex digits"],
  [
    "a value outside a list",
    `${HEAD}${TPM}[tpm.pcrs]\n4 = "${VALUE}"\n`,
    "tpm.pcrs.4 is not a list of strings",
  ],
  ["SHA-1", `${HEAD}${TPM}bank = "sha1"\n${PCRS}`, "tpm.bank is not a bank that can be believed"],
  ["a section that is none", `${HEAD}tpm = 3\n`, "tpm is not a section; write [tpm]"],
  ["a date as a section", `${HEAD}tpm = 2026-01-01\n`, "tpm is not a section"],
  ["a list of sections", `${HEAD}[[tpm]]\n`, "tpm is not a section"],
  [
    "[simulated] with real assurance",
    `${HEAD}${TPM}${PCRS}[simulated]\ninstance = "demo"\n`,
    "evidence that proves nothing",
  ],
  [
    "[simulated] without a name",
    'version = 1\nminimumAssurance = "simulated"\n[simulated]\n',
    "simulated.instance is missing",
  ],
  ["text that is no TOML", `${HEAD}tpm = [`, "Policy: line "],
  ["one key twice", `${HEAD}name = "x"\n`, "Policy: line "],
  ["a dangerous key", `${HEAD}__proto__ = 1\n`, "Policy: "],
  ["a name with a line end", `${HEAD.replace("db1", "a\\nb")}${TPM}${PCRS}`, "name is not"],
  ["a huge file", `${HEAD}# ${"x".repeat(300_000)}\n`, "longer than 256 KiB"],
])("parsePolicy() refuses %s", (_what, text, part) => {
  let error: unknown;
  try {
    parsePolicy(text);
  } catch (thrown) {
    error = thrown;
  }
  expect(error).toBeInstanceOf(SealttyError);
  expect((error as SealttyError).code).toBe("bad-policy");
  expect((error as SealttyError).message).toContain(part);
});

test("renderPolicy() writes what parsePolicy() reads back", () =>
  fc.assert(
    fc.property(anyPolicy, (policy) => {
      expect(parsePolicy(renderPolicy(policy))).toEqual(policy);
    }),
    { numRuns: 300 },
  ));

test("renderPolicy() writes no default, and nothing that a policy does not say", () => {
  const text = renderPolicy(parsePolicy(`${HEAD}clockSkew = 300\n${TPM}bank = "sha256"\n${PCRS}`));
  for (const absent of ["clockSkew", "reattestEvery", "anyInstance", "bank", "[instance]", "[snp]"]) {
    expect(text).not.toContain(`\n${absent}`);
  }
  expect(text).toContain(`[tpm.pcrs]\n# boot loader or kernel image\n4 = ["${VALUE}"]\n`);
});

test("policyDigest() does not depend on comments or order, and does on every value", () => {
  const digest = (text: string) => toHex(policyDigest(suite, parsePolicy(text)));
  const base = digest(HEAD + TPM + PCRS);
  expect(digest(`# a comment\n${HEAD}${TPM.replace("ab", "AB")}${PCRS}`)).toBe(base);
  for (const other of [
    HEAD.replace("db1", "db2") + TPM + PCRS,
    HEAD + TPM.replace("ab", "ac") + PCRS,
    HEAD + TPM + PCRS.replace("4 =", "5 ="),
    HEAD + TPM + PCRS.replace("0c", "0d"),
  ]) {
    expect(digest(other)).not.toBe(base);
  }
});

test("parsePolicy() never throws anything but a SealttyError", () => {
  const pieces = fc.constantFrom(
    HEAD,
    TPM,
    PCRS,
    "[tpm]\n",
    "[[tpm]]\n",
    "a.b.c = {",
    "[[[[",
    "\\u0000",
    '"""',
    "= 1e9\n",
    "[snp]\n",
    "[snp.minimumTcb]\nsnp = 1\n",
    "[tdx.rtmrs]\n1 = []\n",
    "[azure]\nvmId = 3\n",
    '[instance]\nkeys = ["ssh-ed25519 AAAA"]\n',
    "vmpl = [9]\n",
  );
  const text = fc
    .array(fc.oneof(pieces, fc.string({ unit: "binary" })), { maxLength: 8 })
    .map((parts) => parts.join(""));
  fc.assert(
    fc.property(text, (toml) => void onlySealttyErrors(() => parsePolicy(toml))),
    { numRuns: 500 },
  );
  for (const deep of [
    `x = ${"[".repeat(50_000)}`,
    `x${".x".repeat(50_000)} = 1`,
    `[${"x.".repeat(50_000)}x]`,
  ]) {
    expect(onlySealttyErrors(() => parsePolicy(HEAD + deep))).toBe(false);
  }
});
