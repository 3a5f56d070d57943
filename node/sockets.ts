// Stream sockets that forwarding connects and listens with, in the guest and at the client: TCP and unix, half-closed as the
// peers please.

import net from "node:net";

/** A place that drops what comes to it must not hold anything for minutes. */
const CONNECT_WITHIN_MS = 20_000;

export type Destination =
  | { readonly host: string; readonly port: number; readonly lookup?: net.LookupFunction }
  | { readonly path: string };

/** @param within - ms. @throws the system's error; ETIMEDOUT after `within`. */
export function connectTo(destination: Destination, within = CONNECT_WITHIN_MS): Promise<net.Socket> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ ...destination, allowHalfOpen: true, noDelay: true, keepAlive: true });
    const timer = setTimeout(
      () => socket.destroy(Object.assign(new Error("No answer"), { code: "ETIMEDOUT" })),
      within,
    );
    socket.once("connect", () => {
      clearTimeout(timer);
      resolve(socket);
    });
    socket.on("error", (error) => {
      clearTimeout(timer);
      reject(error); // of no effect once it was connected
    });
  });
}

export interface Listening {
  /** 0 for a socket's path. */
  readonly port: number;
  /** Idempotent. Takes a socket's path away. */
  close(): void;
}

/** With port 0, a port that the other family has not free is given back, and another one asked for. */
const ATTEMPTS = 8;

/**
 * @param host - `localhost`: both of its addresses, where the machine has both, since whoever goes to the other one must not meet
 * a stranger; `*`: every address. @param onSocket - sockets come paused, and with nobody who listens to their errors.
 * @throws the system's error.
 */
export async function listenOn(
  host: string,
  port: number,
  onSocket: (socket: net.Socket) => void,
): Promise<Listening> {
  if (host === "*")
    return await onAll(["::"], port, onSocket).catch(() => onAll(["0.0.0.0"], port, onSocket));
  const hosts = host === "localhost" ? ["127.0.0.1", "::1"] : [host];
  for (let attempt = 1; ; attempt++) {
    try {
      return await onAll(hosts, port, onSocket);
    } catch (error) {
      if (port !== 0 || codeOf(error) !== "EADDRINUSE" || attempt >= ATTEMPTS) throw error;
    }
  }
}

async function onAll(
  hosts: readonly string[],
  port: number,
  onSocket: (socket: net.Socket) => void,
): Promise<Listening> {
  const servers: net.Server[] = [];
  const close = (): void => {
    for (const server of servers) server.close();
  };
  let found = port;
  for (const host of hosts) {
    try {
      const server = await started({ host, port: found, exclusive: true }, onSocket);
      servers.push(server);
      const address = server.address();
      if (typeof address === "object" && address !== null) found = address.port;
    } catch (error) {
      // Without IPv6, 127.0.0.1 is all there is of localhost.
      const noSuchFamily = ["EADDRNOTAVAIL", "EAFNOSUPPORT"].includes(codeOf(error) ?? "");
      if (servers.length > 0 && noSuchFamily) continue;
      close();
      throw error;
    }
  }
  return { port: found, close };
}

/** A socket's path that this process's user alone may connect to, as ssh has it. @throws the system's error. */
export async function listenOnPath(path: string, onSocket: (socket: net.Socket) => void): Promise<Listening> {
  const umask = process.umask(0o177);
  const starting = started({ path, exclusive: true }, onSocket); // has bound when it returns
  process.umask(umask);
  const server = await starting;
  return { port: 0, close: () => server.close() };
}

function started(options: net.ListenOptions, onSocket: (socket: net.Socket) => void): Promise<net.Server> {
  return new Promise((resolve, reject) => {
    const server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true }, onSocket);
    server.on("error", reject);
    server.listen(options, () => resolve(server));
  });
}

/** An end that its other side does not take has so long, ms, until it is broken off all the same. */
const BREAK_WITHIN_MS = 1000;

/** Ends it so that the other side need not take it for an end in order, where there is a way to: a unix socket has none. */
export function breakOff(socket: net.Socket): void {
  if (socket.destroyed) return;
  if (socket.remoteFamily === undefined) socket.destroy();
  else if (!socket.writableEnded || socket.writableFinished) socket.resetAndDestroy();
  else {
    // Node's reset fails while an end is on its way, and leaves a handle behind that keeps the event loop running for ever.
    const timer = setTimeout(() => socket.destroy(), BREAK_WITHIN_MS);
    socket.once("finish", () => socket.resetAndDestroy());
    socket.once("close", () => clearTimeout(timer));
  }
}

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code;
}
