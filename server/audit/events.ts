// Every event of the audit, with its fields: this table is all that can be written, and docs/audit.md has it for people.
// No field holds what was typed, shown or copied, an argument behind argv[0], a variable, a path or a host.

import { utf8 } from "../../protocol/bytes.ts";
import type { Clock } from "../../protocol/clock.ts";
import { SealttyError } from "../../protocol/errors.ts";

/** Of the half that checks keys and starts programs, of its own knowledge. */
export const TRUSTED_EVENTS = {
  /** A key's signature was good. */
  "user-in": ["user", "key", "certificate", "authority"],
  /**
   * One was not, or nobody knows the key, which need not be theirs who offered it. `user` only where there is such a user: what
   * was typed may be a password.
   */
  "user-refused": ["user", "key", "why"],
  "program-start": [
    "program",
    "user",
    "key",
    "certificate",
    "authority",
    "service",
    "argv0",
    "forced",
    "recording",
  ],
  "program-refused": ["program", "user", "key", "certificate", "authority", "service", "why"],
  "program-end": ["program", "user", "service", "status", "signal", "seconds"],
  "recording-end": ["program", "recording", "bytes", "why"],
  /** More of the other half's, or of refusals, came than anything honest makes. */
  "events-dropped": ["count"],
} as const;

/** Of the half that carries bytes, which the host talks to: what it says of itself. */
export const CARRIER_EVENTS = {
  carried: ["program", "bytes_in", "bytes_out", "seconds"],
  "session-open": ["session", "program", "user", "key"],
  "session-attach": ["session", "user", "key", "mode"],
  "session-detach": ["session", "user", "mode"],
  "session-kill": ["session", "user", "key"],
  "session-end": ["session", "seconds"],
  "stream-open": ["stream", "user", "key", "target"],
  "stream-refused": ["user", "key", "target", "why"],
  "stream-end": ["stream", "user", "target", "bytes_in", "bytes_out", "seconds"],
  "listen-open": ["user", "key", "target"],
  "listen-refused": ["user", "key", "target", "why"],
  "listen-end": ["user", "target", "seconds"],
} as const;

const KINDS = {
  user: "text",
  /** Fingerprint, as ssh-keygen -l has it. */
  key: "text",
  /** Its serial number. */
  certificate: "text",
  /** Fingerprint of the key that signed the certificate. */
  authority: "text",
  service: "text",
  argv0: "text",
  /** The program is not what was asked for: the key, or its certificate, has a forced command. */
  forced: "flag",
  /** Name of a file. */
  recording: "text",
  why: "text",
  signal: "text",
  /** Beginning of a session's id. */
  session: "text",
  mode: "text",
  target: "text",
  /** Counts from 1 at each start of sealttyd. */
  program: "number",
  stream: "number",
  status: "number",
  seconds: "number",
  bytes: "number",
  bytes_in: "number",
  bytes_out: "number",
  count: "number",
} as const;

type Field = keyof typeof KINDS;
type ValueOf<F extends Field> = { text: string; number: number; flag: boolean }[(typeof KINDS)[F]];
type EventOf<Table extends Readonly<Record<string, readonly Field[]>>> = {
  [Name in keyof Table]: { readonly event: Name } & {
    readonly [F in Table[Name][number]]?: ValueOf<F> | undefined;
  };
}[keyof Table];

export type TrustedEvent = EventOf<typeof TRUSTED_EVENTS>;
export type CarrierEvent = EventOf<typeof CARRIER_EVENTS>;

/** Of a text, in characters: names that people choose have no bound of their own. */
const MAX_TEXT = 256;
const MAX_EVENT = 4096;

/** @param began - of the same clock. */
export function secondsSince(clock: Clock, began: number): number {
  return Math.round(clock.now() - began) / 1000;
}

export function boundedText(text: string): string {
  return text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT - 1)}…` : text;
}

export function carrierEventBody(event: CarrierEvent): Uint8Array {
  return utf8(JSON.stringify(event));
}

/** What the other half says, which may be the host's by now. @throws SealttyError `peer-misbehaved`. */
export function readCarrierEvent(body: Uint8Array): CarrierEvent {
  const fail = (): never => {
    throw new SealttyError("peer-misbehaved", "An event that is not in the table");
  };
  if (body.length > MAX_EVENT) fail();
  let said: unknown;
  try {
    said = JSON.parse(Buffer.from(body).toString("utf8"));
  } catch {
    fail();
  }
  if (typeof said !== "object" || said === null || Array.isArray(said)) return fail();
  const { event, ...fields } = said as Record<string, unknown>;
  if (typeof event !== "string" || !Object.hasOwn(CARRIER_EVENTS, event)) return fail();
  const allowed: readonly string[] = CARRIER_EVENTS[event as keyof typeof CARRIER_EVENTS];
  for (const [name, value] of Object.entries(fields)) {
    if (!allowed.includes(name)) fail();
    const kind = KINDS[name as Field];
    if (kind === "number" ? !(typeof value === "number" && value >= 0 && value <= 2 ** 53) : false) fail();
    if (kind === "text" && !(typeof value === "string" && value.length <= MAX_TEXT)) fail();
    if (kind === "flag" && typeof value !== "boolean") fail();
  }
  return said as CarrierEvent; // each field was looked at just now
}
