// Programs without a terminal: sealtty's exec, alone and over a kept connection, and its API, beside ssh with and without a
// ControlMaster. All of them start the same programs on this machine, as this user.

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import type { Readable, Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { connect } from "../cli/api/index.ts";
import type { Guest } from "../cli/api/types.ts";
import { scratchDirectory } from "./children.ts";
import { opensshIsAbsent, startSshd } from "./openssh.ts";
import { sealttyExecFile, sealttyFile } from "./places.ts";
import type { Row } from "./report.ts";
import { POLICY_TEXT, startSealttyd } from "./sealtty.ts";
import { median } from "./statistics.ts";

const CHUNK = Buffer.alloc(64 * 1024);
const PATIENCE_MS = 120_000;
const SSH = "ssh";
const SSH_CHACHA = "ssh, chacha20-poly1305";
const CHACHA = ["-c", "chacha20-poly1305@openssh.com"];

interface Running {
  readonly stdin: Writable;
  readonly stdout: Readable;
  /** Rejects where it did not end with 0. */
  readonly ended: Promise<void>;
}

/** A way to run a shell's line. */
interface Way {
  readonly name: string;
  start(line: string): Promise<Running>;
}

function ofProcess(command: string, args: readonly string[], env = process.env): Running {
  const child = spawn(command, args, { stdio: ["pipe", "pipe", "pipe"], env, timeout: PATIENCE_MS });
  let complaints = "";
  child.stderr.on("data", (chunk: Buffer) => (complaints += chunk.toString()));
  child.stdin.on("error", () => {}); // told by its end
  const ended = once(child, "close").then(([status]) => {
    if (status !== 0) throw new Error(`${command} ended with ${String(status)}: ${complaints}`);
  });
  ended.catch(() => {}); // whoever waits for it hears it
  return { stdin: child.stdin, stdout: child.stdout, ended };
}

function ofGuest(guest: Guest): Way {
  return {
    name: "sealtty, API",
    async start(line) {
      const process = await guest.exec(["sh", "-c", line], { stdin: true });
      if (process.stdin === undefined) throw new Error("no stdin");
      process.stderr.resume();
      const ended = process.exit.then(({ status }) => {
        if (status !== 0) throw new Error(`ended with ${status}`);
      });
      return { stdin: process.stdin, stdout: process.stdout, ended };
    },
  };
}

async function firstLine(stdout: Readable): Promise<void> {
  const [chunk] = (await once(stdout, "data")) as [Buffer];
  stdout.pause();
  if (chunk.toString() !== "ready\n") throw new Error(`unexpected ${chunk.toString()}`);
}

/** @returns MB/s (10^6 bytes) from asking for them to the last one here. */
async function bulkOut(way: Way, length: number): Promise<number> {
  const running = await way.start(`echo ready; read x; exec head -c ${length} /dev/zero`);
  await firstLine(running.stdout);
  let left = length;
  running.stdout.on("data", (chunk: Buffer) => (left -= chunk.length));
  const began = performance.now();
  running.stdin.write("\n");
  const end = once(running.stdout, "end"); // behind what Node's own buffers hold
  running.stdout.resume();
  await Promise.all([end, running.ended]);
  if (left !== 0) throw new Error(`${left} bytes are missing`);
  return length / (performance.now() - began) / 1000;
}

/** @returns MB/s from the first byte written to the end of the program that read them all. */
async function bulkIn(way: Way, length: number): Promise<number> {
  const running = await way.start("echo ready; exec cat >/dev/null");
  await firstLine(running.stdout);
  running.stdout.resume();
  const began = performance.now();
  const parts = (function* () {
    for (let at = 0; at < length; at += CHUNK.length) yield CHUNK;
  })();
  await pipeline(parts, running.stdin);
  await running.ended;
  return length / (performance.now() - began) / 1000;
}

const truth =
  (command: string, args: readonly string[], env?: NodeJS.ProcessEnv) => async (): Promise<void> => {
    const running = ofProcess(command, args, env);
    running.stdin.end();
    running.stdout.resume();
    await running.ended;
  };

async function milliseconds(run: () => Promise<void>, times: number): Promise<number> {
  const took: number[] = [];
  for (let i = 0; i < times; i++) {
    const began = performance.now();
    await run();
    took.push(performance.now() - began);
  }
  return median(took);
}

async function perSecond(run: () => Promise<void>, times: number, atOnce: number): Promise<number> {
  let left = times;
  const began = performance.now();
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      while (left-- > 0) await run();
    }),
  );
  return (times * 1000) / (performance.now() - began);
}

/** Rows by figure, the baseline first. */
class Table {
  readonly #rows = new Map<string, { figure: string; peer: string; baseline: string; rounds: number[] }>();

  note(figure: string, peer: string, baseline: string, value: number): void {
    const key = `${figure}\0${peer}`;
    const row = this.#rows.get(key) ?? { figure, peer, baseline, rounds: [] };
    this.#rows.set(key, row);
    row.rounds.push(value);
  }

