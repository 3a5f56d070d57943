// A question over the page: the browser's own modal dialog, so focus, Escape and screen readers work as they should.

import { button, element, type Child } from "./dom.ts";

export interface Choice<Value> {
  readonly label: string;
  readonly value: Value;
  readonly look?: "primary" | "danger";
  /** Not taken while this says so. */
  readonly unless?: () => boolean;
}

/** Resolves with the choice, or undefined on Escape. The first choice has the focus: let it be the harmless one. */
export function ask<Value>(
  title: string,
  body: readonly Child[],
  choices: readonly Choice<Value>[],
): Promise<Value | undefined> {
  return new Promise((resolve) => {
    const dialog = element("dialog", { class: "dialog", "aria-labelledby": "dialog-title" });
    let answer: Value | undefined;
    const buttons = choices.map((choice, index) =>
      button(
        choice.label,
        () => {
          if (choice.unless?.() === true) return;
          answer = choice.value;
          dialog.close();
        },
        { class: `button ${choice.look ?? ""}`, autofocus: index === 0 },
      ),
    );
    dialog.append(
      element("h2", { id: "dialog-title" }, title),
      element("div", { class: "dialog-body" }, ...body),
      element("div", { class: "dialog-buttons" }, ...buttons),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(answer);
    });
    document.body.appendChild(dialog);
    dialog.showModal();
  });
}
