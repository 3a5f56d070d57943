// Connects to a host's VNC server: by TCP, by a unix socket, or by a web socket (QEMU's own, websockify and the like).

import type { Pipe } from "../protocol/pipe.ts";
import { openRfb, type RfbClient } from "../protocol/rfb/rfb-client.ts";
import { nodeClock } from "./clock.ts";
import { connectTcp } from "./tcp-pipe.ts";
import { startTls } from "./tls-over-pipe.ts";
import { connectUnixSocket } from "./unix-socket-pipe.ts";
import { connectWebSocket, type WebSocketPipeOptions } from "./web-socket-pipe.ts";

export type RfbPlace =
  | { readonly kind: "tcp"; readonly host: string; readonly port: number }
  | { readonly kind: "unix"; readonly path: string }
  | { readonly kind: "web-socket"; readonly url: string; readonly options?: WebSocketPipeOptions };

export interface RfbDialOptions {
  /** The host's, for its VNC server. */
  readonly password?: string;
  /** How a password is given: said where the server wants one, and there is none. */
  readonly passwordAdvice?: string;
  /**
   * For TLS inside RFB (VeNCrypt), which there is on TCP: PEM certificates in place of the system's. With this or the name a
   * server is refused there that shows no certificate.
   */
  readonly ca?: string | Buffer;
  /** For the same: the name in the certificate, where it is not the host's. */
  readonly tlsServerName?: string;
}

/** @throws SealttyError `transport-lost`, `device-unavailable`, in words. */
export async function dialRfb(place: RfbPlace, options: RfbDialOptions = {}): Promise<RfbClient> {
  const common = {
    clock: nodeClock,
    ...(options.password === undefined ? {} : { password: options.password }),
    ...(options.passwordAdvice === undefined ? {} : { passwordAdvice: options.passwordAdvice }),
  };
  // A web socket has TLS of its own, as wss:, and a unix socket needs none.
  if (place.kind === "unix") return await openRfb(await connectUnixSocket(place.path), common);
  if (place.kind === "web-socket")
    return await openRfb(await connectWebSocket(place.url, place.options), common);
  const what = `the VNC server at port ${place.port} of ${JSON.stringify(place.host)}`;
  return await openRfb(await connectTcp(place.host, place.port), {
    ...common,
    needsCertificate: options.ca !== undefined || options.tlsServerName !== undefined,
    startTls: (pipe: Pipe, kind) =>
      startTls(pipe, what, {
        anonymous: kind === "anonymous",
        serverName: options.tlsServerName ?? place.host,
        ...(options.ca === undefined ? {} : { ca: options.ca }),
      }),
  });
}
