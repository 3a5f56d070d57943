// `sealtty policy`: what it says of good and bad files, and how it ends.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { policyCommand } from "../../cli/commands/policy.ts";
import { parseInput } from "../../cli/options.ts";
import { exitStatusOf } from "../../cli/report.ts";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { parsePolicy, policyDigest } from "../../protocol/attestation/policy.ts";
import { toHex } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { H64, SNP, head } from "../protocol/attestation/made-policies.ts";
import { fakeCli } from "./fake-cli.ts";

const GOOD = `${head("hardware")}[instance]\ndocuments = ["${H64}"]\n${SNP}`;
const RISKY = `${head("hardware", "anyInstance = true\n")}${SNP}allowDebug = true\n`;

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(path.join(tmpdir(), "sealtty-policy-test-"));
});
afterAll(() => rmSync(directory, { recursive: true }));

function fileOf(content: string | Uint8Array, name = "db1.toml"): string {
  const file = path.join(directory, name);
  writeFileSync(file, content);
  return file;
}

async function policy(...args: string[]) {
  const cli = fakeCli();
  let status: number;
  let error: unknown;
  try {
    status = await policyCommand.run(parseInput(policyCommand, args), cli.services);
  } catch (thrown) {
    error = thrown;
    status = exitStatusOf(thrown, policyCommand.exits);
  }
  return { status, error, out: cli.out(), errors: cli.errors() };
}

describe("check", () => {
  test("a good policy: digest, what it says, defaults in force, what is not compared; status 0", async () => {
    const { status, out, errors } = await policy("check", fileOf(GOOD));
    expect(status).toBe(0);
    expect(out).toContain(toHex(policyDigest(nodeSuite, parsePolicy(GOOD))));
    for (const part of [
      "a good policy",
      "SEV-SNP",
      "snp.measurement = ",
      "snp.vmpl = [0]",
      "Not compared: ",
    ]) {
      expect(out).toContain(part);
    }
    expect(errors).toBe("");
  });

  test("risks are warned about, even with -q", async () => {
    const file = fileOf(RISKY);
    for (const quiet of [[], ["-q"]]) {
      const { status, out, errors } = await policy("check", file, ...quiet);
      expect(status).toBe(0);
      expect(errors.match(/warning: /g)).toHaveLength(2);
      expect(errors).toContain("anyInstance");
      expect(errors).toContain("snp.allowDebug");
      expect(out === "").toBe(quiet.length > 0);
    }
  });

  test("tables one line for each entry, values whole in --json, long lists cut between two values in text", async () => {
    const values = Array.from({ length: 12 }, (_, i) => i.toString(16).repeat(64));
    const list = `[${values.map((each) => `"${each}"`).join(", ")}]`;
    const file = fileOf(
      `${head("host-vouched")}[instance]\nkeys = ["${H64}"]\n[tpm]\n[tpm.pcrs]\n4 = ${list}\n7 = ["${H64}"]\n`,
      "tables.toml",
    );
    const { out } = await policy("check", file);
    const lines = out.split("\n");
    expect(lines).toContain(`    tpm.pcrs.7 = ["${H64}"] (Secure Boot state and keys)`);
    const [four] = lines.filter((line) => line.startsWith("    tpm.pcrs.4 = "));
    const shown = [...(four ?? "").matchAll(/"([0-9a-f]+)"/g)].map(([, value]) => value);
    expect(shown.length).toBeGreaterThan(4);
    expect(shown).toEqual(values.slice(0, shown.length));
    expect(four).toContain(`, and ${12 - shown.length} more: --json shows all] (boot loader`);
    const json = JSON.parse((await policy("check", "--json", file)).out);
    const pcrs = json.written.find(({ key }: { key: string }) => key === "tpm.pcrs");
    expect(pcrs.value).toBe(`{ 4 = ${list}, 7 = ["${H64}"] }`);
    expect(pcrs.entries[0]).toMatchObject({ key: "tpm.pcrs.4", value: list });
  });

  test("--json: one line with stable fields", async () => {
    const file = fileOf(RISKY);
    const { status, out, errors } = await policy("check", "--json", file);
    expect(status).toBe(0);
    expect(errors).toBe("");
    expect(out.trimEnd().split("\n")).toHaveLength(1);
    const event = JSON.parse(out);
    expect(Object.keys(event).sort()).toEqual(
      ["accepts", "anyInstance", "defaults", "digest", "event", "file", "minimumAssurance", "name"].concat([
        "notCompared",
        "summary",
        "warnings",
        "written",
      ]),
    );
    expect(event).toMatchObject({
      event: "policy",
      file,
      name: "db1",
      minimumAssurance: "hardware",
      anyInstance: true,
      accepts: ["sev-snp"],
    });
    expect(event.digest).toMatch(/^[0-9a-f]{64}$/);
    expect(event.warnings.map(({ key }: { key: string }) => key)).toEqual(["anyInstance", "snp.allowDebug"]);
    expect(event.defaults).toContainEqual(expect.objectContaining({ key: "snp.vmpl", value: "[0]" }));
  });

  test("a bad policy: file, place and advice on stderr; status 1", async () => {
    const file = fileOf(`${GOOD}vmpls = [1]\n`);
    const { status, out, errors } = await policy("check", file);
    expect(status).toBe(1);
    expect(out).toBe("");
    expect(errors).toMatch(
      /^sealtty: bad-policy: .*unknown key snp\.vmpls; did you mean vmpl\? Known in \[snp\]: /,
    );
    expect(errors).toContain(file);
    const json = await policy("check", "--json", file);
    expect(json.status).toBe(1);
    expect(JSON.parse(json.errors)).toMatchObject({ event: "error", code: "bad-policy" });
  });

  test("a name that moves the cursor, or a value that does, is never printed as it is", async () => {
    const { status, errors } = await policy("check", fileOf(`${GOOD}"\\u001b[2J" = 1\n`));
    expect(status).toBe(1);
    expect(errors).not.toContain("\x1b");
  });

  test.each([
    ["a file that is not there", () => path.join(directory, "none.toml"), "there is no such file"],
    ["a directory", () => directory, "it is a directory"],
    ["bytes that are no text", () => fileOf(Uint8Array.of(0xff, 0xfe, 0), "bytes.toml"), "is not UTF-8 text"],
    ["a huge file", () => fileOf(new Uint8Array(1024 * 1024 + 1), "huge.toml"), "is larger than 1024 KiB"],
  ])("%s: status 2", async (_what, file, part) => {
    const { status, error } = await policy("check", file());
    expect(status).toBe(2);
    expect(error).toBeInstanceOf(SealttyError);
    expect((error as SealttyError).message).toContain(part);
  });
});

