// Evidence of Azure's confidential VMs: the vTPM's quote, and the paravisor's report that vouches for the vTPM's key.

import type { AuxParts } from "../../protocol/attestation/aux.ts";
import { type HclReport, parseHclReport } from "../../protocol/attestation/azure/hcl.ts";
import { tpmQualifyingData } from "../../protocol/attestation/binder.ts";
import { type Collateral, NO_COLLATERAL } from "../../protocol/attestation/collateral.ts";
import type { EvidenceProvider } from "./provider.ts";
import { type PcrSelection, encodePcrValues, parsePcrValues } from "../../protocol/attestation/tpm/pcr.ts";
import { encodeTpmQuote } from "../../protocol/attestation/tpm/quote.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import type { Clock } from "../../protocol/clock.ts";
import type { CryptoSuite } from "../../protocol/crypto/suite.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { collectEvidence } from "./collect.ts";
import type { CollateralSource } from "./collateral-source.ts";
import { TPM_EVENT_LOG, readEventLog } from "./event-log-file.ts";
import { checkQuoteFormat } from "./hardware-report.ts";
import type { Imds } from "./imds.ts";
import { pcrSelections, requireQuoteOf } from "./tpm.ts";
import { TpmChannel, type TpmChannelOptions, openTpmDevice, refusedByTpm, tpmSaid } from "./tpm-channel.ts";
import {
  isHandleLost,
  parseQuote,
  parseReadPublic,
  quoteCommand,
  readPublicCommand,
} from "./tpm-commands.ts";
import { reasonOf, unavailable } from "./unavailable.ts";

/** Where the paravisor puts them. */
const HCL_REPORT_INDEX = 0x01400001;
const AK_HANDLE = 0x81000003;
/** Larger than the 2600 bytes that it has, so that another version is refused by the parser's words. */
const MAX_NV_REPORT = 8192;
/** A VCEK changes with a firmware update only. */
const CERTIFICATES_LIVE_MS = 60 * 60_000;

export interface AzureOptions extends TpmChannelOptions {
  readonly suite: CryptoSuite;
  readonly clock: Clock;
  readonly pcrs: readonly number[];
  readonly collateral: CollateralSource;
  /** Undefined: the metadata service is not asked. */
  readonly imds: Imds | undefined;
  readonly eventLogPath?: string | undefined;
  readonly warn: (message: string) => void;
}

/** @throws SealttyError `evidence-unavailable` on a machine that has no such report or key; `bad-config`. */
export async function openAzureEvidence(options: AzureOptions): Promise<AzureEvidenceProvider> {
  const channel = new TpmChannel(options);
  try {
    const report = await channel.exclusive(() => readHclReport(channel));
    const type = report.parsed.type === "snp" ? "azure-snp" : "azure-tdx";
    if (type === "azure-tdx" && options.imds === undefined) {
      throw new SealttyError(
        "bad-config",
        "On Azure a TDX guest gets its quote from the metadata service only: set imds = true in [evidence]",
      );
    }
    await channel.exclusive(async () => {
      const body = await channel.run(readPublicCommand(AK_HANDLE), "find Azure's attestation key 0x81000003");
      tpmSaid(() => parseReadPublic(body));
    });
    return new AzureEvidenceProvider(type, channel, options);
  } catch (error) {
    await channel.close();
    throw error;
  }
}

/** Opens the device first. */
export async function openAzureDevice(
  device: string,
  options: Omit<AzureOptions, "transmit" | "release">,
): Promise<AzureEvidenceProvider> {
  return await openAzureEvidence({
    eventLogPath: TPM_EVENT_LOG,
    ...options,
    ...(await openTpmDevice(device)),
  });
}

export class AzureEvidenceProvider implements EvidenceProvider {
  readonly type: "azure-snp" | "azure-tdx";
  readonly channel: TpmChannel;
  readonly #options: AzureOptions;
  readonly #selections: readonly PcrSelection[];
  #certificates: { readonly found: Collateral; readonly at: number } | undefined;
  #tdQuote: { readonly report: Uint8Array; readonly quote: Uint8Array } | undefined;
  #reported: string | undefined;

