// What went wrong, what was expected and found, and what can be done: the pages that stand where a terminal would.

import type { FailedCheck, Refusal } from "../protocol/errors.ts";
import { copyButton } from "./copy-button.ts";
import { button, element, type Child } from "./dom.ts";
import { icon, type IconName } from "./icons.ts";
import type { Failure } from "./page-state.ts";
import { plainText } from "./plain-text.ts";
import { refusalText } from "./refusal-text.ts";

/**
 * @param onRetry - absent where trying again can't help. @param signIn - where another way to sign in may help: how to choose one, and
 * what to do so that this one works.
 */
export function failurePage(
  failure: Failure,
  identity: string,
  onRetry: (() => void) | undefined,
  signIn?: { readonly choose: () => void; readonly enrolment: Child },
): HTMLElement {
  const refusal = failure.refusal;
  const danger = failure.code === "evidence-refused" || failure.code === "peer-misbehaved";
  return statePage(
    danger ? "danger" : "caution",
    danger ? "shield-alert" : failure.code === "user-refused" ? "key" : "alert",
    failure.title,
    element("p", { class: "lead" }, failure.what),
    failure.nothingSent &&
      element(
        "p",
        { class: "assurance" },
        icon("check", "icon good"),
        "Nothing was sent to it: no user name, no key, no password, no keystroke.",
      ),
    refusal !== undefined && comparison(refusal, identity),
    advice(refusal === undefined ? failure.advice : [plainText(refusal.next, 600), ...failure.advice]),
    signIn?.enrolment,
    refusal !== undefined && policyAdvice(refusal.policyKey),
    refusal !== undefined && otherChecks(refusal.others ?? []),
    element(
      "div",
      { class: "card-foot" },
      onRetry !== undefined && button("Try again", onRetry, { class: "button primary" }),
      signIn !== undefined && button("Sign in another way", signIn.choose, { class: "button" }),
      refusal !== undefined && copyButton("Copy as text", () => refusalText(failure, refusal, identity)),
      element("span", { class: "quiet" }, "Code ", element("code", {}, failure.code)),
    ),
  );
}

/** Signed in, and the guest has no terminal for this user; what it asks stands below. */
export function noTerminalPage(failure: Failure, identity: string): HTMLElement {
  return statePage(
    "caution",
    "prompt",
    "No terminal here",
    element(
      "p",
      { class: "lead" },
      "You are signed in to ",
      element("span", { class: "identity" }, identity),
      ", which gives you no terminal now. What it asks you is shown below, as soon as it asks.",
    ),
    element("p", {}, failure.what),
    element(
      "p",
      { class: "quiet" },
      "When the machine goes on from its initramfs to its system, this page connects again by itself.",
    ),
  );
}

/** The check that decided, expected against found. @param identity - where the guest must be named. */
export function comparison(refusal: Refusal, identity?: string): HTMLElement {
  return element(
    "dl",
    { class: "comparison" },
    ...(identity === undefined ? [] : pair("Guest", plainText(identity, 256))),
    ...pair("Check that failed", plainText(refusal.check, 100), "code"),
    ...pair("Expected", plainText(refusal.expected, 1200), "code"),
    ...pair("Found", plainText(refusal.found, 1200), "code found"),
    ...(refusal.policyKey === undefined ? [] : pair("Policy key", plainText(refusal.policyKey, 100), "code")),
  );
}

/** What else does not fit, so that a policy can be mended in one go. */
export function otherChecks(others: readonly FailedCheck[]): Child {
  if (others.length === 0) return undefined;
  return element(
    "section",
    { class: "others", "aria-labelledby": "others-title" },
    element(
      "h2",
      { id: "others-title" },
      others.length === 1 ? "One more check failed" : `${others.length} more checks failed`,
    ),
    element("ul", {}, ...others.slice(0, MAX_OTHERS).map(otherCheck)),
    others.length > MAX_OTHERS &&
      element("p", { class: "quiet" }, `… and ${others.length - MAX_OTHERS} more`),
  );
}

const MAX_OTHERS = 64;

function otherCheck(failed: FailedCheck): HTMLElement {
  return element(
    "li",
    {},
    element("h3", {}, plainText(failed.problem, 400)),
    element(
      "dl",
      { class: "values" },
      ...pair("Expected", plainText(failed.expected, 1200), "code"),
      ...pair("Found", plainText(failed.found, 1200), "code found"),
      ...pair("Check", plainText(failed.check, 100), "code"),
      ...(failed.policyKey === undefined ? [] : pair("Policy key", plainText(failed.policyKey, 100), "code")),
    ),
    element("p", { class: "quiet" }, plainText(failed.next, 600)),
  );
}

function policyAdvice(key: string | undefined): Child {
  return element(
    "p",
    { class: "policy-advice" },
    ...(key === undefined
      ? ["No key of the policy can change this answer."]
      : [
          "What to change in the policy if this is really your guest, and if what was found is what you want: the key ",
          element("code", {}, plainText(key, 100)),
          ".",
        ]),
  );
}

export function insecureContextPage(): HTMLElement {
  return statePage(
    "danger",
    "shield-alert",
    "This page cannot run here",
    element(
      "p",
      { class: "lead" },
      "The browser offers no cryptography to pages that come over plain http from another machine, and rightly so: whoever delivered this page could have changed it.",
    ),
    advice([
      "Run sealtty open on your own machine. It serves the page at http://localhost.",
      "Never use a console page that the host or its relay serves: it could be made to leak what you type.",
    ]),
  );
}

export function linkUsedPage(): HTMLElement {
  return statePage(
    "neutral",
    "link",
    "This link was used",
    element(
      "p",
      { class: "lead" },
      "A link from sealtty open works once, in one tab, so that nobody who sees it later can use it. This link was used, has expired, or its command has ended.",
    ),
    advice(["Run sealtty open again in your terminal."]),
    element("pre", { class: "command" }, "sealtty open GUEST"),
  );
}

export function loadingPage(): HTMLElement {
  return element(
    "div",
    { class: "state-page" },
    element("p", { class: "loading", role: "status" }, "Loading…"),
  );
}

function statePage(tone: string, name: IconName, title: string, ...children: Child[]): HTMLElement {
  return element(
    "div",
    { class: "state-page" },
    element(
      "div",
      { class: `card ${tone}`, role: tone === "neutral" ? undefined : "alert" },
      element("div", { class: "card-icon" }, icon(name)),
      element("h1", {}, title),
      ...children,
    ),
  );
}

function advice(lines: readonly string[]): Child {
  if (lines.length === 0) return undefined;
  return element(
    "div",
    { class: "advice" },
    element("h2", {}, "What to do"),
    element("ul", {}, ...lines.map((line) => element("li", {}, line))),
  );
}

function pair(name: string, value: string, look?: string): HTMLElement[] {
  return [element("dt", {}, name), element("dd", { class: look }, value === "" ? "nothing" : value)];
}
