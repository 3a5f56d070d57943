// `npm run build`: dist/page, the programs of dist/bin, and dist/share. vite.config.ts says how.
//   node scripts/build.mjs [NAME…]     page, sealtty, api, browser-api, sealttyd, sealtty-relay; all without arguments;
//   sealtty brings sealtty-main along, sealttyd its own helpers

import { copyFileSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { buildLauncher, buildNative, hasCompiler, nativeHelpers } from "./build-native.mjs";
import { ensureNodeModules } from "./lib/install.mjs";
import {
  isMain,
  mustRun,
  projectRoot,
  replaceFile,
  runScript,
  ScriptError,
  secondsSince,
} from "./lib/run.mjs";

/** What each part is built from, so that one that isn't there is named. */
export const parts = {
  page: "client/index.html",
  sealtty: "cli/entry.ts",
  "sealtty-main": "cli/main.ts", // loaded by it
  api: "cli/api/index.ts", // import … from "sealtty"
  "browser-api": "client/api/index.ts", // import … from "sealtty/browser"
  sealttyd: "server/main.ts",
  "sealttyd-screen": "server/screen/worker.ts", // a thread of it
  "sealttyd-files": "server/files/main.ts", // started by it, as the user
  "sealttyd-prompts": "server/prompts/main.ts", // started by it, as itself
  "sealttyd-connect": "server/streams/user-socket.ts", // as well
  "sealttyd-service": "server/services/main.ts", // started by it, as root
  "sealtty-relay": "relay/main.ts",
};

/** Files that a program is nothing without. */
const companions = {
  sealtty: ["sealtty-main"],
  sealttyd: ["sealttyd-screen", "sealttyd-files", "sealttyd-prompts", "sealttyd-connect", "sealttyd-service"],
};

/** For guests with older kernels, for PAM and the sandbox: a machine without a compiler is told, and builds the rest. */
async function buildNativeIfPossible() {
  const names = nativeHelpers.join(", ");
  if (process.platform === "linux" && (await hasCompiler())) {
    await buildNative();
    process.stdout.write(`built ${names}\n`);
  } else {
    process.stdout.write(
      `${names} are not built: that needs Linux and a C compiler (Debian: gcc, libc6-dev)\n`,
    );
  }
}

/** sealttyd's one native part goes beside it: copy both, and node, into a guest. @param {string} [directory] */
export async function copyPtyAddon(directory = path.join(projectRoot, "dist/bin")) {
  const addon = `node_modules/@lydell/node-pty-${process.platform}-${process.arch}/pty.node`;
  await replaceFile(path.join(directory, "pty.node"), (unfinished) =>
    copyFileSync(path.join(projectRoot, addon), unfinished),
  );
}

/** Manual page and completions, where a package's files of their kind lie below share/. */
const shared = {
  sealtty: {
    "man/man1/sealtty.1": ["man"],
    "bash-completion/completions/sealtty": ["completion", "bash"],
    "zsh/site-functions/_sealtty": ["completion", "zsh"],
    "fish/vendor_completions.d/sealtty.fish": ["completion", "fish"],
  },
  sealttyd: {
    "man/man8/sealttyd.8": ["man", "8"],
    "man/man5/sealttyd.toml.5": ["man", "5"],
  },
};

/** What a program says of itself, from the tables that it goes by, for those who install it. */
async function writeShared(program) {
  for (const [name, args] of Object.entries(shared[program])) {
    const text = await mustRun(process.execPath, [path.join(projectRoot, `dist/bin/${program}.js`), ...args]);
    await replaceFile(path.join(projectRoot, "dist/share", name), (unfinished) =>
      writeFileSync(unfinished, text),
    );
  }
}

/** What the types of an entry end with. @param {string} more - declarations of that entry alone. */
const values = (more = "") => `
/**
 * Reaches a guest, appraises its evidence against the policy, and logs the user in; before that nothing secret was sent.
 * @throws SealttyError with a \`code\`: \`evidence-refused\`, \`user-refused\`, \`guest-silent\`, \`bad-policy\`, …
 */
export declare function connect(options: ConnectOptions): Promise<Guest>;
${more}`;

/** Of the browser's. */
const publicKeyLine = `/**
 * The line that lets a key in: for the guest's authorized_keys.
 * @param comment - printable ASCII. @throws SealttyError \`api-misuse\`.
 */
export declare function publicKeyLine(
  key: CryptoKeyPair | Pick<UserKey, "publicKey">,
  comment: string,
): Promise<string>;
`;

/** In both. */
const errorClass = `
export declare class SealttyError extends Error {
  readonly name: "SealttyError";
  readonly code: SealttyErrorCode;
  readonly refusal: Refusal | undefined;
  constructor(code: SealttyErrorCode, message: string, options?: ErrorOptions & { refusal?: Refusal });
}
`;

const entryTypes = {
  api: { file: "sealtty.d.ts", source: "cli/api/types.ts", values: values() },
  "browser-api": { file: "browser.d.ts", source: "client/api/types.ts", values: values(publicKeyLine) },
};

/** The types of `import … from "sealtty"` and of "sealtty/browser": a file each, and one that both import. */
async function writeApiTypes(name) {
  const entry = entryTypes[name];
  const shared = readFileSync(path.join(projectRoot, "protocol/api/types.ts"), "utf8");
  const own = readFileSync(path.join(projectRoot, entry.source), "utf8");
  const texts = {
    "shared.d.ts": shared + errorClass,
    [entry.file]:
      own.replaceAll('"../../protocol/api/types.ts"', '"./shared.js"').replace("export type *", "export *") +
      entry.values,
  };
  for (const [file, text] of Object.entries(texts))
    await replaceFile(path.join(projectRoot, "dist/lib", file), (unfinished) =>
      writeFileSync(unfinished, text),
    );
}

/** @param {readonly string[]} [names] - of `parts`; all without. */
export async function build(names = Object.keys(parts)) {
  const { build: viteBuild } = await import("vite");
  const wanted = names.flatMap((name) => [name, ...(companions[name] ?? [])]);
  for (const name of new Set(wanted)) {
    if (!(name in parts)) throw new ScriptError(`No part ${name}. Parts: ${Object.keys(parts).join(" ")}`);
    if (!existsSync(path.join(projectRoot, parts[name]))) throw new ScriptError(`${parts[name]} is missing`);
    const start = performance.now();
    await viteBuild({
      configFile: path.join(projectRoot, "vite.config.ts"),
      mode: name,
      logLevel: "warn",
    });
    if (name in entryTypes) await writeApiTypes(name);
    if (name === "sealtty") await buildLauncher();
    if (name === "sealttyd") await copyPtyAddon();
    process.stdout.write(`built ${name} in ${secondsSince(start)}\n`);
    if (name === "sealttyd") await buildNativeIfPossible();
  }
  for (const program of Object.keys(shared)) if (wanted.includes(program)) await writeShared(program);
}

if (isMain(import.meta)) {
  await runScript(async () => {
    await ensureNodeModules();
    const names = process.argv.slice(2);
    await build(names.length > 0 ? names : undefined);
  });
}
