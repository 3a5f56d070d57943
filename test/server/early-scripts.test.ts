// The package's scripts for initramfs-tools, with stubs of the programs around them: what is copied, and which disk is not started.
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";

const packaging = path.resolve(import.meta.dirname, "../../packaging/initramfs-tools");
const VOLUMES = path.join(packaging, "volumes.sh");
const XTS = "0 2048 crypt aes-xts-plain64 :64:logon:cryptsetup:u-d0 0 254:1 32768 1 allow_discards";
const AUTHENTICATED = "0 2048 crypt capi:authenc(hmac(sha256),xts(aes))-random :96:logon:x 0 253:0 0 1 x";

let scratch: string;
const at = (...names: string[]): string => path.join(scratch, ...names);
const put = (file: string, text: string, mode = 0o644): void => {
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, text, { mode });
};
beforeEach(() => {
  scratch = fs.mkdtempSync(path.join(os.tmpdir(), "sealtty-scripts-"));
  fs.mkdirSync(at("sys/block"), { recursive: true });
  fs.mkdirSync(at("tables"));
  // As dmsetup: `table NAME`, or `table --target crypt NAME`.
  put(
    at("bin/dmsetup"),
    `#!/bin/sh
[ "$1" = table ] || exit 3
if [ "$2" = --target ]; then
  while read -r line; do case $line in *" $3 "*) echo "$line" ;; esac; done <'${at("tables")}'/"$4"
else
  cat '${at("tables")}'/"$2"
fi
`,
    0o755,
  );
});
afterEach(() => fs.rmSync(scratch, { recursive: true }));

/** A device of device-mapper's that is open. */
function device(name: string, uuid: string, ...table: string[]): void {
  const directory = at("sys/block", `dm-${fs.readdirSync(at("sys/block")).length}`, "dm");
  put(path.join(directory, "uuid"), `${uuid}\n`);
  put(path.join(directory, "name"), `${name}\n`);
  if (table.length > 0) put(at("tables", name), table.map((line) => `${line}\n`).join(""));
}

function sh(...args: string[]) {
  const env = { PATH: `${at("bin")}:${process.env["PATH"] ?? ""}`, DESTDIR: at("image"), rootmnt: "/root" };
  const { status, signal, stdout, stderr } = spawnSync("sh", args, { encoding: "utf8", env });
  return { status, signal, stdout, stderr };
}

