// `sealtty measure snp`: options and files in, launch digest out.

import { toHex } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { Input } from "../options.ts";
import { readOwnerFile } from "../owner-file.ts";
import { jsonLine } from "../printable.ts";
import { print, Reporter } from "../report.ts";
import type { Services } from "../services.ts";
import { CPU_TYPE_NAMES, signatureOfType } from "./cpu-types.ts";
import { launchDigest } from "./launch-digest.ts";
import { checkPolicyOptions, intoPolicy, LIMITS, required } from "./output.ts";
import { parseOvmf } from "./ovmf.ts";
import type { DirectKernel } from "./sev-hashes.ts";
import { VMMS, type Vmm } from "./vmsa.ts";

const NO_KERNEL =
  "the kernel is NOT in this measurement: a guest that is measured so runs whatever the host or a disk gives to its firmware";
const NEXT_KERNEL =
  "give --kernel, --initrd and --append, and start the guest with kernel-hashes=on; else the firmware itself must let nothing start but what you signed";
const NEXT_FIRMWARE =
  "this firmware measures none (edk2's OvmfPkg/AmdSev does, with kernel-hashes=on): it must itself let nothing start but what you signed";
/** KVM's own limit. */
const MAX_VCPUS = 4096;

export async function measureSnp(input: Input, services: Services): Promise<number> {
  checkPolicyOptions(input, "snp");
  const vmm = vmmOf(input);
  const vcpus = vcpusOf(input);
  const signature = signatureOf(input, vmm);
  const features = featuresOf(input);
  const firmwareFile = required(input, "ovmf", "the firmware image that the guest is started with");
  const kernel = await kernelOf(input);
  const firmware = parseOvmf(await readOwnerFile(firmwareFile, "OVMF image", LIMITS.firmware));
  const measurement = toHex(launchDigest({ firmware, vmm, vcpus, signature, features, kernel }));
  const reporter = new Reporter(services, input);
  reporter.detail(
    `  ${firmware.image.length} bytes of firmware, ${firmware.sections.length} sections, ${vcpus} vCPUs, ${vmm}`,
  );
  const inputs = {
    vmm,
    vcpus,
    signature: signature === undefined ? undefined : `0x${signature.toString(16)}`,
    features: `0x${features.toString(16)}`,
    kernel: kernel !== undefined,
  };
  await print(
    services.stdout,
    reporter.json
      ? `${jsonLine({ event: "measurement", kind: "sev-snp", measurement, inputs })}\n`
      : `${measurement}\n`,
  );
  if (kernel === undefined) {
    const able = vmm !== "gce" && firmware.sections.some(({ kind }) => kind === "kernel-hashes");
    reporter.warn(`sealtty: warning: ${NO_KERNEL}; ${able ? NEXT_KERNEL : NEXT_FIRMWARE}`);
    reporter.event("warning", { warning: NO_KERNEL });
  }
  await intoPolicy(input, services, { kind: "snp", measurement, kernel: kernel !== undefined });
  return 0;
}

function vmmOf(input: Input): Vmm {
  const text = input.text("vmm") ?? "qemu";
  return VMMS.find((each) => each === text.toLowerCase()) ?? bad(`--vmm is none of ${VMMS.join(", ")}`);
}

function vcpusOf(input: Input): number {
  const text = required(input, "vcpus", "the number of vCPUs changes the digest");
  const vcpus = /^[0-9]{1,4}$/.test(text) ? Number(text) : 0;
  return vcpus >= 1 && vcpus <= MAX_VCPUS ? vcpus : bad(`--vcpus is not a number from 1 to ${MAX_VCPUS}`);
}

/** Only QEMU shows the processor's signature to the guest at its start. */
function signatureOf(input: Input, vmm: Vmm): number {
  const [type, hex] = [input.text("vcpu-type"), input.text("vcpu-sig")];
  if (type !== undefined && hex !== undefined) bad("--vcpu-type and --vcpu-sig say the same thing; give one");
  if (vmm === "ec2" || vmm === "gce") {
    if (type !== undefined || hex !== undefined)
      bad(`with --vmm ${vmm} the digest does not depend on the processor; leave out its type`);
    return 0;
  }
  if (hex !== undefined) {
    if (!/^(?:0x)?[0-9a-f]{1,8}$/i.test(hex)) bad("--vcpu-sig is not a 32-bit number in hex, like 0xa00f11");
    return Number.parseInt(hex.replace(/^0x/i, ""), 16);
  }
  if (type === undefined)
    return bad("--vcpu-type is missing: name the type that QEMU's -cpu has (or --vcpu-sig HEX)");
  return (
    signatureOfType(type) ??
    bad(
      `--vcpu-type is not one of ${CPU_TYPE_NAMES.join(", ")} (or a version of these); give its signature with --vcpu-sig`,
    )
  );
}

function featuresOf(input: Input): bigint {
  const text = input.text("guest-features") ?? "0x1";
  if (!/^(?:0x)?[0-9a-f]{1,16}$/i.test(text))
    bad("--guest-features is not a 64-bit number in hex, like 0x21");
  const features = BigInt(`0x${text.replace(/^0x/i, "")}`);
  if ((features & 1n) === 0n) bad("--guest-features has bit 0 (SNP active) off: no SEV-SNP guest starts so");
  return features;
}

async function kernelOf(input: Input): Promise<DirectKernel | undefined> {
  const [kernel, initrd] = [input.text("kernel"), input.text("initrd")];
  if (kernel === undefined) {
    for (const name of ["initrd", "append"]) if (input.has(name)) bad(`--${name} goes with --kernel`);
    return undefined;
  }
  return {
    kernel: await readOwnerFile(kernel, "kernel", LIMITS.image),
    initrd: initrd === undefined ? new Uint8Array(0) : await readOwnerFile(initrd, "initrd", LIMITS.image),
    commandLine: commandLine(input.text("append") ?? ""),
  };
}

/** A NUL would end it for the guest and not for the hash. */
export function commandLine(text: string): string {
  if (text.includes("\0")) bad("--append has a NUL in it");
  return text;
}

function bad(problem: string): never {
  throw new SealttyError("bad-config", problem);
}
