// A VNC client without a display: what the host's server shows is a framebuffer to read, and what it takes are events.

import type { Clock } from "../clock.ts";
import { concat } from "../bytes.ts";
import { SealttyError } from "../errors.ts";
import { MAX_RFB_UNSENT } from "../limits.ts";
import type { Pipe } from "../pipe.ts";
import {
  inputMessage,
  POKE,
  type RfbInput,
  setEncodings,
  setPixelFormat,
  updateRequest,
} from "./client-messages.ts";
import { rfbFault } from "./fault.ts";
import { Framebuffer, type RowRange } from "./framebuffer.ts";
import { type Fed, Intake, type TlsKind } from "./intake.ts";
import { opening, type RfbOpening, type RfbScreenSize, type TlsWish } from "./opening.ts";
import { type RfbServerFindings, serverMessages } from "./server-messages.ts";

/** From the first byte to the screen's size, ms. */
const OPENS_WITHIN = 10_000;
/**
 * ms. QEMU looks for changes every 30 ms; each look that finds none adds 50 ms to that, up to 3 s, and any input takes it back
 * to 30. Update requests do not. docs/vnc.md has the figures.
 */
export const POKE_EVERY = 100;
/** Bytes that are read in one turn: of messages of a byte each, as a server may send them, these take some ms. */
const READ_AT_ONCE = 64 * 1024;
const NOTHING = new Uint8Array(0);

export interface RfbOptions {
  readonly clock: Clock;
  /** For a host that asks for one; it is the host's, and no secret of the guest. */
  readonly password?: string;
  /** For people: how a password is given. Part of the error where one is wanted. */
  readonly passwordAdvice?: string;
  /**
   * Where TLS can be had. Takes the pipe over; the one that it gives closes it.
   * @throws SealttyError `transport-lost`.
   */
  readonly startTls?: (pipe: Pipe, kind: TlsKind) => Promise<Pipe>;
  /** A server without TLS and a certificate is refused, whatever else it offers. */
  readonly needsCertificate?: boolean;
}

/**
 * What whole updates of the server's brought, one or many: it is told once for all that came together. The framebuffer has it, and
 * maybe the beginning of the next one; it does not change before the callback is over.
 */
export interface RfbUpdate {
  /** It has another size than before, or this is the first one: nothing that was read before counts. */
  readonly resized: boolean;
  /** The rows that were written to, from the top; their bytes may be the same as before. */
  readonly rows: readonly RowRange[];
}

/**
 * Opens the screen behind `pipe`. @param pipe - nothing was read or sent yet; closed on failure.
 * @throws SealttyError `transport-lost`, in words, on whatever the server does wrong or wants.
 */
export async function openRfb(pipe: Pipe, options: RfbOptions): Promise<RfbClient> {
  let current = pipe;
  let late = false;
  const cancel = options.clock.after(OPENS_WITHIN, () => {
    late = true;
    current.close().catch(ignore); // what was read of it says what became of it
  });
  try {
    const intake = new Intake(opening({ ...passwordOf(options), tls: tlsOf(options) }));
    let incoming = current.incoming[Symbol.asyncIterator]();
    for (;;) {
      const next = await incoming.next();
      if (next.done === true) throw rfbFault("ended the connection before its screen was open");
      let fed: Fed<RfbScreenSize> = intake.feed(next.value);
      if (fed.say.length > 0) await current.send(fed.say);
      if (fed.tls !== undefined && options.startTls !== undefined) {
        current = await options.startTls(pipeFrom(current, incoming), fed.tls);
        if (late) throw rfbFault("did not begin TLS in time");
        incoming = current.incoming[Symbol.asyncIterator]();
        fed = intake.afterTls();
        if (fed.say.length > 0) await current.send(fed.say);
      }
      if (fed.end !== undefined)
        return new RfbClient(pipeFrom(current, incoming), fed.end.value, fed.end.rest, options.clock);
    }
  } catch (error) {
    await current.close().catch(ignore); // what went wrong first is told
    throw late ? rfbFault("did not open its screen in time", error) : error;
  } finally {
    cancel();
  }
}

interface WaitingInput {
  readonly bytes: Uint8Array;
  readonly sent: () => void;
  readonly lost: (error: SealttyError) => void;
}

