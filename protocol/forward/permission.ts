// Which places a key may be connected with. What a restriction does not name is refused. docs/protocol.md §8.10

import type { UserRestrictions } from "../user-auth/restrictions.ts";
import type { ListenPlace, StreamPlace } from "./target.ts";

/** As much of them as forwarding asks. */
export type ForwardRestrictions = Pick<UserRestrictions, "portForwarding" | "permitOpen" | "permitListen">;

/** What the service `ssh` counts as: the place that it stands for. */
const SSH_PLACE: StreamPlace = { kind: "tcp", host: "127.0.0.1", port: 22 };

/** @param restrictions - of the key; undefined: it has none. */
export function mayOpen(restrictions: ForwardRestrictions | undefined, place: StreamPlace): boolean {
  if (restrictions === undefined) return true;
  if (!restrictions.portForwarding) return false;
  if (restrictions.permitOpen === undefined) return true;
  const tcp = place.kind === "service" && place.name === "ssh" ? SSH_PLACE : place;
  // Sockets and services have no host and port, so a list of those names none of them.
  return tcp.kind === "tcp" && restrictions.permitOpen.some((entry) => matches(entry, tcp.host, tcp.port));
}

/** @param restrictions - as above. Port 0 is allowed only where any port is. */
export function mayListen(restrictions: ForwardRestrictions | undefined, place: ListenPlace): boolean {
  if (restrictions === undefined) return true;
  if (!restrictions.portForwarding) return false;
  if (restrictions.permitListen === undefined) return true;
  return (
    place.kind === "tcp" &&
    restrictions.permitListen.some((entry) =>
      // sshd(8): without a host, `localhost` is meant.
      matches(entry.includes(":") ? entry : `localhost:${entry}`, place.host, place.port),
    )
  );
}

/** Word for word: no name is looked up, as in sshd(8). An IPv6 address stands in brackets. */
function matches(entry: string, host: string, port: number): boolean {
  const colon = entry.lastIndexOf(":");
  if (colon < 0) return false;
  const name = entry.slice(0, colon).replace(/^\[(.*)\]$/, "$1");
  const allowed = entry.slice(colon + 1);
  if (allowed !== "*" && (!/^[0-9]{1,5}$/.test(allowed) || Number(allowed) !== port || port === 0))
    return false;
  return name.toLowerCase() === host.toLowerCase();
}
