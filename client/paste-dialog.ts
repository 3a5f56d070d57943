// The question before a paste that is more than a word: what it is, why it is asked, and what may be done.

import { ask } from "./dialog.ts";
import { element } from "./dom.ts";
import { joinedInOneLine, pastePreview, type PasteReview } from "./paste-guard.ts";

/** Asks where it must, and keeps what the user allowed for as long as this session. */
export class PasteDialog {
  #severalLinesAllowed = false;

  /** @param bracketed - the program in the guest takes a paste as text. @returns what to paste, undefined: nothing. */
  async chosen(review: PasteReview, bracketed: boolean): Promise<PasteReview | undefined> {
    const routine =
      review.reasons.every((reason) => reason === "several-lines") && bracketed && this.#severalLinesAllowed;
    if (review.reasons.length === 0 || routine) return review;
    return this.#ask(review, bracketed);
  }

  async #ask(review: PasteReview, bracketed: boolean): Promise<PasteReview | undefined> {
    const remember = element("input", { type: "checkbox" });
    const severalLines = review.reasons.includes("several-lines");
    const mayRemember = bracketed && severalLines && review.reasons.length === 1;
    const choice = await ask<"as-is" | "one-line" | "cancel">(
      "Paste this into the guest?",
      [
        element(
          "ul",
          { class: "reasons" },
          ...pasteReasons(review, bracketed).map((words) => element("li", {}, words)),
        ),
        element(
          "pre",
          { class: "preview", tabindex: 0, "aria-label": "Text to paste" },
          pastePreview(review, 4000),
        ),
        mayRemember &&
          element(
            "label",
            { class: "check-label" },
            remember,
            "Don't ask about several lines again in this session",
          ),
      ],
      [
        { label: "Cancel", value: "cancel" },
        ...(severalLines ? [{ label: "Paste as one line", value: "one-line" as const }] : []),
        { label: "Paste", value: "as-is", look: "primary" },
      ],
    );
    if (choice === undefined || choice === "cancel") return undefined;
    if (mayRemember && remember.checked) this.#severalLinesAllowed = true;
    return choice === "one-line" ? joinedInOneLine(review) : review;
  }
}

function pasteReasons(review: PasteReview, bracketed: boolean): string[] {
  return review.reasons.map((reason) => {
    switch (reason) {
      case "several-lines":
        return bracketed
          ? `It has line breaks (${review.lines} ${review.lines === 1 ? "line" : "lines"}). The program in the guest says that it takes them as text, not as Enter.`
          : `It has line breaks (${review.lines} ${review.lines === 1 ? "line" : "lines"}): each one acts like pressing Enter.`;
      case "long":
        return `It is long: ${Math.ceil(review.bytes / 1024)} KB.`;
      case "control-characters":
        return `${review.neutralised} control ${review.neutralised === 1 ? "sequence was" : "sequences were"} taken out of it.`;
      case "hidden-characters":
        return "It has invisible or direction-changing characters, shown below as ⟨U+…⟩.";
    }
  });
}
