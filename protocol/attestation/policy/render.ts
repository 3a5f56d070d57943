// Writes a policy as TOML with comments, and its digest.

import { concat, utf8 } from "../../bytes.ts";
import type { CryptoSuite } from "../../crypto/suite.ts";
import { entriesOf } from "./entries.ts";
import type { Policy } from "./model.ts";

/** Written even where it is the default, so that a reader sees it. */
const ALWAYS: ReadonlySet<string> = new Set(["version", "name", "minimumAssurance"]);
/** Their meaning is plain, or said by the line at the top. */
const UNEXPLAINED: ReadonlySet<string> = new Set([
  "version",
  "name",
  "tpm.bank",
  "azure.bank",
  "simulated.instance",
]);

/** @returns TOML that `parsePolicy` reads back to the same policy: what differs from the defaults, with comments. */
export function renderPolicy(policy: Policy): string {
  const lines: string[] = [];
  for (const { name, words, entries } of entriesOf(policy)) {
    const shown = entries.filter(({ path, isDefault }) => ALWAYS.has(path) || !isDefault);
    if (name === "") lines.push(`# ${words} docs/policy.md explains every key.`);
    else if (name === "instance" && shown.length === 0) continue;
    else lines.push("", `# ${words}`, `[${name}]`);
    for (const { path, name: key, words: about, risk, written } of shown) {
      if (typeof written !== "string") continue;
      if (risk !== undefined) lines.push(`# Careful: ${risk}.`);
      else if (!UNEXPLAINED.has(path)) lines.push(`# ${about}`);
      lines.push(`${key} = ${written}`);
    }
    // Tables of their own come last: whatever followed one would belong to it.
    for (const { path, words: about, written } of shown) {
      if (typeof written === "string") continue;
      lines.push("", `# ${about} Remove the lines that you do not want to pin.`, `[${path}]`);
      for (const { key, toml, comment } of written) {
        if (comment !== undefined) lines.push(`# ${comment}`);
        lines.push(`${key} = ${toml}`);
      }
    }
  }
  return `${lines.join("\n")}\n`;
}

/**
 * @returns 32 bytes that two policies share exactly when they mean the same. Comments, the order of lines and of values
 * in lists, and whether a default is written out don't count.
 */
export function policyDigest(suite: Pick<CryptoSuite, "sha256">, policy: Policy): Uint8Array {
  const meaning = entriesOf(policy).map(({ name, entries }) => [
    name,
    entries.map((entry) => [entry.name, entry.meaning]),
  ]);
  return suite.sha256(concat(utf8("sealtty-policy/2\0"), utf8(JSON.stringify(meaning))));
}