  constructor(type: "azure-snp" | "azure-tdx", channel: TpmChannel, options: AzureOptions) {
    this.type = type;
    this.channel = channel;
    this.#options = options;
    this.#selections = pcrSelections(options.pcrs, "sha256");
  }

  async prepareAux(): Promise<AuxParts> {
    const eventLog = await readEventLog(this.#options.eventLogPath);
    const { report, pcrs } = await this.channel.exclusive(async () => ({
      report: await readHclReport(this.channel),
      pcrs: await this.channel.readPcrs(this.#selections),
    }));
    if (report.parsed.type !== (this.type === "azure-snp" ? "snp" : "tdx"))
      throw unavailable("The paravisor's report changed its kind", "Restart sealttyd.");
    const platform =
      this.type === "azure-snp" ? {} : { hardwareQuote: await this.#quoteOfTd(report.parsed.hardwareReport) };
    const collateral = await this.#options.collateral.encoded(await this.#amdCertificates());
    return {
      hclReport: report.bytes,
      pcrs: encodePcrValues(pcrs),
      ...platform,
      ...(collateral.length > 0 ? { collateral } : {}),
      ...(eventLog.length > 0 ? { eventLog } : {}),
    };
  }

  /** @throws StaleAuxError where a PCR changed since aux was prepared. */
  async quote(binder: Uint8Array, aux: AuxParts): Promise<Uint8Array> {
    const pcrs = parsePcrValues(aux.pcrs ?? new Uint8Array());
    const { suite } = this.#options;
    return await this.channel.exclusive(async () => {
      const command = quoteCommand(AK_HANDLE, tpmQualifyingData(suite, binder), this.#selections);
      const { code, body } = await this.channel.exchange(command, "quote");
      if (isHandleLost(code))
        throw unavailable("The vTPM lost Azure's attestation key 0x81000003", "Reboot the guest.");
      if (code !== 0) throw refusedByTpm(code, "quote its PCRs");
      const quote = tpmSaid(() => parseQuote(body));
      requireQuoteOf(quote, pcrs, suite);
      return encodeTpmQuote(quote);
    });
  }

  async probe(): Promise<void> {
    await collectEvidence(this, { makeBinder: () => this.#options.suite.randomBytes(64) });
  }

  close(): Promise<void> {
    return this.channel.close();
  }

  /** Without them a client may still have its own: their absence is told, and is no failure here. */
  async #amdCertificates(): Promise<Collateral> {
    const { imds, clock } = this.#options;
    if (this.type !== "azure-snp" || imds === undefined) return NO_COLLATERAL;
    const known = this.#certificates;
    if (known !== undefined && clock.now() - known.at < CERTIFICATES_LIVE_MS) return known.found;
    try {
      const found = await imds.amdCertificates();
      this.#certificates = { found, at: clock.now() };
      this.#reported = undefined;
      return found;
    } catch (error) {
      const problem = `no AMD certificates: ${reasonOf(error)}`;
      if (this.#reported !== problem) this.#options.warn(problem);
      this.#reported = problem;
      return known?.found ?? NO_COLLATERAL;
    }
  }

  /** One quote for each TDREPORT: it commits to the runtime claims, and those to the vTPM's key, not to a connection. */
  async #quoteOfTd(report: Uint8Array): Promise<Uint8Array> {
    const known = this.#tdQuote;
    if (known !== undefined && equalBytes(known.report, report)) return known.quote;
    const { imds } = this.#options;
    if (imds === undefined)
      throw unavailable("There is no way to a TD quote", "Set imds = true in [evidence].");
    const quote = await imds.tdQuote(report);
    checkQuoteFormat(quote);
    this.#tdQuote = { report: report.slice(), quote };
    return quote;
  }
}

async function readHclReport(channel: TpmChannel): Promise<{ bytes: Uint8Array; parsed: HclReport }> {
  const bytes = await channel.readNv(HCL_REPORT_INDEX, "Azure report", MAX_NV_REPORT);
  try {
    return { bytes, parsed: parseHclReport(bytes) };
  } catch (cause) {
    throw unavailable(reasonOf(cause), "Install a newer sealtty.", cause);
  }
}
