// The formal models without ProVerif: files, queries and labels belong together, and to the code.

import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";

const folder = new URL("../formal/", import.meta.url);
const read = (file: string): string => readFileSync(new URL(file, folder), "utf8");
const files = readdirSync(folder).filter((file) => file.endsWith(".pv"));
const expected = JSON.parse(read("expected.json")) as Record<string, Record<string, boolean>>;

interface Generator {
  readonly models: Readonly<Record<string, string>>;
  readonly expected: unknown;
  readonly LABELS: Readonly<Record<string, string>>;
  readonly BINDER_FIELDS: readonly string[];
}
interface Runner {
  fingerprint(query: string): string;
  answersOf(output: string): ReadonlyMap<string, string>;
}
const load = async <T>(file: string): Promise<T> =>
  (await import(/* @vite-ignore */ fileURLToPath(new URL(file, folder)))) as T;
const generator = await load<Generator>("generate.mjs");
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

  test("uses no name that it does not declare, and closes what it opens", () => {
    expect(code.split("(").length).toBe(code.split(")").length);
    const known = new Set(
      "set ignoreTypes false free channel type const fun equation forall reduc data private event query inj attacker let in new out if then phase process bitstring".split(
        " ",
      ),
    );
    for (const [, name] of code.matchAll(/\b(?:free|type|const|fun|event|let|new) (\w+)/g))
      known.add(name ?? "");
    for (const [, name] of code.matchAll(/(\w+): \w+/g)) known.add(name ?? ""); // bound with a type
    for (const [, name] of code.matchAll(/; *\n? +(\w+)\([^=]*\) = |; (\w+)\(.*\) = /g))
      known.add(name ?? ""); // reduc
    for (const name of ["unseal", "decapsulate", "read_report", "signed_by"])
      if (code.includes(`; ${name}(`) || code.includes(`\n  ${name}(`)) known.add(name);
    const used = new Set(code.match(/\b[a-zA-Z]\w*\b/g));
    expect([...used].filter((name) => !known.has(name))).toEqual([]);
  });
});

test("labels and fields of the binder are those of protocol/attestation/binder.ts", () => {
  const binder = readFileSync(new URL("../protocol/attestation/binder.ts", import.meta.url), "utf8");
  const labels = [...binder.matchAll(/utf8\("([^"]+)"\)/g)].map((match) => match[1]);
  expect(new Set(labels)).toEqual(new Set(Object.values(generator.LABELS)));
  const fields = [...binder.matchAll(/lv16\(context\.(\w+)\)/g)].map((match) => match[1]);
  expect(fields).toEqual(generator.BINDER_FIELDS);
  for (const file of files) {
    const declared = [...read(file).matchAll(/^const (label_\w+): bitstring\. \(\* "([^"]+)" \*\)$/gm)];
    expect(Object.fromEntries(declared.map((match) => [match[1], match[2]]))).toEqual(generator.LABELS);
  }
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
