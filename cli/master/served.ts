// One who came to a kept connection's socket: a channel like any other, or a program that runs here for sealtty-exec.

import type net from "node:net";
import type { Readable, Writable } from "node:stream";
import { PullReader } from "../../node/pull-reader.ts";
import { Reader, textOf, u32 } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { readOpen } from "../../protocol/session/open-request.ts";
import type { OpenGuest } from "../api/open-guest.ts";
import { signalNamed } from "../api/remote-program.ts";
import type { RemoteProcess, RemoteTerminal } from "../api/types.ts";
import { exitFields } from "../exit-status.ts";
import type { Surroundings } from "../services.ts";
import { readLaunch } from "./launch.ts";
import { type Keeper, Launched } from "./launched.ts";
import {
  encodeFrame,
  encodeJson,
  failureOf,
  type Frame,
  FrameReader,
  type FrameType,
  INPUT_WINDOW,
  MAX_DATA,
  misbehaved,
  OUTPUT_WINDOW,
  readTaken,
  writeFrame,
} from "./wire.ts";

/** An OPEN whole (docs/protocol.md §8.3), or data. */
const MAX_REQUEST = 256 * 1024;
/** Of what is said to somebody who does not read. */
const MAX_SAID_WAITING = 64 * 1024;

/** What the master has, once it has it. */
export interface Kept {
  readonly guest: Pick<OpenGuest, "exec" | "shell" | "reattest" | "claims">;
  /** The policy's name. */
  readonly policy: string;
  /** The next answer to asking for evidence is said, even where all is well. */
  askedForEvidence(): void;
}

/** A program's output on its way to one who asked: no more than a window of it is there and not taken. */
class CarriedOutput {
  #waiting = 0; // bytes sent on and not taken
  #nobody = false; // takes it any more
  #wake: () => void = () => {};

