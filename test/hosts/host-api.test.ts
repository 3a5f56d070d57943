// What a host's API may answer: anything. It is bounded, only wanted fields come out, and nothing but a plain refusal follows.

import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import * as fc from "fast-check";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import { parseAddress } from "../../cli/address.ts";
import { dial } from "../../cli/dial.ts";
import { apiBase, callApi, type HostApi, openApiSocket } from "../../cli/hosts/host-api.ts";
import { HostAnswer, MAX_ANSWER, MAX_ANSWER_DEPTH } from "../../cli/hosts/host-json.ts";
import { HostSettings } from "../../cli/hosts/settings.ts";
import { nodeClock } from "../../node/clock.ts";
import { utf8 } from "../../protocol/bytes.ts";
import { connectWebSocket } from "../../node/web-socket-pipe.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { connect } from "../../protocol/session/connect.ts";
import { type Answer, json, type Upgrade, WebHost } from "../support/hosts/web-host.ts";
import { clientOptions } from "../support/session.ts";
import { testSeed } from "../support/seeded.ts";

const seed = testSeed();
const directory = mkdtempSync(path.join(os.tmpdir(), "sealtty-host-api-"));
const at = (name: string): string => path.join(directory, name);
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const ending: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of ending.splice(0).reverse()) await end();
});

const WANTED = { path: ["data", "ticket"], limit: 20, pattern: /^[\x21-\x7e]+$/ } as const;
const answer = (value: unknown): HostAnswer => new HostAnswer(utf8(JSON.stringify(value)), "a test");
const refusal = (words: string) =>
  expect.objectContaining({ code: "transport-lost", message: expect.stringContaining(words) });

describe("HostAnswer", () => {
  test(`any bytes are an answer or a refusal that quotes none of them (seed ${seed})`, () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.uint8Array({ maxLength: 400 }), fc.json().map(utf8), fc.string().map(utf8)),
        (bytes) => {
          try {
            new HostAnswer(bytes, "a test").hint(["a", "b"]);
          } catch (error) {
            expect(error).toMatchObject({ name: "SealttyError", code: "transport-lost" });
            expect((error as SealttyError).cause).toBeUndefined();
            expect((error as Error).message).toMatch(
              /^The answer of a test (?:is not UTF-8|is not JSON|nests)/,
            );
          }
        },
      ),
      { seed, numRuns: 500 },
    );
  });

  test(`text() gives what is wanted or nothing, whatever else is there (seed ${seed})`, () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 4 }), fc.jsonValue({ maxDepth: 4 }), (ticket, beside) => {
        const value = { data: { ticket, beside }, ticket: "not this one" };
        const good = typeof ticket === "string" && ticket.length <= 20 && /^[\x21-\x7e]+$/.test(ticket);
        if (good) expect(answer(value).text(WANTED)).toBe(ticket);
        else expect(() => answer(value).text(WANTED)).toThrow(refusal('no usable "data.ticket"'));
      }),
      { seed, numRuns: 500 },
    );
  });

  test.each([
    [{ data: { ticket: "x".repeat(21) } }],
    [{ data: { ticket: "a\r\nx: y" } }],
    [{ data: { ticket: "" } }],
    [{ data: { ticket: ["a"] } }],
    [{ data: ["a"] }],
    [{ data: null }],
    [[]],
    ["data"],
    [null],
  ])("text() refuses %j", (value) => {
    expect(() => answer(value).text(WANTED)).toThrow(refusal('no usable "data.ticket"'));
  });

  test("no field of every object's prototype counts as one", () => {
    for (const name of ["constructor", "__proto__", "toString"]) {
      expect(() => answer({}).text({ ...WANTED, path: [name, "name"] })).toThrow(refusal("no usable"));
    }
  });

  test.each([
    [5900, 5900],
    ["5900", 5900],
    ["5999", 5999],
  ])("integer() takes %j", (value, expected) =>
    expect(answer({ port: value }).integer(["port"], 5900, 5999)).toBe(expected),
  );
  test.each([5899, 6000, "59e2", "0x170c", " 5900", "", 5900.5, null, true, [5900], "99999999999"])(
    "integer() refuses %j",
    (value) =>
      expect(() => answer({ port: value }).integer(["port"], 5900, 5999)).toThrow(refusal("no usable")),
  );

  test("size and depth are bounded, to the byte and to the level", () => {
    const nested = (depth: number): string => `${"[".repeat(depth)}${"]".repeat(depth)}`;
    const parse = (text: string): HostAnswer => new HostAnswer(utf8(text), "a test");
    expect(parse(nested(MAX_ANSWER_DEPTH)).hint(["x"])).toBeUndefined();
    expect(() => parse(nested(MAX_ANSWER_DEPTH + 1))).toThrow(refusal("nests deeper"));
    expect(() => parse("[".repeat(MAX_ANSWER))).toThrow(refusal("nests deeper"));
    expect(() => parse(`"${"[".repeat(50)}"`)).not.toThrow(); // brackets in a string nest nothing
    expect(() => parse(`"\\"${"[".repeat(50)}"`)).not.toThrow();
    expect(parse(`"${"x".repeat(MAX_ANSWER - 2)}"`).hint([])).toHaveLength(MAX_ANSWER - 2);
    expect(() => parse(`"${"x".repeat(MAX_ANSWER - 1)}"`)).toThrow(refusal("longer than 64 KiB"));
  });
});

