// Names of users' destinations, looked up by the system a few at a time: each lookup holds one of the four threads that this
// process also reads files with, for as long as a name server is silent, and nobody may keep those from the rest.

import dns from "node:dns";
import type { LookupFunction } from "node:net";
import { Places } from "../../node/places.ts";

const MAX_AT_ONCE = 2;

/** What it means everywhere, without asking. */
const LOCALHOST = [
  { address: "127.0.0.1", family: 4 },
  { address: "::1", family: 6 },
] as const;

/** @param resolve - in place of the system's, for tests. */
export function lookupInTurn(resolve: LookupFunction = dns.lookup): LookupFunction {
  const places = new Places(MAX_AT_ONCE);
  return (name, options, done) => {
    if (name.toLowerCase() === "localhost") {
      const found = LOCALHOST.filter(({ family }) => !options.family || options.family === family);
      const [first] = found;
      process.nextTick(() => {
        if (options.all === true || first === undefined) done(null, [...found]);
        else done(null, first.address, first.family);
      });
      return;
    }
    void places.use(
      () =>
        new Promise<void>((free) => {
          resolve(name, options, (error, address, family) => {
            free();
            done(error, address, family);
          });
        }),
    );
  };
}