export class RfbClient {
  readonly #pipe: Pipe;
  readonly #clock: Clock;
  readonly #screen = new Framebuffer();
  readonly #findings: RfbServerFindings = { pointerIsAbsolute: undefined, extendedKeys: false };
  readonly #early: Uint8Array; // came behind the opening
  // What waits for the pipe. Requests and pokes are flags: a server that does not read gets one of each, however many are due.
  #hello: Uint8Array = concat(setPixelFormat(), setEncodings());
  #request: "none" | "changes" | "all" = "all";
  #pokeDue = false;
  readonly #inputs: WaitingInput[] = [];
  #inputBytes = 0;
  #writing = false;
  #poking = true;
  #cancelPoke: (() => void) | undefined;
  #running = false;
  #told = false; // the first update was
  #resized = false; // since it was told last
  #tellDue = false;
  #over = false;
  #failure: unknown;

  /** Made by `openRfb`. @throws SealttyError `transport-lost` where the size cannot be taken. */
  constructor(pipe: Pipe, size: RfbScreenSize, early: Uint8Array, clock: Clock) {
    this.#pipe = pipe;
    this.#clock = clock;
    this.#early = early;
    this.#screen.resize(size.width, size.height);
  }

  /** To be read in `onUpdate`, and between two of them. */
  get framebuffer(): Pick<Framebuffer, "width" | "height" | "pixels" | "row"> {
    return this.#screen;
  }

  /** What a server said of its pointer: whether x and y are a place, or a move to which 0x7fff is added. Undefined: nothing. */
  get pointerIsAbsolute(): boolean | undefined {
    return this.#findings.pointerIsAbsolute;
  }

  /** Whether keys go as scancodes, which no layout of the host's changes. Known from the first update on. */
  get sendsScancodes(): boolean {
    return this.#findings.extendedKeys;
  }

