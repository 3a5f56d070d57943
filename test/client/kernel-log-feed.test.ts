// The kernel's log on its way to the page's view: in order, with its gaps, no faster than it is drawn, and nothing unreadable taken.

import { expect, test } from "vitest";
import { followKernelLog, portWhile, type LogEntry } from "../../client/kernel-log-feed.ts";
import { concat, utf8 } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { encodeKernelLog } from "../../protocol/kernel-log/messages.ts";
import { MAX_KERNEL_CLOCK } from "../../protocol/limits.ts";
import type { OwnChannel, ChannelRequest } from "../../protocol/session/channel-api.ts";
import { FakeStream } from "../support/fake-stream.ts";

const WALL = 1_800_000_000_000;
const CLOCK = encodeKernelLog({ type: "clock", uptime: 5_000_000, wall: WALL });
const LAST_CLOCK = encodeKernelLog({ type: "clock", uptime: 0, wall: MAX_KERNEL_CLOCK });
const record = (text: string) => encodeKernelLog({ type: "record", bytes: utf8(text) });
const settled = () => new Promise((resolve) => setTimeout(resolve, 5));

function follow({ slow = false, while: counts = (): boolean => true } = {}) {
  const stdout = new FakeStream();
  const stderr = new FakeStream();
  const requests: ChannelRequest[] = [];
  const entries: LogEntry[] = [];
  const seen = { caughtUp: 0, hungUp: 0, draw: undefined as (() => void) | undefined };
  const channel: OwnChannel = {
    stdout,
    stderr,
    write: async () => undefined,
    end: () => undefined,
    resize: () => undefined,
    signal: () => undefined,
    hangUpUnsent: () => undefined,
    hangUp: () => void seen.hungUp++,
    exit: new Promise(() => undefined),
  };
  const openChannel = async (request: ChannelRequest): Promise<OwnChannel> => {
    requests.push(request);
    return channel;
  };
  const over = followKernelLog(
    { openChannel },
    portWhile(
      {
        add: (entry) => void entries.push(entry),
        caughtUp: () => void seen.caughtUp++,
        ready: () =>
          slow
            ? new Promise<void>((resolve) => {
                seen.draw = resolve;
              })
            : Promise.resolve(),
      },
      counts,
    ),
  );
  over.catch(() => undefined);
  return { stdout, stderr, requests, entries, seen, over };
}

test("records with their times, gaps where numbers are missing, and when all was said", async () => {
  const { stdout, requests, entries, seen } = follow();
  stdout.push(concat(CLOCK, record("4,7,1000000,-;first"), encodeKernelLog({ type: "lost" })));
  stdout.push(concat(record("30,9,5000000,-;a program's"), encodeKernelLog({ type: "caught-up" })));
  stdout.push(record("3,10,6000000,-;later\n SUBSYSTEM=usb"));
  await settled();
  expect(requests).toEqual([{ kind: "service", service: { name: "kernel-log", follow: true } }]);
  expect(entries).toEqual([
    { lost: 7, atStart: true },
    { level: "warn", facility: "kern", text: "first", at: WALL - 4000 },
    { lost: 1, atStart: false },
    { level: "info", facility: "daemon", text: "a program's", at: WALL },
    { level: "err", facility: "kern", text: "later", at: WALL + 1000 },
  ]);
  expect(seen.caughtUp).toBe(1);
});

test("the guest's credit comes back once the view has drawn, not before", async () => {
  const { stdout, seen } = follow({ slow: true });
  const first = concat(CLOCK, record("6,0,1,-;one"));
  stdout.push(first);
  stdout.push(record("6,1,2,-;two"));
  await settled();
  expect(stdout.credit).toBe(0);
  seen.draw?.();
  await settled();
  expect(stdout.credit).toBe(first.length);
});

test.each([
  ["records in a wrong order", concat(CLOCK, record("6,5,1,-;a"), record("6,5,2,-;b"))],
  ["a record before the clock", record("6,0,1,-;a")],
  ["a record that no kernel writes", concat(CLOCK, record("hello"))],
  ["a time that no calendar has", concat(LAST_CLOCK, record("6,0,2000000,-;a"))],
  ["an unknown message", Uint8Array.of(9, 0, 0, 0)],
])("%s: given up", async (_what, bytes) => {
  const { stdout, over, seen } = follow();
  stdout.push(bytes);
  await expect(over).rejects.toMatchObject({ code: "peer-misbehaved" });
  expect(seen.hungUp).toBe(1);
});

test("the guest's program ends: its words, made safe", async () => {
  const { stdout, stderr, over } = follow();
  stdout.push(CLOCK);
  stderr.push(utf8("the system refuses: EPERM\u001b[2J\n"));
  stderr.end();
  stdout.end();
  await expect(over).rejects.toMatchObject({
    code: "program-failed",
    message: "The guest stopped: the system refuses: EPERM\\x1b[2J",
  });
});

test("the connection's end is what the connection says", async () => {
  const { stdout, over } = follow();
  stdout.fail(new SealttyError("handed-over", "over"));
  await expect(over).rejects.toMatchObject({ code: "handed-over" });
});

test("a reading that counts no more shows nothing of what it still finds, and ends", async () => {
  let counts = true;
  const { stdout, entries, seen, over } = follow({ while: () => counts });
  stdout.push(concat(CLOCK, record("6,0,1,-;of the guest before")));
  await settled();
  expect(entries).toHaveLength(1);
  counts = false;
  stdout.push(concat(record("6,1,2,-;late"), encodeKernelLog({ type: "caught-up" })));
  await expect(over).rejects.toMatchObject({ code: "transport-lost" });
  expect(entries).toHaveLength(1);
  expect(seen).toMatchObject({ caughtUp: 0, hungUp: 1 });
});
