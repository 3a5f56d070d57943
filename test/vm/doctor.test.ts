// What the doctor finds on a command line, by booting a machine with those words, and one without.

import { expect, test } from "vitest";
import { PLANTED_WORDS } from "../support/planted-findings.ts";
import { BOOT_TIMEOUT, withVm } from "../support/vm.ts";

const SCRIPT =
  "#!/bin/sh\nnode /usr/lib/sealtty/sealttyd.js doctor --json </dev/null 2>&1 | sed 's/^/doctor: /'\n";
const END = /^doctor: (\{"event":"doctor",.*\})\r?$/m;

/** @returns the ids of what is found in the small guest. */
async function findings(words: string): Promise<string[]> {
  const options = {
    firmware: "seabios",
    tpm: false,
    append: `sealtty.only=none ${words}`,
    files: { "/etc/sealtty/init.d/doctor": { data: SCRIPT, mode: 0o755 } },
  } as const;
  return await withVm(options, async (vm) => {
    const [, end = ""] = await vm.waitForSerial(END, BOOT_TIMEOUT);
    expect(JSON.parse(end)).toMatchObject({ root: "/", commandLines: 1 });
    return [...vm.serialLog().matchAll(/^doctor: \{"event":"finding","id":"([a-z-]+)"/gm)].map(
      ([, id = ""]) => id,
    );
  });
}

test(
  "words of the running kernel's command line are found, and a boot without them has none",
  async () => {
    const ids = Object.keys(PLANTED_WORDS);
    const found = await findings(Object.values(PLANTED_WORDS).join(" "));
    expect(found).toEqual(expect.arrayContaining(ids));
    const without = await findings("");
    expect(without).toContain("kernel-console"); // of the test machine's own line
    expect(without.filter((id) => ids.includes(id))).toEqual([]);
  },
  3 * BOOT_TIMEOUT,
);