  get rows(): Row[] {
    const rows = [...this.#rows.values()];
    const figures = [...new Set(rows.map(({ figure }) => figure))];
    return figures.flatMap((wanted) =>
      rows
        .filter(({ figure }) => figure === wanted)
        .map(({ figure, peer, baseline, rounds }) => {
          const base = this.#rows.get(`${figure}\0${baseline}`)?.rounds ?? [];
          const ratios = base.length === 0 ? [] : rounds.map((value, at) => value / (base[at] ?? Number.NaN));
          return { figure, peer, rounds, ratios };
        }),
    );
  }
}

export async function execRows(quick: boolean): Promise<Row[]> {
  const absent = opensshIsAbsent();
  if (absent !== undefined)
    return [{ figure: "exec", peer: "all", rounds: [], ratios: [], note: `needs ssh's keys: ${absent}` }];
  const directory = scratchDirectory("exec");
  const at = (name: string): string => path.join(directory, name);
  execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f", at("key")]);
  writeFileSync(at("policy.toml"), POLICY_TEXT);
  mkdirSync(at("run"), { mode: 0o700 });
  const env = { ...process.env, XDG_RUNTIME_DIR: at("run"), XDG_STATE_HOME: at("state") };
  const sshd = await startSshd();
  const sealttyd = await startSealttyd([], at("key.pub"));
  const user = os.userInfo().username;
  const address = `unix:${sealttyd.socket}`;
  const guest = await connect({
    guest: address,
    policy: at("policy.toml"),
    identity: at("key"),
    user,
    simulated: true,
  });
  const master = ["-o", `ControlPath=${path.join(sshd.directory, "mux")}`];
  const keeper = ofProcess("ssh", [...master, "-o", "ControlMaster=yes", "-N", ...sshd.args]);
  const options = [address, "--policy", at("policy.toml"), "-i", at("key"), "-l", user, "--simulated", "-q"];
  const sealtty = (more: readonly string[], command: readonly string[]): string[] => [
    sealttyFile,
    ...["exec", ...options, ...more, "--", ...command],
  ];
  const native = (command: readonly string[]): string[] => [...options, "--", ...command];
  try {
    const ssh = (more: readonly string[], command: string) => [
      ...more,
      "-o",
      "Compression=no",
      ...sshd.args,
      command,
    ];
    const ways: Way[] = [
      { name: SSH_CHACHA, start: async (line) => ofProcess("ssh", ssh(CHACHA, line)) },
      { name: SSH, start: async (line) => ofProcess("ssh", ssh([], line)) },
      {
        name: "sealtty exec",
        start: async (line) => ofProcess(process.execPath, sealtty([], ["sh", "-c", line]), env),
      },
      {
        name: "sealtty exec --master",
        start: async (line) => ofProcess(process.execPath, sealtty(["--master"], ["sh", "-c", line]), env),
      },
      {
        name: "sealtty-exec",
        start: async (line) => ofProcess(sealttyExecFile, native(["sh", "-c", line]), env),
      },
      ofGuest(guest),
    ];
    const viaApi = async (): Promise<void> => {
      const { status } = await (await guest.exec(["true"])).collect();
      if (status !== 0) throw new Error(`true ended with ${status}`);
    };
    const sshTrue = truth("ssh", ssh([], "true"));
    const sshMaster = truth("ssh", ssh(master, "true"));
    const ownTrue = truth(process.execPath, sealtty([], ["true"]), env);
    const ownMaster = truth(process.execPath, sealtty(["--master"], ["true"]), env);
    const ownNative = truth(sealttyExecFile, native(["true"]), env);
    const nothing = truth(process.execPath, ["-e", "0"]);
    await ownMaster(); // starts the keeper
    const table = new Table();
    const length = (quick ? 16 : 256) * 1024 * 1024;
    const [rounds, times, many] = quick ? [1, 3, 12] : [3, 15, 60];
    await Promise.all(Array.from({ length: 50 }, viaApi)); // warm
    for (let round = 0; round < rounds; round++) {
      for (const way of ways)
        table.note("exec, bulk out, MB/s", way.name, SSH_CHACHA, await bulkOut(way, length));
      for (const way of ways)
        table.note("exec, bulk in, MB/s", way.name, SSH_CHACHA, await bulkIn(way, length));
      for (const [name, run] of [
        ["ssh, ControlMaster", sshMaster],
        [SSH, sshTrue],
        ["sealtty exec", ownTrue],
        ["sealtty exec --master", ownMaster],
        ["sealtty-exec", ownNative],
        ["sealtty, API", viaApi],
        ["Node, doing nothing", nothing],
      ] as const) {
        table.note("exec true, ms", name, "ssh, ControlMaster", await milliseconds(run, times));
      }
      for (const [name, run, atOnce] of [
        ["ssh, ControlMaster, one after the other", sshMaster, 1],
        ["ssh, ControlMaster, 4 at once", sshMaster, 4],
        ["sealtty exec --master, one after the other", ownMaster, 1],
        ["sealtty exec --master, 4 at once", ownMaster, 4],
        ["sealtty-exec, one after the other", ownNative, 1],
        ["sealtty-exec, 4 at once", ownNative, 4],
        ["sealtty, API, one after the other", viaApi, 1],
        ["sealtty, API, 8 at once", viaApi, 8],
      ] as const) {
        const rate = await perSecond(run, many, atOnce);
        table.note(
          "exec true over one connection, a second",
          name,
          "ssh, ControlMaster, one after the other",
          rate,
        );
      }
    }
    return table.rows;
  } finally {
    await truth(process.execPath, [sealttyFile, "master", ...options, "--stop"], env)().catch(() => {});
    await truth("ssh", [...master, "-O", "exit", ...sshd.args])().catch(() => {});
    await keeper.ended.catch(() => {});
    await guest.close();
    await sealttyd.stop();
    await sshd.stop();
  }
}
