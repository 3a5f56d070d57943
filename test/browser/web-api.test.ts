// `import { connect } from "sealtty/browser"` as it is published, in Chromium below a strict policy: the examples of docs/api.md as
// they stand and what only a browser shows, against a real sealttyd behind a web socket of the host's.

import { once } from "node:events";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import net, { type AddressInfo } from "node:net";
import os from "node:os";
import path from "node:path";
import type { Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { type WebSocket, WebSocketServer } from "ws";
import { bridgePipe } from "../../cli/pipe-bridge.ts";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { connectUnixSocket } from "../../node/unix-socket-pipe.ts";
import { encodeAux } from "../../protocol/attestation/aux.ts";
import { signSimulatedQuote, simulatedParts } from "../../protocol/attestation/simulated.ts";
import type { Pipe } from "../../protocol/pipe.ts";
import {
  launchBrowser,
  refuseFaults,
  watchFaults,
  type PageFaults,
  type TestBrowser,
} from "../support/browser.ts";
import { fastClock } from "../support/clocks.ts";
import { findSecret, tapWire, type WireTap } from "../support/host-eyes.ts";
import { memoryPipes } from "../support/memory-pipe.ts";
import { type RunningGuest, startSealttyd } from "../support/sealttyd.ts";
import { acceptAnyKey, echoProcess, testGuest } from "../support/session.ts";
import { type OwnPageServer, serveOwnPages } from "./web-api-page.ts";

const document = readFileSync(path.join(import.meta.dirname, "../../docs/api.md"), "utf8");
const examples = [...document.matchAll(/^```js browser\n([\s\S]*?)^```$/gm)].map(([, code]) => code ?? "");
const PRINTED: readonly RegExp[] = [
  /^ssh-ed25519 [A-Za-z0-9+/]{68} alice in this browser$/,
  /^[^\n]*simulated[^\n]*\n0 "a\\nb\\n"$/i,
  /^12000 0\ntext or bytes$/,
  /^true 5$/,
  /^HTTP\/1\.1 200 OK$/,
  /^renewed\nclosed$/,
];
const SETTINGS = `import { connect, SealttyError } from "sealtty/browser";
import { GUEST, KEY, POLICY, PORT, USER } from "./settings.js";
const options = { guest: GUEST, policy: { text: POLICY }, user: USER, key: KEY, simulated: true };
`;
const user = os.userInfo().username;

/** A simulated machine in this process: with another key it is another one. */
class Machine {
  readonly #key = { now: nodeSuite.randomBytes(32) };
  readonly guest = testGuest(
    fastClock(1),
    {
      keysAllowed: true,
      verifyUserKey: acceptAnyKey,
      collectEvidence: async ({ makeBinder }) => {
        const { now } = this.#key;
        const aux = encodeAux(
          simulatedParts({ publicKey: nodeSuite.ed25519PublicKey(now), instance: "test" }),
        );
        return {
          type: "simulated",
          quote: signSimulatedQuote(nodeSuite, now, makeBinder("simulated", aux)),
          aux,
        };
      },
    },
    echoProcess,
  );
  change(): void {
    this.#key.now = nodeSuite.randomBytes(32);
  }
  dial(): Promise<Pipe> {
    const { client, guest } = memoryPipes();
    void this.guest.endpoint.servePipe(guest).catch(() => undefined);
    return Promise.resolve(client);
  }
}

/** A web socket of the host's, as QEMU has it. */
class HostSocket {
  readonly #server: WebSocketServer;
  constructor(server: WebSocketServer) {
    this.#server = server;
  }
  static async start(dial: () => Promise<Pipe>): Promise<HostSocket> {
    const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
    server.on("connection", (socket: WebSocket) => void bridgePipe(socket, dial));
    await once(server, "listening");
    return new HostSocket(server);
  }
  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }
  close(): void {
    for (const socket of this.#server.clients) socket.terminate();
    this.#server.close();
  }
}

let guest: RunningGuest;
let machine: Machine;
const sockets: HostSocket[] = [];
let tap: WireTap;
let web: Server; // the guest's: it is this machine
let pages: OwnPageServer;
let browser: TestBrowser;
let page: Page;
let faults: PageFaults;
let printed: string[];

const address = ({ port }: { readonly port: number }): string => `ws://127.0.0.1:${port}/`;

beforeAll(async () => {
  for (const file of ["dist/lib/browser.js", "dist/bin/sealttyd.js"])
    if (!existsSync(path.join(import.meta.dirname, "../..", file)))
      throw new Error(`npm run build makes ${file}`);
  guest = await startSealttyd({ authorizedKeys: "", more: ["[forward]", "allow = true"] });
  machine = new Machine();
  web = createServer((_request, response) => response.end("from the guest\n"));
  web.listen(0, "127.0.0.1");
  await once(web, "listening");
  sockets.push(
    await HostSocket.start(() => connectUnixSocket(guest.socket)),
    await HostSocket.start(() => machine.dial()),
  );
  const [host, other] = sockets as [HostSocket, HostSocket];
  tap = await tapWire({ port: host.port });
  [pages, browser] = await Promise.all([
    serveOwnPages(
      [host, other, tap].map(({ port }) => `ws://127.0.0.1:${port}`),
      {
        guest: address(host),
        policy: readFileSync(guest.policyFile, "utf8"),
        user,
        port: (web.address() as AddressInfo).port,
      },
    ),
    launchBrowser(),
  ]);
});
afterAll(async () => {
  await browser?.close();
  await pages?.close();
  await tap?.close();
  for (const socket of sockets) socket.close();
  web?.close();
  await guest?.stop();
});
beforeEach(async () => {
  page = await browser.context.newPage();
  faults = watchFaults(page, pages.origin);
  printed = [];
  page.on("console", (message) => printed.push(message.text()));
  await page.exposeFunction("enrol", (line: string) =>
    writeFileSync(path.join(guest.directory, "authorized_keys"), `${line}\n`),
  );
});
afterEach(async () => {
  await page.close();
  // The page's policy says which sockets it may open.
  refuseFaults({
    ...faults,
    foreignRequests: faults.foreignRequests.filter((url) => !url.startsWith("ws://127.0.0.1:")),
  });
});

/** Runs a program in a page of its own. @returns what it printed, and what it left for us in `window.result`. */
async function run(program: string): Promise<unknown> {
  const ended = page.waitForEvent("console", {
    predicate: (message) => message.text() === "DONE",
    timeout: 90_000,
  });
  const failed = page.waitForEvent("pageerror", { timeout: 90_000 });
  failed.catch(() => undefined);
  await page.goto(pages.page(`${program}\nconsole.log("DONE");`));
  const error = await Promise.race([ended.then(() => undefined), failed]);
  if (error !== undefined) throw error;
  printed.splice(printed.indexOf("DONE"), 1);
  return await page.evaluate(() => (globalThis as { result?: unknown }).result);
}

test("docs/api.md has an example for each thing that is printed here", () => {
  expect(examples).toHaveLength(PRINTED.length);
});

test.each(PRINTED.map((expected, i) => [i + 1, expected] as const))(
  "browser example %i of docs/api.md runs as it stands",
  async (number, expected) => {
    await run(examples[number - 1] ?? "");
    expect(printed.join("\n")).toMatch(expected);
  },
);

test("status, outputs apart, signals, time, an abort, and what no program is", async () => {
  const result = await run(`${SETTINGS}
const guest = await connect(options);
const text = (bytes) => new TextDecoder().decode(bytes);
const code = (promise) => promise.then(() => "none", (error) => (error instanceof SealttyError ? error.code : error.name));
const there = await (await guest.exec(["sh", "-c", 'pwd; echo "$WHO" >&2; exit 37'], { cwd: "/usr", env: { WHO: "me" } })).collect();
const killed = await guest.exec(["sleep", "600"]);
killed.kill("SIGKILL");
const slow = await guest.exec(["sleep", "600"], { timeout: 50 });
const abort = new AbortController();
const aborted = await guest.exec(["cat"], { stdin: true, signal: abort.signal });
abort.abort();
const half = await guest.exec(["cat"], { stdin: true });
const source = new ReadableStream({ pull: (controller) => controller.error(new RangeError("broken")) });
await source.pipeTo(half.stdin).catch(() => undefined);
const left = await guest.exec(["yes"]);
const reader = left.stdout.getReader();
await reader.read();
await reader.cancel();
globalThis.result = {
  there: [there.status, text(there.stdout), text(there.stderr)],
  killed: await killed.exit,
  slow: await code(slow.exit),
  aborted: [await code(aborted.exit), await code(aborted.stdout.getReader().read())],
  half: await code(half.exit),
  left: await left.exit,
  missing: (await (await guest.exec(["no-such-program"])).collect()).status,
  flood: await code((await guest.exec(["yes"])).collect(100_000)),
  line: await code(guest.exec("ls -l")),
  misspelt: await code(guest.exec(["ls"], { cdw: "/" })),
  nowhere: await code(guest.openStream({ path: "/no/such/socket" })),
  key: guest.key,
};
await guest.close();
globalThis.result.closed = await code(guest.exec(["true"]));
`);
  expect(result).toEqual({
    there: [37, "/usr\n", "me\n"],
    killed: { status: 137, signal: "SIGKILL" },
    slow: "timeout",
    aborted: ["AbortError", "AbortError"],
    half: "RangeError",
    left: { status: 129, signal: "SIGHUP" },
    missing: 127,
    flood: "limit-exceeded",
    line: "api-misuse",
    misspelt: "api-misuse",
    nowhere: "program-failed",
    key: expect.stringMatching(/^[0-9a-f]{64}$/) as string,
    closed: "transport-lost",
  });
});

test("5 MB each way through a reader that is slow: whole, and a writer is held up by it", async () => {
  const result = (await run(`${SETTINGS}
const guest = await connect(options);
const data = new Uint8Array(5_000_000);
for (let at = 0; at < data.length; at += 50_000) crypto.getRandomValues(data.subarray(at, at + 50_000));
const cat = await guest.exec(["cat"], { stdin: true });
let written = 0;
let some;
const started = new Promise((resolve) => (some = resolve));
const writing = (async () => {
  const writer = cat.stdin.getWriter();
  for (; written < data.length; written += 50_000) {
    await writer.write(data.subarray(written, written + 50_000));
    if (written > 500_000) some();
  }
  await writer.close();
})();
await started;
const pieces = [];
let read = 0;
let most = 0;
let looked = 0;
for (const reader = cat.stdout.getReader(); ; ) {
  const { done, value } = await reader.read();
  if (done) break;
  pieces.push(value);
  read += value.length;
  if (read - looked > 250_000) {
    looked = read;
    await (await guest.exec(["true"])).collect(); // long enough for whoever would run ahead
  }
  most = Math.max(most, written - read);
}
await writing;
const back = new Uint8Array(await new Blob(pieces).arrayBuffer());
globalThis.result = { read, same: back.every((byte, i) => byte === data[i]), most, status: (await cat.exit).status };
await guest.close();
`)) as { most: number };
  expect(result).toMatchObject({ read: 5_000_000, same: true, status: 0 });
  expect(result.most).toBeLessThan(3_000_000); // credit both ways, 512 KiB here, and cat's pipes
});

test("a connection that breaks is no end of what came through it", async () => {
  const server = net.createServer((socket) => {
    socket.on("error", () => undefined);
    socket.once("data", () =>
      socket.write("some", () => socket.once("data", () => socket.resetAndDestroy())),
    );
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  try {
    const { port } = server.address() as AddressInfo;
    const result = await run(`${SETTINGS}
const guest = await connect(options);
const { readable, writable, exit } = await guest.openStream({ host: "127.0.0.1", port: ${port} });
const reader = readable.getReader();
const writer = writable.getWriter();
await writer.write("hello");
const some = new TextDecoder().decode((await reader.read()).value);
await writer.write("break");
await writer.close();
globalThis.result = { some, code: await reader.read().catch(({ code }) => code), clean: (await exit).status === 0 };
await guest.close();
`);
    expect(result).toEqual({ some: "some", code: "program-failed", clean: false });
  } finally {
    server.close();
  }
});

test("in a worker", async () => {
  const worker = pages.page(`import { connect } from "/browser.js";
addEventListener("message", async ({ data }) => {
  const guest = await connect(data);
  const { stdout } = await (await guest.exec(["cat"], { stdin: "from a worker" })).collect();
  await guest.close();
  postMessage(new TextDecoder().decode(stdout));
});
postMessage("ready");`);
  const script = worker.replace(/page-(\d+)$/, "program-$1.js");
  const result = await run(`${SETTINGS}
const own = trustedTypes.createPolicy("of-the-page", { createScriptURL: (address) => address });
const worker = new Worker(own.createScriptURL(${JSON.stringify(script)}), { type: "module" });
const heard = () => new Promise((resolve, reject) => {
  worker.onmessage = ({ data }) => resolve(data);
  worker.onerror = ({ message }) => reject(new Error(message));
});
await heard();
worker.postMessage(options); // its key, too, which nobody can read
globalThis.result = await heard();
`);
  expect(result).toBe("from a worker");
});

test("a guest that is another one by then: nothing more goes to it without a hook, nor after a no", async () => {
  const waiting = new Promise<void>((resolve) => {
    void page.exposeFunction("change", () => {
      machine.change();
      resolve();
    });
  });
  const result = await run(`${SETTINGS}
const outcomes = {};
for (const [name, hooks] of Object.entries({
  none: {},
  no: { onChanged: () => "yes" },
  broken: { onChanged: () => { throw new Error("broken"); } },
})) {
  const guest = await connect({ ...options, ...hooks, guest: ${JSON.stringify(address(sockets[1] as HostSocket))} });
  const terminal = await guest.shell({ columns: 80, rows: 24 });
  await window.change();
  const codes = [guest.reattest(), terminal.exit, terminal.output.getReader().read()].map((promise) =>
    promise.then(() => "none", ({ code, refusal }) => [code, refusal.check].join(" ")),
  );
  outcomes[name] = await Promise.all(codes);
  await guest.closed;
}
const asked = [];
const guest = await connect({
  ...options,
  guest: ${JSON.stringify(address(sockets[1] as HostSocket))},
  onChanged: ({ changes }) => asked.push(changes[0].scope) > 0,
});
const terminal = await guest.shell({ columns: 80, rows: 24 });
await window.change();
await guest.reattest();
await terminal.input.getWriter().write("goes on");
const { value } = await terminal.output.getReader().read();
globalThis.result = { outcomes, asked, echoed: new TextDecoder().decode(value) };
await guest.close();
`);
  await waiting;
  const refused = Array.from({ length: 3 }, () => "evidence-refused re-attestation");
  expect(result).toMatchObject({
    outcomes: { none: refused, no: refused, broken: refused },
    asked: ["boot"],
    echoed: "goes on",
  });
});

test("simulated evidence is refused where it was not asked for, and the key signs nothing for it", async () => {
  const processes = machine.guest.processes.length;
  const result = await run(`${SETTINGS}
let signed = 0;
const key = { publicKey: new Uint8Array(51), sign: () => (signed++, new Uint8Array(83)) };
const { simulated, ...without } = { ...options, key };
const error = await connect({ ...without, guest: ${JSON.stringify(address(sockets[1] as HostSocket))} }).catch((thrown) => thrown);
globalThis.result = { code: error.code, signed };
`);
  expect(result).toEqual({
    code: expect.stringMatching(/^(?:evidence-refused|bad-policy)$/) as string,
    signed: 0,
  });
  expect(machine.guest.processes.length).toBe(processes);
});

test("a key that is not enrolled, or does not sign what it is asked to, is not let in", async () => {
  const result = await run(`${SETTINGS}
const code = (key) => connect({ ...options, key }).then(() => "none", (error) => error.code);
const make = (extractable) => crypto.subtle.generateKey("Ed25519", extractable, ["sign", "verify"]);
const raw = new Uint8Array(await crypto.subtle.exportKey("raw", KEY.publicKey));
const name = [0, 0, 0, 11, ...new TextEncoder().encode("ssh-ed25519")];
const publicKey = new Uint8Array([...name, 0, 0, 0, 32, ...raw]);
const signOf = (bytes) => crypto.subtle.sign("Ed25519", KEY.privateKey, bytes);
const wire = (signature) => new Uint8Array([...name, 0, 0, 0, 64, ...new Uint8Array(signature)]);
globalThis.result = {
  another: await code(await make(false)),
  extractable: await code(await make(true)),
  lies: await code({ publicKey, sign: async () => wire(await signOf(new Uint8Array(32))) }),
  fails: await code({ publicKey, sign: () => Promise.reject(new Error("cancelled")) }),
  nothing: await code({ publicKey, sign: () => undefined }),
  own: await code({ publicKey, sign: async ({ toBeSigned }) => wire(await signOf(toBeSigned)) }),
};
`);
  expect(result).toEqual({
    another: "user-refused",
    extractable: "api-misuse",
    lies: "user-refused",
    fails: "user-refused",
    nothing: "api-misuse",
    own: "none",
  });
});

test("the host has nothing of what a page said, nor of what it was told", async () => {
  const secrets = {
    argument: "canary-argument-Vb3nK8",
    variable: "canary-variable-Qx7rM2",
    input: "canary-input-Hw5cT9",
    output: "canary-output-Zp4dL6",
    typed: "canary-typed-Jf8sG1",
  };
  const backwards = Buffer.from(secrets.output).reverse().toString();
  await run(`${SETTINGS}
const guest = await connect({ ...options, guest: ${JSON.stringify(address(tap))} });
const said = await guest.exec(["sh", "-c", 'cat; echo "$1" | rev', ${JSON.stringify(secrets.argument)}, ${JSON.stringify(backwards)}], {
  env: { SAID: ${JSON.stringify(secrets.variable)} },
  stdin: ${JSON.stringify(secrets.input)},
});
const { stdout } = await said.collect();
console.log(new TextDecoder().decode(stdout));
const terminal = await guest.shell({ columns: 80, rows: 24, command: ["cat"] });
const input = terminal.input.getWriter();
await input.write(${JSON.stringify(`${secrets.typed}\n`)});
await input.close();
console.log(await new Response(terminal.output).text());
await guest.close();
`);
  for (const secret of [secrets.input, secrets.output, secrets.typed])
    expect(printed.join("\n")).toContain(secret);
  const wire = tap.captured();
  expect(tap.bytes()).toBeGreaterThan(2000);
  for (const secret of [...Object.values(secrets), backwards]) expect(findSecret(wire, secret)).toEqual([]);
  expect(findSecret([...wire, Buffer.from(`x${secrets.typed}x`)], secrets.typed)).not.toEqual([]);
});
