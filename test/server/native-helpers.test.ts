// The native programs for /dev/sev-guest and /dev/tdx_guest, built here, with the kernel played by a preloaded shim.

import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { nodeClock } from "../../node/clock.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { hostDataOf } from "../../server/evidence/hardware-report.ts";
import { SevGuestDevice, type SevGuestOptions } from "../../server/evidence/sev-guest.ts";
import { type TdIdentityOptions, readMrConfigId } from "../../server/evidence/td-identity.ts";
import { HandClock } from "./support/hand-clock.ts";

const root = new URL("../../", import.meta.url).pathname;
const hasCompiler = process.platform === "linux" && spawnSync("cc", ["--version"]).status === 0;
const data = new Uint8Array(64).map((_, i) => 255 - i);

if (!hasCompiler)
  test("there is no C compiler: the tests of sev-guest-report did not run", () => {
    expect(hasCompiler).toBe(false);
    console.warn("Install gcc and libc6-dev to run the tests of sev-guest-report.");
  });

/** Waits pass at once, but for the time bound. */
class QuietClock extends HandClock {
  override after(delay: number, callback: () => void): () => void {
    return delay >= 10_000 ? () => {} : super.after(delay, callback);
  }
}

async function failure(attempt: Promise<unknown>): Promise<string> {
  const error = await attempt.then(
    () => new Error("it gave a report"),
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(SealttyError);
  expect((error as SealttyError).code).toBe("evidence-unavailable");
  return (error as SealttyError).message;
}

describe.runIf(hasCompiler)("native programs", () => {
  const directory = hasCompiler ? mkdtempSync(join(tmpdir(), "sealtty-sev-guest-")) : "";
  const helper = join(directory, "sev-guest-report");
  const shim = join(directory, "shim.so");

  beforeAll(async () => {
    const builder = (await import(`${root}scripts/build-native.mjs`)) as {
      buildNative(options: { directory: string; isStatic: boolean }): Promise<void>;
    };
    await builder.buildNative({ directory, isStatic: false }); // a static program preloads nothing
    const source = `${root}test/server/support/tee-shim.c`;
    execFileSync("cc", [
      "-std=gnu11",
      "-O1",
      "-Wall",
      "-Werror",
      "-shared",
      "-fPIC",
      "-o",
      shim,
      source,
      "-ldl",
    ]);
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  const device = (mode: string, options: Partial<SevGuestOptions> = {}) =>
    new SevGuestDevice({
      clock: new QuietClock(),
      vmpl: 0,
      intervalMs: 1000,
      helper,
      environment: { LD_PRELOAD: shim, TEE_SHIM: mode },
      ...options,
    });

  test("report for the VMPL asked for, and the part of the table that its entries use", async () => {
    const { report, certificateTable } = await device("", { vmpl: 3 }).report(data);
    expect(report.length).toBe(1184);
    expect(report.subarray(0x50, 0x90)).toEqual(data);
    expect(report[0x30]).toBe(3);
    expect(hostDataOf(report)).toEqual(new Uint8Array(32).fill(0xab));
    expect(certificateTable.length).toBe(53);
    expect(certificateTable.subarray(48)).toEqual(new Uint8Array(5).fill(0xc5));
  });

  test("a table that needs more room is asked for once more", async () => {
    const { certificateTable } = await device("long-certs").report(data);
    expect(certificateTable.length).toBe(48 + 0x7000);
  });

  test.each(["no-certs", "bad-table"])("a host that gives %s: an empty table", async (mode) => {
    expect((await device(mode).report(data)).certificateTable).toEqual(new Uint8Array());
  });

  test.each([
    ["absent", "There is no /dev/sev-guest. Load sev-guest"],
    ["forbidden", "may not open /dev/sev-guest (EACCES)"],
    [
      "vmpck",
      "takes no requests (ENOTTY): the kernel gave up this guest's key. The kernel may have disabled the VMPCK",
    ],
    ["throttled", "The host throttles reports (EIO, exitinfo2 0x0000000200000000)"],
    ["firmware-error", "failed (EIO, exitinfo2 0x0000000000000016). The kernel may have disabled the VMPCK"],
    ["refused", "refused the report (status 0x16)"],
    ["short-report", "refused the report (status 0x0)"],
    ["greedy-host", "The host's certificates do not fit"],
    ["odd-host", "The host's certificates do not fit"],
    ["foreign-data", "other report data than sealttyd asked for"],
  ])("%s is told with its cause", async (mode, words) => {
    expect(await failure(device(mode).report(data))).toContain(words);
  });

  test("a request that hangs is given up in time, and its program killed", async () => {
    const slow = device("hangs", { clock: nodeClock, timeoutMs: 300 });
    expect(await failure(slow.report(data))).toContain("gave no report");
    expect(await failure(slow.report(data))).toContain("left alone");
  });

  test.each([
    ["nothing", ""],
    ["one byte", "printf x"],
    ["a length without a report", "printf '\\000\\000\\004\\240'"],
    ["an impossible length", "printf '\\377\\377\\377\\377'"],
    ["a complaint that is none", "echo 'ioctl x y' >&2; exit 1"],
    ["no complaint", "exit 3"],
    ["too much", "head -c 200000 /dev/zero"],
  ])("a program in its place that gives %s is not believed", async (what, body) => {
    const script = join(directory, `fake-${what.replaceAll(" ", "-")}`);
    writeFileSync(script, `#!/bin/sh\n${body}\n`);
    chmodSync(script, 0o755);
    const environment = { PATH: "/usr/bin:/bin" };
    const message = await failure(device("", { helper: script, environment }).report(data));
    expect(message).toMatch(/printed something else|failed without a reason|printed too much/);
  });

  test.each(["sev-guest-report", "tdx-report"])("%s says a person how it is used", (name) => {
    const run = (...args: string[]) =>
      spawnSync(join(directory, name), args, { input: "", encoding: "utf8" });
    for (const { status, stdout, stderr } of [run("--help"), run("-h")]) {
      expect([status, stderr]).toEqual([0, ""]);
      expect(stdout).toMatch(new RegExp(`^usage: ${name} DEVICE .*\n$`));
    }
    const { status, stdout, stderr } = run();
    expect([status, stdout]).toEqual([1, ""]);
    expect(stderr).toMatch(new RegExp(`^usage: ${name} DEVICE `));
  });

  test("the program itself refuses wrong arguments and short input", () => {
    const run = (args: string[], input: Uint8Array) => {
      const { status, stderr } = spawnSync(helper, args, { input });
      return [status, stderr.toString()];
    };
    expect(run(["/dev/null"], data)).toEqual([1, "usage 22 0000000000000000\n"]);
    expect(run(["/dev/null", "4"], data)).toEqual([1, "usage 22 0000000000000000\n"]);
    expect(run(["/dev/null", "0"], data.slice(1))).toEqual([1, "input 22 0000000000000000\n"]);
    expect(run(["/dev/null", "0"], data)).toEqual([1, "ioctl 25 0000000000000000\n"]);
  });

  const identity = (mode: string, options: Partial<TdIdentityOptions> = {}) =>
    readMrConfigId({
      clock: new QuietClock(),
      measurement: join(directory, "no-measurement"),
      helper: join(directory, "tdx-report"),
      environment: { LD_PRELOAD: shim, TEE_SHIM: mode },
      ...options,
    });

  test("TDX: MRCONFIGID from the kernel's measurements, else out of a TDREPORT made for this", async () => {
    expect(await identity("")).toEqual(new Uint8Array(48).fill(0xcd));
    const measurement = join(directory, "mrconfigid");
    writeFileSync(measurement, new Uint8Array(48).fill(7));
    expect(await identity("absent", { measurement })).toEqual(new Uint8Array(48).fill(7));
    for (const length of [0, 47, 49]) {
      writeFileSync(measurement, new Uint8Array(length));
      expect(await failure(identity("", { measurement }))).toContain("Cannot read");
    }
  });

  test.each([
    ["absent", "gave no TDREPORT (open, ENOENT). Load tdx-guest"],
    ["forbidden", "gave no TDREPORT (open, EACCES). Run sealttyd as root"],
    ["busy", "gave no TDREPORT (ioctl, EBUSY)"],
    ["other-type", "something else than the TDREPORT asked for"],
    ["foreign-data", "something else than the TDREPORT asked for"],
  ])("TDX: %s is told with its cause", async (mode, words) => {
    expect(await failure(identity(mode))).toContain(words);
  });
});

test("without its program the device cannot be used, and says how to get it", () => {
  const options = { clock: new QuietClock(), vmpl: 0, intervalMs: 1000 };
  expect(() => new SevGuestDevice({ ...options, helper: "/nonexistent" })).toThrow("build-native.mjs");
});
