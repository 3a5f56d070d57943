// What the guest says to SHAPE, as the client holds it to: SHAPED with the same profile, once, and before anything private.
// docs/protocol.md §8.8

import { SealttyError } from "../errors.ts";
import type { ShapingProfile } from "../packets/shaping.ts";

export class ShapingAnswer {
  #given: ShapingProfile | undefined;

  /** @param asked - undefined: it was not asked. @throws SealttyError `peer-misbehaved`. */
  take(profile: ShapingProfile, asked: ShapingProfile | undefined): void {
    if (this.#given !== undefined || profile !== asked)
      throw new SealttyError("peer-misbehaved", "The guest does not shape its traffic as it was asked to");
    this.#given = profile;
  }

  /**
   * Before anything private: what it sends unshaped would tell what the user asked to hide.
   * @throws SealttyError `peer-misbehaved`.
   */
  mustBe(asked: ShapingProfile | undefined): void {
    if (this.#given !== asked)
      throw new SealttyError("peer-misbehaved", "The guest goes on without shaping its traffic");
  }
}
