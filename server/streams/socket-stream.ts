// A connected socket as a channel sees a program: its bytes, its two ends, and whether it ended in order.

import type { Socket } from "node:net";
import { PullReader } from "../../node/pull-reader.ts";
import { breakOff } from "../../node/sockets.ts";
import type { ExitStatus } from "../../protocol/session/channel-api.ts";
import type { GuestProcess, ProcessOutput } from "../../protocol/session/guest-process.ts";

/** Exit statuses of a stream. docs/protocol.md §8.3 */
const ENDED = 0;
const BROKEN = 1;

export class SocketStream implements GuestProcess {
  readonly stdout: ProcessOutput;
  readonly stderr: ProcessOutput = { read: () => Promise.resolve(undefined) };
  readonly exit: Promise<ExitStatus>;
  readonly #socket: Socket;

  /** @param socket - made with `allowHalfOpen`, and read by nobody yet. */
  constructor(socket: Socket) {
    this.#socket = socket;
    const reader = new PullReader(socket);
    this.stdout = { read: () => reader.read().catch(() => undefined) }; // `exit` tells
    this.exit = new Promise((resolve) => {
      const settle = (broken: boolean): void => resolve({ kind: "exited", status: broken ? BROKEN : ENDED });
      if (socket.closed) settle(true);
      socket.once("close", settle);
    });
  }

  async write(bytes: Uint8Array): Promise<void> {
    if (!this.#socket.writable) return;
    await new Promise<void>((resolve) => {
      this.#socket.write(bytes, () => resolve());
    });
  }

  endInput(): void {
    this.#socket.end();
  }

  resize(): void {}
  signal(): void {}

  hangUp(): void {
    breakOff(this.#socket);
  }
}
