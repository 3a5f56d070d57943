// `sealtty inspect`: fetches and explains a guest's evidence, and logs in nowhere.

import { basename } from "node:path";
import { open } from "node:fs/promises";
import { describeUnderNoPolicy } from "../../protocol/attestation/appraisal.ts";
import { isPolicyName } from "../../protocol/attestation/policy.ts";
import { VENDOR_ROOTS } from "../../protocol/attestation/roots.ts";
import type { AppraisedClaims } from "../../protocol/attestation/verified-guest.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { Inspected } from "../../protocol/session/connect.ts";
import { parseAddress } from "../address.ts";
import { describeClaims } from "../claims-words.ts";
import { evidenceFileText, readEvidenceFile } from "../evidence-file.ts";
import { AT_OPTION, EVIDENCE_OPTION, commitmentOfKept, timeOfJudgement } from "../offline.ts";
import { COMMON_OPTIONS, type Command, type Input, onlyGuest, usage } from "../options.ts";
import { ownerCollateral } from "../owner-collateral.ts";
import { jsonLine } from "../printable.ts";
import { connectOptions, reach } from "../reach.ts";
import { print, Reporter } from "../report.ts";
import type { Services } from "../services.ts";
import { writeWholeFile } from "../whole-file.ts";

/** What only a guest that answers can be asked for. */
const NOT_OFFLINE = ["policy", "save-evidence", "timeout", "encoding"];

export const inspectCommand: Command = {
  name: "inspect",
  summary: "fetch and explain the evidence, log in nowhere",
  operands: "GUEST | --evidence FILE",
  brief: "GUEST",
  options: [
    ...COMMON_OPTIONS.filter(({ name }) => name !== "login" && name !== "identity").map((option) =>
      option.name === "policy"
        ? {
            ...option,
            help: "check against this policy; without it, say what the guest shows and judge nothing",
          }
        : option,
    ),
    { name: "save-policy", value: "FILE", help: "write a policy that this guest meets, as it is now" },
    { name: "save-evidence", value: "FILE", help: "keep the evidence, for sealtty verify" },
    { name: "force", help: "let --save-policy and --save-evidence replace a file" },
    { ...EVIDENCE_OPTION, help: `explain a file instead of a guest: ${EVIDENCE_OPTION.help}` },
    { ...AT_OPTION, help: `--evidence: ${AT_OPTION.help}` },
  ],
  notes: [
    "Save a policy only on a network and host that you trust: it pins whoever answers.",
    "What a bare report needs of certificates, CRLs and TCB info is in --collateral DIR, or kept by sealtty collateral fetch.",
    "Exit status: 0 good, 1 refused, 2 usage, 255 no connection.",
  ],
  exits: "inspect-like",
  async run(input, services) {
    if (input.rest !== undefined) throw usage(inspectCommand, "inspect runs no command");
    const file = input.text("evidence");
    if (file !== undefined) checkOffline(input);
    else if (input.has("at")) throw usage(inspectCommand, "--at goes with --evidence");
    const guest = file === undefined ? onlyGuest(inspectCommand, input) : undefined;
    const reporter = new Reporter(services, input);
    const target = input.text("save-policy");
    const kept = input.text("save-evidence");
    const force = input.has("force");
    for (const each of [target, kept]) if (each !== undefined && !force) await refuseExisting(each);
    const inspected =
      guest === undefined
        ? { claims: await explainFile(file ?? "", target, input, services) }
        : await ask(guest, target, input, services, reporter);
    const { claims } = inspected;
    const checked = judges(input, target);
    // The report has everything, warnings too: stderr does not say it again.
    const report = reporter.json
      ? `${jsonLine({ event: "claims", checkedAgainstPolicy: checked, claims })}\n`
      : describeClaims(claims, guest === undefined ? "file" : checked ? "policy" : "guest");
    await print(services.stdout, report);
    const saved = async (event: string, path: string, words: string): Promise<void> => {
      if (reporter.json) await print(services.stdout, `${jsonLine({ event, file: path })}\n`);
      else reporter.say(`sealtty: ${words}`);
    };
    if (target !== undefined) {
      await save(target, claims.policyText, force);
      const words = `policy written to ${target}: read it, and keep it where only you can change it`;
      await saved("policy-saved", target, words);
    }
    if (kept !== undefined && "evidence" in inspected) {
      const text = evidenceFileText(inspected.evidence, inspected.context, services.wallTime());
      await save(kept, text, force);
      const words = `evidence written to ${kept}: sealtty verify --policy FILE --evidence ${kept} checks it again`;
      await saved("evidence-saved", kept, words);
    }
    return 0;
  },
};

