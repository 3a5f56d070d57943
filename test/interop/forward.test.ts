// `sealtty forward` and `sealtty proxy` as processes, against a real sealttyd: -L, -R and -D with curl and with sockets of
// Node's, back-pressure, half-closes, a guest that restarts, and what is not allowed.

import { createHash, randomBytes } from "node:crypto";
import { createServer, type RequestListener, type Server } from "node:http";
import net from "node:net";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { isInstalled } from "../../bench/children.ts";
import { type RunningCli, runCli, startCli } from "../support/cli.ts";
import { residentMiB } from "../support/process-cost.ts";
import { startSealttyd } from "../support/sealttyd.ts";
import { runProgram, type SshGuest, startSshGuest } from "../support/ssh-guest.ts";

const MiB = 1024 * 1024;
let ssh: SshGuest;
const running: RunningCli[] = [];
const servers: (Server | net.Server)[] = [];

beforeAll(async () => {
  ssh = await startSshGuest();
});
afterEach(async () => {
  for (const cli of running.splice(0)) await cli.stop();
  for (const server of servers.splice(0)) server.close();
});
afterAll(() => ssh?.stop());

const args = (command: string, ...more: string[]): string[] => [
  command,
  ssh.address,
  ...ssh.options,
  ...more,
];
function start(command: string, ...more: string[]): RunningCli {
  const cli = startCli(args(command, ...more), { env: { HOME: ssh.home } });
  running.push(cli);
  return cli;
}

/** @returns the forward, and the ports that it says it listens on, in order. */
async function forward(...more: string[]): Promise<{ cli: RunningCli; ports: number[] }> {
  const cli = start("forward", "--json", ...more);
  const wanted = more.filter((each) => /^-[LRD]$/.test(each)).length;
  let ports: number[] = [];
  while (ports.length < wanted) {
    await cli.waitFor(new RegExp(`(?:"listening"[^\\n]*[^]*){${ports.length + 1}}`));
    ports = [...cli.stderr().matchAll(/"event":"listening"[^\n]*?"at":"[^"]*?([0-9]*)"/g)].map(([, port]) =>
      Number(port),
    );
  }
  return { cli, ports };
}

async function serve(onRequest: RequestListener): Promise<number> {
  const server = createServer(onRequest);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return (server.address() as net.AddressInfo).port;
}
async function listen(onSocket: (socket: net.Socket) => void, at?: string): Promise<number> {
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => {});
    onSocket(socket);
  });
  servers.push(server);
  await new Promise<void>(
    (resolve) =>
      void (at === undefined ? server.listen(0, "127.0.0.1", resolve) : server.listen(at, resolve)),
  );
  return at === undefined ? (server.address() as net.AddressInfo).port : 0;
}

/** Says all that it is given, then ends its own direction. @returns what came back until its end; "reset" where it broke. */
function talk(to: net.NetConnectOpts, ...say: (string | Buffer)[]): Promise<string> {
  return new Promise((resolve) => {
    const got: Buffer[] = [];
    const socket = net.connect({ ...to, allowHalfOpen: true });
    socket.on("data", (chunk: Buffer) => got.push(chunk));
    socket.on("end", () => resolve(Buffer.concat(got).toString("latin1")));
    socket.on("error", () => resolve("reset"));
    for (const each of say) socket.write(each);
    socket.end();
  });
}

/** Answers only once it was told everything: half-close or nothing. */
const countsToTheEnd = (socket: net.Socket): void => {
  const hash = createHash("sha256");
  socket.on("data", (chunk: Buffer) => hash.update(chunk));
  socket.on("end", () => socket.end(hash.digest("hex")));
};

const curl = async (...more: string[]): Promise<{ status: number | string; body: Buffer }> => {
  const outcome = await runProgram(ssh.home, "curl", ["-sS", "--max-time", "60", ...more]);
  return { status: outcome.status, body: Buffer.from(outcome.stdout, "latin1") };
};

