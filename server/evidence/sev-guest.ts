// Reports through /dev/sev-guest, for kernels before 6.7: by a small native program, because Node has no ioctl.

import { spawn } from "node:child_process";
import { accessSync, constants, existsSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import type { Clock } from "../../protocol/clock.ts";
import { Reader, concat } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { MAX_CERTIFICATE_TABLE } from "../../protocol/limits.ts";
import { shieldedStdio } from "../sessions/launch.ts";
import { REPORT_TIMEOUT_MS, VMPCK_WORDS } from "./configfs-tsm.ts";
import {
  type HardwareReport,
  type HardwareReporter,
  SNP_REPORT_SIZE,
  checkReport,
} from "./hardware-report.ts";
import { Pacer } from "./pacer.ts";
import { unavailable } from "./unavailable.ts";

export const SEV_GUEST_DEVICE = "/dev/sev-guest";
const HELPER = "sev-guest-report";
const MAX_OUTPUT = 8 + SNP_REPORT_SIZE + MAX_CERTIFICATE_TABLE;
const MAX_COMPLAINT = 256;

export interface SevGuestOptions {
  readonly clock: Clock;
  readonly vmpl: number;
  readonly intervalMs: number;
  readonly device?: string;
  readonly timeoutMs?: number;
  /** Default: found beside the program. */
  readonly helper?: string;
  /** For tests. */
  readonly environment?: Readonly<Record<string, string>>;
}

/** Looks at SEALTTY_SEV_GUEST_REPORT, beside the program, then in the build. @returns undefined where it is nowhere. */
export function findSevGuestHelper(): string | undefined {
  const named = process.env["SEALTTY_SEV_GUEST_REPORT"];
  if (named !== undefined && named !== "") return named; // whoever names one means that one
  return [
    path.join(import.meta.dirname, HELPER),
    path.join(import.meta.dirname, "../../dist/bin", HELPER),
  ].find((file) => existsSync(file));
}

export class SevGuestDevice implements HardwareReporter {
  readonly #options: SevGuestOptions;
  readonly #helper: string;
  readonly #pacer: Pacer;
  #running = false;

  /** @throws SealttyError `evidence-unavailable` where the helper program is missing. */
  constructor(options: SevGuestOptions) {
    const helper = options.helper ?? findSevGuestHelper();
    if (helper === undefined || !isExecutable(helper)) {
      throw unavailable(
        `The program ${HELPER} is missing, which asks ${SEV_GUEST_DEVICE} on kernels without configfs-tsm`,
        "Build it (node scripts/build-native.mjs) and put it beside sealttyd, or use a kernel from 6.7 on.",
      );
    }
    this.#options = options;
    this.#helper = helper;
    this.#pacer = new Pacer(options.clock, options.intervalMs);
  }

  async close(): Promise<void> {}

  report(reportData: Uint8Array): Promise<HardwareReport> {
    if (reportData.length !== 64) throw new SealttyError("api-misuse", "Report data are 64 bytes");
    return this.#pacer.run(async (turn) => {
      if (this.#running) {
        throw unavailable(
          "An earlier request still has no answer",
          "The host may throttle or ignore requests: see the guest's kernel log.",
        );
      }
      await turn();
      const output = await this.#runHelper(reportData);
      const parsed = parseOutput(output);
      checkReport("sev-snp", parsed.report, reportData);
      return parsed;
    });
  }

  #runHelper(reportData: Uint8Array): Promise<Uint8Array> {
    const { clock, vmpl, device = SEV_GUEST_DEVICE, timeoutMs = REPORT_TIMEOUT_MS } = this.#options;
    return new Promise((resolve, reject) => {
      const child = spawn(this.#helper, [device, String(vmpl)], {
        stdio: shieldedStdio(["pipe", "pipe", "pipe"]),
        env: { ...this.#options.environment },
        cwd: "/",
      });
      this.#running = true;
      const stop = clock.after(timeoutMs, () => {
        child.kill("SIGKILL"); // takes effect once the kernel's request ends; until then nothing else is asked
        reject(
          unavailable(
            `The hardware gave no report in ${Math.round(timeoutMs / 1000)} s`,
            "The host may throttle or ignore requests: see the guest's kernel log.",
          ),
        );
      });
      const output: Buffer[] = [];
      let length = 0;
      let complaint = "";
      child.stdout?.on("data", (chunk: Buffer) => {
        length += chunk.length;
        if (length <= MAX_OUTPUT) output.push(chunk);
      });
      child.stderr?.on("data", (chunk: Buffer) => {
        if (complaint.length < MAX_COMPLAINT) complaint += chunk.toString("latin1");
      });
      child.stdin?.on("error", () => {}); // it may end without reading: its status tells
      child.stdin?.end(reportData);
      child.once("error", (cause) => {
        stop();
        this.#running = false;
        reject(unavailable(`Cannot run ${HELPER}`, "See that it is built for this machine.", cause));
      });
      child.once("close", (status) => {
        stop();
        this.#running = false;
        if (status !== 0) reject(helperFailed(complaint));
        else if (length > MAX_OUTPUT) reject(unavailable(`${HELPER} printed too much`, "Build it anew."));
        else resolve(concat(...output));
      });
    });
  }
}

