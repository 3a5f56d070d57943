// What `sealttyd setup` finds on a machine: how it proves what it is, and by which port the host carries its console.

import type { EvidenceConfig } from "../config/evidence.ts";
import type { PipeConfig } from "../config/pipe.ts";
import { SEV_GUEST_DEVICE } from "../evidence/sev-guest.ts";
import { TPM_DEVICE } from "../evidence/tpm-channel.ts";
import { escapeText } from "../log.ts";
import { VIRTIO_PORTS } from "../pipes/virtio-port.ts";

/** Nothing was changed; the message says why and what to do. */
export class SetupRefused extends Error {
  override readonly name = "SetupRefused";
}

export type RealEvidence = Exclude<EvidenceConfig["type"], "simulated">;

/** This machine, or what a test says of one. */
export interface Machine {
  exists(device: string): boolean;
  /** Names of its virtio ports. */
  ports(): readonly string[];
  /** Really asks for evidence, once. @throws Error whose message says why there is none. */
  probe(type: RealEvidence): Promise<void>;
}

interface Kind {
  readonly type: RealEvidence;
  /** The device file that its driver makes. */
  readonly sign: string;
  /** Whether the device means this kind and no other. */
  readonly sure: boolean;
  readonly words: string;
}

/** Strongest first. */
const KINDS: readonly Kind[] = [
  { type: "sev-snp", sign: SEV_GUEST_DEVICE, sure: true, words: "AMD's processor vouches for it" },
  { type: "tdx", sign: "/dev/tdx_guest", sure: true, words: "Intel's processor vouches for it" },
  {
    type: "azure",
    sign: TPM_DEVICE,
    sure: false,
    words: "the processor vouches for it by Azure's paravisor",
  },
  {
    type: "tpm",
    sign: TPM_DEVICE,
    sure: true,
    words: "it proves as much as you trust whoever runs the TPM: with a TPM of QEMU's, the host",
  },
];

export function isRealEvidence(type: string): type is RealEvidence {
  return KINDS.some((kind) => kind.type === type);
}

export const EVIDENCE_TYPES: readonly string[] = KINDS.map(({ type }) => type);

export function wordsOf(type: RealEvidence): string {
  return KINDS.find((kind) => kind.type === type)?.words ?? "";
}

/**
 * The strongest that there is a device for, and only if it works: a host that makes it fail for a while must not get a
 * weaker one written down.
 * @throws SetupRefused.
 */
export async function findEvidence(machine: Machine): Promise<RealEvidence> {
  for (const { type, sign, sure } of KINDS) {
    if (!machine.exists(sign)) continue;
    try {
      await machine.probe(type);
      return type;
    } catch (error) {
      if (!sure) continue;
      const why = error instanceof Error ? error.message : "unknown error";
      throw new SetupRefused(
        `${sign} is there, but no evidence of type "${type}" can be had: ${escapeText(why)}. ` +
          "Put that right, or name the kind to configure with --evidence.",
      );
    }
  }
  const signs = [...new Set(KINDS.map(({ sign }) => sign))].join(", ");
  throw new SetupRefused(
    `This machine has nothing to prove what it is: none of ${signs}. ` +
      "Load its driver (modprobe sev-guest or tdx-guest), give it a TPM, or name the kind to configure with --evidence.",
  );
}

export const USUAL_PORT = "sealtty.0";

/** @throws SetupRefused where it is not plain which one. */
export function findPort(machine: Machine): PipeConfig {
  const ports = machine.ports();
  const ours = ports.filter((name) => /^sealtty(?:[.-]|$)/.test(name));
  const name = ours.includes(USUAL_PORT) ? USUAL_PORT : ours.length === 1 ? ours[0] : undefined;
  if (name !== undefined) return { type: "virtio", name };
  const found = ours.length > 1 ? ours : ports;
  const list = found.length === 0 ? "none" : found.map((each) => `"${escapeText(each)}"`).join(", ");
  throw new SetupRefused(
    ours.length > 1
      ? `There are several virtio ports for it: ${list}. Name one with --port.`
      : `There is no virtio port for it (in ${VIRTIO_PORTS}: ${list}). Have the host add ` +
          `-device virtserialport,chardev=…,name=${USUAL_PORT}, or name another with --port, a terminal device with --tty, or the machine's own screen with --screen.`,
  );
}
