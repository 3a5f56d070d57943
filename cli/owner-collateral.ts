// The owner's own collateral: `--collateral DIR`, and what `sealtty collateral fetch` left in the cache.

import { existsSync } from "node:fs";
import { readCollateralDirectory, requireOwnersSize } from "../node/collateral-files.ts";
import { type Collateral, NO_COLLATERAL, joinCollateral } from "../protocol/attestation/collateral.ts";
import { collateralCache } from "./directories.ts";
import type { Input } from "./options.ts";
import type { Services } from "./services.ts";

/** As JSON for the page: lists of base64. */
export function collateralAsText(collateral: Collateral): Record<keyof Collateral, string[]> {
  const text = (pieces: readonly Uint8Array[]): string[] =>
    pieces.map((piece) => Buffer.from(piece).toString("base64"));
  return {
    certificates: text(collateral.certificates),
    crls: text(collateral.crls),
    tcbInfos: text(collateral.tcbInfos),
    qeIdentities: text(collateral.qeIdentities),
  };
}

/** @throws SealttyError `bad-config` where a directory was named and cannot be read, or holds something else. */
export function ownerCollateral(
  input: Pick<Input, "text">,
  services: Pick<Services, "environment">,
): Promise<Collateral> {
  return collateralOf(input.text("collateral"), services.environment);
}

/** @throws SealttyError as above. */
export async function collateralOf(
  named: string | undefined,
  environment: Services["environment"],
): Promise<Collateral> {
  const cache = collateralCache(environment);
  const own = named === undefined ? NO_COLLATERAL : await readCollateralDirectory(named);
  const cached =
    cache === undefined || !existsSync(cache) ? NO_COLLATERAL : await readCollateralDirectory(cache);
  const both = distinct(joinCollateral(own, cached));
  requireOwnersSize(both, `The collateral of ${named} with that of the cache ${cache}`);
  return both;
}

/** A directory is often what the cache has as well. */
function distinct(bag: Collateral): Collateral {
  const once = (pieces: readonly Uint8Array[]) => [
    ...new Map(pieces.map((piece) => [Buffer.from(piece).toString("latin1"), piece])).values(),
  ];
  return {
    certificates: once(bag.certificates),
    crls: once(bag.crls),
    tcbInfos: once(bag.tcbInfos),
    qeIdentities: once(bag.qeIdentities),
  };
}
