// The Debian package: what is in it, that it comes out the same each time, and what it does to a machine, in a temporary root.

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { treeOf, writeTree } from "../support/tree.ts";

const project = path.resolve(import.meta.dirname, "../..");
const { packageDeb, oldestNode } = (await import(`${project}/scripts/package-deb.mjs`)) as {
  readonly packageDeb: (options: { output: string; epoch: number; node?: string }) => Promise<string>;
  readonly oldestNode: (engines?: string) => string;
};
const EPOCH = 1_767_225_600; // 2026-01-01
const isRoot = process.getuid?.() === 0;

let scratch: string;
let file: string;
let unpacked: string;
const at = (name: string): string => path.join(scratch, name);

function run(command: string, ...args: readonly string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    encoding: "utf8",
    env: { ...process.env, TZ: "UTC", LC_ALL: "C" },
  });
  if (status !== 0)
    throw new Error(`${command} ${args.join(" ")}: ${status ?? error?.message}\n${stdout}${stderr}`);
  return stdout;
}

beforeAll(async () => {
  scratch = fs.mkdtempSync(path.join(os.tmpdir(), "sealtty-package-test-"));
  file = await packageDeb({ output: scratch, epoch: EPOCH, node: process.execPath });
  unpacked = at("unpacked");
  run("dpkg-deb", "-x", file, unpacked);
});
afterAll(() => fs.rmSync(scratch, { recursive: true }));

