// Cloud Hypervisor's serial socket and the vsock of Firecracker and Cloud Hypervisor: stand-ins of both.

import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import * as fc from "fast-check";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import { parseAddress } from "../../cli/address.ts";
import { dial } from "../../cli/dial.ts";
import { openHybridVsock } from "../../cli/hosts/hybrid-vsock.ts";
import { nodeClock } from "../../node/clock.ts";
import { FrameDecoder } from "../../protocol/frames/frame-decoder.ts";
import { encodeFrame } from "../../protocol/frames/frame-encoder.ts";
import { PlainGuest } from "../support/hosts/device.ts";
import { CloudHypervisorSerial, HybridVsock } from "../support/hosts/unix-hosts.ts";
import { hostTestGuest, SOUND, soundness, wholeSession } from "../support/hosts/whole-session.ts";
import { memoryPipes } from "../support/memory-pipe.ts";
import { pipeContract } from "../support/pipe-contract.ts";
import { testSeed } from "../support/seeded.ts";

const directory = mkdtempSync(path.join(os.tmpdir(), "sealtty-hosts-"));
let count = 0;
const freshPath = (): string => path.join(directory, `s${count++}`);
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const ending: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of ending.splice(0).reverse()) await end();
});
const seed = testSeed();
const address = (text: string) => () => dial(parseAddress(text), {}, nodeClock);

async function naiveClient(file: string): Promise<net.Socket> {
  const socket = net.connect(file);
  socket.on("error", () => undefined);
  await once(socket, "connect");
  ending.push(async () => void socket.destroy());
  return socket;
}

describe("stand-in of Cloud Hypervisor's serial socket", () => {
  async function cloudHypervisor(serve: ConstructorParameters<typeof CloudHypervisorSerial>[0]) {
    const host = new CloudHypervisorSerial(serve);
    const file = freshPath();
    await host.listen(file);
    ending.push(() => host.close());
    return { host, file };
  }

  test.each(["binary", "armour"] as const)(
    "a whole session in %s, through a client that takes the socket",
    async (encoding) => {
      const guest = hostTestGuest();
      const { host, file } = await cloudHypervisor((pipe) => guest.endpoint.servePipe(pipe));
      const result = await wholeSession({
        name: `Cloud Hypervisor's serial socket (stand-in, ${encoding})`,
        guest,
        encoding,
        dial: address(`unix:${file}`),
        async midway({ echo, reconnected, guest: { stats } }) {
          const { pipes } = stats;
          await naiveClient(file); // the latest client wins: ours is shut down, comes back, and wins in turn
          await reconnected(pipes);
          await echo();
        },
        halfway: () => naiveClient(file),
      });
      expect(soundness(result, guest)).toEqual(SOUND);
      expect(result.pipes).toBeGreaterThan(1);
      expect(result.phases).toContain("reconnecting");
      expect(host.clients).toBeGreaterThanOrEqual(5); // two intruders, and ours after each of them
      await guest.endpoint.stop();
    },
  );

  test("control: it turns a naive client's lone LF into CR, and ends the first of two clients", async () => {
    const guest = new PlainGuest();
    const { file } = await cloudHypervisor(guest.serve);
    const first = await naiveClient(file);
    const ended = once(first, "close");
    first.write("\n");
    expect((await guest.until(1)).toString("latin1")).toBe("\r");
    await naiveClient(file);
    await ended;
  });

  test("an armoured line of 64·n + 1 bytes, whose last LF is read alone, is read all the same", async () => {
    // LF, the mark, base64url, CR LF: the body's length decides; all of 200 are tried, some must end so.
    const guest = new PlainGuest();
    const { file } = await cloudHypervisor(guest.serve);
    const client = await naiveClient(file);
    let hit = 0;
    let sent = 0;
    const decoder = new FrameDecoder();
    for (let length = 1; length <= 200; length++) {
      const body = new Uint8Array(length).fill(length | 0x80); // no type of ours: a decoder keeps RAW to itself
      const line = encodeFrame(body, "armour");
      client.write(line);
      sent += line.length;
      const bytes = await guest.until(sent);
      const arrived = bytes.subarray(sent - line.length);
      if (line.length % 64 === 1) {
        hit++;
        expect(arrived.at(-1)).toBe(0x0d); // the quirk was there
      }
      const { frames } = decoder.push(arrived);
      expect(frames.map((frame) => Buffer.from(frame.body).toString("hex"))).toEqual([
        Buffer.from(body).toString("hex"),
      ]);
    }
    expect(hit).toBeGreaterThan(0);
  });

  test("output while nobody is attached is replayed, and is no harm to the session that comes", async () => {
    const guest = hostTestGuest();
    const { host, file } = await cloudHypervisor((pipe) => guest.endpoint.servePipe(pipe));
    host.device.detached(Buffer.from("[    0.000000] Linux version 6.1\r\nlogin: \0\0half a fr"));
    const result = await wholeSession({
      name: "Cloud Hypervisor's serial socket, after a replay (stand-in)",
      guest,
      dial: address(`unix:${file}`),
    });
    expect(soundness(result, guest)).toEqual(SOUND);
    expect(result.noise.toString("latin1")).toContain("Linux version");
    await guest.endpoint.stop();
  });
});

