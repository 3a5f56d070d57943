// What sealtty says about itself: short lines on stderr, or JSON lines. Nothing of a guest or host is printed as it came.

import { styleText } from "node:util";
import type { ClaimedChange } from "../protocol/attestation/changes.ts";
import type { AppraisedClaims, CheckedLine } from "../protocol/attestation/verified-guest.ts";
import { type FailedCheck, SealttyError } from "../protocol/errors.ts";
import type { Input } from "./options.ts";
import { OutputClosed, writeTo } from "./output.ts";
import { jsonLine, printable } from "./printable.ts";
import type { SeenBefore } from "./seen-guests.ts";
import type { Surroundings, TerminalOutput } from "./services.ts";

/** Writes and waits until the stream took it; whoever left is no error here. @throws SealttyError `device-unavailable`. */
export async function print(stream: TerminalOutput, text: string): Promise<void> {
  if (stream.destroyed || stream.writableEnded) return;
  try {
    await writeTo(stream, text);
  } catch (error) {
    if (!(error instanceof OutputClosed)) throw error;
  }
}

export function useColour(stream: TerminalOutput, environment: Surroundings["environment"]): boolean {
  if ((environment["NO_COLOR"] ?? "") !== "") return false;
  if ((environment["FORCE_COLOR"] ?? "") !== "") return environment["FORCE_COLOR"] !== "0";
  return stream.isTTY === true && environment["TERM"] !== "dumb";
}

/** What others say through a reporter while something lasts. */
export type Talk = Pick<Reporter, "event" | "say" | "detail" | "warn">;

export class Reporter {
  readonly #services: Pick<Surroundings, "stderr" | "environment">;
  readonly json: boolean;
  readonly quiet: boolean;
  readonly verbosity: number;
  /** Nobody is to be asked anything. */
  readonly batch: boolean;

  constructor(
    services: Pick<Surroundings, "stderr" | "environment">,
    input: Pick<Input, "has" | "count"> | undefined,
  ) {
    this.#services = services;
    this.json = input?.has("json") ?? false;
    this.quiet = input?.has("quiet") ?? false;
    this.verbosity = input?.count("verbose") ?? 0;
    this.batch = input?.has("batch") ?? false;
  }

  red(text: string): string {
    return this.#style(["bold", "red"], text);
  }
  faint(text: string): string {
    return this.#style(["dim"], text);
  }

  /** Talk: not with -q, not with --json. */
  say(line: string): void {
    if (!this.quiet && !this.json) this.#line(printable(line));
  }

  /** Talk for -v only. */
  detail(line: string): void {
    if (this.verbosity > 0 && !this.json) this.#line(this.faint(printable(line)));
  }

  /** Security warnings: even with -q. */
  warn(line: string): void {
    if (!this.json) this.#line(this.red(printable(line)));
  }

  /** Something that failed, and is no failure of the whole: even with -q. */
  problem(line: string): void {
    if (!this.json) this.#line(printable(line, 5000));
  }

  /** One JSON line on stderr, only with --json. */
  event(event: string, fields: Readonly<Record<string, unknown>>): void {
    if (this.json) this.#line(jsonLine({ event, ...fields }));
  }

  /** What was verified, before anything was sent. */
  verified(claims: AppraisedClaims, policyName: string): void {
    this.event("verified", { claims });
    if (this.#services.stderr.isTTY === true || this.verbosity > 0) {
      this.say(`sealtty: verified "${policyName}": ${claims.instance}`);
      this.say(`  ${claims.type} evidence, ${claims.assurance}, signed by ${shortened(claims)}`);
    } // else a script reads along, and wants to hear of trouble only
    this.detail(`  ${claims.verdict}`);
    this.detail(`  ${claims.what}`);
    this.detail(`  ${claims.fresh}`);
    for (const line of claims.verified) this.detail(`  ${checkedWords(line)}`);
    for (const line of claims.notVerified) this.detail(`  not verified: ${line}`);
    this.warnings(claims);
  }

  /** What is different since the last look at this guest; nothing where there was none. */
  lookedBack(seen: SeenBefore | undefined): void {
    if (seen === undefined || seen.changes.length === 0) return;
    this.event("changed-since", { at: seen.at, changes: seen.changes });
    this.warn(`sealtty: your policy is met, but this guest is not what it was on ${seen.at}:`);
    for (const line of changeLines(seen.changes)) this.warn(`  ${line}`);
  }

