// The firmware's event log: parsed, replayed, compared with quoted registers. TCG PC Client Platform Firmware Profile §10.
// Everything in it is the guest's word until a replay reproduces a quoted register; then the digests and their order are
// proven, but the event types stay the log's word, and text is proven only where it is what was hashed (`textProven`).

import { concat, equalBytes, isZero, toHex } from "../../bytes.ts";
import { SealttyError } from "../../errors.ts";
import { MAX_EVENT_LOG } from "../../limits.ts";
import { BANKS, type BankName, MAX_PCR, type PcrValue, bankOfAlgorithm } from "./pcr.ts";

const MAX_EVENTS = 8192;
const MAX_ALGORITHMS = 16;
const MAX_TEXT = 160;
const EV_NO_ACTION = 3;

const EVENT_TYPES: ReadonlyMap<number, string> = new Map([
  [0x00, "EV_PREBOOT_CERT"],
  [0x01, "EV_POST_CODE"],
  [0x03, "EV_NO_ACTION"],
  [0x04, "EV_SEPARATOR"],
  [0x05, "EV_ACTION"],
  [0x06, "EV_EVENT_TAG"],
  [0x07, "EV_S_CRTM_CONTENTS"],
  [0x08, "EV_S_CRTM_VERSION"],
  [0x09, "EV_CPU_MICROCODE"],
  [0x0a, "EV_PLATFORM_CONFIG_FLAGS"],
  [0x0b, "EV_TABLE_OF_DEVICES"],
  [0x0c, "EV_COMPACT_HASH"],
  [0x0d, "EV_IPL"],
  [0x0e, "EV_IPL_PARTITION_DATA"],
  [0x0f, "EV_NONHOST_CODE"],
  [0x10, "EV_NONHOST_CONFIG"],
  [0x11, "EV_NONHOST_INFO"],
  [0x12, "EV_OMIT_BOOT_DEVICE_EVENTS"],
  [0x13, "EV_POST_CODE2"],
  [0x80000001, "EV_EFI_VARIABLE_DRIVER_CONFIG"],
  [0x80000002, "EV_EFI_VARIABLE_BOOT"],
  [0x80000003, "EV_EFI_BOOT_SERVICES_APPLICATION"],
  [0x80000004, "EV_EFI_BOOT_SERVICES_DRIVER"],
  [0x80000005, "EV_EFI_RUNTIME_SERVICES_DRIVER"],
  [0x80000006, "EV_EFI_GPT_EVENT"],
  [0x80000007, "EV_EFI_ACTION"],
  [0x80000008, "EV_EFI_PLATFORM_FIRMWARE_BLOB"],
  [0x80000009, "EV_EFI_HANDOFF_TABLES"],
  [0x8000000a, "EV_EFI_PLATFORM_FIRMWARE_BLOB2"],
  [0x8000000b, "EV_EFI_HANDOFF_TABLES2"],
  [0x8000000c, "EV_EFI_VARIABLE_BOOT2"],
  [0x80000010, "EV_EFI_HCRTM_EVENT"],
  [0x800000e0, "EV_EFI_VARIABLE_AUTHORITY"],
  [0x800000e1, "EV_EFI_SPDM_FIRMWARE_BLOB"],
  [0x800000e2, "EV_EFI_SPDM_FIRMWARE_CONFIG"],
]);
/** UEFI_VARIABLE_DATA: vendor GUID, then the lengths, then the name. */
const VARIABLE_EVENTS: ReadonlySet<number> = new Set([0x80000001, 0x80000002, 0x8000000c, 0x800000e0]);

export interface LogEvent {
  /** PCR; in a CC event log the measurement register. */
  readonly index: number;
  readonly type: number;
  readonly digests: ReadonlyMap<BankName, Uint8Array>;
  readonly data: Uint8Array;
}

export type EventLog =
  | { readonly format: "empty" }
  /** SHA-1 only, from before TPM 2.0's format: recognised, not parsed, worth nothing. */
  | { readonly format: "legacy-sha1" }
  | {
      readonly format: "crypto-agile";
      readonly banks: readonly BankName[];
      /** The header event left out. */
      readonly events: readonly LogEvent[];
    };

