// An address, dialled: which pipe of this machine carries the console.

import { connectTcp } from "../node/tcp-pipe.ts";
import { connectUnixSocket } from "../node/unix-socket-pipe.ts";
import { connectWebSocket } from "../node/web-socket-pipe.ts";
import type { Pipe } from "../protocol/pipe.ts";
import type { GuestAddress } from "./address.ts";
import { openTty } from "./tty-pipe.ts";

/** @throws SealttyError `transport-lost` or `device-unavailable`. */
export function dial(address: GuestAddress): Promise<Pipe> {
  switch (address.kind) {
    case "web-socket":
      return connectWebSocket(address.url);
    case "tcp":
      return connectTcp(address.host, address.port);
    case "unix":
      return connectUnixSocket(address.path);
    case "tty":
      return openTty(address.path);
  }
}
