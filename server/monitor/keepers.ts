// The monitor's end of the keeper of sessions: starts one at the first session, and another one where that has ended.

import fs from "node:fs";
import path from "node:path";
import { nodeClock } from "../../node/clock.ts";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { utf8 } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { TokenBucket } from "../../protocol/session/token-bucket.ts";
import type { SessionsConfig } from "../config/sessions.ts";
import type { KeeperSettings } from "../keeper/keeper.ts";
import { PASS_LENGTH } from "../keeper/pass.ts";
import type { Log, LogLevel } from "../log.ts";
import type { KeeperPlace } from "../keeper/pass.ts";
import type { Account } from "../sessions/account.ts";
import { type Child, endWith, startChild } from "./child.ts";
import { Link } from "./link.ts";
import type { Monitor, Peer } from "./monitor.ts";
import { KEEPER_OPTION } from "./names.ts";
import { answersWithin, doneWithin } from "./patience.ts";
import {
  FRONT_NOTICES,
  KEEPER_CALLS,
  MONITOR_NOTICES,
  readFlag,
  readNumber,
  readSignal,
} from "./operations.ts";

/** Started at once, one after the other; then one in half a minute. */
const KEEPERS_AT_ONCE = 5;
const KEEPERS_PER_SECOND = 1 / 30;
/** Its programs are hung up in this time. */
const STOP_TIMEOUT_MS = 1000;
/** Seconds; it does little to answer, on a machine that may be slow. */
const ANSWER_SECONDS = 60;
/** Of its directory, and its socket. */
const OWN_MODE = 0o700;
/** Linux: opened to be named only; a link is itself. Not in Node's constants. */
const O_PATH = 0o10000000;

export interface KeeperStarterOptions {
  readonly account: Account;
  /** Root's, which others may pass. */
  readonly directory: string;
  readonly sessions: SessionsConfig;
  readonly logLevel: LogLevel;
  readonly log: Log;
  /** @param socket - in a directory of its own. */
  readonly sandbox: (socket: string) => readonly string[];
  readonly monitor: () => Monitor;
  readonly audit: (body: Uint8Array) => void;
}

interface Running {
  readonly socket: Promise<string>;
  /** @throws SealttyError `transport-lost` where it ended. */
  admit(pass: Uint8Array): Promise<unknown>;
  frontEnded(): void;
  /** At once. */
  end(): void;
  stop(): Promise<void>;
}

export class KeeperStarter {
  readonly #options: KeeperStarterOptions;
  readonly #passes = new WeakMap<Peer, Uint8Array>();
  readonly #ended = new WeakSet<Peer>();
  readonly #starts = new TokenBucket(KEEPERS_PER_SECOND, KEEPERS_AT_ONCE);
  #keeper: Running | undefined;
  #hold = false;

  constructor(options: KeeperStarterOptions) {
    this.#options = options;
  }

  /** Whether there are sessions for which another front is worth it, in the keeper's own words. */
  get hold(): boolean {
    return this.#keeper !== undefined && this.#hold;
  }

  /** @param start - where none runs; else undefined says so. @throws SealttyError `device-unavailable`, `transport-lost`. */
  async find(start: boolean, front: Peer): Promise<KeeperPlace | undefined> {
    if (start) this.#keeper ??= this.#start();
    const keeper = this.#keeper;
    if (keeper === undefined) return undefined;
    const socket = await this.#patiently(keeper, keeper.socket);
    letIn(socket);
    const pass = this.#passes.get(front) ?? nodeSuite.randomBytes(PASS_LENGTH);
    // Nobody waits for it any more; and to admit it would cut the next one off.
    if (this.#ended.has(front)) throw new SealttyError("transport-lost", "The front that asked has ended");
    this.#passes.set(front, pass);
    await this.#patiently(keeper, keeper.admit(pass));
    return { socket, pass };
  }

  /** What it left behind is not it. */
  frontEnded(front: Peer): void {
    this.#ended.add(front);
    this.#keeper?.frontEnded();
  }

  async stop(): Promise<void> {
    await this.#keeper?.stop();
  }

  /** One that hangs has its sessions, but nobody reaches them: it is ended, and the next session has another one. */
  async #patiently<T>(keeper: Running, answer: Promise<T>): Promise<T> {
    if (!(await answersWithin(nodeClock, ANSWER_SECONDS, answer))) {
      this.#options.log.error("THE KEEPER OF SESSIONS DOES NOT ANSWER: it is ended, and so are its sessions");
      keeper.end();
    }
    return await answer; // fails then
  }

