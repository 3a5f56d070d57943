// Bars across the top that nothing takes away while what they say is true.

import type { AppraisedClaims } from "../protocol/attestation/verified-guest.ts";
import { ANY_INSTANCE_BAR, SIMULATED_BAR } from "./assurance-words.ts";
import { element } from "./dom.ts";
import { icon } from "./icons.ts";
import type { ChangeKind } from "./page-state.ts";
import { hourWords } from "./time-words.ts";

/** Over what the user went on, and when last (milliseconds since 1970). */
export type WentOn = ReadonlyMap<ChangeKind, number>;

const WENT_ON: Readonly<Record<ChangeKind, (at: string) => HTMLElement>> = {
  refused: (at) =>
    bar("danger", `REFUSED, AND YOU WENT ON — at ${at} this guest's evidence did not meet your policy`),
  unproven: (at) =>
    bar("danger", `NOT PROVEN, AND YOU WENT ON — at ${at} this guest had no fresh evidence to show`),
  changed: (at) => bar("caution", `CHANGED — at ${at} this guest became another one, and you went on`),
};

export function barsFor(
  simulatedAllowed: boolean,
  claims: AppraisedClaims | undefined,
  wentOn: WentOn,
): HTMLElement[] {
  const bars: HTMLElement[] = [];
  const simulated = claims === undefined ? simulatedAllowed : claims.assurance === "simulated";
  if (simulated) bars.push(bar("danger", SIMULATED_BAR));
  else if (simulatedAllowed)
    bars.push(bar("caution", "Started with --simulated: made-up evidence would have been accepted too"));
  if (claims?.anyInstance === true) bars.push(bar("caution", ANY_INSTANCE_BAR));
  for (const [kind, at] of wentOn) bars.push(WENT_ON[kind](hourWords(at)));
  return bars;
}

function bar(tone: "danger" | "caution", words: string): HTMLElement {
  return element(
    "p",
    { class: `bar ${tone}`, role: tone === "danger" ? "alert" : undefined },
    icon("alert"),
    words,
  );
}
