// OpenStack Nova: the real websockify, on which its serial proxy is built, and a stand-in of the API that gives out tokens.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { parseAddress } from "../../cli/address.ts";
import { dial } from "../../cli/dial.ts";
import { nodeClock } from "../../node/clock.ts";
import { PlainGuest } from "../support/hosts/device.ts";
import { naiveWebSocket } from "../support/hosts/naive.ts";
import {
  type Answer,
  type Asked,
  json,
  makeCertificate,
  type TlsFiles,
  type Upgrade,
  WebHost,
} from "../support/hosts/web-host.ts";
import { type RunningWebsockify, startWebsockify } from "../support/hosts/websockify.ts";
import { hostTestGuest, SOUND, soundness, wholeSession } from "../support/hosts/whole-session.ts";

const TOKEN = "0f6c1d6e-1111-4222-8333-444455556666";
const SERVER = "9168b536-cd40-4630-b43f-b259807c6e87";
const KEYSTONE = "gAAAAABkeystone-token_0123456789";
const directory = mkdtempSync(path.join(os.tmpdir(), "sealtty-nova-"));
const at = (name: string): string => path.join(directory, name);
let tls: TlsFiles;
beforeAll(() => {
  tls = makeCertificate(directory, "nova");
  writeFileSync(at("token"), `${TOKEN}\n`);
  writeFileSync(at("keystone"), `${KEYSTONE}\n`);
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const ending: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of ending.splice(0).reverse()) await end();
});

async function websockify(...args: Parameters<typeof startWebsockify>): Promise<RunningWebsockify> {
  const running = await startWebsockify(...args);
  ending.push(() => running.stop());
  return running;
}

/** A STAND-IN of Nova's API, not the program itself: remote-consoles of microversion 2.6, as its API reference has it. */
class NovaApiStandIn extends WebHost {
  readonly #proxy: string;
  given = 0;
  constructor(proxy: string) {
    super(tls);
    this.#proxy = proxy;
  }
  protected answer({ method, url, headers, body }: Asked): Answer {
    if (headers["x-auth-token"] !== KEYSTONE)
      return json(401, { error: { code: 401, message: "Unauthorized" } });
    if (method !== "POST" || url.pathname !== `/v2.1/servers/${SERVER}/remote-consoles`) return json(404, {});
    if (headers["openstack-api-version"] !== "compute 2.6") return json(404, {}); // older versions have no such path
    if (body !== '{"remote_console":{"protocol":"serial","type":"serial"}}') return json(400, {});
    this.given++;
    return json(200, { remote_console: { protocol: "serial", type: "serial", url: this.#proxy } });
  }
  protected upgrade(): Upgrade {
    return { status: 404 };
  }
}

describe("the real websockify", () => {
  test.each(["binary", "armour"] as const)("a whole session in %s, through a cut", async (encoding) => {
    const guest = hostTestGuest();
    const proxy = await websockify((pipe) => guest.endpoint.servePipe(pipe), TOKEN, tls);
    const environment = { SEALTTY_NOVA_TOKEN_FILE: at("token"), SEALTTY_NOVA_CA_FILE: tls.certFile };
    const result = await wholeSession({
      name: `Nova's proxy (real websockify, TLS, ${encoding})`,
      guest,
      encoding,
      dial: () => dial(parseAddress(`nova:wss://${proxy.authority}/`), environment, nodeClock),
      async midway({ echo, reconnected, guest: { stats } }) {
        const { pipes } = stats;
        proxy.cut();
        await reconnected(pipes);
        await echo();
      },
      halfway: async () => proxy.cut(),
    });
    expect(soundness(result, guest)).toEqual(SOUND);
    expect(proxy.connections()).toBeGreaterThan(1);
    await guest.endpoint.stop();
  });

  test("Nova's API is asked for a token at each connection", async () => {
    const guest = hostTestGuest();
    const proxy = await websockify((pipe) => guest.endpoint.servePipe(pipe), TOKEN);
    const api = new NovaApiStandIn(`ws://${proxy.authority}/?token=${TOKEN}`);
    await api.listen();
    ending.push(() => api.close());
    const environment = {
      SEALTTY_NOVA_API: `https://${api.authority}/v2.1/`,
      SEALTTY_NOVA_AUTH_TOKEN_FILE: at("keystone"),
      SEALTTY_NOVA_CA_FILE: tls.certFile,
    };
    const result = await wholeSession({
      name: "Nova's proxy (real websockify, API a stand-in)",
      guest,
      dial: () => dial(parseAddress(`nova:${SERVER}`), environment, nodeClock),
      async midway({ echo, reconnected, guest: { stats } }) {
        const { pipes } = stats;
        proxy.cut();
        await reconnected(pipes);
        await echo();
      },
      halfway: async () => proxy.cut(),
    });
    expect(soundness(result, guest)).toEqual(SOUND);
    expect(api.given).toBeGreaterThan(1);
    const wrong = { ...environment, SEALTTY_NOVA_AUTH_TOKEN_FILE: at("token") };
    await expect(dial(parseAddress(`nova:${SERVER}`), wrong, nodeClock)).rejects.toMatchObject({
      code: "transport-lost",
      message: expect.stringContaining("openstack token issue"),
    });
    await guest.endpoint.stop();
  });

  test("control: a naive client's text frame ends its connection, and none of it arrives", async () => {
    const guest = new PlainGuest();
    const proxy = await websockify(guest.serve, TOKEN);
    const url = `ws://${proxy.authority}/?token=${TOKEN}`;
    const naive = await naiveWebSocket(url, { protocols: ["binary"] });
    naive.socket.send("root\r");
    const code = await naive.closed;
    expect(code).toBe(1003);
    expect(guest.bytes.length).toBe(0);
    const binary = await naiveWebSocket(url, { protocols: ["binary"] });
    binary.socket.send(Buffer.from("root\r"));
    expect((await guest.until(5)).toString()).toBe("root\r");
    binary.socket.terminate();
  });

  test("a token that the proxy does not know, and settings that do not fit, are said in words, without it", async () => {
    const proxy = await websockify(new PlainGuest().serve, TOKEN);
    const address = parseAddress(`nova:ws://${proxy.authority}/`);
    const attempt = async (environment: Record<string, string>): Promise<string> => {
      const error = await dial(address, environment, nodeClock).then(
        () => undefined,
        (reason: unknown) => reason as Error,
      );
      expect(error).toMatchObject({ name: "SealttyError" });
      expect(error?.message).not.toContain("hunter2");
      return error?.message ?? "";
    };
    expect(await attempt({ SEALTTY_NOVA_TOKEN: "hunter2" })).toContain("make a new one");
    expect(await attempt({})).toContain("SEALTTY_NOVA_TOKEN_FILE");
    expect(await attempt({ SEALTTY_NOVA_TOKEN: "ws://other.example:6083/?token=hunter2" })).toContain(
      "make both fit",
    );
    const whole = await dial(
      address,
      { SEALTTY_NOVA_TOKEN: `ws://${proxy.authority}/?token=${TOKEN}` },
      nodeClock,
    );
    await whole.close();
  });
});
