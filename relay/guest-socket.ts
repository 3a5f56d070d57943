// One connection to a guest's character device: kept, re-opened with back-off, and able to push back.

import net from "node:net";
import { RECONNECT_FIRST_MS, RECONNECT_LAST_MS } from "./limits.ts";

export type GuestTarget =
  | { readonly kind: "unix"; readonly path: string }
  | { readonly kind: "tcp"; readonly host: string; readonly port: number };

export interface GuestSocketEvents {
  onConnected(): void;
  onLost(reason: string): void;
  /** The first attempt failed; it goes on trying. */
  onAbsent(reason: string): void;
  onBytes(chunk: Uint8Array): void;
}

export class GuestSocket {
  readonly #target: GuestTarget;
  readonly #events: GuestSocketEvents;
  #socket: net.Socket | undefined;
  #connected = false;
  #delay = RECONNECT_FIRST_MS;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;
  #saidAbsent = false;
  #waiting: (() => void)[] = []; // writers that wait for room

  constructor(target: GuestTarget, events: GuestSocketEvents) {
    this.#target = target;
    this.#events = events;
    this.#dial();
  }

  get connected(): boolean {
    return this.#connected;
  }

  /** @returns false where nothing is connected and the bytes were dropped: the protocol above sends them again. */
  async write(bytes: Uint8Array): Promise<boolean> {
    const socket = this.#socket;
    if (!this.#connected || socket === undefined) return false;
    if (!socket.write(bytes)) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    return this.#connected && socket === this.#socket;
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#socket?.destroy();
    this.#release();
  }

  #dial(): void {
    const target = this.#target;
    const socket =
      target.kind === "unix"
        ? net.connect(target.path)
        : net.connect({ host: target.host, port: target.port });
    socket.setNoDelay(true); // lock-step exchanges with a serial port stall under Nagle
    this.#socket = socket;
    let reason = "the other end closed";
    socket.on("connect", () => {
      this.#connected = true;
      this.#delay = RECONNECT_FIRST_MS;
      this.#events.onConnected();
    });
    socket.on("data", (chunk: Buffer) => this.#events.onBytes(chunk));
    socket.on("drain", () => this.#release());
    socket.on("error", (error: NodeJS.ErrnoException) => {
      reason = error.code ?? error.message;
    });
    socket.on("close", () => this.#lost(reason));
  }

  #lost(reason: string): void {
    const wasConnected = this.#connected;
    this.#connected = false;
    this.#release();
    if (this.#closed) return;
    if (wasConnected) this.#events.onLost(reason);
    else if (!this.#saidAbsent) this.#events.onAbsent(reason);
    this.#saidAbsent = true;
    this.#timer = setTimeout(() => this.#dial(), this.#delay);
    this.#delay = Math.min(this.#delay * 2, RECONNECT_LAST_MS);
  }

  #release(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }
}
