// A boot that waits for the owner's seed: what lets cloud-init run, and that nothing else does; what setup writes for it.

import fs from "node:fs";
import path from "node:path";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { utf8 } from "../../protocol/bytes.ts";
import type { ProvisionConfig } from "../../server/config.ts";
import { createLog } from "../../server/log.ts";
import { CLOUD_INIT_FILES, PINS } from "../../server/provision/cloud-init.ts";
import { provisionOnce } from "../../server/provision/seed-files.ts";
import { waitForSeed } from "../../server/provision/wait.ts";
import { ManualClock } from "../support/clocks.ts";
import { makeScratch } from "../support/openssh.ts";

const scratch = makeScratch();
afterAll(() => scratch.remove());

let round = 0;
let config: ProvisionConfig;
let places: Parameters<typeof waitForSeed>[1];
const log: string[] = [];
const quiet = createLog({ level: "info", write: (line) => void log.push(line) });
beforeEach(() => {
  const at = (name: string): string => scratch.path(`${round}/${name}`);
  round++;
  log.length = 0;
  config = {
    users: ["root"],
    directory: at("cloud/seed/nocloud"),
    state: at("state/provisioned"),
    again: false,
    waitSeconds: 60,
    atTimeout: "go-on",
  };
  places = {
    mayRun: at("run/sealtty/cloud-init"),
    runtimeConfig: at("run/cloud-init/cloud.cfg"),
    seedDirectory: at("cloud/seed/nocloud"),
    serial: at("product_serial"),
    hasDmidecode: () => false,
  };
});

const SEED = { userData: utf8("#!/bin/sh\n") };
const wait = (clock = new ManualClock()) => waitForSeed(config, places, { log: quiet, clock });
const mayRun = (): boolean => fs.existsSync(places.mayRun);

