// Starts the two halves of sealttyd: this process stays the monitor, and a front without rights is started.

import { type ChildProcess, spawn } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import type { Duplex } from "node:stream";
import { utf8 } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { nodeClock } from "../../node/clock.ts";
import { errorCode } from "../../node/socket-pipe.ts";
import type { PipeConfig } from "../config/pipe.ts";
import type { ServerConfig } from "../config.ts";
import { escapeText, type Log, type LogLevel, relayLine } from "../log.ts";
import { giveBackConsole, takeConsole } from "../pipes/framebuffer/console.ts";
import { removeStaleSocket } from "../pipes/unix-listener.ts";
import { findVirtioDevice } from "../pipes/virtio-port.ts";
import { openPrivileged } from "../privileged.ts";
import { type RunningServer, consoleSettings } from "../serve.ts";
import type { Account } from "../sessions/account.ts";
import { setprivOfUtilLinux } from "../sessions/launch.ts";
import { signalQuietly } from "../sessions/guest-process.ts";
import { loadPtyAddon } from "../sessions/pty-addon.ts";
import { FRONT_OPTION, LINK_FD } from "./names.ts";
import type { FrontSettings } from "./front.ts";
import { relayFrontLog } from "./front-log.ts";
import { sandboxFor } from "./sandbox.ts";
import { Link } from "./link.ts";
import { Monitor } from "./monitor.ts";
import { FRONT_NOTICES, MONITOR_NOTICES, readNumber, readSignal } from "./operations.ts";

/** The front says its last words to its connections in this time. */
const STOP_TIMEOUT_MS = 1500;
const DEVICE_MODE = 0o600;
const DIRECTORY_MODE = 0o711;

/** @param front - whom the half becomes that talks to the host. @throws SealttyError as serve() does. */
export async function serveSplit(
  config: ServerConfig,
  front: Account,
  log: Log,
  logLevel: LogLevel,
  handsOver = false,
): Promise<RunningServer> {
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
    const pipe = await pipeForFront(config.pipe, front, directory, undo);
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
    const sandbox = config.daemon.sandbox
      ? sandboxFor({ pipe, inet: settings.mayForward, programs: frontPrograms() })
      : "the configuration says so";
    if (typeof sandbox === "string")
      log.info("the half that talks to the host gets no sandbox", { why: sandbox });
    const child = startFront(front, typeof sandbox === "string" ? [] : sandbox);
    const exited = new Promise<void>((resolve) => {
      child.once("exit", () => resolve());
      child.once("error", () => resolve());
    });
    const gone = Promise.all([exited, relayLog(child, logLevel)]);
    undo.push(async () => {
      // Its group: what it started itself, if somebody took it over, mostly goes with it.
      if (child.exitCode === null && child.signalCode === null && child.pid !== undefined)
        signalQuietly(-child.pid, "SIGKILL");
      await gone;
    });
    let ready = (): void => {};
    let lost: (reason: SealttyError) => void = () => {};
    const isReady = new Promise<void>((resolve) => {
      ready = resolve;
    });
    const pipeLost = new Promise<SealttyError>((resolve) => {
      lost = resolve;
    });
    const monitor = new Monitor({
      privileged,
      front,
      directory,
      giveDevice: () => giveDevice(config.pipe, front),
      notify: (operation, body) => link.notify(operation, body),
    });
    const link: Link = new Link(child.stdio[LINK_FD] as Duplex, {
      onCall: (operation, body) => monitor.call(operation, body),
      onNotice(operation, body) {
        switch (operation) {
          case FRONT_NOTICES.ready:
            return ready();
          case FRONT_NOTICES.signal: {
            const { program, name } = readSignal(body);
            return monitor.signal(program, name);
          }
          case FRONT_NOTICES.forget:
            return monitor.forget(readNumber(body));
          case FRONT_NOTICES.signedOff:
            return monitor.signedOff(readNumber(body));
          case FRONT_NOTICES.audit:
            return privileged.witnesses.audit.ofFront(body);
          case FRONT_NOTICES.lost:
            // Its words behind ours: none of them begins a line of the log.
            return lost(
              new SealttyError(
                "transport-lost",
                `The half that talks to the host cannot go on: ${escapeText(Buffer.from(body).toString("utf8"))}`,
              ),
            );
          default:
            throw new SealttyError("peer-misbehaved", "Unknown notice");
        }
      },
      onEnd(reason) {
        monitor.hangUpAll();
        lost(
          reason.code === "peer-misbehaved"
            ? reason
            : new SealttyError("transport-lost", "The half of sealttyd that talks to the host ended"),
        );
      },
    });
    undo.push(() => link.close());
    link.notify(MONITOR_NOTICES.settings, utf8(JSON.stringify(settings)));
    const failed = await Promise.race([isReady, pipeLost]);
    if (failed !== undefined) throw couldNotStart(failed, front);
    log.info("the half that talks to the host has no rights", { user: front.name, uid: front.uid });
    return {
      pipeLost,
      async stop() {
        link.notify(MONITOR_NOTICES.stop);
        let timer: NodeJS.Timeout | undefined;
        const tooLong = new Promise<void>((resolve) => {
          timer = setTimeout(resolve, STOP_TIMEOUT_MS);
        });
        await Promise.race([gone, tooLong]);
        clearTimeout(timer);
        await cleanUp();
      },
    };
  } catch (error) {
    await cleanUp();
    throw error;
  }
}

