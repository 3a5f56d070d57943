// Reads a policy file: strictly, and every refusal says what is wrong, where, and what to write instead.

import { SealttyError } from "../../errors.ts";
import type { Section } from "../../toml-keys.ts";
import { type TomlSubject, type TomlTable, readToml } from "../../toml-table.ts";
import { requireVersion } from "../owner-file-head.ts";
import * as keys from "./keys.ts";
import { INSTANCE_DEFAULTS, type Policy } from "./model.ts";
import { policyProblems } from "./rules.ts";

export const MAX_POLICY = 256 * 1024;

const SUBJECT: TomlSubject = {
  name: "Policy",
  code: "bad-policy",
  hint: 'keys look like `name = "db1"`, sections like [tpm]',
};

/** @throws SealttyError `bad-policy`: what is wrong, where, and what to write instead. */
export function parsePolicy(tomlText: string): Policy {
  if (tomlText.length > MAX_POLICY) {
    throw new SealttyError("bad-policy", "Policy: the file is longer than 256 KiB; a policy is a few lines");
  }
  const file = readToml(tomlText, SUBJECT);
  requireVersion(file);
  const policy: Policy = {
    ...keys.TOP_SECTION.read(file, keys.SECTION_NAMES),
    instance: sectionOf(file, keys.INSTANCE_SECTION) ?? INSTANCE_DEFAULTS,
    snp: sectionOf(file, keys.SNP_SECTION),
    tdx: sectionOf(file, keys.TDX_SECTION),
    azure: sectionOf(file, keys.AZURE_SECTION),
    tpm: sectionOf(file, keys.TPM_SECTION),
    simulated: sectionOf(file, keys.SIMULATED_SECTION),
  };
  const [problem] = policyProblems(policy);
  return problem === undefined ? policy : file.fail(problem);
}

function sectionOf<S extends object>(file: TomlTable, section: Section<S>): S | undefined {
  const table = file.table(section.name);
  return table && section.read(table);
}