/** u32 length and report, u32 length and table; nothing else. */
function parseOutput(bytes: Uint8Array): HardwareReport {
  try {
    const reader = new Reader(bytes, `Output of ${HELPER}`);
    const report = reader.lv32(SNP_REPORT_SIZE).slice();
    const table = reader.lv32(MAX_CERTIFICATE_TABLE);
    reader.end();
    return { report, certificateTable: usedPart(table) };
  } catch (cause) {
    throw unavailable(`${HELPER} printed something else than a report`, "Build it anew.", cause);
  }
}

/**
 * The table comes in a buffer of whole pages: what its entries reach to, as configfs-tsm would give it; empty without
 * entries. Entries that reach further than the buffer are the host's nonsense: a table that means nothing is none.
 */
function usedPart(table: Uint8Array): Uint8Array {
  const view = new DataView(table.buffer, table.byteOffset, table.byteLength);
  let end = 0;
  for (let at = 0; at + 24 <= table.length; at += 24) {
    if (table.subarray(at, at + 24).every((byte) => byte === 0)) return table.slice(0, end);
    const reach = view.getUint32(at + 16, true) + view.getUint32(at + 20, true);
    if (reach > table.length) return new Uint8Array();
    end = Math.max(end, reach, at + 48);
  }
  return new Uint8Array();
}

function helperFailed(complaint: string): SealttyError {
  const match = /^(usage|input|open|memory|ioctl|firmware|output) ([0-9]{1,5}) ([0-9a-f]{16})\n$/.exec(
    complaint,
  );
  const [, step = "", number = "", exitinfo2 = ""] = match ?? [];
  if (match === null) return unavailable(`${HELPER} failed without a reason`, "Build it for this machine.");
  const code = errnoName(Number(number));
  if (step === "open") {
    const [problem, next] =
      code === "ENOENT"
        ? [
            `There is no ${SEV_GUEST_DEVICE}`,
            "Load sev-guest (modprobe sev-guest); if it says that there is no device, this machine is no SEV-SNP guest.",
          ]
        : [`sealttyd may not open ${SEV_GUEST_DEVICE} (${code})`, "Run it as root."];
    return unavailable(problem, next);
  }
  if (step === "firmware") {
    return unavailable(
      `The security processor refused the report (status 0x${exitinfo2.replace(/^0+(?=.)/, "")})`,
      "Check vmpl in [evidence].",
    );
  }
  if (step === "ioctl") {
    if (code === "ENOTTY") {
      return unavailable(
        `${SEV_GUEST_DEVICE} takes no requests (ENOTTY): the kernel gave up this guest's key`,
        VMPCK_WORDS,
      );
    }
    const details = `${code}, exitinfo2 0x${exitinfo2}`;
    if (exitinfo2.startsWith("00000001"))
      return unavailable(`The host's certificates do not fit (${details})`, "See what the host provisions.");
    if (exitinfo2.startsWith("00000002"))
      return unavailable(`The host throttles reports (${details})`, "Try again later, and ask less often.");
    return unavailable(
      `The request to the security processor failed (${details})`,
      code === "EIO" || code === "ETIMEDOUT" ? VMPCK_WORDS : "See the guest's kernel log.",
    );
  }
  return unavailable(`${HELPER} failed (${step}, ${code})`, "See the guest's kernel log.");
}

function errnoName(number: number): string {
  for (const [name, value] of Object.entries(os.constants.errno)) if (value === number) return name;
  return `error ${number}`;
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
