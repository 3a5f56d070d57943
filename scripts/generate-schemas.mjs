// Writes what the tables of keys say into the documents: JSON schemas for editors, and the key tables of docs/policy.md and
// docs/instance.md. Run it after a change of a key; a test compares.

import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { runnerImport } from "vite";

const root = new URL("../", import.meta.url);
const load = async (file) => {
  const { module } = await runnerImport(fileURLToPath(new URL(file, root)), {
    root: fileURLToPath(root),
    configFile: false,
    logLevel: "error",
  });
  return module;
};

const policy = await load("protocol/attestation/policy/schema.ts");
const instance = await load("protocol/attestation/instance/schema.ts");

function writeSchema(file, schema) {
  writeFileSync(new URL(file, root), `${JSON.stringify(schema, null, 2)}\n`);
  console.log(file);
}

function writeTable(file, table) {
  const text = readFileSync(new URL(file, root), "utf8");
  const between = /(<!-- keys: [^\n]*-->\n)[^]*?(<!-- end of keys -->)/;
  if (!between.test(text)) throw new Error(`${file} has no place for the table of keys`);
  writeFileSync(
    new URL(file, root),
    text.replace(between, (_, start, end) => `${start}\n${table}\n${end}`),
  );
  console.log(file);
}

writeSchema("docs/policy.schema.json", policy.policySchema());
writeSchema("docs/instance.schema.json", instance.instanceSchema());
writeTable("docs/policy.md", policy.policyKeyTable());
writeTable("docs/instance.md", instance.instanceKeyTable());
