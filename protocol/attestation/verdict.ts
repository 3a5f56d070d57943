// One sentence that sums an appraisal up, and says no more than was proven.

import type { Policy } from "./policy.ts";
import type { Assurance } from "./verified-guest.ts";

/**
 * What evidence was held against: a connection that stands, one that a file describes, report data that somebody named,
 * or nothing.
 */
export type BoundTo = "connection" | "file" | "report-data" | "nothing";

export function verdictWords(
  assurance: Assurance,
  policy: Pick<Policy, "name" | "anyInstance">,
  boundTo: BoundTo,
): string {
  if (assurance === "simulated") return "This proves nothing: the evidence is simulated, anyone can make it";
  const where = AWAY[boundTo];
  if (where !== undefined) return `A machine that your policy accepts made this evidence, ${where}`;
  const guest = policy.anyInstance
    ? "A guest that runs what your policy accepts, but perhaps not the one you mean"
    : `This is your guest "${policy.name}", running what your policy accepts`;
  switch (assurance) {
    case "hardware":
      return `${guest}: the processor itself signed that this very connection ends inside it`;
    case "paravisor":
      return `${guest}: the processor vouches for the cloud's paravisor, and that for this very connection`;
    case "host-vouched":
      return `${guest}, as far as its host is honest: the host may run the TPM that signed`;
  }
}

/** No connection stands behind it: nothing may be said of one. */
const AWAY: Readonly<Record<BoundTo, string | undefined>> = {
  connection: undefined,
  file: "for the connection that the file describes, which may be long over",
  "report-data": "for whoever made the report data that you named",
  nothing: "some time, for somebody",
};

/** What stays open where no connection stands behind evidence. */
export const LEFT_OPEN: Readonly<Record<BoundTo, string | undefined>> = {
  connection: undefined,
  file: "Who had that connection, and when: the file says so itself",
  "report-data": "When it was made, and for whom, beyond the report data that you named",
  nothing: "Whom it was made for, and when: no report data was named",
};

export const BINDING_WORDS: Readonly<Record<BoundTo, string>> = {
  connection:
    "The evidence was made for this connection and no other: this key exchange, this nonce, this guest key",
  file: "The evidence was made for the connection that the file describes, and no other",
  "report-data": "The evidence carries the report data that you named",
  nothing: "",
};
