// The page's files, read once into a fixed map: a request can name what is in it and nothing else.

import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { SealttyError } from "../protocol/errors.ts";

export interface PageFile {
  readonly type: string;
  readonly body: Uint8Array;
}

const TYPES: Readonly<Record<string, string | undefined>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
  ".png": "image/png",
  ".ico": "image/x-icon",
  ".woff2": "font/woff2",
  ".json": "application/json",
  ".wasm": "application/wasm",
};

/** @returns by request path; "/" is index.html. @throws SealttyError `bad-config` where the page was not built. */
export async function readPageFiles(directory: string): Promise<ReadonlyMap<string, PageFile>> {
  const files = new Map<string, PageFile>();
  try {
    for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
      const type = TYPES[path.extname(entry.name)];
      if (!entry.isFile() || type === undefined) continue;
      const file = path.join(entry.parentPath, entry.name);
      const name = path.relative(directory, file).split(path.sep).join("/");
      files.set(`/${name}`, { type, body: await readFile(file) });
    }
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new SealttyError(
      "bad-config",
      `cannot read the page in ${directory} (${code}); build it: npm run build`,
      {
        cause,
      },
    );
  }
  const index = files.get("/index.html");
  if (index === undefined) {
    throw new SealttyError("bad-config", `${directory} has no index.html; build the page: npm run build`);
  }
  files.set("/", index);
  return files;
}
