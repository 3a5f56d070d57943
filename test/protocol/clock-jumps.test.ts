// Clocks that jump: a suspended client or guest whose clock caught up. A living session is asked for before it is given up.
import { expect, test } from "vitest";
import { utf8 } from "../../protocol/bytes.ts";
import { connect } from "../../protocol/session/connect.ts";
import { ManualClock, passTime } from "../support/clocks.ts";
import { memoryPipes } from "../support/memory-pipe.ts";
import { clientOptions, echoProcess, testGuest } from "../support/session.ts";

const HOUR = 3_600_000;

/** A manual clock that can also jump: timers that fell due meanwhile fire late, at the new time. */
class JumpingClock extends ManualClock {
  #ahead = 0;
  override now(): number {
    return super.now() + this.#ahead;
  }
  jump(by: number): void {
    this.#ahead += by;
  }
}

async function session() {
  const clocks = { client: new JumpingClock(), guest: new JumpingClock() };
  const guest = testGuest(clocks.guest, {}, echoProcess);
  let deaf = false;
  const pipes = memoryPipes((chunk, deliver) => {
    if (!deaf) deliver(chunk);
  });
  void guest.endpoint.servePipe(pipes.guest).catch(() => {});
  const stopTime = passTime([clocks.client, clocks.guest], 5);
  const attested = await connect(clientOptions(clocks.client, async () => pipes.client));
  const opened = await attested.authenticate({ method: "none", user: "root" });
  const channel = await opened.openChannel({ kind: "login", term: "xterm", columns: 80, rows: 24 });
  channel.exit.catch(() => {});
  const echo = async (text: string) => {
    await channel.write(utf8(text));
    let got = "";
    while (got.length < text.length) {
      const part = await channel.stdout.read();
      if (part === undefined) break;
      got += Buffer.from(part).toString();
      channel.stdout.consumed(part.length);
    }
    return got;
  };
  const pass = async (ms: number) => {
    const end = clocks.client.now() + ms;
    while (clocks.client.now() < end) await new Promise((resolve) => setImmediate(resolve));
  };
  expect(await echo("before")).toBe("before");
  return {
    clocks,
    guest,
    echo,
    pass,
    closed: opened.closed,
    cutOff: () => {
      deaf = true;
    },
    stop: async () => {
      await opened.close();
      await guest.endpoint.stop();
      await stopTime();
    },
  };
}

test.each([
  ["the client's clock jumps ahead by an hour", { client: HOUR, guest: 0 }],
  ["the client's clock jumps ahead by a year", { client: 8766 * HOUR, guest: 0 }],
  ["the guest's clock jumps ahead by a quarter of an hour", { client: 0, guest: HOUR / 4 }],
  ["both jump ahead by 25 minutes", { client: HOUR / 2.4, guest: HOUR / 2.4 }],
])("%s: the session goes on", async (_name, jumps) => {
  const { clocks, echo, pass, stop } = await session();
  clocks.client.jump(jumps.client);
  clocks.guest.jump(jumps.guest);
  await pass(40_000); // its keep-alive falls due in between
  expect(await echo("after")).toBe("after");
  await stop();
});

test("a guest that is really gone is given up all the same, some seconds after the jump", async () => {
  const { clocks, closed, cutOff, stop } = await session();
  cutOff();
  clocks.client.jump(HOUR);
  expect(await closed).toMatch(/10 minutes/);
  await stop();
});

test("a guest whose clock jumps by an hour was silent for too long: it hangs up, and its client is told", async () => {
  const { clocks, guest, closed, pass, stop } = await session();
  clocks.guest.jump(HOUR);
  await pass(1000);
  expect(await closed).toBe("done");
  expect(guest.processes[0]?.events).toContain("hang up");
  await stop();
});
