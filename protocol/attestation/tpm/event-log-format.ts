// The firmware's event log, parsed and replayed: that of a TPM, and that of TDX (CCEL), which has the same shape.
// TCG PC Client Platform Firmware Profile §10; UEFI 2.10 §38.4 (CC measurement event log)

import { concat, isZero } from "../../bytes.ts";
import { SealttyError } from "../../errors.ts";
import { MAX_EVENT_LOG } from "../../limits.ts";
import { LittleEndianReader, startsWith } from "../little-endian.ts";
import { BANKS, type BankName, MAX_PCR, bankOfAlgorithm } from "./pcr.ts";

const WHAT = "Event log";
/** The longest log among the samples has 116: each event costs hashing before any policy was met. */
const MAX_EVENTS = 1024;
const MAX_ALGORITHMS = 16;
export const EV_NO_ACTION = 3;

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
  const reader = new LittleEndianReader(bytes, WHAT);
  // Both formats begin with an event of the old shape; only the new one says so in its data.
  reader.u32(); // PCR 0
  const type = reader.u32();
  const digest = reader.bytes(20);
  const header = reader.bytes(reader.u32());
  if (type !== EV_NO_ACTION || !startsWith(header, "Spec ID Event03\0")) {
    if (type <= 0x13 || (type >= 0x80000000 && type <= 0x800000ff)) return { format: "legacy-sha1" };
    return fail("begins with neither of the known headers");
  }
  if (!isZero(digest)) fail("has a digest in its header");
  const sizes = parseAlgorithms(header);

  const events: LogEvent[] = [];
  const padding = startOfPadding(bytes);
  while (reader.remaining > 0 && reader.offset < padding) {
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
      const value = reader.bytes(size);
      const bank = bankOfAlgorithm(alg);
      if (bank === undefined) continue; // an SM3 bank, say: its length is known, nobody asks for it
      if (digests.has(bank)) fail("has two digests of one algorithm in an event");
      digests.set(bank, value);
    }
    events.push({ index, type: eventType, digests, data: reader.bytes(reader.u32()) });
  }
  const banks = [...sizes.keys()].map(bankOfAlgorithm).filter((bank) => bank !== undefined);
  return { format: "crypto-agile", banks, events };
}

/** TCG_EfiSpecIdEvent. @returns digest sizes by TPM_ALG_ID. */
function parseAlgorithms(header: Uint8Array): Map<number, number> {
  const reader = new LittleEndianReader(header, WHAT);
  reader.bytes(24); // signature, platform class, version, size of UINTN
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
  reader.bytes(reader.u8()); // vendor information
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

function fail(problem: string): never {
  throw new SealttyError("peer-misbehaved", `${WHAT} ${problem}`);
}

/**
 * Firmware hands out a whole buffer: what was never written is all FF or all zero.
 * @returns where that run begins; found once, or a log of zeros would cost its square.
 */
function startOfPadding(bytes: Uint8Array): number {
  const last = bytes.at(-1);
  let start = bytes.length;
  if (last !== 0 && last !== 0xff) return start;
  while (start > 0 && bytes[start - 1] === last) start--;
  return start;
}
