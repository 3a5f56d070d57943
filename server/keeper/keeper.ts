// The process that kept sessions live in: their programs' terminals, their latest output, their screens. It reads nothing of the
// host's; a front that ends, by a mistake or because somebody found one, takes no session with it. docs/decisions/0030

import net from "node:net";
import { nodeClock } from "../../node/clock.ts";
import { u8 } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { SessionsConfig } from "../config/sessions.ts";
import { createLog, type LogLevel } from "../log.ts";
import { Link } from "../monitor/link.ts";
import { LINK_FD } from "../monitor/names.ts";
import {
  FRONT_NOTICES,
  KEEPER_CALLS,
  MONITOR_NOTICES,
  type NamedUser,
  OPERATIONS,
  readGrant,
  userBody,
} from "../monitor/operations.ts";
import { RemotePrograms } from "../monitor/remote.ts";
import { localSessions } from "../serve.ts";
import { loadPtyAddon } from "../sessions/pty-addon.ts";
import type { AuthenticatedUser } from "../../protocol/session/guest-process.ts";
import { Fronts } from "./fronts.ts";
import { PASS_LENGTH } from "./pass.ts";

/** What the monitor says first. */
export interface KeeperSettings {
  /** Where fronts connect, one after the other. */
  readonly socket: string;
  readonly sessions: SessionsConfig;
  readonly logLevel: LogLevel;
}

/** Runs until the monitor says stop, or is gone. @returns an exit status. */
export async function runKeeper(): Promise<number> {
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(signal, () => {});
  loadPtyAddon();
  let link!: Link;
  let fronts: Fronts | undefined; // once this has said that it is ready
  let stop = (): void => {};
  const stopped = new Promise<void>((resolve) => {
    stop = resolve;
  });
  const programs = new RemotePrograms(() => link);
  const settings = await new Promise<KeeperSettings>((resolve) => {
    let told = false;
    link = new Link(new net.Socket({ fd: LINK_FD }), {
      async onCall(operation, pass) {
        if (operation !== KEEPER_CALLS.admit || pass.length !== PASS_LENGTH || fronts === undefined)
          throw new SealttyError("peer-misbehaved", "Unknown call");
        fronts.admit(pass.slice());
        return new Uint8Array(0);
      },
      onNotice(operation, body) {
        if (operation === MONITOR_NOTICES.settings && !told) {
          told = true;
          resolve(JSON.parse(Buffer.from(body).toString("utf8")) as KeeperSettings); // of the monitor's making
        } else if (operation === MONITOR_NOTICES.ended) programs.ended(body);
        else if (operation === MONITOR_NOTICES.frontEnded) fronts?.ended();
        else if (operation === MONITOR_NOTICES.stop) stop();
        else throw new SealttyError("peer-misbehaved", "Unknown notice");
      },
      onEnd: () => process.exit(0), // its end hangs every terminal up
    });
  });
  const log = createLog({ level: settings.logLevel, journal: true }); // the monitor reads it
  const sessions = localSessions(
    settings.sessions,
    {
      startProcess: (user, request) => programs.start(user, request),
      say: (event) => programs.say(event),
    },
    log,
    (any) => link.notify(FRONT_NOTICES.holds, u8(any ? 1 : 0)),
  );
  const whoIs = async (user: NamedUser): Promise<AuthenticatedUser> => {
    if (user.ticket === undefined) return { name: user.name, method: "none" };
    const grant = readGrant(await link.call(OPERATIONS.who, userBody(user)));
    if (grant === undefined) throw new SealttyError("user-refused", "Nobody has signed in so");
    return { name: user.name, method: "ssh-key", ...grant };
  };
  const own = new Fronts({ sessions, clock: nodeClock, whoIs });
  fronts = own;
  const server = net.createServer((socket) => void own.take(socket));
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen({ path: settings.socket }, () => {
      server.off("error", reject);
      resolve();
    });
  });
  server.on("error", () => log.warn("a connection to the keeper of sessions could not be taken")); // no more descriptors, say
  link.notify(FRONT_NOTICES.ready);
  await stopped;
  sessions.stop();
  return 0;
}
