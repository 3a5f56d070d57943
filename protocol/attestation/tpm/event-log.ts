// A firmware's event log compared with quoted registers: PCRs of a TPM, RTMRs of TDX.
// Everything in it is the guest's word until a replay reproduces a quoted register; then the digests and their order are
// proven, but the event types stay the log's word, and text is proven only where it is what was hashed (`textProven`).

import { equalBytes, isZero, toHex } from "../../bytes.ts";
import { SealttyError } from "../../errors.ts";
import { EV_NO_ACTION, type LogEvent, parseEventLog, replayEvents } from "./event-log-format.ts";
import { eventTypeName, textOfEvent } from "./event-text.ts";
import type { BankName, PcrValue } from "./pcr.ts";

type Hash = (message: Uint8Array) => Uint8Array;

/** One event, fit for showing. */
export interface EventLine {
  /** The log's own number: the PCR; in a CC event log 0 for MRTD, 1 to 4 for RTMR 0 to 3. */
  readonly index: number;
  /** "PCR 4", "RTMR 1", "MRTD". */
  readonly register: string;
  /** `EV_…`, or `unknown 0x…`. */
  readonly type: string;
  /** Hex; empty where the event has none for the bank. */
  readonly digest: string;
  /** Printable ASCII, escaped and cut: still the guest's words. */
  readonly text: string;
  /** Replay of the log gave the quoted value of this register. */
  readonly verified: boolean;
  /** `verified`, and the digest is that of the event's data: the text itself was measured. */
  readonly textProven: boolean;
}

/** Registers are numbered as the hardware does: PCR 0 to 23, RTMR 0 to 3. */
export interface EventLogReport {
  /** Why nothing of it is verified: a sentence. Undefined where some register was reproduced. */
  readonly problem: string | undefined;
  /** Quoted registers that the log reproduces. */
  readonly reproduced: readonly number[];
  /** Quoted registers with events whose replay gives another value (other software measured into them later, or it lies). */
  readonly differing: readonly number[];
  /** Quoted registers that hold something although the log has no event for them. */
  readonly uncovered: readonly number[];
  /** Events under reproduced registers. */
  readonly proven: number;
  /** Made when first asked for: hashing what the events say takes its time, and only showing them needs it. */
  readonly events: readonly EventLine[];
}

/** A register as the log names it, as the hardware numbers it, and its quoted value. */
interface Quoted {
  readonly index: number;
  readonly number: number;
  readonly value: Uint8Array;
}

/**
 * Compares a TPM's log with quoted PCRs. Never throws on a bad log: the report says what is wrong with it.
 * @param quoted - values that the quote's signature covers. @param hash - that of `bank`.
 */
export function reportEventLog(
  log: Uint8Array,
  quoted: readonly PcrValue[],
  bank: BankName,
  hash: Hash,
): EventLogReport {
  const values = quoted
    .filter((value) => value.bank === bank)
    .map(({ index, value }) => ({ index, number: index, value }));
  return compare(log, values, bank, hash, { highest: 23, register: (index) => `PCR ${index}`, kind: "PCR" });
}

const CC_REGISTERS = ["MRTD", "RTMR 0", "RTMR 1", "RTMR 2", "RTMR 3"];

/**
 * Compares a CC event log (the ACPI table CCEL's) with the RTMRs of a TD quote. Its register 0 is MRTD, which is not
 * extended: no event for it is ever verified. Never throws on a bad log.
 * @param rtmrs - RTMR 0 to 3, 48 bytes each, covered by the quote's signature. @param hash - SHA-384.
 */
export function reportCcEventLog(log: Uint8Array, rtmrs: readonly Uint8Array[], hash: Hash): EventLogReport {
  const values = rtmrs.map((value, number) => ({ index: number + 1, number, value }));
  return compare(log, values, "sha384", hash, {
    highest: 4,
    register: (index) => CC_REGISTERS[index] ?? "",
    kind: "RTMR",
  });
}

interface Registers {
  /** Highest number that the log may name. */
  readonly highest: number;
  readonly register: (index: number) => string;
  readonly kind: "PCR" | "RTMR";
}

function compare(
  log: Uint8Array,
  quoted: readonly Quoted[],
  bank: BankName,
  hash: Hash,
  { highest, register, kind }: Registers,
): EventLogReport {
  const nothing = { reproduced: [], differing: [], uncovered: [], proven: 0, events: [] };
  try {
    const parsed = parseEventLog(log);
    if (parsed.format === "empty") return { ...nothing, problem: "the guest sent no event log" };
    if (parsed.format === "legacy-sha1")
      return { ...nothing, problem: "the event log has SHA-1 digests only" };
    if (parsed.events.some((event) => event.index > highest))
      return { ...nothing, problem: "the event log is malformed" };
    const asked = new Set(quoted.map(({ index }) => index));
    const replayed = replayEvents(
      parsed.events.filter(({ index }) => asked.has(index)),
      bank,
      hash,
    );
    const reproduced = new Map<number, number>();
    const differing: number[] = [];
    const uncovered: number[] = [];
    for (const { index, number, value } of quoted) {
      const expected = replayed.get(index);
      if (expected === undefined) {
        if (!isZero(value)) uncovered.push(number);
      } else if (equalBytes(expected, value)) {
        reproduced.set(index, number);
      } else {
        differing.push(number);
      }
    }
    const isProven = (event: LogEvent) => reproduced.has(event.index) && event.type !== EV_NO_ACTION;
    let lines: readonly EventLine[] | undefined;
    return {
      problem: reproduced.size > 0 ? undefined : `the event log does not reproduce any quoted ${kind}`,
      reproduced: [...reproduced.values()],
      differing,
      uncovered,
      proven: parsed.events.filter(isProven).length,
      get events() {
        lines ??= parsed.events.map((event) =>
          describe(event, register(event.index), bank, hash, isProven(event)),
        );
        return lines;
      },
    };
  } catch (error) {
    if (!(error instanceof SealttyError)) throw error;
    return { ...nothing, problem: "the event log is malformed" };
  }
}

function describe(
  event: LogEvent,
  register: string,
  bank: BankName,
  hash: Hash,
  verified: boolean,
): EventLine {
  const digest = event.digests.get(bank);
  return {
    index: event.index,
    register,
    type: eventTypeName(event.type),
    digest: digest === undefined ? "" : toHex(digest),
    text: textOfEvent(event),
    verified,
    textProven: verified && digest !== undefined && equalBytes(hash(event.data), digest),
  };
}
