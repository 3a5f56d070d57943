// The policy for editors and documents, made from the table of keys: docs/policy.schema.json and the table in docs/policy.md.

import type { Json, JsonObject } from "../../toml-keys.ts";
import * as keys from "./keys.ts";

/** JSON Schema draft-07, which Taplo and Even Better TOML read. What needs several keys at once is left to `sealtty policy check`. */
export function policySchema(): JsonObject {
  const sections: Record<string, Json> = {};
  for (const section of keys.SECTIONS) if (section.name !== "") sections[section.name] = section.schema();
  return {
    $schema: "http://json-schema.org/draft-07/schema#",
    title: "sealtty policy",
    ...keys.TOP_SECTION.schema(sections),
    anyOf: ["snp", "tdx", "tpm", "simulated"].map((name) => ({ required: [name] })),
  };
}

/** A Markdown table of every key, section by section. */
export function policyKeyTable(): string {
  const lines = ["| key | value | absent | meaning |", "|---|---|---|---|"];
  for (const section of keys.SECTIONS) {
    if (section.name !== "") lines.push(`| \`[${section.name}]\` | section | | ${cell(section.words)} |`);
    for (const { path, kind, words, byDefault, pinsNothing } of section.rows()) {
      const absent =
        byDefault === undefined
          ? "**error**"
          : pinsNothing && /^(\[\]|\{\})$/.test(byDefault)
            ? "not compared"
            : `\`${shortened(byDefault)}\``;
      lines.push(`| \`${path}\` | ${cell(kind)} | ${cell(absent)} | ${cell(words)} |`);
    }
  }
  return `${lines.join("\n")}\n`;
}

function cell(text: string): string {
  return text.replaceAll("|", "\\|");
}

function shortened(toml: string): string {
  return toml.length <= 40 ? toml : `${toml.slice(0, 12)}…${toml.slice(-4)}`;
}
