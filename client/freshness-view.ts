// How fresh is what was verified? When the guest last proved itself, when it does again, and a button to ask at once.

import { section } from "./claims-view.ts";
import { button, element } from "./dom.ts";
import { plainText } from "./plain-text.ts";
import type { SinceSeen } from "./seen-store.ts";
import { dateWords, spanWords } from "./time-words.ts";

const TICK_MS = 5000;
export const UNAVAILABLE_IS_NOTABLE = 3; // in a row

export class FreshnessView {
  readonly element: HTMLElement;
  readonly #fresh = element("p", { class: "breakable" });
  readonly #times = element("p", { class: "check-times" });
  readonly #missed = element("p", { class: "quiet" });
  readonly #seen = element("p", { class: "quiet" });
  readonly #result = element("p", { class: "check-result", role: "status" });
  readonly #button: HTMLButtonElement;
  readonly #now: () => number;
  #every: number | undefined; // milliseconds
  #checkedAt: number | undefined;
  #triedAt = 0;
  #recheck: (() => Promise<void>) | undefined;
  #asking = false;

  /** @param now - milliseconds of the wall: a clock that stands still while the machine sleeps would flatter. */
  constructor(now: () => number) {
    this.#now = now;
    this.#button = button("Check again now", () => void this.#ask(), {
      class: "button small",
      hidden: true,
    });
    this.element = section(
      "How fresh",
      this.#fresh,
      this.#times,
      this.#missed,
      this.#seen,
      this.#button,
      this.#result,
    );
    this.element.hidden = true;
    setInterval(() => this.#tick(), TICK_MS);
  }

  get checkedAt(): number | undefined {
    return this.#checkedAt;
  }

  /** @param seconds - between two checks. */
  setEvery(seconds: number): void {
    this.#every = seconds * 1000;
  }

  /** Nothing is verified (any more). */
  clear(): void {
    this.element.hidden = true;
    this.#checkedAt = undefined;
    this.#seen.textContent = "";
    this.#result.textContent = "";
    this.setRecheck(undefined);
  }

  /** @param fresh - the verifier's words. */
  passed(fresh: string): void {
    this.element.hidden = false;
    this.#fresh.textContent = plainText(fresh, 400);
    this.#missed.textContent = "";
    this.#checkedAt = this.#triedAt = this.#now();
    if (this.#asking)
      this.#tell("It proved itself again: the same guest, the same boot, and your policy is met.");
    this.#tick();
  }

  unavailable(reason: string, inARow: number): void {
    this.#triedAt = this.#now();
    const why = plainText(reason, 200).replace(/[.\s]+$/, "");
    const words = why === "" ? "" : `: ${why}`;
    this.#missed.textContent =
      inARow === 1
        ? `The last check had no answer${words}.`
        : `The last ${inARow} checks had no answer${words}.`;
    if (this.#asking)
      this.#tell("The guest could not show new evidence this time. What was verified before stands.");
    this.#tick();
  }

  /** Something else is said elsewhere, and loudly. */
  changed(): void {
    this.#tell("");
  }

  /** @param recheck - undefined while nobody can be asked. */
  setRecheck(recheck: (() => Promise<void>) | undefined): void {
    this.#recheck = recheck;
    this.#button.hidden = recheck === undefined;
    this.#tick();
  }

  setSeen(seen: SinceSeen): void {
    const when = dateWords(seen.at);
    if (seen.lasting.length > 0) {
      const what = seen.lasting.map(({ words }) => plainText(words, 120));
      const more =
        what.length > 4 ? `${what.slice(0, 4).join(", ")} and ${what.length - 4} more` : what.join(", ");
      this.#seen.textContent = `Changed since you last looked (${when}), as you expected: ${more}.`;
    } else if (seen.rebooted) {
      this.#seen.textContent = `Rebooted since you last looked (${when}).`;
    } else {
      this.#seen.textContent = `As you last saw it (${when}).`;
    }
  }

  #tick(): void {
    if (this.#checkedAt === undefined) return;
    const age = this.#now() - this.#checkedAt;
    const checked = age < 60_000 ? "Checked just now" : `Checked ${spanWords(age)} ago`;
    const words = this.#every === undefined ? checked : `${checked}, ${this.#nextWords(this.#every)}`;
    if (words !== this.#times.textContent) this.#times.textContent = words;
  }

  #nextWords(every: number): string {
    if (this.#recheck === undefined) return `then every ${spanWords(every)}`;
    const left = this.#triedAt + every - this.#now();
    if (left <= 0) return "the next check is due";
    return `next in ${left < 60_000 ? spanWords(left) : `${Math.ceil(left / 60_000)} min`}`;
  }

  async #ask(): Promise<void> {
    if (this.#asking || this.#recheck === undefined) return;
    this.#asking = true;
    this.#button.setAttribute("aria-disabled", "true"); // `disabled` would lose the keyboard's place
    this.#result.textContent = "Asking the guest for new evidence…";
    try {
      await this.#recheck();
      if (this.#asking) this.#tell("No answer came. It is asked again at the next check.");
    } catch {
      this.#tell("The guest could not be asked: the line is down.");
    }
    this.#button.removeAttribute("aria-disabled");
  }

  #tell(words: string): void {
    this.#asking = false;
    this.#result.textContent = words;
  }
}
