// `sealttyd provision-wait`: holds cloud-init back on a first boot until the owner's seed is there, and lets it run only then.

import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import type { Clock } from "../../protocol/clock.ts";
import { nodeClock } from "../../node/clock.ts";
import { errorCode } from "../../node/socket-pipe.ts";
import { DEFAULT_CONFIG_FILE, type ProvisionConfig, SEED_DIRECTORY, readServerConfig } from "../config.ts";
import { type Log, createLog } from "../log.ts";
import { PROVISION_WAIT, givenOptions, usageText } from "../options.ts";
import { findProgram } from "../sessions/launch.ts";
import { MAY_RUN, PINS, RUNTIME_CONFIG } from "./cloud-init.ts";
import { hasHadSeed, isProvisioned } from "./seed-files.ts";

const EXIT_MAY_RUN = 0;
const EXIT_STAYS_OFF = 1;
const EXIT_USAGE = 2;
const LOOK_AGAIN_MS = 500;
/** Bytes: real ones have some twenty. */
const MAX_SERIAL = 256;

/** Where things are; a test's are elsewhere. */
export interface WaitPlaces {
  readonly mayRun: string;
  readonly runtimeConfig: string;
  /** Where cloud-init looks, wherever the seed is. */
  readonly seedDirectory: string;
  /** SMBIOS's, as the kernel shows it. */
  readonly serial: string;
  /** Whether cloud-init has the program that it asks where the kernel shows none. */
  readonly hasDmidecode: () => boolean;
}

const PLACES: WaitPlaces = {
  mayRun: MAY_RUN,
  runtimeConfig: RUNTIME_CONFIG,
  seedDirectory: SEED_DIRECTORY,
  serial: "/sys/class/dmi/id/product_serial",
  hasDmidecode: () => findProgram("dmidecode") !== undefined,
};

/** @returns an exit status. */
export async function provisionWait(args: readonly string[]): Promise<number> {
  let file: string;
  try {
    const given = givenOptions(PROVISION_WAIT, args);
    if (given.has("help")) {
      process.stdout.write(usageText(PROVISION_WAIT));
      return EXIT_MAY_RUN;
    }
    file = given.text("config") ?? DEFAULT_CONFIG_FILE;
  } catch (error) {
    process.stderr.write(
      `sealttyd provision-wait: ${(error as Error).message}\n\n${usageText(PROVISION_WAIT)}`,
    );
    return EXIT_USAGE;
  }
  const log = createLog({ level: "info" });
  try {
    const { provision } = await readServerConfig(file);
    if (provision === undefined) throw new Error("there is no [provision] in the configuration");
    const outcome = await waitForSeed(provision, PLACES, { log, clock: nodeClock });
    if (outcome === "timeout" && provision.atTimeout === "power-off") powerOff(log);
    return outcome === "may-run" ? EXIT_MAY_RUN : EXIT_STAYS_OFF;
  } catch (error) {
    log.error("cloud-init stays off", { why: error instanceof Error ? error.message : "unknown" });
    return EXIT_STAYS_OFF;
  }
}

/** Only "may-run" leaves `mayRun` behind. @throws Error where something is not as it has to be. */
export async function waitForSeed(
  { directory, state, waitSeconds }: ProvisionConfig,
  places: WaitPlaces,
  { log, clock }: { readonly log: Log; readonly clock: Clock },
): Promise<"may-run" | "has-had-it" | "timeout"> {
  fs.rmSync(places.mayRun, { force: true });
  requireQuietSerial(places);
  const until = clock.now() + waitSeconds * 1000;
  let said = false;
  while (!isProvisioned({ directory, state })) {
    if (hasHadSeed(state)) {
      log.info("cloud-init stays off: this machine has had its seed, which is not there any more");
      return "has-had-it";
    }
    if (clock.now() >= until) {
      log.error("cloud-init stays off: no seed came in time", { seconds: waitSeconds });
      return "timeout";
    }
    if (!said) log.info("the boot waits for the owner's seed: sealtty provision", { seconds: waitSeconds });
    said = true;
    await new Promise<void>((resolve) => void clock.after(LOOK_AGAIN_MS, resolve));
  }
  leadTo(directory, places.seedDirectory);
  writeAnew(places.runtimeConfig, PINS, 0o644);
  writeAnew(places.mayRun, "", 0o600);
  log.info("cloud-init may run, with the owner's seed");
  return "may-run";
}

/**
 * NoCloud merges what the serial number says with the seed, the instance-id among it: another one has all of the seed carried out again.
 * @throws Error where it speaks to cloud-init, or cannot be judged.
 */
function requireQuietSerial({ serial, hasDmidecode }: WaitPlaces): void {
  const bytes = readSerial(serial);
  if (bytes === undefined) {
    if (hasDmidecode())
      throw new Error("the kernel shows no SMBIOS serial number, and dmidecode, which is here, may find one");
    return;
  }
  if (bytes.length > MAX_SERIAL)
    throw new Error(`the SMBIOS serial number has more than ${MAX_SERIAL} bytes: it is not judged`);
  // What is no plain text cloud-init does not take from the kernel, and asks dmidecode.
  const text = bytes.toString("latin1");
  if (!/^[\x20-\x7e]*\n?$/.test(text))
    throw new Error("the SMBIOS serial number is no plain text: it is not judged");
  if (/ds=nocloud/i.test(text))
    throw new Error("the SMBIOS serial number, which is the host's, has ds=nocloud for cloud-init");
}

/** @returns one byte more than is judged, at most; undefined where there is none. @throws the system's error. */
function readSerial(file: string): Buffer | undefined {
  let fd: number;
  try {
    fd = fs.openSync(file, "r");
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
  try {
    const buffer = Buffer.alloc(MAX_SERIAL + 1);
    return buffer.subarray(0, fs.readSync(fd, buffer));
  } finally {
    fs.closeSync(fd);
  }
}

/** A seed that is elsewhere is one by a link. @throws Error where another one is in its place. */
function leadTo(directory: string, seedDirectory: string): void {
  if (directory === seedDirectory) return;
  const found = fs.lstatSync(seedDirectory, { throwIfNoEntry: false });
  if (found !== undefined && !found.isSymbolicLink())
    throw new Error(`there is a seed in ${seedDirectory} that is not the owner's: take it out of the image`);
  fs.mkdirSync(path.dirname(seedDirectory), { recursive: true });
  fs.rmSync(seedDirectory, { force: true });
  fs.symlinkSync(directory, seedDirectory);
}

/** Nothing that was there is written into. */
function writeAnew(file: string, text: string, mode: number): void {
  fs.mkdirSync(path.dirname(file), { recursive: true });
  const unfinished = `${file}.sealtty-new`;
  fs.rmSync(unfinished, { force: true });
  fs.writeFileSync(unfinished, text, { flag: "wx", mode });
  fs.renameSync(unfinished, file);
}

function powerOff(log: Log): void {
  const systemctl = findProgram("systemctl");
  const done = systemctl !== undefined && spawnSync(systemctl, ["poweroff", "--no-block"]).status === 0;
  if (!done) log.error("the machine could not be powered off");
}
