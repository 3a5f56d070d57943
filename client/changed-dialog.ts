// A guest seen before meets the policy and yet says something else than last time: worth a look before a terminal opens.

import { changesTable } from "./changes-view.ts";
import { ask } from "./dialog.ts";
import { element } from "./dom.ts";
import type { SinceSeen } from "./seen-store.ts";
import { dateWords } from "./time-words.ts";

/**
 * @param isTyping - a Tab and Enter of what is typed for something else do not go on. @returns whether the user expected it; false
 * on Escape.
 */
export async function askAboutChanges(
  identity: string,
  since: SinceSeen,
  isTyping: () => boolean,
): Promise<boolean> {
  const handOver = since.handOver === true;
  const expected = await ask(
    handOver ? "Something is different since the initramfs" : "Something is different since you last looked",
    [
      element(
        "p",
        {},
        element("strong", { class: "breakable" }, identity),
        handOver
          ? " meets your policy, which is what decides. But it is not as it was in its initramfs, a moment ago. A register that the boot itself extends looks like this; so does another machine in its place."
          : ` meets your policy, which is what decides. But it is not as it was when you last opened it here, on ${dateWords(since.at)}. An update that you made would look like this.`,
      ),
      changesTable(since.lasting),
      element("p", { class: "quiet" }, "Nothing was sent to it yet: no user name, no key, no password."),
    ],
    [
      { label: "Close the connection", value: false },
      { label: "This is expected: go on", value: true, look: "primary", unless: isTyping },
    ],
  );
  return expected === true;
}
