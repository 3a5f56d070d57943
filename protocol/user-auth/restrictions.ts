// What a user's key may be used for, beside what its user may.

export interface UserRestrictions {
  /** Run in place of whatever is asked for. */
  readonly command?: string;
}
