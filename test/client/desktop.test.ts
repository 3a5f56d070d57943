// The desktop's way into the guest: what a user may write as a place, and a channel in the shape that noVNC takes.

import { expect, test } from "vitest";
import { DesktopChannel, MAX_DESKTOP_WAITING } from "../../client/desktop-channel.ts";
import { parseDesktopPlace, USUAL_PLACE } from "../../client/desktop-place.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { ExitStatus, OwnChannel } from "../../protocol/session/channel-api.ts";
import { FakeStream } from "../support/fake-stream.ts";

const settled = () => new Promise((resolve) => setTimeout(resolve, 10));
const nothing = async (): Promise<void> => undefined;
const PLACE = { kind: "tcp", host: "127.0.0.1", port: 5900 } as const;

test.each([
  [USUAL_PLACE, PLACE],
  [" localhost:5901 ", { kind: "tcp", host: "localhost", port: 5901 }],
  [":0", PLACE],
  [":1", { kind: "tcp", host: "127.0.0.1", port: 5901 }],
  ["5902", { kind: "tcp", host: "127.0.0.1", port: 5902 }],
  ["[::1]:5900", { kind: "tcp", host: "::1", port: 5900 }],
  ["/run/user/1000/vnc.sock", { kind: "unix", path: "/run/user/1000/vnc.sock" }],
  ["unix:/srv/my desktop", { kind: "unix", path: "/srv/my desktop" }],
])("%j is a place", (text, place) => {
  expect(parseDesktopPlace(text)).toEqual(place);
});

test.each([
  "",
  "localhost",
  "localhost:",
  "localhost:0",
  "localhost:65536",
  "::1:5900",
  ":100",
  "vnc.sock",
  "unix:vnc.sock",
  "/a\0b",
  "ho st:5900",
  "http://localhost:5900",
  `/${"x".repeat(200)}`,
])("%j is none", (text) => {
  expect(parseDesktopPlace(text)).toBeUndefined();
});

/** As noVNC does. */
function listen(desktop: DesktopChannel, to: Partial<Pick<DesktopChannel, "onmessage" | "onclose">>): void {
  Object.assign(desktop, to);
}

/** A channel whose server reads nothing until `read` is called. */
function playedChannel() {
  const stdout = new FakeStream();
  const stderr = new FakeStream();
  stderr.end();
  const written: Uint8Array[] = [];
  const ends: string[] = [];
  let goOn: () => void = () => undefined;
  let exited: (exit: ExitStatus) => void = () => undefined;
  const reading = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  const channel: OwnChannel = {
    stdout,
    stderr,
    write: async (bytes) => {
      await reading;
      written.push(bytes);
    },
    end: () => undefined,
    resize: () => undefined,
    signal: () => undefined,
    hangUp: () => void ends.push("hang-up"),
    hangUpUnsent: () => void ends.push("hang-up, unsent"),
    exit: new Promise((resolve) => {
      exited = resolve;
    }),
  };
  return { stdout, channel, written, ends, read: () => goOn(), exit: (status: ExitStatus) => exited(status) };
}

test("much is handed over a little at a time, each once others had their turn, and none of it after the end", async () => {
  const guest = playedChannel();
  const desktop = new DesktopChannel(guest.channel, PLACE);
  const heard: number[] = [];
  listen(desktop, { onmessage: ({ data }) => void heard.push(data.byteLength) });
  let pieces = 0;
  const running = desktop.run(nothing, async () => {
    if (++pieces === 3) desktop.close();
    await settled();
    expect(heard).toHaveLength(pieces);
  });
  guest.stdout.push(new Uint8Array(100_000));
  guest.stdout.end();
  await running;
  expect(heard).toEqual([4096, 4096, 4096]);
  expect(guest.stdout.credit).toBe(100_000);
});

