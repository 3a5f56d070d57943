// Starts the two halves of sealttyd: this process stays the monitor, and a front without rights is started.

import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { utf8 } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { nodeClock } from "../../node/clock.ts";
import { doneWithin } from "./patience.ts";
import { errorCode } from "../../node/socket-pipe.ts";
import type { PipeConfig } from "../config/pipe.ts";
import type { ServerConfig } from "../config.ts";
import { escapeText, type Log, type LogLevel } from "../log.ts";
import { findVirtioDevice } from "../pipes/virtio-port.ts";
import { openPrivileged } from "../privileged.ts";
import { type RunningServer, consoleSettings } from "../serve.ts";
import type { Account } from "../sessions/account.ts";
import { loadPtyAddon } from "../sessions/pty-addon.ts";
import { type Child, endWith, ownPrograms, startChild } from "./child.ts";
import type { FrontSettings } from "./front.ts";
import { type FrontPipe, pipeForFronts, removeEmpty } from "./front-pipe.ts";
import { KeeperStarter, programNotice } from "./keepers.ts";
import { Link } from "./link.ts";
import { Monitor, type Peer } from "./monitor.ts";
import { FRONT_OPTION } from "./names.ts";
import { FRONT_NOTICES, MONITOR_NOTICES, readNumber } from "./operations.ts";
import { type SandboxNeeds, sandboxFor } from "./sandbox.ts";
import { type Front, successiveFronts } from "./successive-fronts.ts";

/** The front says its last words to its connections in this time. */
const STOP_TIMEOUT_MS = 1500;
const DEVICE_MODE = 0o600;
const DIRECTORY_MODE = 0o711;

/**
 * @param front - whom the half becomes that talks to the host. @param stopped - sealttyd is to end, which it does whatever that half does.
 * @returns undefined where that was before it served. @throws SealttyError as serve() does.
 */
export async function serveSplit(
  config: ServerConfig,
  front: Account,
  log: Log,
  logLevel: LogLevel,
  { handsOver, stopped }: { readonly handsOver: boolean; readonly stopped: Promise<unknown> },
): Promise<RunningServer | undefined> {
  loadPtyAddon(); // the front needs it: say so now, where it is missing
  const privileged = await openPrivileged(config, log, "monitor");
  const undo: (() => void | Promise<void>)[] = [() => privileged.close()];
  const cleanUp = async (): Promise<void> => {
    for (const step of undo.reverse()) {
      try {
        await step();
      } catch (error) {
        // What was left lying about must not keep the next step from being done.
        log.warn("cannot clean up", { cause: errorCode(error) ?? "unknown" });
      }
    }
  };
  try {
    const directory = monitorDirectory();
    undo.push(() => removeEmpty(directory));
    const consolePipe: FrontPipe = await pipeForFronts(config.pipe, front, directory);
    undo.push(() => consolePipe.undo());
    const pipe = consolePipe.ready();
    const settings: FrontSettings = {
      ...consoleSettings(config, handsOver),
      pipe,
      evidence: privileged.provider.type,
      sick: privileged.sick,
      loginAllowed: privileged.loginAllowed,
      keysAllowed: privileged.keysAllowed,
      mayForward: privileged.startHelper !== undefined,
      logLevel,
    };
    const sandboxOf = (needs: Omit<SandboxNeeds, "programs">): readonly string[] | string =>
      config.daemon.sandbox ? sandboxFor({ ...needs, programs: ownPrograms() }) : "the configuration says so";
    const sandbox = sandboxOf({ pipe, inet: settings.mayForward });
    if (typeof sandbox === "string")
      log.info("the half that talks to the host gets no sandbox", { why: sandbox });
    const keepers = new KeeperStarter({
      account: front,
      directory,
      sessions: config.sessions,
      logLevel,
      log,
      sandbox: (own) => {
        const found = sandboxOf({ pipe: { type: "unix", path: own }, inet: false });
        return typeof found === "string" ? [] : found;
      },
      monitor: () => monitor,
      audit: (body) => privileged.witnesses.audit.of("keeper", body),
    });
    undo.push(() => keepers.stop());
    const monitor: Monitor = new Monitor({
      privileged,
      front,
      directory,
      giveDevice: () => giveDevice(config.pipe, front),
      findKeeper: (start, front) => keepers.find(start, front),
      frontEnded: (front) => keepers.frontEnded(front),
    });
    const startHalf = (pipe: PipeConfig): FrontHalf =>
      startFront({
        monitor,
        child: startChild({
          option: FRONT_OPTION,
          name: "front",
          account: front,
          sandbox: typeof sandbox === "string" ? [] : sandbox,
          logLevel,
        }),
        settings: { ...settings, pipe },
        audit: (body) => privileged.witnesses.audit.of("front", body),
      });
    let half = startHalf(pipe);
    let stopping = false;
    undo.push(() => half.end());
    const tooLate = stopped.then(() => "stopped" as const);
    const failed = await Promise.race([half.ready, half.lost, tooLate]);
    if (failed === "stopped") {
      await doneWithin(nodeClock, STOP_TIMEOUT_MS, cleanUp());
      return undefined;
    }
    if (failed !== undefined) throw couldNotStart(failed, front);
    log.info("the half that talks to the host has no rights", { user: front.name, uid: front.uid });
    const pipeLost = successiveFronts(half, {
      clock: nodeClock,
      log,
      start: () => {
        half = startHalf(consolePipe.ready());
        return half;
      },
      isWorthIt: () => keepers.hold && !stopping,
    });
    return {
      pipeLost,
      async stop() {
        stopping = true;
        await half.stop(STOP_TIMEOUT_MS);
        await cleanUp();
      },
    };
  } catch (error) {
    await cleanUp();
    throw error;
  }
}

