// `npm run package`: sealttyd as a Debian package, below dist. The same sources and the same dist/bin give the same bytes.
//   npm run package -- [--with-node] [--output DIRECTORY]
//   --with-node   puts the Node that runs this into it, stripped, for systems whose own is too old (Debian 12)

import { createHash } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  lutimesSync,
  writeFileSync,
} from "node:fs";
import os from "node:os";
import path from "node:path";
import { gzipSync } from "node:zlib";
import { build, copyPtyAddon } from "./build.mjs";
import { buildNative, hasCompiler, nativeHelpers } from "./build-native.mjs";
import { librariesOf } from "./lib/guest-programs.mjs";
import { ensureNodeModules } from "./lib/install.mjs";
import {
  isMain,
  mustRun,
  projectRoot,
  replaceFile,
  run,
  runScript,
  ScriptError,
  secondsSince,
} from "./lib/run.mjs";
import { optionsAreFine } from "./lib/usage.mjs";

const NAME = "sealttyd";
const LIBRARY = "usr/lib/sealtty";
const SCRIPTS = [
  "sealttyd.js",
  "sealttyd-screen.js",
  "sealttyd-files.js",
  "sealttyd-prompts.js",
  "sealttyd-connect.js",
  "sealttyd-service.js",
];
const UNITS = ["sealttyd.service", "sealttyd@.service", "sealtty-provision.service"];
/** What a package manager does not replace once somebody changed it. */
const CONFIGURATION = {
  "etc/pam.d/sealtty": "pam.d/sealtty",
  "etc/sealtty/sealttyd.example.toml": "sealttyd.example.toml",
};
/** By their places; each does nothing without /etc/sealtty/initramfs.toml. */
const EARLY = {
  "usr/share/initramfs-tools/hooks/sealtty": "initramfs-tools/hooks/sealtty",
  "usr/share/initramfs-tools/scripts/init-premount/sealtty": "initramfs-tools/scripts/init-premount/sealtty",
  "usr/share/initramfs-tools/scripts/init-bottom/sealtty": "initramfs-tools/scripts/init-bottom/sealtty",
};
/** By their modes; does nothing without /etc/sealtty/initramfs.toml either. */
const DRACUT_MODULE = "usr/lib/dracut/modules.d/99sealtty";
const DRACUT_FILES = {
  "module-setup.sh": 0o755,
  "disk.sh": 0o755,
  "look-first.conf": 0o644,
  "needs-disk.conf": 0o644,
  "no-init.conf": 0o644,
  "quiet.service": 0o644,
  "quiet-step.service": 0o644,
  "sealtty-disk.service": 0o644,
  "sealttyd-early.service": 0o644,
};
/** What the programs' own words call docs/NAME.md, as far as it is about the guest. */
const GUIDES = ["doctor", "install", "kernel-log", "provision", "recovery", "unlock", "vnc-guest"];
const MAINTAINER_SCRIPTS = ["postinst", "postrm", "prerm"];
/** Debian's names of Node's. */
const ARCHITECTURES = { x64: "amd64", arm64: "arm64" };
const USAGE = `npm run package -- [--with-node] [--output DIRECTORY]

A Debian package of sealttyd with its units, user, PAM file and manual, in dist.

  --with-node         with the Node that runs this, for systems whose own is older than package.json's engines allow
  --output DIRECTORY  where to put it (default dist)

SOURCE_DATE_EPOCH is the time of all files in it; without it, that of the latest commit.
`;
const OPTIONS = { "with-node": { type: "boolean" }, output: { type: "string" } };

const fromProject = (name) => readFileSync(path.join(projectRoot, name));
const manifest = () => JSON.parse(fromProject("package.json").toString());
/** The same order on every machine. */
const byCode = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
const gzipped = (data) => gzipSync(data, { level: 9 }); // Node writes no time into it

/** @returns {string} the first version of Node that will do, as Debian compares them; later gaps cannot be said there. */
export function oldestNode(engines = manifest().engines.node) {
  const versions = [...engines.matchAll(/\d+\.\d+\.\d+/g)].map(([version]) => version);
  const oldest = versions.toSorted((a, b) => a.localeCompare(b, "en", { numeric: true }))[0];
  if (oldest === undefined) throw new ScriptError(`package.json: no version in engines.node: ${engines}`);
  return oldest;
}

/** Seconds since 1970. */
async function sourceDate() {
  const told = process.env.SOURCE_DATE_EPOCH;
  const { stdout } = told === undefined ? await run("git", ["log", "-1", "--format=%ct"]) : { stdout: told };
  if (!/^\d{1,12}\s*$/.test(stdout))
    throw new ScriptError("No commit to take the time from: set SOURCE_DATE_EPOCH to seconds since 1970");
  return Number(stdout);
}

