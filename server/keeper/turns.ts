// So many at a time; the others wait. What one process asks of another is bounded by the other: more at once would end the link
// between them, for everybody.

import { SealttyError } from "../../protocol/errors.ts";

interface Waiting {
  readonly owner: object;
  begin(): void;
  drop(): void;
}

export class Turns {
  readonly #atOnce: number;
  #running = 0;
  #waiting: Waiting[] = []; // in the order of asking

  constructor(atOnce: number) {
    this.#atOnce = atOnce;
  }

  /** @param owner - see `drop`. @throws what `step` does, or SealttyError `transport-lost` where it was dropped before. */
  async run<T>(owner: object, step: () => Promise<T>): Promise<T> {
    // A place is handed on, below: nobody comes between.
    if (this.#running < this.#atOnce) this.#running++;
    else
      await new Promise<void>((begin, reject) => {
        const drop = (): void => reject(new SealttyError("transport-lost", "Whoever asked is gone"));
        this.#waiting.push({ owner, begin, drop });
      });
    try {
      return await step();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#running--;
      else next.begin();
    }
  }

  /** Whoever asked is gone: what did not begin never does. */
  drop(owner: object): void {
    const gone = this.#waiting.filter((each) => each.owner === owner);
    this.#waiting = this.#waiting.filter((each) => each.owner !== owner);
    for (const each of gone) each.drop();
  }
}
