// A refusal as plain text, for a ticket or a mail: the same facts as on the page.

import type { FailedCheck, Refusal } from "../protocol/errors.ts";
import type { Failure } from "./page-state.ts";
import { plainText } from "./plain-text.ts";

export function refusalText(failure: Failure, refusal: Refusal, identity: string): string {
  const others = refusal.others ?? [];
  return [
    `${failure.title}: ${plainText(identity, 256)}`,
    failure.what,
    ...(failure.nothingSent ? ["Nothing was sent to it."] : []),
    "",
    ...checkLines(refusal),
    ...others.flatMap((other) => ["", plainText(other.problem, 400), ...checkLines(other)]),
    "",
    `code: ${failure.code}`,
    "",
  ].join("\n");
}

function checkLines({ check, expected, found, policyKey, next }: Omit<FailedCheck, "problem">): string[] {
  return [
    `check: ${plainText(check, 100)}`,
    `expected: ${plainText(expected, 1200)}`,
    `found: ${plainText(found, 1200)}`,
    ...(policyKey === undefined ? [] : [`policy key: ${plainText(policyKey, 100)}`]),
    `next: ${plainText(next, 600)}`,
  ];
}
