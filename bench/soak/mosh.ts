// mosh as a peer: its own server and client on loopback, with a proxy between that loses datagrams.

import { spawn as spawnOnPty } from "@lydell/node-pty";
import { execFileSync } from "node:child_process";
import dgram from "node:dgram";
import { once } from "node:events";
import { isInstalled } from "../children.ts";
import { percentile } from "../statistics.ts";

const LOCALE = { LC_ALL: "C.UTF-8" };

export interface MoshEcho {
  readonly p50: number; // ms
  readonly p99: number;
}

export const hasMosh = (): boolean => isInstalled("mosh-server") && isInstalled("mosh-client");

/** Keystrokes there and back without mosh's guesses, which are shown before anything came back. */
export async function moshEcho(loss: number, random: () => number, samples: number): Promise<MoshEcho> {
  const server = execFileSync(
    "mosh-server",
    ["new", "-i", "127.0.0.1", "--", "/bin/sh", "-c", "stty raw -echo; exec cat"],
    // A server that nobody reaches any more ends by itself.
    {
      env: { ...process.env, ...LOCALE, MOSH_SERVER_NETWORK_TMOUT: "60" },
      stdio: ["ignore", "pipe", "pipe"],
    },
  ).toString();
  const [, port, key = ""] = /MOSH CONNECT (\d+) (\S+)/.exec(server) ?? [];
  const near = dgram.createSocket("udp4");
  const far = dgram.createSocket("udp4");
  let client: dgram.RemoteInfo | undefined;
  near.on("message", (message, from) => {
    client = from;
    if (random() >= loss) far.send(message, Number(port), "127.0.0.1");
  });
  far.on("message", (message) => {
    if (client !== undefined && random() >= loss) near.send(message, client.port, "127.0.0.1");
  });
  near.bind(0, "127.0.0.1");
  await once(near, "listening");
  const pty = spawnOnPty("mosh-client", ["127.0.0.1", String(near.address().port)], {
    name: "xterm",
    cols: 80,
    rows: 24,
    env: { ...process.env, ...LOCALE, MOSH_KEY: key, MOSH_PREDICTION_DISPLAY: "never" },
  });
  const ended = new Promise<void>((resolve) => pty.onExit(() => resolve()));
  let awaited = "";
  let seen: () => void = () => {};
  pty.onData((text) => {
    if (awaited !== "" && text.includes(awaited)) seen();
  });
  const press = (character: string): Promise<void> =>
    new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`mosh showed no "${character}" within 30 s`)), 30_000);
      seen = () => {
        clearTimeout(late);
        resolve();
      };
      awaited = character;
      pty.write(character);
    });
  try {
    await new Promise((resolve) => setTimeout(resolve, 1000)); // until it has drawn its first screen
    const times: number[] = [];
    for (let i = -20; i < samples; i++) {
      const start = performance.now();
      await press(String.fromCharCode(0x61 + ((i + 26) % 26)));
      if (i >= 0) times.push(performance.now() - start);
    }
    return { p50: percentile(times, 0.5), p99: percentile(times, 0.99) };
  } finally {
    pty.kill("SIGTERM"); // it says goodbye to its server, which ends then
    await ended;
    near.close();
    far.close();
  }
}
