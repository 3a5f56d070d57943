// What no compiler sees: who may import whom, and that lists which must agree do. Each check returns its complaints.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { parts } from "../build.mjs";
import { launcher } from "../build-native.mjs";
import { projectRoot } from "./run.mjs";

const skipped = new Set([".git", ".cache", "node_modules", "dist", "coverage", "test-results"]);
const textFile = /(\.(c|ts|mts|mjs|js|json|md|toml|sh|html|css|ya?ml|service|conf|txt)|^[^.]+|\/run)$/;

function filesUnder(directory = "") {
  const entries = readdirSync(path.join(projectRoot, directory), { withFileTypes: true });
  return entries
    .filter((entry) => !skipped.has(entry.name))
    .flatMap((entry) => {
      const name = path.posix.join(directory, entry.name);
      return entry.isDirectory() ? filesUnder(name) : [name];
    });
}

const files = filesUnder();
const texts = new Map();
function textOf(name) {
  if (!texts.has(name)) texts.set(name, readFileSync(path.join(projectRoot, name), "utf8"));
  return texts.get(name);
}
const json = (name) => JSON.parse(textOf(name));
const topOf = (name) => name.split("/")[0];
const typescriptIn = (directories) =>
  files.filter((name) => name.endsWith(".ts") && directories.includes(topOf(name)));

/** Own directories that each may import from, besides itself; `builtins`: whether it may use Node's modules. */
const mayImport = {
  protocol: { from: [], builtins: false },
  client: { from: ["protocol"], builtins: false },
  node: { from: ["protocol"], builtins: true },
  server: { from: ["protocol", "node"], builtins: true },
  relay: { from: ["protocol", "node"], builtins: true },
  cli: { from: ["protocol", "node"], builtins: true },
};