/** @throws SealttyError `bad-config` on what a file cannot answer. */
function checkOffline(input: Input): void {
  if (input.operands.length > 0) throw usage(inspectCommand, "--evidence is instead of GUEST");
  const foreign = NOT_OFFLINE.find((name) => input.has(name));
  if (foreign === "policy")
    throw new SealttyError("bad-config", "evidence in a file is checked against a policy by: sealtty verify");
  if (foreign !== undefined) throw usage(inspectCommand, `--${foreign} does not go with --evidence`);
}

/** Signatures, chains and binding are checked; nothing is compared with a policy, and nobody is asked. */
async function explainFile(
  file: string,
  target: string | undefined,
  input: Input,
  services: Services,
): Promise<AppraisedClaims> {
  const kept = await readEvidenceFile(file);
  const { now, leftOpen } = timeOfJudgement(input, services);
  const { claims } = await describeUnderNoPolicy({
    evidence: kept.evidence,
    commitment: commitmentOfKept(kept, undefined, services),
    suite: services.suite,
    signatures: services.signatures,
    acceptSimulated: input.has("simulated"),
    now,
    roots: VENDOR_ROOTS,
    collateral: await ownerCollateral(input, services),
    name: nameFrom(target),
  });
  return { ...claims, notVerified: [...leftOpen, ...claims.notVerified] };
}

async function ask(
  guest: string,
  target: string | undefined,
  input: Input,
  services: Services,
  reporter: Reporter,
): Promise<Inspected> {
  if (judges(input, target)) {
    const { attested, explain } = await reach(guest, input, services, reporter, {
      verdict: false,
      login: false,
    });
    const { verified, evidence, context } = attested;
    explain.end();
    await attested.close();
    return { claims: verified.claims, evidence, context };
  }
  const address = parseAddress(guest);
  const made = await connectOptions(input, address, nameFrom(target), services, reporter);
  const { explain, ...options } = made;
  try {
    return await services.inspectGuest(options);
  } finally {
    explain.end();
  }
}

/** A policy of guests.toml does not judge where a new one is made: it may not be there yet, or what has to change. */
function judges(input: Input, target: string | undefined): boolean {
  return (target === undefined ? input : (input.said ?? input)).has("policy");
}

/** The guest's name in a new policy: that of its file, so that nobody ends up with ten guests named "guest". */
function nameFrom(file: string | undefined): string {
  const name = file === undefined ? "" : basename(file).replace(/\.toml(\..*)?$/, "");
  return isPolicyName(name) ? name : "guest";
}

async function refuseExisting(path: string): Promise<void> {
  const existing = await open(path, "r").catch((error: NodeJS.ErrnoException) => error);
  if (existing instanceof Error) {
    if (existing.code === "ENOENT") return;
    throw new SealttyError("bad-config", `cannot look at ${path} (${existing.code}); name another file`, {
      cause: existing,
    });
  }
  await existing.close();
  throw exists(path);
}

/** Whole or not at all; never over an existing file without `replace`. @throws SealttyError `bad-config`. */
async function save(path: string, text: string, replace: boolean): Promise<void> {
  try {
    await writeWholeFile(path, text, replace);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "EEXIST" && !replace) throw exists(path);
    throw new SealttyError("bad-config", `cannot write ${path} (${code}); name a file where you may write`, {
      cause,
    });
  }
}

function exists(path: string): SealttyError {
  return new SealttyError(
    "bad-config",
    `${path} exists already; name another file, or replace it with --force`,
  );
}
