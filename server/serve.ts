// The console's server: the pipe, connections, sessions. What a keystroke meets is in protocol/; what needs rights is in
// server/privileged.ts, and may be in another process (server/monitor).

import { nodeClock } from "../node/clock.ts";
import { nodeSuite } from "../node/crypto-suite.ts";
import { SealttyError } from "../protocol/errors.ts";
import { GuestEndpoint } from "../protocol/session/accept.ts";
import type { ForwardConfig, SessionsConfig } from "./config/sessions.ts";
import type { PipeConfig } from "./config/pipe.ts";
import type { ServerConfig } from "./config.ts";
import { EvidenceCollector } from "./evidence/collect.ts";
import { watchHealth } from "./evidence/health.ts";
import type { Log } from "./log.ts";
import { openServerPipes } from "./pipes/open-pipe.ts";
import { NO_EVIDENCE, type Privileged, openPrivileged } from "./privileged.ts";
import { watchForRestores } from "./restore-watch.ts";
import { screenThreadFile, screenThreads } from "./screen/start-thread.ts";
import { RemoteSessions } from "./keeper/remote-sessions.ts";
import { loadPtyAddon } from "./sessions/pty-addon.ts";
import { SessionRegistry } from "./sessions/registry.ts";
import { Streams } from "./streams/streams.ts";
import { ToldStreams } from "./streams/told-streams.ts";

/** A host may ask at will; a TPM serves the rest of the guest, too. TEE reports have a pace of their own below it. */
const EVIDENCE_PER_SECOND = 4;

export interface RunningServer {
  /** Resolves when the one device that is the pipe is gone. */
  readonly pipeLost: Promise<SealttyError>;
  stop(): Promise<void>;
}

/** What of the configuration the console's server itself needs: nothing that is secret. */
export interface ConsoleSettings {
  readonly pipe: PipeConfig;
  readonly sessions: SessionsConfig;
  readonly forward: ForwardConfig;
  /** Minutes between health probes of the evidence; 0: none. */
  readonly probeMinutes: number;
  /** Another sealttyd of this guest takes over when this one stops: clients are told. */
  readonly handsOver: boolean;
}

export function consoleSettings(
  { pipe, sessions, forward, evidence }: ServerConfig,
  handsOver: boolean,
): ConsoleSettings {
  const probeMinutes = "probeMinutes" in evidence ? evidence.probeMinutes : 0;
  return { pipe, sessions, forward, probeMinutes, handsOver };
}

/** All in this process. @throws SealttyError `bad-config`, `device-unavailable`, `evidence-unavailable`. */
export async function serve(config: ServerConfig, log: Log, handsOver = false): Promise<RunningServer> {
  loadPtyAddon(); // without it no terminal could ever be opened: say so now
  return await serveConsole(
    consoleSettings(config, handsOver),
    await openPrivileged(config, log, "sealttyd"),
    log,
  );
}

/** @param privileged - is closed with it, and where this throws. @throws SealttyError `device-unavailable`, `bad-config`. */
export async function serveConsole(
  settings: ConsoleSettings,
  privileged: Privileged,
  log: Log,
): Promise<RunningServer> {
  try {
    return await serveWith(settings, privileged, log);
  } catch (error) {
    await privileged.close();
    throw error;
  }
}

async function serveWith(config: ConsoleSettings, privileged: Privileged, log: Log): Promise<RunningServer> {
  const { provider, startProcess, startHelper } = privileged;
  const collector = new EvidenceCollector({ provider, clock: nodeClock, perSecond: EVIDENCE_PER_SECOND });
  const { findKeeper } = privileged;
  const sessions =
    findKeeper === undefined
      ? localSessions(config.sessions, { startProcess, say: (event) => privileged.say(event) }, log)
      : new RemoteSessions({ clock: nodeClock, find: findKeeper, log: (event) => log.warn(event) });
  const endpoint = new GuestEndpoint({
    suite: nodeSuite,
    clock: nodeClock,
    staticKey: nodeSuite.x25519KeyPair(), // per boot, in memory only
    services: {
      // Sent whatever the client says it accepts: the client then names what it found in its refusal.
      async collectEvidence(request) {
        const evidence = await collector.collect({
          makeBinder: (aux) => request.makeBinder(provider.type, aux),
          renewal: request.renewal,
          wanted: request.wanted,
          commonParts: await privileged.commonParts(request.proofContext),
        });
        if (!request.renewal) privileged.attested?.(evidence);
        return evidence;
      },
      loginAllowed: privileged.loginAllowed,
      keysAllowed: privileged.keysAllowed,
      verifyUserKey: privileged.verifyUserKey,
      signedOff: (user) => privileged.signedOff?.(user),
      startProcess,
      wallTime: () => Date.now(),
      sessions: config.sessions.keep ? sessions : undefined,
      streams:
        startHelper === undefined
          ? undefined
          : new ToldStreams(new Streams({ config: config.forward, log, startHelper }), nodeClock, (event) =>
              privileged.say(event),
            ),
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
  const pipes = await openServerPipes(
    config,
    (pipe, { armourOnly }) => void watch(endpoint.servePipe(pipe, { armourOnly })),
    privileged.askForDevice,
  );
  const stopWatching = watchHealth(
    {
      clock: nodeClock,
      minutes: config.probeMinutes,
      probe: () => collector.probe(),
      onSick: (cause) => log.warn(NO_EVIDENCE, { cause }),
      onWell: () => log.info("evidence can be had again"),
    },
    privileged.sick,
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
      await endpoint.stop(config.handsOver ? "handed-over" : "shutting-down");
      await pipes.close();
      await privileged.close();
    },
  };
}

/** Of this process: they end with it. Also the keeper's own. */
export function localSessions(
  limits: SessionsConfig,
  { startProcess, say }: Pick<Privileged, "startProcess" | "say">,
  log: Log,
  holds?: (any: boolean) => void,
): SessionRegistry {
  const threadFile = limits.keep ? screenThreadFile() : undefined;
  if (limits.keep && threadFile === undefined)
    log.warn("sealttyd-screen.js is missing: kept sessions come back without what has left their ring");
  return new SessionRegistry({
    suite: nodeSuite,
    clock: nodeClock,
    limits,
    startProcess,
    startScreenThread: threadFile === undefined ? undefined : screenThreads(threadFile),
    log: (event) => log.info(event),
    say,
    ...(holds === undefined ? {} : { holds }),
  });
}
