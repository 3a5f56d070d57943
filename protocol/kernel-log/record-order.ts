// Records of the kernel's log count from 0: what is left out between two of them was lost, and none comes twice or too late.

import { SealttyError } from "../errors.ts";

/** What stands in the place of records that were not there any more. */
export interface Gap {
  readonly lost: number;
  /** The oldest since power-on: the kernel had written over them before anybody asked. */
  readonly atStart: boolean;
}

export class RecordOrder {
  /** Number of the next record where none is lost. */
  #next = 0;
  #any = false;

  /** @returns what is missing before this one. @throws SealttyError `peer-misbehaved`. */
  take(number: number): Gap | undefined {
    const lost = number - this.#next;
    if (lost < 0)
      throw new SealttyError("peer-misbehaved", "Records of the kernel's log came in a wrong order");
    const atStart = !this.#any;
    this.#any = true;
    this.#next = number + 1;
    return lost > 0 ? { lost, atStart } : undefined;
  }
}
