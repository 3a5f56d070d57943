// Listens on a unix socket in the guest; every accepted connection is a Pipe.

import fs from "node:fs";
import net from "node:net";
import { SealttyError } from "../../protocol/errors.ts";
import type { Pipe } from "../../protocol/pipe.ts";
import { SocketPipe, errorCode } from "../../node/socket-pipe.ts";
import { escapeText } from "../log.ts";

const DEFAULT_MAX_CONNECTIONS = 16;

export interface UnixListener {
  /** Stops listening, closes every connection and removes the socket file. Idempotent. */
  close(): Promise<void>;
}

/**
 * @param onPipe - owns the pipe it gets.
 * @param maxConnections - at once; one more is closed unread.
 * @throws SealttyError `device-unavailable`.
 */
export async function listenUnix(
  path: string,
  onPipe: (pipe: Pipe) => void,
  maxConnections = DEFAULT_MAX_CONNECTIONS,
): Promise<UnixListener> {
  const shown = `"${escapeText(path)}"`;
  await removeStaleSocket(path);
  const pipes = new Set<SocketPipe>();
  const server = net.createServer((socket) => {
    const pipe = new SocketPipe(socket, `a client of ${shown}`);
    pipes.add(pipe);
    socket.once("close", () => pipes.delete(pipe));
    onPipe(pipe);
  });
  server.maxConnections = maxConnections;
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause) => {
      reject(
        new SealttyError(
          "device-unavailable",
          `Cannot listen on ${shown}: ${errorCode(cause) ?? "unknown error"}. Check that its directory exists and that sealttyd may write there.`,
          { cause },
        ),
      );
    });
    server.once("listening", resolve);
    // The file is made within this call, so nobody can connect before its mode is right.
    const umask = process.umask(0o177);
    try {
      server.listen({ path });
    } finally {
      process.umask(umask);
    }
  });
  server.on("error", () => {}); // accept() out of descriptors: the next one may work
  let closing: Promise<void> | undefined;
  return {
    close() {
      closing ??= (async () => {
        const closed = new Promise((resolve) => server.close(resolve));
        await Promise.all([...pipes].map((pipe) => pipe.close()));
        await closed; // removes the file
      })();
      return closing;
    },
  };
}

/**
 * A socket file that nobody listens on is left over from a crash, and so is a link to one that is gone; anything else is
 * not ours to remove. @throws SealttyError `device-unavailable`.
 */
export async function removeStaleSocket(path: string): Promise<void> {
  const shown = `"${escapeText(path)}"`;
  const refuse = (why: string, next: string, cause?: unknown) =>
    new SealttyError("device-unavailable", `Cannot listen on ${shown}: ${why}. ${next}`, { cause });
  const stat = fs.lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return;
  if (!stat.isSocket() && !stat.isSymbolicLink())
    throw refuse("a file that is not a socket is there", "Move it away, or use another path.");
  const problem = await new Promise<string | undefined>((resolve) => {
    const probe = net.connect({ path });
    probe.once("connect", () => {
      probe.destroy();
      resolve(undefined);
    });
    probe.once("error", (error) => resolve(errorCode(error) ?? "unknown error"));
  });
  if (problem === undefined || problem === "EAGAIN") {
    throw refuse("another program listens there", "Stop it, or use another path.");
  }
  if (problem !== "ECONNREFUSED" && !(problem === "ENOENT" && stat.isSymbolicLink()))
    throw refuse(`its state is unknown (${problem})`, "Remove the file by hand.");
  fs.unlinkSync(path);
}
