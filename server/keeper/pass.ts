// Where a front finds the keeper, and what its connection there begins with: random bytes of the monitor's, which it tells both.

export const PASS_LENGTH = 16;

/** The keeper of sessions, for one front. */
export interface KeeperPlace {
  readonly socket: string;
  /** PASS_LENGTH bytes. */
  readonly pass: Uint8Array;
}
