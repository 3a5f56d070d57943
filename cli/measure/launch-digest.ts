// The SEV-SNP launch digest: what MEASUREMENT will be in the report of a guest that is started so. AMD 56860 §8.17

import { concat } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { digest } from "./hashes.ts";
import { PageWriter } from "./little-endian.ts";
import { PAGE, type SectionKind, type SnpFirmware } from "./ovmf.ts";
import { type DirectKernel, hashPage } from "./sev-hashes.ts";
import { RESET_EIP, type Vmm, vmsaPage } from "./vmsa.ts";

/** PAGE_TYPE of SNP_LAUNCH_UPDATE. AMD 56860, table 64 */
const PAGE_TYPE = { normal: 1, vmsa: 2, zero: 3, unmeasured: 4, secrets: 5, cpuid: 6 } as const;
type PageType = keyof typeof PAGE_TYPE;

/** KVM gives save areas the address -1; the firmware cuts it to whole pages of 48 bits. */
const VMSA_ADDRESS = 0xffff_ffff_f000n;
const SIZE = 48;
const NO_CONTENT = new Uint8Array(SIZE);
const PAGE_INFO = 0x70;

/** A running digest: SHA-384 over a PAGE_INFO of 112 bytes for every page, which begins with the digest so far. */
export class LaunchDigest {
  #value: Uint8Array;

  /** @param start - 48 bytes, to go on from a digest known already; absent: zero, as every launch begins. */
  constructor(start: Uint8Array = NO_CONTENT) {
    if (start.length !== SIZE) throw new SealttyError("api-misuse", "A launch digest has 48 bytes");
    this.#value = start.slice();
  }

  get value(): Uint8Array {
    return this.#value.slice();
  }

  /** Whole pages whose content is measured. */
  addContent(type: "normal" | "vmsa", address: bigint, bytes: Uint8Array): void {
    if (bytes.length % PAGE !== 0) throw new SealttyError("api-misuse", "Launch pages are whole");
    for (let at = 0; at < bytes.length; at += PAGE)
      this.#update(type, address + BigInt(at), digest("sha384", bytes.subarray(at, at + PAGE)));
  }

  /** Whole pages of which only address and type are measured. */
  addEmpty(type: "zero" | "unmeasured" | "secrets" | "cpuid", address: bigint, size: number): void {
    if (size % PAGE !== 0) throw new SealttyError("api-misuse", "Launch pages are whole");
    for (let at = 0; at < size; at += PAGE) this.#update(type, address + BigInt(at), NO_CONTENT);
  }

  /** PAGE_INFO: digest so far, content, u16 length, type, IMI and VMPL permissions (all 0 in a launch), address. */
  #update(type: PageType, address: bigint, content: Uint8Array): void {
    const info = new PageWriter()
      .set(0, concat(this.#value, content))
      .u16(0x60, PAGE_INFO)
      .u16(0x62, PAGE_TYPE[type])
      .u64(0x68, address);
    this.#value = digest("sha384", info.bytes.subarray(0, PAGE_INFO));
  }
}

export interface Launch {
  readonly firmware: SnpFirmware;
  readonly vmm: Vmm;
  /** At least 1. */
  readonly vcpus: number;
  /** CPUID Fn0000_0001_EAX of the vCPUs' type; what it is matters for QEMU only. */
  readonly signature: number;
  readonly features: bigint;
  /** Where QEMU starts a kernel with kernel-hashes=on. */
  readonly kernel: DirectKernel | undefined;
  /** Digest of the firmware's own pages, where the image itself is not at hand; 48 bytes. */
  readonly firmwareDigest?: Uint8Array;
}

/** @returns 48 bytes. @throws SealttyError `bad-config` where this firmware cannot be started so. */
export function launchDigest(launch: Launch): Uint8Array {
  const { firmware, vmm, vcpus, kernel } = launch;
  if (kernel !== undefined) refuseUnmeasuredKernel(firmware, vmm);
  if (vcpus > 1 && firmware.resetEip === undefined)
    bad("The OVMF image has no SEV-ES reset block, without which there is one vCPU only; say --vcpus 1");
  const running = new LaunchDigest(launch.firmwareDigest ?? firmwareDigest(firmware));
  for (const { kind, address, size } of firmware.sections) {
    if (kind === "cpuid" && vmm === "ec2") continue; // EC2 adds it behind the others
    if (kind === "kernel-hashes" && kernel !== undefined) {
      running.addContent("normal", BigInt(address), hashPage(kernel, firmware.hashTableAddress as number));
    } else {
      running.addEmpty(emptyType(kind, vmm), BigInt(address), size);
    }
  }
  if (vmm === "ec2") {
    for (const { kind, address, size } of firmware.sections)
      if (kind === "cpuid") running.addEmpty("cpuid", BigInt(address), size);
  }
  const { signature, features } = launch;
  for (let i = 0; i < vcpus; i++) {
    const eip = i === 0 ? RESET_EIP : (firmware.resetEip as number);
    running.addContent("vmsa", VMSA_ADDRESS, vmsaPage({ vmm, eip, signature, features }));
  }
  return running.value;
}

/** @returns 48 bytes: the digest behind the firmware's own pages, before anything else. */
export function firmwareDigest({ image, address }: SnpFirmware): Uint8Array {
  const running = new LaunchDigest();
  running.addContent("normal", BigInt(address), image);
  return running.value;
}

function emptyType(kind: SectionKind, vmm: Vmm): "zero" | "unmeasured" | "secrets" | "cpuid" {
  switch (kind) {
    case "secrets":
    case "cpuid":
      return kind;
    case "sec-mem":
      return vmm === "gce" ? "unmeasured" : "zero";
    case "svsm-caa":
    case "kernel-hashes":
      return "zero";
  }
}

function refuseUnmeasuredKernel(firmware: SnpFirmware, vmm: Vmm): void {
  if (vmm !== "qemu" && vmm !== "qemu-legacy" && vmm !== "ec2")
    bad(`--kernel: ${vmm} starts no kernel directly`);
  if (
    firmware.hashTableAddress === undefined ||
    !firmware.sections.some(({ kind }) => kind === "kernel-hashes")
  )
    bad(
      "The OVMF image measures no kernel (no kernel-hashes section); build OvmfPkg/AmdSev, or leave out --kernel",
    );
  const hashes = firmware.sections.find(({ kind }) => kind === "kernel-hashes");
  if (hashes !== undefined && Math.floor(firmware.hashTableAddress / PAGE) * PAGE !== hashes.address)
    bad("The OVMF image has its table of kernel hashes outside the section for it");
}

function bad(problem: string): never {
  throw new SealttyError("bad-config", problem);
}
