// One boot of a Debian whose initramfs dracut makes, walked over virtio-serial: unlock by systemd's question, an init that the host broke,
// the system that takes over. After each step what the host saw is searched.
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { DebianGuest } from "../../scripts/lib/vm.mjs";
import {
  type DebianWalk,
  startWalk,
  STEP_TIMEOUT,
  SYSTEM_TIMEOUT,
  UNSHAPED,
  walkSteps,
} from "../support/debian-walk.ts";
import { onTerminal, type OnTerminal } from "../support/on-terminal.ts";
import { BOOT_TIMEOUT } from "../support/vm.ts";

const project = path.resolve(import.meta.dirname, "../..");
const { buildDebianGuest, diskPassphrase } = (await import(`${project}/scripts/debian-guest.mjs`)) as {
  readonly buildDebianGuest: (options: { readonly initramfs: "dracut" }) => Promise<DebianGuest>;
  readonly diskPassphrase: string;
};
const { defaultPassword } = (await import(`${project}/scripts/guest-image.mjs`)) as {
  readonly defaultPassword: string;
};
const WRONG = "canary-wrong-Passphrase";
/** Where Debian and the package have to be unpacked first. */
const BUILD_TIMEOUT = 1_200_000;
/** What a console says where somebody is asked: by an agent of systemd's, by sulogin, by a getty, by a shell. */
const ASKS = /maintenance|passphrase|password|login:|Give root|emergency mode|rescue mode|dracut:\/|[#$] $/im;

let walk: DebianWalk;
/** Root's, in the initramfs. */
let early: OnTerminal;

beforeAll(
  async () => {
    walk = await startWalk(await buildDebianGuest({ initramfs: "dracut" }), () => ({
      // A host's words for a shell, none of which gets it one.
      append: `rd.shell=1 rd.systemd.debug_shell systemd.debug_shell rd.systemd.mask=sealtty-disk.service "systemd.set_credential=tmpfiles.extra:f /run/host-line"`,
      // A host's words for systemd's own units: files, and sysctls.
      qemuArguments: [
        "-fw_cfg",
        "name=opt/io.systemd.credentials/host.fw_cfg,string=x",
        "-smbios",
        "type=11,value=io.systemd.credential:sysctl.extra=kernel.domainname=host-smbios",
      ],
      ready: /^/, // nothing is said there until the system has its own gettys
    }));
  },
  BUILD_TIMEOUT + BOOT_TIMEOUT + SYSTEM_TIMEOUT,
);
afterAll(() => walk?.stop());

const step = walkSteps(() => [...walk.logs(), early.shown()]);

test(
  "the initramfs asks nobody on the console, whatever its command line says, and has no password of root's",
  step(async () => {
    early = await walk.terminal(...walk.withKey, ...UNSHAPED);
    await early.shows(/# /);
    walk.tell("a shell in the initramfs");
    expect(await early.run("echo early-$((6*7)); ls -d /sysroot; cat /proc/1/comm")).toBe(
      "early-42\n/sysroot\nsystemd\n",
    );
    expect(await early.run("while read -r l; do case $l in root:*) echo $l;; esac; done </etc/passwd")).toBe(
      "root:*:0:0:root:/:/bin/sh\n",
    );
    expect(
      await early.run(
        "ls /etc/shadow 2>&1; systemctl is-enabled debug-shell.service dracut-cmdline-ask.service systemd-ask-password-console.path; systemctl is-active debug-shell.service",
      ),
    ).toMatch(/No such file or directory\nmasked\nmasked\nmasked\ninactive\n$/);
    // systemd took the line's, and SMBIOS's, for which this kernel has the driver built in, but gave them to no unit. fw_cfg's it did not see.
    expect(await early.run("set -- /run/credentials/@system/*; echo ${*##*/}; echo /run/credentials/*")).toBe(
      "sysctl.extra tmpfiles.extra\n/run/credentials/@system\n",
    );
    expect(
      await early.run("cd /sys/firmware/qemu_fw_cfg/by_name/opt; echo io.systemd.credentials/*; cd /"),
    ).toBe("io.systemd.credentials/host.fw_cfg\n");
    expect(
      await early.run(
        "systemctl is-active systemd-sysctl systemd-tmpfiles-setup; ls -d /run/host-line 2>&1; cat /proc/sys/kernel/domainname",
      ),
    ).toMatch(/^active\nactive\n[^\n]*No such file or directory\n\(none\)\n$/);
    // What dracut and systemd start for a shell waits for the owner.
    await early.run("systemctl --no-block start dracut-emergency.service rescue.service");
    expect(
      await early.run(
        "until systemctl -q is-active rescue.service; do sleep 1; done; systemctl is-active dracut-emergency.service; cat /proc/[0-9]*/comm 2>/dev/null | while read -r c; do case $c in sulogin|*getty) echo $c;; esac; done",
      ),
    ).toBe("activating\n");
    await early.run("systemctl stop dracut-emergency.service rescue.service");
    expect(walk.vm.serialLog()).not.toMatch(ASKS);
    walk.hostHasNothingOf(["early-42"]);
  }),
  STEP_TIMEOUT,
);

test(
  "unlock: systemd's question is answered, wrongly and rightly; a root whose init cannot be run is not started",
  step(async () => {
    // As if the host had garbled it: once the root is mounted, it names a loader that is not there. systemd would go on with /bin/sh.
    await early.run(
      "echo '#!/none' >/run/init; chmod 755 /run/init; echo 'mount --bind /run/init /sysroot/usr/lib/systemd/systemd' >/usr/lib/dracut/hooks/pre-pivot/95-test.sh",
    );
    const unlock = await onTerminal(["unlock", walk.address, ...walk.withKey], {
      home: walk.home,
      patience: SYSTEM_TIMEOUT,
    });
    await unlock.shows(/root_crypt[^\n]*: $/);
    const before = unlock.mark();
    await unlock.type(`${WRONG}\r`);
    await unlock.shows(/refused: [^]*root_crypt[^\n]*: $/, before);
    await unlock.type(`${diskPassphrase}\r`);
    expect(await unlock.exit).toEqual({ kind: "exited", status: 0 });
    expect(unlock.shown()).not.toContain(diskPassphrase);
    walk.tell("disk unlocked");

    await walk.vm.waitForSerial(
      /sealtty: there is no \/sbin\/init on the root disk that could be run; the system is not started/,
      SYSTEM_TIMEOUT,
    );
    expect(
      await early.run(
        "until systemctl -q is-active emergency.target; do sleep 1; done; systemctl is-failed sealtty-disk.service; cat /proc/1/comm; ls -d /etc/initrd-release",
      ),
    ).toBe("failed\nsystemd\n/etc/initrd-release\n");
    expect(walk.vm.serialLog()).not.toMatch(ASKS);
    walk.hostHasNothingOf([diskPassphrase, WRONG, "early-42"]);
    walk.tell("a root that cannot be started");
  }),
  STEP_TIMEOUT,
);

test(
  "mended, the system takes over: clients are told, and log in to it by key and by password",
  step(async () => {
    await early.run("umount /sysroot/usr/lib/systemd/systemd");
    await early.type("systemctl --no-block start initrd-cleanup.service\r");
    await early.shows(/handed-over: The guest's early sealttyd, of its initramfs, ended/);
    expect(await early.exit).toEqual({ kind: "exited", status: 255 });
    walk.tell("handed over");

    const shell = await walk.terminal(...walk.withKey, ...UNSHAPED);
    await shell.shows(/# /);
    walk.tell("a shell in the system");
    expect(
      await shell.run(
        "until systemctl -q is-active multi-user.target; do sleep 1; done; cat /proc/1/comm; ls /etc/initrd-release 2>&1; grep ' / ' /proc/mounts; systemctl is-enabled dracut-shutdown.service",
      ),
    ).toMatch(/^systemd\n.*No such file or directory\n\/dev\/mapper\/root_crypt \/ ext4 [^\n]*\nmasked\n$/);
    // Its log, without what nobody may read there.
    const log = await shell.run("cat /run/sealtty/early.log");
    expect(log).toMatch(/sealttyd serves[^]*sealttyd stops/);
    expect(log).not.toContain(diskPassphrase);
    expect(await shell.run("dmesg | grep -c 'sealtty: there is no /sbin/init on the root disk'")).toBe("1\n");
    await shell.type("exit\r");
    expect(await shell.exit).toEqual({ kind: "exited", status: 0 });

    const asked = await walk.logIn("root", defaultPassword);
    expect(await asked.run("id -un; echo late-$((6*7))")).toBe("root\nlate-42\n");
    await asked.type("exit\r");
    expect(await asked.exit).toEqual({ kind: "exited", status: 0 });
    walk.hostHasNothingOf([diskPassphrase, WRONG, defaultPassword, "late-42"]);
    // The host's console has its login prompt: what is searched here is the console that it sees.
    await walk.vm.waitForSerial(/sealtty-debian login: /, SYSTEM_TIMEOUT);
    walk.tell("logged in with a password");
    process.stdout.write(`what the console showed:\n${walk.vm.serialLog()}\n`);
  }),
  STEP_TIMEOUT,
);