/** Answers everything with what the test says. */
class AnyAnswer extends WebHost {
  answers: Answer = json(200, {});
  protected answer(): Answer {
    return this.answers;
  }
  protected upgrade(): Upgrade {
    return { status: 418 };
  }
}

describe("callApi()", () => {
  async function start(): Promise<{ host: AnyAnswer; api: HostApi }> {
    const host = new AnyAnswer();
    await host.listen();
    ending.push(() => host.close());
    return {
      host,
      api: { what: "The test's host", base: apiBase(`http://${host.authority}/v2/`, "a test") },
    };
  }
  const get = { method: "GET", path: "/x" } as const;

  test("asks below the base's path, and gives the fields", async () => {
    const { host, api } = await start();
    host.answers = json(201, { a: "b" });
    expect((await callApi(api, get)).hint(["a"])).toBe("b");
    expect(host.asked[0]?.url.pathname).toBe("/v2/x");
  });

  test.each([
    ["a portal's page", { status: 200, body: "<html>Sign in</html>" }, "is not JSON"],
    ["an endless answer", { status: 200, body: `"${"x".repeat(2 * MAX_ANSWER)}"` }, "longer than 64 KiB"],
    ["a redirection, which is not followed", { status: 302, body: "" }, "HTTP status 302"],
    [
      "an error with a reason",
      json(500, { error: "it is\u001b[2J taken" }),
      'status 500 ("it is\ufffd[2J taken")',
    ],
    [
      "an error with something else for a reason",
      json(500, { error: { a: 1 } }),
      "HTTP status 500. Try this",
    ],
    ["an error that is no JSON", { status: 500, body: "<html>" }, "HTTP status 500. Try this"],
  ])("%s", async (_, answers, words) => {
    const { host, api } = await start();
    host.answers = answers;
    const asked = callApi(api, { ...get, advice: { 500: "Try this." }, reasonAt: ["error"] });
    await expect(asked).rejects.toThrow(refusal(words));
    expect(host.asked.length).toBe(1);
  });

  test("a host that takes the request and never answers is given up on; so is one that dribbles", async () => {
    for (const says of ["", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", "HTTP/1.1 102 Wait\r\n\r\n"]) {
      const server = net.createServer((socket) => {
        socket.on("error", () => undefined);
        socket.write(says);
        ending.push(async () => void socket.destroy());
      });
      server.listen(0, "127.0.0.1");
      await once(server, "listening");
      const base = new URL(`http://127.0.0.1:${(server.address() as net.AddressInfo).port}`);
      await expect(callApi({ what: "It", base }, get, 100)).rejects.toThrow(refusal("no answer in time"));
      server.close();
    }
  });

  test("a switch of protocols is an answer that nobody asked for", async () => {
    const server = net.createServer((socket) => {
      socket.on("error", () => undefined);
      socket.resume();
      socket.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n");
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    ending.push(() => new Promise((resolve) => server.close(resolve)));
    const base = new URL(`http://127.0.0.1:${(server.address() as net.AddressInfo).port}`);
    await expect(callApi({ what: "It", base }, get)).rejects.toThrow(refusal("HTTP status 101"));
  });

  test("a web socket's host that dribbles its answer is given up on", async () => {
    const server = net.createServer((socket) => {
      socket.on("error", () => undefined);
      socket.resume();
      socket.write("HTTP/1.1 101 Switching Protocols\r\n");
      const dribble = setInterval(() => socket.write("x"), 20);
      socket.once("close", () => clearInterval(dribble));
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    ending.push(() => new Promise((resolve) => server.close(resolve)));
    const url = `ws://127.0.0.1:${(server.address() as net.AddressInfo).port}/`;
    await expect(connectWebSocket(url, { timeout: 200 })).rejects.toThrow(/does not answer/);
  });

  test("nobody there", async () => {
    const api = { what: "It", base: new URL("http://127.0.0.1:1"), settings: "X names it." };
    await expect(callApi(api, get)).rejects.toThrow(
      refusal("It at 127.0.0.1:1 did not open the console: nobody listens there. Check the port"),
    );
    await expect(callApi(api, get)).rejects.toThrow(refusal("X names it."));
    const other = { what: "It", base: new URL("https://localhost"), socketPath: at("none.sock") };
    await expect(callApi(other, get)).rejects.toThrow(refusal(`It at ${at("none.sock")} did`));
  });

  test("a port without TLS, where TLS is meant, is said in words: requests and web sockets", async () => {
    const { host } = await start();
    const api = { what: "It", base: new URL(`https://${host.authority}`) };
    await expect(callApi(api, get)).rejects.toThrow(refusal("that port speaks no TLS"));
    await expect(openApiSocket(api, "/", {})).rejects.toThrow(refusal("that port speaks no TLS"));
  });
});

describe("a host that takes the connection and says nothing is what is named, not the guest", () => {
  const silent = async (where: { path: string } | { port: number; host: string }): Promise<net.Server> => {
    const server = net.createServer((socket) => {
      socket.on("error", () => undefined);
      ending.push(async () => void socket.destroy());
    });
    server.listen(where);
    await once(server, "listening");
    ending.push(async () => void server.close());
    return server;
  };
  test.each([
    "ws://AUTHORITY/",
    "proxmox:AUTHORITY/node/101",
    "kubevirt:ns/vm",
    "nova:9168b536-cd40-4630-b43f-b259807c6e87",
    "incus:vm",
    "vsock+unix:SOCKET:5000",
  ])("%s", async (form) => {
    const server = await silent({ port: 0, host: "127.0.0.1" });
    const authority = `127.0.0.1:${(server.address() as net.AddressInfo).port}`;
    await silent({ path: at("silent.sock") });
    const base = `http://${authority}`;
    const environment = {
      SEALTTY_PROXMOX_TOKEN: "a@b!c=d",
      SEALTTY_KUBEVIRT_SERVER: base,
      SEALTTY_NOVA_API: base,
      SEALTTY_NOVA_AUTH_TOKEN: "t",
      SEALTTY_INCUS_SERVER: base,
    };
    const address = form.replace("AUTHORITY", authority).replace("SOCKET", at("silent.sock"));
    const options = clientOptions(nodeClock, () => dial(parseAddress(address), environment, nodeClock), {
      address,
      timeout: 200,
    });
    await expect(connect(options)).rejects.toMatchObject({
      code: "transport-lost",
      message: expect.stringContaining(`The host behind ${address} did not answer`),
    });
  });
});

describe("apiBase()", () => {
  test.each([
    ["https://h:8006", "https://h:8006/"],
    ["https://h/k8s/clusters/c-1/", "https://h/k8s/clusters/c-1"],
    ["http://127.0.0.1:8001", "http://127.0.0.1:8001/"],
    ["http://[::1]:8001", "http://[::1]:8001/"],
    ["wss://h/", "wss://h/"],
  ])("%s", (text, href) => expect(apiBase(text, "X").href).toBe(href));
  test.each([
    "http://h",
    "ws://h",
    "http://127.0.0.1.example",
    "http://localhost.example",
    "ftp://127.0.0.1",
    "h",
    "https://a:b@h",
    "https://h/?x=1",
    "https://h/#x",
  ])("refuses %s", (text) =>
    expect(() => apiBase(text, "X")).toThrow(expect.objectContaining({ code: "bad-config" })),
  );
});

describe("HostSettings", () => {
  test("a secret is one line of a file, read anew each time, or of the environment, but not both", async () => {
    const settings = new HostSettings({ P_TOKEN_FILE: at("token"), P_PASSWORD: "pass word: ü" }, "P");
    for (const [content, expected] of [
      ["one\n", "one"],
      ["two\r\n", "two"],
      ["three", "three"],
    ] as const) {
      writeFileSync(at("token"), content);
      expect(await settings.secret("TOKEN")).toBe(expected);
    }
    expect(await settings.secret("PASSWORD", "password")).toBe("pass word: ü");
    expect(await settings.secret("OTHER")).toBeUndefined();
    const both = new HostSettings({ P_TOKEN_FILE: at("token"), P_TOKEN: "x" }, "P");
    await expect(both.secret("TOKEN")).rejects.toMatchObject({ code: "bad-config" });
  });

  test(`no text in a token gets anything past its header (seed ${seed})`, async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: "binary", maxLength: 40 }), async (text) => {
        const settings = new HostSettings({ P_TOKEN: text }, "P");
        const secret = await settings.secret("TOKEN").catch((error: unknown) => {
          expect(error).toMatchObject({ code: "bad-config" });
          if (text.length > 3) expect((error as Error).message).not.toContain(text);
          return undefined;
        });
        if (secret !== undefined) expect(secret).toMatch(/^[\x21-\x7e]+$/);
      }),
      { seed, numRuns: 300 },
    );
  });

  test("a file that cannot be read is named with its setting", async () => {
    const settings = new HostSettings({ P_TOKEN_FILE: at("none"), P_CA_FILE: at("none") }, "P");
    await expect(settings.secret("TOKEN")).rejects.toThrow(
      `cannot read the token of P_TOKEN_FILE ${at("none")}`,
    );
    await expect(settings.pem("CA_FILE", "CERTIFICATE")).rejects.toThrow(
      `cannot read the file of P_CA_FILE ${at("none")}`,
    );
  });

  test("flag() takes 1 or nothing", () => {
    expect(new HostSettings({ P_F: "1" }, "P").flag("F")).toBe(true);
    expect(new HostSettings({ P_F: "" }, "P").flag("F")).toBe(false);
    expect(() => new HostSettings({ P_F: "yes" }, "P").flag("F")).toThrow("P_F takes 1");
  });
});