describe("stand-in of Firecracker's and Cloud Hypervisor's vsock", () => {
  async function vsock(port: number, serve: (pipe: Parameters<PlainGuest["serve"]>[0]) => Promise<unknown>) {
    const host = new HybridVsock(new Map([[port, serve]]));
    const file = freshPath();
    await host.listen(file);
    ending.push(() => host.close());
    return { host, file };
  }

  test("a whole session, through a reset of all connections as after a restored snapshot", async () => {
    const guest = hostTestGuest();
    const { host, file } = await vsock(7000, (pipe) => guest.endpoint.servePipe(pipe));
    const result = await wholeSession({
      name: "Firecracker's vsock (stand-in)",
      guest,
      dial: address(`vsock+unix:${file}:7000`),
      async midway({ echo, reconnected, guest: { stats } }) {
        const { pipes } = stats;
        host.reset();
        await reconnected(pipes);
        await echo();
      },
      halfway: async () => host.reset(),
    });
    expect(soundness(result, guest)).toEqual(SOUND);
    expect(host.connections).toBeGreaterThan(1);
    await guest.endpoint.stop();
  });

  test("control: a naive client's first line is taken for a command, and ends its connection", async () => {
    const guest = new PlainGuest();
    const { file } = await vsock(7000, guest.serve);
    const client = await naiveClient(file);
    const ended = once(client, "close");
    client.write("root\n");
    client.resume();
    await ended;
    expect(guest.bytes.length).toBe(0);
  });

  test("a port that nobody listens on is said in words", async () => {
    const { file } = await vsock(7000, new PlainGuest().serve);
    await expect(address(`vsock+unix:${file}:7001`)()).rejects.toMatchObject({
      code: "transport-lost",
      message: expect.stringContaining("listens on this vsock port"),
    });
  });

  test(`any other answer than OK is refused, and a whole one never eats a byte behind it (seed ${seed})`, async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ maxLength: 40 }),
        fc.nat(4_294_967_295),
        fc.integer({ min: 1, max: 9 }),
        async (junk, hostPort, cut) => {
          const answer = Buffer.concat([Buffer.from(`OK ${hostPort}\n`), junk]);
          const open = async (bytes: Uint8Array) => {
            const { client, guest } = memoryPipes();
            const opened = openHybridVsock(client, 5, "a test", nodeClock);
            opened.catch(() => undefined); // looked at below, when all was said
            for (let at = 0; at < bytes.length; at += cut) await guest.send(bytes.subarray(at, at + cut));
            void guest.close();
            return opened;
          };
          const pipe = await open(answer);
          const got: Uint8Array[] = [];
          for await (const chunk of pipe.incoming) got.push(chunk);
          expect(Buffer.concat(got).equals(Buffer.from(junk))).toBe(true);
          const line = Buffer.from(junk).toString("latin1").split("\n", 1)[0] as string;
          fc.pre(!/^OK [0-9]{1,10}$/.test(line));
          await expect(open(junk)).rejects.toMatchObject({ code: "transport-lost" });
        },
      ),
      { seed, numRuns: 60 },
    );
  });

  pipeContract("hybrid vsock", async () => {
    const file = freshPath();
    const server = net.createServer().listen(file);
    await once(server, "listening");
    const accepted = once(server, "connection") as Promise<[net.Socket]>;
    const opening = address(`vsock+unix:${file}:9`)();
    const [peer] = await accepted;
    const [command] = (await once(peer, "data")) as [Buffer];
    peer.pause();
    if (command.toString() === "CONNECT 9\n") peer.write("OK 1073741824\n");
    else peer.destroy();
    const pipe = await opening;
    return {
      pipe,
      peer,
      abort: () => void peer.destroy(),
      async cleanUp() {
        peer.destroy();
        await pipe.close();
        await new Promise((resolve) => server.close(resolve));
      },
    };
  });
});