/** @param {number} epoch @returns {string} as in a Debian changelog. */
const debianDate = (epoch) => new Date(epoch * 1000).toUTCString().replace("GMT", "+0000");

const maintainer = () =>
  `${process.env.DEBFULLNAME ?? "sealtty"} <${process.env.DEBEMAIL ?? "packages@sealtty.invalid"}>`;

const installed = (name) =>
  JSON.parse(readFileSync(path.join(projectRoot, "node_modules", name, "package.json"), "utf8"));

/** What sealtty's programs are made of: the packages of its package.json, and what those need. */
function runtimePackages(names = Object.keys(manifest().dependencies), found = new Set()) {
  for (const name of names) {
    if (found.has(name)) continue;
    found.add(name);
    runtimePackages(Object.keys(installed(name).dependencies ?? {}), found);
  }
  return [...found].toSorted(byCode);
}

/** The licence that a package comes with; one of its authors' packages that has none takes the other's. */
function licenceOf(name) {
  const sources = [name, ...(name.startsWith("@xterm/") ? ["@xterm/xterm", "@xterm/addon-unicode11"] : [])];
  for (const source of sources) {
    const directory = path.join(projectRoot, "node_modules", source);
    const file = readdirSync(directory).find((each) => /^licen[cs]e(?:\.\w+)?$/i.test(each));
    if (file !== undefined) return readFileSync(path.join(directory, file), "utf8");
  }
  throw new ScriptError(`node_modules/${name} has no licence to put into the package`);
}

function copyright(nodeLicence) {
  const parts = runtimePackages().map((name) => {
    const { version, license } = installed(name);
    return `${"-".repeat(78)}\n${name} ${version} (${license})\n\n${licenceOf(name).trim()}\n`;
  });
  if (nodeLicence !== undefined)
    parts.push(`${"-".repeat(78)}\nNode.js ${process.version}\n\n${nodeLicence}`);
  const own =
    "sealtty: its sources state no licence.\n\nIts programs contain, or come with, parts of the following.\n";
  return [own, ...parts].join("\n");
}

function changelog(version, epoch) {
  return `${NAME} (${version}) unstable; urgency=medium\n\n  * changelog.gz has what is in it.\n\n -- ${maintainer()}  ${debianDate(epoch)}\n`;
}

/** @param {readonly Buffer[]} programs - @returns what they need of the C and C++ libraries, as they say it themselves. */
function libraryDependencies(programs) {
  const texts = programs.map((program) => program.toString("latin1"));
  const versions = texts.flatMap((text) =>
    [...text.matchAll(/\bGLIBC_(2\.\d+)/g)].map(([, version]) => version),
  );
  const newest = versions.toSorted((a, b) => b.localeCompare(a, "en", { numeric: true }))[0];
  const needs = (library) => texts.some((text) => text.includes(`${library}\0`));
  return [
    `libc6${newest === undefined ? "" : ` (>= ${newest})`}`,
    ...(needs("libgcc_s.so.1") ? ["libgcc-s1"] : []),
    ...(needs("libstdc++.so.6") ? ["libstdc++6"] : []),
  ];
}

function control({ version, architecture, size, depends }) {
  return `Package: ${NAME}
Version: ${version}
Architecture: ${architecture}
Maintainer: ${maintainer()}
Installed-Size: ${size}
Depends: ${depends.join(", ")}
Recommends: kmod, libpam-modules, libpam-runtime
Section: admin
Priority: optional
Description: encrypted guest console of a confidential VM
 The console of a virtual machine ends in its host, which reads every
 password and can type. This is the server that runs in the guest: a console
 that the host can carry but not read, for clients that first appraise the
 guest's evidence (AMD SEV-SNP, Intel TDX, Azure, TPM 2.0).
 .
 Nothing is enabled by installing it: "sealttyd setup" writes a configuration
 for what the machine has, and enables the service.
`;
}

/** Its own libraries must be those of every Debian system. @returns {Promise<string>} Node's licence. */
async function requireBundleableNode() {
  const usual = /^(?:libdl|libstdc\+\+|libm|libgcc_s|libpthread|libc|libatomic|ld-linux[\w-]*)\.so/;
  const others = (await librariesOf(process.execPath))
    .map((file) => path.basename(file))
    .filter((name) => !usual.test(name));
  if (others.length > 0)
    throw new ScriptError(
      `${process.execPath} needs ${others.join(", ")}: take a Node from nodejs.org for --with-node`,
    );
  const node = realpathSync(process.execPath);
  const found = ["../LICENSE", "../share/doc/nodejs/LICENSE", "../share/doc/node/LICENSE"]
    .map((name) => path.resolve(path.dirname(node), name))
    .find((name) => existsSync(name));
  if (found === undefined) throw new ScriptError(`Node's file LICENSE is not where ${node} is from`);
  return readFileSync(found, "utf8");
}

