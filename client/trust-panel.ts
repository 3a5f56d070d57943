// Which machine is this, and why may it be believed? Words of the verifier and of the user's own settings only.

import type { AppraisedClaims } from "../protocol/attestation/verified-guest.ts";
import type { Policy } from "../protocol/attestation/policy.ts";
import type { ConnectionStats } from "../protocol/session/api.ts";
import { assuranceWords, SUITE_WORDS } from "./assurance-words.ts";
import { append, button, element, type Child } from "./dom.ts";
import { icon, type IconName } from "./icons.ts";
import type { PageConfig } from "./page-config.ts";
import { escapedBytes, plainText } from "./plain-text.ts";

const MAX_NOISE_SHOWN = 2048;

export class TrustPanel {
  readonly element: HTMLElement;
  readonly #body = element("div", { class: "panel-body" });
  readonly #stats = element("dl", { class: "facts" });
  readonly #noise = element("div", {});
  readonly #close: HTMLButtonElement;
  #config: PageConfig | undefined;
  #policy: Policy | undefined;
  #claims: AppraisedClaims | undefined;
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
      this.#body,
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
    this.#config = config;
    this.#render();
  }

  setPolicy(policy: Policy): void {
    this.#policy = policy;
    this.#render();
  }

  /** `undefined`: nothing is verified (any more). */
  setClaims(claims: AppraisedClaims | undefined): void {
    this.#claims = claims;
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
    this.#body.replaceChildren();
    append(this.#body, [
      this.#verdict(),
      ...this.#claimSections(),
      this.#policySection(),
      this.#connectionSection(),
    ]);
  }

  #verdict(): Child {
    const claims = this.#claims;
    if (claims === undefined) {
      return element(
        "div",
        { class: "verdict neutral" },
        icon("shield"),
        element(
          "div",
          {},
          element("h3", {}, "Nothing is verified yet"),
          element(
            "p",
            {},
            "Once the guest's evidence has met your policy, you read here what was checked, and by whose signature.",
          ),
        ),
      );
    }
    const words = assuranceWords(claims.assurance);
    return element(
      "div",
      { class: `verdict ${words.tone}` },
      icon(words.icon),
      element("div", {}, element("h3", {}, words.headline), element("p", {}, words.meaning)),
    );
  }

  #claimSections(): Child[] {
    const claims = this.#claims;
    if (claims === undefined) return [];
    return [
      claims.warnings.length > 0 && section("Warnings", list(claims.warnings, "alert", "caution")),
      section(
        "Which machine",
        element("p", { class: "instance" }, plainText(claims.instance, 400)),
        claims.anyInstance &&
          element(
            "p",
            { class: "caution" },
            "Your policy says anyInstance: what it runs was checked, which one it is was not. Anyone can boot the same image.",
          ),
        element("p", { class: "quiet" }, "Type a password only if this is the machine you mean."),
      ),
      section("Signed by", element("p", { class: "breakable" }, plainText(claims.signedBy, 400))),
      section(
        "What was verified",
        element(
          "ul",
          { class: "checks" },
          ...claims.verified.map((line) =>
            element(
              "li",
              {},
              icon("check", "icon good"),
              element(
                "div",
                {},
                plainText(line.words, 400),
                line.value !== undefined && element("code", { class: "value" }, plainText(line.value, 400)),
              ),
            ),
          ),
        ),
      ),
      section("What was not verified", list(claims.notVerified, "dash", "quiet")),
    ];
  }

  #policySection(): Child {
    const policy = this.#policy;
    if (policy === undefined) return undefined;
    const claims = this.#claims;
    return section(
      "Your policy",
      element(
        "dl",
        { class: "facts" },
        ...fact("Name", plainText(policy.name, 200)),
        ...fact("At least", assuranceWords(policy.minimumAssurance).badge),
        ...fact("Instance", policy.anyInstance ? "any (anyInstance = true)" : "pinned"),
      ),
      claims !== undefined && copyButton("Copy a policy that pins what was seen", claims.policyText),
    );
  }

  #connectionSection(): Child {
    const config = this.#config;
    if (config === undefined) return undefined;
    return section(
      "Connection",
      element(
        "dl",
        { class: "facts" },
        ...fact("Guest", plainText(config.identity, 256)),
        ...fact("Address", plainText(config.address, 512)),
        ...fact(
          "You",
          `${plainText(config.user, 64)}, ${config.auth === "ssh-key" ? "with your SSH key" : "the guest asks for the password"}`,
        ),
        ...fact("Encryption", SUITE_WORDS),
        ...fact("Post-quantum", "yes: what is recorded today stays closed to a quantum computer"),
        ...fact("The host sees", "sealed packets, their sizes and times"),
      ),
      this.#stats,
      this.#noise,
    );
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

function section(title: string, ...children: Child[]): HTMLElement {
  return element("section", { class: "panel-section" }, element("h3", {}, title), ...children);
}

function list(lines: readonly string[], name: IconName, tone: string): HTMLElement {
  return element(
    "ul",
    { class: "checks" },
    ...lines.map((line) =>
      element("li", {}, icon(name, `icon ${tone}`), element("div", {}, plainText(line, 600))),
    ),
  );
}

function fact(name: string, value: string): HTMLElement[] {
  return [element("dt", {}, name), element("dd", {}, value)];
}

function copyButton(label: string, text: string): HTMLElement {
  const made = button(
    label,
    () => {
      navigator.clipboard.writeText(text).then(
        () => {
          made.textContent = "Copied";
        },
        () => {
          made.textContent = "The browser did not allow copying";
        },
      );
    },
    { class: "button small" },
  );
  return made;
}