  /** Simulated evidence, any instance, …: said before a session and again behind it. */
  warnings(claims: Pick<AppraisedClaims, "warnings">): void {
    for (const warning of claims.warnings) this.warn(`sealtty: warning: ${warning}`);
  }

  /** One clear sentence, then what to do. */
  failure(error: unknown): void {
    const described = describe(error);
    if (this.json) {
      this.#line(jsonLine({ event: "error", ...described }));
    } else {
      this.#line(`sealtty: ${described.code}: ${printable(described.message)}`);
      if (described.check !== undefined) {
        this.#line(`  check:    ${printable(described.check)}`);
        this.#line(`  expected: ${printable(described.expected ?? "")}`);
        this.#line(`  found:    ${printable(described.found ?? "")}`);
        if (described.policyKey !== undefined) this.#line(`  policy:   ${printable(described.policyKey)}`);
      }
      if (described.next !== undefined) this.#line(`  next: ${printable(described.next)}`);
      for (const other of described.others ?? []) {
        const key = other.policyKey === undefined ? "" : ` (policy: ${other.policyKey})`;
        this.#line(`  also ${printable(other.check)}: ${printable(other.problem)}${printable(key)}`);
        this.#line(`    expected ${printable(other.expected)}`);
        this.#line(`    found    ${printable(other.found)}`);
        this.#line(`    next: ${printable(other.next)}`);
      }
    }
    if (this.verbosity > 1 && error instanceof Error) {
      for (const line of (error.stack ?? "").split("\n")) this.#line(printable(line));
    }
  }

  #style(format: Parameters<typeof styleText>[0], text: string): string {
    // Whether to colour was decided from our own streams and environment; styleText must not decide again.
    return useColour(this.#services.stderr, this.#services.environment)
      ? styleText(format, text, { validateStream: false })
      : text;
  }

  #line(text: string): void {
    // In raw mode a lone LF would leave the cursor in its column.
    const stderr = this.#services.stderr;
    if (!stderr.destroyed) stderr.write(stderr.isTTY === true ? `${text}\r\n` : `${text}\n`);
  }
}

export interface Described {
  readonly code: string;
  readonly message: string;
  readonly check?: string;
  readonly expected?: string;
  readonly found?: string;
  readonly next?: string;
  readonly policyKey?: string;
  readonly others?: readonly FailedCheck[];
}

/** A check that holds, in a line. */
export function checkedWords({ check, words, value, expected, policyKey }: CheckedLine): string {
  const wanted = expected === undefined || expected === value ? undefined : `expected: ${expected}`;
  const found = value !== undefined && words.includes(value) ? undefined : value;
  const values = [found, wanted].filter((each) => each !== undefined).join("; ");
  return `${check}: ${words}${values === "" ? "" : ` (${values})`}${policyKey === undefined ? "" : ` [${policyKey}]`}`;
}

/** Who signed, where the line above has said the key whole: TPMs are known by the key that signs. */
function shortened({ signedBy, instance }: AppraisedClaims): string {
  return signedBy.replace(/[0-9a-f]{32,}/g, (hex) => (instance.includes(hex) ? `${hex.slice(0, 8)}…` : hex));
}

/** As diff has it: what a value was, below it what it is. */
export function changeLines(changes: readonly ClaimedChange[]): string[] {
  return changes.flatMap(({ words, before, after }) => [
    ...(before === undefined ? [] : [`- ${words}: ${before}`]),
    ...(after === undefined ? [] : [`+ ${words}: ${after}`]),
  ]);
}

export function describe(error: unknown): Described {
  if (!(error instanceof SealttyError)) {
    return { code: "internal-error", message: error instanceof Error ? error.message : String(error) };
  }
  const { code, message, refusal } = error;
  return { code, message, ...refusal };
}

/** The exit status of an error, by what the command promises. */
export function exitStatusOf(error: unknown, exits: "ssh-like" | "inspect-like"): number {
  if (exits === "ssh-like" || !(error instanceof SealttyError)) return 255;
  switch (error.code) {
    case "evidence-refused":
    case "evidence-unavailable":
      return 1;
    case "bad-policy":
    case "bad-config":
    case "api-misuse":
      return 2;
    case "peer-misbehaved":
    case "program-failed":
    case "session-gone":
    case "handed-over":
    case "user-refused":
    case "guest-silent":
    case "version-unknown":
    case "decrypt-failed":
    case "limit-exceeded":
    case "state-rolled-back":
    case "timeout":
    case "device-unavailable":
    case "transport-lost":
      return 255;
  }
}
