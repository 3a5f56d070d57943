// Collateral that the guest has: files of its image, read again whenever they change (TCB info lives for 30 days).

import { stat } from "node:fs/promises";
import path from "node:path";
import { collateralFiles, readCollateralDirectory } from "../../node/collateral-files.ts";
import {
  type Collateral,
  NO_COLLATERAL,
  encodeCollateral,
  joinCollateral,
} from "../../protocol/attestation/collateral.ts";
import { MAX_COLLATERAL, MAX_COLLATERAL_PIECES } from "../../protocol/limits.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { reasonOf } from "./unavailable.ts";

export class CollateralSource {
  readonly #directory: string | undefined;
  readonly #warn: (message: string) => void;
  #reported: string | undefined;
  #known: { readonly state: string; readonly collateral: Collateral } | undefined;

  /** @param directory - undefined: none. @param warn - told once for each new problem with the files. */
  constructor(directory: string | undefined, warn: (message: string) => void) {
    this.#directory = directory;
    this.#warn = warn;
  }

  /** @throws SealttyError `bad-config` where the files cannot be used: for the start, when someone can mend them. */
  async load(): Promise<Collateral> {
    if (this.#directory === undefined) return NO_COLLATERAL;
    const state = await stateOf(this.#directory);
    if (this.#known?.state === state) return this.#known.collateral;
    const collateral = await readCollateralDirectory(this.#directory);
    if (!fits(collateral)) {
      throw new SealttyError(
        "bad-config",
        `${this.#directory} holds more than ${MAX_COLLATERAL_PIECES} pieces or ${MAX_COLLATERAL / 1024} KiB of collateral, which is more than goes with evidence. Remove what is out of date.`,
      );
    }
    this.#known = { state, collateral };
    return collateral;
  }

  /**
   * The aux part; empty where there is none. Files that became unusable while sealttyd runs are reported and the last good
   * ones sent: what is too old the client's verifier sees by itself. @param more - collateral from elsewhere.
   */
  async encoded(more: Collateral = NO_COLLATERAL): Promise<Uint8Array> {
    let own: Collateral;
    try {
      own = await this.load();
      this.#reported = undefined;
    } catch (error) {
      this.#report(`collateral files cannot be used: ${reasonOf(error)}`);
      own = this.#known?.collateral ?? NO_COLLATERAL;
    }
    const both = joinCollateral(own, more);
    if (fits(both)) return encodeCollateral(both);
    this.#report("collateral files leave no room for what the platform gives: remove what is out of date");
    return encodeCollateral(own);
  }

  #report(problem: string): void {
    if (this.#reported !== problem) this.#warn(problem);
    this.#reported = problem;
  }
}

function fits(collateral: Collateral): boolean {
  return (
    Object.values(collateral).flat().length <= MAX_COLLATERAL_PIECES &&
    encodeCollateral(collateral).length <= MAX_COLLATERAL
  );
}

/** What tells that something changed: names, sizes, times. */
async function stateOf(directory: string): Promise<string> {
  const states: string[] = [];
  for (const name of await collateralFiles(directory)) {
    const { mtimeMs, size, ino } = await stat(path.join(directory, name)).catch(() => ({
      mtimeMs: 0,
      size: 0,
      ino: 0,
    }));
    states.push(`${name}\0${ino}\0${size}\0${mtimeMs}`);
  }
  return states.join("\0");
}
