// Evidence from the guest's TPM 2.0: its PCRs, quoted by an attestation key for one connection.

import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { tpmQualifyingData } from "../../protocol/attestation/binder.ts";
import type { EvidenceProvider } from "../../protocol/attestation/evidence.ts";
import { parseAttest } from "../../protocol/attestation/tpm/attest.ts";
import {
  MAX_PCR,
  type PcrSelection,
  type PcrValue,
  coversExactly,
  pcrDigestOf,
} from "../../protocol/attestation/tpm/pcr.ts";
import { decodeTpmAux, encodeTpmAux, encodeTpmQuote } from "../../protocol/attestation/tpm/quote.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import type { CryptoSuite } from "../../protocol/crypto/suite.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { MAX_EVENT_LOG } from "../../protocol/limits.ts";
import { StaleAuxError } from "./collect.ts";
import { Mutex } from "./mutex.ts";
import {
  MAX_RESPONSE,
  PCRS_PER_READ,
  createPrimaryCommand,
  flushContextCommand,
  isHandleLost,
  isTransient,
  parseCreatePrimary,
  parsePcrRead,
  parseQuote,
  parseResponse,
  pcrReadCommand,
  quoteCommand,
  responseName,
} from "./tpm-commands.ts";

export const TPM_DEVICE = "/dev/tpmrm0";
export const TPM_EVENT_LOG = "/sys/kernel/security/tpm0/binary_bios_measurements";
/** What says which firmware, boot loader, kernel, initramfs and command line run. */
export const DEFAULT_PCRS: readonly number[] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];

const TIMEOUT_MS = 30_000;
const TRANSIENT_RETRIES = 20;
const TRANSIENT_PAUSE_MS = 50;
const READ_ROUNDS = 4;

