// Copying files: sealtty's cp beside scp and rsync over ssh, each as people start it, its start included.

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdirSync, openSync, rmSync, writeFileSync, writeSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { randomBytes } from "node:crypto";
import { isInstalled, scratchDirectory } from "./children.ts";
import { opensshIsAbsent, startSshd } from "./openssh.ts";
import { sealttyFile } from "./places.ts";
import type { Row } from "./report.ts";
import { POLICY_TEXT, startSealttyd } from "./sealtty.ts";

const ROUNDS = 3;
const MB = 1e6;
const SCP = "scp";

/** A way to copy. Operands are paths of this machine. */
interface Way {
  readonly name: string;
  /** @param tree - a directory with all in it. */
  to(source: string, target: string, tree: boolean): readonly string[];
  from(source: string, target: string, tree: boolean): readonly string[];
}

function sealttyWay(socket: string, policy: string, key: string): Way {
  const begin = [process.execPath, sealttyFile, "cp", "-q", "--simulated", "--policy", policy, "-i", key];
  const guest = ["-l", os.userInfo().username, "--guest", `unix:${socket}`];
  const flags = (tree: boolean): string[] => (tree ? ["-r", "-p"] : ["-p"]);
  return {
    name: "sealtty cp",
    to: (source, target, tree) => [...begin, ...guest, ...flags(tree), source, `:${target}`],
    from: (source, target, tree) => [...begin, ...guest, ...flags(tree), `:${source}`, target],
  };
}

/** @param config, port - of ssh. */
function sshWays(config: string, port: string): Way[] {
  const scp = (tree: boolean): string[] => ["scp", "-q", "-F", config, "-P", port, tree ? "-rp" : "-p"];
  const rsync = ["rsync", "-a", "--whole-file", "-e", `ssh -F ${config} -p ${port}`];
  const ways: Way[] = [
    {
      name: SCP,
      to: (source, target, tree) => [...scp(tree), source, `127.0.0.1:${target}`],
      from: (source, target, tree) => [...scp(tree), `127.0.0.1:${source}`, target],
    },
    {
      name: "rsync over ssh",
      to: (source, target, tree) => [...rsync, tree ? `${source}/` : source, `127.0.0.1:${target}`],
      from: (source, target, tree) => [
        ...rsync,
        tree ? `127.0.0.1:${source}/` : `127.0.0.1:${source}`,
        target,
      ],
    },
  ];
  return ways.filter(({ name }) => isInstalled(name.split(" ")[0] ?? name));
}

/** @returns seconds from starting the program to its end. */
async function timed([command = "", ...args]: readonly string[]): Promise<number> {
  const began = performance.now();
  const child = spawn(command, args, { stdio: ["ignore", "ignore", "pipe"] });
  let complaints = "";
  child.stderr.on("data", (chunk: Buffer) => (complaints += chunk.toString()));
  const [status] = (await once(child, "close")) as [number | null];
  if (status !== 0) throw new Error(`${command} ended with ${status}: ${complaints}`);
  return (performance.now() - began) / 1000;
}

function makeBig(file: string, bytes: number): void {
  const block = randomBytes(MB);
  const fd = openSync(file, "w");
  for (let at = 0; at < bytes; at += MB) writeSync(fd, block);
  closeSync(fd);
}

/** A hundred in a directory, of up to 4 kB. */
function makeSmall(root: string, count: number): void {
  for (let i = 0; i < count; i++) {
    const directory = path.join(root, String(Math.floor(i / 100)));
    if (i % 100 === 0) mkdirSync(directory, { recursive: true });
    writeFileSync(path.join(directory, String(i)), randomBytes((i * 37) % 4096));
  }
}

export async function filesRows(quick: boolean): Promise<Row[]> {
  const directory = scratchDirectory("files");
  const at = (name: string): string => path.join(directory, name);
  const key = at("key");
  execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f", key]);
  writeFileSync(at("policy.toml"), POLICY_TEXT);
  const bytes = quick ? 64 * MB : 1024 * MB;
  const count = quick ? 1000 : 10_000;
  makeBig(at("big"), bytes);
  makeSmall(at("small"), count);
  const sealttyd = await startSealttyd([], `${key}.pub`);
  const absent = opensshIsAbsent();
  const sshd = absent === undefined ? await startSshd() : undefined;
  const [, config = "", , port = ""] = sshd?.args ?? [];
  const ways = [
    sealttyWay(sealttyd.socket, at("policy.toml"), key),
    ...(sshd === undefined ? [] : sshWays(config, port)),
  ];
  const figures: readonly [string, "to" | "from", boolean, (seconds: number) => number][] = [
    [`cp of ${bytes / MB} MB to the guest, MB/s`, "to", false, (seconds) => bytes / MB / seconds],
    [`cp of ${bytes / MB} MB from the guest, MB/s`, "from", false, (seconds) => bytes / MB / seconds],
    [`cp of ${count} small files to the guest, s`, "to", true, (seconds) => seconds],
    [`cp of ${count} small files from the guest, s`, "from", true, (seconds) => seconds],
  ];
  const rows: Row[] = [];
  let target = 0;
  try {
    for (const [figure, direction, tree, value] of figures) {
      const rounds = new Map<string, number[]>(ways.map(({ name }) => [name, []]));
      for (let round = 0; round < (quick ? 1 : ROUNDS); round++) {
        for (const way of ways) {
          // Trees stay until the end: after removing thousands of files ext4 is slow to make new ones for some seconds.
          const copy = at(`copy-${target++}`);
          rounds
            .get(way.name)
            ?.push(value(await timed(way[direction](at(tree ? "small" : "big"), copy, tree))));
          if (!tree) rmSync(copy);
        }
      }
      const base = rounds.get(SCP);
      for (const [peer, values] of rounds) {
        const ratios =
          base === undefined ? [] : values.map((each, round) => each / (base[round] ?? Number.NaN));
        rows.push({ figure, peer, rounds: values, ratios });
      }
      if (absent !== undefined) rows.push({ figure, peer: SCP, rounds: [], ratios: [], note: absent });
      else if (ways.length < 3)
        rows.push({ figure, peer: "rsync over ssh", rounds: [], ratios: [], note: "not installed" });
    }
    return rows;
  } finally {
    await sshd?.stop();
    await sealttyd.stop();
  }
}
