// The files of one case of sample evidence, and what its expected.json says of the inputs: when to verify, whom to trust, what
// the policy has to allow, the nonce. What the case expects is not read here.

import { createHash, webcrypto } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { Checks, refuse } from "../../protocol/attestation/refusal.ts";
import { equalBytes, fromHex, toHex, utf8 } from "../../protocol/bytes.ts";
import { nobleSuite } from "../../protocol/crypto/noble.ts";
import { webCryptoSignatures } from "../../protocol/crypto/webcrypto-signatures.ts";
import { SealttyError } from "../../protocol/errors.ts";

export type Verdict = "pass" | "fail" | "parse-ok";

const suite = nobleSuite(() => {
  throw new Error("a verifier asked for randomness");
});
export const CASE_CRYPTO = { suite, signatures: webCryptoSignatures(webcrypto.subtle) };

/** The files and the inputs of one case. */
export class EvidenceCase {
  readonly name: string;
  readonly kind: string;
  /** Notes in prose state what one case's policy asks for beyond the baseline; they can only make it stricter. */
  readonly notes: string;
  readonly #directory: string;
  readonly #inputs: Readonly<Record<string, unknown>>;

  constructor(directory: string) {
    const [parent, own] = path.resolve(directory).split(path.sep).slice(-2) as [string, string];
    this.#directory = directory;
    this.#inputs = JSON.parse(readFileSync(path.join(directory, "expected.json"), "utf8"));
    this.name = `${parent}/${own}`;
    this.kind = typeof this.#inputs["kind"] === "string" ? this.#inputs["kind"] : parent;
    this.notes = this.#text("notes");
  }

  has(name: string): boolean {
    return existsSync(path.join(this.#directory, name));
  }

  /** Empty where there is no such file: no verifier accepts that. */
  file(name: string): Uint8Array {
    return this.has(name) ? new Uint8Array(readFileSync(path.join(this.#directory, name))) : new Uint8Array();
  }

  /** Those that are there. */
  files(...names: readonly string[]): Uint8Array[] {
    return names.filter((name) => this.has(name)).map((name) => this.file(name));
  }

  /** @throws SealttyError `peer-misbehaved`. */
  json(name: string): unknown {
    try {
      return JSON.parse(readFileSync(path.join(this.#directory, name), "utf8"));
    } catch (cause) {
      throw new SealttyError("peer-misbehaved", `${name} is not JSON`, { cause });
    }
  }

  /** `verify_at`. @throws Error where the case names none: no clock stands in for it. */
  get now(): number {
    const now = Date.parse(this.#text("verify_at"));
    if (Number.isNaN(now)) throw new Error(`${this.name} does not say when to verify`);
    return now;
  }

  /** A case that names no time is only read. */
  get hasTime(): boolean {
    return this.#text("verify_at") !== "";
  }

  /** The case's own root is trusted, and not the vendor's. */
  get ownAnchor(): boolean {
    const vendor = /trust anchor\s*(?:=|:|is)\s*(?:the )?(?:Intel|AMD|AWS|Amazon|vendor|built-in)/i.test(
      this.notes,
    );
    return /^test[- ]root/i.test(this.#text("trust_anchor")) && !vendor;
  }

  /**
   * `requires_policy` applied to `baseline`. @param known - what an entry may say, and what it loosens.
   * @throws Error on any other entry.
   */
  loosened<Policy>(
    baseline: Policy,
    known: readonly (readonly [RegExp, (value: string) => Partial<Policy>])[],
  ): Policy {
    const entries = this.#inputs["requires_policy"] ?? [];
    if (!Array.isArray(entries)) throw new Error(`${this.name}: requires_policy is not a list`);
    let policy = baseline;
    for (const entry of entries) {
      const found = known.find(([form]) => form.test(String(entry)));
      if (found === undefined) throw new Error(`${this.name} requires what nobody here knows: ${entry}`);
      policy = { ...policy, ...found[1](found[0].exec(String(entry))?.[1] ?? "") };
    }
    return policy;
  }

  /**
   * The nonce that the verifier sent: as prose names it, else as the case's decoded quote has it.
   * @param bank - picks one of several quotes. Undefined: the case names none.
   */
  nonce(bank?: string): Uint8Array | undefined {
    const prose = `${this.#text("reason")}\n${this.notes}`;
    const hashed = /(?:expects another nonce \(|qualifyingData = )SHA256\("([^"]*)"\)/.exec(prose)?.[1];
    if (hashed !== undefined) return new Uint8Array(createHash("sha256").update(hashed).digest());
    const ascii = /\bnonce (?:= ASCII )?"([^"]*)"/.exec(prose)?.[1];
    if (ascii !== undefined) return utf8(ascii);
    const several = this.#inputs["quotes"];
    const quote: unknown = Array.isArray(several)
      ? several.find((each) => memberOf(each, "bank") === bank)
      : undefined;
    const extra = memberOf(memberOf(quote, "quote") ?? this.#inputs["tpm_quote"], "extra");
    return typeof extra === "string" ? fromHex(extra) : undefined;
  }

  #text(name: string): string {
    const value = this.#inputs[name];
    return typeof value === "string" ? value : "";
  }
}

/** A member of parsed JSON; undefined where there is none, or no object. */
export function memberOf(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null
    ? Object.entries(value).find(([key]) => key === name)?.[1]
    : undefined;
}

/** Judges, and settles. @throws SealttyError `evidence-refused`. */
export function settle(judge: (checks: Checks) => void): void {
  const checks = new Checks();
  judge(checks);
  checks.settle();
}

/** As the appraisal compares the binder; an empty nonce was never asked for by anyone. */
export function requireNonce(check: string, bound: Uint8Array, expected: Uint8Array | undefined): void {
  if (bound.length > 0 && (expected === undefined || equalBytes(bound, expected))) return;
  refuse(
    check,
    "The quote was not made for the verifier's nonce",
    expected === undefined ? "a nonce" : toHex(expected),
    toHex(bound),
    "Ask for evidence again.",
  );
}
