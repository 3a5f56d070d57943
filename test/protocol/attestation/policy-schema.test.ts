// The schema for editors and the table in the document: made from the keys, in step with the repository, agreeing with the parser.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import * as fc from "fast-check";
import { parse } from "smol-toml";
import { expect, test } from "vitest";
import { parsePolicy, renderPolicy } from "../../../protocol/attestation/policy.ts";
import { policyKeyTable, policySchema } from "../../../protocol/attestation/policy/schema.ts";
import { schemaComplaints } from "../../support/json-schema.ts";
import { H64, H96, SNP, SNP_WHICH, anyPolicy, head } from "./made-policies.ts";
import { onlySealttyErrors } from "./support.ts";

const file = (name: string) =>
  readFileSync(fileURLToPath(new URL(`../../../${name}`, import.meta.url)), "utf8");
const complaints = (toml: string) => schemaComplaints(policySchema(), parse(toml));

test("docs/policy.schema.json is what the keys say (else: node scripts/generate-schemas.mjs)", () => {
  expect(JSON.parse(file("docs/policy.schema.json"))).toEqual(policySchema());
});

test("docs/policy.md has the table of every key (else: node scripts/generate-schemas.mjs)", () => {
  expect(file("docs/policy.md")).toContain(`-->\n\n${policyKeyTable()}\n<!-- end of keys -->`);
});

test("the schema is draft-07, and has words for every key", () => {
  const schema = policySchema();
  expect(schema["$schema"]).toBe("http://json-schema.org/draft-07/schema#");
  const walk = (part: unknown): void => {
    const { properties } = part as { properties?: Record<string, { description?: string }> };
    for (const [name, each] of Object.entries(properties ?? {})) {
      if (["fmc", "bootloader", "tee", "snp", "microcode"].includes(name) && each.description === undefined)
        continue;
      expect(each.description, name).toMatch(/\S{3}/);
      walk(each);
    }
  };
  walk(schema);
});

test("whatever parsePolicy() accepts, the schema accepts", () =>
  fc.assert(
    fc.property(anyPolicy, (policy) => {
      expect(complaints(renderPolicy(policy))).toEqual([]);
    }),
    { numRuns: 100 },
  ));

test.each([
  ["an unknown key", `${head("hardware")}colour = 1\n${SNP}${SNP_WHICH}`],
  ["an unknown key in a section", `${head("hardware")}${SNP}${SNP_WHICH}colour = 1\n`],
  ["no version", `minimumAssurance = "hardware"\n${SNP}${SNP_WHICH}`],
  ["another version", `version = 2\nminimumAssurance = "hardware"\n${SNP}${SNP_WHICH}`],
  ["no assurance", `version = 1\n${SNP}${SNP_WHICH}`],
  ["short hex", `${head("hardware")}[snp]\nmeasurement = ["ab"]\n`],
  ["a value outside a list", `${head("hardware")}[snp]\nmeasurement = "${H96}"\n`],
  ["an empty list", `${head("hardware")}[snp]\nmeasurement = []\n`],
  ["a status that no policy accepts", `${head("hardware")}[tdx]\ntcbStatus = ["Revoked"]\n`],
  ["an RTMR that does not exist", `${head("hardware")}[tdx.rtmrs]\n4 = ["${H96}"]\n`],
  ["a PCR that does not exist", `${head("host-vouched")}[tpm.pcrs]\n24 = ["${H64}"]\n`],
  ["no PCRs", `${head("host-vouched")}[tpm]\nak = ["000b${H64}"]\n`],
  ["no evidence", head("hardware")],
  ["Azure without the hardware below", `${head("paravisor")}[azure.pcrs]\n4 = ["${H64}"]\n`],
  ["a number out of range", `${head("hardware", "clockSkew = 86401\n")}${SNP}${SNP_WHICH}`],
])("the schema refuses what parsePolicy() refuses: %s", (_what, toml) => {
  expect(onlySealttyErrors(() => parsePolicy(toml))).toBe(false);
  expect(complaints(toml)).not.toEqual([]);
});
