// Where streams and forwards lead, and where is listened, as a program names it; checked, as from JavaScript anything may come.

import {
  isForwardHost,
  isServiceName,
  isUnixPath,
  type ListenPlace,
  type StreamPlace,
} from "../forward/target.ts";
import { isObject, isText, misuse } from "./misuse.ts";
import type { Destination, ListenAddress, StreamDestination } from "./types.ts";

/** Where a forward comes out. */
export type PeerPlace = Extract<StreamPlace, { kind: "tcp" | "unix" }>;

/** @throws SealttyError `api-misuse`. */
export function peerPlaceOf(to: Destination): PeerPlace {
  if (isObject(to)) {
    if ("path" in to) {
      if (isText(to.path) && isUnixPath(to.path)) return { kind: "unix", path: to.path };
    } else if (isText(to.host) && isForwardHost(to.host) && isPort(to.port, 1))
      return { kind: "tcp", host: to.host, port: to.port };
  }
  throw misuse("A destination is { host, port }, or { path } of a unix socket, which is absolute", to);
}

/** @returns undefined for SOCKS. @throws SealttyError `api-misuse`. */
export function peerOrSocks(to: Destination | "socks"): PeerPlace | undefined {
  return to === "socks" ? undefined : peerPlaceOf(to);
}

/** @throws SealttyError `api-misuse`. */
export function streamPlaceOf(to: StreamDestination): StreamPlace {
  if (!isObject(to) || !("service" in to)) return peerPlaceOf(to);
  if (isText(to.service) && isServiceName(to.service)) return { kind: "service", name: to.service };
  throw misuse("A service is a word, as ssh is", to);
}

/** @throws SealttyError `api-misuse`. */
export function listenPlaceOf(listen: ListenAddress): ListenPlace {
  if (isObject(listen)) {
    if ("path" in listen) {
      if (isText(listen.path) && isUnixPath(listen.path)) return { kind: "unix", path: listen.path };
    } else {
      const { host = "localhost", port } = listen;
      if (isText(host) && (host === "*" || isForwardHost(host)) && isPort(port, 0))
        return { kind: "tcp", host, port };
    }
  }
  throw misuse("Listened is on { host, port }, or on { path } of a unix socket, which is absolute", listen);
}

function isPort(port: number, least: number): boolean {
  return Number.isInteger(port) && port >= least && port <= 65_535;
}
