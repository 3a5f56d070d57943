// What stands behind a policy's keys where it is more than a number, a word or some hex.

import { toHex } from "../../bytes.ts";
import { type Item, type Json, type Kind, MAX_VALUES, type SubLine, hex, integer } from "../../toml-keys.ts";
import { type TomlTable, quoted } from "../../toml-table.ts";
import { parseAuthorizedKeys } from "../../user-auth/authorized-keys.ts";
import { decodeEd25519Key, SSH_ED25519 } from "../../user-auth/ssh-wire.ts";
import { TCB_PARTS } from "../sev-snp/tcb.ts";
import { rtmrMeaning } from "../tdx/rtmr.ts";
import { BANKS, MAX_PCR, RESETTABLE_PCRS, pcrMeaning } from "../tpm/pcr.ts";
import type { SnpTcbMinimum } from "./model.ts";

/** For lists whose default is what they mean: emptied, they would accept nothing. */
export const ACCEPTS_NOTHING = "an empty list accepts nothing";

/** Words about a switch that is on. */
export const on = (words: string) => (value: boolean) => (value ? words : undefined);

export const zeroPin = (field: string) =>
  `is all zero, which is what ${field} holds where nobody set it: it pins nothing; remove it`;

type Registers = ReadonlyMap<number, readonly string[]>;

interface RegisterForm {
  readonly words: string;
  readonly name: string;
  readonly highest: number;
  readonly example: number;
  /** Hex digits of a value; may depend on what else stands in the section. */
  readonly item: (section: TomlTable) => Item<string>;
  /** Hex digits that an editor accepts. */
  readonly digits: readonly number[];
  /** Complaint about an index. */
  readonly refuse: (index: number) => string | undefined;
  readonly meaning: (index: number) => string;
  /** Complaint about a table without lines. */
  readonly empty: string;
}

function registers(form: RegisterForm): Kind<Registers> {
  const sorted = (value: Registers) => [...value].sort(([a], [b]) => a - b);
  return {
    words: form.words,
    schema: {
      type: "object",
      minProperties: 1,
      additionalProperties: false,
      patternProperties: {
        [indexPattern(form.highest)]: {
          type: "array",
          minItems: 1,
          maxItems: MAX_VALUES,
          items: {
            type: "string",
            pattern: `^(?:${form.digits.map((digits) => `[0-9a-fA-F]{${digits}}`).join("|")})$`,
          },
        },
      },
    },
    read(section, key) {
      const table = section.table(key) as TomlTable;
      const item = form.item(section);
      const found = new Map<number, readonly string[]>();
      for (const name of table.keys()) {
        const at = table.at(name);
        if (!new RegExp(indexPattern(form.highest)).test(name)) {
          table.fail(
            `${at} is not ${form.name}; write a number from 0 to ${form.highest}, such as \`${form.example} = ["…"]\``,
          );
        }
        const refused = form.refuse(Number(name));
        if (refused !== undefined) table.fail(`${at} ${refused}`);
        const value = table.value(name);
        if (!Array.isArray(value))
          return table.fail(`${at} is not a list of strings; write \`${name} = ["…"]\``);
        if (value.length === 0)
          table.fail(`${at} accepts no value; write \`${name} = ["…"]\` or remove the line`);
        if (value.length > MAX_VALUES) table.fail(`${at} has more than ${MAX_VALUES} values; remove some`);
        const values = value.map((each: unknown, i) =>
          item.read(each, (problem) => table.fail(`${at}[${i}] ${problem}`)),
        );
        found.set(Number(name), values);
      }
      if (found.size === 0) section.fail(`${section.at(key)} ${form.empty}`);
      return found;
    },
    write: (value) =>
      sorted(value).map(
        ([index, values]): SubLine => ({
          key: String(index),
          toml: `[${values.map(quoted).join(", ")}]`,
          comment: form.meaning(index),
        }),
      ),
    meaning: (value): Json => sorted(value).map(([index, values]) => [index, [...new Set(values)].sort()]),
  };
}

/** `0` to `highest` without leading zeros. */
function indexPattern(highest: number): string {
  return `^(?:${Array.from({ length: highest + 1 }, (_, index) => index).join("|")})$`;
}

export const NO_PCRS =
  'is missing, so any software could run; write [SECTION.pcrs] with at least one line such as `4 = ["…"]`';

/** Boot order and partition tables are in them: docs/policy.md, "After an update". */
const UNSTEADY_PCRS: ReadonlySet<number> = new Set([1, 5]);

