// The keys of an owner's TOML file as a table: one entry for each key, from which reading, writing, explanation, digest and
// the schema for editors all come, so that they cannot disagree.

import { type TomlTable, quoted } from "./toml-table.ts";

export type Json = string | number | boolean | null | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [name: string]: Json;
}

/** One value, alone or in a list. */
export interface Item<T> {
  /** What it is, for people: "96 hex digits". */
  readonly words: string;
  /** What a list of them is called: "strings". */
  readonly plural: string;
  /** As TOML, for "write …". */
  readonly example: string;
  readonly schema: JsonObject;
  /** @param fail - complains about this very value: "is not …; write …". */
  read(value: unknown, fail: (problem: string) => never): T;
  write(value: T): string;
}

/** A line of a sub-table. */
export interface SubLine {
  readonly key: string;
  readonly toml: string;
  readonly comment: string | undefined;
}

/** What stands behind a key. */
export interface Kind<T> {
  readonly words: string;
  readonly schema: JsonObject;
  /** Called only where the key is there. */
  read(table: TomlTable, key: string): T;
  /** TOML behind `key = `, or the lines of a table of its own. */
  write(value: T): string | readonly SubLine[];
  /** Of a table that is written on one line: its entries, for showing. */
  lines?(value: T): readonly SubLine[];
  /** The same for two values exactly where they mean the same. */
  meaning(value: T): Json;
}

export interface Key<T> {
  readonly name: string;
  readonly kind: Kind<T>;
  /** What it says, for people; one or two sentences. */
  readonly words: string;
  /** Complaint where the key is needed and absent; a key without it has a default. */
  readonly missing?: string;
  /** What the default does, in words; absent where it pins nothing. */
  readonly strict?: string;
  /** Says what is given up by a value; undefined where nothing is. */
  risk?(value: T): string | undefined;
}

export type Keys<S> = { readonly [F in keyof S]-?: Key<S[F]> };

/** One key with its value, as plain data. */
export interface Entry {
  /** "snp.vmpl". */
  readonly path: string;
  readonly name: string;
  readonly words: string;
  readonly written: string | readonly SubLine[];
  /** Of a table: its entries; undefined where the value is none. */
  readonly lines: readonly SubLine[] | undefined;
  readonly isDefault: boolean;
  readonly strict: string | undefined;
  readonly risk: string | undefined;
  readonly meaning: Json;
}

/** One key without a value, for documents. */
export interface Row {
  readonly path: string;
  readonly kind: string;
  readonly words: string;
  /** As TOML; undefined where the key is needed. */
  readonly byDefault: string | undefined;
  /** Nothing is compared by default. */
  readonly pinsNothing: boolean;
}

export class Section<S extends object> {
  /** "" is the top of the file. */
  readonly name: string;
  readonly words: string;
  readonly #keys: Keys<S>;
  readonly #defaults: Partial<S>;

  constructor(name: string, words: string, keys: Keys<S>, defaults: Partial<S>) {
    this.name = name;
    this.words = words;
    this.#keys = keys;
    this.#defaults = defaults;
  }

  get keyNames(): string[] {
    return this.#fields().map((field) => this.#keys[field].name);
  }

  /** @param others - tables below this one that somebody else reads. @throws SealttyError, see toml-table.ts. */
  read(table: TomlTable, others: readonly string[] = []): S {
    table.allowOnly([...this.keyNames, ...others]);
    const found: Partial<S> = {};
    for (const field of this.#fields()) this.#readOne(found, field, table);
    return found as S;
  }

  entries(section: S): Entry[] {
    return this.#fields().map((field) => this.#entry(field, section[field]));
  }

  rows(): Row[] {
    return this.#fields().map((field) => {
      const key = this.#keys[field];
      const value = this.#defaultOf(field);
      const byDefault = value === undefined ? undefined : inline(key.kind.write(value));
      const pinsNothing = key.missing === undefined && key.strict === undefined;
      return { path: this.path(key.name), kind: key.kind.words, words: key.words, byDefault, pinsNothing };
    });
  }

  /** JSON Schema, draft-07. @param others - properties that are tables below this one. */
  schema(others: JsonObject = {}): JsonObject {
    const properties: Record<string, Json> = {};
    const required: string[] = [];
    for (const field of this.#fields()) {
      const key = this.#keys[field];
      properties[key.name] = { description: key.words, ...key.kind.schema };
      if (key.missing !== undefined) required.push(key.name);
    }
    return {
      description: this.words,
      type: "object",
      additionalProperties: false,
      properties: { ...properties, ...others },
      ...(required.length === 0 ? {} : { required }),
    };
  }

  path(key: string): string {
    return this.name === "" ? key : `${this.name}.${key}`;
  }

  #fields(): (keyof S)[] {
    return Object.keys(this.#keys) as (keyof S)[];
  }

  /** Undefined where the key is needed, whatever a model's defaults say. */
  #defaultOf<F extends keyof S>(field: F): S[F] | undefined {
    return this.#keys[field].missing === undefined ? this.#defaults[field] : undefined;
  }

  #readOne<F extends keyof S>(found: Partial<S>, field: F, table: TomlTable): void {
    const key = this.#keys[field];
    const value =
      table.value(key.name) === undefined ? this.#defaultOf(field) : key.kind.read(table, key.name);
    if (value === undefined) table.fail(key.missing ?? `${table.at(key.name)} is missing`);
    found[field] = value;
  }

  #entry<F extends keyof S>(field: F, value: S[F]): Entry {
    const key = this.#keys[field];
    const byDefault = this.#defaultOf(field);
    const written = key.kind.write(value);
    return {
      path: this.path(key.name),
      name: key.name,
      words: key.words,
      written,
      lines: typeof written === "string" ? key.kind.lines?.(value) : written,
      isDefault: byDefault !== undefined && inline(key.kind.write(byDefault)) === inline(written),
      strict: key.strict,
      risk: key.risk?.(value),
      meaning: key.kind.meaning(value),
    };
  }
}

