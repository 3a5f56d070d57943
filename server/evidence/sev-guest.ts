// Reports through /dev/sev-guest, for kernels before 6.7: by a small native program, because Node has no ioctl.

import { SNP_REPORT_SIZE } from "../../protocol/attestation/sev-snp/report.ts";
import type { Clock } from "../../protocol/clock.ts";
import { Reader } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { MAX_CERTIFICATE_TABLE } from "../../protocol/limits.ts";
import { REPORT_TIMEOUT_MS, VMPCK_WORDS } from "./configfs-tsm.ts";
import { type HardwareReport, type HardwareReporter, checkReport } from "./hardware-report.ts";
import { type HelperFailure, requireHelper, runHelper } from "./native-helper.ts";
import { Pacer } from "./pacer.ts";
import { unavailable } from "./unavailable.ts";

export const SEV_GUEST_DEVICE = "/dev/sev-guest";
const HELPER = "sev-guest-report";
const MAX_OUTPUT = 8 + SNP_REPORT_SIZE + MAX_CERTIFICATE_TABLE;

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

export class SevGuestDevice implements HardwareReporter {
  readonly #options: SevGuestOptions;
  readonly #helper: string;
  readonly #pacer: Pacer;
  #running = false;

  /** @throws SealttyError `evidence-unavailable` where the helper program is missing. */
  constructor(options: SevGuestOptions) {
    this.#options = options;
    this.#helper = requireHelper(HELPER, options.helper);
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
      const answer = await this.#ask(reportData);
      if (!(answer instanceof Uint8Array)) throw helperFailed(answer);
      const parsed = parseOutput(answer);
      checkReport("sev-snp", parsed.report, reportData);
      return parsed;
    });
  }

  #ask(reportData: Uint8Array): Promise<Uint8Array | HelperFailure> {
    const { clock, vmpl, device = SEV_GUEST_DEVICE, timeoutMs = REPORT_TIMEOUT_MS } = this.#options;
    this.#running = true;
    return runHelper(HELPER, {
      file: this.#helper,
      args: [device, String(vmpl)],
      input: reportData,
      maxOutput: MAX_OUTPUT,
      clock,
      timeoutMs,
      environment: this.#options.environment ?? {},
      onGone: () => {
        this.#running = false;
      },
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

function helperFailed({ step, code, exitinfo2 }: HelperFailure): SealttyError {
  if (step === "open" && code === "ENOENT") {
    return unavailable(
      `There is no ${SEV_GUEST_DEVICE}`,
      "Load sev-guest (modprobe sev-guest); if it says that there is no device, this machine is no SEV-SNP guest.",
    );
  }
  if (step === "open")
    return unavailable(`sealttyd may not open ${SEV_GUEST_DEVICE} (${code})`, "Run it as root.");
  if (step === "firmware") {
    return unavailable(
      `The security processor refused the report (status 0x${exitinfo2.replace(/^0+(?=.)/, "")})`,
      "Check vmpl in [evidence].",
    );
  }
  if (step !== "ioctl")
    return unavailable(`${HELPER} failed (${step}, ${code})`, "See the guest's kernel log.");
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
