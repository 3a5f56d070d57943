// One sentence that sums an appraisal up, and says no more than was proven.

import type { EvidenceType } from "./evidence.ts";
import type { Policy } from "./policy.ts";
import type { Assurance } from "./verified-guest.ts";

export function verdictWords(
  assurance: Assurance,
  policy: Pick<Policy, "name" | "anyInstance">,
  bound: boolean,
): string {
  if (assurance === "simulated") return "This proves nothing: the evidence is simulated, anyone can make it";
  if (!bound) return "A machine that your policy accepts made this evidence, some time, for somebody";
  const guest = policy.anyInstance
    ? "A guest that runs what your policy accepts, but perhaps not the one you mean"
    : `This is your guest "${policy.name}", running what your policy accepts`;
  switch (assurance) {
    case "hardware":
      return `${guest}: the processor itself signed that this very connection ends inside it`;
    case "paravisor":
      return `${guest}: the processor vouches for the cloud's paravisor, and that for this very connection`;
    case "host-vouched":
      return `${guest}, as far as its host is honest: the host may run the TPM that signed`;
  }
}

export function fallbackWhat(type: EvidenceType): string {
  return `Nothing is known of what runs: ${type} evidence does not say`;
}
