// `npm run soak`: forced disconnects, loss, reconnecting, memory at full speed. docs/soak.md says what each figure means.
// Everything runs against dist/bin/sealttyd.js in a process of its own, and this repository's client in this one.

import { readFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { connectTcp } from "../../node/tcp-pipe.ts";
import { connectUnixSocket } from "../../node/unix-socket-pipe.ts";
import { connectWebSocket } from "../../node/web-socket-pipe.ts";
import type { Pipe } from "../../protocol/pipe.ts";
import type { ConnectOptions } from "../../protocol/session/api.ts";
import { isInstalled, scratchDirectory, startProgram } from "../children.ts";
import { memoryOf } from "../footprint.ts";
import { echo } from "../measure.ts";
import { startOpenssh } from "../openssh.ts";
import { Inbox, MARKER, type Peer } from "../peer.ts";
import { projectRoot } from "../places.ts";
import { attest, sealttyPeerOver, startSealttyd } from "../sealtty.ts";
import { digits, percentile } from "../statistics.ts";
import { startTtyd } from "../ttyd.ts";
import { hasMosh, moshEcho } from "./mosh.ts";
import { type Proxy, randomFrom, startProxy } from "./proxy.ts";
import { failures, intoDocument, note, rows, say, table } from "./report.ts";
import { openRaw, PATIENCE, startTraffic, within } from "./traffic.ts";

const { values: options } = parseArgs({
  options: {
    short: { type: "boolean", default: false },
    disconnects: { type: "string" },
    minutes: { type: "string" },
    seed: { type: "string" },
    paste: { type: "string" },
    "no-peers": { type: "boolean", default: false },
    markdown: { type: "boolean", default: false },
  },
});
const effort = options.short
  ? { disconnects: 60, reconnects: 20, seconds: 0.5, keystrokes: 40, minutes: 0.05, interrupts: 3 }
  : { disconnects: 1000, reconnects: 200, seconds: 5, keystrokes: 400, minutes: 2, interrupts: 20 };
const disconnects = Number(options.disconnects ?? effort.disconnects);
const minutes = Number(options.minutes ?? effort.minutes);
/** MB pasted into vim. */
const paste = Number(options.paste ?? (options.short ? 0 : 10));
/** A short run repeats itself; a long one looks where nobody looked yet, and says how to look there again. */
const seed = Number(options.seed ?? (options.short ? 20_260_101 : Date.now() % 2 ** 31));
/** Beyond what a runtime gains in its first seconds, memory must not grow. MB, generous. */
const MAX_GROWTH = 96;
const LOSSES = options.short ? [0, 0.1] : [0, 0.01, 0.1];

const random = randomFrom(seed);
const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text));
const percent = (share: number): string => `${share * 100} %`;

async function until(holds: () => boolean): Promise<void> {
  for (const start = performance.now(); !holds(); await sleep(20)) {
    if (performance.now() - start > 30_000) throw new Error("It did not come within 30 s");
  }
}

async function forcedDisconnects(proxy: Proxy): Promise<void> {
  const before = proxy.cuts;
  const traffic = await startTraffic(() => connectUnixSocket(proxy.socket), random);
  // From the next byte on: some connections carry a handful, some a megabyte.
  proxy.cutAt = () =>
    proxy.cuts - before < disconnects ? 1 + Math.floor(random() ** 4 * 1_000_000) : Number.POSITIVE_INFINITY;
  proxy.cut();
  const start = performance.now();
  while (proxy.cuts - before < disconnects) {
    if (performance.now() - start > PATIENCE)
      throw new Error(`Only ${proxy.cuts - before} disconnects within ${PATIENCE / 1000} s (seed ${seed})`);
    await sleep(50);
  }
  const made = proxy.cuts - before;
  proxy.cutAt = () => Number.POSITIVE_INFINITY;
  for (const { way, verdict } of await traffic.finish()) {
    const { whole, lost, doubled, reordered, foreign } = verdict;
    note(
      `${made} forced disconnects in two-way traffic, bytes ${way}`,
      "sealtty",
      `${(whole / 1e6).toFixed(1)} MB whole, lost ${lost}, doubled ${doubled}, reordered ${reordered}, foreign ${foreign}`,
    );
    if (lost + doubled + reordered + foreign > 0) failures.push(`bytes ${way} are not what was sent`);
  }
}

