// Values of a guest before and now, one below the other: long hex stays readable on any screen.

import type { ClaimedChange } from "../protocol/attestation/changes.ts";
import { element } from "./dom.ts";
import { plainText } from "./plain-text.ts";

/** Rows shown; a guest that changed in more ways than these is told by their number. */
const MAX_SHOWN = 40;

export function changesTable(changes: readonly ClaimedChange[]): HTMLElement {
  const hidden = changes.length - MAX_SHOWN;
  return element(
    "div",
    { class: "changes" },
    element(
      "table",
      {},
      element("caption", {}, changes.length === 1 ? "One value changed" : `${changes.length} values changed`),
      ...changes.slice(0, MAX_SHOWN).map(changeRows),
    ),
    hidden > 0 && element("p", { class: "quiet" }, `… and ${hidden} more`),
  );
}

function changeRows({ name, words, before, after, scope }: ClaimedChange): HTMLElement {
  return element(
    "tbody",
    {},
    element(
      "tr",
      {},
      element(
        "th",
        { colspan: 2, scope: "rowgroup" },
        plainText(words, 120),
        " ",
        element("code", { class: "quiet" }, plainText(name, 120)),
        scope === "boot" && element("span", { class: "quiet" }, " (new at every boot)"),
      ),
    ),
    valueRow("Before", before),
    valueRow("Now", after),
  );
}

function valueRow(label: string, value: string | undefined): HTMLElement {
  return element(
    "tr",
    { class: label === "Now" ? "now-value" : undefined },
    element("th", { scope: "row" }, label),
    value === undefined
      ? element("td", {}, "not there")
      : element("td", {}, element("code", {}, plainText(value, 1200) || "empty")),
  );
}
