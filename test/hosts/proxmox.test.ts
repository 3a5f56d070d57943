// Proxmox VE, a stand-in of it: API, web socket, termproxy.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import * as fc from "fast-check";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { parseAddress } from "../../cli/address.ts";
import { dial } from "../../cli/dial.ts";
import { bannerLength, openTermproxy, PING_MS, SETTLE_MS } from "../../cli/hosts/termproxy-pipe.ts";
import { nodeClock } from "../../node/clock.ts";
import type { Clock } from "../../protocol/clock.ts";
import { ManualClock } from "../support/clocks.ts";
import { PlainGuest } from "../support/hosts/device.ts";
import { naiveWebSocket } from "../support/hosts/naive.ts";
import { ProxmoxStandIn } from "../support/hosts/proxmox.ts";
import { makeCertificate, type TlsFiles } from "../support/hosts/web-host.ts";
import { hostTestGuest, SOUND, soundness, wholeSession } from "../support/hosts/whole-session.ts";
import { memoryPipes } from "../support/memory-pipe.ts";
import { testSeed } from "../support/seeded.ts";

const TOKEN = "root@pam!sealtty=8f5c9a52-1f0e-4ab7-9f6b-8a5f4f6f0c11";
const PASSWORD = "correct horse: battery staple";
const directory = mkdtempSync(path.join(os.tmpdir(), "sealtty-proxmox-"));
const at = (name: string): string => path.join(directory, name);
let tls: TlsFiles;
beforeAll(() => {
  tls = makeCertificate(directory, "pve1");
  writeFileSync(at("token"), `${TOKEN}\n`);
  writeFileSync(at("password"), `${PASSWORD}\n`);
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const ending: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of ending.splice(0).reverse()) await end();
});
const seed = testSeed();

async function proxmox(
  serve: ConstructorParameters<typeof ProxmoxStandIn>[1],
  own: { old?: boolean; clock?: Clock; buffer?: number; cooked?: number } = {},
): Promise<ProxmoxStandIn> {
  const host = new ProxmoxStandIn(
    {
      tls,
      clock: nodeClock,
      node: "pve1",
      vmid: 101,
      token: TOKEN,
      user: "alice@pve",
      password: PASSWORD,
      ...own,
    },
    serve,
  );
  await host.listen();
  ending.push(async () => {
    await host.close();
    await host.device.close();
  });
  return host;
}

const withToken = () => ({ SEALTTY_PROXMOX_TOKEN_FILE: at("token"), SEALTTY_PROXMOX_CA_FILE: tls.certFile });
const withPassword = () => ({
  SEALTTY_PROXMOX_USER: "alice@pve",
  SEALTTY_PROXMOX_PASSWORD_FILE: at("password"),
  SEALTTY_PROXMOX_CA_FILE: tls.certFile,
});
const addressOf = (host: ProxmoxStandIn, rest = "pve1/101"): string => `proxmox:${host.authority}/${rest}`;

