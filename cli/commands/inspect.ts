// `sealtty inspect`: fetches and explains a guest's evidence, and logs in nowhere.

import { basename } from "node:path";
import { open } from "node:fs/promises";
import { isPolicyName } from "../../protocol/attestation/policy.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { Inspected } from "../../protocol/session/connect.ts";
import { parseAddress } from "../address.ts";
import { describeClaims } from "../claims-words.ts";
import { evidenceFileText } from "../evidence-file.ts";
import { COMMON_OPTIONS, type Command, onlyGuest, usage } from "../options.ts";
import { connectOptions, reach } from "../reach.ts";
import { print, Reporter } from "../report.ts";
import { writeWholeFile } from "../whole-file.ts";

export const inspectCommand: Command = {
  name: "inspect",
  summary: "fetch and explain the evidence, log in nowhere",
  operands: "GUEST",
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
  ],
  notes: [
    "Save a policy only on a network and host that you trust: it pins whoever answers.",
    "Exit status: 0 good, 1 refused, 2 usage, 255 no connection.",
  ],
  exits: "inspect-like",
  async run(input, services) {
    if (input.rest !== undefined) throw usage(inspectCommand, "inspect runs no command");
    const guest = onlyGuest(inspectCommand, input);
    const reporter = new Reporter(services, input);
    const target = input.text("save-policy");
    const kept = input.text("save-evidence");
    for (const file of [target, kept])
      if (file !== undefined && !input.has("force")) await refuseExisting(file);
    const address = parseAddress(guest);
    let inspected: Pick<Inspected, "claims" | "evidence" | "context">;
    if (input.has("policy")) {
      const reached = await reach(guest, input, services, reporter);
      const { verified, evidence, context } = reached.attested;
      inspected = { claims: verified.claims, evidence, context };
      reached.explain.end();
      await reached.attested.close();
    } else {
      const made = await connectOptions(input, address, nameFrom(target), services, reporter);
      const { explain, watch: _watch, ...options } = made;
      try {
        inspected = await services.inspectGuest(options);
      } finally {
        explain.end();
      }
    }
    const { claims, evidence, context } = inspected;
    const checked = input.has("policy");
    const report = reporter.json
      ? `${JSON.stringify({ event: "claims", checkedAgainstPolicy: checked, claims })}\n`
      : describeClaims(claims, checked);
    await print(services.stdout, report);
    if (!checked) reporter.warnings(claims);
    if (target !== undefined) {
      await save(target, claims.policyText, input.has("force"));
      if (reporter.json)
        await print(services.stdout, `${JSON.stringify({ event: "policy-saved", file: target })}\n`);
      else
        reporter.say(
          `sealtty: policy written to ${target}: read it, and keep it where only you can change it`,
        );
    }
    if (kept !== undefined) {
      await save(kept, evidenceFileText(evidence, context, services.wallTime()), input.has("force"));
      if (reporter.json)
        await print(services.stdout, `${JSON.stringify({ event: "evidence-saved", file: kept })}\n`);
      else
        reporter.say(
          `sealtty: evidence written to ${kept}: sealtty verify --evidence ${kept} checks it again`,
        );
    }
    return 0;
  },
};

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
