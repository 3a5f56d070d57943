// The formal models without ProVerif: files, queries and labels belong together, and to the code.

import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { parseModel } from "./support/proverif-check.ts";

const folder = new URL("../formal/", import.meta.url);
const read = (file: string): string => readFileSync(new URL(file, folder), "utf8");
const files = readdirSync(folder).filter((file) => file.endsWith(".pv"));
const expected = JSON.parse(read("expected.json")) as Record<string, Record<string, boolean>>;

interface Generator {
  readonly models: Readonly<Record<string, string>>;
  readonly expected: unknown;
}
interface Terms {
  readonly LABELS: Readonly<Record<string, string>>;
  readonly BINDER: Readonly<Record<string, string>>;
  readonly RENEWAL_BINDER: Readonly<Record<string, string>>;
  readonly KEY_PROOF: Readonly<Record<string, string>>;
}
interface Runner {
  fingerprint(query: string): string;
  answersOf(output: string): ReadonlyMap<string, string>;
}
const load = async <T>(file: string): Promise<T> =>
  (await import(/* @vite-ignore */ fileURLToPath(new URL(file, folder)))) as T;
const generator = await load<Generator>("generate.mjs");
const terms = await load<Terms>("terms.mjs");
const runner = await load<Runner>("run.mjs");

test("the committed models and expected.json are what generate.mjs makes", () => {
  expect(files.length).toBeGreaterThan(20);
  expect(files.sort()).toEqual(Object.keys(generator.models).sort());
  expect(expected).toEqual(generator.expected);
});

describe.each(files)("%s", (file) => {
  const text = read(file);
  const queries = [...text.matchAll(/^query ([^.]*)\.$/gm)].map((match) => match[1] ?? "");
  const code = text.replace(/\(\*[\s\S]*?\*\)/g, "");

  test("is current, and expected.json lists each of its queries", () => {
    expect(text).toBe(generator.models[file]);
    expect(Object.keys(expected[file] ?? {})).toEqual(queries);
    expect(code.match(/\bquery\b/g)?.length).toBe(queries.length);
  });

  test("its queries are told apart by their fingerprints, its header states each result", () => {
    expect(new Set(queries.map((query) => runner.fingerprint(query))).size).toBe(queries.length);
    const header = text.slice(0, text.indexOf("*)"));
    const stated = [...header.matchAll(/^ {5}(.+) is (true|false)$/gm)];
    expect(stated.map((match) => runner.fingerprint(match[1] ?? ""))).toEqual(
      queries.map((query) => runner.fingerprint(query)),
    );
    expect(stated.map((match) => match[2])).toEqual(Object.values(expected[file] ?? {}).map(String));
  });

  test("parses and type-checks", () => {
    const model = parseModel(text);
    expect(model.queries.length).toBe(queries.length);
    expect(model.queries[0]?.implies).toBeUndefined(); // an honest run gets there, or the rest would hold of nothing
  });
});

