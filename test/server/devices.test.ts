// The virtio port and tty pipes, against stand-ins: a pty for the device, a directory for sysfs. The real ones are
// tested in the VM.

import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import tty from "node:tty";
import { afterEach, describe, expect, test } from "vitest";
import { nodeClock } from "../../node/clock.ts";
import type { Clock } from "../../protocol/clock.ts";
import type { Pipe } from "../../protocol/pipe.ts";
import { FdWriter } from "../../server/nonblocking-fd.ts";
import { ChunkQueue } from "../../node/chunk-queue.ts";
import { isKernelConsole, openTty } from "../../server/pipes/tty.ts";
import { openVirtioPort } from "../../server/pipes/virtio-port.ts";
import { loadPtyAddon } from "../../server/sessions/pty-addon.ts";

const cleanUps: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

/** Stands in for a device: `host` is the other side of it. */
function makeDevice() {
  const { master, slave, pty } = loadPtyAddon().open(80, 24);
  const kept = fs.openSync(pty, fs.constants.O_RDWR | fs.constants.O_NOCTTY); // else the host's side ends at once
  fs.closeSync(slave);
  const host = new tty.ReadStream(master);
  host.on("error", () => {});
  cleanUps.push(() => {
    host.destroy();
    fs.closeSync(kept);
  });
  return { host, master, pty };
}

function makePorts(ports: Record<string, { name: string; device?: string }>) {
  const root = fs.mkdtempSync(path.join(os.tmpdir(), "sealtty-sysfs-"));
  cleanUps.push(() => fs.rmSync(root, { recursive: true }));
  const sysfs = path.join(root, "virtio-ports");
  const devices = path.join(root, "dev");
  fs.mkdirSync(sysfs);
  fs.mkdirSync(devices);
  for (const [directory, { name, device }] of Object.entries(ports)) {
    fs.mkdirSync(path.join(sysfs, directory));
    fs.writeFileSync(path.join(sysfs, directory, "name"), `${name}\n`);
    if (device !== undefined) fs.symlinkSync(device, path.join(devices, directory));
  }
  return { sysfs, devices };
}

async function makeRaw(device: string): Promise<void> {
  const pipe = await openTty(device, { consoles: "/dev/null" });
  await pipe.close(); // the settings stay, because makeDevice() holds it open
}

async function take(pipe: Pipe, length: number): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let taken = 0;
  for await (const chunk of pipe.incoming) {
    chunks.push(chunk);
    taken += chunk.length;
    if (taken >= length) break;
  }
  return Buffer.concat(chunks);
}

function hostTakes(host: tty.ReadStream, length: number): Promise<Buffer> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let taken = 0;
    host.on("data", (chunk: Buffer) => {
      chunks.push(chunk);
      taken += chunk.length;
      if (taken >= length) resolve(Buffer.concat(chunks));
    });
  });
}

const everyByte = Buffer.from(Array.from({ length: 4096 }, (_, i) => (i * 7 + (i >> 8)) & 0xff));

describe.each(["auto", "poll"] as const)("with reading by %s", (reading) => {
  test("a virtio port is found by its name, and carries every byte both ways", async () => {
    const { host, master, pty } = makeDevice();
    await makeRaw(pty);
    const roots = makePorts({
      vport2p9: { name: "org.qemu.guest_agent.0" },
      vport1p2: { name: "sealtty.0", device: pty },
    });
    const pipe = openVirtioPort("sealtty.0", { ...roots, reading });
    cleanUps.push(() => pipe.close());
    fs.writeSync(master, everyByte.subarray(0, 2048));
    expect(await take(pipe, 2048)).toEqual(everyByte.subarray(0, 2048));
    const arriving = hostTakes(host, 3 * everyByte.length);
    for (let i = 0; i < 3; i++) await pipe.send(everyByte);
    expect(await arriving).toEqual(Buffer.concat([everyByte, everyByte, everyByte]));
  });

  test("a tty is made raw: every byte both ways, no echo", async () => {
    const { host, master, pty } = makeDevice();
    const pipe = await openTty(pty, { consoles: "/dev/null", reading });
    cleanUps.push(() => pipe.close());
    fs.writeSync(master, everyByte.subarray(0, 2048));
    expect(await take(pipe, 2048)).toEqual(everyByte.subarray(0, 2048));
    const arriving = hostTakes(host, everyByte.length);
    await pipe.send(everyByte);
    expect(await arriving).toEqual(everyByte);
  });

  test("the host going away does not end a virtio port, and costs no processor time", async () => {
    const { pty } = makeDevice();
    await makeRaw(pty);
    const roots = makePorts({ vport0p1: { name: "a", device: pty } });
    const pipe = openVirtioPort("a", { ...roots, reading });
    let ended = false;
    const reading_ = (async () => {
      for await (const _ of pipe.incoming);
      ended = true;
    })();
    await cleanUps.pop()?.(); // the directories: it cannot be opened again
    await cleanUps.pop()?.(); // the device: hung up, read() gives 0 and write() EIO
    const before = process.cpuUsage();
    await pipe.send(new Uint8Array(10));
    await new Promise((resolve) => setTimeout(resolve, 600));
    const used = process.cpuUsage(before);
    expect((used.user + used.system) / 1000).toBeLessThan(200);
    expect(ended).toBe(false);
    await pipe.send(new Uint8Array(10));
    await pipe.close();
    await pipe.close();
    await reading_;
    await expect(pipe.send(new Uint8Array(1))).rejects.toMatchObject({ code: "transport-lost" });
  });
});

