// The owner's seed on its way to cloud-init: written whole or not at all, for root's eyes, and once.

import { createHash, randomBytes } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { SealttyError } from "../../protocol/errors.ts";
import type { Seed } from "../../protocol/provision/seed.ts";
import { errorCode } from "../../node/socket-pipe.ts";

export interface SeedPlaces {
  /** Where cloud-init's NoCloud looks: becomes exactly the seed. */
  readonly directory: string;
  /** File that remembers that this machine has its seed, and which; on a disk that the host cannot roll back or read. */
  readonly state: string;
  /** Whether another seed may take the place of one that was handed over. */
  readonly again: boolean;
}

/** Of a seed, in the order in which they are digested. */
const FILES = ["meta-data", "network-config", "user-data"] as const;
const STATE_VERSION = 1;
const MAX_STATE = 4096;
const PRIVATE_FILE = 0o600;
const PRIVATE_DIRECTORY = 0o700;

/** This machine has its seed, and the configuration allows no other. */
export class AlreadyProvisioned extends Error {
  override readonly name = "AlreadyProvisioned";
}

/**
 * A crash at any moment leaves no seed that counts (isProvisioned): the state, which has its digest, is written last.
 * @throws AlreadyProvisioned; SealttyError `device-unavailable` while another one is being written; the system's error.
 */
export function provisionOnce(seed: Seed, { directory, state, again }: SeedPlaces): void {
  const unlock = lock(`${state}.lock`);
  try {
    if (!again && readState(state) !== undefined)
      throw new AlreadyProvisioned(
        "this machine has its seed already, and [provision] again = true is not in its sealttyd.toml",
      );
    const files: Readonly<Record<(typeof FILES)[number], Uint8Array | undefined>> = {
      "user-data": seed.userData,
      "meta-data": seed.metaData ?? ownMetaData(seed),
      "network-config": seed.networkConfig,
    };
    requireSeedsPlace(directory);
    const parent = path.dirname(directory);
    fs.mkdirSync(parent, { recursive: true, mode: 0o755 });
    const unfinished = `${directory}.${randomBytes(6).toString("hex")}.new`;
    fs.mkdirSync(unfinished, { mode: PRIVATE_DIRECTORY });
    try {
      for (const name of FILES) {
        const bytes = files[name];
        if (bytes !== undefined) writeNew(path.join(unfinished, name), bytes);
      }
      sync(unfinished);
      replaceDirectory(unfinished, directory);
    } catch (error) {
      fs.rmSync(unfinished, { recursive: true, force: true });
      throw error;
    }
    sync(parent);
    writeState(state, digestOf(FILES.map((name) => files[name])));
  } finally {
    unlock();
  }
}

/** Whether the seed there is, to the last byte, what was handed over. @throws the system's error, but where nothing is there. */
export function isProvisioned({ directory, state }: Pick<SeedPlaces, "directory" | "state">): boolean {
  const said = readState(state);
  if (said === undefined) return false;
  try {
    const names = fs.readdirSync(directory);
    // Another file (vendor-data) would be somebody else's word to cloud-init.
    if (!names.every((name) => FILES.some((each) => each === name))) return false;
    return (
      said ===
      digestOf(FILES.map((name) => (names.includes(name) ? readRegular(directory, name) : undefined)))
    );
  } catch (error) {
    if (errorCode(error) === "ENOENT") return false;
    throw error;
  }
}

/** Whether there was one, wherever it is now. @throws as isProvisioned(). */
export function hasHadSeed(state: string): boolean {
  return readState(state) !== undefined;
}

/** Without an instance-id cloud-init takes no seed; a new one for each user-data, so that it is carried out. */
function ownMetaData({ userData }: Seed): Uint8Array {
  const id = createHash("sha256").update(userData).digest("hex").slice(0, 16);
  return Buffer.from(`instance-id: sealtty-${id}\n`);
}

/** @param parts - undefined: there is no such file. @returns hex. */
function digestOf(parts: readonly (Uint8Array | undefined)[]): string {
  const hash = createHash("sha256");
  for (const part of parts) {
    hash.update(part === undefined ? "-" : `${part.length}:`);
    if (part !== undefined) hash.update(part);
  }
  return hash.digest("hex");
}

