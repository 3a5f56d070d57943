// Builds a page with vite and serves it as the local server does: loopback, one origin, the strict headers.

import { mkdtemp, readFile, rm } from "node:fs/promises";
import http from "node:http";
import type { AddressInfo } from "node:net";
import os from "node:os";
import path from "node:path";
import { build } from "vite";

export const PAGE_CSP = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self' 'unsafe-inline'",
  "connect-src 'self'",
  "img-src data: blob:",
  "font-src 'self' data:",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types default",
].join("; ");

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
};

export interface PageServer {
  readonly origin: string;
  readonly server: http.Server;
  close(): Promise<void>;
}

/** @param root - the directory of the page's index.html. @returns a temporary directory; the caller removes it. */
export async function buildPage(root: string): Promise<string> {
  const directory = await mkdtemp(path.join(os.tmpdir(), "sealtty-page-"));
  await build({
    configFile: false,
    logLevel: "error",
    root,
    base: "./",
    publicDir: false,
    build: {
      outDir: directory,
      emptyOutDir: true,
      target: "es2022",
      assetsInlineLimit: 0,
      modulePreload: { polyfill: false },
    },
  });
  return directory;
}

/** @param root - the directory of the page's index.html. */
export async function servePage(root: string): Promise<PageServer> {
  const directory = await buildPage(root);
  const server = http.createServer((request, response) => {
    const name = path.normalize(new URL(request.url ?? "/", "http://localhost").pathname);
    const file = path.join(directory, name === "/" ? "index.html" : name);
    readFile(file).then(
      (body) => {
        response.writeHead(200, {
          "content-type": TYPES[path.extname(file)] ?? "application/octet-stream",
          "content-security-policy": PAGE_CSP,
          "cross-origin-opener-policy": "same-origin",
          "cross-origin-embedder-policy": "require-corp",
          "cross-origin-resource-policy": "same-origin",
          "x-content-type-options": "nosniff",
          "referrer-policy": "no-referrer",
        });
        response.end(body);
      },
      () => response.writeHead(404).end(),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    origin: `http://localhost:${(server.address() as AddressInfo).port}`,
    server,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await rm(directory, { recursive: true, force: true });
    },
  };
}