test("a stalled host holds send() up for a second, not for ever, and gets later data again", async () => {
  const { host, pty } = makeDevice();
  await makeRaw(pty);
  const roots = makePorts({ vport0p1: { name: "a", device: pty } });
  const pipe = openVirtioPort("a", roots);
  cleanUps.push(() => pipe.close());
  const started = performance.now();
  for (let i = 0; i < 2; i++) await pipe.send(new Uint8Array(256 * 1024)); // nobody reads: far above what a pty holds
  expect(performance.now() - started).toBeGreaterThan(1900);
  host.resume();
  const marker = Buffer.from("after the stall");
  const seen = new Promise<void>((resolve) => {
    let text = "";
    host.on("data", (chunk: Buffer) => {
      text = (text + chunk.toString("latin1")).slice(-100);
      if (text.includes(marker.toString())) resolve();
    });
  });
  await pipe.send(marker);
  await seen;
});

test.each([
  ["none", {}, "no virtio port at all"],
  [
    "another name",
    { vport0p1: { name: "evil\u001b[2J" }, vport0p2: { name: "org.qemu.guest_agent.0" } },
    'These exist: "evil\\x1b[2J", "org.qemu.guest_agent.0"',
  ],
  ["no device file", { vport0p1: { name: "sealtty.0" } }, "there is no device file"],
])("a port that is not there is named, with those that are: %s", (_, ports, text) => {
  const roots = makePorts(ports);
  expect(() => openVirtioPort("sealtty.0", roots)).toThrow(
    expect.objectContaining({ code: "device-unavailable", message: expect.stringContaining(text) }),
  );
});

test("kernel consoles are recognised by name, by number, and behind links", async () => {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "sealtty-consoles-"));
  cleanUps.push(() => fs.rmSync(directory, { recursive: true }));
  const consoles = path.join(directory, "consoles");
  fs.writeFileSync(
    consoles,
    "hvc0                 -W- (EC p  )  229:0\ntty0                 -WU (E  p  )    4:1\n",
  );
  expect(isKernelConsole("/dev/hvc0", consoles)).toBe(true);
  expect(isKernelConsole("/dev/hvc1", consoles)).toBe(false);
  expect(isKernelConsole("/dev/tty5", consoles)).toBe(true);
  expect(isKernelConsole("/dev/ttyS0", consoles)).toBe(false);
  expect(isKernelConsole("/dev/console", consoles)).toBe(true);
  const { pty } = makeDevice();
  const number = fs.statSync(pty).rdev;
  expect(isKernelConsole(pty, consoles)).toBe(false);
  fs.appendFileSync(consoles, `odd -W- (EC p  ) ${(number >> 8) & 0xfff}:${number & 0xff}\n`);
  const link = path.join(directory, "link");
  fs.symlinkSync(pty, link);
  expect(isKernelConsole(link, consoles)).toBe(true);
  await expect(openTty(link, { consoles })).rejects.toMatchObject({
    code: "bad-config",
    message: expect.stringContaining("armour_only = true"),
  });
  const armoured = await openTty(link, { consoles, armourOnly: true });
  await armoured.close();
  await expect(openTty(pty, { consoles: "/nonexistent" })).rejects.toMatchObject({
    code: "device-unavailable",
  });
});

