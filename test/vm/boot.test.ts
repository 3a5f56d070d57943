// The test guest itself: it boots, has a TPM and its pipes, comes back when it ends, and leaves nothing behind.

import { existsSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { expect, test } from "vitest";
import { bootVm, BOOT_TIMEOUT, withVm } from "../support/vm.ts";

const root = path.resolve(import.meta.dirname, "../..");
const echo = path.join(root, "test/support/guest-echo.mjs");
const sealttyd = path.join(root, "dist/bin/sealttyd.js");

const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

/** What comes back for `text`, once as much has come. */
function echoOf(unixPath: string, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let received = "";
    const socket = net.connect(unixPath, () => socket.write(text));
    socket.setEncoding("utf8").on("data", (chunk) => {
      received += String(chunk);
      if (received.length >= text.length) socket.end(() => resolve(received));
    });
    socket.on("error", reject);
  });
}

test(
  "a guest on SeaBIOS boots, echoes on its port, and stop() leaves no process and no file",
  async () => {
    const vm = await bootVm({ firmware: "seabios", sealttyd: echo });
    try {
      process.stdout.write(`SeaBIOS: ready after ${Math.round(vm.bootMs)} ms\n`);
      await vm.waitForSerial(/sealttyd\[virtio\]: echoes on/);
      expect(vm.serialLog()).toContain("sealtty-init: port sealtty.0");
      expect(vm.serialLog()).toContain("sealtty-init: tpm /dev/tpmrm0");
      expect(await echoOf(vm.unixPath ?? "", "hello, guest")).toBe("hello, guest");
      expect(vm.swtpmLog()).toContain("SWTPM_IO_Read");
      expect(await vm.qmp("query-status")).toMatchObject({ status: "running" });
      expect(vm.pids.map(isAlive)).toEqual([true, true]);
    } finally {
      await vm.stop();
    }
    expect(vm.pids.map(isAlive)).toEqual([false, false]);
    expect(existsSync(vm.directory)).toBe(false);
  },
  BOOT_TIMEOUT,
);

test(
  "a guest on OVMF measures its initramfs into PCR 9, and starts a sealttyd that ends again",
  async () => {
    const script = `#!/bin/sh\necho "PCR9 $(cat /sys/class/tpm/tpm0/pcr-sha256/9)"\n`;
    const options = {
      virtio: { kind: "websocket" },
      files: {
        "/etc/sealtty/init.d/pcr": { data: script, mode: 0o755 },
        "/usr/lib/sealtty/sealttyd.js": 'console.error("one start"); process.exit(3);\n',
      },
    } as const;
    await withVm({ ...options, sealttyd: echo }, async (vm) => {
      process.stdout.write(`OVMF: ready after ${Math.round(vm.bootMs)} ms\n`);
      expect(vm.wsUrl).toMatch(/^ws:\/\/127\.0\.0\.1:\d+\/$/);
      expect(vm.serialLog()).toMatch(/PCR9 [0-9A-F]{64}/);
      expect(vm.serialLog()).not.toMatch(/PCR9 0{64}/);
      await vm.waitForSerial(/(one start[^]*ended with status 3[^]*){2}/);
    });
  },
  BOOT_TIMEOUT,
);

test(
  "a guest that cannot boot is reported with its console, and leaves no process",
  async () => {
    const boot = bootVm({
      firmware: "seabios",
      tpm: false,
      sealttyd: echo,
      append: "rdinit=/bin/nothing-there",
    });
    await expect(boot).rejects.toThrow(/did not boot: QEMU ended[^]*Unable to mount root/);
  },
  BOOT_TIMEOUT,
);

test(
  "the built sealttyd starts on the virtio port and on hvc0 and stays",
  async () => {
    expect(existsSync(sealttyd), "npm run build makes dist/bin/sealttyd.js").toBe(true);
    await withVm({ firmware: "seabios", hvc0: { kind: "unix" } }, async (vm) => {
      process.stdout.write(`SeaBIOS with hvc0: ready after ${Math.round(vm.bootMs)} ms\n`);
      expect(vm.serialLog()).toContain("sealtty-init: console /dev/hvc0");
      await vm.waitForSerial(/sealttyd\[virtio\]: .*sealttyd serves/);
      await vm.waitForSerial(/sealttyd\[hvc0\]: .*sealttyd serves/);
      await new Promise((resolve) => setTimeout(resolve, 1500));
      expect(vm.serialLog()).not.toContain("ended with status");
    });
  },
  BOOT_TIMEOUT,
);
