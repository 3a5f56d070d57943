// Reports through Linux's configfs-tsm (kernel 6.7 and later). Documentation/ABI/testing/configfs-tsm-report in the kernel.

import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { mkdir, open, readdir, rmdir } from "node:fs/promises";
import path from "node:path";
import { readAtMost } from "../../node/bounded-file.ts";
import { errorCode } from "../../node/socket-pipe.ts";
import type { Clock } from "../../protocol/clock.ts";
import { concat, toHex, utf8 } from "../../protocol/bytes.ts";
import { SNP_REPORT_SIZE } from "../../protocol/attestation/sev-snp/report.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { MAX_CERTIFICATE_TABLE } from "../../protocol/limits.ts";
import {
  type HardwareReport,
  type HardwareReporter,
  MAX_TDX_QUOTE,
  type Tee,
  checkReport,
  diceQuote,
} from "./hardware-report.ts";
import { Pacer } from "./pacer.ts";
import { reasonOf, unavailable } from "./unavailable.ts";

export const TSM_REPORTS = "/sys/kernel/config/tsm/report";
/** The kernel itself tries for a minute where the host throttles; a TDX host may need many seconds. */
export const REPORT_TIMEOUT_MS = 75_000;

/** What the kernel calls the driver behind each. */
const DRIVERS: Readonly<Record<Tee, string>> = { "sev-snp": "sev_guest", tdx: "tdx_guest" };
const ATTEMPTS = 5;
const RETRY_PAUSE_MS = 200;
const MAX_ATTRIBUTE = 128;
/** TPMT_PUBLIC and the like: what an SVSM's manifest holds. */
const MAX_MANIFEST = 4096;
const PRIVLEVEL_MAX = 3;

/** The file operations on configfs; errors carry the errno's name as `code`. */
export interface TsmFiles {
  makeDirectory(directory: string): Promise<void>;
  removeDirectory(directory: string): Promise<void>;
  list(directory: string): Promise<string[]>;
  /** One write, then close: configfs takes binary attributes at the close, and tells nobody whether it did. */
  write(file: string, bytes: Uint8Array): Promise<void>;
  /** To the end, but no more than `limit` + 1 bytes. */
  read(file: string, limit: number): Promise<Uint8Array>;
}

export const nodeTsmFiles: TsmFiles = {
  async makeDirectory(directory) {
    await mkdir(directory);
  },
  removeDirectory: (directory) => rmdir(directory),
  list: (directory) => readdir(directory),
  async write(file, bytes) {
    const handle = await open(file, constants.O_WRONLY);
    try {
      const { bytesWritten } = await handle.write(bytes, 0, bytes.length, null);
      if (bytesWritten !== bytes.length) throw new Error("the kernel took a part only");
    } finally {
      await handle.close();
    }
  },
  async read(file, limit) {
    const handle = await open(file, constants.O_RDONLY);
    try {
      return await readAtMost(handle, limit + 1);
    } finally {
      await handle.close();
    }
  },
};

/** A service of an SVSM, which reports in the guest's stead; its evidence has a verifier in no version yet. */
export interface TsmService {
  readonly provider: "svsm";
  readonly guid: string;
  readonly manifestVersion: number;
}

export interface TsmOptions {
  readonly tee: Tee;
  readonly clock: Clock;
  readonly files?: TsmFiles;
  readonly directory?: string;
  /** SEV-SNP: the VMPL to report for. */
  readonly vmpl?: number;
  readonly service?: TsmService;
  /** Milliseconds between the starts of two requests, at least. */
  readonly intervalMs: number;
  /** For one report with all its attempts. */
  readonly timeoutMs?: number;
  /** Whether a process lives; for tests. */
  readonly isAlive?: (pid: number) => boolean;
}

/** The attempt came to nothing, but another one may do better. */
class TryAgain extends SealttyError {
  constructor(what: string, next: string, cause?: unknown) {
    super("evidence-unavailable", `${what}. ${next}`, { cause });
  }
}

