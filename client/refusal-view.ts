// What went wrong, what was expected and found, and what can be done: the pages that stand where a terminal would.

import { button, element, type Child } from "./dom.ts";
import { icon, type IconName } from "./icons.ts";
import type { Failure } from "./page-state.ts";
import { plainText } from "./plain-text.ts";

/** @param onRetry - absent where trying again can't help. */
export function failurePage(
  failure: Failure,
  identity: string,
  onRetry: (() => void) | undefined,
): HTMLElement {
  const refusal = failure.refusal;
  const danger = failure.code === "evidence-refused" || failure.code === "peer-misbehaved";
  return statePage(
    danger ? "danger" : "caution",
    danger ? "shield-alert" : failure.code === "user-refused" ? "key" : "alert",
    failure.title,
    element("p", { class: "lead" }, failure.what),
    refusal !== undefined &&
      element(
        "dl",
        { class: "comparison" },
        ...pair("Guest", plainText(identity, 256)),
        ...pair("Check that failed", plainText(refusal.check, 100), "code"),
        ...pair("Expected", plainText(refusal.expected, 1200), "code"),
        ...pair("Found", plainText(refusal.found, 1200), "code found"),
      ),
    failure.nothingSent &&
      element(
        "p",
        { class: "assurance" },
        icon("check", "icon good"),
        "Nothing was sent to it: no user name, no key, no password, no keystroke.",
      ),
    advice(refusal === undefined ? failure.advice : [plainText(refusal.next, 600), ...failure.advice]),
    element(
      "div",
      { class: "card-foot" },
      onRetry !== undefined && button("Try again", onRetry, { class: "button primary" }),
      element("span", { class: "quiet" }, "Code ", element("code", {}, failure.code)),
    ),
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
