// Between a channel and the terminal: input that waits for the guest, output that gives credit back once it is parsed.

import type { Channel } from "../protocol/session/channel-api.ts";

/** The terminal as the session sees it. */
export interface TerminalPort {
  readonly columns: number;
  readonly rows: number;
  /** `parsed` is called once the terminal has worked the bytes off: only then is credit given back. */
  write(bytes: Uint8Array, parsed: () => void): void;
  /** The next `length` bytes are a screen's text, for a terminal of that size that was reset; they end with a chunk. */
  restore(columns: number, rows: number, length: number): void;
  onInput(listener: (bytes: Uint8Array) => void): void;
  onResize(listener: (columns: number, rows: number) => void): void;
  /** Takes no more input, and switches off what the session left on. */
  finish(): void;
}

/** Keys and terminal answers that wait for the guest; a paste is at most 1 MiB. */
export const MAX_WAITING_INPUT = 4 * 1024 * 1024;

/** While the guest is not the one the user knows, what is typed for it goes nowhere, not even later. */
export interface Freeze {
  frozen: boolean;
  /** How often it was frozen: what waited since before that is left out. */
  count: number;
}

/** Connects channel and terminal until the output has ended and was parsed. */
export async function pump(
  channel: Channel,
  terminal: TerminalPort,
  freeze: Readonly<Freeze>,
  warnStuck: (stuck: boolean) => void,
): Promise<void> {
  let waiting = 0;
  let writes: Promise<void> = Promise.resolve();
  terminal.onInput((bytes) => {
    if (freeze.frozen) return;
    // A guest that asks its terminal questions and never reads the answers must not fill our memory.
    if (waiting + bytes.length > MAX_WAITING_INPUT) {
      warnStuck(true);
      return;
    }
    waiting += bytes.length;
    const typedAt = freeze.count;
    writes = writes
      .then(() => (freeze.count === typedAt ? channel.write(bytes) : undefined))
      .then(() => {
        waiting -= bytes.length;
        if (waiting === 0) warnStuck(false);
      })
      .catch(() => undefined); // the reading side reports why the channel ended
  });
  terminal.onResize((columns, rows) => channel.resize(columns, rows));

  let unparsed = 0;
  let allParsed: (() => void) | undefined;
  for (;;) {
    const chunk = await channel.stdout.read();
    if (chunk === undefined) break;
    unparsed += chunk.length;
    // Not awaited: the credit that `consumed` gives back is the limit on what the terminal holds.
    terminal.write(chunk, () => {
      unparsed -= chunk.length;
      channel.stdout.consumed(chunk.length);
      if (unparsed === 0) allParsed?.();
    });
  }
  if (unparsed > 0) {
    await new Promise<void>((resolve) => {
      allParsed = resolve;
    });
  }
}