/** Fills a directory with the package's files. */
class Staging {
  /** @param {string} directory - empty. */
  constructor(directory) {
    this.directory = directory;
    chmodSync(directory, 0o755);
  }

  #place(name) {
    let above = this.directory;
    for (const part of path.dirname(name).split("/")) {
      above = path.join(above, part);
      if (existsSync(above)) continue;
      mkdirSync(above);
      chmodSync(above, 0o755); // whatever the umask is
    }
    return path.join(this.directory, name);
  }

  write(name, data, mode = 0o644) {
    const file = this.#place(name);
    writeFileSync(file, data);
    chmodSync(file, mode);
  }

  link(name, target) {
    symlinkSync(target, this.#place(name));
  }

  entries() {
    return readdirSync(this.directory, { recursive: true })
      .toSorted(byCode)
      .map((name) => ({ name, stat: lstatSync(path.join(this.directory, name)) }));
  }

  files() {
    return this.entries().filter(({ name, stat }) => stat.isFile() && !name.startsWith("DEBIAN"));
  }

  read(name) {
    return readFileSync(path.join(this.directory, name));
  }

  /** All of the same time, directories and links, too. */
  setTimes(epoch) {
    for (const { name } of this.entries()) lutimesSync(path.join(this.directory, name), epoch, epoch);
    lutimesSync(this.directory, epoch, epoch);
  }
}

/**
 * @param {{ dist?: string, output?: string, withNode?: boolean, node?: string, epoch?: number, compression?: "xz" | "none" }} [options] - dist: with bin and
 *   share of a build. node: where the machine has it, unless it comes with the package.
 * @returns {Promise<string>} the package's file.
 */
