// A program that sealtty-exec was started for, done in the process that keeps the connection: the standard streams, signals and
// variables of its surroundings are those of the process at the other end of the socket. What `sealtty exec` does with its own
// is done with these, by the same code.

import { Buffer } from "node:buffer";
import { Reader, textOf, u32, u8 } from "../../protocol/bytes.ts";
import type { AppraisedClaims } from "../../protocol/attestation/verified-guest.ts";
import type { ExecOptions, RemoteProcess } from "../api/types.ts";
import { asksForHelp, execAsSaid } from "../exec-as-said.ts";
import { execOptions } from "../exec-plan.ts";
import { EXIT_OUTPUT_CLOSED, signalStatus } from "../exit-status.ts";
import { OutputClosed } from "../output.ts";
import type { Reporter, Talk } from "../report.ts";
import { runVerified, SIGNALS_UNTIL_END } from "../run-program.ts";
import type { Surroundings } from "../services.ts";
import { startedInTime } from "./exec-over-master.ts";
import { type Launch, namesOwnFiles, saidIn } from "./launch.ts";
import { dependsOnDirectory, masterPlace } from "./place.ts";
import { LaunchedInput, LaunchedOutput } from "./launched-streams.ts";
import { type Frame, type FrameType, misbehaved, readTaken } from "./wire.ts";

/** What the process that keeps a connection has for it. */
export interface Keeper {
  /** Where it is found. */
  readonly socket: string;
  /** @returns true where the connection is of no use, and whoever came opens another: this one ends. */
  beginsAnew(): boolean;
  /** @throws why there is no connection. */
  kept(): Promise<{
    readonly guest: {
      readonly claims: AppraisedClaims;
      exec(command: readonly string[], options: ExecOptions): Promise<RemoteProcess>;
    };
    /** The policy's name. */
    readonly policy: string;
  }>;
}

/** Signals that sealtty-exec passes on. */
const PASSED: ReadonlySet<string> = new Set(["SIGINT", "SIGTERM", "SIGHUP"]);

export class Launched {
  readonly #launch: Launch;
  readonly #send: (type: FrameType, body?: Uint8Array) => void;
  readonly #stdin: LaunchedInput;
  readonly #stdout: LaunchedOutput;
  readonly #stderr: LaunchedOutput;
  readonly #handlers = new Map<string, Set<() => void>>();
  readonly #surroundings: Surroundings;
  #reporter: Reporter | undefined;
  #program: RemoteProcess | undefined;
  #gone = false;
  #hasAgreed = false;
  readonly #signals = new Map<string, number>();
  readonly #unwritable: Promise<never>;
  readonly #interrupted: Promise<number>;
  #interrupt: (status: number) => void = () => undefined;
  readonly #agreed: Promise<void>;
  #agree!: { go(): void; fail(error: Error): void };

