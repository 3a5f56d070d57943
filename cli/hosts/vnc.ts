// A host's VNC server as the way to a guest: RFB, and the modem on it. docs/vnc.md

import { nodeSuite } from "../../node/crypto-suite.ts";
import { dialRfb, type RfbDialOptions, type RfbPlace } from "../../node/rfb.ts";
import type { Clock } from "../../protocol/clock.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { openModemOverRfb } from "../../protocol/modem/modem-over-rfb.ts";
import type { Pipe } from "../../protocol/pipe.ts";
import type { GuestAddress } from "../address.ts";
import { HostSettings } from "./settings.ts";
import type { Environment } from "./settings.ts";

export type VncAddress = Extract<GuestAddress, { kind: "vnc" }>;

/** By the kind of place, or the scheme of its address. */
const WITHOUT_TLS: Readonly<Record<string, string>> = {
  unix: "vnc+unix: has no TLS: unset them for it",
  "ws:": "vnc+ws: has no TLS: write vnc+wss:, or unset them for it",
};

interface VncAccess extends RfbDialOptions {
  readonly ca?: string;
}

const PASSWORD_ADVICE =
  "put it into a file of yours that nobody else reads, and the file's name into SEALTTY_VNC_PASSWORD_FILE";

/**
 * Everything that is read before anything is dialled.
 * @throws SealttyError `bad-config`, also where a certificate is asked for on a way that has none.
 */
export async function vncAccess(environment: Environment, place: RfbPlace): Promise<VncAccess> {
  const settings = new HostSettings(environment, "SEALTTY_VNC");
  const password = await settings.secret("PASSWORD", "password");
  const ca = await settings.pem("CA_FILE", "CERTIFICATE");
  const tlsServerName = settings.text("TLS_NAME");
  const ways = WITHOUT_TLS[place.kind === "web-socket" ? new URL(place.url).protocol : place.kind];
  if (ways !== undefined && (ca !== undefined || tlsServerName !== undefined))
    throw new SealttyError(
      "bad-config",
      `SEALTTY_VNC_CA_FILE or SEALTTY_VNC_TLS_NAME asks for a certificate of the VNC server's, and ${ways}`,
    );
  return {
    passwordAdvice: PASSWORD_ADVICE,
    ...(password === undefined ? {} : { password }),
    ...(ca === undefined ? {} : { ca }),
    ...(tlsServerName === undefined ? {} : { tlsServerName }),
  };
}

/** @throws SealttyError `bad-config`, `transport-lost`, `device-unavailable`. */
export async function dialVnc({ place }: VncAddress, environment: Environment, clock: Clock): Promise<Pipe> {
  const access = await vncAccess(environment, place);
  const [high = 0, low = 0] = nodeSuite.randomBytes(2);
  const rfb = await dialRfb(placeWith(place, access), access);
  return await openModemOverRfb(rfb, { clock, epoch: high * 256 + low });
}

/** A web socket has its TLS outside of RFB. */
function placeWith(place: RfbPlace, { ca, tlsServerName }: VncAccess): RfbPlace {
  if (place.kind !== "web-socket") return place;
  const options = {
    ...(ca === undefined ? {} : { ca }),
    ...(tlsServerName === undefined ? {} : { tlsServerName }),
  };
  return { ...place, options };
}
