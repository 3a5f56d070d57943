// The owner's appraisal policy: reference values, the instance, the assurance that is enough. docs/policy.md

import { TomlError, parse } from "smol-toml";
import { concat, utf8 } from "../bytes.ts";
import type { CryptoSuite } from "../crypto/suite.ts";
import { SealttyError } from "../errors.ts";
import { BANKS, MAX_PCR, pcrMeaning } from "./tpm/pcr.ts";
import { ASSURANCES, type Assurance } from "./verified-guest.ts";

export interface TpmPolicy {
  /** AK names (nameAlg ‖ digest, lower-case hex). Empty only with anyInstance. */
  readonly akNames: readonly string[];
  readonly bank: "sha256" | "sha384";
  /** PCR index to the accepted values (lower-case hex): at least one PCR, at least one value each. */
  readonly pcrs: ReadonlyMap<number, readonly string[]>;
}

export interface Policy {
  readonly version: 1;
  /** Shown beside the guest; not trusted. */
  readonly name: string;
  readonly minimumAssurance: Assurance;
  /** Any machine that runs the accepted software is accepted: shown for ever. */
  readonly anyInstance: boolean;
  readonly tpm: TpmPolicy | undefined;
  /** Present only where the owner wrote `[simulated]`; still needs `--simulated`. */
  readonly simulated: { readonly instance: string } | undefined;
}

const MAX_POLICY = 256 * 1024;
const MAX_NAME = 64;
const MAX_VALUES = 64;
/** Anyone in the guest can set these back, so their values prove nothing. */
const RESETTABLE: ReadonlySet<number> = new Set([16, 23]);
/** What each section's evidence can reach at best. */
const REACH = { tpm: "host-vouched", simulated: "simulated" } as const satisfies Record<string, Assurance>;

/** An instance name is shown and compared: 1 to 64 printable ASCII characters. */
export function isInstanceName(name: string): boolean {
  return /^[\x20-\x7e]{1,64}$/.test(name);
}

/** @returns true where `assurance` is at least as strong as `minimum`. */
export function reaches(assurance: Assurance, minimum: Assurance): boolean {
  return ASSURANCES.indexOf(assurance) <= ASSURANCES.indexOf(minimum);
}

/** Reads a policy file. @throws SealttyError `bad-policy`: what is wrong, where, and what to write instead. */
export function parsePolicy(tomlText: string): Policy {
  if (tomlText.length > MAX_POLICY) bad("the file is longer than 256 KiB; a policy is a few lines");
  const top = new Table(parseToml(tomlText), "");
  const version = top.value("version");
  if (version === undefined) bad("version is missing; write `version = 1` as the first line");
  if (version !== 1n) bad("version is not one that this sealtty reads; write `version = 1`");
  top.allowOnly(["version", "name", "minimumAssurance", "anyInstance", "tpm", "simulated"]);

  const name = top.string("name") ?? "guest";
  if (!isPolicyName(name))
    bad('name is not 1 to 64 characters without control characters; write `name = "db1"`');
  const minimumAssurance = parseAssurance(top);
  const anyInstance = top.boolean("anyInstance") ?? false;
  const tpmTable = top.table("tpm");
  const simulatedTable = top.table("simulated");
  const tpm = tpmTable && parseTpm(tpmTable, anyInstance);
  const simulated = simulatedTable && parseSimulated(simulatedTable);
  if (tpm === undefined && simulated === undefined) {
    bad("no kind of evidence is accepted; add a [tpm] section with tpm.ak and [tpm.pcrs] (docs/policy.md)");
  }
  if (simulated !== undefined && minimumAssurance !== "simulated") {
    bad(
      `[simulated] accepts evidence that proves nothing, but minimumAssurance is "${minimumAssurance}"; ` +
        'remove [simulated], or for a test write `minimumAssurance = "simulated"`',
    );
  }
  if (tpm !== undefined && !reaches(REACH.tpm, minimumAssurance)) {
    bad(
      `[tpm] reaches at most "${REACH.tpm}", because the host may run the TPM, but minimumAssurance is ` +
        `"${minimumAssurance}"; write \`minimumAssurance = "${REACH.tpm}"\` if that is enough for you`,
    );
  }
  return { version: 1, name, minimumAssurance, anyInstance, tpm, simulated };
}

/** @returns 32 bytes that two policies share exactly when they mean the same; comments and order don't count. */
export function policyDigest(suite: Pick<CryptoSuite, "sha256">, policy: Policy): Uint8Array {
  const meaning = [
    policy.version,
    policy.name,
    policy.minimumAssurance,
    policy.anyInstance,
    policy.tpm === undefined
      ? null
      : [
          [...policy.tpm.akNames].sort(),
          policy.tpm.bank,
          sortedPcrs(policy.tpm).map(([index, values]) => [index, [...values].sort()]),
        ],
    policy.simulated === undefined ? null : [policy.simulated.instance],
  ];
  return suite.sha256(concat(utf8("sealtty-policy/1\0"), utf8(JSON.stringify(meaning))));
}

