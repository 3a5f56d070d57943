// The client's way to keys: HELLO until answered, what the pipe carries, INIT with the cookie, REPLY. docs/protocol.md §4

import { equalBytes } from "../bytes.ts";
import type { Clock } from "../clock.ts";
import type { CryptoSuite } from "../crypto/suite.ts";
import { SealttyError } from "../errors.ts";
import {
  FRAME_PROBED,
  FRAME_REPLY,
  FRAME_WELCOME,
  FragmentAssembly,
  connectionIdOf,
  PROTOCOL_VERSION,
  frameHead,
  helloBody,
  initBodies,
  readReply,
  readWelcome,
} from "../frames/frame-body.ts";
import type { FrameEncoding } from "../frames/frame-encoder.ts";
import { encodeInitMessage, type PipeFindings, prologueOf } from "../handshake/client-hello.ts";
import { type InitiatorAwaitingReply, startInitiator } from "../handshake/initiator.ts";
import type { Handshaken } from "../handshake/messages.ts";
import { MAX_ARMOUR_BODY } from "../limits.ts";
import type { Pacer } from "./pacer.ts";
import { PipeProbe } from "./pipe-probe.ts";
import { TokenBucket } from "./token-bucket.ts";

const REPEAT_HELLO = 250;
const REPEAT_INIT = 1000;
const MAX_REPEAT = 4000;
const MAX_INIT_TAKES = 20_000;
/** Fragments fit an armoured line, so that the same message goes over every pipe. */
const FRAGMENT_BODY = MAX_ARMOUR_BODY;

export interface HandshakeHooks {
  /** `source` has something. */
  wake(): void;
  /** Before each repeated HELLO: an automatic encoding tries the other one. */
  alternate(): void;
  /** The frame that `source` is about to give goes out so, and those after it. */
  use(encoding: FrameEncoding): void;
}

export class ClientHandshake {
  readonly #suite: CryptoSuite;
  readonly #clock: Clock;
  readonly #id: Uint8Array;
  readonly #clientHello: (pipe: PipeFindings) => Uint8Array;
  readonly #encodings: readonly FrameEncoding[];
  readonly #pacer: Pacer;
  readonly #hooks: HandshakeHooks;
  readonly #reply = new FragmentAssembly();
  readonly #replies = new TokenBucket(50, 50);
  readonly #outbox: { readonly body: Uint8Array; readonly encoding?: FrameEncoding }[] = [];
  #cookie: Uint8Array | undefined;
  #helloAt = 0;
  #heard: FrameEncoding = "binary"; // in which the newest WELCOME came
  #probe: PipeProbe | undefined; // from the first WELCOME until it ends
  #init: { readonly message: Uint8Array; readonly awaiting: InitiatorAwaitingReply } | undefined; // from then on
  #findings: PipeFindings | undefined; // likewise
  #repeats = 0;
  #cancel: (() => void) | undefined;
  #otherVersion: number | undefined;
  #welcomed = false;
  #stopped = false;

  /**
   * @param clientHello - encoded, once it is known what the pipe carries.
   * @param encodings - that may be used, the better one first.
   */
  constructor(
    suite: CryptoSuite,
    clock: Clock,
    connectionId: Uint8Array,
    clientHello: (pipe: PipeFindings) => Uint8Array,
    encodings: readonly FrameEncoding[],
    pacer: Pacer,
    hooks: HandshakeHooks,
  ) {
    this.#suite = suite;
    this.#clock = clock;
    this.#id = connectionId;
    this.#clientHello = clientHello;
    this.#encodings = encodings;
    this.#pacer = pacer;
    this.#hooks = hooks;
  }

  /** The guest has answered at all. */
  get welcomed(): boolean {
    return this.#welcomed;
  }
  /** What the client hello says of the pipe; undefined before INIT. */
  get findings(): PipeFindings | undefined {
    return this.#findings;
  }
  /** A version that something on the pipe claims to speak; unauthenticated, so only a hint. */
  get otherVersion(): number | undefined {
    return this.#otherVersion;
  }

  /** A pipe is there: (re)send what is due at once. */
  start(): void {
    this.#repeats = 0;
    this.#send();
  }

  source(): Uint8Array | undefined {
    const frame = this.#outbox.shift();
    if (frame?.encoding !== undefined) this.#hooks.use(frame.encoding);
    return frame?.body;
  }