const frontPrograms = (): string[] => [process.execPath, process.argv[1] ?? ""];

/** @param sandbox - what becomes the program, once it has lost its rights. */
function startFront(front: Account, sandbox: readonly string[]): ChildProcess {
  const [node = "", script = ""] = frontPrograms();
  const program = [...sandbox, node, ...process.execArgv, script, FRONT_OPTION];
  const environment: Record<string, string> = { PATH: process.env["PATH"] ?? "/usr/bin:/bin" };
  for (const name of ["SEALTTY_PTY_ADDON", "LANG"]) {
    const value = process.env[name];
    if (value !== undefined) environment[name] = value;
  }
  const stdio: ("ignore" | "pipe")[] = ["ignore", "ignore", "pipe", "pipe"];
  const setpriv = setprivOfUtilLinux();
  const [file = "", ...args] =
    setpriv === undefined
      ? program
      : [
          setpriv,
          `--reuid=${front.uid}`,
          `--regid=${front.gid}`,
          "--clear-groups",
          "--no-new-privs",
          "--inh-caps=-all",
          "--bounding-set=-all",
          "--",
          ...program,
        ];
  return spawn(file, args, {
    stdio,
    cwd: "/",
    env: environment,
    detached: true, // Ctrl-C at a terminal is the monitor's to hear
    // Whoever has this user already could stop the child before it is the program, and with it this start: nobody should.
    ...(setpriv === undefined ? { uid: front.uid, gid: front.gid } : {}),
  });
}

/** @returns when all of it was taken. */
async function relayLog({ stderr }: ChildProcess, logLevel: LogLevel): Promise<void> {
  if (stderr === null) return;
  await relayFrontLog(stderr, {
    clock: nodeClock,
    write(level, text) {
      if (level !== "debug" || logLevel === "debug") relayLine(level, "front", text);
    },
  });
}

/** Others may pass, and connect to what is theirs in it; only root writes. */
function monitorDirectory(): string {
  const parent = fs.existsSync("/run") ? "/run" : os.tmpdir();
  const directory = fs.mkdtempSync(path.join(parent, "sealttyd-"));
  fs.chmodSync(directory, DIRECTORY_MODE);
  return directory;
}

/** Never what is in it: a directory of the front's holds what the front, or whoever took it over, put there, links too. */
function removeEmpty(directory: string): void {
  try {
    fs.rmdirSync(directory);
  } catch {
    // something is left in it: then it stays
  }
}

/**
 * A socket is the front's own, in a directory of its; the name that was configured leads there. Screen and keys are taken here,
 * once: whoever took the front over cannot have the kernel's console changed again and again.
 */
async function pipeForFront(
  pipe: PipeConfig,
  front: Account,
  directory: string,
  undo: (() => void)[],
): Promise<PipeConfig> {
  if (pipe.type === "framebuffer") {
    const taken = takeConsole(pipe, front);
    undo.push(() => void giveBackConsole());
    return { ...pipe, taken };
  }
  if (pipe.type !== "unix") return pipe;
  const of = path.join(directory, "console");
  fs.mkdirSync(of, { mode: 0o700 });
  fs.chownSync(of, front.uid, front.gid);
  const own = path.join(of, "pipe.sock");
  await removeStaleSocket(pipe.path);
  try {
    fs.symlinkSync(own, pipe.path);
  } catch (cause) {
    throw new SealttyError(
      "device-unavailable",
      `Cannot make "${escapeText(pipe.path)}": ${errorCode(cause) ?? "unknown error"}. Check that its directory exists.`,
      { cause },
    );
  }
  undo.push(() => {
    fs.rmSync(pipe.path, { force: true });
    fs.rmSync(own, { force: true });
    removeEmpty(of);
  });
  return { type: "unix", path: own };
}

/** A hot-plugged port comes back as root's: the front asks each time that it opens one. */
function giveDevice(pipe: PipeConfig, front: Account): void {
  if (pipe.type === "unix" || pipe.type === "framebuffer") return; // pipeForFront() did
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
