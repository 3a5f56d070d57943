// A whole appraisal in a browser, with what the page itself uses: noble, WebCrypto, the strict headers. Never shipped.

import { fromBase64 } from "../../../client/base64.ts";
import { appraise } from "../../../protocol/attestation/appraisal.ts";
import { NO_COLLATERAL } from "../../../protocol/attestation/collateral.ts";
import { parsePolicy } from "../../../protocol/attestation/policy.ts";
import { VENDOR_ROOTS } from "../../../protocol/attestation/roots.ts";
import { nobleSuite } from "../../../protocol/crypto/noble.ts";
import { webCryptoSignatures } from "../../../protocol/crypto/webcrypto-signatures.ts";
import { SealttyError } from "../../../protocol/errors.ts";
import type { VerifyAnswer, VerifyRequest } from "./window.ts";

const suite = nobleSuite((length) => crypto.getRandomValues(new Uint8Array(length)));
const signatures = webCryptoSignatures(crypto.subtle);

window.verify = async (request: VerifyRequest): Promise<VerifyAnswer> => {
  const evidence = {
    type: request.type,
    quote: fromBase64(request.quote),
    aux: fromBase64(request.aux),
  };
  const bound = fromBase64(request.bound);
  const start = performance.now();
  const took = (): number => performance.now() - start;
  try {
    const { claims } = await appraise({
      evidence,
      commitment: {
        binderFor: () => bound,
        keyProof: new Uint8Array(32),
        boundTo: "connection",
        fresh: "for a test",
      },
      policy: parsePolicy(request.policy),
      suite,
      signatures,
      acceptSimulated: false,
      now: request.now,
      roots: request.roots ?? VENDOR_ROOTS,
      collateral: NO_COLLATERAL,
    });
    const checks = claims.verified.map(({ check }) => check);
    return { milliseconds: took(), verdict: claims.verdict, assurance: claims.assurance, checks };
  } catch (error) {
    if (!(error instanceof SealttyError) || error.refusal === undefined) throw error;
    return { milliseconds: took(), refused: error.refusal.check, message: error.message };
  }
};
