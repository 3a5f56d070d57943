// What does this pipe carry? Asked by the client once a WELCOME came, answered by echoes. docs/protocol.md §4.6
// Nothing that comes back is believed further than this: the host can make its own pipe slow.

import { equalBytes } from "../bytes.ts";
import type { Clock } from "../clock.ts";
import { FRAME_PROBED, probeBody } from "../frames/frame-body.ts";
import type { FrameEncoding } from "../frames/frame-encoder.ts";
import type { PipeFindings } from "../handshake/client-hello.ts";
import type { Pacer } from "./pacer.ts";

/** How long an echo may take, ms; eight times the round trip of HELLO, a frame twenty times smaller, where that is longer. */
const ECHO_WAIT = 120;
const MAX_ECHO_WAIT = 2000;
/** Bursts take their time. */
const WATCHED_WAIT = 1000;
/** Where not even receipts come; longer each round. */
const UNWATCHED_WAIT = 500;
const ROUNDS = 4;
/** An echo in armour came: one of the binary frame behind it would come now. */
const BINARY_WAIT = 20;
const HEADER = 6;
/** An echo that tells of fewer bytes a second is asked for once more, and the quicker one counts: a busy machine is no slow pipe. */
const SLOW = 50_000;

/** Every value once, in an order in which the kernel's SysRq key (0x0f) is followed by none of its commands. */
const ALL_VALUES = Uint8Array.from({ length: 256 }, (_, i) => i);
/** In armour every character of the alphabet is carried by far fewer. */
const SOME_VALUES = ALL_VALUES.subarray(64, 256);

export class PipeProbe {
  readonly #clock: Clock;
  readonly #id: Uint8Array;
  readonly #pacer: Pick<Pacer, "free" | "watch" | "watching" | "burst" | "rate">;
  readonly #ask: (body: Uint8Array, encoding: FrameEncoding) => void;
  readonly #done: (findings: PipeFindings) => void;
  readonly #encodings: readonly FrameEncoding[];
  readonly #heard: FrameEncoding;
  readonly #roundTrip: number;
  #wait: number; // for an echo, ms; longer each round
  readonly #asked = new Map<number, { body: Uint8Array; encoding: FrameEncoding; sentAt: number }>();
  #number = 0;
  #armoured: PipeFindings | undefined; // an echo in armour, while binary is waited for
  #slow: PipeFindings | undefined; // found, but for the rate
  #cancel: () => void = () => {};

  /**
   * @param encodings - that may be used, the better one first.
   * @param heard - in which the guest said WELCOME: what is used if nothing else is found out.
   * @param roundTrip - of HELLO, ms.
   * @param hooks - `ask` puts a frame into the way out.
   */
  constructor(
    clock: Clock,
    id: Uint8Array,
    pacer: Pick<Pacer, "free" | "watch" | "watching" | "burst" | "rate">,
    given: { encodings: readonly FrameEncoding[]; heard: FrameEncoding; roundTrip: number },
    hooks: { ask(body: Uint8Array, encoding: FrameEncoding): void; done(findings: PipeFindings): void },
  ) {
    this.#clock = clock;
    this.#id = id;
    this.#pacer = pacer;
    // All 256 values go only where a binary frame was answered: a kernel's console, or a shell on it, must not get them.
    this.#encodings = given.encodings.filter((encoding) => encoding === "armour" || given.heard === "binary");
    this.#heard = given.heard;
    this.#roundTrip = given.roundTrip;
    this.#wait = Math.min(MAX_ECHO_WAIT, Math.max(ECHO_WAIT, 8 * given.roundTrip));
    this.#ask = (body, encoding) => hooks.ask(body, encoding);
    this.#done = (findings) => hooks.done(findings);
  }

  start(): void {
    this.#pacer.free();
    this.#send(this.#encodings[0] ?? this.#heard);
    this.#after(this.#wait, () => this.#round(1));
  }

  /** Whatever comes late, of an earlier round, too, still counts: a pipe may be slow. */
  #round(number: number): void {
    // The better one once more, and last: a single loss must not decide.
    const [first = this.#heard, ...others] = this.#encodings;
    for (const encoding of [...others, first]) this.#send(encoding);
    this.#after(this.#wait, () => this.#watched(number));
  }

  /** @returns whether it was an echo of ours. */
  onFrame(body: Uint8Array, encoding: FrameEncoding): void {
    const asked = this.#asked.get(body[HEADER - 1] ?? -1);
    if (body[0] !== FRAME_PROBED || asked === undefined || asked.encoding !== encoding) return;
    if (!equalBytes(body.subarray(1), asked.body.subarray(1))) return;
    const { burst } = this.#pacer;
    const took = Math.max(1, this.#clock.now() - asked.sentAt - this.#roundTrip);
    const rate =
      burst > 0 ? this.#pacer.rate : Math.min(2 ** 32 - 1, Math.round((body.length * 1000) / took));
    const findings = { encoding, burst, rate };
    if (this.#slow !== undefined)
      return this.#finish({ ...this.#slow, rate: Math.max(this.#slow.rate, rate) });
    if (encoding === this.#encodings[0]) return this.#end(findings);
    if (this.#armoured !== undefined) return;
    this.#armoured = findings;
    this.#after(Math.max(BINARY_WAIT, this.#wait / 4), () => this.#end(findings));
  }

  stop(): void {
    this.#cancel();
    this.#asked.clear();
  }

  /** Nothing came back whole. With the guest's receipts the pacer finds out how much gets through at once. */
  #watched(round: number): void {
    this.#pacer.watch();
    for (const encoding of round === 1 ? this.#encodings : this.#encodings.slice(-1)) this.#send(encoding);
    const nothing = (): void => {
      const { burst, rate } = this.#pacer;
      this.#wait *= 2;
      if (burst === 0) this.#pacer.free();
      // Armour, where it may be: what comes through at all comes through in it.
      if (round === ROUNDS) this.#end({ encoding: this.#encodings.at(-1) ?? this.#heard, burst, rate });
      else if (burst === 0) this.#round(round + 1);
      else this.#watched(round + 1); // it takes little at once: that is known, and echoes need their time
    };
    this.#after(UNWATCHED_WAIT * round, () => {
      if (this.#pacer.watching) this.#after(WATCHED_WAIT * 2 ** (round - 1), nothing);
      else nothing();
    });
  }

  #send(encoding: FrameEncoding): void {
    const number = this.#number++;
    const body = probeBody(this.#id, number, encoding === "binary" ? ALL_VALUES : SOME_VALUES);
    this.#asked.set(number, { body, encoding, sentAt: this.#clock.now() });
    this.#ask(body, encoding);
  }

  #after(delay: number, then: () => void): void {
    this.#cancel();
    this.#cancel = this.#clock.after(delay, then);
  }

  #end(findings: PipeFindings): void {
    if (findings.burst > 0 || findings.rate === 0 || findings.rate >= SLOW) return this.#finish(findings);
    this.#slow = findings;
    this.#asked.clear();
    this.#send(findings.encoding);
    this.#after(Math.min(MAX_ECHO_WAIT, this.#wait), () => this.#finish(findings));
  }

  #finish(findings: PipeFindings): void {
    this.stop();
    this.#done(findings);
  }
}
