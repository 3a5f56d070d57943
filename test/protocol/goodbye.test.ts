// A daemon that ends: its clients hear so, also over a slow pipe and while they type; and it does not wait for those that are away.
import { expect, test } from "vitest";
import { utf8 } from "../../protocol/bytes.ts";
import { connect } from "../../protocol/session/connect.ts";
import { ManualClock, passTime } from "../support/clocks.ts";
import { memoryPipes } from "../support/memory-pipe.ts";
import { clientOptions, echoProcess, testGuest } from "../support/session.ts";

const MS_AT_ONCE = 5;

/** @param delay - of what goes to the client, ms. */
async function session(delay: number, shaping?: "adaptive" | "strict") {
  const clock = new ManualClock();
  const guest = testGuest(clock, {}, echoProcess);
  let deaf = false;
  const pipes = memoryPipes((chunk, deliver, direction) => {
    if (deaf) return;
    const copy = chunk.slice();
    if (direction === "to-client") clock.after(delay, () => deliver(copy));
    else deliver(copy);
  });
  void guest.endpoint.servePipe(pipes.guest).catch(() => {});
  const stopTime = passTime([clock], MS_AT_ONCE);
  const attested = await connect(
    clientOptions(clock, async () => pipes.client, shaping === undefined ? {} : { shaping }),
  );
  const opened = await attested.authenticate({ method: "none", user: "root" });
  const channel = await opened.openChannel({ kind: "login", term: "xterm", columns: 80, rows: 24 });
  channel.exit.catch(() => {});
  return {
    ...{ clock, guest, channel },
    closed: opened.closed,
    close: () => opened.close(),
    cutOff: () => {
      deaf = true;
    },
    end: stopTime,
  };
}

test.each([
  [0, undefined],
  [100, undefined],
  [300, undefined],
  [100, "adaptive"],
  [100, "strict"],
] as const)("who types hears that it was handed over, %i ms away, shaping %s", async (delay, shaping) => {
  const { clock, guest, channel, closed, end } = await session(delay, shaping);
  const stopping = guest.endpoint.stop("handed-over");
  const typing = channel.write(utf8("typed meanwhile")).catch(() => {});
  expect(await closed).toBe("handed-over");
  const heard = clock.now();
  await Promise.all([stopping, typing]);
  expect(clock.now() - heard).toBeLessThan(100); // nobody is left to wait for
  expect(guest.endpoint.connectionCount).toBe(0);
  await end();
});

test("who says CLOSE at that moment, and is gone, is not waited for", async () => {
  const { clock, guest, close, cutOff, end } = await session(100);
  const before = clock.now();
  const stopping = guest.endpoint.stop("handed-over");
  const closing = close(); // what the guest said is still under way
  await new Promise((resolve) => clock.after(50, () => resolve(cutOff())));
  await stopping;
  expect(clock.now() - before).toBeLessThan(300);
  await closing;
  await end();
});

test("a client that is away is waited for no longer than a second", async () => {
  const { clock, guest, cutOff, end } = await session(0);
  cutOff();
  const before = clock.now();
  await guest.endpoint.stop("handed-over");
  const waited = clock.now() - before;
  expect(waited).toBeGreaterThanOrEqual(1000);
  expect(waited).toBeLessThan(1000 + 20 * MS_AT_ONCE);
  expect(guest.endpoint.connectionCount).toBe(0);
  await end();
});

test("who is no user yet is told, and not waited for", async () => {
  const clock = new ManualClock();
  const guest = testGuest(clock);
  let deaf = false;
  const pipes = memoryPipes((chunk, deliver) => {
    if (!deaf) deliver(chunk);
  });
  void guest.endpoint.servePipe(pipes.guest).catch(() => {});
  const stopTime = passTime([clock], MS_AT_ONCE);
  await connect(clientOptions(clock, async () => pipes.client));
  expect(guest.endpoint.connectionCount).toBe(1);
  deaf = true;
  const before = clock.now();
  await guest.endpoint.stop();
  expect(clock.now() - before).toBeLessThan(300);
  await stopTime();
});

test("nobody is there: it ends at once", async () => {
  const clock = new ManualClock();
  await testGuest(clock).endpoint.stop();
  expect(clock.now()).toBe(0);
});
