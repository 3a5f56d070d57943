// Incus's console of a virtual machine, a stand-in of it: an operation, two web sockets, text for the end, ESC c into the guest.

import { mkdtempSync, rmSync } from "node:fs";
import http from "node:http";
import os from "node:os";
import path from "node:path";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import { parseAddress } from "../../cli/address.ts";
import { dial } from "../../cli/dial.ts";
import { nodeClock } from "../../node/clock.ts";
import { connectWebSocket } from "../../node/web-socket-pipe.ts";
import type { Pipe } from "../../protocol/pipe.ts";
import { PlainGuest } from "../support/hosts/device.ts";
import { IncusStandIn } from "../support/hosts/incus.ts";
import { naiveWebSocket } from "../support/hosts/naive.ts";
import { makeCertificate } from "../support/hosts/web-host.ts";
import { hostTestGuest, SOUND, soundness, wholeSession } from "../support/hosts/whole-session.ts";

const directory = mkdtempSync(path.join(os.tmpdir(), "sealtty-incus-"));
let count = 0;
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const ending: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of ending.splice(0).reverse()) await end();
});
const ADDRESS = parseAddress("incus:lab/db1");

async function incus(serve: (pipe: Pipe) => Promise<unknown>) {
  const host = new IncusStandIn({ project: "lab", instance: "db1" }, serve);
  const socket = path.join(directory, `s${count++}`);
  await host.listen(socket);
  ending.push(async () => {
    await host.close();
    await host.device.close();
  });
  return { host, socket, open: () => dial(ADDRESS, { SEALTTY_INCUS_SOCKET: socket }, nodeClock) };
}

interface Opened {
  readonly id: string;
  readonly fds: { readonly "0": string; readonly control: string };
}

/** Asks by hand, as the stand-in's own client would. */
function ask(socket: string, force: boolean): Promise<Opened> {
  return new Promise((resolve, reject) => {
    const request = http.request(
      { socketPath: socket, method: "POST", path: "/1.0/instances/db1/console?project=lab" },
      (response) => {
        let body = "";
        response.on("data", (part: Buffer) => {
          body += part.toString();
        });
        response.on("end", () => {
          if (response.statusCode !== 202) return reject(new Error(body));
          const { metadata } = JSON.parse(body) as {
            metadata: { id: string; metadata: Pick<Opened, "fds"> };
          };
          resolve({ id: metadata.id, fds: metadata.metadata.fds });
        });
      },
    );
    request.end(JSON.stringify({ type: "console", force }));
  });
}
const socketUrl = (socket: string, { id }: Opened, secret: string): string =>
  `ws+unix:${socket}:/1.0/operations/${id}/websocket?secret=${secret}`;

