// Proxmox's termproxy behind its web socket: a line to sign in, framed input, raw output, a banner in front. docs/hosts.md

import { concat, utf8 } from "../../protocol/bytes.ts";
import type { Clock } from "../../protocol/clock.ts";
import type { Pipe } from "../../protocol/pipe.ts";
import { Opening, openingFailed } from "./opening.ts";

/** For the two bytes OK; the host itself waits 10 s for our line. */
const TIMEOUT_MS = 10_000;
/** The host closes after 5 minutes without a message; its own page sends one this often. */
export const PING_MS = 30_000;
/** Without a banner, or with another one, we speak all the same after this time. */
export const BANNER_WAIT_MS = 2000;
/** From the banner until socat made the pty raw: a byte 0x03 before that would end the terminal. */
export const SETTLE_MS = 500;
const MAX_BANNER = 128;
const BANNER = utf8("starting serial terminal on interface serial");
const PING = utf8("2");
const LF = 0x0a;

export interface TermproxyLogin {
  readonly user: string;
  readonly ticket: string;
}

/**
 * @param pipe - the web socket, nothing sent yet. Each chunk given to its send() must arrive as one message: termproxy loses
 * its place where the head of a message is cut in two.
 * @throws SealttyError `transport-lost`; the pipe is closed then.
 */
export async function openTermproxy(pipe: Pipe, login: TermproxyLogin, clock: Clock): Promise<Pipe> {
  const opening = new Opening(pipe);
  await pipe.send(utf8(`${login.user}:${login.ticket}\n`));
  const answer = await opening.answer((bytes) => (bytes.length < 2 ? undefined : 2), 2, TIMEOUT_MS, clock);
  if (answer === undefined || answer[0] !== 0x4f || answer[1] !== 0x4b) {
    await pipe.close();
    throw openingFailed(
      "Proxmox's termproxy",
      "it did not take the ticket",
      "With an API token, the host must be recent enough to take tokens here (docs/hosts.md): else set " +
        "SEALTTY_PROXMOX_USER and SEALTTY_PROXMOX_PASSWORD_FILE.",
      opening.failure,
    );
  }
  return new TermproxyPipe(pipe, opening.rest(), clock);
}

class TermproxyPipe implements Pipe {
  readonly incoming: AsyncIterable<Uint8Array>;
  readonly #pipe: Pipe;
  readonly #clock: Clock;
  readonly #ready: Promise<void>;
  #cancelReady: () => void = () => undefined;
  #cancelPing: () => void = () => undefined;
  #nowReady: () => void = () => undefined;
  #closed = false;

  constructor(pipe: Pipe, rest: AsyncIterable<Uint8Array>, clock: Clock) {
    this.#pipe = pipe;
    this.#clock = clock;
    this.#ready = new Promise((resolve) => {
      this.#nowReady = resolve;
    });
    this.#readyAfter(BANNER_WAIT_MS);
    this.incoming = this.#withoutBanner(rest);
    this.#pingLater();
  }

  async send(chunk: Uint8Array): Promise<void> {
    if (chunk.length === 0) return;
    await this.#ready;
    await this.#pipe.send(concat(utf8(`0:${chunk.length}:`), chunk));
  }

  close(): Promise<void> {
    this.#closed = true;
    this.#cancelPing();
    this.#cancelReady();
    this.#nowReady(); // who waits to send learns from the pipe that it is closed
    return this.#pipe.close();
  }

  async *#withoutBanner(rest: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    let start = new Uint8Array(0);
    let within = true;
    for await (const chunk of rest) {
      if (!within) {
        yield chunk;
        continue;
      }
      start = concat(start, chunk);
      const length = bannerLength(start);
      if (length === undefined) continue; // not whole yet
      within = false;
      if (length > 0) this.#readyAfter(SETTLE_MS);
      if (start.length > length) yield start.slice(length);
    }
    if (within && start.length > 0) yield start;
  }

  #readyAfter(delay: number): void {
    this.#cancelReady();
    if (!this.#closed) this.#cancelReady = this.#clock.after(delay, () => this.#nowReady());
  }

  #pingLater(): void {
    this.#cancelPing = this.#clock.after(PING_MS, () => {
      if (this.#closed) return;
      this.#pipe.send(PING).catch(() => undefined); // the reader learns of a lost pipe
      this.#pingLater();
    });
  }
}

/** Bytes of the banner that `bytes` begin with; 0: they do not; undefined: they may, there is too little to say. */
export function bannerLength(bytes: Uint8Array): number | undefined {
  const common = Math.min(bytes.length, BANNER.length);
  for (let at = 0; at < common; at++) if (bytes[at] !== BANNER[at]) return 0;
  if (bytes.length < BANNER.length) return undefined;
  const end = bytes.indexOf(LF);
  if (end >= MAX_BANNER || (end < 0 && bytes.length >= MAX_BANNER)) return 0;
  return end < 0 ? undefined : end + 1;
}
