// sealttyd's parts put together: the pipe, the evidence, the users, the programs. What a keystroke meets is in protocol/.

import { nodeClock } from "../node/clock.ts";
import { nodeSuite } from "../node/crypto-suite.ts";
import type { EvidenceProvider } from "../protocol/attestation/evidence.ts";
import { SealttyError } from "../protocol/errors.ts";
import { GuestEndpoint } from "../protocol/session/accept.ts";
import type { ServerConfig } from "./config.ts";
import { EvidenceCollector } from "./evidence/collect.ts";
import { watchHealth } from "./evidence/health.ts";
import { type OpenedEvidence, openEvidence } from "./evidence/open.ts";
import { reasonOf } from "./evidence/unavailable.ts";
import { type BelievedDocument, InstanceParts, believeDocument } from "./instance.ts";
import type { Log } from "./log.ts";
import { openServerPipes } from "./pipes/open-pipe.ts";
import { watchForRestores } from "./restore-watch.ts";
import { screenThreadFile, screenThreads } from "./screen/start-thread.ts";
import { loadPtyAddon } from "./sessions/pty-addon.ts";
import { SessionRegistry } from "./sessions/registry.ts";
import { loginProgram, userPrograms } from "./sessions/user-programs.ts";
import { Streams } from "./streams/streams.ts";
import { userKeys } from "./user-keys.ts";

/** A host may ask at will; a TPM serves the rest of the guest, too. TEE reports have a pace of their own below it. */
const EVIDENCE_PER_SECOND = 4;

export interface RunningServer {
  /** Resolves when the one device that is the pipe is gone. */
  readonly pipeLost: Promise<SealttyError>;
  stop(): Promise<void>;
}

/** @throws SealttyError `bad-config`, `device-unavailable`, `evidence-unavailable`: nothing was left open then. */
export async function serve(config: ServerConfig, log: Log): Promise<RunningServer> {
  loadPtyAddon(); // without it no terminal could ever be opened: say so now
  const opened = await openEvidence(config, log);
  try {
    return await serveWith(opened, config, log);
  } catch (error) {
    await opened.provider.close();
    throw error;
  }
}

async function serveWith(opened: OpenedEvidence, config: ServerConfig, log: Log): Promise<RunningServer> {
  const { provider } = opened;
  const collector = new EvidenceCollector({ provider, clock: nodeClock, perSecond: EVIDENCE_PER_SECOND });
  const sick = await probeAtStart(provider, config, log);
  const believed = await instanceDocument(opened, config, log);
  const warn = (message: string) => log.warn("instance", { problem: message });
  const instance = await InstanceParts.open(nodeSuite, config.instance, believed, warn);
  const document = believed?.document;
  const startProcess = userPrograms(config.users, document);
  const threadFile = config.sessions.keep ? screenThreadFile() : undefined;
  if (config.sessions.keep && threadFile === undefined)
    log.warn("sealttyd-screen.js is missing: kept sessions come back without what has left their ring");
  const sessions = new SessionRegistry({
    suite: nodeSuite,
    clock: nodeClock,
    limits: config.sessions,
    startProcess,
    startScreenThread: threadFile === undefined ? undefined : screenThreads(threadFile),
    log: (event) => log.info(event),
  });
  const endpoint = new GuestEndpoint({
    suite: nodeSuite,
    clock: nodeClock,
    staticKey: nodeSuite.x25519KeyPair(), // per boot, in memory only
    services: {
      // Sent whatever the client says it accepts: the client then names what it found in its refusal.
      collectEvidence: async (request) =>
        collector.collect({
          makeBinder: (aux) => request.makeBinder(provider.type, aux),
          renewal: request.renewal,
          wanted: request.wanted,
          commonParts: await instance.forConnection(request.proofContext),
        }),
      loginAllowed: loginProgram(config.users, document) !== undefined,
      keysAllowed:
        document === undefined
          ? config.users.authorizedKeys !== undefined
          : document.authorizedKeys.length > 0,
      verifyUserKey: userKeys(config.users, document, log),
      startProcess,
      wallTime: () => Date.now(),
      sessions: config.sessions.keep ? sessions : undefined,
      // Where a document names what may run, a connection to anywhere is none of it; a shell could connect as well.
      streams:
        config.forward.allow && document?.agent.shell !== false
          ? new Streams({ config: config.forward, log })
          : undefined,
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
  const stopWatching = watchHealth(
    {
      clock: nodeClock,
      minutes: "probeMinutes" in config.evidence ? config.evidence.probeMinutes : 0,
      probe: () => collector.probe(),
      onSick: (cause) => log.warn(NO_EVIDENCE, { cause }),
      onWell: () => log.info("evidence can be had again"),
    },
    sick,
  );
  const stopWatchingClocks = watchForRestores({
    clock: nodeClock,
    onJump(seconds) {
      log.info("this machine stood still, or was restored: nothing is sent before clients are heard anew", {
        seconds,
      });
      endpoint.doubt();
    },
  });
  return {
    pipeLost,
    async stop() {
      stopWatching();
      stopWatchingClocks();
      sessions.stop();
      await endpoint.stop();
      await pipes.close();
      await provider.close();
    },
  };
}

const NO_EVIDENCE = "NO EVIDENCE can be had: no client can verify this machine";

/**
 * Better now, to whoever starts this, than to the first client. A TPM that does not answer ends the start; a TEE's hardware
 * may come to itself (the host throttles, a driver is loaded later), and starting again and again would only hurry it.
 * @returns whether it failed.
 */
async function probeAtStart(provider: EvidenceProvider, config: ServerConfig, log: Log): Promise<boolean> {
  try {
    await provider.probe();
    return false;
  } catch (error) {
    if (config.evidence.type !== "sev-snp" && config.evidence.type !== "tdx") throw error;
    log.warn(NO_EVIDENCE, { cause: reasonOf(error) });
    return true;
  }
}

/** @throws SealttyError where one is configured and cannot be believed: then nobody knows who may log in. */
async function instanceDocument(
  { anchor }: OpenedEvidence,
  { instance }: ServerConfig,
  log: Log,
): Promise<BelievedDocument | undefined> {
  if (instance.document === undefined) return undefined;
  if (anchor === undefined)
    throw new SealttyError("bad-config", "This kind of evidence cannot vouch for an instance document");
  const believed = await believeDocument(nodeSuite, instance.document, anchor);
  log.info("instance document believed", { name: believed.document.name, from: believed.words });
  return believed;
}
