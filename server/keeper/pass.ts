// What a front's connection to the keeper begins with: random bytes of the monitor's, which it tells that front and the keeper.

export const PASS_LENGTH = 16;
