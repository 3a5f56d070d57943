// A button that copies a text and says in its own label what came of it.

import { button } from "./dom.ts";

const SAID_MS = 4000;

/** @param text - asked for when the button is pressed. */
export function copyButton(label: string, text: () => string): HTMLButtonElement {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const say = (words: string): void => {
    made.textContent = words;
    clearTimeout(timer);
    timer = setTimeout(() => {
      made.textContent = label;
    }, SAID_MS);
  };
  const made = button(
    label,
    () => {
      navigator.clipboard.writeText(text()).then(
        () => say("Copied"),
        () => say("The browser did not allow copying"),
      );
    },
    { class: "button small", "aria-live": "polite" },
  );
  return made;
}
