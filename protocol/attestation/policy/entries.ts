// A policy as a list of sections, each with its keys and values: what the renderer, the digest and the explanation walk.

import type { Entry, Section } from "../../toml-keys.ts";
import * as keys from "./keys.ts";
import type { Policy } from "./model.ts";

export interface SectionEntries {
  readonly name: string;
  readonly words: string;
  readonly entries: readonly Entry[];
}

/** @returns the sections that the policy has, in the order of the file; [instance] always. */
export function entriesOf(policy: Policy): SectionEntries[] {
  return [
    of(keys.TOP_SECTION, policy),
    of(keys.INSTANCE_SECTION, policy.instance),
    of(keys.SNP_SECTION, policy.snp),
    of(keys.TDX_SECTION, policy.tdx),
    of(keys.AZURE_SECTION, policy.azure),
    of(keys.TPM_SECTION, policy.tpm),
    of(keys.SIMULATED_SECTION, policy.simulated),
  ].flat();
}

function of<S extends object>(section: Section<S>, value: S | undefined): SectionEntries[] {
  if (value === undefined) return [];
  return [{ name: section.name, words: section.words, entries: section.entries(value) }];
}