test("what is no terminal, or not there, is refused with a reason", async () => {
  await expect(openTty("/nonexistent/tty", { consoles: "/dev/null" })).rejects.toMatchObject({
    code: "device-unavailable",
    message: expect.stringContaining("ENOENT"),
  });
  await expect(openTty("/dev/null", { consoles: "/dev/null" })).rejects.toMatchObject({
    code: "device-unavailable",
    message: expect.stringContaining("is it a terminal"),
  });
  const { pty } = makeDevice();
  await expect(openTty(pty, { consoles: "/dev/null", stty: "/nonexistent/stty" })).rejects.toMatchObject({
    message: expect.stringContaining("stty is missing"),
  });
});

test("ChunkQueue pauses its source when full and lets it go on when half empty", async () => {
  let resumed = 0;
  const queue = new ChunkQueue(10, () => resumed++);
  expect(queue.push(new Uint8Array(5))).toBe(true);
  expect(queue.push(new Uint8Array(5))).toBe(false);
  const reader = queue[Symbol.asyncIterator]();
  await reader.next();
  expect(resumed).toBe(1);
  queue.end(new Error("lost"));
  expect((await reader.next()).value?.length).toBe(5);
  await expect(reader.next()).rejects.toThrow("lost");
});

test("ChunkQueue gives chunks in order to a reader that waits and to one that comes later, then its end, its error once", async () => {
  const queue = new ChunkQueue(100, () => {});
  const reader = queue[Symbol.asyncIterator]();
  const waited = reader.next();
  for (const byte of [1, 2, 3]) expect(queue.push(Uint8Array.of(byte))).toBe(true);
  expect(await waited).toEqual({ done: false, value: Uint8Array.of(1) });
  expect(await reader.next()).toEqual({ done: false, value: Uint8Array.of(2) });
  expect(await reader.next()).toEqual({ done: false, value: Uint8Array.of(3) });
  const atEnd = reader.next();
  queue.end(new Error("lost"));
  await expect(atEnd).rejects.toThrow("lost");
  expect(await reader.next()).toEqual({ done: true, value: undefined });
  const closed = new ChunkQueue(100, () => {});
  const untilClosed = closed[Symbol.asyncIterator]().next();
  closed.discard();
  expect(await untilClosed).toEqual({ done: true, value: undefined });
});

test("ChunkQueue: what goes straight to a reader that waits fills nothing, and a break out of a loop loses nothing", async () => {
  const queue = new ChunkQueue(10, () => {});
  const reader = queue[Symbol.asyncIterator]();
  const waited = reader.next();
  expect(queue.push(new Uint8Array(20))).toBe(true);
  expect((await waited).value?.length).toBe(20);
  queue.push(Uint8Array.of(1));
  queue.push(Uint8Array.of(2));
  queue.end();
  for await (const chunk of queue) {
    expect(chunk).toEqual(Uint8Array.of(1));
    break;
  }
  const rest: Uint8Array[] = [];
  for await (const chunk of queue) rest.push(chunk);
  expect(rest).toEqual([Uint8Array.of(2)]);
});

test("FdWriter bounds what waits, drops it after a while without progress, and counts time by its clock", async () => {
  const { master, slave } = loadPtyAddon().open(80, 24);
  cleanUps.push(() => {
    fs.closeSync(master);
    fs.closeSync(slave);
  });
  let now = 0;
  const timers: (() => void)[] = [];
  const clock: Clock = {
    ...nodeClock,
    now: () => now,
    after: (_, callback) => (timers.push(callback), () => {}),
  };
  const writer = new FdWriter(slave, { clock, limit: 500_000, dropAfter: 100, onError: () => {} });
  const first = writer.write(new Uint8Array(400_000));
  await expect(writer.write(new Uint8Array(400_000))).rejects.toMatchObject({ code: "limit-exceeded" });
  now = 99;
  timers.shift()?.();
  expect(writer.queuedBytes).toBeGreaterThan(0);
  now = 1000;
  timers.shift()?.();
  await first;
  expect(writer.queuedBytes).toBe(0);
});