/** @returns the digest of the seed that was handed over; undefined where none was. @throws Error where it is not of our making. */
function readState(file: string): string | undefined {
  let text: string;
  try {
    if (fs.statSync(file).size > MAX_STATE) throw damaged();
    text = fs.readFileSync(file, "utf8");
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
  // One that cannot be read is no reason to take a second seed.
  const [, version, digest] = /^version = (\d+)\nseed = "([0-9a-f]{64})"\n$/.exec(text) ?? [];
  if (digest === undefined || Number(version) !== STATE_VERSION) throw damaged();
  return digest;
}

const damaged = (): SealttyError =>
  new SealttyError("device-unavailable", "the file that remembers this machine's seed is damaged");

function writeState(file: string, digest: string): void {
  const unfinished = `${file}.new`;
  fs.rmSync(unfinished, { force: true });
  writeNew(unfinished, Buffer.from(`version = ${STATE_VERSION}\nseed = "${digest}"\n`));
  fs.renameSync(unfinished, file);
  sync(path.dirname(file));
}

function writeNew(file: string, bytes: Uint8Array): void {
  const fd = fs.openSync(file, "wx", PRIVATE_FILE);
  try {
    fs.writeFileSync(fd, bytes);
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
}

function readRegular(directory: string, name: string): Uint8Array {
  const fd = fs.openSync(path.join(directory, name), fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW);
  try {
    return fs.readFileSync(fd);
  } finally {
    fs.closeSync(fd);
  }
}

/** What gives way is a seed, and never, by a slip in the configuration, /etc. @throws SealttyError `bad-config`. */
function requireSeedsPlace(directory: string): void {
  try {
    const names = fs.readdirSync(directory);
    if (names.every((name) => name === "vendor-data" || FILES.some((each) => each === name))) return;
  } catch (error) {
    if (errorCode(error) === "ENOENT") return;
    if (errorCode(error) !== "ENOTDIR") throw error;
  }
  throw new SealttyError(
    "bad-config",
    "where the seed is to be there is something that is none: see [provision] directory",
  );
}

/** What was there (an image's own seed, or an earlier one) gives way. */
function replaceDirectory(from: string, to: string): void {
  const old = `${from}.old`;
  try {
    fs.renameSync(to, old);
  } catch (error) {
    if (errorCode(error) !== "ENOENT") throw error;
  }
  fs.renameSync(from, to);
  fs.rmSync(old, { recursive: true, force: true });
}

function sync(directory: string): void {
  const fd = fs.openSync(directory, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY);
  try {
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
}

/** @returns unlocks. @throws SealttyError `device-unavailable` where somebody who lives holds it. */
function lock(file: string): () => void {
  fs.mkdirSync(path.dirname(file), { recursive: true, mode: PRIVATE_DIRECTORY });
  const own = `${file}.${process.pid}`;
  fs.rmSync(own, { force: true });
  writeNew(own, Buffer.from(markOf(process.pid) ?? ""));
  try {
    for (let attempt = 0; attempt < 2; attempt++) {
      try {
        fs.linkSync(own, file); // there at once with what is in it, or not at all
        return () => fs.rmSync(file, { force: true });
      } catch (error) {
        if (errorCode(error) !== "EEXIST") throw error;
      }
      const mark = fs.readFileSync(file, "utf8");
      if (mark === markOf(Number.parseInt(mark, 10))) break;
      fs.rmSync(file, { force: true }); // whoever it was has crashed, or the machine was started anew
    }
  } finally {
    fs.rmSync(own, { force: true });
  }
  throw new SealttyError("device-unavailable", "another seed is being written at this moment");
}

/** A process, told apart from later ones of its number, and from those of other boots. @returns undefined where it is gone. */
function markOf(pid: number): string | undefined {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, "latin1");
    // Behind the name, which may hold anything: the 20th field is the start's time (proc(5)).
    const started = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "";
    const boot = fs.readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim();
    return `${pid} ${started} ${boot}`;
  } catch {
    return undefined;
  }
}
