// What the two kinds of `sealtty measure` share: files, the policy options, the last lines of output.

import { SealttyError } from "../../protocol/errors.ts";
import type { Input } from "../options.ts";
import { jsonLine } from "../printable.ts";
import { print, Reporter } from "../report.ts";
import type { Services } from "../services.ts";
import { type Expected, mergePolicy, newPolicy, readPolicyText, writePolicyText } from "./policy-file.ts";

const MEBIBYTE = 1024 * 1024;
export const LIMITS = { firmware: 64 * MEBIBYTE, image: 1024 * MEBIBYTE, eventLog: MEBIBYTE } as const;

/** @throws SealttyError `bad-config` where an option that must be there is not. */
export function required(input: Input, name: string, what: string): string {
  const value = input.text(name);
  if (value === undefined)
    throw new SealttyError("bad-config", `--${name} is missing: ${what}; see: sealtty help measure`);
  return value;
}

/** @param digits - exact length; undefined: any even number. @throws SealttyError `bad-config`. */
function hexOption(input: Input, name: string, digits: number): string | undefined {
  const value = input.text(name)?.toLowerCase();
  if (value !== undefined && (value.length !== digits || !/^[0-9a-f]+$/.test(value)))
    throw new SealttyError("bad-config", `--${name} is not ${digits} hex digits`);
  return value;
}

const FOR_TPM =
  "--ak HEX (the name that sealtty inspect shows), and beside it --instance HEX if the guest has an instance document";
const FOR_SNP = "--instance HEX (sealtty instance make prints it)";

/** Refuses contradictions before anything is computed. @throws SealttyError `bad-config`. */
export function checkPolicyOptions(input: Input, kind: Expected["kind"]): void {
  const bad = (problem: string): never => {
    throw new SealttyError("bad-config", problem);
  };
  if (input.has("save-policy") && input.has("add-to-policy"))
    bad(
      "--save-policy and --add-to-policy exclude each other; --add-to-policy keeps what the policy says already",
    );
  for (const name of ["instance", "ak", "any-instance"])
    if (input.has(name) && !input.has("save-policy")) bad(`--${name} goes with --save-policy`);
  hexOption(input, "instance", 64);
  hexOption(input, "ak", 68);
  if (input.has("any-instance") && (input.has("instance") || input.has("ak")))
    bad("--any-instance accepts every machine; leave out --instance and --ak");
  if (input.has("save-policy") && !input.has("any-instance") && !input.has("instance") && !input.has("ak"))
    bad(
      `--save-policy needs to know which machine: ${kind === "tpm" ? FOR_TPM : FOR_SNP}, ` +
        "or --any-instance for every machine that runs this",
    );
  if (kind === "tpm" && input.has("instance") && !input.has("ak"))
    bad(
      "with tpm --instance says which machine only beside --ak HEX (the name that sealtty inspect shows): any software can " +
        "play a TPM that shows the document's digest",
    );
}

/** Writes, as asked, and says so. @throws SealttyError `bad-config`, `bad-policy`. */
export async function intoPolicy(input: Input, services: Services, expected: Expected): Promise<void> {
  const reporter = new Reporter(services, input);
  const fresh = input.text("save-policy");
  const existing = input.text("add-to-policy");
  const said = async (event: string, file: string, line: string, fields = {}) => {
    if (reporter.json) await print(services.stdout, `${jsonLine({ event, file, ...fields })}\n`);
    else reporter.say(`sealtty: ${line}`);
  };
  if (fresh !== undefined) {
    const which = {
      anyInstance: input.has("any-instance"),
      document: hexOption(input, "instance", 64),
      ak: hexOption(input, "ak", 68),
    };
    await writePolicyText(fresh, newPolicy(fresh, expected, which), input.has("force"));
    await said(
      "policy-saved",
      fresh,
      `policy written to ${fresh}: read it, and keep it where only you can change it`,
    );
  } else if (existing !== undefined) {
    const merged = mergePolicy(existing, await readPolicyText(existing), expected, input.has("force"));
    if (merged.changed) await writePolicyText(existing, merged.text, true);
    await said(
      "policy-changed",
      existing,
      merged.changed ? `added to ${merged.key} of ${existing}` : `${existing} accepts this already`,
      { changed: merged.changed, key: merged.key },
    );
  }
}
