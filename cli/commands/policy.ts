// `sealtty policy`: explains a policy file in words, and prints the schema for editors.

import {
  type PolicyExplanation,
  acceptedTypes,
  explanationOf,
  policyDigest,
} from "../../protocol/attestation/policy.ts";
import { MAX_POLICY } from "../../protocol/attestation/policy/parse.ts";
import { policySchema } from "../../protocol/attestation/policy/schema.ts";
import { toHex } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { COMMON_OPTIONS, type Command, type Input, usage } from "../options.ts";
import { readOwnerFile } from "../owner-file.ts";
import { jsonLine, printable } from "../printable.ts";
import { print, Reporter } from "../report.ts";
import type { Services } from "../services.ts";

const TAKEN = ["json", "verbose", "quiet"];
/** Four bytes of UTF-8 for a character at most; the parser counts characters. */
const MAX_FILE = 4 * MAX_POLICY;
/** Characters of a list on one line: six values of 96 hex digits. */
const MAX_SHOWN = 600;

export const policyCommand: Command = {
  name: "policy",
  summary: "explain a policy file in words, or print its schema",
  brief: "check FILE",
  operands: "check FILE | schema",
  options: COMMON_OPTIONS.filter(({ name }) => TAKEN.includes(name)),
  notes: [
    "check: who is accepted, what must run, which machine, which defaults are in force, and what to be careful about.",
    "schema: JSON Schema (draft-07) for editors, e.g. Taplo or Even Better TOML.",
    "Exit status: 0 good, 1 the policy is refused, 2 usage.",
  ],
  exits: "inspect-like",
  run(input, services) {
    const [verb, file, ...extra] = input.operands;
    if (input.rest !== undefined || extra.length > 0) throw usage(policyCommand, "unexpected operand");
    if (verb === "schema" && file === undefined) return schema(services);
    if (verb !== "check")
      throw usage(policyCommand, verb === undefined ? "say check or schema" : "no such verb");
    if (file === undefined) throw usage(policyCommand, "FILE is missing");
    return check(file, input, services);
  },
};

async function schema(services: Services): Promise<number> {
  await print(services.stdout, `${jsonLine(policySchema(), 2)}\n`);
  return 0;
}

async function check(file: string, input: Input, services: Services): Promise<number> {
  const reporter = new Reporter(services, input);
  const text = textOfFile(file, await readOwnerFile(file, "policy", MAX_FILE));
  let policy: ReturnType<Services["parsePolicy"]>;
  try {
    policy = services.parsePolicy(text);
  } catch (cause) {
    if (!(cause instanceof SealttyError) || cause.code !== "bad-policy") throw cause;
    reporter.failure(
      new SealttyError("bad-policy", `${file}: ${cause.message.replace(/^Policy: /, "")}`, { cause }),
    );
    return 1;
  }
  const digest = toHex(policyDigest(services.suite, policy));
  const explanation = explanationOf(policy);
  if (reporter.json) {
    const { name, minimumAssurance, anyInstance } = policy;
    const event = { event: "policy", file, digest, name, minimumAssurance, anyInstance };
    const accepts = acceptedTypes(policy);
    await print(services.stdout, `${jsonLine({ ...event, accepts, ...explanation })}\n`);
  } else {
    const lines = reporter.quiet ? [] : describe(file, digest, explanation);
    await print(services.stdout, lines.map((line) => `${printable(line, 4000)}\n`).join(""));
    for (const { words } of explanation.warnings) reporter.warn(`sealtty: warning: ${words}`);
  }
  return 0;
}

function describe(file: string, digest: string, explanation: PolicyExplanation): string[] {
  const { summary, written, defaults, notCompared } = explanation;
  const key = ({ key, value, words, entries }: (typeof written)[number]) =>
    entries === undefined
      ? [`  ${key} = ${shortened(value)}`, `      ${words}`]
      : [
          `  ${key}`,
          `      ${words}`,
          ...entries.map(
            (entry) => `    ${entry.key} = ${shortened(entry.value)}${entry.words && ` (${entry.words})`}`,
          ),
        ];
  return [
    `${file}: a good policy`,
    `digest ${digest}`,
    "",
    ...summary,
    "",
    "It says",
    ...written.flatMap(key),
    "",
    "Defaults in force",
    ...defaults.flatMap(key),
    ...(notCompared.length === 0 ? [] : ["", `Not compared: ${notCompared.join(", ")}`]),
  ];
}

/** A long list cut between two values; --json has all of it. */
function shortened(toml: string): string {
  if (toml.length <= MAX_SHOWN || !toml.startsWith("[")) return toml;
  const values = toml.slice(1, -1).split(/(?<="), (?=")/);
  let shown = 1;
  for (let length = 0; shown < values.length; shown++) {
    length += (values[shown - 1] as string).length + 2;
    if (length + (values[shown] as string).length > MAX_SHOWN) break;
  }
  const more = values.length - shown;
  return more === 0 ? toml : `[${values.slice(0, shown).join(", ")}, and ${more} more: --json shows all]`;
}

function textOfFile(file: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new SealttyError("bad-config", `${file} is not UTF-8 text; name a policy`, { cause });
  }
}