export async function packageDeb({
  dist = path.join(projectRoot, "dist"),
  output = path.join(projectRoot, "dist"),
  withNode = false,
  node = withNode ? `/${LIBRARY}/node` : "/usr/bin/node",
  epoch,
  compression = "xz",
} = {}) {
  const architecture = ARCHITECTURES[process.arch];
  if (process.platform !== "linux" || architecture === undefined)
    throw new ScriptError("A package is made on Linux, on x86-64 or arm64, for the same");
  if (!(await hasCompiler())) throw new ScriptError("That needs a C compiler (Debian: gcc and libc6-dev)");
  const time = epoch ?? (await sourceDate());
  const version = `${manifest().version}-1`;
  const scratch = mkdtempSync(path.join(os.tmpdir(), "sealtty-package-"));
  try {
    const tree = path.join(scratch, "tree");
    mkdirSync(tree);
    const staging = new Staging(tree);
    const nodeLicence = withNode ? await requireBundleableNode() : undefined;
    for (const name of SCRIPTS) {
      const text = readFileSync(path.join(dist, "bin", name), "utf8");
      // Not by env: whoever starts it would decide which Node, by PATH.
      staging.write(`${LIBRARY}/${name}`, text.replace(/^#!.*\n/, `#!${node}\n`), 0o755);
    }
    staging.link("usr/bin/sealttyd", "../lib/sealtty/sealttyd.js");

    const binaries = path.join(scratch, "bin");
    await buildNative({ directory: binaries, isStatic: false });
    await copyPtyAddon(binaries);
    if (withNode) copyFileSync(realpathSync(process.execPath), path.join(binaries, "node"));
    const programs = ["pty.node", ...nativeHelpers, ...(withNode ? ["node"] : [])];
    for (const name of programs) {
      await mustRun("strip", ["--strip-unneeded", "--remove-section=.comment", path.join(binaries, name)]);
      staging.write(
        `${LIBRARY}/${name}`,
        readFileSync(path.join(binaries, name)),
        name === "pty.node" ? 0o644 : 0o755,
      );
    }

    for (const unit of UNITS)
      staging.write(`usr/lib/systemd/system/${unit}`, fromProject(`packaging/systemd/${unit}`));
    for (const kind of ["sysusers.d", "tmpfiles.d"])
      staging.write(`usr/lib/${kind}/sealttyd.conf`, fromProject(`packaging/${kind}/sealttyd.conf`));
    for (const [name, source] of Object.entries(EARLY))
      staging.write(name, fromProject(`packaging/${source}`), 0o755);
    for (const [name, mode] of Object.entries(DRACUT_FILES))
      staging.write(`${DRACUT_MODULE}/${name}`, fromProject(`packaging/dracut/${name}`), mode);
    staging.write(`${LIBRARY}/initramfs-volumes.sh`, fromProject("packaging/initramfs-tools/volumes.sh"));
    for (const [name, source] of Object.entries(CONFIGURATION))
      staging.write(name, fromProject(`packaging/${source}`));
    for (const page of ["man8/sealttyd.8", "man5/sealttyd.toml.5"])
      staging.write(`usr/share/man/${page}.gz`, gzipped(readFileSync(path.join(dist, "share/man", page))));
    staging.write(`usr/share/lintian/overrides/${NAME}`, fromProject("packaging/deb/lintian-overrides"));
    const documents = `usr/share/doc/${NAME}`;
    staging.write(`${documents}/copyright`, copyright(nodeLicence));
    for (const guide of GUIDES)
      staging.write(`${documents}/docs/${guide}.md.gz`, gzipped(fromProject(`docs/${guide}.md`)));
    staging.write(`${documents}/changelog.gz`, gzipped(fromProject("CHANGELOG.md")));
    staging.write(`${documents}/changelog.Debian.gz`, gzipped(Buffer.from(changelog(version, time))));

    const native = programs.map((name) => staging.read(`${LIBRARY}/${name}`));
    const depends = [
      ...libraryDependencies(native),
      ...(withNode ? [] : [`nodejs (>= ${oldestNode()})`]),
      "systemd | systemd-standalone-sysusers | systemd-sysusers",
    ];
    const size = staging
      .entries()
      .reduce((sum, { stat }) => sum + Math.ceil((stat.isFile() ? stat.size : 1) / 1024), 0);
    const sums = staging
      .files()
      .map(({ name }) => `${createHash("md5").update(staging.read(name)).digest("hex")}  ${name}\n`);
    staging.write("DEBIAN/control", control({ version, architecture, size, depends }));
    staging.write(
      "DEBIAN/conffiles",
      Object.keys(CONFIGURATION)
        .map((name) => `/${name}\n`)
        .join(""),
    );
    // A new version is to be in the initramfs, too, where an old one is. dpkg knows nobody of that name where there is none.
    staging.write("DEBIAN/triggers", "activate-noawait update-initramfs\n");
    staging.write("DEBIAN/md5sums", sums.join(""));
    for (const script of MAINTAINER_SCRIPTS)
      staging.write(`DEBIAN/${script}`, fromProject(`packaging/deb/${script}`), 0o755);
    staging.setTimes(time);

    const file = path.join(output, `${NAME}_${version}_${architecture}.deb`);
    await replaceFile(file, (unfinished) =>
      mustRun(
        "dpkg-deb",
        ["--root-owner-group", `-Z${compression}`, "--build", staging.directory, unfinished],
        {
          // One thread: several divide what is compressed by their number.
          env: { ...process.env, SOURCE_DATE_EPOCH: String(time), DPKG_DEB_THREADS_MAX: "1" },
        },
      ),
    );
    return file;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Other programs' word on it, where this machine has them. */
async function reportOn(file) {
  const { status, stdout } = await run("lintian", ["--tag-display-limit", "0", file]);
  if (status === 127) process.stdout.write("lintian is not here (Debian: lintian): not asked\n");
  else
    process.stdout.write(
      stdout === ""
        ? "lintian: nothing to say\n"
        : stdout.replaceAll(/^/gm, "lintian: ").replace(/lintian: $/, ""),
    );
  for (const unit of UNITS) {
    const source = path.join(projectRoot, "packaging/systemd", unit);
    const score = await run("systemd-analyze", ["security", "--offline=true", "--no-pager", source]);
    const [overall] = /Overall exposure level .*/.exec(score.stdout) ?? [];
    process.stdout.write(
      overall === undefined
        ? "systemd-analyze cannot tell here\n"
        : `systemd-analyze security: ${overall} (docs/install.md says why)\n`,
    );
  }
}

if (isMain(import.meta)) {
  await runScript(async () => {
    if (!optionsAreFine("npm run package", OPTIONS, USAGE)) return;
    const { values } = (await import("node:util")).parseArgs({ options: OPTIONS });
    const start = performance.now();
    await ensureNodeModules();
    await build(["sealttyd"]);
    const file = await packageDeb({
      withNode: values["with-node"] === true,
      ...(values.output === undefined ? {} : { output: path.resolve(values.output) }),
    });
    const data = readFileSync(file);
    process.stdout.write(
      `${file}: ${(data.length / 1e6).toFixed(1)} MB, in ${secondsSince(start)}\nSHA-256 ${createHash("sha256").update(data).digest("hex")}\n`,
    );
    await reportOn(file);
  });
}
