// sealttyd's parts put together: the pipe, the evidence, the users, the programs. What a keystroke meets is in protocol/.

import { nodeClock } from "../node/clock.ts";
import { nodeSuite } from "../node/crypto-suite.ts";
import { binderOf } from "../protocol/attestation/binder.ts";
import type { EvidenceProvider } from "../protocol/attestation/evidence.ts";
import { SealttyError } from "../protocol/errors.ts";
import { GuestEndpoint } from "../protocol/session/accept.ts";
import type { ServerConfig } from "./config.ts";
import { EvidenceCollector } from "./evidence/collect.ts";
import { SIMULATED_OPT_IN, SimulatedEvidenceProvider } from "./evidence/simulated.ts";
import { openTpmEvidence } from "./evidence/tpm.ts";
import type { Log } from "./log.ts";
import { openServerPipes } from "./pipes/open-pipe.ts";
import { loadPtyAddon } from "./sessions/pty-addon.ts";
import { userPrograms } from "./sessions/user-programs.ts";
import { userKeys } from "./user-keys.ts";

/** A host may ask at will; a TPM serves the rest of the guest, too. */
const EVIDENCE_PER_SECOND = 4;

export interface RunningServer {
  /** Resolves when the one device that is the pipe is gone. */
  readonly pipeLost: Promise<SealttyError>;
  stop(): Promise<void>;
}

/** @throws SealttyError `bad-config`, `device-unavailable`, `evidence-unavailable`: nothing was left open then. */
export async function serve(config: ServerConfig, log: Log): Promise<RunningServer> {
  loadPtyAddon(); // without it no terminal could ever be opened: say so now
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
  let lost: (reason: SealttyError) => void = () => {};
  const pipeLost = new Promise<SealttyError>((resolve) => {
    lost = resolve;
  });
  const watch = async (serving: Promise<void>): Promise<void> => {
    const reason = await serving.then(
      () => "it ended",
      (error: unknown) => (error instanceof Error ? error.message : "unknown"),
    );
    if (config.pipe.type === "unix") return log.debug("a connection of the socket ended", { reason });
    // A device has one pipe: without it this process would live on and hear nobody.
    lost(
      new SealttyError(
        "transport-lost",
        `The console device is gone: ${reason}. Whoever starts sealttyd should start it again.`,
      ),
    );
  };
  const pipes = await openServerPipes(config, (pipe, { armourOnly }) => {
    void watch(endpoint.servePipe(pipe, { armourOnly }));
  });
  return {
    pipeLost,
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
