// The client's way to keys: HELLO until answered, INIT with the cookie, REPLY. docs/protocol.md §4

import { equalBytes } from "../bytes.ts";
import type { Clock } from "../clock.ts";
import type { CryptoSuite } from "../crypto/suite.ts";
import { SealttyError } from "../errors.ts";
import {
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
import { encodeInitMessage, prologueOf } from "../handshake/client-hello.ts";
import { startInitiator } from "../handshake/initiator.ts";
import type { Handshaken } from "../handshake/messages.ts";
import { MAX_ARMOUR_BODY } from "../limits.ts";
import { TokenBucket } from "./token-bucket.ts";

const REPEAT_HELLO = 250;
const REPEAT_INIT = 1000;
const MAX_REPEAT = 4000;
/** Fragments fit an armoured line, so that the same message goes over every pipe. */
const FRAGMENT_BODY = MAX_ARMOUR_BODY;

export class ClientHandshake {
  readonly #suite: CryptoSuite;
  readonly #clock: Clock;
  readonly #id: Uint8Array;
  readonly #initMessage: Uint8Array;
  readonly #awaiting: ReturnType<typeof startInitiator>["awaiting"];
  readonly #reply = new FragmentAssembly();
  readonly #replies = new TokenBucket(50, 50);
  readonly #outbox: Uint8Array[] = [];
  readonly #wake: () => void;
  readonly #alternate: () => void;
  #cookie: Uint8Array | undefined;
  #repeats = 0;
  #cancel: (() => void) | undefined;
  #otherVersion: number | undefined;
  #welcomed = false;

  /**
   * @param alternate - called before each repeated HELLO: an automatic encoding tries the other one.
   * @param wake - called when `source` has something.
   */
  constructor(
    suite: CryptoSuite,
    clock: Clock,
    connectionId: Uint8Array,
    clientHello: Uint8Array,
    hooks: { wake(): void; alternate(): void },
  ) {
    this.#suite = suite;
    this.#clock = clock;
    this.#id = connectionId;
    this.#wake = () => hooks.wake();
    this.#alternate = () => hooks.alternate();
    const { message1, awaiting } = startInitiator(this.#suite, prologueOf(connectionId, clientHello));
    this.#initMessage = encodeInitMessage(clientHello, message1);
    this.#awaiting = awaiting;
  }

  /** The guest has answered at all. */
  get welcomed(): boolean {
    return this.#welcomed;
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
    return this.#outbox.shift();
  }

  /** @returns the keys once a reply verified. Whatever else comes is ignored: it may be forged. */
  onFrame(
    body: Uint8Array,
    encoding: FrameEncoding,
    heard: (encoding: FrameEncoding) => void,
  ): Handshaken | undefined {
    const head = frameHead(body);
    if (head === undefined || !equalBytes(connectionIdOf(body), this.#id)) return undefined;
    try {
      if (head.type === FRAME_WELCOME) this.#onWelcome(body, encoding, heard);
      if (head.type !== FRAME_REPLY) return undefined;
      const message2 = this.#reply.add(readReply(body));
      // Each costs a millisecond of public-key work, forged ones too; the guest repeats the true one when asked again.
      if (message2 === undefined || !this.#replies.take(this.#clock.now())) return undefined;
      const handshaken = this.#awaiting.receive(message2);
      if (handshaken === undefined) return undefined;
      heard(encoding);
      this.stop();
      return handshaken;
    } catch (error) {
      if (error instanceof SealttyError && error.code === "peer-misbehaved") return undefined;
      throw error;
    }
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    this.#outbox.length = 0;
  }

  destroy(): void {
    this.stop();
    this.#awaiting.destroy();
  }

  #onWelcome(body: Uint8Array, encoding: FrameEncoding, heard: (encoding: FrameEncoding) => void): void {
    const { version, cookie } = readWelcome(body);
    if (version !== PROTOCOL_VERSION) {
      this.#otherVersion = version;
      return;
    }
    this.#welcomed = true;
    heard(encoding);
    if (this.#cookie !== undefined && equalBytes(this.#cookie, cookie)) return;
    this.#cookie = cookie;
    this.#repeats = 0;
    this.#send();
  }

  #send(): void {
    this.#cancel?.();
    this.#outbox.length = 0;
    if (this.#cookie === undefined) {
      if (this.#repeats > 0) this.#alternate();
      this.#outbox.push(helloBody(this.#id));
    } else {
      // A cookie may have expired, or have been forged: now and then ask for another.
      if (this.#repeats % 3 === 2) this.#outbox.push(helloBody(this.#id));
      this.#outbox.push(...initBodies(this.#id, this.#cookie, this.#initMessage, FRAGMENT_BODY));
    }
    const base = this.#cookie === undefined ? REPEAT_HELLO : REPEAT_INIT;
    const delay = Math.min(MAX_REPEAT, base * 1.5 ** this.#repeats);
    this.#repeats++;
    this.#cancel = this.#clock.after(delay, () => this.#send());
    this.#wake();
  }
}
