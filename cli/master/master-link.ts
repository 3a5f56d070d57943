// The end of those who use a kept connection: a channel like any other, over the socket of the one who keeps it.

import { Buffer } from "node:buffer";
import net from "node:net";
import { Reader, u32, u8 } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { AppraisedClaims } from "../../protocol/attestation/verified-guest.ts";
import type { Clock } from "../../protocol/clock.ts";
import type {
  Channel,
  ChannelRequest,
  ExitStatus,
  ReceiveStream,
} from "../../protocol/session/channel-api.ts";
import { openBody } from "../../protocol/session/open-request.ts";
import type { Talk } from "../report.ts";
import {
  encodeFrame,
  errorOf,
  type Frame,
  FrameReader,
  INPUT_WINDOW,
  jsonOf,
  MAX_DATA,
  MAX_FRAME,
  misbehaved,
  resizeBody,
} from "./wire.ts";

/** What the guest is to open. */
export type Request = ChannelRequest;

export interface Opened {
  readonly claims: AppraisedClaims;
  /** The policy's name. */
  readonly policy: string;
}

/** What the master is asked about, and answers. */
export interface Status {
  readonly pid: number;
  readonly running: number;
  readonly idleSeconds: number;
  /** Since when the guest is not there; absent: it is. */
  readonly lostSeconds?: number;
}

class Output implements ReceiveStream {
  readonly #chunks: Uint8Array[] = [];
  readonly #onTaken: (bytes: number) => void;
  #ended = false;
  #failure: SealttyError | undefined;
  #wake: () => void = () => {};

  constructor(onTaken: (bytes: number) => void) {
    this.#onTaken = onTaken;
  }

