// The instance document for editors and documents: docs/instance.schema.json and the table in docs/instance.md.

import type { JsonObject } from "../../toml-keys.ts";
import { AGENT_SECTION, DOCUMENT_SECTION } from "./keys.ts";

/** JSON Schema draft-07. */
export function instanceSchema(): JsonObject {
  return {
    $schema: "http://json-schema.org/draft-07/schema#",
    title: "sealtty instance document",
    ...DOCUMENT_SECTION.schema({ [AGENT_SECTION.name]: AGENT_SECTION.schema() }),
  };
}

/** A Markdown table of every key. */
export function instanceKeyTable(): string {
  const lines = ["| key | value | absent | meaning |", "|---|---|---|---|"];
  for (const { path, kind, words, byDefault } of [...DOCUMENT_SECTION.rows(), ...AGENT_SECTION.rows()]) {
    const absent = byDefault === undefined ? "**error**" : `\`${byDefault}\``;
    lines.push(`| \`${path}\` | ${kind} | ${absent} | ${words} |`);
  }
  return `${lines.join("\n")}\n`;
}
