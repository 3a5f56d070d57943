// Bars across the top that nothing takes away while what they say is true.

import type { AppraisedClaims } from "../protocol/attestation/verified-guest.ts";
import { ANY_INSTANCE_BAR, SIMULATED_BAR } from "./assurance-words.ts";
import { element } from "./dom.ts";
import { icon } from "./icons.ts";
import { hourWords } from "./time-words.ts";

export interface WentOn {
  /** Milliseconds since 1970. */
  readonly at: number;
  /** What was there did not meet the policy. */
  readonly refused: boolean;
}

export function barsFor(
  simulatedAllowed: boolean,
  claims: AppraisedClaims | undefined,
  wentOn: WentOn | undefined,
): HTMLElement[] {
  const bars: HTMLElement[] = [];
  const simulated = claims === undefined ? simulatedAllowed : claims.assurance === "simulated";
  if (simulated) bars.push(bar("danger", SIMULATED_BAR));
  else if (simulatedAllowed)
    bars.push(bar("caution", "Started with --simulated: made-up evidence would have been accepted too"));
  if (claims?.anyInstance === true) bars.push(bar("caution", ANY_INSTANCE_BAR));
  if (wentOn !== undefined) {
    const at = hourWords(wentOn.at);
    bars.push(
      wentOn.refused
        ? bar("danger", `REFUSED, AND YOU WENT ON — at ${at} this guest's evidence did not meet your policy`)
        : bar("caution", `CHANGED — at ${at} this guest became another one, and you went on`),
    );
  }
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
