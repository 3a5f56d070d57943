// `sealtty instance`: checks an owner's instance document, and says how to start a guest with it.

import path from "node:path";
import {
  type Command as GuestCommand,
  type DocumentDigests,
  type InstanceDocument,
  documentDigests,
  parseInstanceDocument,
} from "../../protocol/attestation/instance/document.ts";
import { instanceSchema } from "../../protocol/attestation/instance/schema.ts";
import { INSTANCE_DEFAULTS } from "../../protocol/attestation/policy.ts";
import { toHex } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { MAX_INSTANCE_DOCUMENT } from "../../protocol/limits.ts";
import { fingerprintOf } from "../../protocol/user-auth/key-line.ts";
import { launchForms } from "../instance-launch.ts";
import { COMMON_OPTIONS, type Command, type Input, usage } from "../options.ts";
import { readOwnerFile } from "../owner-file.ts";
import { jsonLine, printable } from "../printable.ts";
import { print, Reporter } from "../report.ts";
import type { Services } from "../services.ts";

const TAKEN = ["json", "verbose", "quiet"];

export const instanceCommand: Command = {
  name: "instance",
  summary: "check an instance document, and say how to start a guest with it",
  brief: "make|show FILE",
  operands: "make FILE | show FILE | schema",
  options: COMMON_OPTIONS.filter(({ name }) => TAKEN.includes(name)),
  notes: [
    "make: digests, PCR values, arguments for QEMU and libvirt, and the lines for sealttyd.toml and your policy.",
    "show: what the document says, and its digests. schema: JSON Schema (draft-07) for editors.",
    "The digest is that of the file's exact bytes: change a blank, and it is another document. docs/instance.md",
    "Exit status: 0 good, 1 the document is refused, 2 usage.",
  ],
  exits: "inspect-like",
  async run(input, services) {
    const [verb, file, ...extra] = input.operands;
    if (input.rest !== undefined || extra.length > 0) throw usage(instanceCommand, "unexpected operand");
    if (verb === "schema" && file === undefined) {
      await print(services.stdout, `${jsonLine(instanceSchema(), 2)}\n`);
      return 0;
    }
    if (verb !== "make" && verb !== "show") {
      throw usage(instanceCommand, verb === undefined ? "say make, show or schema" : "no such verb");
    }
    if (file === undefined) throw usage(instanceCommand, "FILE is missing");
    return look(verb, file, input, services);
  },
};

async function look(verb: "make" | "show", file: string, input: Input, services: Services): Promise<number> {
  const reporter = new Reporter(services, input);
  const bytes = await readOwnerFile(file, "instance document", MAX_INSTANCE_DOCUMENT);
  let document: InstanceDocument;
  try {
    document = parseInstanceDocument(bytes);
  } catch (cause) {
    if (!(cause instanceof SealttyError) || cause.code !== "bad-config") throw cause;
    const message = cause.message.replace(/^Instance document: /, "");
    reporter.failure(new SealttyError("bad-config", `${file}: ${message}`, { cause }));
    return 1;
  }
  const digests = documentDigests(services.suite, bytes);
  const forms = verb === "make" ? launchForms(digests, path.resolve(file), INSTANCE_DEFAULTS.pcr) : [];
  if (reporter.json) {
    const event = { event: "instance", file, ...facts(document, services), ...digestFields(digests) };
    const launch = Object.fromEntries(forms.map(({ name, text }) => [name, text]));
    await print(
      services.stdout,
      `${jsonLine(verb === "make" ? { ...event, pcr: INSTANCE_DEFAULTS.pcr, launch } : event)}\n`,
    );
    return 0;
  }
  const lines = [
    ...describe(document, services),
    "",
    ...Object.entries(digestFields(digests)).map(([name, value]) => `${LABELS[name] ?? name}  ${value}`),
    ...forms.flatMap(({ title, text }) => [
      "",
      `${title}:`,
      ...text.split("\n").map((line) => `    ${line}`),
    ]),
  ];
  await print(services.stdout, lines.map((line) => `${printable(line, 4000)}\n`).join(""));
  if (verb === "make") {
    reporter.say(
      "sealtty: the forms for SEV-SNP, TDX and libvirt follow their documentation; sealtty was not tested on such hardware",
    );
    reporter.say("sealtty: the host reads this document: keep secrets out of it");
  }
  return 0;
}

const LABELS: Readonly<Record<string, string>> = {
  sha256: "SHA-256 (HOST_DATA, policy)",
  sha384: "SHA-384 (MRCONFIGID)       ",
  pcrSha256: "PCR, sha256 bank           ",
  pcrSha384: "PCR, sha384 bank           ",
};

function digestFields({ sha256, sha384, pcr }: DocumentDigests): Record<string, string> {
  return {
    sha256: toHex(sha256),
    sha384: toHex(sha384),
    pcrSha256: toHex(pcr.sha256),
    pcrSha384: toHex(pcr.sha384),
  };
}

/** Stable fields for --json. */
function facts(document: InstanceDocument, services: Services) {
  const { name, users, commands, agent, authorizedKeys } = document;
  const keys = authorizedKeys.map(({ blob, comment, keyType }) => ({
    type: keyType,
    fingerprint: fingerprintOf(services.suite.sha256(blob)),
    comment,
  }));
  return { name, authorizedKeys: keys, users, commands, agent };
}

function describe(document: InstanceDocument, services: Services): string[] {
  const { name, users, commands, agent, authorizedKeys } = document;
  const shown = commands === "any" ? "anything" : commands.map(spelled).join("; ");
  return [
    `guest     "${name}"`,
    ...authorizedKeys.map(({ blob, comment, keyType }) =>
      `key       ${keyType} ${fingerprintOf(services.suite.sha256(blob))} ${comment}`.trimEnd(),
    ),
    ...(authorizedKeys.length === 0 ? ["key       none"] : []),
    `users     ${users === "any" ? "any account of the guest" : users.join(", ")}`,
    `exec      ${shown === "" ? "nothing" : shown}`,
    `shell     ${agent.shell ? "with a key" : "none"}`,
    `password  ${agent.login ? "the guest's login program may ask for one" : "nobody gets in without a key"}`,
  ];
}

/** Words that a blank or quote could blur are quoted. */
function spelled(command: GuestCommand): string {
  return command
    .map((word) => (/^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : JSON.stringify(word)))
    .join(" ");
}
