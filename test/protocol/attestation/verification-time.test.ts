// Prints how long a whole appraisal takes; what it must be is for `npm run bench` and people to see, not for a busy machine.

import { expect, test } from "vitest";
import { verificationRows } from "../../../bench/verification.ts";
import { median } from "../../../bench/statistics.ts";

test("a whole appraisal of SNP and of TDX evidence: the times", async () => {
  const rows = await verificationRows(10);
  for (const { peer, rounds } of rows) {
    expect(rounds).toHaveLength(10);
    process.stdout.write(`${peer}: median ${median(rounds).toFixed(1)} ms of ${rounds.length}\n`);
  }
});
