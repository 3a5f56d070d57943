// configfs-tsm in memory, as the kernel behaves (drivers/virt/coco/guest/report.c, fs/configfs/file.c): binary attributes
// are taken at close and their errors lost, every accepted write moves the generation, a report is made at the first read.

import path from "node:path";
import type { TsmFiles } from "../../../server/evidence/configfs-tsm.ts";

export function errno(code: string): Error {
  return Object.assign(new Error(`${code}: simulated`), { code });
}

interface Entry {
  inblob: Uint8Array | undefined;
  writes: number;
  reads: number;
  privlevel: number;
  service: string | undefined;
  outblob: Uint8Array | undefined;
  auxblob: Uint8Array | undefined;
}

export interface ConfigfsBehaviour {
  /** `undefined`: tsm.ko is loaded, and no driver behind it. */
  driver?: string | undefined;
  privlevelFloor?: number;
  /** Makes the report. An error it throws is what reading outblob gives. */
  report?(
    inblob: Uint8Array,
    privlevel: number,
    service: string | undefined,
  ): Uint8Array | Promise<Uint8Array>;
  /** "absent": there is no such attribute (TDX). */
  auxblob?: Uint8Array | "absent";
  /** Called before each operation; an error it throws is the operation's. */
  before?(operation: "mkdir" | "write" | "read", attribute: string): void | Promise<void>;
  /** Longest outblob that the kernel gives out. */
  outblobMax?: number;
  /** So many writes of inblob come to nothing, and nobody is told. */
  lostWrites?: number;
}

export class SimulatedConfigfs implements TsmFiles {
  readonly entries = new Map<string, Entry>();
  readonly directory: string;
  behaviour: ConfigfsBehaviour;
  /** Reports that the hardware made. */
  made = 0;
  directoriesMade = 0;

  constructor(directory: string, behaviour: ConfigfsBehaviour) {
    this.directory = directory;
    this.behaviour = behaviour;
  }

  async makeDirectory(directory: string): Promise<void> {
    await this.behaviour.before?.("mkdir", "");
    if (path.dirname(directory) !== this.directory) throw errno("ENOENT");
    if (this.behaviour.driver === undefined) throw errno("ENXIO");
    if (this.entries.has(directory)) throw errno("EEXIST");
    this.directoriesMade++;
    this.entries.set(directory, {
      inblob: undefined,
      writes: 0,
      reads: 0,
      privlevel: 0,
      service: undefined,
      outblob: undefined,
      auxblob: undefined,
    });
  }

  async removeDirectory(directory: string): Promise<void> {
    if (!this.entries.delete(directory)) throw errno("ENOENT");
  }

  async list(directory: string): Promise<string[]> {
    if (directory !== this.directory) throw errno("ENOENT");
    return [...this.entries.keys()].map((name) => path.basename(name));
  }

  async write(file: string, bytes: Uint8Array): Promise<void> {
    const attribute = path.basename(file);
    await this.behaviour.before?.("write", attribute);
    const entry = this.#entry(file);
    const text = Buffer.from(bytes).toString("latin1");
    if (attribute === "inblob") {
      if (bytes.length > 64) throw errno("EFBIG");
      if ((this.behaviour.lostWrites ?? 0) > 0) {
        this.behaviour.lostWrites = (this.behaviour.lostWrites ?? 0) - 1;
        return;
      }
      // At close: ->release(), whose result nobody gets.
      if (this.#advance(entry)) entry.inblob = bytes.slice();
      return;
    }
    if (attribute === "privlevel") {
      const level = Number(text);
      if (!Number.isInteger(level) || level < (this.behaviour.privlevelFloor ?? 0) || level > 3)
        throw errno("EINVAL");
      if (!this.#advance(entry)) throw errno("EBUSY");
      entry.privlevel = level;
      return;
    }
    if (attribute.startsWith("service_")) {
      if (!this.#advance(entry)) throw errno("EBUSY"); // even where the value is then refused
      if (attribute === "service_guid" && !/^[0-9a-f-]{36}$/.test(text)) throw errno("EINVAL");
      if (attribute === "service_provider") entry.service = text;
      return;
    }
    throw errno("ENOENT");
  }

  async read(file: string, limit: number): Promise<Uint8Array> {
    const attribute = path.basename(file);
    await this.behaviour.before?.("read", attribute);
    const entry = this.#entry(file);
    const bytes = await this.#value(entry, attribute);
    return bytes.slice(0, limit + 1);
  }

  /** What another process that guesses the name could do. */
  writeAsStranger(directory: string, inblob: Uint8Array): void {
    const entry = this.entries.get(directory);
    if (entry !== undefined && this.#advance(entry)) entry.inblob = inblob.slice();
  }

  async #value(entry: Entry, attribute: string): Promise<Uint8Array> {
    const text = (value: string | number) => new Uint8Array(Buffer.from(`${value}\n`));
    switch (attribute) {
      case "provider":
        if (this.behaviour.driver === undefined) throw errno("ENXIO");
        return text(this.behaviour.driver);
      case "generation":
        return text(entry.writes);
      case "privlevel_floor":
        return text(this.behaviour.privlevelFloor ?? 0);
      case "outblob":
      case "auxblob":
      case "manifestblob": {
        const { auxblob } = this.behaviour;
        if (attribute === "auxblob" && auxblob === "absent") throw errno("ENOENT");
        if (entry.inblob === undefined) throw errno("EINVAL");
        if (entry.outblob === undefined || entry.reads !== entry.writes) {
          const writes = entry.writes;
          entry.outblob =
            (await this.behaviour.report?.(entry.inblob, entry.privlevel, entry.service)) ?? entry.inblob;
          entry.auxblob = auxblob instanceof Uint8Array ? auxblob : undefined;
          entry.reads = writes;
          this.made++;
        }
        if (attribute === "manifestblob") return new Uint8Array(Buffer.from("manifest"));
        const value = attribute === "outblob" ? entry.outblob : (entry.auxblob ?? new Uint8Array());
        if (value.length > (this.behaviour.outblobMax ?? 32 * 1024)) throw errno("EFBIG");
        return value;
      }
      default:
        throw errno("ENOENT");
    }
  }

  #entry(file: string): Entry {
    const entry = this.entries.get(path.dirname(file));
    if (entry === undefined) throw errno("ENOENT");
    return entry;
  }

  /** try_advance_write_generation(), in 32 bits' place a count that a test can reach. */
  #advance(entry: Entry): boolean {
    if (entry.writes - entry.reads >= 8) return false;
    entry.writes++;
    return true;
  }
}

/** A report of 1184 bytes with its echo, VMPL and HOST_DATA; nobody signed it. */
export function snpReportOf(inblob: Uint8Array, vmpl: number, hostData = new Uint8Array(32)): Uint8Array {
  if (inblob.length !== 64) throw errno("EINVAL");
  const report = new Uint8Array(1184);
  report[0x30] = vmpl;
  report.set(inblob, 0x50);
  report.set(hostData, 0xc0);
  return report;
}

/** A quote's header and body in a buffer of 8000 bytes. */
export function tdxQuoteOf(inblob: Uint8Array, version: 4 | 5): Uint8Array {
  if (inblob.length !== 64) throw errno("EINVAL");
  const quote = new Uint8Array(8000);
  quote.set([version, 0, 2, 0, 0x81, 0, 0, 0]);
  const body = version === 4 ? 48 : 54;
  quote.set(inblob, body + 520);
  return quote;
}
