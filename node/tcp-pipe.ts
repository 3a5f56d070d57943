// Connects to a TCP address, such as QEMU's `-chardev socket,host=…,port=…`.

import { connected } from "./socket-pipe.ts";
import type { ConnectProblems, SocketPipe } from "./socket-pipe.ts";

const PROBLEMS: ConnectProblems = {
  ECONNREFUSED: [
    "transport-lost",
    "nobody listens on this port",
    "Check the port, and that the virtual machine or the relay runs.",
  ],
  ENOTFOUND: ["transport-lost", "the host name is unknown", "Check the name."],
  EAI_AGAIN: ["transport-lost", "the name server does not answer", "Check the network, or use an address."],
  EHOSTUNREACH: ["transport-lost", "there is no route to the host", "Check the address and the network."],
  ENETUNREACH: ["transport-lost", "there is no route to its network", "Check the address and the network."],
  EACCES: [
    "transport-lost",
    "the system forbids it",
    "Check the firewall and sandbox rules of this machine.",
  ],
  EPERM: ["transport-lost", "the system forbids it", "Check the firewall and sandbox rules of this machine."],
  ETIMEDOUT: ["transport-lost", "no answer in time", "Check the address, the network and firewalls."],
  ECONNRESET: ["transport-lost", "the peer closed the connection at once", "Another client may hold it."],
};

/** @param timeout - milliseconds. @throws SealttyError `transport-lost`. */
export function connectTcp(host: string, port: number, timeout = 10_000): Promise<SocketPipe> {
  const shown = host.includes(":") ? `[${host}]` : host;
  return connected({ host, port }, `tcp ${JSON.stringify(`${shown}:${port}`)}`, timeout, PROBLEMS);
}
