// One shape for every way in which this machine cannot give evidence: what is wrong, then what to do.

import { SealttyError } from "../../protocol/errors.ts";

/** @param what - and @param next - one sentence each, the first without its full stop. */
export function unavailable(what: string, next: string, cause?: unknown): SealttyError {
  return new SealttyError("evidence-unavailable", `${what}. ${next}`, cause === undefined ? {} : { cause });
}

export function reasonOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : "unknown reason";
}
