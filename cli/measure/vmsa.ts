// A vCPU's save area at launch: which register holds what before the first instruction. AMD APM volume 2, table B-4.

import { PageWriter } from "./little-endian.ts";

/**
 * `qemu`: KVM since Linux 6.10, which writes the FPU's reset state as well; `qemu-legacy`: AMD's trees before SEV-SNP
 * was upstream; `ec2`, `gce`: the clouds' own.
 */
export const VMMS = ["qemu", "qemu-legacy", "ec2", "gce"] as const;
export type Vmm = (typeof VMMS)[number];

export interface VcpuStart {
  readonly vmm: Vmm;
  /** Address of the first instruction. */
  readonly eip: number;
  /** CPUID Fn0000_0001_EAX; only QEMU shows it to the guest. */
  readonly signature: number;
  /** SEV_FEATURES: bit 0 SNP active, 5 debug swap, 9 secure TSC, … */
  readonly features: bigint;
}

/** The first instruction of a processor after reset. */
export const RESET_EIP = 0xffff_fff0;

/** What the VMMs do differently. */
interface Habits {
  /** Attributes of CS, of the first processor and of the others. */
  readonly cs: readonly [first: number, others: number];
  readonly ss: number;
  readonly tr: number;
  /** IA32_PAT. */
  readonly pat: bigint;
  /** EDX; undefined: the processor's signature. */
  readonly edx: number | undefined;
  /** The x87 control word and MXCSR of a reset processor are written. */
  readonly fpu: boolean;
}
const RESET_PAT = 0x0007_0406_0007_0406n;
const HABITS: Readonly<Record<Vmm, Habits>> = {
  qemu: { cs: [0x9b, 0x9b], ss: 0x93, tr: 0x8b, pat: RESET_PAT, edx: undefined, fpu: true },
  "qemu-legacy": { cs: [0x9b, 0x9b], ss: 0x93, tr: 0x8b, pat: RESET_PAT, edx: undefined, fpu: false },
  ec2: { cs: [0x9a, 0x9b], ss: 0x92, tr: 0x83, pat: RESET_PAT, edx: 0, fpu: false },
  gce: { cs: [0x9b, 0x9b], ss: 0x93, tr: 0x8b, pat: 0x0007_0106n, edx: 0x600, fpu: false },
};

/** @returns the page of 4096 bytes that the launch measures for one vCPU. */
export function vmsaPage({ vmm, eip, signature, features }: VcpuStart): Uint8Array {
  const habits = HABITS[vmm];
  const page = new PageWriter();
  /** vmcb_seg: selector, attributes, limit, base. */
  const segment = (at: number, attributes: number, selector = 0, base = 0) =>
    page
      .u16(at, selector)
      .u16(at + 2, attributes)
      .u32(at + 4, 0xffff)
      .u64(at + 8, BigInt(base));
  const upper = eip - (eip & 0xffff);
  segment(0x00, 0x93); // ES
  segment(0x10, habits.cs[eip === RESET_EIP ? 0 : 1], 0xf000, upper); // CS
  segment(0x20, habits.ss); // SS
  for (const at of [0x30, 0x40, 0x50]) segment(at, 0x93); // DS, FS, GS
  segment(0x60, 0); // GDTR
  segment(0x70, 0x82); // LDTR
  segment(0x80, 0); // IDTR
  segment(0x90, habits.tr); // TR
  page.u64(0xd0, 0x1000n); // EFER: KVM sets SVME
  page.u64(0x148, 0x40n); // CR4: KVM sets MCE
  page.u64(0x158, 0x10n); // CR0
  page.u64(0x160, 0x400n); // DR7
  page.u64(0x168, 0xffff_0ff0n); // DR6
  page.u64(0x170, 2n); // RFLAGS
  page.u64(0x178, BigInt(eip & 0xffff)); // RIP
  page.u64(0x268, habits.pat); // G_PAT
  page.u64(0x310, BigInt(habits.edx ?? signature)); // RDX
  page.u64(0x3b0, features); // SEV_FEATURES
  page.u64(0x3e8, 1n); // XCR0
  if (habits.fpu) page.u32(0x408, 0x1f80).u16(0x410, 0x37f); // MXCSR, x87 control word
  return page.bytes;
}