export interface TsmReport extends HardwareReport {
  /** What an SVSM says of its service; undefined without one. */
  readonly manifest: Uint8Array | undefined;
}

export class ConfigfsTsm implements HardwareReporter {
  readonly #options: TsmOptions;
  readonly #files: TsmFiles;
  readonly #directory: string;
  readonly #timeoutMs: number;
  readonly #pacer: Pacer;
  /** A read in the kernel cannot be called back: while one goes on, nothing else may be asked. */
  #running = false;

  constructor(options: TsmOptions) {
    this.#options = options;
    this.#files = options.files ?? nodeTsmFiles;
    this.#directory = options.directory ?? TSM_REPORTS;
    this.#timeoutMs = options.timeoutMs ?? REPORT_TIMEOUT_MS;
    this.#pacer = new Pacer(options.clock, options.intervalMs);
  }

  /** Removes what earlier processes of ours left behind when they were killed. Never throws. */
  async cleanUp(): Promise<void> {
    const isAlive = this.#options.isAlive ?? processLives;
    const names = await this.#files.list(this.#directory).catch(() => []);
    for (const name of names) {
      const pid = Number(/^sealtty-([0-9]{1,10})-[0-9a-f]{16}$/.exec(name)?.[1]);
      // This process has asked for nothing yet: one with its number is of an earlier boot or of another container's.
      if (Number.isNaN(pid) || (pid !== process.pid && isAlive(pid))) continue;
      await this.#files.removeDirectory(path.join(this.#directory, name)).catch(() => {});
    }
  }

  async close(): Promise<void> {}

  report(reportData: Uint8Array): Promise<TsmReport> {
    if (reportData.length !== 64) throw new SealttyError("api-misuse", "Report data are 64 bytes");
    return this.#pacer.run((turn) => this.#inTime(this.#withRetries(reportData, turn)));
  }

