// How a session's states are told from what happened to it.

import { SealttyError } from "../protocol/errors.ts";
import { closedError } from "../protocol/session/client-words.ts";
import { CLOSE_CODES } from "../protocol/session/messages.ts";
import { failureOf, type PageState } from "./page-state.ts";
import { plainText } from "./plain-text.ts";

/** What the session is at while the line holds. */
export type Stage = Extract<PageState, { kind: "signing-in" | "opening" | "live" | "prompts" | "ended" }>;

export function reconnecting({ kind }: Stage, reason: string): PageState {
  const during = kind === "signing-in" || kind === "opening" || kind === "prompts" ? kind : "session";
  return { kind: "reconnecting", reason, during };
}

/** The guest is there, and has none for this user: no shell, not allowed, too many. */
export function isNoTerminal(error: unknown): boolean {
  return (
    error instanceof SealttyError &&
    (error.code === "program-failed" || error.code === "user-refused" || error.code === "limit-exceeded")
  );
}

/** @param reason - the name of the guest's close code, or words. */
export function endOf(reason: string): SealttyError {
  return Object.hasOwn(CLOSE_CODES, reason)
    ? closedError(reason)
    : new SealttyError("transport-lost", reason);
}

export function rejectable(): {
  readonly promise: Promise<never>;
  readonly reject: (error: SealttyError) => void;
} {
  let reject!: (error: SealttyError) => void;
  const promise = new Promise<never>((_, no) => {
    reject = no;
  });
  promise.catch(() => undefined); // nobody may be waiting
  return { promise, reject };
}

export function failureState(
  error: unknown,
  attested: boolean,
  hadSession: boolean,
  user: string,
): PageState {
  const failure = failureOf(error, attested);
  if (failure.code === "evidence-refused") return { kind: "refused", failure };
  if (failure.code === "user-refused") return { kind: "user-refused", failure, user: plainText(user, 64) };
  return hadSession ? { kind: "lost", failure } : { kind: "failed", failure };
}