test("what comes is handed over in order, and credit is given back once it was drawn", async () => {
  const guest = playedChannel();
  const desktop = new DesktopChannel(guest.channel, PLACE);
  const heard: number[] = [];
  let drawn: () => void = () => undefined;
  const ended: string[] = [];
  listen(desktop, {
    onmessage: ({ data }) => void heard.push(...new Uint8Array(data)),
    onclose: () => void ended.push("close"),
  });
  const running = desktop.run(() => new Promise((resolve) => (drawn = resolve)), nothing);
  guest.stdout.push(Uint8Array.of(9, 1, 2, 9).subarray(1, 3));
  guest.stdout.push(Uint8Array.of(3));
  await settled();
  expect(heard).toEqual([1, 2]);
  expect(guest.stdout.credit).toBe(0);
  drawn();
  await settled();
  expect(heard).toEqual([1, 2, 3]);
  expect(guest.stdout.credit).toBe(2);
  drawn();
  guest.stdout.end();
  guest.exit({ kind: "exited", status: 0 });
  await running;
  expect(guest.stdout.credit).toBe(3);
  expect(desktop.readyState).toBe("closed");
  expect(ended).toEqual([]); // not before whoever ran it knows why
  await settled();
  expect(ended).toEqual(["close"]);
});

test("a connection that broke, or was cut off, is no end in order", async () => {
  const guest = playedChannel();
  const running = new DesktopChannel(guest.channel, PLACE).run(nothing, nothing);
  guest.stdout.end();
  guest.exit({ kind: "exited", status: 1 });
  await expect(running).rejects.toThrow("the guest's connection to 127.0.0.1:5900 broke");
  const other = playedChannel();
  const cut = new DesktopChannel(other.channel, PLACE).run(nothing, nothing);
  other.stdout.fail(new SealttyError("transport-lost", "The host closed the line"));
  await expect(cut).rejects.toMatchObject({ code: "transport-lost" });
});

test("a server that does not read: what is typed for it is copied, waits below a bound, and then ends it", async () => {
  const guest = playedChannel();
  const desktop = new DesktopChannel(guest.channel, PLACE);
  const running = desktop.run(nothing, nothing);
  const own = Uint8Array.of(4, 1, 0, 0, 0, 0, 0, 0x61);
  desktop.send(own);
  own.fill(0);
  desktop.send(new Uint8Array(MAX_DESKTOP_WAITING - 8));
  desktop.send(Uint8Array.of(1));
  await expect(running).rejects.toMatchObject({ code: "limit-exceeded" });
  expect(guest.ends).toEqual(["hang-up"]);
  guest.read();
  await settled();
  expect(guest.written.map(({ length }) => length)).toEqual([8]); // the first was on its way; what waited behind it is not sent
  expect(guest.written[0]?.[7]).toBe(0x61);
});

test("closed: nothing is handed over or sent any more, and its end is still read", async () => {
  const guest = playedChannel();
  const desktop = new DesktopChannel(guest.channel, PLACE);
  const heard: ArrayBuffer[] = [];
  listen(desktop, { onmessage: ({ data }) => void heard.push(data) });
  const running = desktop.run(nothing, nothing);
  desktop.close();
  desktop.close();
  desktop.closeUnsent();
  expect(guest.ends).toEqual(["hang-up"]);
  desktop.send(Uint8Array.of(1));
  guest.stdout.push(Uint8Array.of(1, 2));
  guest.stdout.end();
  guest.read();
  await running;
  expect(heard).toEqual([]);
  expect(guest.written).toEqual([]);
  expect(guest.stdout.credit).toBe(2);
});

test("a guest that changed: what was typed and has not arrived never leaves", () => {
  const guest = playedChannel();
  new DesktopChannel(guest.channel, PLACE).closeUnsent();
  expect(guest.ends).toEqual(["hang-up, unsent"]);
});

test("what a reader throws over what it was given ends it", async () => {
  const guest = playedChannel();
  const desktop = new DesktopChannel(guest.channel, PLACE);
  listen(desktop, {
    onmessage: () => {
      throw new RangeError("no such rectangle");
    },
  });
  const running = desktop.run(nothing, nothing);
  guest.stdout.push(Uint8Array.of(1));
  await expect(running).rejects.toThrow("no such rectangle");
  expect(guest.ends).toEqual(["hang-up"]);
});
