// The package's module for dracut, with stubs of dracut and of the programs around it: what is copied, what is closed, and which root is
// not started. test/vm/whole-debian-dracut.test.ts boots one that the real dracut made.
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";

const packaging = path.resolve(import.meta.dirname, "../../packaging");
const MODULE = path.join(packaging, "dracut");
const VOLUMES = fs.readFileSync(path.join(packaging, "initramfs-tools/volumes.sh"), "utf8");
const XTS = "0 2048 crypt aes-xts-plain64 :64:logon:cryptsetup:u-d0 0 254:1 32768";

let scratch: string;
const at = (...names: string[]): string => path.join(scratch, ...names);
const put = (file: string, text: string, mode = 0o644): void => {
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, text, { mode });
};
beforeEach(() => {
  scratch = fs.mkdtempSync(path.join(os.tmpdir(), "sealtty-dracut-"));
  put(at("usr/lib/sealtty/initramfs-volumes.sh"), VOLUMES);
  put(at("bin/dmsetup"), `#!/bin/sh\nfor name in "$@"; do :; done\ncat '${at("tables")}'/"$name"\n`, 0o755);
});
afterEach(() => fs.rmSync(scratch, { recursive: true }));

/** One of the module's scripts whose places are below the scratch directory. */
function script(name: string): string {
  const text = fs.readFileSync(path.join(MODULE, name), "utf8");
  const moved = text.replaceAll(
    /(?<=[\s"=<>(])(?<!\binit=)\/(?=(?:dev\/kmsg|etc|usr|proc|sys|sysroot)\b)/g,
    `${scratch}/`,
  );
  put(at("module", name), moved);
  return at("module", name);
}

function run(shell: string, ...args: string[]) {
  const env = { PATH: `${at("bin")}:${process.env["PATH"] ?? ""}` };
  const { status, stdout, stderr } = spawnSync(shell, args, { encoding: "utf8", env });
  return { status, stdout, stderr };
}

/** A device of device-mapper's that is open. */
function device(name: string, table: string): void {
  put(at("sys/block/dm-0/dm/uuid"), `CRYPT-LUKS2-1-${name}\n`);
  put(at("sys/block/dm-0/dm/name"), `${name}\n`);
  put(at("tables", name), `${table}\n`);
}

describe("before the system is started", () => {
  /** As chroot: notes what is executed and how, and ends as a file beside the program says, or as where there is none. */
  beforeEach(() => {
    put(
      at("bin/chroot"),
      `#!/bin/sh\necho "$*" >>'${at("executed")}'\nread -r status <"$1$4" || exit 127\nexit "$status"\n`,
      0o755,
    );
    fs.mkdirSync(at("sys/block"), { recursive: true });
    put(at("proc/cmdline"), "root=/dev/mapper/root_crypt ro quiet\n");
    put(at("sysroot/sbin/init"), "0\n");
    put(at("dev/kmsg"), "");
    device("root_crypt", XTS);
  });
  const disk = () => run("sh", script("disk.sh"));
  const executed = (): string => fs.readFileSync(at("executed"), "utf8");
  const asked = (init: string): string =>
    `${at("sysroot")} ${at("usr/bin/env")} LD_TRACE_LOADED_OBJECTS=1 ${init} --version\n`;

  test("an encrypted disk, with an init that can be executed, is", () => {
    expect(disk()).toEqual({ status: 0, stdout: "", stderr: "" });
    expect(executed()).toBe(asked("/sbin/init"));
    expect(fs.readFileSync(at("dev/kmsg"), "utf8")).toBe("");
  });

  test.each([
    ["the usual init", "* init=/lib/systemd/systemd init=/sbin/init quiet init=/usr/lib/systemd/systemd\n"],
    ["nothing for the system's init", `rdinit=/bin/no sysinit=/x x.init=/y note="it's \\"\n`],
    ["no line's end", "quiet"],
    ["nothing", "\n"],
  ])("so it is where the command line names %s", (_what, line) => {
    put(at("proc/cmdline"), line);
    expect(disk()).toEqual({ status: 0, stdout: "", stderr: "" });
    expect(executed()).toBe(asked("/sbin/init"));
  });

  test.each([
    "init=/bin/sh",
    "ro init=/sbin/init init=/bin/other quiet",
    "init=",
    'init="/bin/sh"',
    "'init=/bin/sh'",
    'i"n"it=/bin/sh',
    String.raw`in\it=/bin/sh`,
    `x="a 'b" "rd.init=/bin/sh"`,
    "quiet\ninit=/bin/sh",
    "quiet\rinit=/bin/sh",
    "quiet\tinit=/lib/systemd/systemd/../../../bin/sh",
  ])("it is not where the command line names another init: %j", (line) => {
    put(at("proc/cmdline"), `${line}\n`);
    expect(disk().status).toBe(1);
    expect(fs.readFileSync(at("dev/kmsg"), "utf8")).toBe(
      "<3>sealtty: the command line names an init that is not the usual one; the system is not started\n",
    );
  });

  test.each<[string, () => void, RegExp]>([
    [
      "no init",
      () => fs.rmSync(at("sysroot/sbin/init")),
      /no \/sbin\/init on the root disk that could be run/,
    ],
    ["an init that may not be executed", () => put(at("sysroot/sbin/init"), "126\n"), /no \/sbin\/init/],
    ["an init that ends badly", () => put(at("sysroot/sbin/init"), "2\n"), /no \/sbin\/init/],
    ["an init that crashes", () => put(at("sysroot/sbin/init"), "139\n"), /no \/sbin\/init/],
    ["a root that cannot be entered", () => put(at("sysroot/sbin/init"), "125\n"), /no \/sbin\/init/],
    ["no command line", () => fs.rmSync(at("proc/cmdline")), /command line could not be read/],
    ["a plain root", () => device("root_crypt", "0 1 linear 254:1 0"), /volume root_crypt is not encrypted/],
    ["another cipher", () => put(at("etc/sealtty/ciphers"), "serpent-xts-plain64\n"), /which no disk had/],
    ["no list of volumes", () => fs.rmSync(at("sys"), { recursive: true }), /there is no .*sys\/block/],
    [
      "no way to look",
      () => put(at("usr/lib/sealtty/initramfs-volumes.sh"), "sealtty_volume_problem() { return 1; }\n"),
      /could not be looked at/,
    ],
  ])("with %s it is not, and the kernel's log says why", (_what, make, words) => {
    make();
    const { status, stdout } = disk();
    expect(status).toBe(1);
    expect(stdout).toMatch(words);
    expect(stdout).toMatch(/; the system is not started\n$/);
    const logged = fs.readFileSync(at("dev/kmsg"), "utf8");
    expect(logged).toMatch(words);
    expect(logged).toMatch(/^<3>sealtty: [^\n]*\n$/);
  });
});

describe("the module", () => {
  const image = (...names: string[]): string => at("image", ...names);
  /** dracut's functions, as far as it calls them; what the image has is left, as there. */
  const DRACUT = `dfatal() { echo "fatal: $*" >&2; }
dwarn() { echo "warning: $*" >&2; }
inst_simple() { [ -e "$initdir/\${2:-$1}" ] && return 0; [ -e "$1" ] || return 1; mkdir -p "$initdir/$(dirname "\${2:-$1}")"; cp -p "$1" "$initdir/\${2:-$1}"; }
inst_library() { echo "library $1"; [ -e "$1" ]; }
inst_multiple() { echo "multiple $*"; }
instmods() { echo "modules $*"; }
dracut_module_included() { [[ " $included " == *" $1 "* ]]; }
`;
  beforeEach(() => {
    put(at("etc/sealtty/initramfs.toml"), "its text");
    put(
      at("bin/getent"),
      '#!/bin/sh\n[ "$*" = "passwd early-half" ] && echo "early-half:x:7:7::/:/bin/false"\n',
      0o755,
    );
    put(at("dracut.sh"), DRACUT);
    // As dracut's own modules leave it, of a system that is this one.
    put(image("etc/passwd"), "root::0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n");
    put(image("etc/shadow"), "root:$y$hash:1::::::\n");
    put(image("usr/lib/systemd/system-generators/systemd-debug-generator"), "");
    put(image("usr/lib/systemd/system-generators/systemd-fstab-generator"), "");
    for (const name of fs.readdirSync(MODULE)) script(name);
  });
  const check = (...lines: string[]): void =>
    put(
      at("usr/lib/sealtty/sealttyd.js"),
      `#!/bin/sh\nprintf '%s\\n' ${lines.map((line) => `'${line}'`).join(" ")}\n`,
      0o755,
    );
  const call = (step: string, included = "systemd-initrd dracut-systemd") =>
    run(
      "bash",
      "--norc",
      "-c",
      `set -o pipefail; initdir=$1; moddir=$2; included=$3; . "$4"; . "$2/module-setup.sh"; ${step}`,
      ...["bash", image(), at("module"), included, at("dracut.sh")],
    );
  const install = (included?: string) => call("install; echo over", included);

  test("is for whom has a configuration for an initramfs, and not for what dracut mounts", () => {
    expect(call("check").status).toBe(0);
    expect(call("mount_needs=1; check").status).toBe(1);
    fs.rmSync(at("etc/sealtty/initramfs.toml"));
    expect(call("check").status).toBe(1);
  });

  test("has what sealttyd names, libraries of an addon among it, its user, and the ciphers of this system", () => {
    put(at("lib/plain"), "no program");
    put(at("lib/addon.node"), "");
    put(
      at("bin/ldd"),
      `#!/bin/sh\ncase $1 in *addon.node) echo "\tlinux-vdso.so.1 (0x1)"; echo "\tlibx.so.1 => ${at("lib/plain")} (0x2)"; echo "\t${at("lib/addon.node")} (0x3)";; *) echo "\tnot a dynamic executable"; exit 1;; esac\n`,
      0o755,
    );
    check(
      `program ${at("lib/addon.node")}`,
      `program ${at("bin/getent")}`,
      `file ${at("lib/plain")}`,
      "user early-half",
    );
    device("root_crypt", XTS);
    put(at("etc/crypttab"), "root_crypt UUID=1 none luks\n");
    const { status, stdout, stderr } = install();
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(stdout.trimEnd().split("\n")).toEqual([
      `library ${at("lib/plain")}`,
      `library ${at("lib/addon.node")}`,
      "multiple cat chroot dmsetup modprobe sh sleep tr",
      "over",
    ]);
    const read = (name: string): string => fs.readFileSync(image(name), "utf8");
    expect(read(at("lib/plain"))).toBe("no program");
    expect(read(at("etc/sealtty/sealttyd.toml"))).toBe("its text");
    expect(read("etc/sealtty/ciphers")).toBe("aes-xts-plain64\n");
    expect(read("etc/passwd")).toBe(
      "nobody:x:65534:65534::/:/bin/false\nearly-half:x:7:7::/:/bin/false\nroot:*:0:0:root:/:/bin/sh\n",
    );
    expect(fs.statSync(image("etc/passwd")).mode & 0o777).toBe(0o644);
    expect(fs.existsSync(image("etc/shadow"))).toBe(false);
  });

  test("closes every console in the image, whatever was there", () => {
    check("program /bin/sh");
    const units = at("etc/systemd/system");
    // What an owner's or dracut's own files would have it keep.
    put(image(units, "emergency.service"), "ExecStart=/bin/dracut-emergency\n");
    put(image("etc/systemd/system/debug-shell.service"), "ExecStart=/bin/sh\n");
    expect(install()).toMatchObject({ status: 0, stderr: "" });
    for (const name of ["emergency.service", "rescue.service", "dracut-emergency.service"]) {
      const text = fs.readFileSync(image(units, name), "utf8");
      expect(text.match(/^(?:Exec|Standard|TTY).*/gm)).toEqual([
        "ExecStart=/bin/sleep infinity",
        "StandardInput=null",
        "StandardOutput=journal",
        "StandardError=journal",
      ]);
      expect(text).toContain("\nWants=sealttyd-early.service\n");
    }
    for (const name of [
      "debug-shell.service",
      "dracut-cmdline-ask.service",
      "serial-getty@.service",
      "systemd-ask-password-console.path",
      "systemd-ask-password-console.service",
      "systemd-ask-password-plymouth.service",
    ])
      expect(fs.readlinkSync(image("etc/systemd/system", name))).toBe("/dev/null");
    expect(fs.readdirSync(image("usr/lib/systemd/system-generators"))).toEqual(["systemd-fstab-generator"]);
    for (const name of ["initrd-cleanup.service", "initrd-switch-root.service"])
      expect(fs.readFileSync(image(units, `${name}.d/sealtty.conf`), "utf8")).toBe(
        "[Unit]\nRequires=sealtty-disk.service\nAfter=sealtty-disk.service\n",
      );
    expect(fs.readlinkSync(image("etc/systemd/system/sysinit.target.wants/sealttyd-early.service"))).toBe(
      "../sealttyd-early.service",
    );
  });

  test("takes no words of the host's beside the command line, whatever units are added later", () => {
    check("program /bin/sh");
    expect(install()).toMatchObject({ status: 0, stderr: "" });
    const read = (name: string): string => fs.readFileSync(image(name), "utf8");
    expect(read("etc/modprobe.d/sealtty.conf")).toBe(
      "blacklist qemu_fw_cfg\nblacklist dmi-sysfs\nblacklist efivarfs\n",
    );
    for (const [kind, section] of Object.entries({
      service: "Service",
      socket: "Socket",
      mount: "Mount",
      swap: "Swap",
    }))
      expect(read(`etc/systemd/system/${kind}.d/zzz-sealtty.conf`)).toBe(
        `[${section}]\nLoadCredential=\nLoadCredentialEncrypted=\nSetCredential=\nSetCredentialEncrypted=\nImportCredential=\n`,
      );
    const dropIn = (unit: string): string =>
      read(path.join(at("etc/systemd/system"), `${unit}.service.d/zzz-sealtty.conf`));
    expect(dropIn("initrd-switch-root")).toContain(
      "[Service]\nEnvironment=SYSTEMD_PROC_CMDLINE= SYSTEMD_EFI_OPTIONS=\n",
    );
    expect(dropIn("dracut-pre-pivot")).toContain(
      `[Service]\nExecStartPre=/bin/sh ${at("usr/lib/sealtty/initramfs-disk.sh")}\n`,
    );
  });

  test.each([
    ["sealttyd's start", "etc/systemd/system/sysinit.target.wants"],
    ["that no shell is opened where systemd crashes", "etc/systemd/system.conf.d"],
    [
      "a generator that is to go",
      "usr/lib/systemd/system-generators/systemd-hibernate-resume-generator/taken",
    ],
    ["dracut's way to wake a system that is to go", "lib/dracut/resume.sh/taken"],
    ["root's password that is to go", "etc/shadow-/taken"],
  ])("fails where it cannot write, or take away, %s", (_what, taken) => {
    check("program /bin/sh");
    put(image(taken), "");
    const { status, stdout, stderr } = install();
    expect({ status, stdout }).toMatchObject({ status: 1, stdout: expect.not.stringContaining("over") });
    expect(stderr).toMatch(/^fatal: sealtty: /m);
  });

  test("has the drivers that sealttyd needs, and says which of the host's ways in the kernel has built in", () => {
    const kernel = () => call(`srcmods='${at("modules")}'; installkernel`);
    put(at("modules/modules.builtin"), "kernel/fs/xfs.ko\nkernel/drivers/firmware/dmi-sysfs-other.ko\n");
    expect(kernel()).toMatchObject({ status: 0, stderr: "" });
    expect(kernel().stdout).toMatch(/^modules -s virtio_pci .*\bqemu_fw_cfg\b/);
    put(
      at("modules/modules.builtin"),
      "kernel/drivers/firmware/dmi-sysfs.ko\nkernel/fs/efivarfs/efivarfs.ko\n",
    );
    const { status, stderr } = kernel();
    expect(status).toBe(0);
    expect(stderr).toMatch(/^warning: .*dmi-sysfs built in.*\nwarning: .*efivarfs built in.*\n$/);
  });

  test.each<[string, () => void, string | undefined, RegExp]>([
    [
      "a configuration that will not do",
      () => put(at("usr/lib/sealtty/sealttyd.js"), "#!/bin/sh\nexit 1\n", 0o755),
      undefined,
      /initramfs\.toml will not do/,
    ],
    [
      "no such user",
      () => check("user nobody-such"),
      undefined,
      /no user nobody-such, whom \[daemon\] user names/,
    ],
    [
      "a file that is not there",
      () => check("file /none/such"),
      undefined,
      /\/none\/such could not be copied/,
    ],
    ["words that are new", () => check("socket /run/s"), undefined, /does not know: socket/],
    [
      "no systemd in it",
      () => check("program /bin/sh"),
      "dracut-systemd",
      /needs dracut's module systemd-initrd/,
    ],
    ["no dracut-systemd", () => check("program /bin/sh"), "systemd-initrd", /module dracut-systemd/],
    [
      "a library that is not there",
      () => {
        put(at("bin/ldd"), '#!/bin/sh\necho "\tlibx.so.1 => not found"\n', 0o755);
        check("program /bin/sh");
      },
      undefined,
      /\/bin\/sh could not be copied/,
    ],
  ])("with %s dracut ends, and makes none", (_what, make, included, words) => {
    make();
    const { status, stdout, stderr } = install(included);
    expect(status).toBe(1);
    expect(stdout).not.toContain("over");
    expect(stderr).toMatch(words);
  });
});