/** A sub-table on one line, for people. */
export function inline(written: string | readonly SubLine[]): string {
  if (typeof written === "string") return written;
  return `{${written.map(({ key, toml }) => ` ${key} = ${toml}`).join(",")}${written.length === 0 ? "" : " "}}`;
}

export const MAX_VALUES = 64;

export function one<T>(item: Item<T>): Kind<T> {
  return {
    words: item.words,
    schema: item.schema,
    read: (table, key) =>
      item.read(table.value(key), (problem) =>
        table.fail(`${table.at(key)} ${problem.replaceAll("KEY", key)}`),
      ),
    write: (value) => item.write(value),
    meaning: (value) => item.write(value),
  };
}

/** Any of the values will do; an empty list is refused, because it says neither "any" nor "none" to everyone. */
export function list<T>(item: Item<T>, empty = "an empty list pins nothing"): Kind<readonly T[]> {
  const read = (table: TomlTable, key: string): readonly T[] => {
    const value = table.value(key);
    const at = table.at(key);
    if (!Array.isArray(value))
      return table.fail(`${at} is not a list of ${item.plural}; write \`${key} = [${item.example}]\``);
    if (value.length === 0) {
      return table.fail(
        `${at} is missing its values: ${empty}; write \`${key} = [${item.example}]\` or remove the line`,
      );
    }
    if (value.length > MAX_VALUES) return table.fail(`${at} has more than ${MAX_VALUES} values; remove some`);
    return value.map((each: unknown, i) =>
      item.read(each, (problem) => table.fail(`${at}[${i}] ${problem.replaceAll("KEY", key)}`)),
    );
  };
  return {
    words: `list, each ${item.words}`,
    schema: { type: "array", items: item.schema, minItems: 1, maxItems: MAX_VALUES },
    read,
    write: (values) => `[${values.map((value) => item.write(value)).join(", ")}]`,
    meaning: (values) => [...new Set(values.map((value) => item.write(value)))].sort(),
  };
}

export const flag: Kind<boolean> = one<boolean>({
  words: "true or false",
  plural: "booleans",
  example: "true",
  schema: { type: "boolean" },
  read: (value, fail) =>
    typeof value === "boolean"
      ? value
      : fail("is neither true nor false; write `KEY = true` or remove the line"),
  write: String,
});

/** @param problem - instead of "is none of …". */
export function choice<C extends string>(values: readonly [C, ...C[]], problem?: string): Item<C> {
  const words = values.map(quoted).join(", ");
  return {
    words: values.length === 1 ? words : values.map(quoted).join(" or "),
    plural: "strings",
    example: quoted(values[0]),
    schema: { enum: values },
    read: (value, fail) =>
      values.find((each) => each === value) ??
      fail(`${problem ?? `is none of ${words}`}; write one of ${words}`),
    write: quoted,
  };
}

export function integer(minimum: number, maximum: number, example: number): Item<number> {
  return {
    words: `whole number, ${minimum} to ${maximum}`,
    plural: "whole numbers",
    example: String(example),
    schema: { type: "integer", minimum, maximum },
    read: (value, fail) =>
      typeof value === "bigint" && value >= minimum && value <= maximum
        ? Number(value)
        : fail(`is not a whole number from ${minimum} to ${maximum}; write for example ${example}`),
    write: String,
  };
}

export interface TextForm {
  readonly words: string;
  /** Whole match; what an editor checks. */
  readonly pattern: RegExp;
  /** "is not …". */
  readonly problem: string;
  /** "…" behind "write ". */
  readonly write: string;
  /** Makes equal what means the same; called only on what matches. */
  readonly normal?: (text: string) => string;
  /** A further complaint; undefined where there is none. */
  readonly refuse?: (normal: string) => string | undefined;
}

export function text(form: TextForm): Item<string> {
  const normal = form.normal ?? ((value: string) => value);
  return {
    words: form.words,
    plural: "strings",
    example: '"…"',
    schema: { type: "string", pattern: form.pattern.source },
    read: (value, fail) => {
      if (typeof value !== "string" || !form.pattern.test(value)) {
        return fail(`${form.problem}; write ${form.write}`);
      }
      const found = normal(value);
      const problem = form.refuse?.(found);
      return problem === undefined ? found : fail(problem);
    },
    write: quoted,
  };
}

/** @param problem - instead of "is not N hex digits". @param zero - complaint about a value of zeros only. */
export function hex(digits: number, problem?: string, zero?: string): Item<string> {
  return text({
    words: `${digits} hex digits`,
    pattern: new RegExp(`^[0-9a-fA-F]{${digits}}$`),
    problem: problem ?? `is not ${digits} hex digits`,
    write: `${digits} hex digits`,
    normal: (value) => value.toLowerCase(),
    refuse: (value) => (zero !== undefined && /^0*$/.test(value) ? zero : undefined),
  });
}
