// An address, dialled: which pipe of this machine carries the console.

import type { Pipe } from "../protocol/pipe.ts";
import { dialSocket } from "../node/socket-pipe.ts";
import { dialWebSocket } from "../node/web-socket-pipe.ts";
import type { GuestAddress } from "./address.ts";
import { openTty } from "./tty-pipe.ts";

/** @throws SealttyError `transport-lost` or `device-unavailable`. */
export function dial(address: GuestAddress): Promise<Pipe> {
  switch (address.kind) {
    case "web-socket":
      return dialWebSocket(address.url);
    case "tcp":
      return dialSocket({ host: address.host, port: address.port });
    case "unix":
      return dialSocket({ path: address.path });
    case "tty":
      return openTty(address.path);
  }
}