/** One command in, its whole response out; never two at once. After a failure the next call starts from scratch. */
export type TpmTransmit = (command: Uint8Array) => Promise<Uint8Array>;

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
  readonly #suite: CryptoSuite;
  readonly #transmit: TpmTransmit;
  readonly #selections: readonly PcrSelection[];
  readonly #eventLogPath: string | undefined;
  readonly #timeoutMs: number;
  readonly #release: (() => Promise<void>) | undefined;
  readonly #mutex = new Mutex();
  #key: { readonly handle: number; readonly publicArea: Uint8Array } | undefined;
  /** Why no command may be sent now. */
  #broken: string | undefined;
  #closed = false;

  /** @throws SealttyError `bad-config` on an impossible list of PCRs. */
  constructor(options: TpmEvidenceOptions) {
    const indexes = [...new Set(options.pcrs ?? DEFAULT_PCRS)].sort((a, b) => a - b);
    if (
      indexes.length === 0 ||
      indexes.some((index) => !Number.isInteger(index) || index < 0 || index > MAX_PCR)
    ) {
      throw new SealttyError(
        "bad-config",
        `The PCRs to quote must be numbers from 0 to ${MAX_PCR}, at least one`,
      );
    }
    this.#suite = options.suite;
    this.#transmit = options.transmit;
    this.#selections = [{ bank: options.bank ?? "sha256", indexes }];
    this.#eventLogPath = options.eventLogPath;
    this.#timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
    this.#release = options.release;
  }

  async prepareAux(): Promise<Uint8Array> {
    const eventLog = await readEventLog(this.#eventLogPath);
    return await this.#mutex.run(async () => {
      const { publicArea } = await this.#loadKey();
      return encodeTpmAux({ akPublic: publicArea, pcrs: await this.#readPcrs(), eventLog });
    });
  }

  /** @throws StaleAuxError where a PCR changed, or the TPM was reset to another key, since aux was prepared. */
  async quote(binder: Uint8Array, aux: Uint8Array): Promise<Uint8Array> {
    const prepared = decodeTpmAux(aux);
    return await this.#mutex.run(async () => {
      const quote = await this.#quoteWithKey(tpmQualifyingData(this.#suite, binder));
      if (!equalBytes(this.#key?.publicArea ?? new Uint8Array(), prepared.akPublic)) {
        throw new StaleAuxError(
          "evidence-unavailable",
          "The TPM's attestation key changed while evidence was collected",
        );
      }
      const quoted = tpmSaid(() => parseAttest(quote.attest).quote);
      if (quoted === undefined)
        throw unavailable("The TPM answered with something else than a quote", "Reboot the guest.");
      const digest = pcrDigestOf(prepared.pcrs, (message) => this.#suite.sha256(message));
      if (!coversExactly(quoted.selections, prepared.pcrs) || !equalBytes(digest, quoted.pcrDigest)) {
        throw new StaleAuxError(
          "evidence-unavailable",
          "A PCR changed while evidence was collected: collect it again",
        );
      }
      return encodeTpmQuote(quote);
    });
  }

  /** Flushes the key and closes the device. Idempotent; never throws. */
  async close(): Promise<void> {
    await this.#mutex.run(async () => {
      if (this.#closed) return;
      this.#closed = true;
      const key = this.#key;
      this.#key = undefined;
      try {
        if (key !== undefined && this.#broken === undefined) {
          await this.#exchange(flushContextCommand(key.handle), "flush the attestation key");
        }
        if (this.#broken === undefined) await this.#release?.(); // closing under a running command would wait for it
      } catch {
        // the device is being given up anyway
      }
      this.#broken = "it was closed";
    });
  }

  async #loadKey() {
    if (this.#key === undefined) {
      const body = await this.#run(createPrimaryCommand(), "make the attestation key");
      this.#key = tpmSaid(() => parseCreatePrimary(body));
    }
    return this.#key;
  }

  async #quoteWithKey(qualifyingData: Uint8Array) {
    for (let attempt = 1; ; attempt++) {
      const { handle } = await this.#loadKey();
      const command = quoteCommand(handle, qualifyingData, this.#selections);
      const { code, body } = await this.#exchange(command, "quote");
      if (code === 0) return tpmSaid(() => parseQuote(body));
      if (!isHandleLost(code) || attempt > 1) throw refused(code, "quote its PCRs");
      this.#key = undefined; // make it again: the template gives the same key
    }
  }

  /** All configured PCRs at one moment: the TPM's update counter did not move in between. */
  async #readPcrs(): Promise<PcrValue[]> {
    for (let round = 1; round <= READ_ROUNDS; round++) {
      const values: PcrValue[] = [];
      let counter: number | undefined;
      let moved = false;
      for (const { bank, indexes } of this.#selections) {
        for (let at = 0; at < indexes.length && !moved; ) {
          const wanted = indexes.slice(at, at + PCRS_PER_READ);
          const body = await this.#run(pcrReadCommand([{ bank, indexes: wanted }]), "read its PCRs");
          const read = tpmSaid(() => parsePcrRead(body));
          const fits = read.values.every((value, i) => value.bank === bank && value.index === wanted[i]);
          if (read.values.length === 0 || !fits) {
            throw unavailable(
              `The TPM has no ${bank} value for PCR ${wanted.join(", ")}`,
              `Allocate the ${bank} bank in the TPM, or configure another bank or other PCRs.`,
            );
          }
          moved = counter !== undefined && counter !== read.updateCounter;
          counter = read.updateCounter;
          values.push(...read.values);
          at += read.values.length;
        }
      }
      if (!moved) return values;
    }
    throw unavailable(
      "The TPM's PCRs change too fast to be read together",
      "Find the program in the guest that keeps extending them.",
    );
  }

  /** @returns the body of a success. @throws SealttyError `evidence-unavailable`. */
  async #run(command: Uint8Array, purpose: string): Promise<Uint8Array> {
    const { code, body } = await this.#exchange(command, purpose);
    if (code !== 0) throw refused(code, purpose);
    return body;
  }

  async #exchange(command: Uint8Array, purpose: string) {
    for (let attempt = 1; ; attempt++) {
      const response = await this.#transmitInTime(command, purpose);
      const parsed = tpmSaid(() => parseResponse(response));
      if (!isTransient(parsed.code) || attempt > TRANSIENT_RETRIES) return parsed;
      await sleep(TRANSIENT_PAUSE_MS);
    }
  }

  async #transmitInTime(command: Uint8Array, purpose: string): Promise<Uint8Array> {
    if (this.#broken !== undefined) {
      throw unavailable(
        `The TPM cannot be used: ${this.#broken}`,
        "Restart sealttyd; if it stays, reboot the guest.",
      );
    }
    const cancel = new AbortController();
    const late = sleep(this.#timeoutMs, undefined, { signal: cancel.signal }).then(() => undefined);
    late.catch(() => {}); // aborted once the answer is there
    const answer = this.#transmit(command);
    try {
      const response = await Promise.race([answer, late]);
      if (response === undefined) {
        // The command still runs, and its answer could be taken for the next one's: no more commands until it is done.
        this.#broken = "an earlier command still has no answer";
        void answer
          .catch(() => {})
          .then(() => {
            if (!this.#closed) this.#broken = undefined;
            this.#key = undefined;
          });
        throw unavailable(
          `The TPM did not ${purpose} in ${this.#timeoutMs} ms`,
          "Restart sealttyd; if it stays, reboot the guest.",
        );
      }
      if (response.length > MAX_RESPONSE)
        throw unavailable("The TPM's answer is too long", "Reboot the guest.");
      return response;
    } catch (cause) {
      if (cause instanceof SealttyError) throw cause;
      this.#key = undefined; // it went with the connection to the TPM
      throw unavailable(
        `The TPM did not ${purpose}: ${reasonOf(cause)}`,
        "Restart sealttyd; if it stays, reboot the guest.",
        cause,
      );
    } finally {
      cancel.abort();
    }
  }
}

