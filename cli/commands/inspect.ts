// `sealtty inspect`: fetches and explains a guest's evidence, and logs in nowhere.

import { basename } from "node:path";
import { open, rename, unlink } from "node:fs/promises";
import { isPolicyName } from "../../protocol/attestation/policy.ts";
import type { AppraisedClaims } from "../../protocol/attestation/verified-guest.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { parseAddress } from "../address.ts";
import { COMMON_OPTIONS, type Command, onlyGuest, usage } from "../options.ts";
import { printable } from "../printable.ts";
import { connectOptions, reach } from "../reach.ts";
import { print, Reporter } from "../report.ts";

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
    { name: "force", help: "let --save-policy replace a file" },
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
    if (target !== undefined && !input.has("force")) await refuseExisting(target);
    const address = parseAddress(guest);
    let claims: AppraisedClaims;
    if (input.has("policy")) {
      const reached = await reach(guest, input, services, reporter);
      claims = reached.attested.verified.claims;
      reached.explain.end();
      await reached.attested.close();
    } else {
      const { explain, ...options } = connectOptions(input, address, nameFrom(target), services, reporter);
      try {
        ({ claims } = await services.inspectGuest(options));
      } finally {
        explain.end();
      }
    }
    const checked = input.has("policy");
    const report = reporter.json
      ? `${JSON.stringify({ event: "claims", checkedAgainstPolicy: checked, claims })}\n`
      : describeClaims(claims, checked);
    await print(services.stdout, report);
    if (!checked) reporter.warnings(claims);
    if (target !== undefined) {
      await savePolicy(target, claims.policyText, input.has("force"));
      if (reporter.json)
        await print(services.stdout, `${JSON.stringify({ event: "policy-saved", file: target })}\n`);
      else
        reporter.say(
          `sealtty: policy written to ${target}: read it, and keep it where only you can change it`,
        );
    }
    return 0;
  },
};

/** The claims, as a table of words. */
export function describeClaims(claims: AppraisedClaims, checked: boolean): string {
  const rows: (readonly [string, string])[] = [
    [
      "checked",
      checked
        ? "against your policy: it is met"
        : "against NO policy: this says what answered, not who should",
    ],
    ["evidence", claims.type],
    ["assurance", claims.assurance === "simulated" ? "SIMULATED: proves nothing" : claims.assurance],
    ["signed by", claims.signedBy],
    ["instance", claims.instance],
  ];
  for (const { check, words, value } of claims.verified)
    rows.push([check, value === undefined ? words : `${words} ${value}`]);
  for (const words of claims.notVerified) rows.push(["not verified", words]);
  for (const words of claims.warnings) rows.push(["warning", words]);
  const width = Math.max(...rows.map(([name]) => name.length));
  return rows
    .map(([name, words]) => `${printable(name).padEnd(width)}  ${printable(words, 4000)}\n`)
    .join("");
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
async function savePolicy(path: string, text: string, replace: boolean): Promise<void> {
  const written = replace ? `${path}.${process.pid}.new` : path;
  let created = false;
  try {
    const file = await open(written, "wx", 0o644);
    created = true;
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    if (replace) await rename(written, path);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "EEXIST" && !replace) throw exists(path);
    if (created) await unlink(written).catch(() => undefined);
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
