// Who may talk to a server on this machine's loopback: our own page, and nobody that a browser was talked into helping.

import type { IncomingMessage } from "node:http";

/**
 * "kept": at localhost, where browsers keep passkeys and keys for the page, and where other programs may have left something too.
 * "fresh": below a name that was drawn for this run, where nobody can have. docs/decisions/0024-a-fresh-address.md
 */
export type PageKind = "fresh" | "kept";

export type Verdict = { readonly status: 200 } | { readonly status: 403 | 421; readonly reason: string };

/**
 * Host against DNS rebinding, Origin against other pages (those opened as files too), fetch metadata against the rest.
 * @param hosts - all that are ours. @param needsOrigin - web sockets: a browser always sends theirs, and nothing else has business here.
 */
export function judgeRequest(
  request: IncomingMessage,
  hosts: readonly string[],
  needsOrigin: boolean,
): Verdict {
  const { host, origin } = request.headers;
  if (host === undefined || !hosts.includes(host)) {
    return { status: 421, reason: "this server answers to localhost only" };
  }
  if (origin === undefined ? needsOrigin : origin !== `http://${host}`) {
    return { status: 403, reason: "only the page of this server may ask" };
  }
  const site = request.headers["sec-fetch-site"];
  if (site !== undefined && site !== "same-origin" && site !== "none" && !isPlainVisit(request)) {
    return { status: 403, reason: "only the page of this server may ask" };
  }
  return { status: 200 };
}

/**
 * Somebody followed a link to the page itself: the file that opened the browser did, and anyone may. The page holds no
 * secret, cannot be framed, and does nothing without a token.
 */
function isPlainVisit(request: IncomingMessage): boolean {
  const { headers, method, url } = request;
  const visits = headers["sec-fetch-mode"] === "navigate" && headers["sec-fetch-dest"] === "document";
  return visits && method === "GET" && url === "/";
}

/** @param label - of the fresh page's name. */
export function hostsOf(page: PageKind, label: string, port: number): string[] {
  const names = page === "fresh" ? [`${label}.localhost`] : ["localhost", "127.0.0.1", "[::1]"];
  const hosts = names.map((name) => `${name}:${port}`);
  return port === 80 ? [...hosts, ...names] : hosts; // browsers leave the default port out
}
