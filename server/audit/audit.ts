// Where events of the audit go: a line of the log each, and a line of the file where one is configured.

import { errorCode } from "../../node/socket-pipe.ts";
import type { Clock } from "../../protocol/clock.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { TokenBucket } from "../../protocol/session/token-bucket.ts";
import type { AuditConfig } from "../config/records.ts";
import { escapeText, type Log } from "../log.ts";
import { AuditFile } from "./audit-file.ts";
import { type CarrierEvent, readCarrierEvent, type TrustedEvent } from "./events.ts";

/** Of a half that carries bytes: more than an honest one says, however many programs a client starts. */
const CARRIER_EVENTS_PER_SECOND = 500;
const CARRIER_EVENTS_AT_ONCE = 5000;
/** What was refused, anybody can provoke: an honest front asks about no more keys (AuthTurns). */
const REFUSALS_PER_SECOND = 20;
const REFUSALS_AT_ONCE = 500;

/** Who says so: all of sealttyd in one process, or one of its halves. */
export type Speaker = "sealttyd" | "monitor" | Carrier;
/** Those without rights. */
export type Carrier = "front" | "keeper";

export interface AuditOptions {
  readonly config: AuditConfig;
  readonly log: Log;
  readonly speaker: Exclude<Speaker, Carrier>;
  readonly clock: Clock;
  /** Ms since 1970, UTC. */
  readonly wallTime: () => number;
}

export class Audit {
  readonly #options: AuditOptions;
  readonly #file: AuditFile | undefined;
  /** One each: a front's flood leaves the keeper's lines what they are. */
  readonly #carried = {
    front: new TokenBucket(CARRIER_EVENTS_PER_SECOND, CARRIER_EVENTS_AT_ONCE),
    keeper: new TokenBucket(CARRIER_EVENTS_PER_SECOND, CARRIER_EVENTS_AT_ONCE),
  };
  readonly #refusals = new TokenBucket(REFUSALS_PER_SECOND, REFUSALS_AT_ONCE);
  readonly #reopen = (): void => this.#file?.close();
  #dropped = 0;
  #failing = false;

  /** @throws SealttyError `device-unavailable` where the file is required and cannot be opened. */
  constructor(options: AuditOptions) {
    this.#options = options;
    const { file: path, required } = options.config;
    if (path === undefined) return;
    this.#file = new AuditFile(path);
    try {
      this.#file.open();
    } catch (error) {
      this.#complain(error);
      if (required) throw notKept();
    }
    process.on("SIGHUP", this.#reopen);
  }

  /** Before something is let happen. @throws SealttyError `device-unavailable` where it is required and cannot be kept. */
  before(event: TrustedEvent): void {
    if (!this.#write(event, this.#options.speaker) && this.#options.config.required) throw notKept();
  }

  /** Something has happened. */
  after(event: TrustedEvent | CarrierEvent): void {
    this.#write(event, this.#options.speaker);
  }

  /** Something was refused. */
  refused(event: TrustedEvent): void {
    this.#bounded(this.#refusals, event, this.#options.speaker);
  }

  /** What one of the halves without rights says. @throws SealttyError `peer-misbehaved`. */
  of(by: Carrier, body: Uint8Array): void {
    this.#bounded(this.#carried[by], readCarrierEvent(body), by);
  }

  close(): void {
    process.off("SIGHUP", this.#reopen);
    this.#file?.close();
  }

  #bounded(bucket: TokenBucket, event: TrustedEvent | CarrierEvent, by: Speaker): void {
    if (!bucket.take(this.#options.clock.now())) {
      this.#dropped++;
      return;
    }
    if (this.#dropped > 0) this.after({ event: "events-dropped", count: this.#dropped });
    this.#dropped = 0;
    this.#write(event, by);
  }

  /** @returns false where there is a file, and it did not take it. */
  #write({ event, ...fields }: TrustedEvent | CarrierEvent, by: Speaker): boolean {
    const { log, wallTime } = this.#options;
    const known = { event, by, ...fields };
    log.info("audit", known);
    if (this.#file === undefined) return true;
    try {
      this.#file.append(JSON.stringify({ time: new Date(wallTime()).toISOString(), ...known }));
      if (this.#failing) log.warn("the audit file can be written again");
      this.#failing = false;
      return true;
    } catch (error) {
      this.#complain(error);
      return false;
    }
  }

  /** Once, until it goes again. */
  #complain(error: unknown): void {
    if (this.#failing) return;
    this.#failing = true;
    const { log, config } = this.#options;
    log.error(
      config.required
        ? "THE AUDIT FILE CANNOT BE WRITTEN: nobody is let in, and no program is started, until it can"
        : "THE AUDIT FILE CANNOT BE WRITTEN: what happens until it can is only in this log",
      { file: escapeText(config.file ?? ""), why: errorCode(error) ?? "unknown error" },
    );
  }
}

const notKept = (): SealttyError =>
  new SealttyError(
    "device-unavailable",
    "The audit file of [audit] is required and cannot be written. Make room, or its directory.",
  );
