// The RFB client against QEMU's own VNC server: unix, web socket and TCP, passwords, TLS; each pixel, and a new size.

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { dialRfb, type RfbPlace } from "../../node/rfb.ts";
import { connectUnixSocket } from "../../node/unix-socket-pipe.ts";
import type { Pipe } from "../../protocol/pipe.ts";
import { POKE } from "../../protocol/rfb/client-messages.ts";
import type { RfbClient, RfbUpdate } from "../../protocol/rfb/rfb-client.ts";
import { makeCertificate } from "../support/hosts/web-host.ts";
import { startWebsockify } from "../support/hosts/websockify.ts";
import { type Picture, type QemuVnc, startQemuVnc, VNC_PASSWORD } from "../support/qemu-vnc.ts";

let qemu: QemuVnc;
const clients: Viewed[] = [];

beforeAll(async () => {
  qemu = await startQemuVnc();
});
afterAll(async () => {
  try {
    await Promise.all(clients.map((viewed) => viewed.end()));
  } finally {
    await qemu?.stop();
  }
});

/** A client that runs, and a way to wait for what it shows. */
class Viewed {
  readonly client: RfbClient;
  readonly updates: RfbUpdate[] = [];
  /** Settles once it is over, however that was. */
  readonly running: Promise<void>;
  #failure: unknown;
  #wake: () => void = () => {};

  constructor(client: RfbClient) {
    this.client = client;
    this.running = client
      .run((update) => {
        this.updates.push(update);
        this.#wake();
      })
      .catch((error: unknown) => {
        this.#failure = error;
        this.#wake();
      });
    clients.push(this);
  }