  #start(): Running {
    if (!this.#starts.take(nodeClock.now()))
      throw new SealttyError(
        "device-unavailable",
        "Keepers of sessions end one after the other: the next one waits",
      );
    const { account, directory, sessions, logLevel, log, sandbox } = this.#options;
    const monitor = this.#options.monitor();
    const own = path.join(directory, "keeper");
    const socket = path.join(own, "keeper.sock");
    fs.mkdirSync(own, { mode: OWN_MODE, recursive: true }); // one that ended left it
    fs.chownSync(own, account.uid, account.gid);
    fs.rmSync(socket, { force: true });
    const child: Child = startChild({
      option: KEEPER_OPTION,
      name: "keeper",
      account,
      sandbox: sandbox(socket),
      logLevel,
    });
    let isReady = (): void => {};
    let failed: (error: SealttyError) => void = () => {};
    const ready = new Promise<string>((resolve, reject) => {
      isReady = () => resolve(socket);
      failed = reject;
    });
    ready.catch(() => {}); // whoever asked hears it
    const peer: Peer = { kind: "keeper", notify: (operation, body) => link.notify(operation, body) };
    const keeper: Running = {
      socket: ready,
      admit: (pass) => link.call(KEEPER_CALLS.admit, pass),
      frontEnded: () => link.notify(MONITOR_NOTICES.frontEnded),
      end: () => link.close(),
      async stop() {
        link.notify(MONITOR_NOTICES.stop);
        await doneWithin(nodeClock, STOP_TIMEOUT_MS, child.gone);
        link.close();
        await child.kill();
        fs.rmSync(socket, { force: true });
        try {
          fs.rmdirSync(own);
        } catch {
          // something is left in it, which is not ours to remove
        }
      },
    };
    const link: Link = new Link(child.stream, {
      onCall: (operation, body) => monitor.call(operation, body, peer),
      onNotice: (operation, body) => {
        if (operation === FRONT_NOTICES.ready) isReady();
        else if (operation === FRONT_NOTICES.holds) this.#hold = readFlag(body);
        else programNotice({ monitor, peer, audit: (event) => this.#options.audit(event) }, operation, body);
      },
      onEnd: () => {
        monitor.hangUpAll(peer);
        failed(new SealttyError("device-unavailable", "The keeper of sessions ended"));
        void child.kill();
        if (this.#keeper !== keeper) return;
        this.#keeper = undefined;
        this.#hold = false;
        log.warn("the keeper of sessions ended, and its sessions have");
      },
    });
    void endWith(child, link);
    const settings: KeeperSettings = { socket, sessions, logLevel };
    link.notify(MONITOR_NOTICES.settings, utf8(JSON.stringify(settings)));
    return keeper;
  }
}

/**
 * For the next front: one that was taken over is the directory's owner, too, and outside of a sandbox may have shut it for good. Never
 * what a link in it leads to.
 */
function letIn(socket: string): void {
  fs.chmodSync(path.dirname(socket), OWN_MODE);
  let fd: number | undefined;
  try {
    fd = fs.openSync(socket, O_PATH | fs.constants.O_NOFOLLOW);
    if (fs.fstatSync(fd).isSocket()) fs.chmodSync(`/proc/self/fd/${fd}`, OWN_MODE);
  } catch {
    // it is gone: the front hears so when it connects
  } finally {
    if (fd !== undefined) fs.closeSync(fd);
  }
}

/** What fronts and keepers say of programs. @throws SealttyError `peer-misbehaved`. */
export function programNotice(
  { monitor, peer, audit }: { monitor: Monitor; peer: Peer; audit: (body: Uint8Array) => void },
  operation: number,
  body: Uint8Array,
): void {
  switch (operation) {
    case FRONT_NOTICES.signal: {
      const { program, name } = readSignal(body);
      return monitor.signal(program, name, peer);
    }
    case FRONT_NOTICES.forget:
      return monitor.forget(readNumber(body), peer);
    case FRONT_NOTICES.audit:
      return audit(body);
    default:
      throw new SealttyError("peer-misbehaved", "Unknown notice");
  }
}
