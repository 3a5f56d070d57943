// The half of sealttyd that talks to the host: an ordinary user without rights. It has the console's device, the
// connections and their keys, and the terminals that end with them; for everything else it asks the monitor.

import net from "node:net";
import { type AuxParts, decodeAux, encodeAux } from "../../protocol/attestation/aux.ts";
import { encodeEvidence, type EvidenceType } from "../../protocol/attestation/evidence.ts";
import { u32, u8, utf8 } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { StaleAuxError } from "../evidence/collect.ts";
import type { CarrierEvent } from "../audit/events.ts";
import { createLog, type LogLevel } from "../log.ts";
import { NO_EVIDENCE, type Privileged } from "../privileged.ts";
import { type ConsoleSettings, type RunningServer, serveConsole } from "../serve.ts";
import type { StartHelper } from "../streams/streams.ts";
import { Link } from "./link.ts";
import { LINK_FD } from "./names.ts";
import {
  FRONT_NOTICES,
  MONITOR_NOTICES,
  OPERATIONS,
  authorizeBody,
  quoteBody,
  readGrant,
  readKeeper,
  readQuoteAnswer,
} from "./operations.ts";
import { RemotePrograms } from "./remote.ts";

/** What the monitor says first. */
export interface FrontSettings extends ConsoleSettings {
  readonly evidence: EvidenceType;
  readonly sick: boolean;
  readonly loginAllowed: boolean;
  readonly keysAllowed: boolean;
  readonly mayForward: boolean;
  readonly logLevel: LogLevel;
}

/** Runs until the monitor says stop, or is gone. @returns an exit status. */
export async function runFront(): Promise<number> {
  // systemd and Ctrl-C reach both halves: the monitor decides, and its end is this one's, too.
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(signal, () => {});
  let link!: Link;
  const programs = new RemotePrograms(() => link);
  const settings = await new Promise<FrontSettings>((resolve) => {
    let told = false;
    link = new Link(new net.Socket({ fd: LINK_FD }), {
      onNotice(operation, body) {
        if (operation === MONITOR_NOTICES.settings && !told) {
          told = true;
          resolve(JSON.parse(Buffer.from(body).toString("utf8")) as FrontSettings); // of the monitor's making
        } else if (operation === MONITOR_NOTICES.ended) programs.ended(body);
        else if (operation === MONITOR_NOTICES.stop) stopAsked();
        else throw new SealttyError("peer-misbehaved", "Unknown notice");
      },
      // Nothing can be done without it: whoever still has a session loses it, as when sealttyd ends.
      onEnd: () => process.exit(0),
    });
  });
  const log = createLog({ level: settings.logLevel, journal: true }); // the monitor reads it (front-log.ts)
  const privileged = new RemotePrivileged(link, settings, programs);
  if (settings.pipe.type !== "unix") await link.call(OPERATIONS.device);
  let server: RunningServer;
  try {
    server = await serveConsole(settings, privileged, log);
  } catch (error) {
    const message = error instanceof SealttyError ? error.message : "unexpected error";
    link.notify(FRONT_NOTICES.lost, utf8(message));
    await new Promise(() => {}); // the monitor ends it
    return 1;
  }
  link.notify(FRONT_NOTICES.ready);
  void server.pipeLost.then((error) => link.notify(FRONT_NOTICES.lost, utf8(error.message)));
  await stopped;
  await server.stop();
  return 0;
}

let stopAsked: () => void = () => {};
const stopped = new Promise<void>((resolve) => {
  stopAsked = resolve;
});

class RemotePrivileged implements Privileged {
  readonly provider: Privileged["provider"];
  readonly sick: boolean;
  readonly loginAllowed: boolean;
  readonly keysAllowed: boolean;
  readonly #link: Link;
  readonly #settings: FrontSettings;
  readonly #programs: RemotePrograms;

  constructor(link: Link, settings: FrontSettings, programs: RemotePrograms) {
    this.#link = link;
    this.#settings = settings;
    this.#programs = programs;
    this.sick = settings.sick;
    this.loginAllowed = settings.loginAllowed;
    this.keysAllowed = settings.keysAllowed;
    const type = settings.evidence;
    this.provider = {
      type,
      prepareAux: async () => decodeAux(type, await link.call(OPERATIONS.prepareAux)),
      async quote(binder, aux) {
        const quote = readQuoteAnswer(await link.call(OPERATIONS.quote, quoteBody(binder, encodeAux(aux))));
        if (quote === undefined)
          throw new StaleAuxError("evidence-unavailable", `${NO_EVIDENCE}: it is stale`);
        return quote;
      },
      async probe() {
        await link.call(OPERATIONS.probe);
      },
      async close() {},
    };
  }

  readonly verifyUserKey: Privileged["verifyUserKey"] = async (fields, publicKey, sshsig) => {
    return readGrant(
      await this.#link.call(OPERATIONS.authorize, authorizeBody({ fields, publicKey, sshsig })),
    );
  };

  readonly signedOff: NonNullable<Privileged["signedOff"]> = (user) => {
    if (user.method === "ssh-key" && user.ticket !== undefined)
      this.#link.notify(FRONT_NOTICES.signedOff, u32(user.ticket));
  };

  readonly attested: NonNullable<Privileged["attested"]> = (evidence) => {
    this.#link.call(OPERATIONS.attested, encodeEvidence(evidence)).catch(() => {}); // then nobody signs in on it
  };

  async commonParts(
    proofContext: Uint8Array,
  ): Promise<Pick<AuxParts, "instanceDocument" | "instanceKey" | "sshHostKeys">> {
    return decodeAux(this.#settings.evidence, await this.#link.call(OPERATIONS.commonParts, proofContext));
  }

  readonly startProcess: Privileged["startProcess"] = (user, request) => this.#programs.start(user, request);

  say(event: CarrierEvent): void {
    this.#programs.say(event);
  }

  get startHelper(): StartHelper | undefined {
    if (!this.#settings.mayForward) return undefined;
    return (user, helper) => this.#programs.startHelper(user, helper);
  }

  readonly findKeeper: NonNullable<Privileged["findKeeper"]> = async (start) => {
    return readKeeper(await this.#link.call(OPERATIONS.keeper, u8(start ? 1 : 0)));
  };

  readonly askForDevice = (): void => {
    this.#link.call(OPERATIONS.device).catch(() => {}); // the port may not be there yet
  };

  async close(): Promise<void> {}
}
