// sealttyd's parts put together: the pipe, the evidence, the users, the programs. What a keystroke meets is in protocol/.

import { nodeClock } from "../node/clock.ts";
import { nodeSuite } from "../node/crypto-suite.ts";
import { binderOf } from "../protocol/attestation/binder.ts";
import type { EvidenceProvider } from "../protocol/attestation/evidence.ts";
import { GuestEndpoint } from "../protocol/session/accept.ts";
import type { ServerConfig } from "./config.ts";
import { EvidenceCollector } from "./evidence/collect.ts";
import { SIMULATED_OPT_IN, SimulatedEvidenceProvider } from "./evidence/simulated.ts";
import { openTpmEvidence } from "./evidence/tpm.ts";
import type { Log } from "./log.ts";
import { openServerPipes } from "./pipes/open-pipe.ts";
import { userPrograms } from "./sessions/user-programs.ts";
import { userKeys } from "./user-keys.ts";

/** A host may ask at will; a TPM serves the rest of the guest, too. */
const EVIDENCE_PER_SECOND = 4;

/** @throws SealttyError `bad-config`, `device-unavailable`, `evidence-unavailable`: nothing was left open then. */
export async function serve(config: ServerConfig, log: Log): Promise<{ stop(): Promise<void> }> {
  const provider = await openEvidence(config, log);
  const collector = new EvidenceCollector({ provider, clock: nodeClock, perSecond: EVIDENCE_PER_SECOND });
  const endpoint = new GuestEndpoint({
    suite: nodeSuite,
    clock: nodeClock,
    staticKey: nodeSuite.x25519KeyPair(), // per boot, in memory only
    services: {
      // Sent whatever the client says it accepts: the client then names what it found in its refusal.
      collectEvidence: (context) =>
        collector.collect((aux) => binderOf(nodeSuite, context, provider.type, aux)),
      loginAllowed: config.users.login !== undefined,
      keysAllowed: config.users.authorizedKeys !== undefined,
      verifyUserKey: userKeys(config.users, log),
      startProcess: userPrograms(config.users),
      log: (event) => log.info(event),
    },
  });
  const pipes = await openServerPipes(config, (pipe, { armourOnly }) => {
    endpoint.servePipe(pipe, { armourOnly }).catch((error: unknown) => {
      log.warn("a pipe failed", { error: error instanceof Error ? error.message : "unknown" });
    });
  });
  return {
    async stop() {
      await endpoint.stop();
      await pipes.close();
      if ("close" in provider && typeof provider.close === "function") await provider.close();
    },
  };
}

async function openEvidence(config: ServerConfig, log: Log): Promise<EvidenceProvider> {
  if (config.evidence.type === "tpm") {
    const provider = await openTpmEvidence({
      device: config.evidence.device,
      pcrs: config.evidence.pcrs,
      suite: nodeSuite,
    });
    // Better now, to whoever starts this, than to the first client: is there a TPM that answers behind the device?
    await provider.prepareAux().catch(async (error: unknown) => {
      await provider.close();
      throw error;
    });
    return provider;
  }
  log.warn("SIMULATED EVIDENCE is configured: it proves nothing about this machine");
  return new SimulatedEvidenceProvider(SIMULATED_OPT_IN, nodeSuite, config.evidence.instance);
}
