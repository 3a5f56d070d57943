// `sealtty measure`: computes what a guest's evidence will say, from what the guest is made of.

import { SealttyError } from "../../protocol/errors.ts";
import { measureSnp } from "../measure/snp-command.ts";
import { measureTpm } from "../measure/tpm-command.ts";
import { CPU_TYPE_NAMES } from "../measure/cpu-types.ts";
import { COMMON_OPTIONS, type Command, usage } from "../options.ts";

const COMMON = ["json", "verbose", "quiet"];
const SNP_ONLY = ["ovmf", "vcpus", "vcpu-type", "vcpu-sig", "vmm", "guest-features"];
const TPM_ONLY = ["event-log", "uki", "cmdline-override", "phase", "bank", "pcr", "ak"];

export const measureCommand: Command = {
  name: "measure",
  summary: "compute the values to expect, and put them into a policy",
  brief: "snp|tpm …",
  operands:
    "snp --ovmf FILE --vcpus N … | tpm --event-log FILE | tpm --uki FILE | tpm --initrd FILE --append TEXT",
  options: [
    { name: "ovmf", value: "FILE", help: "snp: firmware, as QEMU's -bios gets it" },
    { name: "vcpus", value: "N", help: "snp: number of vCPUs" },
    {
      name: "vcpu-type",
      value: "TYPE",
      help: `snp, QEMU: ${CPU_TYPE_NAMES.join(", ")}, or a version of these`,
    },
    {
      name: "vcpu-sig",
      value: "HEX",
      help: "snp, QEMU: processor signature (CPUID 1, EAX) instead of a type",
    },
    {
      name: "vmm",
      value: "WHICH",
      help: "snp: qemu (default), qemu-legacy (host kernels before 6.10), ec2, gce",
      values: ["qemu", "qemu-legacy", "ec2", "gce"],
    },
    { name: "guest-features", value: "HEX", help: "snp: SEV_FEATURES of the vCPUs; default 0x1" },
    { name: "kernel", value: "FILE", help: "kernel that QEMU starts directly (snp: with kernel-hashes=on)" },
    { name: "initrd", value: "FILE", help: "its initrd" },
    { name: "append", value: "TEXT", help: "its command line" },
    {
      name: "event-log",
      value: "FILE",
      help: "tpm: binary_bios_measurements of a guest that booted as it should",
    },
    { name: "uki", value: "FILE", help: "tpm: unified kernel image of systemd-stub" },
    {
      name: "cmdline-override",
      value: "TEXT",
      help: "tpm, UKI: command line that the loader gives instead (PCR 12)",
    },
    {
      name: "phase",
      value: "LIST",
      help: "tpm, UKI: phases to accept, of enter-initrd,leave-initrd,sysinit,ready; default ready",
    },
    { name: "bank", value: "WHICH", help: "tpm: sha256 (default) or sha384", values: ["sha256", "sha384"] },
    { name: "pcr", value: "LIST", help: "tpm: only these, e.g. 4,7,9; default: every one that is known" },
    { name: "save-policy", value: "FILE", help: "write a new policy that accepts this" },
    { name: "add-to-policy", value: "FILE", help: "accept this as well in a policy of yours" },
    {
      name: "instance",
      value: "HEX",
      help: "--save-policy: SHA-256 of the instance document (sealtty instance make); with tpm only beside --ak",
    },
    {
      name: "ak",
      value: "HEX",
      help: "--save-policy, tpm: which machine, by the name of its attestation key (sealtty inspect)",
    },
    { name: "any-instance", help: "--save-policy: accept ANY machine that runs this" },
    { name: "force", help: "let --save-policy replace a file, and --add-to-policy drop your comments" },
    ...COMMON_OPTIONS.filter(({ name }) => COMMON.includes(name)),
  ],
  notes: [
    "Nothing is measured on this machine and nothing leaves it: the values come from the files. docs/measure.md",
    "Exit status: 0 good, 2 usage, or files that cannot be what they are said to be.",
  ],
  exits: "inspect-like",
  async run(input, services) {
    const [what, ...extra] = input.operands;
    if (input.rest !== undefined || extra.length > 0) throw usage(measureCommand, "unexpected operand");
    if (what !== "snp" && what !== "tpm")
      throw usage(measureCommand, what === undefined ? "say snp or tpm" : "no such kind of evidence");
    for (const name of what === "snp" ? TPM_ONLY : SNP_ONLY)
      if (input.has(name))
        throw new SealttyError(
          "bad-config",
          `--${name} is not for measure ${what}; see: sealtty help measure`,
        );
    return await (what === "snp" ? measureSnp : measureTpm)(input, services);
  },
};