/** @returns TOML that `parsePolicy` reads back to the same policy, with comments for its owner. */
export function renderPolicy(policy: Policy): string {
  const lines = [
    "# A sealtty policy: which machine, running what, is believed. docs/policy.md explains every key.",
    "version = 1",
    `name = ${quoted(policy.name)}`,
    `minimumAssurance = ${quoted(policy.minimumAssurance)}`,
  ];
  if (policy.anyInstance)
    lines.push("# ANY machine that runs this software is accepted.", "anyInstance = true");
  if (policy.tpm !== undefined) {
    const { akNames, bank } = policy.tpm;
    lines.push("", "[tpm]");
    if (akNames.length > 0) {
      lines.push("# Names of the TPM attestation keys: which machine.", `ak = ${quotedList(akNames)}`);
    }
    lines.push(
      `bank = ${quoted(bank)}`,
      "",
      "# What was started. Remove the lines that you do not want to pin.",
      "[tpm.pcrs]",
    );
    for (const [index, values] of sortedPcrs(policy.tpm)) {
      lines.push(`# ${pcrMeaning(index)}`, `${index} = ${quotedList(values)}`);
    }
  }
  if (policy.simulated !== undefined) {
    lines.push(
      "",
      "# Proves nothing: for tests only.",
      "[simulated]",
      `instance = ${quoted(policy.simulated.instance)}`,
    );
  }
  return `${lines.join("\n")}\n`;
}

/** 1 to 64 characters, none of them a control or a direction mark. */
export function isPolicyName(name: string): boolean {
  return name.length >= 1 && name.length <= MAX_NAME && !/[\p{C}\p{Zl}\p{Zp}]/u.test(name);
}

function parseAssurance(top: Table): Assurance {
  const choices = ASSURANCES.map((each) => `"${each}"`).join(", ");
  const text = top.string("minimumAssurance");
  if (text === undefined) {
    return bad(
      `minimumAssurance is missing; write \`minimumAssurance = "host-vouched"\` (or another of ${choices})`,
    );
  }
  const assurance = ASSURANCES.find((each) => each === text);
  return (
    assurance ?? bad(`minimumAssurance is none of ${choices}; write \`minimumAssurance = "host-vouched"\``)
  );
}

function parseTpm(tpm: Table, anyInstance: boolean): TpmPolicy {
  tpm.allowOnly(["ak", "bank", "pcrs"]);
  const akNames = (tpm.strings("ak") ?? []).map((text, i) => {
    const name = text.toLowerCase();
    if (/^000b[0-9a-f]{64}$/.test(name)) return name;
    return bad(
      `tpm.ak[${i}] is not the name of a key; write "000b" and 64 hex digits, as \`sealtty inspect\` shows them`,
    );
  });
  if (akNames.length === 0 && !anyInstance) {
    bad(
      'tpm.ak is missing, so any machine could answer; write `ak = ["000b…"]` into [tpm] with the name that ' +
        "`sealtty inspect` shows, or, if any machine will do, `anyInstance = true` at the top",
    );
  }
  if (akNames.length > 0 && anyInstance) {
    bad("anyInstance = true and tpm.ak contradict each other; remove one of them");
  }
  const bank = tpm.string("bank") ?? "sha256";
  if (bank !== "sha256" && bank !== "sha384") {
    return bad('tpm.bank is not a bank that can be believed; write `bank = "sha256"` or `bank = "sha384"`');
  }
  const pcrTable = tpm.table("pcrs");
  const pcrs = new Map<number, readonly string[]>();
  for (const key of pcrTable?.keys() ?? []) {
    if (!/^(?:0|[1-9][0-9]?)$/.test(key) || Number(key) > MAX_PCR) {
      bad(`tpm.pcrs.${shown(key)} is not a PCR; write a number from 0 to ${MAX_PCR}, such as \`4 = ["…"]\``);
    }
    const index = Number(key);
    if (RESETTABLE.has(index)) {
      bad(`tpm.pcrs.${key} pins a PCR that any software can reset, which proves nothing; remove it`);
    }
    const values = (pcrTable as Table).strings(key) ?? [];
    if (values.length === 0)
      bad(`tpm.pcrs.${key} accepts no value; write \`${key} = ["…"]\` or remove the line`);
    const digits = 2 * BANKS[bank].size;
    const lower = values.map((text, i) => {
      const value = text.toLowerCase();
      if (value.length === digits && /^[0-9a-f]*$/.test(value)) return value;
      return bad(`tpm.pcrs.${key}[${i}] is not a ${bank} value; write ${digits} hex digits`);
    });
    pcrs.set(index, lower);
  }
  if (pcrs.size === 0) {
    bad(
      'tpm.pcrs is missing, so any software could run; write [tpm.pcrs] with at least one line such as `4 = ["…"]`',
    );
  }
  return { akNames, bank, pcrs };
}

