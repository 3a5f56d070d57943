// What a verified guest says of itself and who vouches for it, as rows and blocks: verifier's words, and evidence as hex.

import type { AppraisedClaims, CheckedLine, ProvenInstance } from "../protocol/attestation/verified-guest.ts";
import { MAX_INSTANCE_DOCUMENT } from "../protocol/limits.ts";
import { assuranceWords } from "./assurance-words.ts";
import { button, element, type Child } from "./dom.ts";
import { icon, type IconName } from "./icons.ts";
import { plainLines, plainText } from "./plain-text.ts";

const MAX_VALUE_SHOWN = 1200;

/** The one sentence, and what this kind of evidence is worth. */
export function verdictBox(claims: AppraisedClaims | undefined, override: string | undefined): HTMLElement {
  if (claims === undefined) {
    return box(
      "neutral",
      "shield",
      "Nothing is verified yet",
      "Once the guest's evidence has met your policy, you read here what was checked, and by whose signature.",
    );
  }
  const words = assuranceWords(claims.assurance);
  if (override !== undefined)
    return box("danger", "shield-alert", override, "What stands below was true before.");
  return box(
    words.tone,
    words.icon,
    plainText(claims.verdict, 400) || words.headline,
    element("strong", {}, `${words.headline}.`),
    ` ${words.meaning}`,
  );
}

/** What runs, who vouches, which machine; how fresh stands beside it, because it changes by itself. */
export function guestBlocks(claims: AppraisedClaims): Child[] {
  return [
    claims.warnings.length > 0 && section("Warnings", lines(claims.warnings, "alert", "caution")),
    section("What runs", element("p", { class: "breakable" }, plainText(claims.what, 400))),
    section(
      "Who vouches",
      element("p", { class: "breakable" }, "Signed by ", plainText(claims.signedBy, 400)),
    ),
    section(
      "Which machine",
      element("p", { class: "instance" }, plainText(claims.instance, 400)),
      claims.anyInstance &&
        element(
          "p",
          { class: "caution" },
          "Your policy says anyInstance: what it runs was checked, which one it is was not. Anyone can boot the same image.",
        ),
      element("p", { class: "quiet" }, "Type a password only if this is the machine you mean."),
      claims.instanceDocument !== undefined && instanceDocument(claims.instanceDocument),
    ),
  ];
}

export function checkSections(claims: AppraisedClaims): Child[] {
  const rows = element("ul", { class: "checks" }, ...claims.verified.map(checkRow));
  const folded = rows.querySelectorAll("details");
  const unfold = button(
    "Show or hide all values",
    () => {
      const open = [...folded].some((each) => !each.open);
      for (const each of folded) each.open = open;
    },
    { class: "button small", "data-key": "unfold-checks" },
  );
  return [
    section("What was verified", rows, folded.length > 1 && unfold),
    section(
      "What was not verified",
      claims.notVerified.length === 0
        ? element("p", { class: "quiet" }, "Nothing is known to be missing.")
        : lines(claims.notVerified, "dash", "quiet"),
    ),
  ];
}

export function section(title: string, ...children: Child[]): HTMLElement {
  return element("section", { class: "panel-section" }, element("h3", {}, title), ...children);
}

export function fact(name: string, value: string): HTMLElement[] {
  return [element("dt", {}, name), element("dd", {}, value)];
}

function box(tone: string, name: IconName, title: string, ...words: Child[]): HTMLElement {
  return element(
    "div",
    { class: `verdict ${tone}` },
    icon(name),
    element("div", {}, element("h3", {}, title), element("p", {}, ...words)),
  );
}

function lines(texts: readonly string[], name: IconName, tone: string): HTMLElement {
  return element(
    "ul",
    { class: "checks" },
    ...texts.map((line) =>
      element("li", {}, icon(name, `icon ${tone}`), element("div", {}, plainText(line, 600))),
    ),
  );
}

/** A row in words; expected, found and the policy's key unfold. */
function checkRow(line: CheckedLine, index: number): HTMLElement {
  const words = plainText(line.words, 400);
  const details = valuesOf(line);
  return element(
    "li",
    {},
    icon("check", "icon good"),
    details.length === 0
      ? element("div", {}, words)
      : element(
          "details",
          { "data-key": `check-${index}-${line.check}` },
          element("summary", {}, words),
          element(
            "dl",
            { class: "values" },
            ...details,
            ...code("Check", line.check),
            ...(line.policyKey === undefined ? [] : code("Policy key", line.policyKey)),
          ),
        ),
  );
}

function valuesOf({ value, expected, policyKey }: CheckedLine): HTMLElement[] {
  if (value !== undefined && value === expected) return code("As expected", value);
  return [
    ...(expected === undefined ? [] : code("Expected", expected)),
    ...(value === undefined ? [] : code("Found", value)),
    ...(value === undefined && expected === undefined && policyKey !== undefined
      ? [element("dt", {}, "Decided by"), element("dd", {}, "your policy")]
      : []),
  ];
}

function code(name: string, value: string): HTMLElement[] {
  return [
    element("dt", {}, name),
    element("dd", {}, element("code", {}, plainText(value, MAX_VALUE_SHOWN) || "nothing")),
  ];
}

/** Words about the guest that are not ours: apart, and whole only when asked for. The owner's only where the policy pins them. */
function instanceDocument({ name, digest, text, pinned }: ProvenInstance): HTMLElement {
  return element(
    "div",
    { class: "instance-document" },
    element(
      "h4",
      {},
      pinned ? "Its owner's instance document: " : "An instance document that your policy does not name: ",
      element("span", {}, `“${plainText(name, 200)}”`),
    ),
    element(
      "p",
      { class: "quiet" },
      pinned
        ? "Named by your policy, delivered by the host, proven because its digest is in the evidence."
        : "Chosen by whoever started this guest: its digest is in the evidence, but nothing says that it is yours.",
    ),
    element("dl", { class: "values" }, ...code("SHA-256", digest)),
    element(
      "details",
      { "data-key": "instance-document" },
      element("summary", {}, "The document whole"),
      element(
        "pre",
        { class: "preview", tabindex: 0, "aria-label": "The instance document" },
        plainLines(text, MAX_INSTANCE_DOCUMENT),
      ),
    ),
  );
}