/** @throws SealttyError `peer-misbehaved` on anything that is not a whole log of at most 512 KiB. */
export function parseEventLog(bytes: Uint8Array): EventLog {
  if (bytes.length === 0) return { format: "empty" };
  if (bytes.length > MAX_EVENT_LOG) fail("is longer than 512 KiB");
  const reader = new LittleEndian(bytes);
  // Both formats begin with an event of the old shape; only the new one says so in its data.
  reader.u32(); // PCR 0
  const type = reader.u32();
  const digest = reader.take(20);
  const header = reader.take(reader.u32());
  if (type !== EV_NO_ACTION || !startsWith(header, "Spec ID Event03\0")) {
    if (type <= 0x13 || EVENT_TYPES.has(type)) return { format: "legacy-sha1" };
    return fail("begins with neither of the known headers");
  }
  if (!isZero(digest)) fail("has a digest in its header");
  const sizes = parseAlgorithms(header);

  const events: LogEvent[] = [];
  while (reader.remaining > 0 && !reader.restIsPadding()) {
    if (events.length >= MAX_EVENTS) fail("has too many events");
    const index = reader.u32();
    if (index > MAX_PCR) fail("names a register above 23");
    const eventType = reader.u32();
    const count = reader.u32();
    if (count > sizes.size) fail("has more digests in an event than its header announced");
    const digests = new Map<BankName, Uint8Array>();
    for (let i = 0; i < count; i++) {
      const alg = reader.u16();
      const size = sizes.get(alg);
      if (size === undefined) return fail("has a digest of an algorithm that its header did not announce");
      const value = reader.take(size);
      const bank = bankOfAlgorithm(alg);
      if (bank === undefined) continue; // an SM3 bank, say: its length is known, nobody asks for it
      if (digests.has(bank)) fail("has two digests of one algorithm in an event");
      digests.set(bank, value);
    }
    events.push({ index, type: eventType, digests, data: reader.take(reader.u32()) });
  }
  const banks = [...sizes.keys()].map(bankOfAlgorithm).filter((bank) => bank !== undefined);
  return { format: "crypto-agile", banks, events };
}

/** TCG_EfiSpecIdEvent. @returns digest sizes by TPM_ALG_ID. */
function parseAlgorithms(header: Uint8Array): Map<number, number> {
  const reader = new LittleEndian(header);
  reader.take(24); // signature, platform class, version, size of UINTN
  const count = reader.u32();
  if (count === 0 || count > MAX_ALGORITHMS) fail("announces an impossible number of algorithms");
  const sizes = new Map<number, number>();
  for (let i = 0; i < count; i++) {
    const alg = reader.u16();
    const size = reader.u16();
    const bank = bankOfAlgorithm(alg);
    if (size === 0 || size > 64 || (bank !== undefined && BANKS[bank].size !== size)) {
      fail("announces a digest of an impossible size");
    }
    if (sizes.has(alg)) fail("announces one algorithm twice");
    sizes.set(alg, size);
  }
  reader.take(reader.u8()); // vendor information
  if (reader.remaining !== 0) fail("has bytes left over in its header");
  return sizes;
}

/**
 * Extends every event of one bank in order. @returns register values for each register that has an event.
 * @throws SealttyError `peer-misbehaved` where an event lacks a digest of that bank.
 */
export function replayEvents(
  events: readonly LogEvent[],
  bank: BankName,
  hash: (message: Uint8Array) => Uint8Array,
): Map<number, Uint8Array> {
  const registers = new Map<number, Uint8Array>();
  let locality = 0;
  for (const event of events) {
    if (event.type === EV_NO_ACTION) {
      // The one such event that counts: PCR 0 does not begin with zero where a later locality started the TPM.
      if (event.index === 0 && event.data.length === 17 && startsWith(event.data, "StartupLocality\0")) {
        locality = event.data[16] as number;
        if (locality > 4 || registers.has(0)) fail("has an impossible startup locality");
      }
      continue;
    }
    const digest = event.digests.get(bank);
    if (digest === undefined) return fail("has an event without a digest for the replayed bank");
    let value = registers.get(event.index);
    if (value === undefined) {
      value = new Uint8Array(BANKS[bank].size);
      if (event.index >= 17 && event.index <= 22) value.fill(0xff); // Profile §3.3.3: set by a dynamic launch only
      if (event.index === 0) value[value.length - 1] = locality;
    }
    registers.set(event.index, hash(concat(value, digest)));
  }
  return registers;
}

/** One event, fit for showing. */
export interface EventLine {
  readonly pcr: number;
  /** `EV_…`, or `unknown 0x…`. */
  readonly type: string;
  /** Hex; empty where the event has none for the bank. */
  readonly digest: string;
  /** Printable ASCII, escaped and cut: still the guest's words. */
  readonly text: string;
  /** Replay of the log gave the quoted value of this PCR. */
  readonly verified: boolean;
  /** `verified`, and the digest is that of the event's data: the text itself was measured. */
  readonly textProven: boolean;
}

export interface EventLogReport {
  /** Why nothing of it is verified: a sentence. Undefined where some register was reproduced. */
  readonly problem: string | undefined;
  /** Quoted PCRs that the log reproduces. */
  readonly reproduced: readonly number[];
  /** Quoted PCRs with events whose replay gives another value (other software measured into them later, or it lies). */
  readonly differing: readonly number[];
  /** Quoted PCRs that hold something although the log has no event for them. */
  readonly uncovered: readonly number[];
  readonly events: readonly EventLine[];
}

/**
 * Compares a log with quoted register values. Never throws on a bad log: the report says what is wrong with it.
 * @param quoted - values that the quote's signature covers. @param hash - that of `bank`.
 */
