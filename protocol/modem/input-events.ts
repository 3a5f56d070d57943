// What a client's side gives to its screen protocol, and the pace of it: events, in steps.

/** As RFB has them: `mask` bit 0 left, 1 middle, 2 right; a relative position is that far from 0x7fff. */
export type InputEvent =
  | { readonly kind: "pointer"; readonly x: number; readonly y: number; readonly mask: number }
  /** @param code - a key of a PC's keyboard, scan code set 1; sent with keysym 0, so that no layout comes between. */
  | { readonly kind: "key"; readonly code: number; readonly down: boolean };

/** Events, and how long nothing may follow them, ms. */
export interface InputStep {
  readonly events: readonly InputEvent[];
  readonly rest: number;
}