/** @param section - "tpm" or "azure". */
export function pcrs(section: string): Kind<Registers> {
  return registers({
    words: "table: PCR = list of values in hex",
    name: "a PCR",
    highest: MAX_PCR,
    example: 4,
    item: (table) => {
      const bank = table.value("bank") === "sha384" ? "sha384" : "sha256";
      return hex(2 * BANKS[bank].size, `is not a ${bank} value`);
    },
    digits: [2 * BANKS.sha256.size, 2 * BANKS.sha384.size],
    refuse: (index) =>
      RESETTABLE_PCRS.has(index)
        ? "pins a PCR that any software can reset, which proves nothing; remove it"
        : undefined,
    meaning: (index) =>
      UNSTEADY_PCRS.has(index)
        ? `${pcrMeaning(index)}: pin it only where boot order and disk layout never change`
        : pcrMeaning(index),
    empty: NO_PCRS.replace("SECTION", section),
  });
}

export const rtmrs: Kind<Registers> = registers({
  words: "table: RTMR 0 to 3 = list of 96 hex digits",
  name: "an RTMR",
  highest: 3,
  example: 1,
  item: () => hex(96),
  digits: [96],
  refuse: () => undefined,
  meaning: rtmrMeaning,
  empty: 'has no line, which pins nothing; write for example `1 = ["…"]` or remove it',
});

export const tcbMinimum: Kind<SnpTcbMinimum> = {
  words: `table of whole numbers, 0 to 255: ${TCB_PARTS.join(", ")}`,
  schema: {
    type: "object",
    minProperties: 1,
    additionalProperties: false,
    properties: Object.fromEntries(TCB_PARTS.map((name) => [name, integer(0, 255, 0).schema])),
  },
  read(section, key) {
    const table = section.table(key) as TomlTable;
    table.allowOnly(TCB_PARTS);
    const found: { -readonly [component in keyof SnpTcbMinimum]: SnpTcbMinimum[component] } = {};
    for (const name of TCB_PARTS) {
      const value = table.value(name);
      if (value === undefined) continue;
      found[name] = integer(0, 255, 22).read(value, (problem) => table.fail(`${table.at(name)} ${problem}`));
    }
    if (table.keys().length === 0) {
      section.fail(
        `${section.at(key)} has no component, which asks for nothing; write for example \`${key} = { snp = 22 }\` ` +
          "or remove it",
      );
    }
    return found;
  },
  write: (value) =>
    Object.keys(value).length === 0
      ? "{}"
      : `{ ${TCB_PARTS.flatMap((name) => (value[name] === undefined ? [] : [`${name} = ${value[name]}`])).join(", ")} }`,
  lines: (value) =>
    TCB_PARTS.flatMap((name) =>
      value[name] === undefined ? [] : [{ key: name, toml: `${value[name]}`, comment: undefined }],
    ),
  meaning: (value) => TCB_PARTS.map((name) => value[name] ?? null),
};

/** An Ed25519 public key as OpenSSH writes it, or as hex; kept as hex. */
export const ed25519Key: Item<string> = {
  words: '"ssh-ed25519 AAAA…" or 64 hex digits',
  plural: "strings",
  example: '"ssh-ed25519 AAAA…"',
  schema: { type: "string", pattern: "^(?:ssh-ed25519 [A-Za-z0-9+/]+={0,2}(?: .*)?|[0-9a-fA-F]{64})$" },
  read(value, fail) {
    if (typeof value === "string") {
      if (/^[0-9a-fA-F]{64}$/.test(value)) return value.toLowerCase();
      const { keys, refusedLines } = parseAuthorizedKeys(value);
      const [key, ...more] = keys;
      const alone = more.length === 0 && refusedLines.length === 0 && !value.includes("\n");
      if (key?.keyType === SSH_ED25519 && alone && value.trimStart().startsWith(SSH_ED25519)) {
        return toHex(decodeEd25519Key(key.blob));
      }
    }
    return fail('is not an Ed25519 public key; write "ssh-ed25519 AAAA…" on one line, or 64 hex digits');
  },
  write: quoted,
};

/** CHIP_ID; on Turin only its first eight bytes are set, and those are enough to write. */
export const chipId: Item<string> = {
  words: "128 hex digits (16 on Turin)",
  plural: "strings",
  example: '"…"',
  schema: { type: "string", pattern: "^(?:[0-9a-fA-F]{128}|[0-9a-fA-F]{16})$" },
  read(value, fail) {
    if (typeof value !== "string" || !/^(?:[0-9a-fA-F]{128}|[0-9a-fA-F]{16})$/.test(value)) {
      return fail(
        "is not a CHIP_ID; write 128 hex digits (on Turin the first 16 are enough), as `sealtty inspect` shows them",
      );
    }
    if (/^0*$/.test(value)) {
      return fail("is all zero: that is a masked CHIP_ID, which every machine of such a host has; remove it");
    }
    return value.toLowerCase().padEnd(128, "0");
  },
  write: quoted,
};