describe("stand-in of Proxmox VE", () => {
  test.each([
    ["an API token", withToken, "binary"],
    ["user and password, in armour", withPassword, "armour"],
  ] as const)("a whole session with %s, through a cut", async (_, environment, encoding) => {
    const guest = hostTestGuest();
    const host = await proxmox((pipe) => guest.endpoint.servePipe(pipe));
    const result = await wholeSession({
      name: `Proxmox's termproxy (stand-in, ${encoding})`,
      guest,
      encoding,
      dial: () => dial(parseAddress(addressOf(host)), environment(), nodeClock),
      async midway({ echo, reconnected, guest: { stats } }) {
        const { pipes } = stats;
        host.attached?.cut();
        await reconnected(pipes);
        await echo();
      },
      halfway: async () => host.attached?.cut(),
    });
    expect(soundness(result, guest)).toEqual(SOUND);
    expect(result.pipes).toBeGreaterThan(1);
    expect(result.noise.toString("latin1")).not.toContain("starting serial terminal");
    await guest.endpoint.stop();
  });

  test("termproxy that loses its place in a burst, again and again: all arrives all the same", async () => {
    const guest = hostTestGuest();
    // Its buffer made smaller, so that heads are cut often: with 4 KiB it is once in some 500 KiB.
    const host = await proxmox((pipe) => guest.endpoint.servePipe(pipe), { buffer: 256 });
    const result = await wholeSession({
      name: "Proxmox's termproxy, losing messages (stand-in)",
      guest,
      encoding: "armour",
      dial: () => dial(parseAddress(addressOf(host)), withToken(), nodeClock),
    });
    expect(soundness(result, guest)).toEqual(SOUND);
    expect(host.lostHeads).toBeGreaterThan(0);
    await guest.endpoint.stop();
  });

  test("a pty that becomes raw later than we wait eats the beginning of each pipe, a whole flight among it", async () => {
    const guest = hostTestGuest();
    const host = await proxmox((pipe) => guest.endpoint.servePipe(pipe), { cooked: SETTLE_MS + 300 });
    const result = await wholeSession({
      name: "Proxmox's termproxy, slow to become raw (stand-in)",
      guest,
      encoding: "armour",
      dial: () => dial(parseAddress(addressOf(host)), withToken(), nodeClock),
      halfway: async () => host.attached?.cut(),
    });
    expect(soundness(result, guest)).toEqual(SOUND);
    expect(result.pipes).toBe(2);
    await guest.endpoint.stop();
  });

  test("a second client waits for the first one, as QEMU's socket has it, and gets its turn", async () => {
    const guest = hostTestGuest();
    const host = await proxmox((pipe) => guest.endpoint.servePipe(pipe));
    const open = () => dial(parseAddress(addressOf(host)), withToken(), nodeClock);
    const first = await open();
    while (host.attached === undefined) await new Promise((resolve) => setImmediate(resolve));
    const [result] = await Promise.all([
      wholeSession({ name: "Proxmox's termproxy, after a wait (stand-in)", guest, dial: open }),
      first.close(),
    ]);
    expect(soundness(result, guest)).toEqual(SOUND);
    await guest.endpoint.stop();
  });

  test("control: a naive pipe sees the banner as output, is cut for a ^C too early, and its unframed input is lost", async () => {
    const guest = new PlainGuest();
    const host = await proxmox(guest.serve);
    const headers = { authorization: `PVEAPIToken=${TOKEN}` };
    const open = async () => {
      const { user, ticket, port } = await termproxyCall(host);
      const query = `port=${port}&vncticket=${encodeURIComponent(ticket)}`;
      const naive = await naiveWebSocket(
        `wss://${host.authority}/api2/json/nodes/pve1/qemu/101/vncwebsocket?${query}`,
        { protocols: ["binary"], headers, ca: tls.certFile },
      );
      naive.socket.send(`${user}:${ticket}\n`);
      return naive;
    };
    const early = await open();
    early.socket.send(Buffer.from("0:1:\x03"));
    expect(await early.closed).toBe(1006);
    const naive = await open();
    await naive.until("OKstarting serial terminal on interface serial0\r\n");
    while (host.attached === undefined) await new Promise((resolve) => setImmediate(resolve));
    naive.socket.send(Buffer.from("root: no frame around this"));
    naive.socket.send(Buffer.from("0:5:right"));
    expect((await guest.until(5)).toString()).toBe("right");
    // The head of a message, cut in two, loses its place: a chunk has to be one message.
    naive.socket.send(Buffer.from("0:9"));
    naive.socket.send(Buffer.from(":split-up!0:5:again"));
    const all = (await guest.until(10)).toString();
    expect(all).toBe("rightagain");
    naive.socket.terminate();
  });

  test("control: without the subprotocol it closes right after the upgrade", async () => {
    const host = await proxmox(new PlainGuest().serve);
    const { ticket, port } = await termproxyCall(host);
    const naive = await naiveWebSocket(
      `wss://${host.authority}/api2/json/nodes/pve1/qemu/101/vncwebsocket?port=${port}&vncticket=${encodeURIComponent(ticket)}`,
      { headers: { authorization: `PVEAPIToken=${TOKEN}` }, ca: tls.certFile },
    );
    expect(await naive.closed).toBe(1006);
  });

  test.each([
    ["a wrong node", "other/101", withToken, "transport-lost", "HTTP status 501"],
    ["a serial port it has not", "pve1/101/serial1", withToken, "transport-lost", "--serial0 socket"],
    [
      "a wrong token",
      "pve1/101",
      () => ({ ...withToken(), SEALTTY_PROXMOX_TOKEN_FILE: undefined, SEALTTY_PROXMOX_TOKEN: `${TOKEN}0` }),
      "transport-lost",
      "Check the token",
    ],
    [
      "a token that is none",
      "pve1/101",
      () => ({ SEALTTY_PROXMOX_TOKEN: "hunter2" }),
      "bad-config",
      "USER@REALM!NAME=SECRET",
    ],
    ["nobody", "pve1/101", () => ({}), "bad-config", "SEALTTY_PROXMOX_TOKEN_FILE"],
    [
      "a user alone",
      "pve1/101",
      () => ({ SEALTTY_PROXMOX_USER: "root@pam" }),
      "bad-config",
      "but no password",
    ],
    [
      "a password without a user",
      "pve1/101",
      () => ({ SEALTTY_PROXMOX_PASSWORD: "x" }),
      "bad-config",
      "SEALTTY_PROXMOX_USER",
    ],
    [
      "a CA that is not its own",
      "pve1/101",
      () => ({ SEALTTY_PROXMOX_TOKEN: TOKEN }),
      "transport-lost",
      "_CA_FILE",
    ],
  ] as const)("refused in plain words, without the secret: %s", async (_, rest, environment, code, words) => {
    const host = await proxmox(new PlainGuest().serve);
    const error = await dial(parseAddress(addressOf(host, rest)), environment(), nodeClock).then(
      () => undefined,
      (reason: unknown) => reason as Error,
    );
    expect(error).toMatchObject({ code, message: expect.stringContaining(words) });
    expect(error?.message).not.toMatch(/hunter2|8f5c9a52|battery/);
  });

  test("hosts from before tokens were taken say so, and take a password", async () => {
    const guest = new PlainGuest();
    const host = await proxmox(guest.serve, { old: true });
    const address = parseAddress(addressOf(host));
    await expect(dial(address, withToken(), nodeClock)).rejects.toMatchObject({
      code: "transport-lost",
      message: expect.stringContaining("SEALTTY_PROXMOX_PASSWORD_FILE"),
    });
    const pipe = await dial(address, withPassword(), nodeClock);
    const reading = drain(pipe.incoming);
    await pipe.send(Buffer.from("hello"));
    expect((await guest.until(5)).toString()).toBe("hello");
    await pipe.close();
    await reading;
  });

  test("a certificate nobody trusts is refused, whatever an environment variable of Node's says", async () => {
    const host = await proxmox(new PlainGuest().serve);
    const before = process.env["NODE_TLS_REJECT_UNAUTHORIZED"];
    process.env["NODE_TLS_REJECT_UNAUTHORIZED"] = "0";
    try {
      await expect(
        dial(parseAddress(addressOf(host)), { SEALTTY_PROXMOX_TOKEN: TOKEN }, nodeClock),
      ).rejects.toMatchObject({ code: "transport-lost", message: expect.stringContaining("_CA_FILE") });
    } finally {
      if (before === undefined) delete process.env["NODE_TLS_REJECT_UNAUTHORIZED"];
      else process.env["NODE_TLS_REJECT_UNAUTHORIZED"] = before;
    }
    expect(host.asked.length).toBe(0); // the token was not even sent
  });

  test("nothing of the credentials reaches the guest or its pipe", async () => {
    const guest = new PlainGuest();
    const host = await proxmox(guest.serve);
    const pipe = await dial(parseAddress(addressOf(host)), withToken(), nodeClock);
    const reading = drain(pipe.incoming);
    await pipe.send(Buffer.from("x"));
    expect((await guest.until(1)).toString()).toBe("x");
    await pipe.close();
    await reading;
  });
});