  constructor(launch: Launch, here: Surroundings, send: (type: FrameType, body?: Uint8Array) => void) {
    this.#launch = launch;
    this.#send = send;
    this.#agreed = new Promise((go, fail) => {
      this.#agree = { go, fail };
    });
    this.#interrupted = new Promise((resolve) => (this.#interrupt = resolve));
    this.#agreed.catch(() => undefined); // it may be gone before it was asked
    const [input, output, errors] = launch.terminals;
    this.#stdin = new LaunchedInput(input, (length) => send("room", u32(length)));
    let lost: (error: Error) => void = () => undefined;
    this.#unwritable = new Promise((_, reject) => {
      lost = reject;
    });
    this.#unwritable.catch(() => undefined); // nothing may run by then
    this.#stdout = new LaunchedOutput(output, (part) => send("output", part), lost);
    this.#stderr = new LaunchedOutput(errors, (part) => send("errors", part), lost);
    const { localUser, clock, programDirectory, version } = here;
    this.#surroundings = {
      stdin: this.#stdin,
      stdout: this.#stdout,
      stderr: this.#stderr,
      environment: launch.environment,
      localUser,
      clock,
      programDirectory,
      version,
      onSignal: (name, handler) => this.#onSignal(name, handler),
      onExit: () => () => undefined, // of this process: none of what is done here has anything to put back
      suspend: () => undefined, // its own terminal stops it
    };
  }

  /** It agreed that it is done here, and it is not over. */
  get busy(): boolean {
    return this.#hasAgreed && !this.#gone;
  }

  /** A program runs for it. */
  get running(): boolean {
    return this.#program !== undefined;
  }

  /** What is said meanwhile to all who use the connection; nothing before it was read how much is to be said. */
  get talk(): Talk | undefined {
    return this.#reporter;
  }

  /** Resolves once all was said and sent. Never rejects. */
  async run(keeper: Keeper): Promise<void> {
    const { args, directory } = this.#launch;
    if (asksForHelp(args)) return this.#send("not-here");
    const done = await execAsSaid(
      args,
      this.#surroundings,
      async (plan, input, services, reporter) => {
        if (plan.terminal || dependsOnDirectory(plan.guest) || namesOwnFiles(input)) return "not-here";
        const { socket } = masterPlace(plan.guest, input, false, services);
        if (socket !== keeper.socket) return { elsewhere: socket };
        if (keeper.beginsAnew()) return "not-here";
        this.#send("here");
        await this.#agreed; // else it might be done twice: here, late, and by whoever was asked meanwhile
        this.#reporter = reporter;
        const { guest, policy } = await keeper.kept();
        if (this.#gone) throw new OutputClosed(); // whoever it was for gave it up
        const starting = guest.exec(plan.request.command, execOptions(plan));
        starting.then((program) => this.#started(program)).catch(() => undefined); // told below, or too late
        const program = await startedInTime(starting, input, services);
        reporter.verified(guest.claims, policy);
        const running = runVerified(program, guest.claims, plan, services, reporter);
        const written = running.then((status) => Promise.race([this.#written(status), this.#interrupted]));
        return await Promise.race([written, this.#unwritable]).catch((error: unknown) => {
          program.hangUp(); // nobody has anything of it any more
          if (error instanceof OutputClosed) return EXIT_OUTPUT_CLOSED;
          throw error;
        });
      },
      { read: (input) => saidIn(directory, input), stderr: this.#stderr.aside() },
    );
    this.#program = undefined;
    if (done === "not-here") return this.#send(done);
    if (typeof done === "object") return this.#send("elsewhere", Buffer.from(done.elsewhere));
    // What is still on its way is written there, as long as somebody reads it.
    this.#send("ended", u8(done));
  }

  /** @throws SealttyError `peer-misbehaved`. */
  take({ type, body }: Frame): void {
    switch (type) {
      case "go":
        this.#hasAgreed = true;
        return this.#agree.go();
      case "input":
        return this.#stdin.come(body);
      case "end":
        return this.#stdin.come(undefined);
      case "signal":
        return this.#onSignalled(textOf(body));
      case "taken": {
        const { stream, bytes } = readTaken(new Reader(body, "Room"));
        return (stream === 1 ? this.#stdout : this.#stderr).taken(bytes);
      }
      case "broken": {
        const reader: Reader = new Reader(body, "An error");
        const [stream, errno] = [reader.u8(), reader.u32()];
        reader.end();
        const broken = [this.#stdin, this.#stdout, this.#stderr][stream];
        if (broken === undefined) throw misbehaved("an error of a stream that there is not");
        return broken.broken(errno);
      }
      default:
        throw misbehaved("a frame out of turn");
    }
  }

  /** The process at the other end is dead, or has what it wanted. */
  gone(): void {
    this.#gone = true;
    this.#agree.fail(new OutputClosed());
    this.#program?.hangUp();
    for (const stream of [this.#stdin, this.#stdout, this.#stderr]) stream.destroy();
  }

  #started(program: RemoteProcess): void {
    if (this.#gone) program.hangUp();
    else this.#program = program;
  }

  /** @returns the status, once all is where it goes. @throws OutputClosed, and what kept it from being written. */
  async #written(status: number): Promise<number> {
    await Promise.all([this.#stdout.written(), this.#stderr.written()]);
    return status;
  }

  #onSignal(name: string, handler: () => void): () => void {
    if (this.#handlers.size === 0) this.#send("begun");
    const handlers = this.#handlers.get(name) ?? new Set();
    this.#handlers.set(name, handlers.add(handler));
    return () => handlers.delete(handler);
  }

  #onSignalled(name: string): void {
    if (!PASSED.has(name)) throw misbehaved("a signal that is none of those that are passed on");
    const count = (this.#signals.get(name) ?? 0) + 1;
    this.#signals.set(name, count);
    if (count >= SIGNALS_UNTIL_END) this.#interrupt(signalStatus(name)); // a reader that stopped must not hold the user
    for (const handler of this.#handlers.get(name) ?? []) handler();
  }
}
