// Evidence in a file, with no guest behind it: the time to judge it by, and what it can be held against.

import { type Commitment, bareCommitment, commitmentOfFile } from "../protocol/attestation/commitment.ts";
import { SealttyError } from "../protocol/errors.ts";
import type { KeptEvidence } from "./evidence-file.ts";
import type { Input } from "./options.ts";
import type { Services } from "./services.ts";

export const EVIDENCE_OPTION = {
  name: "evidence",
  value: "FILE",
  help: "kept by inspect --save-evidence, or a bare SNP report or TDX quote",
} as const;

export const AT_OPTION = {
  name: "at",
  value: "TIME",
  help: "judge validity as of this time, e.g. 2026-06-01T00:00:00Z; default now",
} as const;

/** @returns `now` in ms since 1970; words for what that leaves open. @throws SealttyError `bad-config`. */
export function timeOfJudgement(
  input: Pick<Input, "text">,
  services: Pick<Services, "wallTime">,
): { now: number; leftOpen: readonly string[] } {
  const text = input.text("at");
  if (text === undefined) return { now: services.wallTime(), leftOpen: [] };
  const now = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(now))
    throw new SealttyError("bad-config", "--at takes a UTC time such as 2026-06-01T00:00:00Z");
  const words = `Validity was judged as of ${new Date(now).toISOString()}, as you asked, not now`;
  return { now, leftOpen: [words] };
}

/** @param reportData - 64 bytes that a bare report has to carry; undefined where nothing is known. */
export function commitmentOfKept(
  { context, at }: KeptEvidence,
  reportData: Uint8Array | undefined,
  { suite }: Pick<Services, "suite">,
): Commitment {
  if (context === undefined) return bareCommitment(reportData);
  if (reportData !== undefined) {
    throw new SealttyError(
      "bad-config",
      "--report-data is for bare reports: this file says what it was made for",
    );
  }
  return commitmentOfFile(suite, context, at === undefined ? "" : `, fetched ${at} as the file says`);
}