function importDirections() {
  const importPattern = /(?:\bfrom|\bimport)\s*\(?\s*["']([^"']+)["']/g;
  const complaints = [];
  for (const name of typescriptIn(Object.keys(mayImport))) {
    const own = topOf(name);
    for (const [, target] of textOf(name).matchAll(importPattern)) {
      if (target.startsWith("node:") && !mayImport[own].builtins) {
        complaints.push(`${name} imports ${target}: ${own}/ has to work without Node`);
      }
      if (!target.startsWith(".")) continue;
      const other = topOf(path.posix.join(path.posix.dirname(name), target));
      if (other !== own && !mayImport[own].from.includes(other)) {
        complaints.push(
          `${name} imports ${target}: ${own}/ may import from ${["itself", ...mayImport[own].from].join(", ")}`,
        );
      }
    }
  }
  return complaints;
}

/** What a connection is made of, and what comes of it: cli/api has it for all the rest of cli/. */
const connectionParts =
  /["'][^"']*\/protocol\/(?:api\/(?:attest|change-watch|program-end|run-limit|stream-end|watched-guest)|session\/(?:api|channel-api|stream-api|session-api|connect|client-[a-z-]+)|streams\/[a-z-]+|handshake\/[a-z-]+|packets\/(?!shaping\.)[a-z-]+|frames\/(?!frame-body\.)[a-z-]+)\.ts["']/;
/** Files beside cli/api that have to know parts of one, and why. */
export const besideWithReason = {
  "cli/machine.ts": "names the function that connects, for cli/api",
  "cli/services.ts": "its type, and that of looking at a guest without a policy",
  "cli/main.ts": "looking at a guest without a policy: inspect alone does it, and logs in nowhere",
  "cli/commands/inspect.ts": "the same",
  "cli/master/master-link.ts":
    "is a channel itself, over the socket of who keeps the connection; cli/api makes the program of it",
};
/** In none of them, and nowhere else but in cli/api. */
const ownWays = [
  { what: /\.(?:openChannel|openSession|killSession)\(/, by: [] },
  { what: /\bauthenticate\(/, by: [] },
  { what: /\binspectGuest\(/, by: ["cli/services.ts", "cli/commands/inspect.ts"] },
];
/** What the guest and this machine do for a copy or a forward is cli/api's as well. */
const ownEnds =
  /^cli\/(?:commands\/(?:exec|cp|proxy|forward|master|connect|sessions|unlock|log|sysrq|provision)|run-program|service-program|standard-input|terminal-session|kept-session|files\/.*|forward\/.*|master\/(?:serve-master|served|launched))\.ts$/;
const endParts = /["'][^"']*\/node\/(?:files\/[a-z-]+|sockets|places)\.ts["']/;

/** @param {string} name @param {string} text - of a file. @returns {string[]} */
export function besideTheApi(name, text) {
  if (topOf(name) !== "cli" || name.startsWith("cli/api/")) return [];
  const beside = [];
  if (!Object.hasOwn(besideWithReason, name)) beside.push(connectionParts);
  if (ownEnds.test(name)) beside.push(endParts);
  return [
    ...ownWays
      .filter(({ what, by }) => what.test(text) && !by.includes(name))
      .map(({ what }) => `${name}: ${what.exec(text)?.[0]} goes beside cli/api`),
    ...beside
      .flatMap((what) => what.exec(text)?.[0] ?? [])
      .map((what) => `${name} imports ${what}: what it needs of that is in cli/api`),
  ];
}

function commandsUseTheApi() {
  return typescriptIn(["cli"]).flatMap((name) => besideTheApi(name, textOf(name)));
}

function dependenciesAreExplained() {
  const { dependencies, devDependencies } = json("package.json");
  const rows = new Set(
    textOf("docs/dependencies.md")
      .split("\n")
      .map((line) =>
        line
          .split("|", 3)
          .map((cell) => cell.trim())
          .join("|"),
      ),
  );
  return Object.entries({ ...dependencies, ...devDependencies })
    .filter(([name, version]) => !rows.has(`|\`${name}\`|${version}`))
    .map(([name, version]) => `docs/dependencies.md has no row "| \`${name}\` | ${version} | why |"`);
}

function noMachinePaths() {
  // alice and the capital letters are names in the test guest and in documents; tests make up users with homes.
  const anywhere = /(?<![\w.:])\/(?:work|farm|Users)\/[A-Za-z0-9]\S*/;
  const outsideTests = /(?<![\w.:])\/home\/(?!alice|[A-Z$<{%])[A-Za-z0-9]\S*/;
  return files
    .filter((name) => textFile.test(name))
    .flatMap((name) =>
      textOf(name)
        .split("\n")
        .flatMap((line, index) => {
          const match = anywhere.exec(line) ?? (topOf(name) === "test" ? null : outsideTests.exec(line));
          return match === null
            ? []
            : [`${name}:${index + 1}: path of one machine: ${match[0].slice(0, 60)}`];
        }),
    );
}

function lockfileNamesNoRegistry() {
  return Object.entries(json("package-lock.json").packages)
    .filter(([, entry]) => entry.resolved !== undefined)
    .map(([name]) => `package-lock.json: ${name} has "resolved", which ties it to one registry`);
}

function limitsAreUsed() {
  const source = typescriptIn(Object.keys(mayImport)).map(textOf).join("\n");
  const names = [...textOf("protocol/limits.ts").matchAll(/^export const (MAX_\w+)/gm)].map(
    (match) => match[1],
  );
  return names
    .filter((name) => source.match(new RegExp(`\\b${name}\\b`, "g")).length < 2)
    .map((name) => `protocol/limits.ts: nothing uses ${name}`);
}

function programsHaveSources() {
  return Object.entries(json("package.json").bin).flatMap(([name, file]) => {
    const built = name === launcher ? `dist/bin/${name}` : `dist/bin/${name}.js`;
    if (file !== built) return [`package.json: bin ${name} is not ${built}`];
    const entry = name === launcher ? `cli/native/${name}.c` : parts[name];
    if (entry === undefined) return [`scripts/build.mjs does not build ${name}`];
    return existsSync(path.join(projectRoot, entry)) ? [] : [`${entry}, the source of ${name}, is missing`];
  });
}

export const repositoryChecks = {
  "import directions": importDirections,
  "commands use the API": commandsUseTheApi,
  "dependencies explained": dependenciesAreExplained,
  "no machine's paths": noMachinePaths,
  "lockfile names no registry": lockfileNamesNoRegistry,
  "limits used": limitsAreUsed,
  "programs have sources": programsHaveSources,
};
