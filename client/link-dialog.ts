// The question before a link that a program in the guest wrote.

import { ask } from "./dialog.ts";
import { element } from "./dom.ts";
import type { SafeLink } from "./link-guard.ts";

/** @returns whether to open it; undefined on Escape. */
export function askAboutLink(link: SafeLink): Promise<boolean | undefined> {
  return ask<boolean>(
    "Open this link from the guest?",
    [
      element(
        "p",
        {},
        "The address was written by a program in the guest, not by sealtty. It leads to ",
        element("strong", {}, link.host),
        ".",
      ),
      link.carriesCredentials &&
        element(
          "p",
          { class: "caution" },
          "It carries a user name in front of the host: a usual trick to make an address look like another one.",
        ),
      element("pre", { class: "preview", tabindex: 0, "aria-label": "Full address" }, link.href),
    ],
    [
      { label: "Cancel", value: false },
      { label: "Open in a new tab", value: true, look: "primary" },
    ],
  );
}
