// Breaking a connection off: its other side sees no end in order, and nothing of it is left here.

import { once } from "node:events";
import net from "node:net";
import { afterEach, expect, test } from "vitest";
import { breakOff, connectTo } from "../../node/sockets.ts";

const cleanUp: (() => void)[] = [];
afterEach(() => {
  for (const clean of cleanUp.splice(0)) clean();
});

/** @returns both ends of a TCP connection on loopback. */
async function pair(): Promise<{ near: net.Socket; far: net.Socket }> {
  const server = net.createServer({ allowHalfOpen: true });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as net.AddressInfo;
  const arriving = once(server, "connection");
  const near = await connectTo({ host: "127.0.0.1", port });
  const [far] = (await arriving) as [net.Socket];
  cleanUp.push(() => {
    near.destroy();
    far.destroy();
    server.close();
  });
  return { near, far };
}

test("the other side hears of a reset, not of an end", async () => {
  const { near, far } = await pair();
  const heard = once(far, "error");
  far.on("end", () => expect.unreachable("an end in order"));
  breakOff(near);
  expect(((await heard) as [NodeJS.ErrnoException])[0].code).toBe("ECONNRESET");
});

test.each([0, 1])(
  "broken off while its end is on its way (%i bytes before it): closed, without an error",
  async (length) => {
    const { near, far } = await pair();
    far.on("error", () => {}).resume();
    const errors: unknown[] = [];
    near.on("error", (error) => errors.push(error));
    const closed = once(near, "close");
    if (length > 0) near.write(Buffer.alloc(length));
    near.end();
    breakOff(near);
    await closed;
    expect(errors).toEqual([]);
  },
);

test("broken off while its end waits for a reader that does not read: closed all the same", async () => {
  const { near, far } = await pair();
  far.on("error", () => {}).pause();
  near.on("error", () => {});
  const closed = once(near, "close");
  near.end(Buffer.alloc(64 * 1024 * 1024)); // more than any kernel keeps
  breakOff(near);
  await closed;
  expect(near.destroyed).toBe(true);
});
