// A host's VNC server as the way to a guest: RFB, and the modem on it. docs/vnc.md

import { nodeSuite } from "../../node/crypto-suite.ts";
import { dialRfb, type RfbDialOptions, type RfbPlace } from "../../node/rfb.ts";
import type { Clock } from "../../protocol/clock.ts";
import { openModemOverRfb } from "../../protocol/modem/modem-over-rfb.ts";
import type { Pipe } from "../../protocol/pipe.ts";
import type { GuestAddress } from "../address.ts";
import { HostSettings } from "./settings.ts";
import type { Environment } from "./settings.ts";

export type VncAddress = Extract<GuestAddress, { kind: "vnc" }>;

interface VncAccess extends RfbDialOptions {
  readonly ca?: string;
}

/** Everything that is read before anything is dialled. @throws SealttyError `bad-config`. */
export async function vncAccess(environment: Environment): Promise<VncAccess> {
  const settings = new HostSettings(environment, "SEALTTY_VNC");
  const password = await settings.secret("PASSWORD", "password");
  const ca = await settings.pem("CA_FILE", "CERTIFICATE");
  const tlsServerName = settings.text("TLS_NAME");
  return {
    ...(password === undefined ? {} : { password }),
    ...(ca === undefined ? {} : { ca }),
    ...(tlsServerName === undefined ? {} : { tlsServerName }),
  };
}

/** @throws SealttyError `bad-config`, `transport-lost`, `device-unavailable`. */
export async function dialVnc({ place }: VncAddress, environment: Environment, clock: Clock): Promise<Pipe> {
  const access = await vncAccess(environment);
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
