// One boot of a whole Debian with an encrypted root, walked over virtio-serial: unlock in the initramfs, from a browser, whose page goes
// on in the system; a boot that fails, with exec, mended in emergency mode; a seed for cloud-init; a login with a password; rescue mode;
// doctor. After each step what the host saw is searched.
import fs from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { DebianGuest } from "../../scripts/lib/vm.mjs";
import { launchBrowser, type TestBrowser, watchFaults } from "../support/browser.ts";
import { type RunningCli, startCli } from "../support/cli.ts";
import { paste, visit, waitForText } from "../support/console-page.ts";
import {
  type DebianWalk,
  startWalk,
  STEP_TIMEOUT,
  SYSTEM_TIMEOUT,
  UNSHAPED,
  walkSteps,
} from "../support/debian-walk.ts";
import { onTerminal, type OnTerminal } from "../support/on-terminal.ts";
import { closesWhatItFinds } from "../support/planted-walk.ts";
import { plantingHardware, plantingHost } from "../support/planted-findings.ts";
import { BOOT_TIMEOUT } from "../support/vm.ts";

const project = path.resolve(import.meta.dirname, "../..");
const { buildDebianGuest, decoyDirectory, diskPassphrase, missingLabel } = (await import(
  `${project}/scripts/debian-guest.mjs`
)) as {
  readonly buildDebianGuest: () => Promise<DebianGuest>;
  readonly decoyDirectory: string;
  readonly diskPassphrase: string;
  readonly missingLabel: string;
};
const { defaultPassword, shadowHash } = (await import(`${project}/scripts/guest-image.mjs`)) as {
  readonly defaultPassword: string;
  readonly shadowHash: (password: string) => Promise<string>;
};
const WRONG = "canary-wrong-Passphrase";
const MOTTO = "canary-of-the-seed";
const CAROLS = "canary-carol-Password";
/** To make that Debian, where none is kept. */
const MAKE_TIMEOUT = 900_000;
const PATIENCE = { timeout: SYSTEM_TIMEOUT };
const SHOTS = path.join(project, "test-results/vm");

let walk: DebianWalk;
let browser: TestBrowser | undefined;
/** `sealtty open`, whose page unlocks the disk. */
let opened: RunningCli | undefined;
/** Root's, from emergency mode on. */
let shell: OnTerminal;

beforeAll(
  async () => {
    walk = await startWalk(await buildDebianGuest(), (home) => ({
      // The host's word to cloud-init, which would have its user made.
      append: `ds=nocloud;s=file://${decoyDirectory}/`,
      ready: /Please unlock disk/,
      typesOnSerial: true,
      hvc0: { kind: "unix" },
      qemuArguments: plantingHardware(home),
    }));
  },
  MAKE_TIMEOUT + BOOT_TIMEOUT + SYSTEM_TIMEOUT,
);
afterAll(async () => {
  await opened?.stop();
  await browser?.close();
  await walk?.stop();
});

const step = walkSteps(() => [...walk.logs(), opened?.stderr() ?? "", shell?.shown() ?? ""]);
/** Of who sees all that the host does, and the page's server besides. */
const hostHasNothingOf = (...secrets: readonly string[]): void =>
  walk.hostHasNothingOf(secrets, [opened?.stderr() ?? ""]);

