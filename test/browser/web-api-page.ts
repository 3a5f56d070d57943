// A page of somebody's own for "sealtty/browser": one program each time, below headers as strict as they get, found by its name
// through an import map.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import http from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";

const root = path.resolve(import.meta.dirname, "../..");

/** What a page's program imports from `./settings.js`. */
export interface PageSettings {
  readonly guest: string;
  readonly policy: string;
  readonly user: string;
  readonly port: number;
}

export interface OwnPageServer {
  readonly origin: string;
  /** A page that runs this module. @returns its address. */
  page(program: string): string;
  close(): Promise<void>;
}

const IMPORT_MAP = JSON.stringify({ imports: { "sealtty/browser": "/browser.js" } });
const hash = createHash("sha256").update(IMPORT_MAP).digest("base64");

/** The page's user: a key that is new each time, and that the test enrols before anything is done with it. */
const settingsModule = ({ guest, policy, user, port }: PageSettings): string => `
import { publicKeyLine } from "/browser.js";
export const GUEST = ${JSON.stringify(guest)};
export const POLICY = ${JSON.stringify(policy)};
export const USER = ${JSON.stringify(user)};
export const PORT = ${port};
export const KEY = await crypto.subtle.generateKey("Ed25519", false, ["sign", "verify"]);
await window.enrol(await publicKeyLine(KEY, "example"));
`;

/** @param connectTo - the origins of web sockets that it may open, and nothing else. */
export async function serveOwnPages(
  connectTo: readonly string[],
  settings: PageSettings,
): Promise<OwnPageServer> {
  const policy = [
    "default-src 'none'",
    `script-src 'self' 'sha256-${hash}'`,
    `connect-src ${connectTo.join(" ")}`,
    "worker-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types of-the-page",
  ].join("; ");
  const programs: string[] = [];
  const found = (name: string): readonly [type: string, body: string] | undefined => {
    const [, kind, number] = /^\/(page|program)-(\d+)(?:\.js)?$/.exec(name) ?? [];
    const program = programs[Number(number)];
    if (name === "/browser.js")
      return ["text/javascript", readFileSync(path.join(root, "dist/lib/browser.js"), "utf8")];
    if (name === "/settings.js") return ["text/javascript", settingsModule(settings)];
    if (program === undefined) return undefined;
    if (kind === "program") return ["text/javascript", program];
    const scripts = `<script type="importmap">${IMPORT_MAP}</script><script type="module" src="/program-${number}.js"></script>`;
    return ["text/html", `<!doctype html><title>own</title>${scripts}`];
  };
  const server = http.createServer((request, response) => {
    const [type, body] = found(new URL(request.url ?? "/", "http://localhost").pathname) ?? [];
    if (type === undefined) return void response.writeHead(404).end();
    response.writeHead(200, { "content-type": type, "content-security-policy": policy });
    response.end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const origin = `http://localhost:${(server.address() as AddressInfo).port}`;
  return {
    origin,
    page: (program) => `${origin}/page-${programs.push(program) - 1}`,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
