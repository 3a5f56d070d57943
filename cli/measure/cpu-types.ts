// The processor signature (CPUID Fn0000_0001_EAX) of QEMU's EPYC models: QEMU puts it into EDX of every vCPU at its start.

/** Lower-case name of QEMU's `-cpu` to family, model, stepping (AMD 25481, CPUID Fn0000_0001_EAX). */
const MODELS: Readonly<Record<string, readonly [family: number, model: number, stepping: number]>> = {
  epyc: [0x17, 0x01, 2],
  "epyc-rome": [0x17, 0x31, 0],
  "epyc-milan": [0x19, 0x01, 1],
  "epyc-genoa": [0x19, 0x11, 0],
  "epyc-turin": [0x1a, 0x00, 0],
};

/** Names for help and errors. Versions (`EPYC-Genoa-v1`) have the signature of their model. */
export const CPU_TYPE_NAMES = ["EPYC", "EPYC-Rome", "EPYC-Milan", "EPYC-Genoa", "EPYC-Turin"] as const;

/** @returns the 32-bit signature; extended family and model as AMD 25481 folds them. */
export function cpuSignature(family: number, model: number, stepping: number): number {
  const base = Math.min(family, 0xf);
  const extended = family - base;
  return (extended << 20) | ((model >> 4) << 16) | (base << 8) | ((model & 0xf) << 4) | (stepping & 0xf);
}

/** @returns undefined for a type that is not one of QEMU's EPYC models, version suffix or not, whatever its case. */
export function signatureOfType(type: string): number | undefined {
  const name = type.toLowerCase().replace(/-v[1-9]$/, "");
  const model = MODELS[name === "epyc-ibpb" ? "epyc" : name];
  return model && cpuSignature(...model);
}