  async carry(from: Readable, send: (part: Uint8Array) => void): Promise<void> {
    const reader = new PullReader(from);
    for (let chunk = await reader.read(); chunk !== undefined; chunk = await reader.read()) {
      if (this.#nobody) continue; // what is left is thrown away, so that the program ends
      this.#waiting += chunk.length;
      for (let at = 0; at < chunk.length; at += MAX_DATA) send(chunk.subarray(at, at + MAX_DATA));
      while (this.#waiting >= OUTPUT_WINDOW) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }

  /** @throws SealttyError `peer-misbehaved`. */
  taken(bytes: number): void {
    if (bytes > this.#waiting) throw misbehaved("that more was taken than was given");
    this.#waiting -= bytes;
    this.#wake();
  }

  /** Nobody reads on: without this the stream would wait for ever. */
  takeAll(): void {
    this.#nobody = true;
    this.taken(this.#waiting);
  }
}

/** A program of the guest's, with a terminal or without. */
interface Running {
  readonly input: Writable;
  readonly outputs: readonly Readable[];
  readonly program: RemoteProcess | RemoteTerminal;
  resize(columns: number, rows: number): void;
}

/** @throws SealttyError as `Guest.exec`; `peer-misbehaved` where it is no program that is asked for. */
async function start({ guest }: Kept, request: ReturnType<typeof readOpen>): Promise<Running> {
  if (request.kind !== "exec" && request.kind !== "shell") throw misbehaved("a request for no program");
  const { command, environment: env, directory } = request;
  const place = { env, ...(directory === undefined ? {} : { cwd: directory }) };
  if (request.kind === "shell") {
    const { term, columns, rows } = request;
    const terminal = await guest.shell({ ...place, command, term, columns, rows });
    const { input, output } = terminal;
    const resize = (width: number, height: number): void => terminal.resize(width, height);
    return { input, outputs: [output], program: terminal, resize };
  }
  const program = await guest.exec(command, { ...place, stdin: true });
  const { stdin, stdout, stderr } = program;
  if (stdin === undefined)
    throw new SealttyError("api-misuse", "A program without the input that was asked for");
  return { input: stdin, outputs: [stdout, stderr], program, resize: () => undefined };
}

/** Resolves once the program took it, or takes nothing more: its exit tells. */
function given(input: Writable | undefined, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    if (input?.writable === true) input.write(bytes, () => resolve());
    else resolve();
  });
}

/** Something that all who use the connection are to hear. */
export interface Said {
  readonly how: "say" | "warn" | "detail" | "event";
  readonly text: string;
  readonly fields?: Readonly<Record<string, unknown>>;
}

export interface Owner {
  readonly here: Surroundings;
  readonly keeper: Keeper;
  status(): unknown;
  /** Nobody finds it any more. */
  stopping(): void;
  stop(): void;
  over(): void;
}

/** One who asked. */
export class Served {
  readonly #socket: net.Socket;
  readonly #frames = new FrameReader(MAX_REQUEST);
  readonly #owner: Owner;
  #kept: Kept | undefined;
  /** Of sealtty-exec. */
  #launched: Launched | undefined;
  #asked = false; // whether its one request came
  #running: Running | undefined;
  #input = Promise.resolve();
  #inputHeld = 0;
  #gone = false;
  readonly #output = new CarriedOutput();
  readonly #errors = new CarriedOutput();

  constructor(socket: net.Socket, owner: Owner) {
    this.#socket = socket;
    this.#owner = owner;
    socket.on("data", (chunk: Buffer) => this.#onData(chunk));
    socket.on("error", () => undefined); // "close" follows
    socket.once("close", () => {
      this.#gone = true;
      this.#running?.program.hangUp(); // who asked for it is dead, or has what it wanted
      this.#launched?.gone();
      for (const output of [this.#output, this.#errors]) output.takeAll();
      owner.over();
    });
  }

  get running(): boolean {
    return this.#running !== undefined || this.#launched?.running === true;
  }

  /** It asked for something that would be missed: a program that runs, or is being started. */
  get busy(): boolean {
    return this.#asked || this.#launched?.busy === true;
  }

  greet(kept: Kept): void {
    this.#kept = kept;
    if (this.#launched === undefined) this.#send("hello");
  }

  say(said: Said): void {
    if (!this.#socket.writable || this.#socket.writableLength >= MAX_SAID_WAITING) return;
    const { how, text, fields } = said;
    if (this.#launched === undefined) this.#socket.write(encodeJson("said", said));
    else if (how === "event") this.#launched.talk?.event(text, fields ?? {});
    else this.#launched.talk?.[how](text);
  }

  /** Resolves once what runs here for it has ended, and it heard so; at once where nothing does. */
  async over(): Promise<void> {
    if (this.#launched === undefined || this.#socket.destroyed) return;
    await new Promise<void>((resolve) => this.#socket.once("close", () => resolve()));
  }

  /** Resolves once it was sent, or nobody is there to read it. */
  async fail(error: unknown): Promise<void> {
    const over = new Promise<void>((resolve) => this.#socket.once("close", () => resolve()));
    if (this.#socket.destroyed) return;
    // What was launched fails by itself, and says why.
    if (this.#launched === undefined) this.#socket.end(encodeJson("failed", failureOf(error)));
    await over;
  }

  end(): void {
    this.#socket.destroy();
  }

  #send(type: FrameType, ...body: readonly Uint8Array[]): void {
    if (this.#socket.writable) writeFrame(this.#socket, type, ...body);
  }

  #onData(chunk: Buffer): void {
    try {
      for (const frame of this.#frames.push(chunk)) this.#take(frame);
    } catch (error) {
      if (this.#launched === undefined) void this.fail(error);
      else this.#socket.destroy();
    }
  }

  #take(frame: Frame): void {
    const { type, body } = frame;
    if (this.#launched !== undefined) return this.#launched.take(frame);
    if (type === "launch" && !this.#asked) return this.#onLaunch(body);
    const kept = this.#kept;
    if (kept === undefined || (type === "open") === this.#asked) {
      if (type !== "check" && type !== "stop") throw misbehaved("a frame out of turn");
    }
    switch (type) {
      case "open":
        this.#asked = true;
        if (this.#owner.keeper.beginsAnew()) return void this.#socket.end(encodeFrame("anew"));
        return void this.#run(kept as Kept, body).catch((error: unknown) => this.fail(error));
      case "input":
        return this.#onInput(body);
      case "end":
        this.#input = this.#input.then(() => {
          if (this.#running?.input.writable === true) this.#running.input.end();
        });
        return;
      case "signal":
        return this.#running?.program.kill(signalNamed(textOf(body)));
      case "resize": {
        const reader: Reader = new Reader(body, "A size");
        const [columns, rows] = [reader.u16(), reader.u16()];
        reader.end();
        return this.#running?.resize(columns, rows);
      }
      case "hang-up":
        return this.#running?.program.hangUp();
      case "taken": {
        const { stream, bytes } = readTaken(new Reader(body, "Room"));
        return (stream === 1 ? this.#output : this.#errors).taken(bytes);
      }
      case "attest":
        kept?.askedForEvidence();
        return void kept?.guest.reattest().catch(() => undefined);
      case "check":
        this.#socket.end(encodeJson("status", this.#owner.status()));
        return;
      case "stop":
        this.#owner.stopping();
        this.#socket.end(encodeJson("status", this.#owner.status()), () => this.#owner.stop());
        return;
      default:
        throw misbehaved("a frame that only the other side sends");
    }
  }

  #onLaunch(body: Uint8Array): void {
    const { here, keeper } = this.#owner;
    const launch = readLaunch(body, here.version);
    if (launch === undefined) return void this.#socket.end(encodeFrame("not-here"));
    this.#launched = new Launched(launch, here, (type, part) =>
      this.#send(type, ...(part === undefined ? [] : [part])),
    );
    void this.#launched.run(keeper).then(() => this.#socket.end());
  }

  async #run(kept: Kept, body: Uint8Array): Promise<void> {
    const reader: Reader = new Reader(body, "A request");
    const request = readOpen(reader);
    reader.end();
    const running = await start(kept, request);
    if (this.#gone) return running.program.hangUp();
    this.#running = running;
    const opened = { claims: kept.guest.claims, policy: kept.policy };
    this.#socket.write(encodeJson("opened", opened));
    const { program, outputs } = running;
    const [output, errors] = outputs;
    const [exit] = await Promise.all([
      program.exit,
      output === undefined ? undefined : this.#output.carry(output, (part) => this.#send("output", part)),
      errors === undefined ? undefined : this.#errors.carry(errors, (part) => this.#send("errors", part)),
    ]);
    this.#running = undefined;
    this.#socket.end(encodeJson("exit", exitFields(exit)));
  }

  #onInput(bytes: Uint8Array): void {
    this.#inputHeld += bytes.length;
    if (this.#inputHeld > INPUT_WINDOW) throw misbehaved("more input than there is room for");
    this.#input = this.#input.then(async () => {
      await given(this.#running?.input, bytes);
      this.#inputHeld -= bytes.length;
      this.#send("room", u32(bytes.length));
    });
  }
}
