// OpenStack Nova: the serial proxy's web socket, its one token from a file, or from Nova's API. docs/hosts.md

import { errorCode } from "../../node/socket-pipe.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { Pipe } from "../../protocol/pipe.ts";
import type { GuestAddress } from "../address.ts";
import { apiBase, callApi, type HostApi, isLoopback, openApiSocket, tlsOf } from "./host-api.ts";
import { openingFailed } from "./opening.ts";
import { HostSettings } from "./settings.ts";
import type { Environment } from "./settings.ts";

export type NovaAddress = Extract<GuestAddress, { kind: "nova" }>;

const URL_FIELD = {
  path: ["remote_console", "url"],
  limit: 1024,
  pattern: /^wss?:\/\/[\x21-\x7e]+$/,
} as const;
const TOKEN = /^[\x21-\x7e]{1,512}$/;
const PROXY_ADVICE = {
  403: "The console token is unknown or has expired (it lives some minutes): make a new one.",
  404: "Check the path; the serial proxy usually serves /.",
} as const;
const API_ADVICE = {
  401: "The Keystone token is missing or has expired: SEALTTY_NOVA_AUTH_TOKEN_FILE (openstack token issue).",
  404: "Check the server's id, and that SEALTTY_NOVA_API ends where /servers begins.",
  409: "The server does not run.",
} as const;

/** The serial proxy, and the token that opens one server's console there. */
interface Console {
  readonly proxy: URL;
  readonly token: string;
}

/** What the settings say: the console itself, or where and as whom to ask for one. */
type Access = { readonly tls: Awaited<ReturnType<typeof tlsOf>> } & (
  | { readonly console: Console }
  | { readonly server: string; readonly base: URL; readonly authToken: string }
);

/** Everything that is read before anything is dialled. @throws SealttyError `bad-config`. */
export async function novaAccess(address: NovaAddress, environment: Environment): Promise<Access> {
  const settings = new HostSettings(environment, "SEALTTY_NOVA");
  const tls = await tlsOf(settings);
  if (address.url !== undefined) {
    const console = await proxyAt(address.url, settings);
    apiBase(console.proxy.href, "the serial proxy's address");
    return { tls, console };
  }
  const api = settings.required("API", "where Nova's API is, https://HOST:8774/v2.1");
  const base = apiBase(api, "SEALTTY_NOVA_API");
  const authToken = await settings.requiredSecret("AUTH_TOKEN", "who asks Nova (openstack token issue)");
  return { tls, server: address.server, base, authToken };
}

/** @throws SealttyError `bad-config`, `transport-lost`. */
export async function dialNova(address: NovaAddress, environment: Environment): Promise<Pipe> {
  const access = await novaAccess(address, environment);
  const { tls } = access;
  const { proxy, token } = "console" in access ? access.console : await askNova(access);
  apiBase(proxy.href, "the serial proxy's address"); // no token over an open network
  const api: HostApi = { what: "Nova's serial proxy", base: new URL(proxy.origin), ...tls };
  try {
    return await openApiSocket(api, `${proxy.pathname}?token=${encodeURIComponent(token)}`, {
      adviceByStatus: PROXY_ADVICE,
    });
  } catch (error) {
    // websockify cuts a connection whose token it does not know, where it could answer.
    if (!(error instanceof SealttyError) || errorCode(error.cause) !== "ECONNRESET") throw error;
    throw openingFailed(api.what, "it cut the connection", PROXY_ADVICE[403], error);
  }
}

/** The setting holds the token alone, or the whole address that `openstack console url show --serial` prints. */
async function proxyAt(url: string, settings: HostSettings): Promise<Console> {
  const given = await settings.requiredSecret(
    "TOKEN",
    "the console's token (openstack console url show --serial)",
  );
  const proxy = new URL(url);
  if (!/^wss?:/i.test(given)) return { proxy, token: given };
  const named = consoleIn(given);
  if (named === undefined || named.proxy.href !== proxy.href) {
    throw new SealttyError(
      "bad-config",
      "SEALTTY_NOVA_TOKEN is the address of another serial proxy than GUEST names, or has no ?token=; make both fit",
    );
  }
  return named;
}

/** Nova's own API, microversion 2.6: a new token at each connection, so that a session outlives the first one. */
async function askNova({
  tls,
  server,
  base,
  authToken,
}: Exclude<Access, { readonly console: Console }>): Promise<Console> {
  const answer = await callApi(
    { what: "Nova", base, ...tls },
    {
      method: "POST",
      path: `/servers/${server}/remote-consoles`,
      headers: {
        "x-auth-token": authToken,
        "openstack-api-version": "compute 2.6",
      },
      json: { remote_console: { protocol: "serial", type: "serial" } },
      advice: API_ADVICE,
    },
  );
  const console = consoleIn(answer.text(URL_FIELD));
  if (console === undefined) {
    throw new SealttyError(
      "transport-lost",
      "Nova answered with a console's address that has no token. Check that it has a serial proxy ([serial_console]).",
    );
  }
  // An answer must not lead a web socket to what listens on the owner's own machine.
  if (isLoopback(console.proxy) && !isLoopback(base)) {
    throw new SealttyError(
      "transport-lost",
      "Nova answered with a console's address on this very machine, which is not where its serial proxy is. Correct [serial_console] base_url there, or use nova:wss://….",
    );
  }
  return console;
}

function consoleIn(text: string): Console | undefined {
  let proxy: URL;
  try {
    proxy = new URL(text);
  } catch {
    return undefined;
  }
  const token = proxy.searchParams.get("token") ?? "";
  proxy.search = "";
  proxy.hash = "";
  return TOKEN.test(token) ? { proxy, token } : undefined;
}
