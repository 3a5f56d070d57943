// How fast events go to the guest, and how much a frame of them holds: by what got through. docs/vnc-modem.md §9.

import type { DeviceHabits, Rung } from "./devices.ts";
import { MAX_UP_PAYLOAD } from "./up-frames.ts";

/** One refresh of the picture, ms. */
const REFRESH = 30;
const MIN_PATIENCE = 250;
const MAX_PATIENCE = 4000;
/** Bytes of a frame where frames do not get through. */
const SHORT_FRAME = 8;
/** So many symbols without a loss, and nobody else is there any more. */
const ALONE = 4096;
/** Symbols without a loss before the pace doubles; four times as many where it was too much, half where it was not. */
const CLEAN = 64;
const MAX_CLEAN = 4096;
/** A loss within so many symbols of a pace says that the pace is too much; later it is likelier something else. */
const TRIAL = 256;

export class UpPace {
  readonly #habits: DeviceHabits;
  #rung: number;
  #clean = 0; // symbols since the last loss, or since the pace doubled
  #cleanNeeded = CLEAN;
  #onTrial = false; // the pace was doubled, and nothing was lost since
  #payload = MAX_UP_PAYLOAD;
  #guarded = false;

  constructor(habits: DeviceHabits) {
    this.#habits = habits;
    this.#rung = habits.start;
  }

  /** Both ends begin anew. What the device takes, and whether somebody else uses it, is known as before. */
  begin(): void {
    this.#clean = 0;
    this.#cleanNeeded = CLEAN;
    this.#onTrial = false;
    this.#payload = MAX_UP_PAYLOAD;
  }

  /** Symbols at once, and ms. */
  get rung(): Rung {
    const rung = this.#habits.rungs[this.#rung] as Rung;
    if (!this.#guarded) return rung;
    return rung.batch > 1
      ? { batch: rung.batch - 1, every: rung.every }
      : { batch: 1, every: rung.every * 2 };
  }

  /** Bytes of the next new frame. */
  get payload(): number {
    return this.#payload;
  }

  /** Each batch ends with an event for somebody else's motion. */
  get guarded(): boolean {
    return this.#guarded;
  }

  /** How long an answer to so many symbols may take, ms. @param attempts - going back since something was acknowledged. */
  patience(symbols: number, attempts: number): number {
    const { batch, every } = this.rung;
    const once = 3 * (REFRESH + (symbols * every) / batch);
    return Math.min(MAX_PATIENCE, Math.max(MIN_PATIENCE, once) * 2 ** Math.max(0, attempts - 1));
  }

  /** @param symbols - of these frames. */
  acknowledged(frames: number, symbols: number): void {
    this.#clean += symbols;
    this.#payload = Math.min(MAX_UP_PAYLOAD, this.#payload + frames * SHORT_FRAME);
    if (this.#clean >= ALONE) this.#guarded = false;
    if (this.#clean >= this.#cleanNeeded && this.#rung + 1 < this.#habits.rungs.length) {
      this.#rung++;
      this.#clean = 0;
      this.#onTrial = true;
    }
  }

  /** Frames did not get through. */
  lost(): void {
    this.#payload = Math.max(SHORT_FRAME, this.#payload / 2);
    const tooMuch = this.#onTrial && this.#clean < TRIAL;
    this.#onTrial = false;
    this.#clean = 0;
    if (this.#habits.merges && !this.#guarded) {
      this.#guarded = true; // another viewer is likelier than a pace that has been good before
      return;
    }
    this.slower();
    this.#cleanNeeded = tooMuch
      ? Math.min(MAX_CLEAN, this.#cleanNeeded * 4)
      : Math.max(CLEAN, this.#cleanNeeded / 2);
  }

  slower(): void {
    this.#rung = Math.max(0, this.#rung - 1);
  }
}
