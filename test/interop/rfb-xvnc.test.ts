// The RFB client against TigerVNC's Xvnc and x11vnc: signing in, each pixel, a new size, keys and the pointer.

import { afterEach, expect, test } from "vitest";
import { dialRfb, type RfbDialOptions, type RfbPlace } from "../../node/rfb.ts";
import type { RfbClient } from "../../protocol/rfb/rfb-client.ts";
import { VNC_PASSWORD } from "../support/qemu-vnc.ts";
import { startXvnc, type Xvnc } from "../support/xvnc.ts";

const servers: Xvnc[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.stop();
});

async function xvnc(security: string): Promise<Xvnc> {
  const server = await startXvnc(security);
  servers.push(server);
  return server;
}

/** Opened and running; `until` waits for a picture. */
async function view(place: RfbPlace, options: RfbDialOptions = {}) {
  const client = await dialRfb(place, options);
  let wake: () => void = () => {};
  const running = client.run(() => wake());
  running.catch(() => {}); // `end` has it
  return {
    client,
    async until(holds: (shown: RfbClient["framebuffer"]) => boolean): Promise<void> {
      while (!holds(client.framebuffer))
        await Promise.race([running, new Promise<void>((resolve) => (wake = resolve))]);
    },
    async end(): Promise<void> {
      await client.close();
      await running;
    },
  };
}

const INK = [0x34, 0xab, 0x12];
/** xsetroot draws so many pixels, and X repeats them. */
const TILE = 16;
const PAPER = [0xc8, 0x01, 0xfe];
/** Of each tile every 5th column and every 7th row is drawn, all else is not. Xvnc draws no cursor where its client moves it. */
function isPattern({ width, height, pixels }: RfbClient["framebuffer"]): boolean {
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const at = (y * width + x) * 3;
      const wanted = (x % TILE) % 5 === 0 || (y % TILE) % 7 === 0 ? INK : PAPER;
      if (wanted.some((byte, i) => pixels[at + i] !== byte)) return false;
    }
  }
  return true;
}

/** Of X, by the viewer's own events. Asked again and again: xev says nothing when it begins to listen. */
async function hearsAll(server: Xvnc, { client }: Awaited<ReturnType<typeof view>>): Promise<void> {
  const heard = server.xev();
  const until = async (pattern: RegExp, say: () => Promise<void>): Promise<void> => {
    let over = false;
    const told = heard.told(pattern).then(() => (over = true));
    while (!over) {
      await say();
      await Promise.race([told, new Promise((resolve) => setTimeout(resolve, 50))]);
    }
  };
  const at = (x: number, y: number, buttons = 0) => client.send([{ kind: "pointer", buttons, x, y }]);
  let moves = 0;
  await until(/MotionNotify event[^]*root:\(4\d,51\)/, () => at(40 + (moves++ % 10), 51));
  await until(/ButtonPress event[^]*root:\(60,61\)[^]*button 3/, async () => {
    await at(60, 61, 4);
    await at(60, 61);
  });
  await until(/KeyPress event[^]*keysym 0x61, a\)/, async () => {
    for (const down of [true, false])
      await client.send([{ kind: "key", down, scancode: 0x1e, keysym: 0x61 }]);
  });
}

const drawPattern = (server: Xvnc): void =>
  server.x("xsetroot", "-mod", "5", "7", "-fg", "#12ab34", "-bg", "#fe01c8");

test("Xvnc shows every pixel, follows a new size, and hears keys and the pointer", async () => {
  const server = await xvnc("None");
  drawPattern(server);
  const viewed = await view({ kind: "unix", path: server.socket });
  await hearsAll(server, viewed);

  await viewed.until(isPattern);
  expect([viewed.client.framebuffer.width, viewed.client.framebuffer.height]).toEqual([640, 480]);
  server.x("xrandr", "-s", "800x600");
  await viewed.until((shown) => shown.width === 800 && shown.height === 600 && isPattern(shown));
  await viewed.end();
});

test("x11vnc shows every pixel of a display that is there, and passes keys and the pointer on", async () => {
  const server = await xvnc("None");
  drawPattern(server);
  const viewed = await view(await server.x11vnc());
  await hearsAll(server, viewed);
  await viewed.until(isPattern);
  expect([viewed.client.framebuffer.width, viewed.client.framebuffer.height]).toEqual([640, 480]);
  await viewed.end();
});

test("Xvnc with a password: its own challenge, and inside of TLS with a certificate", async () => {
  const server = await xvnc("VncAuth,X509Vnc");
  const unix: RfbPlace = { kind: "unix", path: server.socket };
  await expect(dialRfb(unix, { passwordAdvice: "ask" })).rejects.toThrow(
    "wants a password, and none was given: ask",
  );
  await expect(dialRfb(unix, { password: "wrong" })).rejects.toThrow("did not take the password");
  const viewed = await view(unix, { password: VNC_PASSWORD });
  await viewed.until(({ width }) => width === 640);
  await viewed.end();
  const tcp: RfbPlace = { kind: "tcp", host: "127.0.0.1", port: server.port };
  const secured = await view(tcp, { password: VNC_PASSWORD, ca: server.ca });
  await secured.until(({ width }) => width === 640);
  await secured.end();
  await expect(
    dialRfb(tcp, { password: VNC_PASSWORD, ca: server.ca, tlsServerName: "another.example" }),
  ).rejects.toThrow("ERR_TLS_CERT_ALTNAME_INVALID");
});

test("Xvnc with TLS and no certificate", async () => {
  const server = await xvnc("TLSNone");
  const viewed = await view({ kind: "tcp", host: "127.0.0.1", port: server.port });
  await viewed.until(({ pixels }) => pixels.length > 0);
  expect(viewed.client.framebuffer.width).toBe(640);
  await viewed.end();
});