/** Opens the kernel's TPM device: one descriptor, kept, because the resource manager flushes the key when it closes. */
export async function openTpmEvidence(
  options: Omit<TpmEvidenceOptions, "transmit" | "release"> & { readonly device?: string },
): Promise<TpmEvidenceProvider> {
  const device = options.device ?? TPM_DEVICE;
  let file: FileHandle | undefined = await openDevice(device);
  const release = async () => {
    const old = file;
    file = undefined;
    await old?.close();
  };
  return new TpmEvidenceProvider({
    eventLogPath: TPM_EVENT_LOG,
    ...options,
    async transmit(command) {
      file ??= await openDevice(device);
      try {
        return await transmitToDevice(file, command);
      } catch (error) {
        await release().catch(() => {}); // a fresh descriptor has no half-done command
        throw error;
      }
    },
    release,
  });
}

async function openDevice(device: string): Promise<FileHandle> {
  try {
    return await open(device, constants.O_RDWR);
  } catch (cause) {
    switch ((cause as NodeJS.ErrnoException).code) {
      case "ENOENT":
      case "ENXIO":
      case "ENODEV":
        throw unavailable(
          `There is no TPM at ${device}`,
          "Give the VM a TPM 2.0 device and load its driver (tpm_crb or tpm_tis), or configure other evidence.",
          cause,
        );
      case "EBUSY":
        throw unavailable(
          `The TPM at ${device} is in use by another program`,
          "Use /dev/tpmrm0, which can be shared, or stop that program.",
          cause,
        );
      case "EACCES":
      case "EPERM":
        throw unavailable(
          `sealttyd may not open the TPM at ${device}`,
          "Run sealttyd as root, or as the only member of the device's group.",
          cause,
        );
      default:
        throw unavailable(
          `The TPM at ${device} cannot be opened: ${reasonOf(cause)}`,
          "See the kernel log.",
          cause,
        );
    }
  }
}

/** The driver takes a command in one write, and gives its whole response to one read. */
async function transmitToDevice(file: FileHandle, command: Uint8Array): Promise<Uint8Array> {
  const { bytesWritten } = await file.write(command, 0, command.length, null);
  if (bytesWritten !== command.length) throw new Error("the device took a part of the command only");
  const { bytesRead, buffer } = await file.read(new Uint8Array(MAX_RESPONSE), 0, MAX_RESPONSE, null);
  return buffer.subarray(0, bytesRead);
}

/** Absent (no firmware log, no securityfs), unreadable or longer than 512 KiB: empty. A verifier then says so. */
async function readEventLog(path: string | undefined): Promise<Uint8Array> {
  if (path === undefined) return new Uint8Array();
  let file: FileHandle;
  try {
    file = await open(path, constants.O_RDONLY);
  } catch {
    return new Uint8Array();
  }
  try {
    // The kernel tells no length; one byte more than allowed shows a log that is too long.
    const log = new Uint8Array(MAX_EVENT_LOG + 1);
    let length = 0;
    while (length < log.length) {
      const { bytesRead } = await file.read(log, length, log.length - length, null);
      if (bytesRead === 0) return log.slice(0, length);
      length += bytesRead;
    }
    return new Uint8Array();
  } catch {
    return new Uint8Array();
  } finally {
    await file.close();
  }
}

/** A TPM that talks nonsense is unavailable, not a misbehaving peer of the protocol. */
function tpmSaid<T>(parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    throw unavailable(`The TPM's answer is malformed: ${reasonOf(cause)}`, "Reboot the guest.", cause);
  }
}

function refused(code: number, purpose: string): SealttyError {
  const name = responseName(code);
  const next =
    name === "TPM_RC_BAD_AUTH" || name === "TPM_RC_AUTH_FAIL"
      ? "The endorsement hierarchy has a password: remove it (tpm2_changeauth -c endorsement)."
      : name === "TPM_RC_HIERARCHY"
        ? "Enable the endorsement hierarchy in the firmware."
        : name === "TPM_RC_INITIALIZE"
          ? "The firmware did not start the TPM: check the VM's firmware and TPM settings."
          : name === "TPM_RC_OBJECT_MEMORY"
            ? "Use /dev/tpmrm0 instead of /dev/tpm0, or flush keys that other programs left in the TPM."
            : name === "TPM_RC_CURVE" || name === "TPM_RC_SCHEME"
              ? "This TPM has no ECDSA on P-256: use another TPM."
              : "Reboot the guest; if it stays, the TPM is broken or does not fit.";
  return unavailable(`The TPM refused to ${purpose}: ${name} (0x${code.toString(16)})`, next);
}

function unavailable(what: string, next: string, cause?: unknown): SealttyError {
  return new SealttyError("evidence-unavailable", `${what}. ${next}`, cause === undefined ? {} : { cause });
}

function reasonOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : "unknown reason";
}
