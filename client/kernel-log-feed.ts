// The guest's kernel log on its way to the view: read, checked, and no faster than it is drawn. docs/protocol.md §8.13

import { asError, SealttyError } from "../protocol/errors.ts";
import { KernelLogDecoder, type KernelLogMessage } from "../protocol/kernel-log/messages.ts";
import { type KernelRecord, parseKernelRecord } from "../protocol/kernel-log/record.ts";
import { type Gap, RecordOrder } from "../protocol/kernel-log/record-order.ts";
import { type Clocks, wallTimeOf } from "../protocol/kernel-log/wall-time.ts";
import type { Guest } from "../protocol/session/api.ts";
import type { Channel, ReceiveStream } from "../protocol/session/channel-api.ts";
import { escapedBytes, plainText } from "./plain-text.ts";

/** Bytes of what the guest's program says of its own failure. */
const MAX_COMPLAINT = 1000;

/** A record as it is shown. */
export interface LogRecord extends Pick<KernelRecord, "level" | "facility" | "text"> {
  /** ms since 1970 UTC. */
  readonly at: number;
}

export type LogEntry = LogRecord | Gap;

export interface LogPort {
  add(entry: LogEntry): void;
  /** All that was there has come; what follows is new. */
  caughtUp(): void;
  /** Resolves once more can be taken: until then the guest waits. */
  ready(): Promise<void>;
}

/**
 * For one reading: once it counts no more, what it still finds is not shown, lest it stand in another guest's log, and it ends.
 * @param counts - asked each time.
 */
export function portWhile(port: LogPort, counts: () => boolean): LogPort {
  return {
    add(entry) {
      if (counts()) port.add(entry);
    },
    caughtUp() {
      if (counts()) port.caughtUp();
    },
    ready: () =>
      counts() ? port.ready() : Promise.reject(new SealttyError("transport-lost", "The log is read anew")),
  };
}

/** Follows the log until its end, which is always an error: of the connection, of the guest's program, or a refusal. */
export async function followKernelLog(guest: Pick<Guest, "openChannel">, port: LogPort): Promise<never> {
  const channel = await guest.openChannel({ kind: "service", service: { name: "kernel-log", follow: true } });
  const complaint = complaintOf(channel.stderr);
  try {
    await readAll(channel, port);
  } catch (error) {
    channel.hangUp();
    throw asError(error);
  }
  const said = await complaint;
  throw new SealttyError(
    "program-failed",
    said === "" ? "The guest stopped reading its kernel's log" : `The guest stopped: ${said}`,
  );
}

async function readAll(channel: Channel, port: LogPort): Promise<void> {
  const decoder = new KernelLogDecoder();
  const order = new RecordOrder();
  let clocks: Clocks = { uptime: 0, wall: 0 };
  const take = (message: KernelLogMessage): void => {
    switch (message.type) {
      case "clock":
        clocks = message;
        return;
      case "record": {
        const record = parseKernelRecord(message.bytes);
        const gap = order.take(record.number);
        if (gap !== undefined) port.add(gap);
        const { level, facility, text } = record;
        return port.add({ level, facility, text, at: wallTimeOf(record, clocks) });
      }
      case "lost":
        return; // how many, the next record's number tells
      case "caught-up":
        return port.caughtUp();
    }
  };
  for (;;) {
    const bytes = await channel.stdout.read();
    if (bytes === undefined) break;
    for (const message of decoder.push(bytes)) take(message);
    await port.ready();
    channel.stdout.consumed(bytes.length);
  }
  decoder.end();
}

/** A sentence, made safe to show. Reads to the end; never rejects. */
async function complaintOf(stderr: ReceiveStream): Promise<string> {
  let said = "";
  try {
    for (;;) {
      const bytes = await stderr.read();
      if (bytes === undefined) break;
      if (said.length < MAX_COMPLAINT) said += escapedBytes(bytes.subarray(0, MAX_COMPLAINT));
      stderr.consumed(bytes.length);
    }
  } catch {
    // how the connection ended, the log's own stream tells as well
  }
  return plainText(said, MAX_COMPLAINT);
}