  /** @returns the keys once a reply verified. Whatever else comes is ignored: it may be forged. */
  onFrame(body: Uint8Array, encoding: FrameEncoding): Handshaken | undefined {
    const head = frameHead(body);
    if (head === undefined || !equalBytes(connectionIdOf(body), this.#id)) return undefined;
    try {
      if (head.type === FRAME_WELCOME) this.#onWelcome(body, encoding);
      else if (head.type === FRAME_PROBED) this.#probe?.onFrame(body, encoding);
      if (head.type !== FRAME_REPLY || this.#init === undefined) return undefined;
      const message2 = this.#reply.add(readReply(body));
      // Each costs a millisecond of public-key work, forged ones too; the guest repeats the true one when asked again.
      if (message2 === undefined || !this.#replies.take(this.#clock.now())) return undefined;
      const handshaken = this.#init.awaiting.receive(message2);
      if (handshaken === undefined) return undefined;
      this.stop();
      return handshaken;
    } catch (error) {
      if (error instanceof SealttyError && error.code === "peer-misbehaved") return undefined;
      throw error;
    }
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel?.();
    this.#cancel = undefined;
    this.#probe?.stop();
    this.#outbox.length = 0;
  }

  destroy(): void {
    this.stop();
    this.#init?.awaiting.destroy();
  }

  #onWelcome(body: Uint8Array, encoding: FrameEncoding): void {
    const { version, cookie } = readWelcome(body);
    if (version !== PROTOCOL_VERSION) {
      this.#otherVersion = version;
      return;
    }
    this.#welcomed = true;
    if (this.#cookie !== undefined && equalBytes(this.#cookie, cookie)) return;
    const first = this.#cookie === undefined;
    this.#cookie = cookie;
    if (first) this.#heard = encoding;
    if (this.#probe !== undefined && this.#init === undefined) return; // it goes on; INIT takes the newest cookie
    this.#repeats = 0;
    this.#send();
  }

  #send(): void {
    if (this.#stopped) return;
    this.#cancel?.();
    this.#outbox.length = 0;
    if (this.#cookie === undefined) this.#sayHello();
    else if (this.#init === undefined) return this.#startProbe();
    else {
      // A frame four times as long as the probe's may be too much at once.
      if (this.#repeats % 2 === 1) this.#pacer.watch();
      else if (this.#findings?.burst === 0) this.#pacer.free(); // lost, not too long
      // A cookie may have expired, or have been forged: now and then ask for another.
      if (this.#repeats % 3 === 2) this.#outbox.push({ body: helloBody(this.#id) });
      for (const body of initBodies(this.#id, this.#cookie, this.#init.message, FRAGMENT_BODY))
        this.#outbox.push({ body });
    }
    const base = this.#cookie === undefined ? REPEAT_HELLO : this.#initTakes;
    const delay = Math.min(Math.max(MAX_REPEAT, base), base * 1.5 ** this.#repeats);
    this.#repeats++;
    this.#cancel = this.#clock.after(delay, () => this.#repeat(delay));
    this.#hooks.wake();
  }

  /** What still waits for the pipe is not begun anew: its later frames would never go. */
  #repeat(delay: number): void {
    if (this.#outbox.length === 0) return this.#send();
    this.#cancel = this.#clock.after(delay, () => this.#repeat(delay));
    this.#hooks.wake();
  }

  /** Repeated sooner, INIT frames would queue up on a slow pipe. ms */
  get #initTakes(): number {
    const { rate = 0 } = this.#findings ?? {};
    const length = this.#init?.message.length ?? 0;
    return rate === 0 ? REPEAT_INIT : Math.min(MAX_INIT_TAKES, Math.max(REPEAT_INIT, (3000 * length) / rate));
  }

  #sayHello(): void {
    if (this.#repeats > 0) this.#hooks.alternate();
    this.#helloAt = this.#clock.now();
    this.#outbox.push({ body: helloBody(this.#id) });
  }

  /** Once a connection; begun anew only where the pipe was lost meanwhile. */
  #startProbe(): void {
    this.#probe?.stop();
    const roundTrip = this.#clock.now() - this.#helloAt;
    const given = { encodings: this.#encodings, heard: this.#heard, roundTrip };
    this.#probe = new PipeProbe(this.#clock, this.#id, this.#pacer, given, {
      ask: (body, encoding) => {
        this.#outbox.push({ body, encoding });
        this.#hooks.wake();
      },
      done: (findings) => this.#onFindings(findings),
    });
    this.#probe.start();
  }

  #onFindings(findings: PipeFindings): void {
    this.#findings = findings;
    this.#hooks.use(findings.encoding);
    const clientHello = this.#clientHello(findings);
    const { message1, awaiting } = startInitiator(this.#suite, prologueOf(this.#id, clientHello));
    this.#init = { message: encodeInitMessage(clientHello, message1), awaiting };
    this.#repeats = 0;
    this.#send();
  }
}