/** Lets it look as often as it likes until `seconds` have passed. */
async function pass(clock: ManualClock, seconds: number): Promise<void> {
  for (let i = 0; i < 2 * seconds; i++) {
    clock.advance(500);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

describe("cloud-init may run", () => {
  test("once the seed has come, and not a moment before", async () => {
    const clock = new ManualClock();
    const outcome = wait(clock);
    await pass(clock, 30);
    expect(mayRun()).toBe(false);
    provisionOnce(SEED, config);
    await pass(clock, 1);
    expect(await outcome).toBe("may-run");
    expect(mayRun()).toBe(true);
    expect(fs.readFileSync(places.runtimeConfig, "utf8")).toBe(PINS);
    expect(log.join("")).toContain("the boot waits for the owner's seed");
  });

  test("at once in every later boot, and what ds-identify had written is gone", async () => {
    provisionOnce(SEED, config);
    fs.mkdirSync(path.dirname(places.runtimeConfig), { recursive: true });
    fs.writeFileSync(places.runtimeConfig, "datasource_list: [ ConfigDrive, None ]\n");
    expect(await wait()).toBe("may-run");
    expect(fs.readFileSync(places.runtimeConfig, "utf8")).toBe(PINS);
    expect(log.join("")).not.toContain("waits");
  });

  test("with a seed that is elsewhere, by a link", async () => {
    config = { ...config, directory: scratch.path(`${round}/run/seed`) };
    provisionOnce(SEED, config);
    expect(await wait()).toBe("may-run");
    expect(fs.readdirSync(places.seedDirectory).sort()).toEqual(["meta-data", "user-data"]);
    expect(await wait()).toBe("may-run"); // the link is there already
  });
});

describe("cloud-init stays off", () => {
  test("when no seed came in time, whatever lies where seeds lie", async () => {
    fs.mkdirSync(config.directory, { recursive: true });
    for (const name of ["user-data", "meta-data"])
      fs.writeFileSync(path.join(config.directory, name), "decoy");
    fs.mkdirSync(path.dirname(places.mayRun), { recursive: true });
    fs.writeFileSync(places.mayRun, ""); // of whoever made it
    const clock = new ManualClock();
    const outcome = wait(clock);
    await pass(clock, 59);
    expect(mayRun()).toBe(false);
    await pass(clock, 2);
    expect(await outcome).toBe("timeout");
    expect(mayRun()).toBe(false);
    expect(fs.existsSync(places.runtimeConfig)).toBe(false);
  });

  test("with wait_seconds = 0 nothing is waited for", async () => {
    config = { ...config, waitSeconds: 0 };
    expect(await wait()).toBe("timeout");
  });

  test("when the seed has gone with its boot, or is not as it was handed over", async () => {
    provisionOnce(SEED, config);
    fs.appendFileSync(path.join(config.directory, "user-data"), "more");
    expect(await wait()).toBe("has-had-it");
    fs.rmSync(config.directory, { recursive: true });
    expect(await wait()).toBe("has-had-it");
    expect(mayRun()).toBe(false);
  });

  test("when the state is damaged, or an image's seed is in the place of the link", async () => {
    const elsewhere = { ...config, directory: scratch.path(`${round}/run/seed`) };
    provisionOnce(SEED, elsewhere);
    fs.mkdirSync(places.seedDirectory, { recursive: true });
    await expect(waitForSeed(elsewhere, places, { log: quiet, clock: new ManualClock() })).rejects.toThrow(
      "not the owner's",
    );
    fs.writeFileSync(config.state, "?");
    await expect(wait()).rejects.toThrow("damaged");
    expect(mayRun()).toBe(false);
  });
});

describe("SMBIOS's serial number", () => {
  const shows = (bytes: string | Uint8Array): void => {
    fs.mkdirSync(path.dirname(places.serial), { recursive: true });
    fs.writeFileSync(places.serial, bytes);
    provisionOnce(SEED, config);
    fs.mkdirSync(path.dirname(places.mayRun), { recursive: true });
    fs.writeFileSync(places.mayRun, ""); // of an earlier run
  };

  test.each([
    ["ds=nocloud;i=another-instance\n", "has ds=nocloud"],
    ["ds=nocloud-net;s=http://192.0.2.1/\n", "has ds=nocloud"],
    ["VM 1 ci.DS=NoCloud;h=x\n", "has ds=nocloud"],
    [`${" ".repeat(256)}ds=nocloud;i=x\n`, "more than 256 bytes"],
    [`${"1".repeat(256)}\n`, "more than 256 bytes"],
    [Uint8Array.of(0xff, 0xff, 0x0a), "no plain text"],
    ["1\n2\n", "no plain text"],
  ])("%j keeps cloud-init off, though the seed is there", async (serial, words) => {
    shows(serial);
    await expect(wait()).rejects.toThrow(words);
    expect(mayRun()).toBe(false);
    expect(fs.existsSync(places.runtimeConfig)).toBe(false);
  });

  test.each(["\n", "", "Not Specified\n", `${"1".repeat(255)}\n`])(
    "%j says nothing to it",
    async (serial) => {
      shows(serial);
      expect(await wait()).toBe("may-run");
      expect(mayRun()).toBe(true);
    },
  );

  test("that the kernel does not show is let through only where dmidecode cannot find another", async () => {
    provisionOnce(SEED, config);
    await expect(
      waitForSeed(config, { ...places, hasDmidecode: () => true }, { log: quiet, clock: new ManualClock() }),
    ).rejects.toThrow("dmidecode");
    expect(mayRun()).toBe(false);
    expect(await wait()).toBe("may-run");
  });

  test("that cannot be read keeps it off", async () => {
    provisionOnce(SEED, config);
    fs.mkdirSync(places.serial, { recursive: true });
    await expect(wait()).rejects.toThrow("EISDIR");
    expect(mayRun()).toBe(false);
  });
});

test("every service of cloud-init's is behind the wait, and the unit is before every one", () => {
  const unit = fs.readFileSync(
    path.resolve(import.meta.dirname, "../../packaging/systemd/sealtty-provision.service"),
    "utf8",
  );
  const before = /^Before=(cloud-.*)$/m.exec(unit)?.[1]?.split(" ") ?? [];
  const dropIns = [...CLOUD_INIT_FILES.keys()].flatMap((file) => /system\/(.*)\.d\//.exec(file)?.[1] ?? []);
  expect(dropIns.toSorted()).toEqual(before.toSorted());
  expect(dropIns).toContain("cloud-init-hotplugd.service"); // a device that comes has it take the instance anew
});
