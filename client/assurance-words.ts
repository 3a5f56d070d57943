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
          "The processor itself signed what runs in this guest and the keys of this connection. The host cannot make such a signature.",
        tone: "good",
        icon: "shield-check",
      };
    case "paravisor":
      return {
        badge: "Attested by paravisor",
        headline: "Vouched for by the paravisor",
        meaning:
          "A virtual TPM signed, inside the guest's protected memory, run by the cloud's paravisor; the processor vouches for the paravisor.",
        tone: "good",
        icon: "shield-check",
      };
    case "host-vouched":
      return {
        badge: "Host-vouched",
        headline: "Vouched for by the host only",
        meaning:
          "A software TPM that the host runs signed this. It shows what the guest booted, as long as you trust the host not to lie about it.",
        tone: "caution",
        icon: "shield-alert",
      };
    case "simulated":
      return {
        badge: "SIMULATED",
        headline: "This proves nothing",
        meaning:
          "The evidence was made up for trying sealtty out. Anyone, the host included, could have made it.",
        tone: "danger",
        icon: "shield-alert",
      };
  }
}

export const SIMULATED_BAR = "SIMULATED EVIDENCE — this proves nothing about the guest";
export const ANY_INSTANCE_BAR =
  "ANY INSTANCE — your policy accepts every machine that runs this software, so this may not be the machine you mean";

export const SUITE_WORDS = "X25519 with ML-KEM-768, ChaCha20-Poly1305, SHA-256";