describe("openTermproxy()", () => {
  const start = async (clock: Clock) => {
    const { client, guest: host } = memoryPipes();
    const sent: Buffer[] = [];
    const waiting: (() => void)[] = [];
    void (async () => {
      for await (const chunk of host.incoming) {
        sent.push(Buffer.from(chunk));
        for (const wake of waiting.splice(0)) wake();
      }
    })();
    const opening = openTermproxy(client, { user: "u@pam", ticket: "T:1" }, clock);
    await host.send(Buffer.from("OK"));
    const until = async (count: number) => {
      while (sent.length < count) await new Promise<void>((resolve) => waiting.push(resolve));
      return sent.map((chunk) => chunk.toString("latin1"));
    };
    return { pipe: await opening, host, sent, until };
  };
  const turns = async () => {
    for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
  };

  test("speaks only once the banner went by and the pty had time to become raw; then frames, and pings each 30 s", async () => {
    const clock = new ManualClock();
    const { pipe, host, sent, until } = await start(clock);
    const reading = drain(pipe.incoming);
    const sending = pipe.send(Buffer.from([0x03, 0x00, 0xff]));
    await host.send(Buffer.from("starting serial terminal on inter"));
    await host.send(Buffer.from("face serial0 (press Ctrl+O to exit)\r\nlogin: "));
    await turns();
    clock.advance(SETTLE_MS - 1);
    await turns();
    expect(sent.length).toBe(1);
    clock.advance(1);
    await sending;
    expect(await until(2)).toEqual(["u@pam:T:1\n", "0:3:\x03\x00\xff"]);
    for (let pings = 1; pings <= 3; pings++) {
      clock.advance(PING_MS);
      expect((await until(2 + pings)).at(-1)).toBe("2");
    }
    await pipe.close();
    clock.advance(10 * PING_MS);
    expect((await reading).toString()).toBe("login: ");
    expect(sent.length).toBe(5);
  });

  test("without a banner it speaks after two seconds, and gives all that came", async () => {
    const clock = new ManualClock();
    const { pipe, host, until } = await start(clock);
    const reading = drain(pipe.incoming);
    await host.send(Buffer.from("VM 101 not running\r\n"));
    const sending = pipe.send(Buffer.from("x"));
    clock.advance(2000);
    await sending;
    expect((await until(2))[1]).toBe("0:1:x");
    await host.close();
    expect((await reading).toString()).toBe("VM 101 not running\r\n");
  });

  test(`the banner and nothing else is taken off, however the host cuts it (seed ${seed})`, async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(
          "",
          "starting serial terminal on interface serial0\r\n",
          "starting serial terminal on interface serial2 (x)\n",
        ),
        fc.uint8Array({ maxLength: 300 }),
        fc.integer({ min: 1, max: 50 }),
        async (banner, after, cut) => {
          fc.pre(bannerLength(after) === 0 || after.length === 0);
          const { pipe, host } = await start(new ManualClock());
          const reading = drain(pipe.incoming);
          const bytes = Buffer.concat([Buffer.from(banner), after]);
          for (let at = 0; at < bytes.length; at += cut) await host.send(bytes.subarray(at, at + cut));
          await host.close();
          expect((await reading).equals(Buffer.from(after))).toBe(true);
        },
      ),
      { seed, numRuns: 100 },
    );
  });
});

async function termproxyCall(host: ProxmoxStandIn): Promise<{ user: string; ticket: string; port: string }> {
  const { request } = await import("node:https");
  const { readFileSync } = await import("node:fs");
  return new Promise((resolve, reject) => {
    const asking = request(
      `https://${host.authority}/api2/json/nodes/pve1/qemu/101/termproxy`,
      { method: "POST", ca: readFileSync(tls.certFile), headers: { authorization: `PVEAPIToken=${TOKEN}` } },
      (response) => {
        let body = "";
        response.on("data", (part: Buffer) => {
          body += part.toString();
        });
        response.on("end", () =>
          resolve((JSON.parse(body) as { data: { user: string; ticket: string; port: string } }).data),
        );
      },
    );
    asking.once("error", reject);
    asking.end("serial=serial0");
  });
}

async function drain(incoming: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const chunk of incoming) parts.push(chunk);
  return Buffer.concat(parts);
}
