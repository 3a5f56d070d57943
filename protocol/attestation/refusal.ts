// Refusing evidence: one shape for every failed check, and the list of checks that an appraisal goes through.

import { type FailedCheck, type Refusal, SealttyError } from "../errors.ts";
import type { CheckedLine } from "./verified-guest.ts";

/** Hex of at most this many digits goes into a sentence for people. */
const MAX_SHOWN = 160;

/**
 * @param check - stable name, e.g. `tpm.pcr`. @param sentence - what is wrong, for a person.
 * @param expected - and @param found - hex or fixed words, never raw guest text. @param next - what the owner can do.
 */
export function refuse(
  check: string,
  sentence: string,
  expected: string,
  found: string,
  next: string,
  cause?: unknown,
): never {
  const refusal = { check, expected: cut(expected), found: cut(found), next };
  throw new SealttyError(
    "evidence-refused",
    sentence,
    cause === undefined ? { refusal } : { refusal, cause },
  );
}

/** Runs a parser over bytes of the guest; what it rejects becomes a refusal of the evidence. */
export function parsing<T>(check: string, what: string, parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    if (!(cause instanceof SealttyError) || cause.code === "evidence-refused") throw cause;
    return refuse(
      check,
      `${what} is malformed: ${cause.message}`,
      "the exact structure",
      "other bytes",
      "If the guest runs another version of sealttyd, bring both to the same version; otherwise something on the way changed the evidence.",
      cause,
    );
  }
}

/** One comparison of checked facts with the owner's policy. */
export interface Comparison {
  readonly check: string;
  /** Whether it holds. */
  readonly met: boolean;
  /** What was found out where it holds, a sentence for people. */
  readonly words: string;
  /** What is wrong where it does not. */
  readonly problem: string;
  /** Hex or fixed words. */
  readonly expected: string;
  readonly found: string;
  /** The policy's key that decides, e.g. `snp.vmpl`. */
  readonly policyKey?: string;
  readonly next: string;
}

/**
 * Judges evidence whose signatures hold: every comparison is made and written down, so that a refusal names all that
 * does not fit and not only the first. Nothing may be believed before `settle` returned.
 */
export class Checks {
  readonly #passed: CheckedLine[] = [];
  readonly #failed: FailedCheck[] = [];
  readonly #warnings: string[] = [];
  readonly #open: string[] = [];

  /** What the policy's own looseness means for as long as the connection lives: a sentence. */
  warn(sentence: string): void {
    this.#warnings.push(sentence);
  }

  /** What this evidence carries and the policy does not ask about: a sentence for "not verified". */
  leaveOpen(sentence: string): void {
    this.#open.push(sentence);
  }

  get warnings(): readonly string[] {
    return this.#warnings;
  }

  get notVerified(): readonly string[] {
    return this.#open;
  }

  /** Something a verifier has already established. */
  established(...lines: readonly CheckedLine[]): void {
    this.#passed.push(...lines);
  }

  compare(comparison: Comparison): void {
    const { check, met, words, problem, next } = comparison;
    const expected = cut(comparison.expected);
    const found = cut(comparison.found);
    const key = comparison.policyKey === undefined ? {} : { policyKey: comparison.policyKey };
    if (met) this.#passed.push({ check, words, value: comparison.found, expected, ...key });
    else this.#failed.push({ check, problem, expected, found, next, ...key });
  }

  /** @returns what holds. @throws SealttyError `evidence-refused` naming the first that does not, and all others. */
  settle(): readonly CheckedLine[] {
    const [first, ...others] = this.#failed;
    if (first === undefined) return this.#passed;
    const { problem, ...rest } = first;
    const refusal: Refusal = others.length === 0 ? rest : { ...rest, others };
    throw new SealttyError("evidence-refused", problem, { refusal });
  }
}

function cut(text: string): string {
  return text.length <= MAX_SHOWN ? text : `${text.slice(0, MAX_SHOWN)}…`;
}
