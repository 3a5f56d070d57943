// One record of the kernel's log, as /dev/kmsg has it: "LEVEL,NUMBER,MICROSECONDS,FLAGS[,…];TEXT" and, a line each, " NAME=VALUE".
// Source: Linux, Documentation/ABI/testing/dev-kmsg. What is in it may be the host's: names of devices, contents of tables.

import { SealttyError } from "../errors.ts";
import { MAX_KERNEL_RECORD } from "../limits.ts";

export const LEVELS = ["emerg", "alert", "crit", "err", "warn", "notice", "info", "debug"] as const;
export type Level = (typeof LEVELS)[number];

/** As syslog(3) numbers them. */
const FACILITIES = [
  "kern",
  "user",
  "mail",
  "daemon",
  "auth",
  "syslog",
  "lpr",
  "news",
  "uucp",
  "cron",
  "authpriv",
  "ftp",
] as const;

export interface KernelRecord {
  /** Counts from 0 since power-on: what is left out was lost. */
  readonly number: number;
  readonly level: Level;
  /** "kern" of the kernel itself; of what programs wrote there, theirs: a name, or a number that has none. */
  readonly facility: string;
  /** µs since power-on. */
  readonly time: number;
  /** It goes on where the record before stopped. */
  readonly continues: boolean;
  /** Anything: to be made printable before it is shown. May have several lines. */
  readonly text: string;
  /** SUBSYSTEM, DEVICE and the like; anything as well. */
  readonly fields: readonly (readonly [name: string, value: string])[];
}

/** 16 digits are below 2^53 by themselves, or refused below. */
const HEAD = /^(\d{1,9}),(\d{1,16}),(\d{1,16}),([-c+])(?:,[^,]{1,64}){0,8}$/;
const MAX_HEAD = 600;

/** @throws SealttyError `peer-misbehaved` on what no kernel writes. */
export function parseKernelRecord(bytes: Uint8Array): KernelRecord {
  if (bytes.length > MAX_KERNEL_RECORD) throw misbehaved("is too long");
  const split = bytes.indexOf(SEMICOLON);
  if (split < 0 || split > MAX_HEAD) throw misbehaved("has no head");
  const [whole, prefix = "", number = "", time = "", flag] =
    HEAD.exec(plain.decode(bytes.subarray(0, split))) ?? [];
  if (whole === undefined) throw misbehaved("has a malformed head");
  const priority = Number(prefix);
  const level = LEVELS[priority % LEVELS.length];
  const facility = Math.floor(priority / LEVELS.length);
  if (level === undefined) throw misbehaved("has no level");
  const [text = "", ...rest] = lines(bytes.subarray(split + 1));
  return {
    number: safe(number),
    level,
    facility: FACILITIES[facility] ?? String(facility),
    time: safe(time),
    continues: flag === "+",
    text,
    fields: rest.map((line) => {
      const equals = line.indexOf("=");
      if (!line.startsWith(" ") || equals < 2) throw misbehaved("has a malformed field");
      return [line.slice(1, equals), line.slice(equals + 1)] as const;
    }),
  };
}

const SEMICOLON = 0x3b;
const BACKSLASH = 0x5c;
const NEWLINE = 0x0a;
const plain = new TextDecoder("latin1");
/** What is no UTF-8 is shown as U+FFFD. */
const lenient = new TextDecoder("utf-8", { ignoreBOM: true });

/** Lines whose \xNN, which the kernel writes for all but printable ASCII, are bytes again; the last one's end is not needed. */
function lines(bytes: Uint8Array): string[] {
  const found: string[] = [];
  let line: number[] = [];
  const finish = (): void => {
    found.push(lenient.decode(Uint8Array.from(line)));
    line = [];
  };
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i] as number;
    if (byte === NEWLINE) {
      finish();
      continue;
    }
    const escaped = byte === BACKSLASH ? byteOf(bytes, i + 1) : undefined;
    if (escaped !== undefined) i += 3;
    line.push(escaped ?? byte);
  }
  if (line.length > 0 || found.length === 0) finish();
  return found;
}

/** @param at - where an "x" should stand, with two hex digits behind it. */
function byteOf(bytes: Uint8Array, at: number): number | undefined {
  const text = plain.decode(bytes.subarray(at, at + 3));
  return /^x[0-9a-f]{2}$/.test(text) ? Number.parseInt(text.slice(1), 16) : undefined;
}

function safe(digits: string): number {
  const value = Number(digits);
  if (!Number.isSafeInteger(value)) throw misbehaved("holds a number that is too large");
  return value;
}

function misbehaved(problem: string): SealttyError {
  return new SealttyError("peer-misbehaved", `Record of the kernel's log ${problem}`);
}
