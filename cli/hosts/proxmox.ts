// Proxmox VE: its API opens a serial terminal, its web socket carries it. docs/hosts.md

import type { Clock } from "../../protocol/clock.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { Pipe } from "../../protocol/pipe.ts";
import type { GuestAddress } from "../address.ts";
import { apiBase, callApi, type HostApi, openApiSocket, tlsOf } from "./host-api.ts";
import { HostSettings } from "./settings.ts";
import type { Environment } from "./settings.ts";
import { openTermproxy } from "./termproxy-pipe.ts";

export type ProxmoxAddress = Extract<GuestAddress, { kind: "proxmox" }>;

const USER = { path: ["data", "user"], limit: 64, pattern: /^[\x21-\x39\x3b-\x7e]+$/ } as const; // no colon: it ends there
const TICKET = { path: ["data", "ticket"], limit: 512, pattern: /^[\x21-\x7e]+$/ } as const;
/** A sign-in ticket is no secret of the guest's, but longer: it has a signature. */
const LOGIN_TICKET = { path: ["data", "ticket"], limit: 2048, pattern: /^[\x21-\x7e]+$/ } as const;
const CSRF = { path: ["data", "CSRFPreventionToken"], limit: 512, pattern: /^[\x21-\x7e]+$/ } as const;

const ADVICE = {
  401: "Check the token, or the user and the password: SEALTTY_PROXMOX_… (docs/hosts.md).",
  403: "The user or token needs the privilege VM.Console for this guest; a token with separated privileges, too.",
  500: "Check node and number of the guest, that it runs, and that it has the serial port (qm set … --serial0 socket).",
  595: "The node is not reachable from this one; check its name.",
} as const;

type Credentials = { readonly token: string } | { readonly username: string; readonly password: string };

/** Everything that is read before anything is dialled. @throws SealttyError `bad-config`. */
export async function proxmoxAccess(
  address: ProxmoxAddress,
  environment: Environment,
): Promise<{ readonly api: HostApi; readonly credentials: Credentials }> {
  const settings = new HostSettings(environment, "SEALTTY_PROXMOX");
  const api: HostApi = {
    what: "Proxmox",
    base: apiBase(`https://${address.authority}`, "the proxmox: address"),
    ...(await tlsOf(settings)),
  };
  return { api, credentials: await credentialsOf(settings) };
}

/** @throws SealttyError `bad-config`, `transport-lost`. */
export async function dialProxmox(
  address: ProxmoxAddress,
  environment: Environment,
  clock: Clock,
): Promise<Pipe> {
  const { api, credentials } = await proxmoxAccess(address, environment);
  const headers = await signIn(api, credentials);
  const guest = `/api2/json/nodes/${address.node}/qemu/${address.vmid}`;
  const opened = await callApi(api, {
    method: "POST",
    path: `${guest}/termproxy`,
    headers,
    form: { serial: address.serial },
    advice: ADVICE,
  });
  const user = opened.text(USER);
  const ticket = opened.text(TICKET);
  const port = opened.integer(["data", "port"], 5900, 5999);
  const query = `?port=${port}&vncticket=${encodeURIComponent(ticket)}`;
  const socket = await openApiSocket(api, `${guest}/vncwebsocket${query}`, {
    headers,
    adviceByStatus: ADVICE,
  });
  return openTermproxy(socket, { user, ticket }, clock);
}

async function credentialsOf(settings: HostSettings): Promise<Credentials> {
  const token = await settings.secret("TOKEN");
  const password = await settings.secret("PASSWORD", "password");
  if (token !== undefined) {
    if (!/^[^!=\s]+![^!=\s]+=[^!=\s]+$/.test(token)) {
      throw new SealttyError(
        "bad-config",
        "SEALTTY_PROXMOX_TOKEN is not USER@REALM!NAME=SECRET; write it as Proxmox shows it, id and secret joined by =",
      );
    }
    return { token };
  }
  if (password === undefined && settings.text("USER") !== undefined) {
    throw new SealttyError(
      "bad-config",
      "SEALTTY_PROXMOX_USER is set, but no password: set SEALTTY_PROXMOX_PASSWORD_FILE (or SEALTTY_PROXMOX_PASSWORD), or a " +
        "token in place of both, SEALTTY_PROXMOX_TOKEN_FILE (docs/hosts.md)",
    );
  }
  if (password === undefined) {
    throw new SealttyError(
      "bad-config",
      "Nothing says who signs in to Proxmox; set SEALTTY_PROXMOX_TOKEN_FILE, or SEALTTY_PROXMOX_USER and " +
        "SEALTTY_PROXMOX_PASSWORD_FILE (docs/hosts.md)",
    );
  }
  return { username: settings.required("USER", "who signs in to Proxmox, as USER@REALM"), password };
}

/** Headers that say who asks: an API token's, or a ticket that user and password buy. */
async function signIn(api: HostApi, credentials: Credentials): Promise<Readonly<Record<string, string>>> {
  if ("token" in credentials) return { authorization: `PVEAPIToken=${credentials.token}` };
  const answer = await callApi(api, {
    method: "POST",
    path: "/api2/json/access/ticket",
    form: credentials,
    advice: ADVICE,
  });
  const cookie = encodeURIComponent(answer.text(LOGIN_TICKET));
  return { cookie: `PVEAuthCookie=${cookie}`, csrfpreventiontoken: answer.text(CSRF) };
}
