// How much a kind of evidence is worth, in words and in a colour.

import type { Assurance } from "../protocol/attestation/verified-guest.ts";
import type { IconName } from "./icons.ts";

export interface AssuranceWords {
  /** The badge. */
  readonly badge: string;
  readonly headline: string;
  readonly meaning: string;
  readonly tone: "good" | "caution" | "danger";
  readonly icon: IconName;
}

export function assuranceWords(assurance: Assurance): AssuranceWords {
  switch (assurance) {
    case "hardware":
      return {
        badge: "Hardware-attested",
        headline: "Vouched for by the processor",
        meaning:
          "The processor signed what this guest was started with and the keys of this connection; its maker vouches for the processor. Software of the host cannot make such a signature. Attacks by someone with hands on the machine are outside of what this proves.",
        tone: "good",
        icon: "shield-check",
      };
    case "paravisor":
      return {
        badge: "Attested by paravisor",
        headline: "Vouched for by the paravisor",
        meaning:
          "A virtual TPM signed, run by the cloud's paravisor inside the guest's protected memory; the processor vouches for the paravisor. So you trust the processor's maker, and the cloud for what its paravisor does. Attacks by someone with hands on the machine are outside of what this proves.",
        tone: "good",
        icon: "shield-check",
      };
    case "host-vouched":
      return {
        badge: "Host-vouched",
        headline: "Vouched for by the host only",
        meaning:
          "A TPM signed, and none can be told from a program that the host runs. It shows what the guest booted as long as you trust the host; nothing shows that the guest's memory is closed to it.",
        tone: "caution",
        icon: "shield-alert",
      };
    case "simulated":
      return {
        badge: "SIMULATED",
        headline: "This proves nothing",
        meaning: "The evidence is made up, for trying sealtty out. Anyone, the host included, can make it.",
        tone: "danger",
        icon: "shield-alert",
      };
  }
}

export const SIMULATED_BAR = "SIMULATED EVIDENCE — this proves nothing about the guest";
export const ANY_INSTANCE_BAR =
  "ANY INSTANCE — your policy accepts every machine that runs this software, so this may not be the machine you mean";

export const SUITE_WORDS = "X25519 with ML-KEM-768, ChaCha20-Poly1305, SHA-256";
