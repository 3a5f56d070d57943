// Evidence from the guest's TPM 2.0: its PCRs, quoted by an attestation key for one connection.

import type { AuxParts } from "../../protocol/attestation/aux.ts";
import { tpmQualifyingData } from "../../protocol/attestation/binder.ts";
import type { EvidenceProvider } from "./provider.ts";
import { parseAttest } from "../../protocol/attestation/tpm/attest.ts";
import {
  MAX_PCR,
  type PcrSelection,
  type PcrValue,
  coversExactly,
  pcrDigestOf,
} from "../../protocol/attestation/tpm/pcr.ts";
import {
  type TpmQuote,
  encodeTpmQuote,
  readTpmParts,
  tpmParts,
} from "../../protocol/attestation/tpm/quote.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import type { CryptoSuite } from "../../protocol/crypto/suite.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { StaleAuxError, collectEvidence } from "./collect.ts";
import { TPM_EVENT_LOG, readEventLog } from "./event-log-file.ts";
import {
  TPM_DEVICE,
  TpmChannel,
  type TpmTransmit,
  openTpmDevice,
  refusedByTpm,
  tpmSaid,
} from "./tpm-channel.ts";
import {
  createPrimaryCommand,
  flushContextCommand,
  isHandleLost,
  parseCreatePrimary,
  parseQuote,
  quoteCommand,
} from "./tpm-commands.ts";
import { unavailable } from "./unavailable.ts";

/** What says which firmware, boot loader, kernel, initramfs and command line run. */
export const DEFAULT_PCRS: readonly number[] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 14];

export interface TpmEvidenceOptions {
  readonly suite: CryptoSuite;
  readonly transmit: TpmTransmit;
  readonly pcrs?: readonly number[];
  readonly bank?: "sha256" | "sha384";
  /** Undefined: send no log. A file that is absent or too long counts as none. */
  readonly eventLogPath?: string | undefined;
  readonly timeoutMs?: number;
  /** Called once by `close`. */
  readonly release?: () => Promise<void>;
}

/** The key stays loaded between quotes; `close` flushes it. */
export class TpmEvidenceProvider implements EvidenceProvider {
  readonly type = "tpm";
  /** For whoever needs the same TPM for something else. */
  readonly channel: TpmChannel;
  readonly #suite: CryptoSuite;
  readonly #selections: readonly PcrSelection[];
  readonly #eventLogPath: string | undefined;
  #key: { readonly handle: number; readonly publicArea: Uint8Array; readonly epoch: number } | undefined;

  /** @throws SealttyError `bad-config` on an impossible list of PCRs. */
  constructor(options: TpmEvidenceOptions) {
    this.#suite = options.suite;
    this.#selections = pcrSelections(options.pcrs ?? DEFAULT_PCRS, options.bank ?? "sha256");
    this.#eventLogPath = options.eventLogPath;
    this.channel = new TpmChannel(options);
  }

  async prepareAux(): Promise<AuxParts> {
    const eventLog = await readEventLog(this.#eventLogPath);
    return await this.channel.exclusive(async () => {
      const { publicArea } = await this.#loadKey();
      return tpmParts({
        akPublic: publicArea,
        pcrs: await this.channel.readPcrs(this.#selections),
        eventLog,
      });
    });
  }

  /** @throws StaleAuxError where a PCR changed, or the TPM was reset to another key, since aux was prepared. */
  async quote(binder: Uint8Array, aux: AuxParts): Promise<Uint8Array> {
    const prepared = readTpmParts(aux);
    return await this.channel.exclusive(async () => {
      const quote = await this.#quoteWithKey(tpmQualifyingData(this.#suite, binder));
      if (!equalBytes(this.#key?.publicArea ?? new Uint8Array(), prepared.akPublic)) {
        throw new StaleAuxError(
          "evidence-unavailable",
          "The TPM's attestation key changed while evidence was collected",
        );
      }
      requireQuoteOf(quote, prepared.pcrs, this.#suite);
      return encodeTpmQuote(quote);
    });
  }

  async probe(): Promise<void> {
    await collectEvidence(this, { makeBinder: () => this.#suite.randomBytes(64) });
  }

  /** Flushes the key and closes the device. Idempotent; never throws. */
  async close(): Promise<void> {
    await this.channel.close(async () => {
      const key = this.#key;
      this.#key = undefined;
      if (key?.epoch !== this.channel.epoch) return;
      await this.channel.exchange(flushContextCommand(key.handle), "flush the attestation key");
    });
  }

  async #loadKey() {
    const { epoch } = this.channel;
    if (this.#key?.epoch !== epoch) {
      const body = await this.channel.run(createPrimaryCommand(), "make the attestation key");
      this.#key = { ...tpmSaid(() => parseCreatePrimary(body)), epoch };
    }
    return this.#key;
  }

  async #quoteWithKey(qualifyingData: Uint8Array): Promise<TpmQuote> {
    for (let attempt = 1; ; attempt++) {
      const { handle } = await this.#loadKey();
      const command = quoteCommand(handle, qualifyingData, this.#selections);
      const { code, body } = await this.channel.exchange(command, "quote");
      if (code === 0) return tpmSaid(() => parseQuote(body));
      if (!isHandleLost(code) || attempt > 1) throw refusedByTpm(code, "quote its PCRs");
      this.#key = undefined; // make it again: the template gives the same key
    }
  }
}

/** @throws SealttyError `bad-config` on an impossible list of PCRs. */
export function pcrSelections(pcrs: readonly number[], bank: "sha256" | "sha384"): PcrSelection[] {
  const indexes = [...new Set(pcrs)].sort((a, b) => a - b);
  if (
    indexes.length === 0 ||
    indexes.some((index) => !Number.isInteger(index) || index < 0 || index > MAX_PCR)
  ) {
    throw new SealttyError(
      "bad-config",
      `The PCRs to quote must be numbers from 0 to ${MAX_PCR}, at least one`,
    );
  }
  return [{ bank, indexes }];
}

/** @throws StaleAuxError where the quote is over other values than `pcrs`; SealttyError `evidence-unavailable`. */
export function requireQuoteOf(quote: TpmQuote, pcrs: readonly PcrValue[], suite: CryptoSuite): void {
  const quoted = tpmSaid(() => parseAttest(quote.attest).quote);
  if (quoted === undefined)
    throw unavailable("The TPM answered with something else than a quote", "Reboot the guest.");
  const digest = pcrDigestOf(pcrs, (message) => suite.sha256(message));
  if (!coversExactly(quoted.selections, pcrs) || !equalBytes(digest, quoted.pcrDigest)) {
    throw new StaleAuxError(
      "evidence-unavailable",
      "A PCR changed while evidence was collected: collect it again",
    );
  }
}

/** @throws SealttyError `evidence-unavailable` where the device cannot be opened. */
export async function openTpmEvidence(
  options: Omit<TpmEvidenceOptions, "transmit" | "release"> & { readonly device?: string },
): Promise<TpmEvidenceProvider> {
  const device = await openTpmDevice(options.device ?? TPM_DEVICE);
  return new TpmEvidenceProvider({ eventLogPath: TPM_EVENT_LOG, ...options, ...device });
}