test("schema prints the schema of the repository", async () => {
  const { status, out } = await policy("schema");
  expect(status).toBe(0);
  const file = fileURLToPath(new URL("../../docs/policy.schema.json", import.meta.url));
  expect(out).toBe(readFileSync(file, "utf8"));
});

test.each([
  ["nothing"],
  ["an unknown verb", "explain", "x.toml"],
  ["check without a file", "check"],
  ["check with two files", "check", "a", "b"],
  ["schema with a file", "schema", "a"],
  ["an unknown option", "check", "--strict", "x"],
])("usage: %s, status 2", async (_what, ...args) => {
  let status: number;
  try {
    ({ status } = await policy(...args));
  } catch (error) {
    status = exitStatusOf(error, policyCommand.exits);
  }
  expect(status).toBe(2);
});

test("every example of docs/policy.md is a good policy, but for its shortened values", async () => {
  const text = readFileSync(fileURLToPath(new URL("../../docs/policy.md", import.meta.url)), "utf8");
  const examples = [...text.matchAll(/```toml\n([^]*?)```/g)].map(([, example]) => example as string);
  expect(examples).toHaveLength(5);
  const digits = (key: string | undefined) =>
    key === undefined || /^(documents|hostData|[0-9]+)$/.test(key) ? 64 : key === "chipId" ? 128 : 96;
  for (const example of examples) {
    const section = { name: "" };
    const whole = example
      .split("\n")
      .map((line) => {
        section.name = /^\[([^\]]+)\]/.exec(line)?.[1] ?? section.name;
        const key = /^(\w+) = /.exec(line)?.[1];
        const length = section.name === "tdx.rtmrs" ? 96 : digits(key);
        return line.replaceAll(/"([0-9a-f]+)…"/g, (_, start: string) =>
          start.startsWith("000b") ? `"000b${H64}"` : `"${start.padEnd(length, "0")}"`,
        );
      })
      .join("\n");
    expect((await policy("check", fileOf(whole))).status, whole).toBe(0);
  }
});
