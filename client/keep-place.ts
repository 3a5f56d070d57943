// Shows something new in a container, and keeps what its reader had unfolded and where the keyboard stands.

import { append, type Child } from "./dom.ts";

/** Elements with the same `data-key` before and after count as the same. */
export function replaceKeepingPlace(container: HTMLElement, children: readonly Child[]): void {
  const open = new Set(keyed(container).flatMap((each) => (isOpen(each) ? [each.dataset["key"]] : [])));
  const focused = container.contains(document.activeElement)
    ? document.activeElement?.closest<HTMLElement>("[data-key]")?.dataset["key"]
    : undefined;
  container.replaceChildren();
  append(container, children);
  for (const each of keyed(container)) {
    const key = each.dataset["key"];
    if (each instanceof HTMLDetailsElement && open.has(key)) each.open = true;
    if (key === focused) (each.querySelector("summary") ?? each).focus({ preventScroll: true });
  }
}

function keyed(container: HTMLElement): HTMLElement[] {
  return [...container.querySelectorAll<HTMLElement>("[data-key]")];
}

function isOpen(each: HTMLElement): boolean {
  return each instanceof HTMLDetailsElement && each.open;
}