  async until(holds: () => boolean): Promise<void> {
    while (!holds()) {
      if (this.#failure !== undefined) throw this.#failure;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  get size(): readonly [number, number] {
    return [this.client.framebuffer.width, this.client.framebuffer.height];
  }

  async end(): Promise<void> {
    await this.client.close();
    await this.running;
    if (this.#failure !== undefined) throw this.#failure;
  }
}

async function view(place: RfbPlace, options = {}): Promise<Viewed> {
  return new Viewed(await dialRfb(place, options));
}
const tcp = (port: number): RfbPlace => ({ kind: "tcp", host: "127.0.0.1", port });

async function joinToQemu(pipe: Pipe): Promise<void> {
  const screen = await connectUnixSocket(qemu.socket);
  const copy = async (from: Pipe, to: Pipe): Promise<void> => {
    try {
      for await (const chunk of from.incoming) await to.send(chunk);
    } finally {
      await to.close();
    }
  };
  await Promise.all([copy(pipe, screen), copy(screen, pipe)]);
}

/** Pixels that differ. */
function differences({ client: { framebuffer } }: Viewed, picture: Picture): number {
  if (framebuffer.width !== picture.width || framebuffer.height !== picture.height) return Number.NaN;
  const shown = framebuffer.pixels; // blue, green, red
  const wanted = picture.pixels; // red, green, blue
  let different = 0;
  for (let i = 0; i < wanted.length; i += 3) {
    if (shown[i] !== wanted[i + 2] || shown[i + 1] !== wanted[i + 1] || shown[i + 2] !== wanted[i])
      different++;
  }
  return different;
}

describe("QEMU's VNC server", () => {
  test("shows every pixel, by a unix socket and by its web socket, and follows a new size", async () => {
    const viewers = await Promise.all([
      view({ kind: "unix", path: qemu.socket }),
      view({ kind: "web-socket", url: qemu.webSocket }),
    ]);
    const before = await qemu.screendump();
    for (const viewed of viewers) {
      await viewed.until(() => differences(viewed, before) === 0);
      expect(viewed.updates[0]?.resized).toBe(true);
      // In one update or, on a busy machine, in several.
      const rows = viewed.updates.flatMap((update) => update.rows);
      expect(rows.some(({ from }) => from === 0)).toBe(true);
      expect(rows.some(({ to }) => to === before.height)).toBe(true);
      expect(viewed.client.sendsScancodes).toBe(true);
      expect(viewed.client.pointerIsAbsolute).toBe(false); // a PS/2 mouse
    }
    // The firmware draws its first text, in another mode, and is stopped again.
    const [first] = viewers;
    await qemu.qmp("cont");
    await first.until(
      () =>
        first.size.join() !== `${before.width},${before.height}` &&
        first.client.framebuffer.pixels.some((byte) => byte !== 0),
    );
    await qemu.qmp("stop");
    const after = await qemu.screendump();
    expect([after.width, after.height]).not.toEqual([before.width, before.height]);
    expect(after.pixels.some((byte) => byte !== 0)).toBe(true);
    for (const viewed of viewers) {
      await viewed.until(() => differences(viewed, after) === 0);
      expect(viewed.updates.filter(({ resized }) => resized).length).toBeGreaterThan(1);
    }
  });

  test("the same behind websockify, as noVNC reaches it, over TLS", async () => {
    const directory = mkdtempSync(path.join(os.tmpdir(), "sealtty-rfb-"));
    const tls = makeCertificate(directory, "novnc");
    const proxy = await startWebsockify(joinToQemu, "console-1", tls);
    try {
      const options = { ca: readFileSync(tls.certFile) };
      const url = `wss://${proxy.authority}/?token=console-1`;
      const viewed = await view({ kind: "web-socket", url, options });
      const picture = await qemu.screendump();
      await viewed.until(() => differences(viewed, picture) === 0);
      expect(proxy.connections()).toBe(1);
      proxy.cut();
      await viewed.running; // in order or not: websockify says either
      clients.splice(clients.indexOf(viewed), 1);
      await expect(viewed.client.send([POKE])).rejects.toMatchObject({ code: "transport-lost" });
    } finally {
      await proxy.stop();
      rmSync(directory, { recursive: true, force: true });
    }
  });

  test("takes keys, moves and pokes, and shows on", async () => {
    const viewed = await view({ kind: "unix", path: qemu.socket });
    await viewed.until(() => viewed.updates.length > 0);
    for (const down of [true, false])
      await viewed.client.send([
        { kind: "key", down, scancode: 0x1e, keysym: 0x61 },
        { kind: "pointer", buttons: down ? 1 : 0, x: 0x7fff + 3, y: 0x7fff },
      ]);
    viewed.client.setPoking(false);
    viewed.client.setPoking(true); // pokes at once
    const other = await view({ kind: "unix", path: qemu.socket });
    await other.until(() => other.updates.length > 0);
    await viewed.end(); // does not throw: QEMU minded none of it
    expect(other.size).toEqual(viewed.size);
  });

  test("asks for a password, and takes the right one alone", async () => {
    const place = { kind: "unix", path: qemu.passwordSocket } as const;
    await expect(dialRfb(place)).rejects.toThrow("wants a password, and none was given");
    await expect(dialRfb(place, { password: "pass" })).rejects.toThrow("did not take the password, and says");
    const viewed = await view(place, { password: VNC_PASSWORD });
    const picture = await qemu.screendump();
    await viewed.until(() => differences(viewed, picture) === 0);
  });

  test("VeNCrypt without a certificate", async () => {
    const viewed = await view(tcp(qemu.anonymousPort));
    const picture = await qemu.screendump();
    await viewed.until(() => differences(viewed, picture) === 0);
    const plain = dialRfb({ kind: "unix", path: qemu.socket }).then((client) => client.close());
    await expect(plain).resolves.toBeUndefined(); // the others serve on
  });

  test("VeNCrypt with a certificate, which is checked, and a password inside", async () => {
    const place = tcp(qemu.certificatePort);
    await expect(dialRfb(place, { password: VNC_PASSWORD })).rejects.toThrow(/No TLS with .*SELF_SIGNED/);
    const wrongName = { password: VNC_PASSWORD, ca: qemu.ca, tlsServerName: "another.example" };
    await expect(dialRfb(place, wrongName)).rejects.toThrow("ERR_TLS_CERT_ALTNAME_INVALID");
    await expect(dialRfb(place, { ca: qemu.ca })).rejects.toThrow("wants a password, and none was given");
    await expect(dialRfb(place, { ca: qemu.ca, password: "pass" })).rejects.toThrow(
      "did not take the password",
    );
    const viewed = await view(place, { ca: qemu.ca, password: VNC_PASSWORD });
    const picture = await qemu.screendump();
    await viewed.until(() => differences(viewed, picture) === 0);
  });
});
