// A connection into the guest in the shape that noVNC takes: something like a data channel of WebRTC's. Credit is given back once what came was
// drawn, what goes out waits below a bound.

import { brokenBy, errorsOf } from "../protocol/api/stream-end.ts";
import { SealttyError } from "../protocol/errors.ts";
import type { StreamPlace } from "../protocol/forward/target.ts";
import type { OwnChannel } from "../protocol/session/channel-api.ts";

/** Bytes for a server that does not read: keys and pointers are a few each, a clipboard is at most MAX_DESKTOP_CLIPBOARD. */
export const MAX_DESKTOP_WAITING = 1024 * 1024;

/** Bytes that are handed over at a time: what they have drawn can be a lot, and the library stops for nothing before it has read them. */
const MAX_AT_A_TIME = 4096;

export class DesktopChannel {
  /** Set by noVNC, which is always given this one. */
  binaryType = "arraybuffer";
  readonly protocol = "";
  onopen: (() => void) | null = null;
  onmessage: ((event: { readonly data: ArrayBuffer }) => void) | null = null;
  onclose: ((event: { readonly code?: number }) => void) | null = null;
  onerror: ((event: unknown) => void) | null = null;
  readonly #channel: OwnChannel;
  readonly #place: StreamPlace;
  #open = true;
  #waiting = 0; // bytes
  #writes: Promise<void> = Promise.resolve();
  #full: ((error: Error) => void) | undefined;

  constructor(channel: OwnChannel, place: StreamPlace) {
    this.#channel = channel;
    this.#place = place;
  }

  get readyState(): "open" | "closed" {
    return this.#open ? "open" : "closed";
  }

  /**
   * Hands over what comes, until the server's end or `close`.
   * @param drawn - awaited before more is asked for. @param turn - awaited after each piece that was handed over. @throws what broke it; whatever the reader throws is that, too.
   */
  async run(drawn: () => Promise<void>, turn: () => Promise<void>): Promise<void> {
    const full = new Promise<never>((_, reject) => {
      this.#full = reject;
    });
    void errorsOf(this.#channel, () => undefined);
    try {
      await Promise.race([this.#readAll(drawn, turn), full]);
      if (!this.#open) return;
      const broken = brokenBy(await this.#channel.exit, this.#place);
      if (broken !== undefined && this.#open) throw broken;
    } finally {
      this.#shut();
    }
  }

  /** Bytes are copied: noVNC writes into the same ones again. */
  send(bytes: Uint8Array): void {
    if (!this.#open) return;
    if (this.#waiting + bytes.length > MAX_DESKTOP_WAITING) {
      this.#full?.(new SealttyError("limit-exceeded", "The VNC server does not take what is typed for it"));
      return;
    }
    const copy = bytes.slice();
    this.#waiting += copy.length;
    this.#writes = this.#writes
      .then(() => (this.#open ? this.#channel.write(copy) : undefined))
      .then(() => void (this.#waiting -= copy.length))
      .catch(() => undefined); // why it ended, the reading side tells
  }

  /** Nothing is handed over any more. Idempotent. */
  close(): void {
    this.#shut();
  }

  /** Of what was typed and has not arrived nothing leaves any more: the guest is another one, or may be. */
  closeUnsent(): void {
    if (this.#open) this.#channel.hangUpUnsent();
    this.#shut(false);
  }

  async #readAll(drawn: () => Promise<void>, turn: () => Promise<void>): Promise<void> {
    for (;;) {
      const bytes = await this.#channel.stdout.read();
      if (bytes === undefined) return;
      for (let at = 0; at < bytes.length && this.#open; at += MAX_AT_A_TIME) {
        this.onmessage?.({ data: bytes.slice(at, at + MAX_AT_A_TIME).buffer });
        await turn();
      }
      if (this.#open) await drawn();
      this.#channel.stdout.consumed(bytes.length); // also once it is closed: an end behind it would never come
    }
  }

  #shut(hangUp = true): void {
    if (!this.#open) return;
    this.#open = false;
    if (hangUp) this.#channel.hangUp();
    setTimeout(() => this.onclose?.({})); // noVNC takes none before its own `close` came back; and why it ended, `run` tells first
  }
}