function parseSimulated(simulated: Table): { readonly instance: string } {
  simulated.allowOnly(["instance"]);
  const instance = simulated.string("instance");
  if (instance === undefined)
    return bad('simulated.instance is missing; write `instance = "demo"` into [simulated]');
  if (!isInstanceName(instance))
    return bad('simulated.instance is not 1 to 64 printable ASCII characters; write `instance = "demo"`');
  return { instance };
}

function sortedPcrs(tpm: TpmPolicy): [number, readonly string[]][] {
  return [...tpm.pcrs].sort(([a], [b]) => a - b);
}

/** TOML 1.0 basic string. */
function quoted(text: string): string {
  return `"${text.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
}

function quotedList(texts: readonly string[]): string {
  return `[${texts.map(quoted).join(", ")}]`;
}

function parseToml(text: string): object {
  try {
    return parse(text, { integersAsBigInt: true, unsafeKeyBehaviour: "throw", maxDepth: 8 });
  } catch (cause) {
    const where = cause instanceof TomlError ? `line ${cause.line}, column ${cause.column}: ` : "";
    const said =
      cause instanceof TomlError ? (cause.message.split("\n", 1)[0] as string) : "it is too deeply nested";
    throw new SealttyError(
      "bad-policy",
      `Policy: ${where}not valid TOML (${shown(said)}); keys look like \`name = "db1"\`, sections like [tpm]`,
      { cause },
    );
  }
}

/** One table of the file, read by kind; nothing is guessed, nothing unknown is skipped. */
class Table {
  readonly #entries: ReadonlyMap<string, unknown>;
  readonly #path: string;

  constructor(table: object, path: string) {
    this.#entries = new Map(Object.entries(table));
    this.#path = path;
  }

  keys(): string[] {
    return [...this.#entries.keys()];
  }

  value(key: string): unknown {
    return this.#entries.get(key);
  }

  allowOnly(known: readonly string[]): void {
    for (const key of this.#entries.keys()) {
      if (known.includes(key)) continue;
      const nearest = nearestOf(key, known);
      const where = this.#path === "" ? "at the top" : `in [${this.#path}]`;
      bad(
        `unknown key ${this.#at(shown(key))}; did you mean ${nearest}? Known ${where}: ${known.join(", ")}`,
      );
    }
  }

  string(key: string): string | undefined {
    const value = this.#entries.get(key);
    if (value === undefined || typeof value === "string") return value;
    return bad(`${this.#at(key)} is not a string; write \`${key} = "…"\``);
  }

  boolean(key: string): boolean | undefined {
    const value = this.#entries.get(key);
    if (value === undefined || typeof value === "boolean") return value;
    return bad(`${this.#at(key)} is neither true nor false; write \`${key} = true\` or remove the line`);
  }

  strings(key: string): string[] | undefined {
    const value = this.#entries.get(key);
    if (value === undefined) return undefined;
    if (!Array.isArray(value) || !value.every((each) => typeof each === "string")) {
      return bad(`${this.#at(key)} is not a list of strings; write \`${key} = ["…"]\``);
    }
    if (value.length > MAX_VALUES) bad(`${this.#at(key)} has more than ${MAX_VALUES} values; remove some`);
    return value;
  }

  table(key: string): Table | undefined {
    const value = this.#entries.get(key);
    if (value === undefined) return undefined;
    const path = this.#at(key);
    const prototype: unknown =
      typeof value === "object" && value !== null ? Object.getPrototypeOf(value) : undefined;
    if (prototype !== null && prototype !== Object.prototype) {
      return bad(`${path} is not a section; write [${path}] on a line of its own`);
    }
    return new Table(value as object, path);
  }

  #at(key: string): string {
    return this.#path === "" ? key : `${this.#path}.${key}`;
  }
}

function bad(problem: string): never {
  throw new SealttyError("bad-policy", `Policy: ${problem}`);
}

/** Text of the file inside a message: short, and nothing that moves a terminal's cursor. */
function shown(text: string): string {
  const plain = text.replaceAll(/[^\x20-\x7e]/g, "?");
  return plain.length <= 60 ? plain : `${plain.slice(0, 60)}...`;
}

function nearestOf(key: string, known: readonly string[]): string {
  const plain = (text: string) => text.slice(0, 60).toLowerCase().replaceAll(/[-_]/g, "");
  let nearest = known[0] as string;
  for (const each of known) {
    if (distance(plain(key), plain(each)) < distance(plain(key), plain(nearest))) nearest = each;
  }
  return nearest;
}

/** Edits between two short texts. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, (row[j] as number) + 1, (next[j - 1] as number) + 1));
    }
    row = next;
  }
  return row[b.length] as number;
}
