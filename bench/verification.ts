// How long the client takes to check a piece of evidence: chain, revocation, signatures, TCB, policy. Evidence made on the spot.

import { webcrypto } from "node:crypto";
import { appraise } from "../protocol/attestation/appraisal.ts";
import { encodeAux } from "../protocol/attestation/aux.ts";
import { NO_COLLATERAL, encodeCollateral } from "../protocol/attestation/collateral.ts";
import type { Evidence } from "../protocol/attestation/evidence.ts";
import { parsePolicy } from "../protocol/attestation/policy.ts";
import type { TrustRoots } from "../protocol/attestation/roots.ts";
import { webCryptoSignatures } from "../protocol/crypto/webcrypto-signatures.ts";
import { nodeSuite } from "../node/crypto-suite.ts";
import { madeSnp } from "../test/support/made-snp.ts";
import { madeTdx } from "../test/support/made-tdx.ts";
import type { Row } from "./report.ts";

const FIGURE = "checking evidence, ms";
const WARM_UP = 3;

interface Sample {
  readonly evidence: Evidence;
  readonly bound: Uint8Array;
  readonly now: number;
  readonly roots: TrustRoots;
  readonly section: string;
}

function snpSample(): Sample {
  const bound = new Uint8Array(64).fill(0xa5);
  const { report, certificateTable, now, roots } = madeSnp({ reportData: bound });
  const evidence: Evidence = { type: "sev-snp", quote: report, aux: encodeAux({ certificateTable }) };
  return { evidence, bound, now, roots, section: `[snp]\nmeasurement = ["${"11".repeat(48)}"]` };
}

function tdxSample(): Sample {
  const bound = new Uint8Array(64).fill(0xa5);
  const { quote, collateral, now, roots } = madeTdx({ reportData: bound });
  const aux = encodeAux({ collateral: encodeCollateral(collateral) });
  return {
    evidence: { type: "tdx", quote, aux },
    bound,
    now,
    roots,
    section: `[tdx]\nmrtd = ["${"11".repeat(48)}"]\n[tdx.rtmrs]\n1 = ["${"21".repeat(48)}"]\n2 = ["${"22".repeat(48)}"]`,
  };
}

async function times({ evidence, bound, now, roots, section }: Sample, rounds: number): Promise<number[]> {
  const policy = parsePolicy(`version = 1\nminimumAssurance = "hardware"\nanyInstance = true\n${section}\n`);
  const took: number[] = [];
  for (let round = -WARM_UP; round < rounds; round++) {
    const start = performance.now();
    await appraise({
      evidence,
      commitment: {
        binderFor: () => bound,
        keyProof: new Uint8Array(32),
        fresh: "for a measurement",
        boundTo: "connection",
      },
      policy,
      suite: nodeSuite,
      signatures: webCryptoSignatures(webcrypto.subtle),
      acceptSimulated: false,
      now,
      roots,
      collateral: NO_COLLATERAL,
    });
    if (round >= 0) took.push(performance.now() - start);
  }
  return took;
}

export async function verificationRows(rounds: number): Promise<Row[]> {
  const row = async (peer: string, sample: Sample): Promise<Row> => ({
    figure: FIGURE,
    peer,
    rounds: await times(sample, rounds),
    ratios: [],
  });
  return [await row("SEV-SNP, appraised whole", snpSample()), await row("TDX, appraised whole", tdxSample())];
}
