// Just enough of JSON Schema draft-07 to hold a schema of ours against files: a keyword that it does not know fails.

type Schema = { readonly [keyword: string]: unknown };

const IGNORED = new Set(["$schema", "title", "description"]);

/** @returns what does not fit, as paths; empty where `value` is valid. */
export function schemaComplaints(schema: Schema, value: unknown, at = ""): string[] {
  return Object.entries(schema).flatMap(([keyword, argument]) => {
    if (IGNORED.has(keyword)) return [];
    const check = KEYWORDS[keyword];
    if (check === undefined) throw new Error(`JSON Schema keyword ${keyword} is unknown to this test`);
    return check(argument, value, at, schema);
  });
}

type Check = (argument: unknown, value: unknown, at: string, schema: Schema) => string[];

const isObject = (value: unknown): value is Schema =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const complain = (bad: boolean, at: string, keyword: string) => (bad ? [`${at}: ${keyword}`] : []);

const TYPES: Readonly<Record<string, (value: unknown) => boolean>> = {
  object: isObject,
  array: Array.isArray,
  string: (value) => typeof value === "string",
  boolean: (value) => typeof value === "boolean",
  integer: (value) => typeof value === "number" && Number.isInteger(value),
};

const KEYWORDS: Readonly<Record<string, Check>> = {
  type: (type, value, at) => complain(!(TYPES[type as string] as (v: unknown) => boolean)(value), at, "type"),
  const: (wanted, value, at) => complain(value !== wanted, at, "const"),
  enum: (values, value, at) => complain(!(values as unknown[]).includes(value), at, "enum"),
  pattern: (pattern, value, at) =>
    complain(typeof value === "string" && !new RegExp(pattern as string).test(value), at, "pattern"),
  minimum: (least, value, at) =>
    complain(typeof value === "number" && value < (least as number), at, "minimum"),
  maximum: (most, value, at) =>
    complain(typeof value === "number" && value > (most as number), at, "maximum"),
  minItems: (least, value, at) =>
    complain(Array.isArray(value) && value.length < (least as number), at, "minItems"),
  maxItems: (most, value, at) =>
    complain(Array.isArray(value) && value.length > (most as number), at, "maxItems"),
  items: (items, value, at) =>
    Array.isArray(value)
      ? value.flatMap((each, i) => schemaComplaints(items as Schema, each, `${at}[${i}]`))
      : [],
  minProperties: (least, value, at) =>
    complain(isObject(value) && Object.keys(value).length < (least as number), at, "minProperties"),
  required: (names, value, at) =>
    isObject(value)
      ? (names as string[]).flatMap((name) => complain(!Object.hasOwn(value, name), at, `required ${name}`))
      : [],
  properties: (properties, value, at) =>
    isObject(value)
      ? Object.entries(properties as Record<string, Schema>).flatMap(([name, schema]) =>
          Object.hasOwn(value, name) ? schemaComplaints(schema, value[name], `${at}.${name}`) : [],
        )
      : [],
  patternProperties: (patterns, value, at) =>
    isObject(value)
      ? Object.entries(patterns as Record<string, Schema>).flatMap(([pattern, schema]) =>
          Object.keys(value)
            .filter((name) => new RegExp(pattern).test(name))
            .flatMap((name) => schemaComplaints(schema, value[name], `${at}.${name}`)),
        )
      : [],
  additionalProperties: (allowed, value, at, schema) => {
    if (allowed !== false) throw new Error("additionalProperties other than false is unknown to this test");
    if (!isObject(value)) return [];
    const known = new Set(Object.keys(schema["properties"] ?? {}));
    const patterns = Object.keys(schema["patternProperties"] ?? {}).map((each) => new RegExp(each));
    return Object.keys(value)
      .filter((name) => !known.has(name) && !patterns.some((pattern) => pattern.test(name)))
      .map((name) => `${at}: additional ${name}`);
  },
  anyOf: (choices, value, at) =>
    complain(
      (choices as Schema[]).every((choice) => schemaComplaints(choice, value, at).length > 0),
      at,
      "anyOf",
    ),
};
