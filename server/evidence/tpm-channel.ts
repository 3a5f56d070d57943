// The guest's TPM 2.0 as a channel: one command at a time, in time, and its refusals in words.

import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import type { PcrSelection, PcrValue } from "../../protocol/attestation/tpm/pcr.ts";
import { concat } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { Mutex } from "./mutex.ts";
import {
  MAX_RESPONSE,
  NV_CHUNK,
  PCRS_PER_READ,
  type TpmResponse,
  isTransient,
  nvReadCommand,
  nvReadFault,
  nvReadPublicCommand,
  parseNvPublic,
  parseNvRead,
  parsePcrRead,
  parseResponse,
  pcrReadCommand,
  responseName,
} from "./tpm-commands.ts";
import { reasonOf, unavailable } from "./unavailable.ts";

export const TPM_DEVICE = "/dev/tpmrm0";

const TIMEOUT_MS = 30_000;
const TRANSIENT_RETRIES = 20;
const TRANSIENT_PAUSE_MS = 50;
const READ_ROUNDS = 4;

/** One command in, its whole response out; never two at once. After a failure the next call starts from scratch. */
export type TpmTransmit = (command: Uint8Array) => Promise<Uint8Array>;

export interface TpmChannelOptions {
  readonly transmit: TpmTransmit;
  readonly timeoutMs?: number;
  /** Called once by `close`. */
  readonly release?: () => Promise<void>;
}

/** All methods but `exclusive` and `close` are for tasks inside `exclusive`. */
export class TpmChannel {
  readonly #transmit: TpmTransmit;
  readonly #timeoutMs: number;
  readonly #release: (() => Promise<void>) | undefined;
  readonly #mutex = new Mutex();
  /** Why no command may be sent now. */
  #broken: string | undefined;
  #closed = false;
  #epoch = 0;

  constructor(options: TpmChannelOptions) {
    this.#transmit = options.transmit;
    this.#timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
    this.#release = options.release;
  }

  /** Grows whenever what was loaded into the TPM through this channel may be gone. */
  get epoch(): number {
    return this.#epoch;
  }

  exclusive<T>(task: () => Promise<T>): Promise<T> {
    return this.#mutex.run(task);
  }

  /** Gives the device up. @param last - what to do before, while commands still go. Idempotent; never throws. */
  async close(last?: () => Promise<void>): Promise<void> {
    await this.#mutex.run(async () => {
      if (this.#closed) return;
      this.#closed = true;
      try {
        if (this.#broken === undefined) await last?.();
        if (this.#broken === undefined) await this.#release?.(); // closing under a running command would wait for it
      } catch {
        // the device is being given up anyway
      }
      this.#broken = "it was closed";
    });
  }

  /** @returns the body of a success. @throws SealttyError `evidence-unavailable`. */
  async run(command: Uint8Array, purpose: string): Promise<Uint8Array> {
    const { code, body } = await this.exchange(command, purpose);
    if (code !== 0) throw refusedByTpm(code, purpose);
    return body;
  }

  /** For a caller that handles refusals itself. @throws SealttyError `evidence-unavailable`. */
  async exchange(command: Uint8Array, purpose: string): Promise<TpmResponse> {
    for (let attempt = 1; ; attempt++) {
      const response = await this.#transmitInTime(command, purpose);
      const parsed = tpmSaid(() => parseResponse(response));
      if (!isTransient(parsed.code) || attempt > TRANSIENT_RETRIES) return parsed;
      await sleep(TRANSIENT_PAUSE_MS);
    }
  }

  /** All selected PCRs at one moment: the TPM's update counter did not move in between. */
  async readPcrs(selections: readonly PcrSelection[]): Promise<PcrValue[]> {
    for (let round = 1; round <= READ_ROUNDS; round++) {
      const values: PcrValue[] = [];
      let counter: number | undefined;
      let moved = false;
      for (const { bank, indexes } of selections) {
        for (let at = 0; at < indexes.length && !moved; ) {
          const wanted = indexes.slice(at, at + PCRS_PER_READ);
          const body = await this.run(pcrReadCommand([{ bank, indexes: wanted }]), "read its PCRs");
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

  /** The values of one PCR in those of the banks that the TPM has. */
  async readPcrInBanks(index: number, banks: readonly PcrSelection["bank"][]): Promise<PcrValue[]> {
    const values: PcrValue[] = [];
    for (const bank of banks) {
      const body = await this.run(pcrReadCommand([{ bank, indexes: [index] }]), "read its PCRs");
      const read = tpmSaid(() => parsePcrRead(body));
      values.push(...read.values.filter((value) => value.bank === bank && value.index === index));
    }
    return values;
  }

  /** The whole content of an NV index. @param what - its name in errors. @param limit - bytes it may have at most. */
  async readNv(index: number, what: string, limit: number): Promise<Uint8Array> {
    const { code, body } = await this.exchange(nvReadPublicCommand(index), `describe ${what}`);
    if (responseName(code) === "TPM_RC_HANDLE") {
      throw unavailable(
        `The TPM has no ${what} (NV index 0x${index.toString(16)})`,
        "This kind of evidence exists on Azure's confidential VMs only: configure the kind that this machine has.",
      );
    }
    if (code !== 0) throw refusedByTpm(code, `describe ${what}`);
    const { attributes, size } = tpmSaid(() => parseNvPublic(body));
    const fault = nvReadFault(attributes) ?? (size > limit ? "is too long" : undefined);
    if (fault !== undefined) throw unavailable(`The TPM's ${what} ${fault}`, "Reboot the guest.");
    const chunks: Uint8Array[] = [];
    for (let offset = 0; offset < size; offset += NV_CHUNK) {
      const length = Math.min(NV_CHUNK, size - offset);
      const chunk = await this.run(nvReadCommand(index, attributes, offset, length), `read ${what}`);
      chunks.push(tpmSaid(() => parseNvRead(chunk, length)));
    }
    return concat(...chunks);
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
            this.#epoch++;
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
      this.#epoch++; // what was loaded went with the connection to the TPM
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

/** Opens the kernel's TPM device: one descriptor, kept, because the resource manager flushes keys when it closes. */
export async function openTpmDevice(
  device: string,
): Promise<Required<Pick<TpmChannelOptions, "transmit" | "release">>> {
  let file: FileHandle | undefined = await openDevice(device);
  const release = async () => {
    const old = file;
    file = undefined;
    await old?.close();
  };
  return {
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
  };
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

/** A TPM that talks nonsense is unavailable, not a misbehaving peer of the protocol. */
export function tpmSaid<T>(parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    throw unavailable(`The TPM's answer is malformed: ${reasonOf(cause)}`, "Reboot the guest.", cause);
  }
}

export function refusedByTpm(code: number, purpose: string): SealttyError {
  const name = responseName(code);
  const next =
    name === "TPM_RC_BAD_AUTH" || name === "TPM_RC_AUTH_FAIL"
      ? "The hierarchy that is asked has a password: remove it (tpm2_changeauth)."
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