  async read(): Promise<Uint8Array | undefined> {
    for (;;) {
      const chunk = this.#chunks.shift();
      if (chunk !== undefined) return chunk;
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#ended) return undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
  consumed(length: number): void {
    this.#onTaken(length);
  }
  push(chunk: Uint8Array): void {
    this.#chunks.push(chunk);
    this.#wake();
  }
  end(failure?: SealttyError): void {
    this.#ended = true;
    this.#failure ??= failure;
    this.#wake();
  }
}

/** The master's connection is of no use any more, and it ends: nothing was done. */
export class ConnectionLost extends Error {
  override readonly name = "ConnectionLost";
}

/** Of any answer: a process that runs gives one at once. */
const ANSWER_WITHIN = 10_000;

/** Once the master said that it will look at a request. */
export class MasterLink implements Channel {
  readonly stdout: Output;
  readonly stderr: Output;
  readonly exit: Promise<ExitStatus>;
  readonly #socket: net.Socket;
  readonly #talk: Talk;
  #settle!: { resolve(exit: ExitStatus): void; reject(error: SealttyError): void };
  #opening: { resolve(opened: Opened): void; reject(error: Error): void } | undefined;
  #status: { resolve(status: Status): void; reject(error: SealttyError): void } | undefined;
  #room = INPUT_WINDOW;
  #waiting: (() => void)[] = [];
  #over = false;
  #failure: SealttyError | undefined;

  private constructor(socket: net.Socket, talk: Talk) {
    this.#socket = socket;
    this.#talk = talk;
    const taken = (stream: number) => (bytes: number) =>
      this.#send(encodeFrame("taken", u8(stream), u32(bytes)));
    this.stdout = new Output(taken(1));
    this.stderr = new Output(taken(2));
    this.exit = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    this.exit.catch(() => undefined); // a caller that never asks is no unhandled rejection
  }

  /**
   * Resolves once the master is there for us. @returns undefined where nobody is, or nobody any more: nothing was asked of
   * anybody then. @throws SealttyError why the master has no connection.
   */
  static async reach(socketPath: string, talk: Talk, clock: Clock): Promise<MasterLink | undefined> {
    const socket = net.connect(socketPath);
    const link = new MasterLink(socket, talk);
    const frames = new FrameReader(MAX_FRAME);
    const hello = new Promise<MasterLink | undefined>((resolve, reject) => {
      let greeted = false;
      const answered = clock.after(ANSWER_WITHIN, () => {
        reject(hangs());
        socket.destroy();
      });
      socket.once("close", answered);
      socket.on("data", (chunk: Buffer) => {
        answered();
        try {
          for (const frame of frames.push(chunk)) {
            if (greeted) link.#take(frame);
            else if (frame.type === "said") link.#said(frame.body);
            else if (frame.type === "failed") return reject(errorOf(frame.body));
            else if (frame.type === "hello") {
              greeted = true;
              resolve(link);
            } else throw misbehaved("a frame out of turn");
          }
        } catch (error) {
          socket.destroy();
          link.#fail(error instanceof SealttyError ? error : misbehaved("what could not be read"));
        }
      });
      socket.on("error", () => undefined); // "close" follows
      socket.once("close", () => {
        resolve(undefined);
        link.#fail(lost());
      });
    });
    return hello;
  }

  /** @throws SealttyError as `Guest.openChannel`. */
  open(request: Request): Promise<Opened> {
    return new Promise((resolve, reject) => {
      this.#opening = { resolve, reject };
      if (this.#failure !== undefined) return reject(this.#failure);
      this.#send(encodeFrame("open", openBody(request)));
    });
  }

  /** @param then - "stop": it ends, and hangs up what runs. */
  ask(then: "check" | "stop"): Promise<Status> {
    return new Promise((resolve, reject) => {
      this.#status = { resolve, reject };
      if (this.#failure !== undefined) return reject(this.#failure);
      this.#send(encodeFrame(then));
    });
  }

  attest(): void {
    this.#send(encodeFrame("attest"));
  }

  async write(bytes: Uint8Array): Promise<void> {
    let rest = bytes;
    while (rest.length > 0) {
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#over) return; // nobody reads any more
      const part = rest.subarray(0, Math.min(this.#room, MAX_DATA));
      if (part.length === 0) {
        await new Promise<void>((resolve) => this.#waiting.push(resolve));
        continue;
      }
      this.#room -= part.length;
      this.#send(encodeFrame("input", part));
      rest = rest.subarray(part.length);
    }
  }
  end(): void {
    this.#send(encodeFrame("end"));
  }
  resize(columns: number, rows: number): void {
    this.#send(encodeFrame("resize", resizeBody(columns, rows)));
  }
  signal(name: string): void {
    this.#send(encodeFrame("signal", Buffer.from(name)));
  }
  hangUp(): void {
    this.#send(encodeFrame("hang-up"));
  }
  close(): void {
    this.#over = true;
    this.#socket.destroy();
  }

  #send(frame: Uint8Array): void {
    if (!this.#over && this.#socket.writable) this.#socket.write(frame);
  }

  #take({ type, body }: Frame): void {
    switch (type) {
      case "opened":
        // One version of one program on both ends: what it says of the guest has the shape that it has here.
        return this.#opening?.resolve(jsonOf(body) as unknown as Opened);
      case "output":
        return this.stdout.push(body);
      case "errors":
        return this.stderr.push(body);
      case "room": {
        const reader: Reader = new Reader(body, "Room for input");
        this.#room += reader.u32();
        reader.end();
        return this.#wakeWriters();
      }
      case "exit": {
        this.#over = true;
        this.#settle.resolve(exitOf(body));
        this.stdout.end();
        this.stderr.end();
        this.#wakeWriters();
        return;
      }
      case "anew":
        return this.#opening?.reject(new ConnectionLost());
      case "failed":
        return this.#fail(errorOf(body));
      case "said":
        return this.#said(body);
      case "status":
        return this.#status?.resolve(statusOf(body));
      default:
        throw misbehaved("a frame that only the other side sends");
    }
  }

  /** In place of what is said where the connection is one's own. */
  #said(body: Uint8Array): void {
    const { how, text, fields } = jsonOf(body);
    if (typeof text !== "string") throw misbehaved("words that are none");
    if (how === "say" || how === "warn" || how === "detail") this.#talk[how](text);
    else if (how === "event" && typeof fields === "object" && fields !== null)
      this.#talk.event(text, { ...fields });
  }

  #fail(error: SealttyError): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.#opening?.reject(error);
    this.#status?.reject(error);
    if (this.#over) return; // it has ended before
    this.#over = true;
    this.#settle.reject(error);
    this.stdout.end(error);
    this.stderr.end(error);
    this.#wakeWriters();
  }

  #wakeWriters(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }
}

function exitOf(body: Uint8Array): ExitStatus {
  const { kind, status, signal } = jsonOf(body);
  if (kind === "exited" && typeof status === "number") return { kind, status };
  if (kind === "signalled" && typeof signal === "string") return { kind, signal };
  throw misbehaved("an end that is none");
}

function hangs(): SealttyError {
  return new SealttyError(
    "timeout",
    "The process that keeps this connection (sealtty master) does not answer; was it stopped, as by Ctrl-Z? Continue or end it by its number: pgrep -fa 'sealtty.* master'",
  );
}

function lost(): SealttyError {
  return new SealttyError(
    "transport-lost",
    "The process that kept the connection (sealtty master) ended. Run the command again: that opens a new one.",
  );
}

/** @throws SealttyError `peer-misbehaved`. */
function statusOf(body: Uint8Array): Status {
  const { pid, running, idleSeconds, lostSeconds } = jsonOf(body);
  if (typeof pid !== "number" || typeof running !== "number" || typeof idleSeconds !== "number")
    throw misbehaved("a status that says too little");
  return { pid, running, idleSeconds, ...(typeof lostSeconds === "number" ? { lostSeconds } : {}) };
}
