// Programs that the monitor starts for a process without its rights: the front, or the keeper of sessions.

import { once } from "node:events";
import net from "node:net";
import { nodeClock } from "../../node/clock.ts";
import { u32 } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { ProgramRequest } from "../../protocol/session/channel-api.ts";
import type { AuthenticatedUser, GuestProcess } from "../../protocol/session/guest-process.ts";
import { isTerminalRequest } from "../../protocol/session/open-request.ts";
import { type CarrierEvent, carrierEventBody } from "../audit/events.ts";
import { CarriedProcess } from "../recording/carried-process.ts";
import type { RecordingSink } from "../recording/recording.ts";
import { ExecProcess } from "../sessions/exec-process.ts";
import { SocketSource } from "../sessions/output-source.ts";
import { startOnTerminal } from "../sessions/pty-process.ts";
import type { ProgramEnd, RunningProgram } from "../sessions/running-program.ts";
import type { StartHelper } from "../streams/streams.ts";
import type { Link } from "./link.ts";
import {
  FRONT_NOTICES,
  OPERATIONS,
  helperBody,
  namedUser,
  readEnded,
  readStarted,
  recordBody,
  type RecordCall,
  signalBody,
  startBody,
  type StartedAnswer,
} from "./operations.ts";

/** By the monitor's numbers. */
export class RemotePrograms {
  readonly #link: () => Link;
  readonly #ends = new Map<number, (end: ProgramEnd) => void>();
  /** An end may be told before the answer that gave the number was taken up. */
  readonly #early = new Map<number, ProgramEnd>();

  /** @param link - to the monitor, once something is asked. */
  constructor(link: () => Link) {
    this.#link = link;
  }

  ended(body: Uint8Array): void {
    const { program, ...end } = readEnded(body);
    const tell = this.#ends.get(program);
    if (tell === undefined) this.#early.set(program, end);
    else {
      this.#ends.delete(program);
      tell(end);
    }
  }

  async start(user: AuthenticatedUser, request: ProgramRequest): Promise<GuestProcess> {
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
    const sink = recorded ? remoteSink(this.#link(), program) : undefined;
    const say = (event: CarrierEvent): void => this.say(event);
    return new CarriedProcess(process, { program, clock: nodeClock, terminal, sink, notice, say });
  }

  say(event: CarrierEvent): void {
    this.#link().notify(FRONT_NOTICES.audit, carrierEventBody(event));
  }

  readonly startHelper: StartHelper = async (user, helper) =>
    await this.#onStreams(async (at) => {
      const body = helperBody({ user: namedUser(user), helper, path: at });
      const [program] = await this.#started(OPERATIONS.helper, body);
      return program;
    }, helper.kind);

  async #started(operation: number, body: Uint8Array): Promise<readonly [RunningProgram, StartedAnswer]> {
    const answer = readStarted(await this.#link().call(operation, body));
    return [this.#running(answer.program), answer];
  }

  async #onStreams(start: (at: string) => Promise<RunningProgram>, name: string): Promise<GuestProcess> {
    const offered = new TextDecoder().decode(await this.#link().call(OPERATIONS.streams));
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

  #running(number: number): RunningProgram {
    const early = this.#early.get(number);
    this.#early.delete(number);
    const link = this.#link();
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

async function isConnected(socket: net.Socket): Promise<void> {
  try {
    await once(socket, "connect");
  } catch (cause) {
    throw new SealttyError("device-unavailable", "The monitor's socket cannot be reached", { cause });
  }
  socket.on("error", () => {});
}