async function reconnects(proxy: Proxy): Promise<void> {
  const { guest, channel } = await openRaw(() => connectUnixSocket(proxy.socket), "exec cat");
  const times: number[] = [];
  for (let i = 0; i < effort.reconnects; i++) {
    await sleep(20 + random() * 80);
    proxy.cut();
    const start = performance.now();
    await channel.write(bytes("x"));
    const part = await within(channel.stdout.read(), "echo after a cut");
    times.push(performance.now() - start);
    channel.stdout.consumed(part?.length ?? 0);
  }
  await guest.close();
  const found = `p50 ${digits(percentile(times, 0.5))}, p99 ${digits(percentile(times, 0.99))}`;
  note("from a cut to the echo of a key, ms", "sealtty", found);
}

async function interrupts(dial: () => Promise<Pipe>): Promise<void> {
  const attested = await attest(dial);
  const guest = await attested.authenticate({ method: "none", user: "root" });
  const channel = await guest.openChannel({ kind: "login", term: "xterm", columns: 80, rows: 24 });
  channel.exit.catch(() => {});
  const prompt = "soak-ready> ";
  const times: number[] = [];
  let tail = "";
  let length = 0;
  const readOn = async (enough: () => boolean): Promise<void> => {
    while (!enough()) {
      const part = await within(channel.stdout.read(), "output");
      if (part === undefined) throw new Error("The shell ended");
      length += part.length;
      tail = (tail + Buffer.from(part).toString("latin1")).slice(-200);
      channel.stdout.consumed(part.length);
    }
  };
  await channel.write(bytes("PS1=soak-'ready> '\n"));
  await readOn(() => tail.endsWith(prompt));
  for (let i = 0; i < effort.interrupts; i++) {
    [tail, length] = ["", 0];
    await channel.write(bytes("yes 0123456789 | head -c 100000000\n"));
    await readOn(() => length > 3_000_000 + random() * 3_000_000);
    const start = performance.now();
    await channel.write(bytes("\x03"));
    await readOn(() => tail.endsWith(prompt));
    times.push(performance.now() - start);
  }
  await guest.close();
  note(
    "from Ctrl-C in a 100 MB flood to the prompt, ms",
    "sealtty",
    `p50 ${digits(percentile(times, 0.5))}, most ${digits(Math.max(...times))} (aim: below 200)`,
  );
}

/** A paste into vim has to be, byte for byte, the file that vim writes. */
async function pasteIntoVim(dial: () => Promise<Pipe>, guestPid: number): Promise<void> {
  const vim = ["vim.tiny", "vim"].find(isInstalled);
  if (vim === undefined) return note("pasted into vim", "sealtty", "vim is not installed");
  const file = path.join(scratchDirectory("paste"), "pasted.txt");
  const attested = await attest(dial);
  const guest = await attested.authenticate({ method: "none", user: "root" });
  const channel = await guest.openChannel({ kind: "login", term: "xterm", columns: 80, rows: 24 });
  channel.exit.catch(() => {});
  let tail = "";
  let peak = 0;
  const prompt = "soak-ready> ";
  const reading = (async () => {
    for (let over = false; !over; ) {
      const part = await channel.stdout.read();
      if (part === undefined) throw new Error("The shell ended");
      tail = (tail + Buffer.from(part).toString("latin1")).slice(-200);
      channel.stdout.consumed(part.length);
      peak = Math.max(peak, memoryOf(guestPid, "VmRSS"));
      over = tail.endsWith(`done${prompt}`);
    }
  })();
  const before = memoryOf(guestPid, "VmRSS");
  await channel.write(
    bytes(`PS1=soak-'ready> '\n${vim} -u NONE -N -n -i NONE --cmd 'set paste' ${file}; printf don'e'\n`),
  );
  // Its last empty line is drawn: from here on the terminal is raw, and takes more than a line.
  await Promise.race([reading, until(() => tail.includes("[23;1H~"))]);
  const lines = Math.ceil((paste * 1e6) / 80);
  const lineAt = (n: number): string => `${String(n).padStart(8, "0")} ${"abcdefghij".repeat(7)}`;
  const start = performance.now();
  await channel.write(bytes("i"));
  for (let at = 0; at < lines; at += 500) {
    const part = Array.from({ length: Math.min(500, lines - at) }, (_, n) => lineAt(at + n));
    await channel.write(bytes(`${part.join("\r")}\r`));
  }
  await channel.write(bytes("end\x1b:wq\r"));
  await within(reading, "prompt behind vim");
  const seconds = (performance.now() - start) / 1000;
  const wanted = `${Array.from({ length: lines }, (_, n) => lineAt(n)).join("\n")}\nend\n`;
  if (readFileSync(file, "utf8") !== wanted) failures.push("what vim wrote is not what was pasted");
  await guest.close();
  note(
    `${paste} MB pasted into vim`,
    "sealtty",
    `whole, written after ${digits(seconds)} s; sealttyd ${before.toFixed(0)} MB before, ${peak.toFixed(0)} at most`,
  );
}

