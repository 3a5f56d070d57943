// Where a VNC server is in the guest, as a user writes it.

import type { PeerPlace } from "../protocol/api/places.ts";
import { isForwardHost, isUnixPath } from "../protocol/forward/target.ts";

/** Display 0, on the guest's own loopback. */
export const USUAL_PLACE = "127.0.0.1:5900";
const FIRST_PORT = 5900;

/** `HOST:PORT`, `[ADDRESS]:PORT`, `:DISPLAY` or a port on the guest's loopback, a socket's path. @returns undefined for anything else. */
export function parseDesktopPlace(text: string): PeerPlace | undefined {
  const place = text.trim();
  const path = place.replace(/^unix:/, "");
  if (path.startsWith("/")) return isUnixPath(path) ? { kind: "unix", path } : undefined;
  const display = /^:(\d{1,2})$/.exec(place);
  if (display !== null) return loopback(FIRST_PORT + Number(display[1]));
  if (/^\d{1,5}$/.test(place)) return loopback(Number(place));
  const [, bracketed, plain, digits] = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(place) ?? [];
  const host = bracketed ?? plain ?? "";
  return isForwardHost(host) ? tcp(host, Number(digits)) : undefined;
}

function loopback(port: number): PeerPlace | undefined {
  return tcp("127.0.0.1", port);
}

function tcp(host: string, port: number): PeerPlace | undefined {
  return port >= 1 && port <= 65_535 ? { kind: "tcp", host, port } : undefined;
}