test("labels and hashed parts are those of protocol/attestation", () => {
  const source = (file: string): string =>
    readFileSync(new URL(`../protocol/attestation/${file}`, import.meta.url), "utf8");
  const binder = source("binder.ts");
  const labels = [...(binder + source("instance/key-proof.ts")).matchAll(/utf8\("([^"]+)"\)/g)].map(
    (match) => match[1],
  );
  expect(new Set(labels)).toEqual(new Set(Object.values(terms.LABELS)));
  const hashedIn = (name: string): (string | undefined)[] => {
    const from = binder.indexOf(`function ${name}(`);
    const body = binder.slice(from, binder.indexOf("\n}", from));
    return [...body.slice(body.lastIndexOf("concat(\n")).matchAll(/^ +(.+),$/gm)]
      .map((match) => match[1])
      .filter((part) => part !== ")");
  };
  expect(hashedIn("binderOf")).toEqual(Object.keys(terms.BINDER));
  expect(hashedIn("renewalBinderOf")).toEqual(Object.keys(terms.RENEWAL_BINDER));
  expect(hashedIn("keyProofContext")).toEqual(Object.keys(terms.KEY_PROOF));
  for (const file of files) {
    const declared = [...read(file).matchAll(/^const (label_\w+): bitstring\. \(\* "([^"]+)" \*\)$/gm)];
    expect(Object.fromEntries(declared.map((match) => [match[1], match[2]]))).toEqual(terms.LABELS);
  }
});

describe("parseModel() refuses", () => {
  const code = (file: string): string => read(file).replace(/^\(\*[\s\S]*?\*\)/, "");
  const good = code("sibling-instance-key.pv");
  const renewal = code("renewal.pv");
  const mistakes: readonly (readonly [
    what: string,
    text: string,
    from: string,
    to: string,
    reason: RegExp,
  ])[] = [
    ["a keyword as a name", good, "signature: bitstring", "proof: bitstring", /expected a name/],
    [
      "an unknown name",
      good,
      "event ClientAccept(h, gs);",
      "event ClientAccept(h, gz);",
      /gz is not declared/,
    ],
    ["an unknown function", good, "= read_report(", "= read_quote(", /read_quote is not declared/],
    ["an unknown type", good, "new r: coins", "new r: coin", /type coin is not declared/],
    [
      "an unknown event",
      good,
      "event GuestEvidence(h, gs);",
      "event Evidence(h, gs);",
      /Evidence is not declared/,
    ],
    ["an argument of another type", good, "unseal(k_ekem(ee), h1", "unseal(ee, h1", /unseal takes/],
    ["a missing argument", good, "exp(gi, s)", "exp(gi)", /exp takes/],
    [
      "an event with other arguments",
      good,
      "event ClientAccept(h, gs);",
      "event ClientAccept(h);",
      /ClientAccept takes/,
    ],
    ["a call with other arguments", good, "!Guest(s, ik)", "!Guest(s)", /Guest takes/],
    [
      "a variable without type in a tuple",
      good,
      "(quote: bitstring, aux",
      "(quote, aux",
      /quote needs a type/,
    ],
    ["a comparison across types", good, "m <> good_measurement", "m <> good_document", /<> between/],
    ["a condition that is no test", good, "if m <> good_measurement ||", "if m ||", /\|\| between/],
    ["a name that hides another", good, "new r: coins", "new s: coins", /hides another/],
    ["a name declared twice", good, "type group.", "type group. type group.", /declared twice/],
    [
      "a pattern of a function that is not data",
      good,
      "let group_bits(gs: group) =",
      "let hash(gs: bitstring) =",
      /not data/,
    ],
    [
      "a pattern against another type",
      good,
      "let (=nothing) =",
      "let (=gi) =",
      /pattern of group against bitstring/,
    ],
    ["an open parenthesis", good, "(!OtherGuests)", "(!OtherGuests", /expected "\)"/],
    ["a missing dot", good, "type nonce.", "type nonce", /expected "\."/],
    ["a missing semicolon", good, "new n: nonce;", "new n: nonce", /expected "\."/],
    ["a missing in", good, "let es = exp(gs, x) in", "let es = exp(gs, x)", /expected "in"/],
    [
      "an event that no process has",
      good,
      "  event GuestEvidence(h, gs);\n",
      "",
      /no process has event GuestEvidence/,
    ],
    [
      "an event that no query has",
      good,
      "event ClientAccept(b",
      "event Lonely.\nevent ClientAccept(b",
      /expected "\("/,
    ],
    ["a process that is never run", good, "  | (!OtherGuests)\n", "", /OtherGuests is never run/],
    ["half an injective query", good, "==> inj-event", "==> event", /injective/],
    [
      "a destructor's result from nowhere",
      good,
      "signed_by(verify_key(k), sign(k, p)) = p",
      "signed_by(verify_key(k), sign(k, k2)) = p",
      /k2 is not declared/,
    ],
    ["an option of another declaration", good, "[private]. (* what", "[data]. (* what", /does not belong/],
    ["phase 0", renewal, "phase 1;", "phase 0;", /positive/],
    [
      "an else branch, which the checker does not know",
      good,
      "out(c, report(m, digest, b)).",
      "out(c, report(m, digest, b)) else 0.",
      /expected "\."/,
    ],
    ["a character outside the language", good, "(!Client", "(!Client{", /no token/],
  ];
  test("nothing in the models that the mistakes are made in", () => {
    for (const text of [good, renewal]) expect(() => parseModel(text)).not.toThrow();
  });
  test.each(mistakes)("%s", (_what, text, from, to, reason) => {
    expect(text).toContain(from);
    expect(() => parseModel(text.replace(from, to))).toThrow(reason);
  });
});

test("run.mjs reads ProVerif's summary, whatever it calls the variables", () => {
  const output = `RESULT not attacker(other[]) is true.
--------------------------------------------------------------
Verification summary:

Query not event(ClientAccept(h_2,s_1)) is false.

Query inj-event(ClientAccept(h_2,s_1)) ==> inj-event(GuestEvidence(h_2,s_1)) cannot be proved.

Query not attacker_p1(keystroke[]) is true.

--------------------------------------------------------------
`;
  const answers = runner.answersOf(output);
  expect(answers.size).toBe(3);
  const of = (query: string): string | undefined => answers.get(runner.fingerprint(query));
  expect(of("h: bitstring, s: group; event(ClientAccept(h, s))")).toBe("false");
  expect(of("h: bitstring, s: group; inj-event(ClientAccept(h, s)) ==> inj-event(GuestEvidence(h, s))")).toBe(
    "cannot be proved",
  );
  expect(of("attacker(keystroke) phase 1")).toBe("true");
  expect(of("attacker(other)")).toBeUndefined();
  expect(runner.answersOf("Error: syntax error").size).toBe(0);
});