/** @returns MB/s (10^6 bytes) of a program that prints for `seconds`. */
async function goodput(peer: Peer, seconds: number): Promise<number> {
  const inbox = new Inbox();
  const terminal = await peer.open(inbox);
  try {
    await terminal.write(bytes("stty raw -echo; printf 'REA''DY'; exec cat /dev/zero\n"));
    await inbox.untilMarker(MARKER, peer.patienceMs);
    await inbox.untilLength(1_000_000, peer.patienceMs);
    const [start, before] = [performance.now(), inbox.length];
    await sleep(seconds * 1000);
    return (inbox.length - before) / (performance.now() - start) / 1000;
  } finally {
    await terminal.close();
  }
}

async function measurePeer(peer: Peer, how: string): Promise<void> {
  const rate = await goodput(peer, effort.seconds);
  const { p50, p99 } = await echo(peer, effort.keystrokes, 20);
  const keys = `echo p50 ${digits(p50 / 1000)} ms, p99 ${digits(p99 / 1000)} ms`;
  note(`${how} of frames lost, each way`, peer.name, `${digits(rate)} MB/s, ${keys}`);
}

async function losses(proxy: Proxy): Promise<void> {
  const relay = startProgram(process.execPath, [
    path.join(projectRoot, "dist/bin/sealtty-relay.js"),
    "--listen",
    "127.0.0.1:0",
    "--guest",
    `g=unix:${proxy.socket}`,
  ]);
  await relay.waitForLog(/listening ws:/);
  const url = /listening (ws:\S+)/.exec(relay.log())?.[1] ?? "";
  const kinds: readonly [string, () => Promise<Pipe>, ConnectOptions["encoding"]][] = [
    ["unix socket", () => connectUnixSocket(proxy.socket), "binary"],
    ["unix socket, armour (as on a serial line)", () => connectUnixSocket(proxy.socket), "armour"],
    ["TCP", () => connectTcp("127.0.0.1", proxy.port), "binary"],
    ["web socket by sealtty-relay", () => connectWebSocket(url), "binary"],
  ];
  for (const [name, dial, encoding] of kinds) {
    for (const loss of LOSSES) {
      proxy.loss = loss;
      await measurePeer(sealttyPeerOver(`sealtty, ${name}`, dial, encoding), percent(loss));
    }
    proxy.loss = 0;
  }
  await relay.stop();
}

async function peers(): Promise<void> {
  for (const peer of [await startOpenssh(), await startTtyd()]) {
    if (!("open" in peer)) {
      note("0 % of frames lost, each way", peer.name, peer.absent.split("\n")[0] ?? peer.absent);
      continue;
    }
    await measurePeer(peer, "0 %");
    await peer.stop();
  }
  for (const loss of LOSSES) {
    const what = `${percent(loss)} of frames lost, each way`;
    if (!hasMosh()) {
      note(what, "mosh", "not installed");
      continue;
    }
    try {
      const { p50, p99 } = await moshEcho(loss, random, effort.keystrokes);
      note(what, "mosh, without guesses", `echo p50 ${digits(p50)} ms, p99 ${digits(p99)} ms`);
    } catch (error) {
      note(what, "mosh", (error as Error).message.split("\n")[0] ?? "");
    }
  }
}