describe("forward", () => {
  test("-L: ports and sockets' paths on either side, several at once, megabytes, half-closed", async () => {
    const counting = await listen(countsToTheEnd);
    await listen(countsToTheEnd, ssh.at("there.sock"));
    const { cli, ports } = await forward(
      ...["-L", `0:localhost:${counting}`, "-L", `0:${ssh.at("there.sock")}`],
      ...["-L", `${ssh.at("here.sock")}:127.0.0.1:${counting}`],
    );
    const bytes = randomBytes(6 * MiB);
    const digest = createHash("sha256").update(bytes).digest("hex");
    const places: net.NetConnectOpts[] = [
      { host: "127.0.0.1", port: ports[0] ?? 0 },
      { host: "127.0.0.1", port: ports[1] ?? 0 },
      { path: ssh.at("here.sock") },
    ];
    expect(await Promise.all(places.map((place) => talk(place, bytes)))).toEqual([digest, digest, digest]);
    cli.child.kill("SIGINT");
    expect(await cli.ended()).toBe(0);
    expect(existsSync(ssh.at("here.sock"))).toBe(false);
    expect(await talk(places[0] as net.NetConnectOpts)).toBe("reset");
  });

  test("-L: nobody there is a reset, never an end; a service that breaks off breaks off here", async () => {
    const free = await listen(() => {});
    servers.pop()?.close();
    const breaking = await listen((socket) => socket.once("data", () => socket.resetAndDestroy()));
    const { cli, ports } = await forward("-L", `0:localhost:${free}`, "-L", `0:localhost:${breaking}`);
    expect(await talk({ host: "127.0.0.1", port: ports[0] ?? 0 })).toBe("reset");
    await cli.waitFor(/"forward-failed","code":"program-failed","message":"Nobody listens there/);
    // Its end and its reset are two messages of the guest's: whichever is seen first, nothing was invented.
    expect(["", "reset"]).toContain(await talk({ host: "127.0.0.1", port: ports[1] ?? 0 }, "x"));
  });

  test.runIf(isInstalled("curl"))(
    "-D: curl by SOCKS5 and 4a, names looked up in the guest, and refusals",
    async () => {
      const body = randomBytes(3 * MiB);
      const port = await serve((_, response) => response.end(body));
      const { ports } = await forward("-D", "0");
      const proxy = `127.0.0.1:${ports[0]}`;
      for (const scheme of ["socks5h", "socks5", "socks4", "socks4a"]) {
        const { status, body: got } = await curl("-x", `${scheme}://${proxy}`, `http://127.0.0.1:${port}/`);
        expect({ scheme, status, same: got.equals(body) }).toEqual({ scheme, status: 0, same: true });
      }
      expect((await curl("-x", `socks5h://${proxy}`, `http://localhost:${port}/`)).body.length).toBe(
        body.length,
      );
      expect((await curl("-x", `socks5h://${proxy}`, "http://nowhere.invalid/")).status).toBe(97); // CURLE_PROXY
      expect((await curl("-x", `http://${proxy}`, `http://127.0.0.1:${port}/`)).status).not.toBe(0);
    },
  );

  test.runIf(isInstalled("curl"))("-R: into here, by port, by path and by SOCKS", async () => {
    const port = await serve((request, response) => {
      let length = 0;
      request.on("data", (chunk: Buffer) => {
        length += chunk.length;
      });
      request.on("end", () => response.end(`got ${length}`));
    });
    await listen(countsToTheEnd, ssh.at("mine.sock"));
    const there = ssh.at("remote.sock");
    const { cli, ports } = await forward(
      ...["-R", `0:127.0.0.1:${port}`, "-R", "0", "-R", `${there}:${ssh.at("mine.sock")}`],
    );
    const [first, second] = ports;
    const sent = ["--data-binary", "x".repeat(100_000)];
    expect((await curl(...sent, `http://127.0.0.1:${first}/`)).body.toString()).toBe("got 100000");
    expect((await curl(...sent, `http://localhost:${first}/`)).body.toString()).toBe("got 100000");
    const socks = ["-x", `socks5h://127.0.0.1:${second}`];
    expect((await curl(...socks, `http://127.0.0.1:${port}/`)).body.toString()).toBe("got 0");
    expect((await curl(...socks, "http://nowhere.invalid/")).status).toBe(97);
    expect(await talk({ path: there }, "abc")).toBe(createHash("sha256").update("abc").digest("hex"));
    cli.child.kill("SIGTERM");
    expect(await cli.ended()).toBe(0);
    // The guest lets go of the places with the connection.
    while ((await talk({ host: "127.0.0.1", port: first ?? 0 })) !== "reset")
      await new Promise((go) => setTimeout(go, 20));
    while (existsSync(there)) await new Promise((go) => setTimeout(go, 20));
  });

  test("a reader that does not read holds its own sender back, and nobody else's; memory stays", async () => {
    const total = 64 * MiB;
    let sent = 0;
    const endless = await listen((socket) => {
      const chunk = Buffer.alloc(256 * 1024, 7);
      const more = (): void => {
        while (sent < total) {
          sent += chunk.length;
          if (!socket.write(chunk)) return void socket.once("drain", more);
        }
        socket.end();
      };
      more();
    });
    const quick = await listen(countsToTheEnd);
    const { cli, ports } = await forward("-L", `0:localhost:${endless}`, "-L", `0:localhost:${quick}`);
    const before = residentMiB(ssh.guest.child.pid as number) + residentMiB(cli.child.pid as number);
    const socket = net.connect({ host: "127.0.0.1", port: ports[0] ?? 0 });
    await new Promise<void>((resolve) => void socket.once("readable", resolve)); // it has begun, and nobody reads on
    const other = { host: "127.0.0.1", port: ports[1] ?? 0 };
    for (let i = 0; i < 20; i++)
      expect(await talk(other, "quick")).toBe(createHash("sha256").update("quick").digest("hex"));
    expect(sent).toBeLessThan(total);
    const after = residentMiB(ssh.guest.child.pid as number) + residentMiB(cli.child.pid as number);
    expect(after - before).toBeLessThan(96);
    let got = 0;
    socket.on("data", (chunk: Buffer) => {
      got += chunk.length;
    });
    await new Promise<void>((resolve) => void socket.once("end", resolve));
    expect(got).toBe(total);
  });

  test("more connections than a guest has places for: they take turns", async () => {
    const slow = await listen((socket) => {
      socket.resume();
      socket.on("end", () => setTimeout(() => socket.end("done"), 20));
    });
    const { ports } = await forward("-L", `0:localhost:${slow}`);
    const all = Array.from({ length: 150 }, () => talk({ host: "127.0.0.1", port: ports[0] ?? 0 }, "x"));
    expect((await Promise.all(all)).filter((answer) => answer === "done").length).toBe(150);
  });

  test("what cannot be listened on ends it with words", async () => {
    const taken = await listen(() => {});
    const here = await runCli(args("forward", "-L", `127.0.0.1:${taken}:localhost:1`), "", {
      env: { HOME: ssh.home },
    });
    expect(here).toMatchObject({ status: 255 });
    expect(here.stderr).toMatch(/device-unavailable: cannot listen here on 127\.0\.0\.1:\d+ \(EADDRINUSE\)/);
    const there = await runCli(args("forward", "-R", `127.0.0.1:${taken}:localhost:1`), "", {
      env: { HOME: ssh.home },
    });
    expect(there).toMatchObject({ status: 255 });
    expect(there.stderr).toContain("Somebody listens there in the guest already");
    const [nowhere, file] = [path.join(ssh.home, "nowhere", "x"), path.join(ssh.home, "file")];
    writeFileSync(file, "");
    for (const [way, place, words] of [
      ["-L", nowhere, "its directory is not there, or this user may not write in it"],
      ["-L", file, "something is there already; name another path"],
      ["-R", nowhere, "a socket's path needs a directory that this user may write in"],
      ["-R", file, "or something else has this path"],
    ] as const) {
      const { status, stderr } = await runCli(args("forward", way, `${place}:localhost:1`), "", {
        env: { HOME: ssh.home },
      });
      expect([status, stderr]).toEqual([255, expect.stringContaining(words)]);
    }
    const gateway = await runCli(args("forward", "-R", "*:0:localhost:1"), "", { env: { HOME: ssh.home } });
    expect(gateway.stderr).toMatch(/user-refused: .*gateway = true/);
  });
});

test("a guest that restarts: forward comes back by itself, here and there", async () => {
  const own = await startSshGuest();
  try {
    const port = await listen(countsToTheEnd);
    const cli = startCli(
      [
        "forward",
        own.address,
        ...own.options,
        "-L",
        `0:localhost:${port}`,
        "-R",
        `0:localhost:${port}`,
        "--json",
      ],
      { env: { HOME: own.home } },
    );
    running.push(cli);
    await cli.waitFor(/"kind":"remote"/);
    const [, here] = await cli.waitFor(/"kind":"local","at":"localhost:(\d+)"/);
    const place = { host: "127.0.0.1", port: Number(here) };
    const digest = createHash("sha256").update("x").digest("hex");
    expect(await talk(place, "x")).toBe(digest);
    await own.guest.restart();
    expect(await talk(place, "x")).toBe(digest); // waits for the new connection
    const remotes = await cli.waitFor(/"kind":"remote"[^]*"kind":"remote","at":"localhost:(\d+)"/);
    expect(await talk({ host: "127.0.0.1", port: Number(remotes[1]) }, "x")).toBe(digest);
  } finally {
    await running.pop()?.stop();
    await own.stop();
  }
});

describe("proxy", () => {
  test("a port in the guest: bytes both ways, half-closed, status 0", async () => {
    const port = await listen(countsToTheEnd);
    const bytes = randomBytes(2 * MiB);
    const outcome = await runCli(args("proxy", `localhost:${port}`, "-q"), bytes, {
      env: { HOME: ssh.home },
    });
    expect(outcome).toMatchObject({ status: 0, stdout: createHash("sha256").update(bytes).digest("hex") });
  });

  test("a socket's path, and without a place the service ssh", async () => {
    await listen(countsToTheEnd, ssh.at("proxy.sock"));
    const outcome = await runCli(args("proxy", `unix:${ssh.at("proxy.sock")}`, "-q"), "x", {
      env: { HOME: ssh.home },
    });
    expect(outcome.stdout).toBe(createHash("sha256").update("x").digest("hex"));
    const banner = await runCli(args("proxy", "-q"), "SSH-2.0-x\r\n", { env: { HOME: ssh.home } });
    expect(banner.stdout).toMatch(/^SSH-2\.0-OpenSSH/);
  });

  test("nobody there, no such name, a connection that breaks: 255 and a sentence", async () => {
    const breaking = await listen((socket) => socket.once("data", () => socket.resetAndDestroy()));
    const free = await listen(() => {});
    servers.pop()?.close();
    for (const [place, words] of [
      [`127.0.0.1:${free}`, /program-failed: 127\.0\.0\.1:\d+: Nobody listens there/],
      ["nowhere.invalid:1", /program-failed: nowhere\.invalid:1: The guest cannot get there/],
      [`127.0.0.1:${breaking}`, /program-failed: the guest's connection to 127\.0\.0\.1:\d+ broke/],
    ] as const) {
      const outcome = await runCli(args("proxy", place), "x", { env: { HOME: ssh.home } });
      expect(outcome.status, place).toBe(255);
      expect(outcome.stderr).toMatch(words);
    }
  });

  test("SIGHUP, by which ssh ends it, hangs up in the guest at once", async () => {
    let ended = (_how: string): void => {};
    const how = new Promise<string>((resolve) => {
      ended = resolve;
    });
    const port = await listen((socket) => {
      socket.write("begun");
      socket.on("end", () => ended("end"));
      socket.on("error", () => ended("reset"));
    });
    const cli = start("proxy", `localhost:${port}`);
    await cli.waitFor(/begun/);
    cli.child.kill("SIGHUP");
    expect(await cli.ended()).toBe("SIGHUP");
    expect(await how).toBe("reset");
  });

  test("where the guest's configuration allows nothing there is nothing", async () => {
    const plain = await startSealttyd({ authorizedKeys: readFileSync(ssh.at("user_key.pub"), "utf8") });
    try {
      const options = ["--policy", plain.policyFile, ...ssh.options.slice(2)];
      const refused = await runCli(["proxy", `unix:${plain.socket}`, ...options], "", {
        env: { HOME: ssh.home },
      });
      expect(refused.status).toBe(255);
      expect(refused.stderr).toMatch(
        /user-refused: ssh: The guest does not forward this for this user\. .*\[forward\] allow = true/,
      );
    } finally {
      await plain.stop();
    }
  });
});
