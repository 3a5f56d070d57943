// The real websockify of Debian as a process, in front of a TCP port that plays QEMU's chardev. Nova's serial proxy is built
// on it, and looks its token up as the plugin used here does: by ?token=.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import type { Pipe } from "../../../protocol/pipe.ts";
import { SocketPipe } from "../../../node/socket-pipe.ts";
import type { TlsFiles } from "./web-host.ts";

export interface RunningWebsockify {
  /** HOST:PORT */
  readonly authority: string;
  log(): string;
  /** Connections to the guest's port so far. */
  connections(): number;
  /** Ends all connections to the guest, as a nova-compute that restarts does. */
  cut(): void;
  stop(): Promise<void>;
}

export async function startWebsockify(
  serve: (pipe: Pipe) => Promise<unknown>,
  token: string,
  tls?: TlsFiles,
): Promise<RunningWebsockify> {
  const directory = mkdtempSync(path.join(os.tmpdir(), "sealtty-websockify-"));
  const sockets = new Set<net.Socket>();
  let connections = 0;
  const chardev = net.createServer((socket) => {
    connections++;
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    void serve(new SocketPipe(socket, "websockify")).catch(() => undefined);
  });
  chardev.listen(0, "127.0.0.1");
  await once(chardev, "listening");
  const tokens = path.join(directory, "tokens");
  writeFileSync(tokens, `${token}: 127.0.0.1:${(chardev.address() as net.AddressInfo).port}\n`);
  const port = await freePort();
  const child: ChildProcess = spawn(
    "websockify",
    [
      ...(tls === undefined ? [] : ["--cert", tls.certFile, "--key", tls.keyFile, "--ssl-only"]),
      ...["--token-plugin", "TokenFile", "--token-source", tokens, `127.0.0.1:${port}`],
    ],
    { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, PYTHONUNBUFFERED: "1" } },
  );
  let log = "";
  const looking: (() => void)[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on("data", (chunk: Buffer) => {
      log += chunk.toString();
      for (const look of looking) look();
    });
  }
  await new Promise<void>((resolve, reject) => {
    looking.push(() => {
      if (/proxying from/.test(log)) resolve();
    });
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`websockify ended with ${code}:\n${log}`)));
  });
  child.removeAllListeners("exit");
  return {
    authority: `127.0.0.1:${port}`,
    log: () => log,
    connections: () => connections,
    cut: () => {
      for (const socket of sockets) socket.destroy();
    },
    async stop() {
      for (const socket of sockets) socket.destroy();
      const closed = new Promise((resolve) => chardev.close(resolve));
      if (child.exitCode === null && child.signalCode === null) {
        const gone = once(child, "exit");
        child.kill("SIGTERM");
        await gone;
      }
      await closed;
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** Asked of the kernel and given back: websockify takes no port 0. */
async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as net.AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
