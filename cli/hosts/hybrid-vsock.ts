// Firecracker's and Cloud Hypervisor's vsock, host side: a unix socket that takes `CONNECT PORT`. docs/hosts.md

import { connectUnixSocket } from "../../node/unix-socket-pipe.ts";
import { utf8 } from "../../protocol/bytes.ts";
import type { Clock } from "../../protocol/clock.ts";
import type { Pipe } from "../../protocol/pipe.ts";
import { lineEnd, Opening, openingFailed } from "./opening.ts";

const TIMEOUT_MS = 10_000;
/** "OK 4294967295\n" has 14 bytes. */
const MAX_LINE = 14;

/** @param path - the VMM's own socket. @param port - that the guest listens on. @throws SealttyError as connectUnixSocket(). */
export async function connectHybridVsock(path: string, port: number, clock: Clock): Promise<Pipe> {
  const pipe = await connectUnixSocket(path);
  return openHybridVsock(pipe, port, `vsock port ${port} behind ${JSON.stringify(path)}`, clock);
}

/** @param pipe - connected, nothing sent yet. @throws SealttyError `transport-lost`; the pipe is closed then. */
export async function openHybridVsock(pipe: Pipe, port: number, what: string, clock: Clock): Promise<Pipe> {
  const opening = new Opening(pipe);
  await pipe.send(utf8(`CONNECT ${port}\n`));
  const line = await opening.answer(lineEnd, MAX_LINE, TIMEOUT_MS, clock);
  if (line === undefined || !/^OK [0-9]{1,10}\n$/.test(Buffer.from(line).toString("latin1"))) {
    await pipe.close();
    throw openingFailed(
      what,
      line === undefined ? "the connection ended before an OK" : "it answered something else than OK",
      "Check that something in the guest listens on this vsock port, and that the socket is the VMM's vsock.",
      opening.failure,
    );
  }
  return {
    incoming: opening.rest(),
    send: (chunk) => pipe.send(chunk),
    close: () => pipe.close(),
  };
}
