// MRCONFIGID of the TD that this is, from the TDX module itself. A quote is made by the host's service and comes through the
// host's memory: good for a client, who checks its signature and that it ends a connection, but not for the guest itself,
// which would take another TD's quote for its own.

import { randomBytes } from "node:crypto";
import { readBoundedFile } from "../../node/bounded-file.ts";
import { errorCode } from "../../node/socket-pipe.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import type { Clock } from "../../protocol/clock.ts";
import { requireHelper, runHelper } from "./native-helper.ts";
import { reasonOf, unavailable } from "./unavailable.ts";

/** Linux 6.16 and later. */
const MEASUREMENT = "/sys/devices/virtual/misc/tdx_guest/measurements/mrconfigid";
const TDX_GUEST_DEVICE = "/dev/tdx_guest";
const HELPER = "tdx-report";
const TIMEOUT_MS = 10_000;
const CONFIG_ID_SIZE = 48;

/** TDREPORT_STRUCT: REPORTMACSTRUCT, then TDINFO_STRUCT at 512. Intel TDX module ABI */
const REPORT = { size: 1024, type: 0x81, reportData: 128, configId: 576 } as const;

export interface TdIdentityOptions {
  readonly clock: Clock;
  readonly measurement?: string;
  readonly helper?: string;
  readonly environment?: Readonly<Record<string, string>>;
}

/** @returns MRCONFIGID, 48 bytes. @throws SealttyError `evidence-unavailable`. */
export async function readMrConfigId(options: TdIdentityOptions): Promise<Uint8Array> {
  const { measurement = MEASUREMENT } = options;
  try {
    const value = await readBoundedFile(measurement, CONFIG_ID_SIZE);
    if (value.length === CONFIG_ID_SIZE) return value;
    throw new Error("it has another length than 48 bytes");
  } catch (cause) {
    if (errorCode(cause) === "ENOENT" || errorCode(cause) === "ENOTDIR") return await fromReport(options);
    throw unavailable(`Cannot read ${measurement}: ${reasonOf(cause)}`, "See the kernel log.", cause);
  }
}

async function fromReport({ clock, helper, environment }: TdIdentityOptions): Promise<Uint8Array> {
  const reportData = new Uint8Array(randomBytes(64));
  const report = await runHelper(HELPER, {
    file: requireHelper(HELPER, helper),
    args: [TDX_GUEST_DEVICE],
    input: reportData,
    maxOutput: REPORT.size,
    clock,
    timeoutMs: TIMEOUT_MS,
    ...(environment === undefined ? {} : { environment }),
  });
  if (!(report instanceof Uint8Array)) {
    throw unavailable(
      `${TDX_GUEST_DEVICE} gave no TDREPORT (${report.step}, ${report.code})`,
      report.code === "ENOENT"
        ? "Load tdx-guest (modprobe tdx-guest)."
        : "Run sealttyd as root; see the kernel log.",
    );
  }
  const echoed = report.subarray(REPORT.reportData, REPORT.reportData + 64);
  if (report.length !== REPORT.size || report[0] !== REPORT.type || !equalBytes(echoed, reportData))
    throw unavailable(
      `${TDX_GUEST_DEVICE} gave something else than the TDREPORT asked for`,
      "See the kernel log.",
    );
  return report.slice(REPORT.configId, REPORT.configId + CONFIG_ID_SIZE);
}
