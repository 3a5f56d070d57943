// The whole way of a seed: sealtty provision to a real sealttyd, the boot that waits, and Debian's real cloud-init, which makes the
// owner's user and not the one that the host has ready by each way that it has.

import fs from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { nodeClock } from "../../node/clock.ts";
import type { ProvisionConfig } from "../../server/config.ts";
import { createLog } from "../../server/log.ts";
import { CLOUD_INIT_FILES, PINS, RUNTIME_CONFIG } from "../../server/provision/cloud-init.ts";
import { waitForSeed } from "../../server/provision/wait.ts";
import { startCli } from "../support/cli.ts";
import { type Boot, type Booted, bootCloudInit } from "../support/cloud-init.ts";
import { makeScratch, sshKeygen } from "../support/openssh.ts";
import { type RunningGuest, startSealttyd } from "../support/sealttyd.ts";

const isRoot = process.getuid?.() === 0;
const scratch = makeScratch();
afterAll(() => scratch.remove());

const DECOY = "#cloud-config\nusers:\n  - name: decoy\n    lock_passwd: false\n    passwd: '*'\n";
/** What the host has ready: files that stand for what it would serve, and where they are said to be. */
const DECOYS: ReadonlyMap<string, string> = new Map([
  ["/decoy/user-data", DECOY],
  ["/decoy/meta-data", "instance-id: decoy\nlocal-hostname: decoy\n"],
]);
const BY_SERIAL = "ds=nocloud;s=file:///decoy/;i=decoy;h=decoy\n";
const BY_COMMAND_LINE = "root=/dev/vda1 ds=nocloud;s=file:///decoy/ cc: {hostname: decoy} end_cc\n";
const NOTHING = { serial: "", commandLine: "root=/dev/vda1\n" };
const HOST = { serial: BY_SERIAL, commandLine: BY_COMMAND_LINE };

const booted: Booted[] = [];
afterAll(() => {
  for (const each of booted) each.remove();
});
async function boot(own: Boot): Promise<Booted> {
  const done = await bootCloudInit(own);
  booted.push(done);
  return done;
}
const usersOf = (machine: Booted): string[] =>
  (machine.read("/etc/passwd") ?? "").split("\n").flatMap((line) => line.split(":", 1)[0] ?? []);

/** Of the drop-in, as systemd would set them. */
function environmentOf(dropIn: string): Record<string, string> {
  return Object.fromEntries(
    [...dropIn.matchAll(/^Environment=(\w+)=(.*)$/gm)].map(([, name, value]) => [name, value]),
  );
}
const DROP_IN = CLOUD_INIT_FILES.get("/etc/systemd/system/cloud-init.service.d/sealtty.conf") ?? "";

if (!isRoot)
  test("NOT RUN: cloud-init's root is made and entered by root", () => {
    expect(isRoot).toBe(false);
  });

if (isRoot)
  describe("Debian's cloud-init as it comes", () => {
    test.each([
      ["SMBIOS", { ...NOTHING, serial: BY_SERIAL }],
      ["the kernel's command line", { ...NOTHING, commandLine: BY_COMMAND_LINE }],
    ])("takes the host's user from %s: these tests can fail", async (_, host) => {
      const machine = await boot({ files: DECOYS, ...host });
      expect(usersOf(machine)).toContain("decoy");
      expect(machine.labelsSought.join(" ")).toMatch(/cidata/i);
    });
  });

if (isRoot)
  describe("a guest that waits for its owner's seed", () => {
    let guest: RunningGuest;
    let config: ProvisionConfig;
    let publicKey: string;
    const hash =
      "$6$saltsalt$2ONfUX5ldgAXkRpb1xTpWnSCq0hMkEkDbqWC6qEfYpYYqrRRUFqrlZVoKNmj0L4DmhOXKXMC5DyIwFbPl6WWo/";
    beforeAll(async () => {
      const key = scratch.path("key");
      sshKeygen(key);
      publicKey = fs.readFileSync(`${key}.pub`, "utf8").trim();
      config = {
        users: ["root"],
        directory: scratch.path("cloud/nocloud"),
        state: scratch.path("state/provisioned"),
        again: false,
        waitSeconds: 3600,
        atTimeout: "go-on",
      };
      guest = await startSealttyd({
        authorizedKeys: `${publicKey}\n`,
        daemonUser: "nobody",
        more: [
          "[provision]",
          'users = ["root"]',
          `directory = ${JSON.stringify(config.directory)}`,
          `state = ${JSON.stringify(config.state)}`,
        ],
      });
    });
    afterAll(() => guest.stop());

    test("has that seed's user, key and password hash, and nothing of the host's", async () => {
      const places = {
        mayRun: scratch.path("run/may-run"),
        runtimeConfig: scratch.path("run/cloud.cfg"),
        seedDirectory: config.directory,
        serial: scratch.path("product_serial"),
        hasDmidecode: () => false,
      };
      const waiting = waitForSeed(config, places, { log: createLog({ write: () => {} }), clock: nodeClock });
      const userData = scratch.path("user-data");
      fs.writeFileSync(
        userData,
        [
          "#cloud-config",
          "hostname: owners",
          "users:",
          "  - name: carol",
          `    passwd: ${hash}`,
          "    lock_passwd: false",
          "    ssh_authorized_keys:",
          `      - ${publicKey}`,
          "",
        ].join("\n"),
      );
      expect(fs.existsSync(places.mayRun)).toBe(false);
      const args = ["--policy", guest.policyFile, "--simulated", "-l", "root", "-i", scratch.path("key")];
      const cli = startCli(["provision", `unix:${guest.socket}`, ...args, "--user-data", userData], {
        env: { HOME: scratch.path("") },
      });
      expect(await cli.ended(), cli.stderr()).toBe(0);
      expect(await waiting).toBe("may-run");
      expect(fs.existsSync(places.mayRun)).toBe(true);

      const machine = await boot({
        files: new Map([
          ...DECOYS,
          ...CLOUD_INIT_FILES,
          // As the wait left it, in place of what ds-identify made of the host's word.
          [RUNTIME_CONFIG, fs.readFileSync(places.runtimeConfig, "utf8")],
        ]),
        seed: config.directory,
        environment: environmentOf(DROP_IN),
        ...HOST,
      });
      expect(usersOf(machine)).toContain("carol");
      expect(machine.read("/etc/shadow")).toContain(`carol:${hash}:`);
      expect(machine.read("/home/carol/.ssh/authorized_keys")).toContain(publicKey);
      expect(usersOf(machine)).not.toContain("decoy");
      expect(machine.read("/etc/hostname")).toBe("owners\n");
      expect(machine.labelsSought.join(" ")).not.toMatch(/cidata|config-2/i);
    });

    test("would have the host's in spite of the seed, did the pins not say where to look", async () => {
      const machine = await boot({ files: DECOYS, seed: config.directory, ...HOST });
      expect(usersOf(machine)).toContain("decoy");
    });

    test("finds none where there is none, even if cloud-init is run", async () => {
      const machine = await boot({
        files: new Map([...DECOYS, ...CLOUD_INIT_FILES, [RUNTIME_CONFIG, PINS]]),
        environment: environmentOf(DROP_IN),
        ...HOST,
      });
      expect(usersOf(machine)).not.toContain("decoy");
      expect(machine.labelsSought.join(" ")).not.toMatch(/cidata|config-2/i);
    });
  });