/** What a console says where somebody is asked: by sulogin, by a getty, by a shell. */
const ASKS = /maintenance|password|login:|Give root|emergency mode|rescue mode|[#$] $/i;

test(
  "unlock: asked in the initramfs, refused, opened, and the system takes over",
  step(async () => {
    const early = await walk.terminal(...walk.withKey, ...UNSHAPED);
    await early.shows(/# /);
    expect(
      await early.run(
        "echo early-$((6*7)); ls -d /conf; cat /proc/1/comm /conf/conf.d/zzz-sealtty; ls /scripts/local-premount | grep resume",
      ),
    ).toBe("early-42\n/conf\ninit\nRESUME=none\n");
    walk.tell("a shell in the initramfs");

    browser = await launchBrowser();
    const args = ["open", walk.address, "--policy", walk.policy, "-l", "root", "-i", walk.identity];
    opened = startCli([...args, "--no-open", "--port", "0"], { env: { HOME: walk.home } });
    const [, url = ""] = await opened.waitFor(/Open: (http:\/\/\S+)/, SYSTEM_TIMEOUT);
    const page = await visit(browser, url, SYSTEM_TIMEOUT);
    const faults = watchFaults(page, new URL(url).origin);
    const field = page.locator(".prompt-field");
    await field.waitFor(PATIENCE);
    expect(await page.locator(".prompt-words").textContent()).toBe("Please unlock disk root_crypt:");
    walk.tell("asked in the browser");

    // Two may be asked at once: a wrong answer by the command, and what is asked after it answered in the page.
    const first = await field.getAttribute("id");
    const unlock = await onTerminal(["unlock", walk.address, ...walk.withKey], {
      home: walk.home,
      patience: SYSTEM_TIMEOUT,
    });
    await unlock.shows(/Please unlock disk root_crypt: $/);
    const before = unlock.mark();
    await unlock.type(`${WRONG}\r`);
    await unlock.shows(/refused: [^]*Please unlock disk root_crypt: $/, before);
    await unlock.type("\x03");
    await unlock.exit;
    await page.locator(`.prompt-field:not([id="${first}"])`).waitFor(PATIENCE);
    await field.fill(diskPassphrase);
    await page.screenshot({ path: path.join(SHOTS, "unlock.png") });
    await page.getByRole("button", { name: "Answer" }).click();

    // The initramfs ends, and the page goes on in the system by itself, once that has a sealttyd.
    await page.waitForFunction(
      () =>
        /went on from its initramfs to its system/.test(document.querySelector(".banner")?.textContent ?? ""),
      undefined,
      PATIENCE,
    );
    await page.waitForSelector('#page[data-state="live"]', PATIENCE);
    walk.tell("the page went on in the system");
    await page.getByRole("button", { name: "Click here to type in the new system's terminal" }).click();
    await waitForText(page, "#", SYSTEM_TIMEOUT);
    await paste(page, "cat /proc/1/comm; echo page-$((6*7))");
    await page.keyboard.press("Enter");
    await waitForText(page, "page-42", SYSTEM_TIMEOUT);
    await waitForText(page, "systemd", SYSTEM_TIMEOUT);
    await page.screenshot({ path: path.join(SHOTS, "unlocked.png") });
    expect(await page.content()).not.toContain(diskPassphrase);
    await page.close();
    expect(faults.violations).toEqual([]);
    expect(faults.errors).toEqual([]);
    await opened.stop();

    await early.shows(/handed-over: The guest's early sealttyd, of its initramfs, ended/);
    expect(await early.exit).toEqual({ kind: "exited", status: 255 });
    expect(walk.vm.serialLog()).toContain("Please unlock disk"); // the console is the one that the host has
    hostHasNothingOf(diskPassphrase, WRONG, "early-42", "page-42");
    walk.tell("disk unlocked");
  }),
  STEP_TIMEOUT,
);

test(
  "a boot that fails: root's shell by sealtty in emergency mode, without a network, with a full disk; nothing on the console",
  step(async () => {
    const consoleBefore = walk.vm.serialLog().length;
    shell = await walk.terminal(...walk.withKey, ...UNSHAPED);
    await shell.shows(/# /);
    walk.tell("a shell in the failed boot");
    expect(
      await shell.run("until systemctl -q is-active emergency.target; do sleep 1; done; cat /proc/1/comm"),
    ).toBe("systemd\n");
    expect(
      await shell.run("ls /sys/class/net; systemctl is-failed local-fs.target mnt.mount; pidof sulogin"),
    ).toBe("lo\ninactive\ninactive\n");
    // Full to the last block that root has: first without writing, as an emulated machine encrypts slowly.
    expect(
      await shell.run(
        "fallocate -l $(($(stat -f -c '%f*%S' /))) /full 2>/dev/null; cat /dev/zero >/full2 2>/dev/null; echo x >/var/lib/more; wc -c </var/lib/more",
      ),
    ).toMatch(/No space left on device\n0\n$/);
    const full = await walk.cli(
      "exec",
      [walk.address, ...walk.withKey, "--", "sh", "-c", "cat; echo exec-$((6*7)); exit 7"],
      MOTTO,
    );
    expect([full.stdout, full.status]).toEqual([`${MOTTO}exec-42\n`, 7]);
    expect(walk.vm.serialLog().slice(consoleBefore)).not.toMatch(ASKS);
    hostHasNothingOf("exec-42", MOTTO);
    walk.tell("exec with a full disk");

    // The drill of docs/recovery.md.
    await shell.run(
      `rm /full /full2 /var/lib/more; sed -i /${missingLabel}/d /etc/fstab; systemctl daemon-reload`,
    );
    await shell.run("systemctl --no-block default");
  }),
  STEP_TIMEOUT,
);

test(
  "the mended boot waits for its seed, and cloud-init does what is in it, and not what the host has ready",
  step(async () => {
    expect(
      await shell.run(
        "until systemctl -q is-active local-fs.target; do sleep 1; done; systemctl is-active cloud-init-local; ls /run/sealtty/cloud-init 2>&1",
      ),
    ).toMatch(/^inactive\n.*No such file or directory\n$/);
    const userData = path.join(walk.home, "user-data");
    const seed = {
      users: [{ name: "carol", lock_passwd: false, passwd: await shadowHash(CAROLS), shell: "/bin/bash" }],
      write_files: [{ path: "/etc/motto", content: MOTTO }],
    };
    fs.writeFileSync(userData, `#cloud-config\n${JSON.stringify(seed)}\n`); // JSON is YAML
    const taken = await walk.cli("provision", [walk.address, ...walk.withKey, "--user-data", userData]);
    expect(taken.stderr).toContain("the guest has its user-data");
    expect(taken.status).toBe(0);
    expect(
      await shell.run(
        "until systemctl -q is-active multi-user.target; do sleep 1; done; cat /etc/motto; echo; id -un carol decoy",
      ),
    ).toMatch(new RegExp(`^${MOTTO}\\n[^]*carol\\n.*decoy.*no such user\\n$`));
    hostHasNothingOf(MOTTO);
    walk.tell("provisioned and booted");
  }),
  STEP_TIMEOUT,
);

test(
  "a user of PAM's logs in with a password, through the channel",
  step(async () => {
    const session = await walk.logIn("carol", CAROLS);
    expect(await session.run("id -un; echo carol-$((6*7))")).toBe("carol\ncarol-42\n");
    await session.type("exit\r");
    expect(await session.exit).toEqual({ kind: "exited", status: 0 });
    hostHasNothingOf(CAROLS, "carol-42");
    // As docs/audit.md says, at systemd's own journal.
    const journal = (events: string) => shell.run(`journalctl -q -o cat -t sealttyd -g '^audit ${events}'`);
    expect(await journal("event=user-in .*user=root")).toMatch(
      /^audit event=user-in by=monitor user=root key=SHA256:\S+$/m,
    );
    const started = await journal("event=program-start .*service=exec");
    expect(started).toMatch(/ user=root service=exec key=SHA256:\S+ argv0=sh$/m);
    expect(started).not.toContain("exec-42");
    expect(await shell.run(`journalctl -q -o cat | grep -c -e '${CAROLS}' -e '${MOTTO}'`)).toBe("0\n");
    // The same is asked on the host's console, until doctor closes that: this test can fail.
    await walk.vm.waitForSerial(/sealtty-debian login: /, SYSTEM_TIMEOUT);
    walk.tell("logged in with a password");
  }),
  STEP_TIMEOUT,
);

test(
  "rescue mode: sessions go on, root's password is asked for inside the channel, and nothing on the console",
  step(async () => {
    await shell.run("systemctl --no-block isolate rescue.target");
    expect(
      await shell.run(
        "until systemctl -q is-active rescue.target; do sleep 1; done; systemctl is-active rescue.service multi-user.target",
      ),
    ).toBe("active\ninactive\n");
    const consoleBefore = walk.vm.serialLog().length;
    const root = await walk.logIn("root", defaultPassword);
    expect(await root.run("id -un; echo root-$((6*7)); pidof sulogin")).toBe("root\nroot-42\n");
    await root.type("exit\r");
    expect(await root.exit).toEqual({ kind: "exited", status: 0 });
    expect(walk.vm.serialLog().slice(consoleBefore)).not.toMatch(ASKS);
    hostHasNothingOf(defaultPassword, "root-42");
    walk.tell("in rescue mode");
  }),
  STEP_TIMEOUT,
);

test(
  "doctor finds what is planted and what Debian has; mended, the host has nothing more of any of it",
  step(async () => {
    const host = await plantingHost(walk.vm, walk.home);
    await closesWhatItFinds({
      ...{ host, tell: walk.tell, run: shell.run },
      doctor: (...more) => shell.run(`sealttyd doctor --json ${more.join(" ")}`),
    });
    host.close();
    await shell.type("exit\r");
    expect(await shell.exit).toEqual({ kind: "exited", status: 0 });
    walk.tell("doctor");
    process.stdout.write(`what the console showed:\n${walk.vm.serialLog()}\n`);
  }),
  STEP_TIMEOUT,
);
