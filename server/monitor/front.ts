// The half of sealttyd that talks to the host: an ordinary user without rights. It has the console's device, the
// connections and their keys, and the sessions' terminals; for everything else it asks the monitor.

import { once } from "node:events";
import net from "node:net";
import { nodeClock } from "../../node/clock.ts";
import { type AuxParts, decodeAux, encodeAux } from "../../protocol/attestation/aux.ts";
import { encodeEvidence, type EvidenceType } from "../../protocol/attestation/evidence.ts";
import { u32, utf8 } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { AuthenticatedUser, GuestProcess } from "../../protocol/session/guest-process.ts";
import type { ProgramRequest } from "../../protocol/session/channel-api.ts";
import { isTerminalRequest } from "../../protocol/session/open-request.ts";
import { StaleAuxError } from "../evidence/collect.ts";
import { type CarrierEvent, carrierEventBody } from "../audit/events.ts";
import { createLog, type LogLevel } from "../log.ts";
import { NO_EVIDENCE, type Privileged } from "../privileged.ts";
import { CarriedProcess } from "../recording/carried-process.ts";
import type { RecordingSink } from "../recording/recording.ts";
import { type ConsoleSettings, type RunningServer, serveConsole } from "../serve.ts";
import { ExecProcess } from "../sessions/exec-process.ts";
import { SocketSource } from "../sessions/output-source.ts";
import { startOnTerminal } from "../sessions/pty-process.ts";
import type { ProgramEnd, RunningProgram } from "../sessions/running-program.ts";
import type { StartHelper } from "../streams/streams.ts";
import { Link } from "./link.ts";
import { LINK_FD } from "./names.ts";
import {
  FRONT_NOTICES,
  MONITOR_NOTICES,
  OPERATIONS,
  authorizeBody,
  helperBody,
  type NamedUser,
  quoteBody,
  readEnded,
  readGrant,
  readStarted,
  recordBody,
  type RecordCall,
  type StartedAnswer,
  readQuoteAnswer,
  signalBody,
  startBody,
} from "./operations.ts";

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
  const programs = new RemotePrograms();
  let link!: Link;
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

/** Programs that the monitor started, by its numbers. */
class RemotePrograms {
  readonly #ends = new Map<number, (end: ProgramEnd) => void>();
  /** An end may be told before the answer that gave the number was taken up. */
  readonly #early = new Map<number, ProgramEnd>();

  ended(body: Uint8Array): void {
    const { program, ...end } = readEnded(body);
    const tell = this.#ends.get(program);
    if (tell === undefined) this.#early.set(program, end);
    else {
      this.#ends.delete(program);
      tell(end);
    }
  }

  started(link: Link, number: number): RunningProgram {
    const early = this.#early.get(number);
    this.#early.delete(number);
    return {
      ended:
        early !== undefined
          ? Promise.resolve(early)
          : new Promise((resolve) => this.#ends.set(number, resolve)),
      signal: (name) => link.notify(FRONT_NOTICES.signal, signalBody(number, name)),
      forget: () => link.notify(FRONT_NOTICES.forget, u32(number)),
    };
  }
}

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

  readonly startProcess = async (user: AuthenticatedUser, request: ProgramRequest): Promise<GuestProcess> => {
    const said: { answer?: StartedAnswer } = {};
    const start = async (at: string) => {
      const body = startBody({ user: namedUser(user), request, path: at });
      const [program, answer] = await this.#started(OPERATIONS.start, body);
      said.answer = answer;
      return program;
    };
    const terminal = isTerminalRequest(request);
    const process = terminal
      ? await startOnTerminal(request, nodeClock, ({ path }) => start(path))
      : await this.#onStreams(start, "command" in request ? (request.command[0] ?? "") : request.kind);
    if (said.answer === undefined) throw new Error("A program that nobody started");
    const { program, recorded, notice } = said.answer;
    const sink = recorded ? remoteSink(this.#link, program) : undefined;
    const say = (event: CarrierEvent): void => this.say(event);
    return new CarriedProcess(process, { program, clock: nodeClock, terminal, sink, notice, say });
  };

  say(event: CarrierEvent): void {
    this.#link.notify(FRONT_NOTICES.audit, carrierEventBody(event));
  }

  get startHelper(): StartHelper | undefined {
    if (!this.#settings.mayForward) return undefined;
    return async (user, helper) =>
      await this.#onStreams(async (at) => {
        const body = helperBody({ user: namedUser(user), helper, path: at });
        const [program] = await this.#started(OPERATIONS.helper, body);
        return program;
      }, helper.kind);
  }

  async #started(operation: number, body: Uint8Array): Promise<readonly [RunningProgram, StartedAnswer]> {
    const answer = readStarted(await this.#link.call(operation, body));
    return [this.#programs.started(this.#link, answer.program), answer];
  }

  async #onStreams(start: (at: string) => Promise<RunningProgram>, name: string): Promise<GuestProcess> {
    const offered = new TextDecoder().decode(await this.#link.call(OPERATIONS.streams));
    const sockets: net.Socket[] = [];
    try {
      // One after the other: their order says which is which.
      const next = async (socket: net.Socket): Promise<void> => {
        sockets.push(socket);
        await isConnected(socket);
      };
      const output = async (): Promise<SocketSource> => {
        const source = new SocketSource((onread) =>
          net.connect({ path: offered, allowHalfOpen: true, onread }),
        );
        await next(source.socket);
        return source;
      };
      const stdin = net.connect({ path: offered, allowHalfOpen: true });
      await next(stdin);
      const stdout = await output();
      const stderr = await output();
      const program = await start(offered);
      stdout.socket.end();
      stderr.socket.end();
      return new ExecProcess({ stdin, stdout, stderr }, program, name);
    } catch (error) {
      for (const socket of sockets) socket.destroy();
      throw error;
    }
  }

  readonly askForDevice = (): void => {
    this.#link.call(OPERATIONS.device).catch(() => {}); // the port may not be there yet
  };

  async close(): Promise<void> {}
}

/** The monitor writes the recording. */
export function remoteSink(link: Pick<Link, "call">, program: number): RecordingSink {
  const call = (what: RecordCall) => link.call(OPERATIONS.record, recordBody(what));
  let resizing = false;
  let next: { readonly columns: number; readonly rows: number } | undefined;
  return {
    async output(bytes) {
      await call({ kind: "output", program, bytes });
    },
    // One at a time: a client may resize as often as it likes, and the newest size is what counts.
    resize(columns, rows) {
      next = { columns, rows };
      if (resizing) return;
      resizing = true;
      void (async () => {
        while (next !== undefined) {
          const size = next;
          next = undefined;
          await call({ kind: "resize", program, ...size }).catch(() => {});
        }
        resizing = false;
      })();
    },
    outputEnded() {
      call({ kind: "end", program }).catch(() => {});
    },
  };
}

function namedUser(user: AuthenticatedUser): NamedUser {
  return user.method === "none" || user.ticket === undefined
    ? { name: user.name }
    : { name: user.name, ticket: user.ticket };
}

async function isConnected(socket: net.Socket): Promise<void> {
  try {
    await once(socket, "connect");
  } catch (cause) {
    throw new SealttyError("device-unavailable", "The monitor's socket cannot be reached", { cause });
  }
  socket.on("error", () => {});
}