describe("stand-in of Incus", () => {
  test.each(["binary", "armour"] as const)(
    "a whole session in %s: the host says the end in text, another client takes the console by force and leaves",
    async (encoding) => {
      const guest = hostTestGuest();
      const { host, socket, open } = await incus((pipe) => guest.endpoint.servePipe(pipe));
      const result = await wholeSession({
        name: `Incus's console (stand-in, ${encoding})`,
        guest,
        encoding,
        dial: open,
        async midway({ echo, reconnected, guest: { stats } }) {
          let { pipes } = stats;
          host.sayEnd();
          await reconnected(pipes);
          await echo();
          ({ pipes } = stats);
          const taken = await ask(socket, true);
          const control = await naiveWebSocket(socketUrl(socket, taken, taken.fds.control));
          const data = await naiveWebSocket(socketUrl(socket, taken, taken.fds["0"]));
          data.socket.send(Buffer.from("who is there?\r"));
          control.socket.close(); // leaves: only now can ours come back
          await reconnected(pipes);
          await echo();
        },
        halfway: async () => host.sayEnd(),
      });
      expect(soundness(result, guest)).toEqual(SOUND);
      // Each detachment put ESC c into the guest's stream.
      expect(host.detachments).toBeGreaterThanOrEqual(3);
      expect(host.device.written.toString("latin1").split("\x1bc").length - 1).toBeGreaterThanOrEqual(3);
      await guest.endpoint.stop();
    },
  );

  test("text is a clean end of the pipe, and what comes behind it is not read", async () => {
    const guest = new PlainGuest();
    const { host, open } = await incus(guest.serve);
    const pipe = await open();
    while (host.attachments === 0) await new Promise((resolve) => setImmediate(resolve));
    await guest.say(Buffer.from("last words"));
    while (host.device.bytesToHost < 10) await new Promise((resolve) => setImmediate(resolve));
    host.sayEnd();
    await guest.say(Buffer.from("not these"));
    const read: Uint8Array[] = [];
    for await (const chunk of pipe.incoming) read.push(chunk);
    expect(Buffer.concat(read).toString()).toBe("last words");
    await pipe.close();
    await host.detached(1);
  });

  test("over TLS, with the server's own certificate as CA", async () => {
    const guest = new PlainGuest();
    const tls = makeCertificate(directory, "incus");
    const host = new IncusStandIn({ tls, project: "default", instance: "db1" }, guest.serve);
    await host.listen();
    ending.push(() => host.close());
    const server = { SEALTTY_INCUS_SERVER: `https://${host.authority}` };
    const address = parseAddress("incus:db1");
    await expect(dial(address, server, nodeClock)).rejects.toMatchObject({
      code: "transport-lost",
      message: expect.stringContaining("_CA_FILE"),
    });
    const client = {
      SEALTTY_INCUS_CA_FILE: tls.certFile,
      SEALTTY_INCUS_CERT_FILE: tls.certFile,
      SEALTTY_INCUS_KEY_FILE: tls.keyFile,
    };
    const pipe = await dial(address, { ...server, ...client }, nodeClock);
    await pipe.send(Buffer.from("in"));
    expect((await guest.until(2)).toString()).toBe("in");
    await pipe.close();
    await expect(
      dial(address, { ...server, ...client, SEALTTY_INCUS_KEY_FILE: undefined }, nodeClock),
    ).rejects.toMatchObject({ code: "bad-config", message: expect.stringContaining("belong together") });
  });

  test("a console that is taken is said so, taken over only when told to, and let go at the end", async () => {
    const guest = new PlainGuest();
    const { host, socket, open } = await incus(guest.serve);
    const first = await open();
    await expect(open()).rejects.toMatchObject({
      code: "transport-lost",
      message: expect.stringMatching(/already connected.*SEALTTY_INCUS_FORCE=1/),
    });
    const second = await dial(ADDRESS, { SEALTTY_INCUS_SOCKET: socket, SEALTTY_INCUS_FORCE: "1" }, nodeClock);
    for await (const _ of first.incoming); // its operation was ended
    await second.close();
    await host.detached(2);
    const third = await open();
    await third.close();
    await host.detached(3);
  });

  test("control: detaching puts ESC c into a naive guest, text ends a naive client, and its own text silences it", async () => {
    const guest = new PlainGuest();
    const { host, socket } = await incus(guest.serve);
    const opened = await ask(socket, false);
    const control = await naiveWebSocket(socketUrl(socket, opened, opened.fds.control));
    const data = await naiveWebSocket(socketUrl(socket, opened, opened.fds["0"]));
    data.socket.send(Buffer.from("before"));
    data.socket.send("text");
    data.socket.send(Buffer.from("after"));
    await new Promise((resolve) => {
      data.socket.once("pong", resolve);
      data.socket.ping();
    });
    control.socket.close();
    expect((await guest.until(8)).toString("latin1")).toBe("before\x1bc");
    await host.detached(1);
    // A pipe made for QEMU takes the end for an error.
    const again = await ask(socket, false);
    const qemu = await connectWebSocket(
      `ws://localhost/1.0/operations/${again.id}/websocket?secret=${again.fds["0"]}`,
      {
        socketPath: socket,
        protocols: [],
      },
    );
    host.sayEnd();
    await expect(
      (async () => {
        for await (const _ of qemu.incoming);
      })(),
    ).rejects.toMatchObject({ message: expect.stringContaining("sent text") });
    await qemu.close();
    // Without a control socket nobody notices that it left.
    await expect(ask(socket, false)).rejects.toThrow("already connected");
  });

  test.each([
    ["another instance", "incus:lab/db2", "incus list"],
    ["another project", "incus:db1", "incus list"],
  ])("refused in plain words: %s", async (_, address, words) => {
    const { socket } = await incus(new PlainGuest().serve);
    await expect(
      dial(parseAddress(address), { SEALTTY_INCUS_SOCKET: socket }, nodeClock),
    ).rejects.toMatchObject({
      code: "transport-lost",
      message: expect.stringContaining(words),
    });
  });

  test("no Incus here", async () => {
    const none = { SEALTTY_INCUS_SOCKET: path.join(directory, "none") };
    await expect(dial(ADDRESS, none, nodeClock)).rejects.toMatchObject({
      code: "transport-lost",
      message: expect.stringMatching(
        /^Incus at \S+none did .* unix socket is missing\. .*SEALTTY_INCUS_SOCKET .*SEALTTY_INCUS_SERVER /,
      ),
    });
  });
});
