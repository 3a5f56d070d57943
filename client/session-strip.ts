// Reconnecting, ended, lost: said below the terminal, whose content stays readable.

import { button, element, type Child } from "./dom.ts";
import { icon, type IconName } from "./icons.ts";
import type { Failure, PageState } from "./page-state.ts";
import type { Viewer } from "../protocol/session/session-api.ts";
import { plainText } from "./plain-text.ts";

type Reconnecting = Extract<PageState, { kind: "reconnecting" }>;

const LOST_FROM: Readonly<Record<Reconnecting["during"], { readonly title: string; readonly what: string }>> =
  {
    "signing-in": {
      title: "Reconnecting… trying to sign you in",
      what: "The line was lost before you were signed in. It goes on by itself once the line is back.",
    },
    opening: {
      title: "Reconnecting… trying to open your session",
      what: "The line was lost before your session opened. It goes on by itself once the line is back; what you type until then is not kept.",
    },
    prompts: {
      title: "Reconnecting…",
      what: "The line was lost. The guest goes on waiting for your answers; they can be given once the line is back.",
    },
    session: {
      title: "Reconnecting…",
      what: "The line was lost. Your session goes on in the guest; nothing is repeated, nothing is lost. What you type now is sent when the line is back.",
    },
  };

export function reconnectingStrip(
  { reason, during }: Reconnecting,
  since: number,
  now: () => number,
): { element: HTMLElement; dispose(): void } {
  const elapsed = element("span", { class: "elapsed" });
  const tick = () => {
    elapsed.textContent = `${Math.max(0, Math.floor((now() - since) / 1000))} s`;
  };
  tick();
  const timer = setInterval(tick, 1000);
  const made = strip(
    "caution",
    "clock",
    LOST_FROM[during].title,
    [LOST_FROM[during].what, reason === "" ? undefined : element("span", { class: "quiet" }, ` (${reason})`)],
    elapsed,
  );
  return { element: made, dispose: () => clearInterval(timer) };
}

export function endedStrip(
  words: string,
  clean: boolean,
  onOpenAgain: (() => void) | undefined,
  onConnectAgain: (() => void) | undefined,
): HTMLElement {
  if (onConnectAgain !== undefined) {
    return strip(
      "caution",
      "stop",
      "Session ended",
      [words],
      button("Connect again", onConnectAgain, { class: "button primary" }),
    );
  }
  return strip(
    clean ? "neutral" : "caution",
    "stop",
    "Session ended",
    [words],
    onOpenAgain === undefined
      ? element("span", { class: "quiet" }, "Run sealtty open again for another one.")
      : button("Open a new session", onOpenAgain, { class: "button primary" }),
  );
}

/** @param withPasskey - connecting again asks for one. */
export function lostStrip(failure: Failure, withPasskey: boolean, onRetry: () => void): HTMLElement {
  return strip(
    "danger",
    "unplugged",
    failure.title,
    [
      failure.what,
      " This was not a clean end: the last output may be missing.",
      withPasskey && " A new connection needs your passkey again.",
    ],
    button("Connect again", onRetry, { class: "button primary" }),
  );
}

/** Several are attached to one session. */
export function viewersStrip(viewers: readonly Viewer[]): HTMLElement {
  const names = viewers
    .filter((viewer) => !viewer.own)
    .map(({ user, mode }) => `${plainText(user, 64)}${mode === "read-only" ? " (looks on)" : ""}`);
  return strip("neutral", "eye", "Also attached", [names.join(", ")], element("span", {}));
}

/** The guest did not answer several checks in a row; nothing is frozen. */
export function unavailableStrip(inARow: number, checkedAgo: string | undefined): HTMLElement {
  return strip(
    "caution",
    "clock",
    "The guest no longer proves itself",
    [
      `It had no evidence to show at the last ${inARow} checks.`,
      checkedAgo === undefined ? undefined : ` It last proved itself ${checkedAgo} ago.`,
      " Nothing says that it changed, and nothing says that it did not.",
    ],
    undefined,
  );
}

export function inputStuckStrip(): HTMLElement {
  const made = strip(
    "caution",
    "alert",
    "The guest does not take its input",
    ["Too much waits for it already. What is typed now is left out."],
    undefined,
  );
  made.setAttribute("role", "alert");
  return made;
}

function strip(
  tone: string,
  name: IconName,
  title: string,
  words: readonly Child[],
  end: Child,
): HTMLElement {
  return element(
    "div",
    { class: `strip ${tone}`, role: tone === "danger" ? "alert" : "status" },
    icon(name),
    element("div", { class: "strip-words" }, element("strong", {}, title), element("p", {}, ...words)),
    end,
  );
}
