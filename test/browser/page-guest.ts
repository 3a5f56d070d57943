// What a page is told of the guest in memory (test/support/session.ts) that it is to reach.

import type { PageGuest } from "../../cli/local-page-server.ts";
import { SIMULATED_POLICY_TEXT } from "../support/session.ts";

/** @param own - what a test has otherwise. */
export function pageGuest(own: Partial<PageGuest> = {}): PageGuest {
  return {
    address: "unix:/run/guest.sock",
    directUrl: undefined,
    policyText: SIMULATED_POLICY_TEXT,
    simulated: true,
    user: "operator",
    identity: "db-primary",
    encoding: "auto",
    obfuscate: "adaptive",
    ...own,
  };
}