  async #inTime<T>(work: Promise<T>): Promise<T> {
    let stop = () => {};
    const late = new Promise<undefined>((resolve) => {
      stop = this.#options.clock.after(this.#timeoutMs, () => resolve(undefined));
    });
    try {
      const done = await Promise.race([work.then((value) => ({ value })), late]);
      if (done !== undefined) return done.value;
      work.catch(() => {}); // nobody waits for it any more
      throw unavailable(
        `The hardware gave no report in ${Math.round(this.#timeoutMs / 1000)} s`,
        "The host may throttle or ignore requests: see the guest's kernel log.",
      );
    } finally {
      stop();
    }
  }

  async #withRetries(reportData: Uint8Array, turn: () => Promise<void>): Promise<TsmReport> {
    if (this.#running) {
      throw unavailable(
        "An earlier request still has no answer",
        "The host may throttle or ignore requests: see the guest's kernel log.",
      );
    }
    this.#running = true;
    try {
      for (let attempt = 1; ; attempt++) {
        await turn();
        try {
          return await this.#attempt(reportData);
        } catch (error) {
          if (!(error instanceof TryAgain) || attempt >= ATTEMPTS) throw error;
        }
        const { clock } = this.#options;
        await new Promise<void>((resolve) => void clock.after(RETRY_PAUSE_MS * 2 ** attempt, resolve));
      }
    } finally {
      this.#running = false;
    }
  }

  /** In an entry of its own: nobody else's request can be taken for this one. */
  async #attempt(reportData: Uint8Array): Promise<TsmReport> {
    const entry = path.join(this.#directory, `sealtty-${process.pid}-${toHex(randomBytes(8))}`);
    try {
      await this.#files.makeDirectory(entry);
    } catch (cause) {
      throw makeFailed(cause, this.#options.tee);
    }
    try {
      return await this.#ask(entry, reportData);
    } finally {
      await this.#files.removeDirectory(entry).catch(() => {}); // the next start cleans up
    }
  }

  async #ask(entry: string, reportData: Uint8Array): Promise<TsmReport> {
    const { tee, vmpl, service } = this.#options;
    const driver = await this.#text(entry, "provider");
    if (driver !== DRIVERS[tee]) throw otherDriver(driver, tee);
    let writes = await this.#generation(entry);
    const set = async (attribute: string, value: Uint8Array): Promise<void> => {
      await this.#write(entry, attribute, value);
      writes++;
      // Whether the kernel took it shows here alone.
      if ((await this.#generation(entry)) !== writes) {
        throw new TryAgain(
          `The kernel did not take the ${attribute} of a report request`,
          "Another program may be using the same entry, or the hardware is busy: try again.",
        );
      }
    };
    if (vmpl !== undefined) {
      await this.#requireVmpl(entry, vmpl);
      await set("privlevel", utf8(String(vmpl)));
    }
    if (service !== undefined) {
      await set("service_provider", utf8(service.provider));
      await set("service_guid", utf8(service.guid));
      await set("service_manifest_version", utf8(String(service.manifestVersion)));
    }
    await set("inblob", reportData);
    const report = await this.#blob(entry, "outblob", tee === "tdx" ? MAX_TDX_QUOTE : SNP_REPORT_SIZE);
    const certificateTable = await this.#optionalBlob(entry, "auxblob", MAX_CERTIFICATE_TABLE);
    const manifest =
      service === undefined ? undefined : await this.#blob(entry, "manifestblob", MAX_MANIFEST);
    if ((await this.#generation(entry)) !== writes) {
      throw new TryAgain(
        "A report request was changed while it was answered",
        "Find the other program that writes to the kernel's attestation entries.",
      );
    }
    // An SVSM reports a hash of the data and its manifest instead.
    if (service === undefined) checkReport(tee, report, reportData);
    return { report, certificateTable, manifest };
  }

  async #requireVmpl(entry: string, vmpl: number): Promise<void> {
    const floor = Number(await this.#text(entry, "privlevel_floor"));
    if (!Number.isInteger(floor) || floor < 0 || floor > PRIVLEVEL_MAX)
      throw unavailable("The kernel's lowest VMPL is not a number from 0 to 3", "See the kernel log.");
    if (vmpl >= floor) return;
    throw unavailable(
      `This guest runs at VMPL ${floor} and cannot report for VMPL ${vmpl}`,
      `Set vmpl = ${floor} in [evidence], and accept it in the policy (snp.vmpl), if you trust what runs at the more privileged levels.`,
    );
  }

  async #generation(entry: string): Promise<number> {
    const text = await this.#text(entry, "generation");
    const generation = Number(text);
    if (!/^[0-9]+$/.test(text) || !Number.isSafeInteger(generation))
      throw unavailable("The kernel's count of writes is not a number", "See the kernel log.");
    return generation;
  }

  async #text(entry: string, attribute: string): Promise<string> {
    const bytes = await this.#blob(entry, attribute, MAX_ATTRIBUTE);
    return Buffer.from(bytes).toString("latin1").trim();
  }

  async #write(entry: string, attribute: string, value: Uint8Array): Promise<void> {
    try {
      await this.#files.write(path.join(entry, attribute), value);
    } catch (cause) {
      throw requestFailed(cause, `write ${attribute} of`, this.#options.tee);
    }
  }

  async #blob(entry: string, attribute: string, limit: number): Promise<Uint8Array> {
    let bytes: Uint8Array;
    try {
      bytes = await this.#files.read(path.join(entry, attribute), limit);
    } catch (cause) {
      throw requestFailed(cause, `read ${attribute} of`, this.#options.tee);
    }
    if (bytes.length <= limit) return concat(bytes);
    if (attribute === "outblob" && this.#options.tee === "tdx") throw diceQuote();
    throw unavailable(`The kernel's ${attribute} is longer than ${limit} bytes`, "Install a newer sealtty.");
  }

  /** Absent (TDX has none) and empty are the same: the host gave no certificates. */
  async #optionalBlob(entry: string, attribute: string, limit: number): Promise<Uint8Array> {
    try {
      return await this.#blob(entry, attribute, limit);
    } catch (error) {
      if (error instanceof SealttyError && errorCode(error.cause) === "ENOENT") return new Uint8Array();
      throw error;
    }
  }
}