  /**
   * Asks for the screen and reads until the end; to be called once.
   * @param onUpdate - called where rows were written to, for a new size, and the first time; never twice for what came together: a look
   * at the picture costs more than an update of four bytes. What it throws ends the connection, and is thrown here.
   * @throws SealttyError `transport-lost` where the connection did not end in order.
   */
  async run(onUpdate: (update: RfbUpdate) => void): Promise<void> {
    if (this.#running) throw new SealttyError("api-misuse", "An RFB client runs once");
    this.#running = true;
    const intake = new Intake(
      serverMessages(this.#screen, this.#findings, (resized) => {
        if (resized) this.#request = "all";
        else if (this.#request === "none") this.#request = "changes";
        this.#resized ||= resized;
        this.#tellSoon(onUpdate);
      }),
    );
    this.#pokeLater();
    try {
      intake.feed(this.#early);
      this.#write();
      for await (const chunk of this.#pipe.incoming) {
        for (let at = 0; at < chunk.length && !this.#over; at += READ_AT_ONCE) {
          if (at > 0) await new Promise<void>((resolve) => this.#clock.soon(resolve));
          intake.feed(chunk.subarray(at, at + READ_AT_ONCE));
          this.#write();
        }
        if (this.#over) break;
      }
      this.#tell(onUpdate);
    } catch (error) {
      this.#failure ??= error;
    } finally {
      await this.close();
    }
    if (this.#failure !== undefined) throw this.#failure;
  }

  /**
   * Sends events in order and in one piece, at the earliest when `run` has begun. @returns once the pipe can take more.
   * @throws SealttyError `transport-lost` once it is closed, `limit-exceeded` where 64 KiB wait already (await what you send),
   * `api-misuse` where a number does not fit.
   */
  async send(inputs: readonly RfbInput[]): Promise<void> {
    const bytes = concat(...inputs.map((input) => inputMessage(input, this.#findings.extendedKeys)));
    if (this.#over) throw rfbFault("is gone", this.#failure);
    if (this.#inputBytes + bytes.length > MAX_RFB_UNSENT)
      throw new SealttyError("limit-exceeded", "Too much input waits for the host's VNC server");
    await new Promise<void>((sent, lost) => {
      this.#inputs.push({ bytes, sent, lost });
      this.#inputBytes += bytes.length;
      this.#write();
    });
  }

  /** Whether QEMU is kept from looking seldom: off where nobody looks and nothing is under way. On at first. */
  setPoking(on: boolean): void {
    if (this.#poking === on) return;
    this.#poking = on;
    this.#cancelPoke?.();
    this.#cancelPoke = undefined;
    if (on && this.#running && !this.#over) {
      this.#poke(); // it may look seldom by now
      this.#pokeLater();
    }
  }

  /** Idempotent. Ends `run`. */
  async close(): Promise<void> {
    this.#over = true;
    this.#cancelPoke?.();
    const gone = rfbFault("is gone", this.#failure);
    for (const { lost } of this.#inputs.splice(0)) lost(gone);
    this.#inputBytes = 0;
    await this.#pipe.close();
  }

  /** Once all that has come already is read: neither many updates in one chunk nor many chunks make many calls. */
  #tellSoon(onUpdate: (update: RfbUpdate) => void): void {
    if (this.#tellDue) return;
    this.#tellDue = true;
    this.#clock.soon(() => {
      try {
        this.#tell(onUpdate);
      } catch (error) {
        void this.#fail(error);
      }
    });
  }

  #tell(onUpdate: (update: RfbUpdate) => void): void {
    if (!this.#tellDue || this.#over) return;
    this.#tellDue = false;
    const resized = this.#resized || !this.#told;
    const rows = this.#screen.takeChanges();
    if (!resized && rows.length === 0) return;
    this.#told = true;
    this.#resized = false;
    onUpdate({ resized, rows });
  }

  /** Ends `run`, which throws it. */
  async #fail(error: unknown): Promise<void> {
    this.#failure ??= error;
    try {
      await this.close();
    } catch {
      // a pipe that cannot even be closed: what went wrong first is told
    }
  }

  #pokeLater(): void {
    if (!this.#poking || this.#over) return;
    this.#cancelPoke = this.#clock.after(POKE_EVERY, () => {
      this.#poke();
      this.#pokeLater();
    });
  }

  #poke(): void {
    this.#pokeDue = true;
    this.#write();
  }

  /** One writer at a time takes whatever is due, until nothing is. */
  #write(): void {
    if (this.#writing || this.#over || !this.#running) return;
    this.#writing = true;
    void this.#writeAll();
  }

  async #writeAll(): Promise<void> {
    try {
      for (;;) {
        const inputs = this.#inputs.splice(0);
        const chunk = concat(this.#takeRest(), ...inputs.map(({ bytes }) => bytes));
        if (chunk.length === 0 || this.#over) break;
        try {
          await this.#pipe.send(chunk);
        } catch (error) {
          for (const { lost } of inputs) lost(rfbFault("is gone", error));
          throw error;
        }
        for (const { bytes, sent } of inputs) {
          this.#inputBytes = Math.max(0, this.#inputBytes - bytes.length);
          sent();
        }
      }
    } catch (error) {
      await this.#fail(error);
    } finally {
      this.#writing = false;
    }
  }

  /** What is due beside inputs. */
  #takeRest(): Uint8Array {
    const hello = this.#hello;
    const { width, height } = this.#screen;
    const request =
      this.#request === "none" ? NOTHING : updateRequest(this.#request === "changes", width, height);
    const poke = this.#pokeDue ? inputMessage(POKE, this.#findings.extendedKeys) : NOTHING;
    this.#hello = NOTHING;
    this.#request = "none";
    this.#pokeDue = false;
    return concat(hello, request, poke);
  }
}

function passwordOf({ password, passwordAdvice }: RfbOptions): Omit<RfbOpening, "tls"> {
  return {
    ...(password === undefined ? {} : { password }),
    ...(passwordAdvice === undefined ? {} : { passwordAdvice }),
  };
}

function tlsOf({ startTls, needsCertificate = false }: RfbOptions): TlsWish {
  if (needsCertificate) return "certificate";
  return startTls === undefined ? "none" : "any";
}

function ignore(): void {}

/** `pipe` with what is left of its bytes, which one reader has begun. */
function pipeFrom(pipe: Pipe, incoming: AsyncIterator<Uint8Array>): Pipe {
  return {
    incoming: { [Symbol.asyncIterator]: () => incoming },
    send: (chunk) => pipe.send(chunk),
    close: () => pipe.close(),
  };
}
