// Which machine is this, and why may it be believed? Words of the verifier and of the user's own settings only.

import type { Policy } from "../protocol/attestation/policy/model.ts";
import type { AppraisedClaims } from "../protocol/attestation/verified-guest.ts";
import type { ConnectionStats } from "../protocol/session/api.ts";
import { SUITE_WORDS } from "./assurance-words.ts";
import { checkSections, fact, guestBlocks, section, verdictBox } from "./claims-view.ts";
import { button, element } from "./dom.ts";
import { FreshnessView } from "./freshness-view.ts";
import { icon } from "./icons.ts";
import { replaceKeepingPlace } from "./keep-place.ts";
import type { PageConfig, SignInMethod } from "./page-config.ts";
import { escapedBytes, plainText } from "./plain-text.ts";
import { policySection } from "./policy-view.ts";

const MAX_NOISE_SHOWN = 2048;
const SIGN_IN_WORDS: Readonly<Record<SignInMethod, string>> = {
  "ssh-key": "with your SSH key",
  passkey: "with a passkey",
  "browser-key": "with this browser's key",
  none: "the guest asks for the password",
};

export class TrustPanel {
  readonly element: HTMLElement;
  readonly freshness = new FreshnessView(() => Date.now());
  readonly #verdict = element("div", {});
  readonly #blocks = element("div", {});
  readonly #checks = element("div", {});
  readonly #policyPart = element("div", {});
  readonly #connection = element("div", {});
  readonly #stats = element("dl", { class: "facts" });
  readonly #noise = element("div", {});
  readonly #close: HTMLButtonElement;
  #policy: Policy | undefined;
  #claims: AppraisedClaims | undefined;
  #override: string | undefined;
  #noiseBytes = 0;
  #lastNoise: Uint8Array = new Uint8Array();

  constructor(onClose: () => void) {
    this.#close = button(icon("cross"), onClose, {
      class: "icon-button",
      "aria-label": "Close the trust panel",
      title: "Close (Escape)",
    });
    this.element = element(
      "aside",
      { class: "panel", id: "trust-panel", "aria-labelledby": "trust-title", tabindex: -1 },
      element(
        "header",
        { class: "panel-head" },
        element("h2", { id: "trust-title" }, "Why trust this console?"),
        this.#close,
      ),
      element(
        "div",
        { class: "panel-body" },
        this.#verdict,
        this.#blocks,
        this.freshness.element,
        this.#checks,
        this.#policyPart,
        this.#connection,
      ),
      element(
        "footer",
        { class: "panel-foot" },
        button("Continue to the terminal", onClose, { class: "button primary" }),
      ),
    );
    this.element.addEventListener("keydown", (event) => {
      if (event.key === "Escape") onClose();
    });
    this.#render();
  }

  focus(): void {
    this.#close.focus();
  }

  setConfig(config: PageConfig): void {
    this.#connection.replaceChildren(
      section(
        "Connection",
        element(
          "dl",
          { class: "facts" },
          ...fact("Guest", plainText(config.identity, 256)),
          ...fact("Address", plainText(config.address, 512)),
          ...fact("You", `${plainText(config.user, 64)}, ${SIGN_IN_WORDS[config.auth]}`),
          ...fact("Encryption", SUITE_WORDS),
          ...fact("Post-quantum", "yes: what is recorded today stays closed to a quantum computer"),
          ...fact("The host sees", "sealed packets, their sizes and times"),
        ),
        this.#stats,
        this.#noise,
      ),
    );
  }

  setPolicy(policy: Policy): void {
    this.#policy = policy;
    this.freshness.setEvery(policy.reattestEvery);
    this.#render();
  }

  /** `undefined`: nothing is verified (any more). */
  setClaims(claims: AppraisedClaims | undefined): void {
    this.#claims = claims;
    this.#override = undefined;
    if (claims === undefined) this.freshness.clear();
    else this.freshness.passed(claims.fresh);
    this.#render();
  }

  /** The claims no longer stand, and the user went on all the same; until the next ones. */
  setOverride(words: string): void {
    this.#override = words;
    this.#render();
  }

  setStats(stats: ConnectionStats): void {
    const roundTrip = stats.roundTripMs;
    this.#stats.replaceChildren(
      ...fact("Round trip", roundTrip === undefined ? "not measured yet" : `${Math.round(roundTrip)} ms`),
      ...fact(
        "Packets",
        `${stats.packetsSent} sent, ${stats.packetsReceived} received, ${stats.packetsLost} lost`,
      ),
      ...fact("Forged or damaged", stats.packetsRefused === 0 ? "none" : `${stats.packetsRefused} dropped`),
      ...fact("Lines used", String(stats.pipes)),
    );
  }

  addHostNoise(noise: Uint8Array): void {
    this.#noiseBytes += noise.length;
    this.#lastNoise = noise.slice(-MAX_NOISE_SHOWN);
    this.#noise.replaceChildren(noiseDetails(this.#noiseBytes, this.#lastNoise));
  }

  #render(): void {
    const claims = this.#claims;
    this.#verdict.replaceChildren(verdictBox(claims, this.#override));
    replaceKeepingPlace(this.#blocks, claims === undefined ? [] : guestBlocks(claims));
    replaceKeepingPlace(this.#checks, claims === undefined ? [] : checkSections(claims));
    replaceKeepingPlace(this.#policyPart, [
      this.#policy === undefined ? undefined : policySection(this.#policy, claims),
    ]);
  }
}

/** What the host put on the line that was no packet: for diagnosis, escaped, folded away. */
export function noiseDetails(total: number, last: Uint8Array): HTMLElement {
  return element(
    "details",
    { class: "noise" },
    element("summary", {}, `Other bytes on the line: ${total}`),
    element(
      "p",
      { class: "quiet" },
      "From the host or from whatever else writes to this port. Unsigned: anyone on the way can have put them there.",
    ),
    element(
      "pre",
      { class: "preview", tabindex: 0, "aria-label": "Bytes that were no packets" },
      escapedBytes(last),
    ),
  );
}
