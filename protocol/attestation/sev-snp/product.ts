// AMD's product lines: how a report, a certificate and a chain each name them. AMD 57230 (VCEK), 56860 (SEV-SNP ABI)

import type { SnpProduct } from "../roots.ts";

/** Which key signs reports: the chip's own (VCEK), or one lent to a cloud (VLEK). */
export type EndorsementKind = "vcek" | "vlek";

export interface Cpuid {
  /** Extended family and family, combined: 0x19. */
  readonly family: number;
  /** Extended model and model, combined. */
  readonly model: number;
  readonly stepping: number;
}

/** @returns undefined for a processor that has no keys that this version knows. */
export function productOfCpuid({ family, model }: Cpuid): SnpProduct | undefined {
  if (family === 0x19) {
    if (model <= 0x0f) return "Milan";
    // Bergamo and Siena (0xa0) have Genoa's keys.
    return (model >= 0x10 && model <= 0x1f) || (model >= 0xa0 && model <= 0xaf) ? "Genoa" : undefined;
  }
  return family === 0x1a && model <= 0x11 ? "Turin" : undefined;
}

/** productName of a certificate: the product line, with a stepping in Milan's ("Milan-B0"). */
export function productOfName(name: string): SnpProduct | undefined {
  const line = /^(Milan|Genoa|Turin)(?:-[A-Z][0-9])?$/.exec(name)?.[1];
  return line as SnpProduct | undefined;
}

export const LEAF_NAMES: Readonly<Record<EndorsementKind, string>> = { vcek: "SEV-VCEK", vlek: "SEV-VLEK" };

/** Common name of the ASK, which signs VCEKs, or of the ASVK, which signs VLEKs. */
export function intermediateName(kind: EndorsementKind, product: SnpProduct): string {
  return kind === "vcek" ? `SEV-${product}` : `SEV-VLEK-${product}`;
}

export function rootName(product: SnpProduct): string {
  return `ARK-${product}`;
}