interface FrontHalf extends Front {
  /** It may say its last words. */
  stop(withinMs: number): Promise<void>;
}

function startFront(parts: {
  readonly monitor: Monitor;
  readonly child: Child;
  readonly settings: FrontSettings;
  readonly audit: (body: Uint8Array) => void;
}): FrontHalf {
  const { monitor, child, settings, audit } = parts;
  let isReady = (): void => {};
  let isLost: (reason: SealttyError) => void = () => {};
  const ready = new Promise<undefined>((resolve) => {
    isReady = () => resolve(undefined);
  });
  const lost = new Promise<SealttyError>((resolve) => {
    isLost = resolve;
  });
  const peer: Peer = { kind: "front", notify: (operation, body) => link.notify(operation, body) };
  const link: Link = new Link(child.stream, {
    onCall: (operation, body) => monitor.call(operation, body, peer),
    onNotice(operation, body) {
      switch (operation) {
        case FRONT_NOTICES.ready:
          return isReady();
        case FRONT_NOTICES.signedOff:
          return monitor.signedOff(readNumber(body));
        case FRONT_NOTICES.lost:
          // Its words behind ours: none of them begins a line of the log.
          return isLost(
            new SealttyError(
              "transport-lost",
              `The half that talks to the host cannot go on: ${escapeText(Buffer.from(body).toString("utf8"))}`,
            ),
          );
        default:
          return programNotice({ monitor, peer, audit }, operation, body);
      }
    },
    onEnd(reason) {
      monitor.hangUpAll(peer);
      isLost(
        reason.code === "peer-misbehaved"
          ? reason
          : new SealttyError("transport-lost", "The half of sealttyd that talks to the host ended"),
      );
    },
  });
  link.notify(MONITOR_NOTICES.settings, utf8(JSON.stringify(settings)));
  void endWith(child, link);
  return {
    ready,
    lost,
    async stop(withinMs) {
      link.notify(MONITOR_NOTICES.stop);
      await doneWithin(nodeClock, withinMs, child.gone);
    },
    async end() {
      link.close();
      await child.kill();
    },
  };
}

/** Others may pass, and connect to what is theirs in it; only root writes. */
function monitorDirectory(): string {
  const parent = fs.existsSync("/run") ? "/run" : os.tmpdir();
  const directory = fs.mkdtempSync(path.join(parent, "sealttyd-"));
  fs.chmodSync(directory, DIRECTORY_MODE);
  return directory;
}

/** A hot-plugged port comes back as root's: the front asks each time that it opens one. */
function giveDevice(pipe: PipeConfig, front: Account): void {
  if (pipe.type === "unix" || pipe.type === "framebuffer") return; // pipeForFronts() did
  const device = pipe.type === "virtio" ? findVirtioDevice(pipe.name) : fs.realpathSync(pipe.device);
  fs.chownSync(device, front.uid, front.gid);
  fs.chmodSync(device, DEVICE_MODE);
}

function couldNotStart(why: SealttyError, front: Account): SealttyError {
  if (why.code === "peer-misbehaved") return why;
  const file = process.argv[1] ?? "sealttyd";
  return new SealttyError(
    "device-unavailable",
    `${why.message}. If the log says nothing above: the user ${front.name} must be able to read ${escapeText(file)} and run ${escapeText(process.execPath)}, in its sandbox, too ([daemon] sandbox = false does without).`,
  );
}

export function noDaemonUser(user: string): SealttyError {
  const name = escapeText(user);
  return new SealttyError(
    "bad-config",
    `There is no user "${name}" for the half of sealttyd that talks to the host. ` +
      `Make one (useradd --system --shell /usr/sbin/nologin ${name}), name another with user in [daemon], ` +
      'or say user = "root": then one process does everything, with all rights.',
  );
}