/** One of the package's scripts whose places are below the scratch directory. */
function script(name: string): string {
  const text = fs.readFileSync(path.join(packaging, name), "utf8");
  const moved = text.replaceAll(/(?<=[\s"=<>(])\/(?=(?:scripts|etc|usr|run|sys)\/)/g, `${scratch}/`);
  put(at("script"), moved);
  return at("script");
}

describe("whether what is open is encrypted", () => {
  const problem = (): string => {
    const call = '. "$1"; sealtty_volume_problem "$2" "$3"';
    const { status, stdout, stderr } = sh("-ec", call, "sh", VOLUMES, at("sys/block"), at("ciphers"));
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    return stdout;
  };

  test("volumes with a cipher are, and what is none of cryptsetup's is not looked at", () => {
    expect(problem()).toBe("");
    device("vg-root", "LVM-1", "0 2048 linear 254:1 0");
    device("root_crypt", "CRYPT-LUKS2-1-root_crypt", XTS, XTS);
    device("swap_crypt", "CRYPT-PLAIN-swap_crypt", "0 2048 crypt serpent-xts-plain64 0 0 254:2 0");
    expect(problem()).toBe("");
  });

  test("one of many lines without encryption is enough to be refused", () => {
    for (const [line, words] of [
      ["0 2048 crypt cipher_null-ecb - 0 254:1 32768", /root_crypt is not encrypted \(cipher_null-ecb\)/],
      ["0 2048 crypt capi:ecb(cipher_null)-plain - 0 254:1 32768", /ecb\(cipher_null\)/],
      ["0 2048 crypt", /\(no cipher\)/],
      ["0 2048 linear 254:1 32768", /root_crypt is not encrypted \(linear\)/],
      ["0 2048 zero", /\(zero\)/],
      ["0 2048 integrity 254:1 0 32 J 0", /\(integrity alone\)/],
    ] as const) {
      fs.rmSync(at("sys/block"), { recursive: true });
      fs.mkdirSync(at("sys/block"));
      device("before", "CRYPT-LUKS2-0-before", XTS);
      device("root_crypt", "CRYPT-LUKS2-1-root_crypt", XTS, line, XTS);
      device("after", "CRYPT-LUKS2-2-after", XTS);
      expect(problem()).toMatch(words);
      expect(problem().trimEnd().split("\n")).toHaveLength(1);
    }
  });

  test("a volume that dmsetup says nothing about is refused, and so is a machine that does not name them", () => {
    device("root_crypt", "CRYPT-LUKS2-1-root_crypt");
    expect(problem()).toMatch(/root_crypt .*cannot be seen/);
    fs.rmSync(at("sys/block"), { recursive: true });
    expect(problem()).toMatch(/there is no .*sys\/block/);
  });

  test("ciphers that were written down are the only ones", () => {
    device("root_crypt", "CRYPT-LUKS2-1-root_crypt", XTS);
    put(at("ciphers"), "serpent-xts-plain64\naes-xts-plain64\n");
    expect(problem()).toBe("");
    put(at("ciphers"), "serpent-xts-plain64\naes-xts-plain64-x\nxts\n");
    expect(problem()).toMatch(/root_crypt has the cipher aes-xts-plain64, which no disk had/);
    put(at("ciphers"), "cipher_null-ecb\n");
    device("other", "CRYPT-LUKS2-2-other", "0 1 crypt cipher_null-ecb - 0 254:1 0");
    fs.writeFileSync(at("tables/root_crypt"), "0 1 crypt cipher_null-ecb - 0 254:1 0\n");
    expect(problem()).toMatch(/not encrypted/);
  });

  test("integrity belongs below a volume, which is looked at itself", () => {
    const integrity = "0 2048 integrity 254:1 0 48 J 6 block_size:4096";
    device("root_crypt_dif", "CRYPT-SUBDEV-1-root_crypt_dif", integrity);
    expect(problem()).toMatch(/integrity alone/);
    device("root_crypt", "CRYPT-LUKS2-1-root_crypt", AUTHENTICATED);
    expect(problem()).toBe("");
    fs.writeFileSync(at("tables/root_crypt"), "0 2048 linear 253:0 0\n");
    expect(problem()).toMatch(/root_crypt is not encrypted \(linear\)/);
  });

  test("the ciphers of crypttab's volumes, each once, and of no other disk", () => {
    device("root_crypt", "CRYPT-LUKS2-1-root_crypt", XTS, XTS);
    device("home_crypt", "CRYPT-LUKS2-2-home_crypt", AUTHENTICATED);
    device("usb", "CRYPT-LUKS2-3-usb", "0 2048 crypt serpent-xts-plain64 0 0 254:2 0");
    put(
      at("crypttab"),
      "# usb UUID=1 none luks\n\nroot_crypt UUID=1 none luks\nhome_crypt\t/dev/x\nnone_such /dev/y\n",
    );
    const call = '. "$1"; sealtty_ciphers "$2"';
    expect(sh("-ec", call, "sh", VOLUMES, at("crypttab")).stdout).toBe(
      "aes-xts-plain64\ncapi:authenc(hmac(sha256),xts(aes))-random\n",
    );
    put(at("unended"), "root_crypt UUID=1 none luks");
    expect(sh("-ec", call, "sh", VOLUMES, at("unended")).stdout).toBe("aes-xts-plain64\n");
    expect(sh("-ec", call, "sh", VOLUMES, at("none"))).toMatchObject({ status: 0, stdout: "" });
  });
});

describe("init-bottom", () => {
  /** What initramfs-tools has: `panic` ends here what it would end there by a reboot; run-init says what it was asked. */
  beforeEach(() => {
    put(at("etc/sealtty/sealttyd.toml"), "");
    put(at("usr/lib/sealtty/initramfs-volumes.sh"), fs.readFileSync(VOLUMES, "utf8"));
    put(at("scripts/functions"), 'panic() {\n  echo "panic: $*"\n  kill -TERM $$\n  exit\n}\n');
    put(at("bin/run-init"), "#!/bin/sh\nprintf '%s\\n' \"$*\"\n", 0o755);
  });
  /** An early sealttyd, as far as files say: its process is gone. */
  const running = (): void => {
    const gone = spawnSync("sh", ["-c", "echo $$"], { encoding: "utf8" }).stdout;
    put(at("run/sealtty/early.pid"), gone);
    put(at("run/sealtty/early.group"), gone);
  };

  test("hands over to a system that can be run, on a disk that is encrypted", () => {
    running();
    device("root_crypt", "CRYPT-LUKS2-1-root_crypt", XTS);
    const { status, stdout } = sh(script("scripts/init-bottom/sealtty"));
    expect({ status, stdout }).toEqual({ status: 0, stdout: "-n /root /sbin/init\n" });
    expect(fs.readdirSync(at("run/sealtty"))).toEqual([]);
  });

  test("looks also where sealttyd did not start, and for the init that was asked for; nothing where it is not wanted", () => {
    const bottom = script("scripts/init-bottom/sealtty");
    expect(sh("-c", 'init=/bin/other; export init; . "$1"', "sh", bottom).stdout).toBe(
      "-n /root /bin/other\n",
    );
    fs.rmSync(at("etc/sealtty/sealttyd.toml"));
    expect(sh(bottom)).toMatchObject({ status: 0, stdout: "" });
  });

  test.each<[string, () => void, RegExp]>([
    [
      "no init",
      () => put(at("bin/run-init"), "#!/bin/sh\nexit 1\n", 0o755),
      /^panic: sealtty: there is no \/sbin\/init on the root disk/,
    ],
    [
      "a plain root",
      () => device("r", "CRYPT-LUKS2-1-r", "0 1 linear 254:1 0"),
      /^panic: sealtty: the volume r is not encrypted/,
    ],
    [
      "another cipher",
      () => {
        device("r", "CRYPT-LUKS2-1-r", XTS);
        put(at("etc/sealtty/ciphers"), "serpent-xts-plain64\n");
      },
      /^panic: .*which no disk had/,
    ],
  ])("with %s it panics while sealttyd is still there, and does not go on", (_what, make, words) => {
    running();
    make();
    const { status, signal, stdout } = sh(script("scripts/init-bottom/sealtty"));
    expect(stdout).toMatch(words);
    expect({ status, signal }).toEqual({ status: null, signal: "SIGTERM" });
    expect(fs.readdirSync(at("run/sealtty")).toSorted()).toEqual(["early.group", "early.pid"]);
  });

  test("a panic that comes back is another one, and never a boot", () => {
    running();
    put(at("bin/run-init"), "#!/bin/sh\nexit 1\n", 0o755);
    put(
      at("scripts/functions"),
      `panic() {\n  echo again\n  [ ! -e '${at("once")}' ] || kill -TERM $$\n  : >'${at("once")}'\n  exit\n}\n`,
    );
    const { signal, stdout } = sh(script("scripts/init-bottom/sealtty"));
    expect({ signal, stdout }).toEqual({ signal: "SIGTERM", stdout: "again\nagain\n" });
    expect(fs.existsSync(at("run/sealtty/early.pid"))).toBe(true);
  });
});

describe("the hook", () => {
  beforeEach(() => {
    put(at("etc/sealtty/initramfs.toml"), "its text");
    put(at("usr/lib/sealtty/initramfs-volumes.sh"), fs.readFileSync(VOLUMES, "utf8"));
    put(
      at("usr/share/initramfs-tools/hook-functions"),
      'copy_exec() { echo "exec $1"; }\ncopy_file() { echo "file $2"; }\nmanual_add_modules() { :; }\n',
    );
    put(
      at("bin/getent"),
      '#!/bin/sh\n[ "$*" = "passwd early-half" ] && echo "early-half:x:7:7::/:/bin/false"\n',
      0o755,
    );
  });
  const check = (...lines: string[]): void =>
    put(
      at("usr/lib/sealtty/sealttyd.js"),
      `#!/bin/sh\nprintf '%s\\n' ${lines.map((line) => `'${line}'`).join(" ")}\n`,
      0o755,
    );

  test("has the user whom the configuration names, dmsetup, and the ciphers of this system", () => {
    check("program /bin/p", "file /lib/f", "user early-half");
    device("root_crypt", "CRYPT-LUKS2-1-root_crypt", XTS);
    put(at("etc/crypttab"), "root_crypt UUID=1 none luks\n");
    put(at("image/scripts/local-premount/resume"), "as initramfs-tools has it");
    const { status, stdout, stderr } = sh(script("hooks/sealtty"));
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(stdout.trimEnd().split("\n")).toEqual([
      "exec /bin/p",
      "file /lib/f",
      `file ${at("usr/lib/sealtty/initramfs-volumes.sh")}`,
      `exec ${at("bin/dmsetup")}`,
    ]);
    const image = (name: string): string => fs.readFileSync(at("image", name), "utf8");
    expect(image("etc/passwd")).toBe("root:x:0:0:root:/:/bin/sh\nearly-half:x:7:7::/:/bin/false\n");
    expect(image("etc/sealtty/ciphers")).toBe("aes-xts-plain64\n");
    expect(image("etc/sealtty/sealttyd.toml")).toBe("its text");
    // No system of the host's is woken in this one's place.
    expect(image("conf/conf.d/zzz-sealtty")).toBe("RESUME=none\n");
    expect(fs.existsSync(at("image/scripts/local-premount/resume"))).toBe(false);
  });

  test.each([
    ["its configuration", "etc/sealtty/sealttyd.toml/initramfs.toml/taken"],
    ["the ciphers of this system", "etc/sealtty/ciphers/taken"],
    ["its user", "etc/passwd/taken"],
    ["what shuts the initramfs's own shell", "conf/conf.d/sealtty/taken"],
    ["what keeps a sleeping system asleep", "conf/conf.d/zzz-sealtty/taken"],
    ["its directory", "etc/sealtty"],
  ])("fails where it cannot write %s, as on a disk that is full", (_what, taken) => {
    check("program /bin/p", "user early-half");
    put(at("image", taken), "");
    const { status, stderr } = sh(script("hooks/sealtty"));
    expect(status).toBe(1);
    expect(stderr).toMatch(/^sealtty: /m);
  });

  test("copies a file whose name has what echo would take for an escape, and those behind it", () => {
    check(String.raw`file /lib/a\cb`, "file /lib/f");
    expect(sh(script("hooks/sealtty")).stdout).toMatch(/file \/lib\/f$/m); // the stub has an echo, too
  });

  test("fails without that user", () => {
    check("program /bin/p", "user nobody-such");
    const { status, stderr } = sh(script("hooks/sealtty"));
    expect(status).toBe(1);
    expect(stderr).toMatch(/there is no user nobody-such, whom \[daemon\] user names/);
  });
});