async function memory(dial: () => Promise<Pipe>, guestPid: number): Promise<void> {
  const traffic = await startTraffic(dial, random);
  const samples: { guest: number; client: number }[] = [];
  const COUNT = 12;
  const start = performance.now();
  for (let i = 0; i <= COUNT; i++) {
    await sleep(Math.max(0, start + (i * minutes * 60_000) / COUNT - performance.now()));
    const sample = { guest: memoryOf(guestPid, "VmRSS"), client: process.memoryUsage().rss / 1e6 };
    samples.push(sample);
    say(
      `${((performance.now() - start) / 1000).toFixed(0)} s at full speed, ${(traffic.received() / 1e6).toFixed(0)} MB received: ` +
        `sealttyd ${sample.guest.toFixed(0)} MB, client ${sample.client.toFixed(0)} MB`,
    );
  }
  const seconds = (performance.now() - start) / 1000;
  const rate = traffic.received() / seconds / 1e6;
  const ends = await traffic.finish();
  if (
    ends.some(
      ({ verdict: { lost, doubled, reordered, foreign } }) => lost + doubled + reordered + foreign > 0,
    )
  )
    failures.push("bytes of the long run are not what was sent");
  for (const side of ["guest", "client"] as const) {
    const values = samples.map((sample) => sample[side]);
    const settled = values.slice(COUNT / 3); // before, buffers and code are still being made
    const growth = Math.max(...settled) - (settled[0] ?? 0);
    note(
      `memory over ${digits(minutes)} min of two-way traffic at full speed (${digits(rate)} MB/s to the client), MB`,
      side === "guest" ? "sealttyd" : "client (and the measuring)",
      values.map((value) => value.toFixed(0)).join(" "),
    );
    if (growth > MAX_GROWTH) failures.push(`${side} grew by ${growth.toFixed(0)} MB`);
  }
}

async function main(): Promise<void> {
  say(`seed ${seed}`);
  const load = os.loadavg()[0] ?? 0;
  const sealttyd = await startSealttyd();
  const proxy = await startProxy(sealttyd.socket, random);
  const direct = (): Promise<Pipe> => connectUnixSocket(sealttyd.socket);
  try {
    await forcedDisconnects(proxy);
    await reconnects(proxy);
    await interrupts(direct);
    if (paste > 0) await pasteIntoVim(direct, sealttyd.pid);
    await losses(proxy);
    if (!options["no-peers"]) await peers();
    await memory(direct, sealttyd.pid);
  } finally {
    await proxy.close();
    await sealttyd.stop();
  }
  // So that somebody else can run the same; --markdown changes no figure.
  const told = process.argv.slice(2).filter((argument) => argument !== "--markdown");
  const text = [
    `\`npm run soak${told.length === 0 ? "" : ` -- ${told.join(" ")}`}\``,
    "",
    `Measured on ${new Date().toISOString().slice(0, 10)}: ${os.cpus().length} cores of ${os.cpus()[0]?.model.trim()}, Linux ${os.release()}, Node ${process.version},`,
    `load average before the run ${load.toFixed(1)}, seed ${seed}.`,
    "",
    table(
      ["what", "peer", "found"],
      rows.map(({ what, peer, found }) => [what, peer, found]),
    ),
  ].join("\n");
  process.stdout.write(`${text}\n`);
  if (options.markdown) intoDocument(text);
  for (const failure of failures) process.stdout.write(`FAILED: ${failure} (seed ${seed})\n`);
  if (failures.length > 0) process.exitCode = 1;
}

try {
  await main();
} catch (error) {
  process.stderr.write(`${(error as Error).stack}\nseed ${seed}\n`);
  process.exitCode = 1;
}
process.exit(); // node-pty keeps handles that would hold the process up
