// An address, dialled: which pipe of this machine carries the console.

import { connectTcp } from "../node/tcp-pipe.ts";
import { connectUnixSocket } from "../node/unix-socket-pipe.ts";
import { connectWebSocket } from "../node/web-socket-pipe.ts";
import type { Clock } from "../protocol/clock.ts";
import { SealttyError } from "../protocol/errors.ts";
import type { Pipe } from "../protocol/pipe.ts";
import { isRfbGreeting } from "../protocol/rfb/opening.ts";
import type { GuestAddress } from "./address.ts";
import { connectHybridVsock } from "./hosts/hybrid-vsock.ts";
import { dialIncus, incusAccess } from "./hosts/incus.ts";
import { dialKubevirt, kubevirtAccess } from "./hosts/kubevirt.ts";
import { dialNova, novaAccess } from "./hosts/nova.ts";
import { dialProxmox, proxmoxAccess } from "./hosts/proxmox.ts";
import type { Environment } from "./hosts/settings.ts";
import { dialVnc, vncAccess } from "./hosts/vnc.ts";
import { openTty } from "./tty-pipe.ts";

/**
 * @param environment - holds, or names the files of, what a host's API wants to know (docs/hosts.md).
 * @throws SealttyError `transport-lost`, `device-unavailable` or `bad-config`.
 */
export async function dial(address: GuestAddress, environment: Environment, clock: Clock): Promise<Pipe> {
  const pipe = await dialKind(address, environment, clock);
  return address.kind === "tcp" || address.kind === "unix" ? unlessVnc(pipe, address.text) : pipe;
}

/** A VNC server speaks first, and never sends what a frame is made of: its user waits for a guest that cannot come. */
function unlessVnc(pipe: Pipe, text: string): Pipe {
  async function* incoming(): AsyncGenerator<Uint8Array> {
    let first = true;
    for await (const chunk of pipe.incoming) {
      if (first && isRfbGreeting(chunk))
        throw new SealttyError("transport-lost", `a VNC server answers there: write vnc+${text}`);
      first = false;
      yield chunk;
    }
  }
  return {
    incoming: incoming(),
    ...(pipe.gathers === undefined ? {} : { gathers: pipe.gathers }),
    send: (chunk) => pipe.send(chunk),
    close: () => pipe.close(),
  };
}

function dialKind(address: GuestAddress, environment: Environment, clock: Clock): Promise<Pipe> {
  switch (address.kind) {
    case "web-socket":
      return connectWebSocket(address.url);
    case "tcp":
      return connectTcp(address.host, address.port);
    case "unix":
      return connectUnixSocket(address.path);
    case "tty":
      return openTty(address.path);
    case "vsock":
      return connectHybridVsock(address.path, address.port, clock);
    case "proxmox":
      return dialProxmox(address, environment, clock);
    case "kubevirt":
      return dialKubevirt(address, environment);
    case "nova":
      return dialNova(address, environment);
    case "incus":
      return dialIncus(address, environment);
    case "vnc":
      return dialVnc(address, environment, clock);
  }
}

/**
 * Whether a host's settings are there and can be read, without dialling: for who dials later, and is to say it now.
 * @throws SealttyError `bad-config`.
 */
export async function checkHostSettings(address: GuestAddress, environment: Environment): Promise<void> {
  if (address.kind === "proxmox") await proxmoxAccess(address, environment);
  else if (address.kind === "kubevirt") await kubevirtAccess(environment);
  else if (address.kind === "nova") await novaAccess(address, environment);
  else if (address.kind === "incus") await incusAccess(environment);
  else if (address.kind === "vnc") await vncAccess(environment, address.place);
}
