// Bundles for scripts/build.mjs. `--mode` picks one: "page", or the name of a program, each one file that needs no node_modules.

import { chmod } from "node:fs/promises";
import path from "node:path";
import { defineConfig, type Plugin, type UserConfig } from "vite";

const programs: Record<string, string> = {
  sealtty: "cli/entry.ts",
  "sealtty-main": "cli/main.ts",
  sealttyd: "server/main.ts",
  "sealttyd-screen": "server/screen/worker.ts",
  "sealttyd-files": "server/files/main.ts",
  "sealttyd-prompts": "server/prompts/main.ts",
  "sealttyd-connect": "server/streams/user-socket.ts",
  "sealttyd-service": "server/services/main.ts",
  "sealtty-relay": "relay/main.ts",
};
const root = import.meta.dirname;

/** First line and file mode of a program. */
function executable(): Plugin {
  return {
    name: "sealtty-executable",
    generateBundle(_options, bundle) {
      for (const file of Object.values(bundle)) {
        if (file.type === "chunk") file.code = `#!/usr/bin/env node\n${file.code.replace(/^#!.*\n/, "")}`;
      }
    },
    async writeBundle(options, bundle) {
      for (const name of Object.keys(bundle)) await chmod(path.join(options.dir ?? "", name), 0o755);
    },
  };
}

const page: UserConfig = {
  root: path.join(root, "client"),
  base: "./",
  build: {
    outDir: path.join(root, "dist/page"),
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0, // the server's CSP allows no data: URL
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 2000, // kB; it is loaded from loopback
  },
};

/** One module that loads nothing: no worker, no chunk, nothing that a page's policy would have to allow beside it. */
const browserApi: UserConfig = {
  root,
  publicDir: false,
  build: {
    lib: { entry: "client/api/index.ts", formats: ["es"], fileName: () => "browser.js" },
    outDir: path.join(root, "dist/lib"),
    emptyOutDir: false,
    target: "es2022",
    minify: false, // so that it can be read; whoever bundles it makes it small
    rolldownOptions: { output: { codeSplitting: false } },
  },
};

/** @param directory - below dist. */
const program = (name: string, entry: string, directory = "bin"): UserConfig => ({
  root,
  publicDir: false,
  plugins: directory === "bin" ? [executable()] : [],
  define: { "process.env.WS_NO_BUFFER_UTIL": '"1"', "process.env.WS_NO_UTF_8_VALIDATE": '"1"' },
  ssr: { noExternal: true, target: "node" },
  build: {
    ssr: entry,
    outDir: path.join(root, "dist", directory),
    emptyOutDir: false,
    target: "node20",
    minify: false, // so that what runs in the guest can be read
    rolldownOptions: {
      external: [/\.node$/, "bufferutil", "utf-8-validate"],
      output: { format: "esm", entryFileNames: `${name}.js`, codeSplitting: false },
    },
  },
});

export default defineConfig(({ mode }) => {
  const entry = programs[mode];
  if (entry !== undefined) return program(mode, entry);
  if (mode === "page") return page;
  if (mode === "api") return program("sealtty", "cli/api/index.ts", "lib");
  if (mode === "browser-api") return browserApi;
  throw new Error(`--mode ${mode}: page, api, browser-api, ${Object.keys(programs).join(", ")}`);
});