describe("the package", () => {
  test("has these files with these modes, of root, all of one time", () => {
    const listed = run("dpkg-deb", "-c", file).trim().split("\n");
    const times = new Set(listed.map((line) => line.split(/\s+/).slice(3, 5).join(" ")));
    expect([...times]).toEqual(["2026-01-01 00:00"]);
    const entries = listed.map((line) => {
      const [mode = "", owner, , , , ...name] = line.split(/\s+/);
      return `${mode} ${owner} ${name.join(" ").replace(/^\.\//, "")}`;
    });
    const files = entries.filter((line) => !line.startsWith("d"));
    expect(
      entries
        .filter((line) => line.startsWith("d"))
        .every((line) => line.startsWith("drwxr-xr-x root/root ")),
    ).toBe(true);
    expect(files.toSorted()).toEqual(
      [
        ..."etc/pam.d/sealtty etc/sealtty/sealttyd.example.toml usr/lib/sealtty/pty.node usr/lib/sealtty/initramfs-volumes.sh".split(
          " ",
        ),
        ..."sealtty-provision.service sealttyd.service sealttyd@.service"
          .split(" ")
          .map((unit) => `usr/lib/systemd/system/${unit}`),
        ..."usr/lib/sysusers.d/sealttyd.conf usr/lib/tmpfiles.d/sealttyd.conf".split(" "),
        ..."changelog.Debian.gz changelog.gz copyright"
          .split(" ")
          .map((name) => `usr/share/doc/sealttyd/${name}`),
        ..."doctor install kernel-log provision recovery unlock vnc-guest"
          .split(" ")
          .map((name) => `usr/share/doc/sealttyd/docs/${name}.md.gz`),
        ..."man5/sealttyd.toml.5.gz man8/sealttyd.8.gz".split(" ").map((name) => `usr/share/man/${name}`),
        "usr/share/lintian/overrides/sealttyd",
        ..."look-first.conf needs-disk.conf no-init.conf quiet-step.service quiet.service sealtty-disk.service sealttyd-early.service"
          .split(" ")
          .map((name) => `usr/lib/dracut/modules.d/99sealtty/${name}`),
      ]
        .map((name) => `-rw-r--r-- root/root ${name}`)
        .concat(
          "sealttyd.js sealttyd-screen.js sealttyd-files.js sealttyd-prompts.js sealttyd-connect.js sealttyd-service.js sev-guest-report tdx-report sealtty-session sealtty-confine sealtty-display"
            .split(" ")
            .map((name) => `-rwxr-xr-x root/root usr/lib/sealtty/${name}`),
          "hooks/sealtty scripts/init-bottom/sealtty scripts/init-premount/sealtty"
            .split(" ")
            .map((name) => `-rwxr-xr-x root/root usr/share/initramfs-tools/${name}`),
          "disk.sh module-setup.sh"
            .split(" ")
            .map((name) => `-rwxr-xr-x root/root usr/lib/dracut/modules.d/99sealtty/${name}`),
          "lrwxrwxrwx root/root usr/bin/sealttyd -> ../lib/sealtty/sealttyd.js",
        )
        .toSorted(),
    );
  });

  test("is the same to the byte another time, whatever the umask is", async () => {
    const digest = (name: string): string => createHash("sha256").update(fs.readFileSync(name)).digest("hex");
    const before = process.umask(0o077);
    try {
      const again = await packageDeb({ output: at("again"), epoch: EPOCH, node: process.execPath });
      expect(digest(again)).toBe(digest(file));
    } finally {
      process.umask(before);
    }
  });

  test("needs the Node of package.json, systemd's users, and the libraries of its programs", () => {
    const field = (name: string): string => run("dpkg-deb", "-f", file, name).trim();
    const { version, engines } = JSON.parse(fs.readFileSync(path.join(project, "package.json"), "utf8")) as {
      version: string;
      engines: { node: string };
    };
    expect(field("Version")).toBe(`${version}-1`);
    expect(field("Depends")).toMatch(
      new RegExp(
        String.raw`^libc6 \(>= 2\.\d+\), libgcc-s1, libstdc\+\+6, nodejs \(>= ${oldestNode(engines.node)}\), systemd \|`,
      ),
    );
    expect(oldestNode("^22.12.0 || ^20.19.0 || >=24.0.0")).toBe("20.19.0");
    expect(oldestNode(">=100.2.0 || ^99.10.0 || ^99.9.1")).toBe("99.9.1");
    const [, needed = ""] = /libc6 \(>= ([\d.]+)\)/.exec(field("Depends")) ?? [];
    const asked = "pty.node sealtty-session sealtty-confine sealtty-display sev-guest-report tdx-report"
      .split(" ")
      .map((name) => run("readelf", "-V", path.join(unpacked, "usr/lib/sealtty", name)))
      .flatMap((text) =>
        [...text.matchAll(/GLIBC_(2\.\d+)/g)].map(([, each = ""]) => Number(each.split(".")[1])),
      );
    expect(Number(needed.split(".")[1])).toBe(Math.max(...asked));
  });

  test("its configuration is left alone once it was edited, and its sums are right", () => {
    run("dpkg-deb", "-e", file, at("control"));
    expect(fs.readFileSync(at("control/conffiles"), "utf8").split("\n")).toEqual([
      "/etc/pam.d/sealtty",
      "/etc/sealtty/sealttyd.example.toml",
      "",
    ]);
    const sums = fs.readFileSync(at("control/md5sums"), "utf8").trim().split("\n");
    expect(sums.length).toBe(treeOf(unpacked).filter((line) => line.startsWith("file ")).length);
    expect(
      spawnSync("md5sum", ["--check", "--strict", "--quiet", at("control/md5sums")], { cwd: unpacked })
        .status,
    ).toBe(0);
    for (const script of ["postinst", "prerm", "postrm"]) run("sh", "-n", at(`control/${script}`));
    expect(fs.readFileSync(at("control/triggers"), "utf8")).toBe("activate-noawait update-initramfs\n");
    for (const name of ["hooks", "scripts/init-premount", "scripts/init-bottom"])
      run("sh", "-n", path.join(unpacked, "usr/share/initramfs-tools", name, "sealtty"));
    run("sh", "-n", path.join(unpacked, "usr/lib/sealtty/initramfs-volumes.sh"));
  });

  test("has the licences of all that its programs are made of", () => {
    const text = fs.readFileSync(path.join(unpacked, "usr/share/doc/sealttyd/copyright"), "utf8");
    const programs = fs
      .readdirSync(path.join(unpacked, "usr/lib/sealtty"))
      .filter((name) => name.endsWith(".js"))
      .map((name) => fs.readFileSync(path.join(unpacked, "usr/lib/sealtty", name), "utf8"));
    const bundled = new Set(
      programs.flatMap((program) =>
        [...program.matchAll(/^\/\/ .*node_modules\/((?:@[\w.-]+\/)?[\w.-]+)\//gm)].map(([, name]) => name),
      ),
    );
    expect(bundled.size).toBeGreaterThan(4);
    for (const name of [...bundled, "@xterm/headless", "@lydell/node-pty"])
      expect(text).toMatch(new RegExp(`^${name} \\d+\\.\\d+\\.\\d+ \\(`, "m"));
  });

  test("runs from where it was unpacked, by the Node that it names", () => {
    const program = path.join(unpacked, "usr/bin/sealttyd");
    expect(run(program, "--version")).toMatch(/^sealttyd \d+\.\d+\.\d+\n$/);
    const check = run(
      program,
      "--check",
      "--config",
      path.join(unpacked, "etc/sealtty/sealttyd.example.toml"),
    );
    expect(check).toContain("sealttyd.example.toml: good\n");
    expect(check).not.toContain("beside sealttyd.js");
    expect(check).not.toContain("pty addon");
  });
});

describe("the units", () => {
  const unit = (name: string): string => path.join(unpacked, "usr/lib/systemd/system", name);

  test.each(["sealttyd.service", "sealttyd@.service"])("%s is what systemd takes", (name) => {
    const { stderr, error } = spawnSync("systemd-analyze", ["verify", "--man=no", unit(name)], {
      encoding: "utf8",
      env: { ...process.env, SYSTEMD_LOG_TARGET: "console" },
    });
    if (error !== undefined) {
      expect(error.message).toContain("ENOENT"); // no systemd on this machine: nobody to ask
      return;
    }
    const complaints = stderr
      .split("\n")
      .filter((line) => line.includes("sealttyd"))
      .filter((line) => !line.includes("Command /usr/bin/sealttyd is not executable")); // it is not installed here
    expect(complaints).toEqual([]);
  });

  test("the template differs in its name, its file and its comments only", () => {
    const settings = (name: string): string[] =>
      fs
        .readFileSync(unit(name), "utf8")
        .split("\n")
        .filter((line) => line !== "" && !line.startsWith("#"));
    const plain = settings("sealttyd.service").map((line) =>
      line
        .replace("/etc/sealtty/sealttyd.toml", "/etc/sealtty/%i.toml")
        .replace(/^(Description=.*)$/, "$1 %i")
        .replace(/^(SyslogIdentifier=.*)$/, "$1@%i"),
    );
    expect(settings("sealttyd@.service")).toEqual(plain);
  });
});

if (!isRoot)
  test("NOT RUN: only root may install a package, even below a directory", () => {
    expect(isRoot).toBe(false);
  });

/**
 * Whatever the package's scripts do: this machine's own files cannot be written meanwhile.
 * @returns what was printed.
 */
function shielded(...command: readonly string[]): string {
  const script =
    'for each in /etc /usr /var /opt /root; do mount --bind "$each" "$each" && mount -o remount,bind,ro "$each" || exit 99; done; exec "$@"';
  return run("unshare", "-m", "sh", "-c", script, "sh", ...command);
}

describe.runIf(isRoot)("installed below a directory", () => {
  let root: string;
  const dpkg = (...args: readonly string[]): string =>
    shielded(
      "dpkg",
      `--root=${root}`,
      "--force-script-chrootless",
      "--force-depends", // Node and systemd are not packages there
      ...args,
    );
  const inside = (name: string): string => path.join(root, name);
  const below = (): string[] =>
    treeOf(root).filter(
      (line) => !/^\w+(?: \d+)? (?:var\/lib\/dpkg|var\/log\/dpkg|var\/lib$|var\/log$|var$)/.test(line),
    );

  beforeAll(() => {
    root = at("root");
    writeTree(root, {
      "var/lib/dpkg/status": "",
      "var/lib/dpkg/info/format": "1\n",
      "var/lib/dpkg/updates/.keep": "",
      "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
      "etc/group": "root:x:0:\n",
      "bin/login": "",
    });
    fs.rmSync(inside("var/lib/dpkg/updates/.keep"));
  });

  test("asks nothing, makes the user and the log's directory, enables nothing; set up, removed and purged, it leaves no trace but the user", () => {
    const before = below();
    dpkg("--install", file);
    expect(run("dpkg-query", `--root=${root}`, "-W", "-f", "${db:Status-Abbrev}", "sealttyd")).toBe("ii ");
    expect(fs.readFileSync(inside("etc/passwd"), "utf8")).toMatch(
      /^sealtty:[^:]*:\d+:\d+:[^:]*:\/:\/usr\/sbin\/nologin$/m,
    );
    const log = fs.statSync(inside("var/log/sealtty"));
    expect([log.mode & 0o7777, log.uid]).toEqual([0o700, 0]);
    expect(fs.existsSync(inside("etc/systemd"))).toBe(false);
    const installed = below();

    const setup = (...args: readonly string[]): string =>
      shielded(inside("usr/bin/sealttyd"), "setup", "--root", root, ...args);
    expect(setup("--evidence", "tpm")).toContain("written: /etc/sealtty/sealttyd.toml");
    setup("--remove");
    expect(below()).toEqual(installed);

    setup("--evidence", "tpm");
    dpkg("--remove", "sealttyd");
    expect(fs.existsSync(inside("etc/systemd"))).toBe(false);
    expect(fs.existsSync(inside("etc/sealtty/sealttyd.toml"))).toBe(false);
    expect(fs.existsSync(inside("etc/sealtty/sealttyd.example.toml"))).toBe(true);

    dpkg("--purge", "sealttyd");
    const usersFiles = /^file \d+ etc\/(?:passwd|group|shadow|gshadow)-? |^file \d+ etc\/\.pwd\.lock /;
    expect(below().filter((line) => !usersFiles.test(line))).toEqual(
      before.filter((line) => !usersFiles.test(line)),
    );
  });

  test("what its owner edited, wrote and recorded stays when it is removed, and an upgrade restarts nothing", () => {
    dpkg("--install", file);
    shielded(inside("usr/bin/sealttyd"), "setup", "--root", root, "--evidence", "tpm");
    fs.appendFileSync(inside("etc/sealtty/sealttyd.toml"), "# mine\n");
    fs.writeFileSync(inside("var/log/sealtty/audit.jsonl"), "{}\n");
    const links = treeOf(root).filter((line) => line.startsWith("link etc/systemd"));
    expect(links.length).toBe(3);
    dpkg("--install", file); // over itself: an upgrade
    expect(treeOf(root).filter((line) => line.startsWith("link etc/systemd"))).toEqual(links);
    dpkg("--purge", "sealttyd");
    expect(fs.readFileSync(inside("etc/sealtty/sealttyd.toml"), "utf8")).toMatch(/# mine\n$/);
    expect(fs.readFileSync(inside("var/log/sealtty/audit.jsonl"), "utf8")).toBe("{}\n");
    expect(treeOf(root).filter((line) => line.startsWith("link etc/systemd"))).toEqual([]);
  });
});