describe("hosts that answer anything", () => {
  const plain = async (dialled: Promise<unknown>): Promise<void> => {
    const error = await dialled.then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(SealttyError);
    expect((error as SealttyError).code).toMatch(/^(?:transport-lost|bad-config)$/);
    expect((error as SealttyError).message).not.toMatch(/hunter2/);
  };
  const anyAnswer = fc.record({
    status: fc.constantFrom(200, 201, 202, 400, 403, 500),
    body: fc.oneof(
      fc.json(),
      fc.string(),
      fc
        .record({
          operation: fc.oneof(
            fc.string(),
            fc.constantFrom("/1.0/operations/0f6c-1", "/1.0/../x", "//evil.example/"),
          ),
          metadata: fc.oneof(fc.jsonValue(), fc.constant({ metadata: { fds: { "0": "a", control: "b" } } })),
          remote_console: fc.record({
            url: fc.constantFrom(
              "ws://evil.example/?token=a",
              "wss://[/",
              "wss://127.0.0.1:1/",
              "wss://127.0.0.1:1/?token=a",
              "http://x",
            ),
          }),
        })
        .map((value) => JSON.stringify(value)),
    ),
  });

  test(`Incus and Nova: a refusal, whatever it is (seed ${seed})`, async () => {
    const host = new AnyAnswer();
    await host.listen();
    ending.push(() => host.close());
    const server = "9168b536-cd40-4630-b43f-b259807c6e87";
    const environment = {
      SEALTTY_INCUS_SERVER: `http://${host.authority}`,
      SEALTTY_NOVA_API: `http://${host.authority}`,
      SEALTTY_NOVA_AUTH_TOKEN: "hunter2",
    };
    await fc.assert(
      fc.asyncProperty(anyAnswer, async (answers) => {
        host.answers = answers;
        await plain(dial(parseAddress("incus:db1"), environment, nodeClock));
        await plain(dial(parseAddress(`nova:${server}`), environment, nodeClock));
      }),
      { seed, numRuns: 100 },
    );
  });

  test(`KubeVirt's upgrade answered by any bytes: a refusal (seed ${seed})`, async () => {
    let says: Uint8Array = new Uint8Array(0);
    const server = net.createServer((socket) => {
      socket.on("error", () => undefined);
      socket.once("data", () => socket.end(says));
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    ending.push(() => new Promise((resolve) => server.close(resolve)));
    const environment = {
      SEALTTY_KUBEVIRT_SERVER: `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`,
      SEALTTY_KUBEVIRT_TOKEN: "hunter2",
    };
    const head = fc.constantFrom(
      "",
      "HTTP/1.1 ",
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
    );
    await fc.assert(
      fc.asyncProperty(head, fc.uint8Array({ maxLength: 100 }), async (start, rest) => {
        says = Buffer.concat([Buffer.from(start), rest, Buffer.from("\r\n\r\n")]);
        await plain(dial(parseAddress("kubevirt:ns/vm"), environment, nodeClock));
      }),
      { seed, numRuns: 100 },
    );
  });
});