function makeFailed(cause: unknown, tee: Tee): SealttyError {
  const driver = DRIVERS[tee];
  switch (errorCode(cause)) {
    case "ENOENT":
      return unavailable(
        `There is no ${TSM_REPORTS}`,
        `Mount configfs (mount -t configfs none /sys/kernel/config) and load ${driver} (modprobe ${driver.replace("_", "-")}); kernels before 6.7 have no such directory.`,
        cause,
      );
    case "ENXIO":
      return unavailable(
        "The kernel has no TEE driver to ask for reports",
        `Load ${driver} (modprobe ${driver.replace("_", "-")}); if it says that there is no device, this machine is no ${tee} guest.`,
        cause,
      );
    case "EACCES":
    case "EPERM":
      return unavailable(`sealttyd may not use ${TSM_REPORTS}`, "Run it as root.", cause);
    default:
      return unavailable(
        `Cannot ask the kernel for a report: ${reasonOf(cause)}`,
        "See the kernel log.",
        cause,
      );
  }
}

function otherDriver(driver: string, tee: Tee): SealttyError {
  if (driver === "arm_cca_guest") {
    return unavailable(
      "This is an Arm CCA realm, whose evidence this version of sealtty cannot verify",
      "Use an SEV-SNP or TDX guest.",
    );
  }
  const other = driver === "sev_guest" ? "sev-snp" : driver === "tdx_guest" ? "tdx" : undefined;
  return unavailable(
    `The kernel's reports come from ${other ?? "an unknown kind of hardware"}, and not from ${tee}`,
    other === undefined ? "Install a newer sealtty." : `Set type = "${other}" in [evidence].`,
  );
}

/** @param what - e.g. "read outblob of". */
function requestFailed(cause: unknown, what: string, tee: Tee): SealttyError {
  const code = errorCode(cause);
  const problem = `Cannot ${what} a report request (${code ?? reasonOf(cause)})`;
  switch (code) {
    case "EBUSY": // the generations would wrap, or TDX has another quote in flight
    case "EAGAIN": // EWOULDBLOCK: internal to the kernel
    case "EINTR":
    case "ENOENT": // the entry was taken away
      if (code === "ENOENT" && /auxblob|manifestblob|privlevel|service/.test(what)) break;
      return new TryAgain(problem, "Another program may be using the attestation device: try again.", cause);
    case "EFBIG":
      if (tee === "tdx") return diceQuote(cause);
      break;
    case "EIO":
      return unavailable(
        `${problem}: the request to the security processor failed`,
        tee === "sev-snp"
          ? VMPCK_WORDS
          : "See the host's quote generation service and the guest's kernel log.",
        cause,
      );
    case "ENOTTY":
      return unavailable(`${problem}: the kernel gave up this guest's key`, VMPCK_WORDS, cause);
    case "ETIMEDOUT":
      return unavailable(
        `${problem}: the host did not answer`,
        "See the host's quote generation service, and whether it throttles this guest.",
        cause,
      );
    case "EINVAL":
      return unavailable(
        `${problem}: the hardware refused the request`,
        "Check vmpl in [evidence], and the guest's kernel log.",
        cause,
      );
    default:
  }
  return unavailable(problem, "See the guest's kernel log.", cause);
}

/** What becomes of a guest whose request timed out: the kernel wipes the key rather than use a number twice. */
export const VMPCK_WORDS =
  'The kernel may have disabled the VMPCK ("Disabling vmpck_id" in its log): then there is no evidence until this guest is rebooted.';

function processLives(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return errorCode(error) !== "ESRCH";
  }
}