export function reportEventLog(
  log: Uint8Array,
  quoted: readonly PcrValue[],
  bank: BankName,
  hash: (message: Uint8Array) => Uint8Array,
): EventLogReport {
  const nothing = { reproduced: [], differing: [], uncovered: [], events: [] };
  const values = quoted.filter((value) => value.bank === bank);
  try {
    const parsed = parseEventLog(log);
    if (parsed.format === "empty") return { ...nothing, problem: "the guest sent no event log" };
    if (parsed.format === "legacy-sha1")
      return { ...nothing, problem: "the event log has SHA-1 digests only" };
    const replayed = replayEvents(parsed.events, bank, hash);
    const reproduced: number[] = [];
    const differing: number[] = [];
    const uncovered: number[] = [];
    for (const { index, value } of values) {
      const expected = replayed.get(index);
      if (expected === undefined) {
        if (!isZero(value)) uncovered.push(index);
      } else if (equalBytes(expected, value)) {
        reproduced.push(index);
      } else {
        differing.push(index);
      }
    }
    const events = parsed.events.map((event) =>
      describe(event, bank, hash, reproduced.includes(event.index)),
    );
    const problem = reproduced.length > 0 ? undefined : "the event log does not reproduce any quoted PCR";
    return { problem, reproduced, differing, uncovered, events };
  } catch (error) {
    if (!(error instanceof SealttyError)) throw error;
    return { ...nothing, problem: "the event log is malformed" };
  }
}

function describe(
  event: LogEvent,
  bank: BankName,
  hash: (message: Uint8Array) => Uint8Array,
  reproduced: boolean,
): EventLine {
  const digest = event.digests.get(bank);
  const verified = reproduced && event.type !== EV_NO_ACTION;
  return {
    pcr: event.index,
    type: EVENT_TYPES.get(event.type) ?? `unknown 0x${event.type.toString(16)}`,
    digest: digest === undefined ? "" : toHex(digest),
    text: textOfEvent(event),
    verified,
    textProven: verified && digest !== undefined && equalBytes(hash(event.data), digest),
  };
}

function textOfEvent(event: LogEvent): string {
  if (VARIABLE_EVENTS.has(event.type)) return variableName(event.data) ?? "";
  if (event.type === 0x04) return "";
  return safeText(event.data);
}

function variableName(data: Uint8Array): string | undefined {
  try {
    const reader = new LittleEndian(data);
    reader.take(16);
    const characters = reader.u32();
    if (reader.u32() !== 0 || characters > 256) return undefined;
    reader.take(8);
    return safeText(reader.take(2 * characters));
  } catch {
    return undefined;
  }
}

/** Text of either width as printable ASCII, everything else as \xNN; empty where it is mostly not text. */
export function safeText(data: Uint8Array): string {
  if (data.length === 0) return "";
  const sample = data.subarray(0, 2 * MAX_TEXT);
  let zeros = 0;
  for (let i = 1; i < sample.length; i += 2) if (sample[i] === 0) zeros++;
  const step = zeros > 0 && zeros === Math.floor(sample.length / 2) ? 2 : 1; // UTF-16LE of ASCII
  let text = "";
  let printable = 0;
  let shown = 0;
  let end = sample.length;
  while (end > 0 && sample[end - 1] === 0) end--;
  for (let i = 0; i < end && text.length < MAX_TEXT; i += step) {
    const byte = sample[i] as number;
    shown++;
    if (byte >= 0x20 && byte <= 0x7e && byte !== 0x5c) {
      text += String.fromCharCode(byte);
      printable++;
    } else {
      text += `\\x${byte.toString(16).padStart(2, "0")}`;
    }
  }
  if (shown === 0 || printable / shown < 0.7) return "";
  return data.length > sample.length || text.length >= MAX_TEXT ? `${text.slice(0, MAX_TEXT)}...` : text;
}

function startsWith(bytes: Uint8Array, ascii: string): boolean {
  if (bytes.length < ascii.length) return false;
  for (let i = 0; i < ascii.length; i++) if (bytes[i] !== ascii.charCodeAt(i)) return false;
  return true;
}

function fail(problem: string): never {
  throw new SealttyError("peer-misbehaved", `Event log ${problem}`);
}

/** The log is the one little-endian structure here. */
class LittleEndian {
  readonly #bytes: Uint8Array;
  /** Where the run of one and the same byte begins that reaches to the end; found once, or zeros would cost their square. */
  readonly #lastRun: number;
  #at = 0;
  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    let start = bytes.length;
    while (start > 0 && bytes[start - 1] === bytes.at(-1)) start--;
    this.#lastRun = start;
  }
  get remaining(): number {
    return this.#bytes.length - this.#at;
  }
  u8(): number {
    return this.#number(1);
  }
  u16(): number {
    return this.#number(2);
  }
  u32(): number {
    return this.#number(4);
  }
  take(length: number): Uint8Array {
    if (length > this.remaining) fail("ends too early");
    const view = this.#bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    return view;
  }
  /** Firmware hands out a whole buffer: what was never written is all FF or all zero. */
  restIsPadding(): boolean {
    const first = this.#bytes[this.#at];
    return (first === 0 || first === 0xff) && this.#at >= this.#lastRun;
  }
  #number(size: number): number {
    const bytes = this.take(size);
    let value = 0;
    for (let i = size - 1; i >= 0; i--) value = value * 256 + (bytes[i] as number);
    return value;
  }
}
