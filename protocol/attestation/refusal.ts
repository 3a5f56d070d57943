// Refusing evidence: one shape for every failed check.

import { SealttyError } from "../errors.ts";

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
    if (!(cause instanceof SealttyError)) throw cause;
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

function cut(text: string): string {
  return text.length <= MAX_SHOWN ? text : `${text.slice(0, MAX_SHOWN)}…`;
}
