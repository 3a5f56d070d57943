// The machine's screen and keys as sealttyd takes them: on a made-up /sys and /dev, with files and a FIFO as devices.

import { execFileSync, spawn, spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { nodeClock } from "../../node/clock.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { lookAtConsole } from "../../server/check.ts";
import { parseServerConfig } from "../../server/config.ts";
import type { FramebufferConfig } from "../../server/config/pipe.ts";
import { pipeForFronts } from "../../server/monitor/front-pipe.ts";
import { giveBackConsole, takeConsole } from "../../server/pipes/framebuffer/console.ts";
import type { ConsoleDevices } from "../../server/pipes/framebuffer/devices.ts";
import { findInputs, hasBit } from "../../server/pipes/framebuffer/find-input.ts";
import { openKeys } from "../../server/pipes/framebuffer/keys.ts";
import type { Places } from "../../server/pipes/framebuffer/places.ts";
import { openScreen, readLayout } from "../../server/pipes/framebuffer/screen.ts";
import { ManualClock } from "../support/clocks.ts";

let root: string;
let places: Places;
const at = (...names: string[]): string => path.join(root, ...names);
const put = (name: string, content: string | Uint8Array = ""): void => {
  fs.mkdirSync(path.dirname(at(name)), { recursive: true });
  fs.writeFileSync(at(name), content);
};
const read = (name: string): string => fs.readFileSync(at(name), "latin1");
const CONFIG: FramebufferConfig = { type: "framebuffer", screen: undefined, input: undefined };

beforeEach(() => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), "sealtty-framebuffer-"));
  places = { sys: at("sys"), dev: at("dev"), proc: at("proc"), run: at("run") };
  put("sys/class/tty/tty0/active", "tty1\n");
  put("dev/tty1");
  put("dev/vcsa1", Uint8Array.of(25, 80, 0, 0, ...new Uint8Array(4000)));
  put("proc/sys/kernel/printk", "7\t4\t1\t7\n");
  put("sys/class/vtconsole/vtcon0/name", "(S) dummy device\n");
  put("sys/class/vtconsole/vtcon0/bind", "0\n");
  put("sys/class/vtconsole/vtcon1/name", "(M) frame buffer device\n");
  put("sys/class/vtconsole/vtcon1/bind", "1\n");
});
afterEach(() => {
  fs.rmSync(root, { recursive: true, force: true });
});

/** As QEMU's devices look in /sys. */
const TABLET = { abs: "3", rel: "100", key: "1f0000 0 0 0 0", bus: "0006" };
const MOUSE = { abs: "0", rel: "3", key: "70000 0 0 0 0", bus: "0011" };
const KEYBOARD = {
  abs: "0",
  rel: "0",
  key: "402000000 3803078f800d001 feffffdfffefffff fffffffffffffffe",
  bus: "0011",
};
const POWER_BUTTON = { abs: "0", rel: "0", key: "10000000000000 0", bus: "0019" };

function addInput(name: string, { abs, rel, key, bus }: typeof TABLET, device = `sys/devices/${name}`): void {
  for (const [kind, bits] of Object.entries({ abs, rel, key }))
    put(`${device}/capabilities/${kind}`, `${bits}\n`);
  put(`${device}/id/bustype`, `${bus}\n`);
  fs.mkdirSync(at("sys/class/input", name), { recursive: true });
  fs.symlinkSync(at(device), at("sys/class/input", name, "device"));
  put(`dev/input/${name}`);
}

function refusal(action: () => unknown): string {
  let thrown: unknown;
  try {
    action();
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(SealttyError);
  expect((thrown as SealttyError).code).toBe("device-unavailable");
  return (thrown as SealttyError).message;
}

describe("input devices", () => {
  test("bits of the kernel's lists", () => {
    expect(hasBit("1f0000 0 0 0 0", 0x110)).toBe(true);
    expect(hasBit("1f0000 0 0 0 0", 0x10f)).toBe(false);
    expect(hasBit("3", 64)).toBe(false);
    expect(hasBit("", 0)).toBe(false);
    expect(hasBit("what", 0)).toBe(false);
  });

  test("each is known by what it can do, and a USB tablet by its controller", () => {
    addInput("event0", POWER_BUTTON);
    addInput("event1", KEYBOARD);
    addInput("event2", MOUSE);
    addInput("event10", TABLET);
    for (const [i, driver] of ["xhci_hcd", "ehci-pci", "uhci_hcd", undefined].entries()) {
      const controller = `sys/devices/pci0000:00/0000:00:0${i}.0`;
      addInput(
        `event${20 + i}`,
        { ...TABLET, bus: "0003" },
        `${controller}/usb${i + 1}/${i + 1}-1/input/input${i}`,
      );
      if (driver !== undefined) fs.symlinkSync(`/sys/bus/pci/drivers/${driver}`, at(controller, "driver"));
    }
    addInput("event30", { ...KEYBOARD, bus: "0003" });
    expect(
      findInputs(places).map(({ device, kind, path: file }) => [path.basename(file), kind, device]),
    ).toEqual([
      ["event1", "keyboard", "keyboard"],
      ["event2", "mouse", "ps2-mouse"],
      ["event10", "tablet", "virtio-tablet"],
      ["event20", "tablet", "usb-tablet-xhci"],
      ["event21", "tablet", "usb-tablet-ehci"],
      ["event22", "tablet", "usb-tablet-uhci"],
      ["event23", "tablet", "usb-tablet-uhci"],
      ["event30", "keyboard", "usb-keyboard"],
    ]);
  });
});

describe("taking the console and giving it back", () => {
  const owner = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };

  test("a framebuffer: its console is detached, a tablet is heard, keyboards are held", () => {
    put("dev/fb0");
    addInput("event1", KEYBOARD);
    addInput("event3", TABLET);
    const devices = takeConsole(CONFIG, owner, places);
    expect(devices).toEqual({
      screen: { kind: "pixels", path: at("dev/fb0") },
      input: { device: "virtio-tablet", wire: "evdev", path: at("dev/input/event3") },
      held: [at("dev/input/event1")],
    });
    expect(read("sys/class/vtconsole/vtcon1/bind")).toBe("0");
    expect(read("sys/class/vtconsole/vtcon0/bind")).toBe("0\n");
    expect(read("proc/sys/kernel/printk")).toBe("7\t4\t1\t7\n");
    expect(read("dev/tty1")).toMatch(/This console is encrypted\..*Open it with: sealtty connect GUEST$/);
    expect(fs.statSync(at("dev/input/event3")).mode & 0o777).toBe(0o600);
    // Whoever ends or dies: another process gives back what the note says.
    expect(giveBackConsole(places)).toBe(true);
    expect(read("sys/class/vtconsole/vtcon1/bind")).toBe("1");
    expect(giveBackConsole(places)).toBe(false);
  });

  test("text cells: the kernel says nothing there", () => {
    addInput("event1", KEYBOARD);
    expect(takeConsole(CONFIG, undefined, places)).toEqual({
      screen: { kind: "cells", path: at("dev/vcsa1") },
      input: { device: "keyboard", wire: "evdev", path: at("dev/input/event1") },
      held: [],
    });
    expect(read("proc/sys/kernel/printk")).toBe("1 4 1 7");
    expect(read("sys/class/vtconsole/vtcon1/bind")).toBe("1\n");
    expect(read("dev/tty1")).toContain("\x1b[24;28HThis console is encrypted.\x1b[25;");
    giveBackConsole(places);
    expect(read("proc/sys/kernel/printk")).toBe("7 4 1 7");
    expect(read("dev/tty1")).toBe("\x1b[2J\x1b[H\x1b[?25h");
  });

  test("a terminal that is stopped, and takes nothing, holds nothing up", () => {
    addInput("event1", KEYBOARD);
    fs.rmSync(at("dev/tty1"));
    execFileSync("mkfifo", [at("dev/tty1")]);
    const { O_RDWR, O_NONBLOCK } = fs.constants;
    const full = fs.openSync(at("dev/tty1"), O_RDWR | O_NONBLOCK);
    // Who waits for it would do so for good, and no limit of time would end this test: one that goes on long after is the way out.
    const goesOn = spawn(
      process.execPath,
      [
        "-e",
        `setTimeout(() => {
          fs.writeFileSync(process.argv[1] + ".went-on", "");
          fs.createReadStream(process.argv[1]).resume();
        }, 60_000)`,
        at("dev/tty1"),
      ],
      { stdio: "ignore" },
    );
    try {
      const fill = () => {
        for (;;) fs.writeSync(full, new Uint8Array(4096));
      };
      expect(fill).toThrow("EAGAIN");
      takeConsole(CONFIG, undefined, places);
      expect(read("proc/sys/kernel/printk")).toBe("1 4 1 7");
      expect(giveBackConsole(places)).toBe(true);
      expect(read("proc/sys/kernel/printk")).toBe("7 4 1 7");
      expect(fs.existsSync(at("dev/tty1.went-on"))).toBe(false);
    } finally {
      goesOn.kill("SIGKILL");
      fs.closeSync(full);
    }
  }, 120_000);

  test("for each front anew: devices that came back as others, and root's, are this one's, and those that are gone say so", async () => {
    const modes = (): number[] =>
      ["dev/fb0", "dev/input/event4"].map((device) => fs.statSync(at(device)).mode & 0o777);
    put("dev/fb0");
    addInput("event3", TABLET);
    const own = await pipeForFronts(CONFIG, owner, root, places);
    expect(own.ready()).toMatchObject({ taken: { input: { path: at("dev/input/event3") } } });
    for (const gone of ["dev/input/event3", "sys/class/input/event3", "dev/fb0"])
      fs.rmSync(at(gone), { recursive: true });
    expect(refusal(() => own.ready())).toContain("no tablet, mouse or keyboard");
    expect(read("sys/class/vtconsole/vtcon1/bind")).toBe("1"); // no front: the kernel has its console
    put("dev/fb0");
    addInput("event4", TABLET);
    for (const device of ["dev/fb0", "dev/input/event4"]) fs.chmodSync(at(device), 0o640);
    expect(own.ready()).toMatchObject({ taken: { input: { path: at("dev/input/event4") } } });
    expect(modes()).toEqual([0o600, 0o600]);
    expect(read("sys/class/vtconsole/vtcon1/bind")).toBe("0");
    own.undo();
    expect(modes()).toEqual([0o640, 0o640]);
    expect(read("sys/class/vtconsole/vtcon1/bind")).toBe("1");
  });

  test("what was taken before a crash is given back before it is taken again", () => {
    addInput("event1", KEYBOARD);
    takeConsole(CONFIG, undefined, places);
    takeConsole(CONFIG, undefined, places);
    giveBackConsole(places);
    expect(read("proc/sys/kernel/printk")).toBe("7 4 1 7");
  });

  test("what another sealttyd has stays its, as long as it lives: its number alone does not count", () => {
    addInput("event1", KEYBOARD);
    takeConsole(CONFIG, undefined, places);
    const note = JSON.parse(read("run/console.json")) as { holder: { pid: number; began?: string } };
    expect(note.holder.pid).toBe(process.pid);
    const held = (began: string): void =>
      put("run/console.json", JSON.stringify({ ...note, holder: { pid: 4711, began } }));
    const stat = (began: string): string => `4711 (seal ) ttyd) S ${"0 ".repeat(18)}${began} 0 0\n`;
    put("proc/4711/stat", stat("52"));
    held("52");
    expect(giveBackConsole(places)).toBe(false);
    expect(refusal(() => takeConsole(CONFIG, undefined, places))).toContain("process 4711");
    expect(read("proc/sys/kernel/printk")).toBe("1 4 1 7");
    put("proc/4711/stat", stat("53"));
    expect(giveBackConsole(places)).toBe(true);
    expect(read("proc/sys/kernel/printk")).toBe("7 4 1 7");
    takeConsole(CONFIG, undefined, places);
    held("53");
    fs.rmSync(at("proc/4711"), { recursive: true });
    takeConsole(CONFIG, undefined, places);
    expect(giveBackConsole(places)).toBe(true);
    expect(read("proc/sys/kernel/printk")).toBe("7 4 1 7");
  });

  test("a PS/2 mouse without its driver, which gets its port back", () => {
    addInput("event1", KEYBOARD);
    addInput("event2", MOUSE);
    put("sys/bus/serio/devices/serio0/description", "i8042 KBD port\n");
    put("sys/bus/serio/devices/serio1/description", "i8042 AUX port\n");
    put("sys/bus/serio/devices/serio1/drvctl");
    fs.mkdirSync(at("sys/bus/serio/devices/serio1/misc/serio_raw0"), { recursive: true });
    put("dev/serio_raw0");
    const raw = takeConsole(CONFIG, undefined, places);
    expect(raw.input).toEqual({ device: "ps2-mouse", wire: "raw", path: at("dev/serio_raw0") });
    expect(raw.held).toEqual([at("dev/input/event1")]);
    giveBackConsole(places);
    // The kernel makes its device when the driver is asked for; here nothing does, and the mouse's own events are heard.
    fs.rmSync(at("sys/bus/serio/devices/serio1/misc"), { recursive: true });
    expect(takeConsole(CONFIG, undefined, places).input).toMatchObject({
      device: "ps2-mouse",
      wire: "evdev",
    });
    expect(read("sys/bus/serio/devices/serio1/drvctl")).toBe("serio_raw");
    giveBackConsole(places);
    expect(read("sys/bus/serio/devices/serio1/drvctl")).toBe("rescan");
    const keys = takeConsole({ ...CONFIG, input: "keyboard" }, undefined, places);
    expect(keys.input).toMatchObject({ device: "keyboard" });
  });

  test("what is not there: in words, and nothing stays taken", () => {
    put("dev/fb0");
    expect(refusal(() => takeConsole(CONFIG, undefined, places))).toContain("no tablet, mouse or keyboard");
    addInput("event1", KEYBOARD);
    expect(refusal(() => takeConsole({ ...CONFIG, input: "tablet" }, undefined, places))).toContain(
      "There is no tablet",
    );
    expect(refusal(() => takeConsole({ ...CONFIG, screen: at("dev/fb7") }, undefined, places))).toContain(
      "fb7",
    );
    fs.rmSync(at("dev/fb0"));
    fs.rmSync(at("dev/tty1"));
    expect(refusal(() => takeConsole(CONFIG, undefined, places))).toContain("neither a framebuffer");
    expect(read("sys/class/vtconsole/vtcon1/bind").trim()).toBe("1");
    expect(fs.readdirSync(at("run"))).toEqual([]);
  });

  test("--check says what it would take, or what there is not, and changes nothing", () => {
    const look = (own: Partial<FramebufferConfig> = {}) => lookAtConsole({ ...CONFIG, ...own }, places);
    expect(look()).toMatchObject({
      found: [`the text cells of ${at("dev/vcsa1")}`],
      missing: [expect.stringMatching(/^there is no tablet, mouse or keyboard .*-device virtio-tablet-pci/)],
    });
    put("dev/fb0");
    addInput("event1", KEYBOARD);
    expect(look()).toEqual({
      found: [`the screen ${at("dev/fb0")}`, `the keyboard ${at("dev/input/event1")}`],
      missing: [],
    });
    put("sys/bus/serio/devices/serio1/description", "i8042 AUX port\n");
    expect(look().found).toContain("the PS/2 mouse");
    expect(look({ input: "tablet" }).missing).toMatchObject([expect.stringMatching(/^there is no tablet /)]);
    addInput("event2", TABLET);
    expect(look().found).toContain(`the virtio-tablet ${at("dev/input/event2")}`);
    expect(look({ screen: at("dev/fb7") }).missing).toMatchObject([
      expect.stringMatching(/^there is no screen: .*fb7.*QEMU: -device VGA/),
    ]);
    expect(read("sys/class/vtconsole/vtcon1/bind").trim()).toBe("1");
    expect(fs.existsSync(at("run"))).toBe(false);
  });

  test("where no note can be written nothing is taken", () => {
    addInput("event1", KEYBOARD);
    put("run"); // a file, where a directory should be: root may write anywhere else
    expect(refusal(() => takeConsole(CONFIG, undefined, places))).toMatch(
      /from the kernel: E(?:EXIST|NOTDIR)$/,
    );
    expect(read("proc/sys/kernel/printk")).toBe("7\t4\t1\t7\n");
    expect(read("dev/tty1")).toBe("");
  });

  test("devices get the owners and modes back that they had", () => {
    put("dev/fb0");
    addInput("event1", KEYBOARD);
    addInput("event3", TABLET);
    const modes = { "dev/fb0": 0o660, "dev/input/event3": 0o664, "dev/input/event1": 0o640 };
    for (const [name, mode] of Object.entries(modes)) fs.chmodSync(at(name), mode);
    takeConsole(CONFIG, owner, places);
    for (const name of Object.keys(modes)) expect(fs.statSync(at(name)).mode & 0o7777).toBe(0o600);
    expect(giveBackConsole(places)).toBe(true);
    for (const [name, mode] of Object.entries(modes)) {
      const { uid, gid, mode: now } = fs.statSync(at(name));
      expect({ name, uid, gid, mode: now & 0o7777 }).toEqual({ name, ...owner, mode });
    }
    // What is not given to anybody is not touched.
    fs.chmodSync(at("dev/fb0"), 0o660);
    takeConsole(CONFIG, undefined, places);
    giveBackConsole(places);
    expect(fs.statSync(at("dev/fb0")).mode & 0o7777).toBe(0o660);
  });

  test("of two that start at once one has it, and the other changes nothing", () => {
    put("dev/fb0");
    addInput("event1", KEYBOARD);
    put("proc/4711/stat", `4711 (sealttyd) S ${"0 ".repeat(18)}52 0 0\n`);
    const others = JSON.stringify({ holder: { pid: 4711, began: "52" }, before: [], owners: [] });
    const { existsSync } = fs;
    const looked = vi.spyOn(fs, "existsSync").mockImplementation((name) => {
      // The other one is there once this one has looked for it.
      if (!existsSync(at("run/console.json"))) put("run/console.json", others);
      return existsSync(name);
    });
    try {
      expect(refusal(() => takeConsole(CONFIG, undefined, places))).toContain("one that has just started");
      expect(looked).toHaveBeenCalled();
    } finally {
      looked.mockRestore();
    }
    expect(read("run/console.json")).toBe(others);
    expect(fs.readdirSync(at("run"))).toEqual(["console.json"]);
    expect(read("sys/class/vtconsole/vtcon1/bind")).toBe("1\n");
    expect(read("dev/tty1")).toBe("");
  });

  test("what a dead one left is given back by one process, and a claim of a dead one's does not count", () => {
    addInput("event1", KEYBOARD);
    takeConsole(CONFIG, undefined, places);
    const note = JSON.parse(read("run/console.json")) as object;
    put("run/console.json", JSON.stringify({ ...note, holder: { pid: 4711, began: "52" } }));
    put("run/console.json.4711-52", JSON.stringify({ pid: 4712, began: "60" }));
    put("proc/4712/stat", `4712 (sealttyd) S ${"0 ".repeat(18)}60 0 0\n`);
    expect(giveBackConsole(places)).toBe(false);
    refusal(() => takeConsole(CONFIG, undefined, places));
    expect(read("proc/sys/kernel/printk")).toBe("1 4 1 7");
    fs.rmSync(at("proc/4712"), { recursive: true });
    expect(giveBackConsole(places)).toBe(true);
    expect(read("proc/sys/kernel/printk")).toBe("7 4 1 7");
    expect(fs.readdirSync(at("run"))).toEqual([]);
  });

  test("the note's directory: made for its owner alone, left as it is, refused where others write to it", () => {
    addInput("event1", KEYBOARD);
    takeConsole(CONFIG, undefined, places);
    expect(fs.statSync(at("run")).mode & 0o777).toBe(0o700);
    giveBackConsole(places);
    fs.chmodSync(at("run"), 0o755);
    takeConsole(CONFIG, undefined, places);
    expect(fs.statSync(at("run")).mode & 0o777).toBe(0o755);
    expect(fs.statSync(at("run/console.json")).mode & 0o777).toBe(0o600);
    giveBackConsole(places);
    fs.chmodSync(at("run"), 0o757);
    expect(refusal(() => takeConsole(CONFIG, undefined, places))).toContain("a directory of root's");
    fs.renameSync(at("run"), at("elsewhere"));
    fs.chmodSync(at("elsewhere"), 0o700);
    fs.symlinkSync(at("elsewhere"), at("run"));
    expect(refusal(() => takeConsole(CONFIG, undefined, places))).toContain("a directory of root's");
    expect(fs.readdirSync(at("elsewhere"))).toEqual([]);
    expect(read("dev/tty1")).not.toContain("encrypted");
  });

  test.each([
    "",
    "{",
    "null",
    "[]",
    "{}",
    '{"holder":{"pid":"1"},"before":[],"owners":[]}',
    '{"holder":{"pid":1,"began":"../x"},"before":[],"owners":[]}',
    '{"holder":{"pid":1},"before":[{"file":1,"value":"x"}],"owners":[]}',
    '{"holder":{"pid":1},"before":[],"owners":[{"path":"/x","uid":0,"gid":0,"mode":"0"}]}',
    '{"holder":{"pid":1},"before":[],"owners":[],"terminal":7}',
    '{"holder":{"pid":1},"before":{},"owners":[]}',
  ])("a note of %j counts as none, and is warned of", (text) => {
    addInput("event1", KEYBOARD);
    put("run/console.json", text);
    const warned: string[] = [];
    const log = { warn: (message: string) => void warned.push(message) };
    expect(giveBackConsole(places, log)).toBe(false);
    expect(warned).toEqual([expect.stringContaining("cannot be read")]);
    expect(giveBackConsole(places, log)).toBe(false);
    put("run/console.json", text);
    takeConsole(CONFIG, undefined, places, log);
    expect(warned.length).toBe(2);
    expect(giveBackConsole(places, log)).toBe(true);
    expect(fs.readdirSync(at("run"))).toEqual([]);
  });

  test("a note that is somebody else's, or none at all, is not believed", () => {
    fs.mkdirSync(at("run"));
    put("elsewhere", "precious");
    const note = {
      devices: { screen: {}, input: {}, held: [] },
      before: [{ file: at("elsewhere"), value: "" }],
    };
    put("note", JSON.stringify(note));
    fs.symlinkSync(at("note"), at("run/console.json"));
    fs.lchownSync(at("run/console.json"), 12_345, 12_345);
    expect(giveBackConsole(places)).toBe(false);
    expect(read("elsewhere")).toBe("precious");
  });
});

describe("screens", () => {
  test.each([
    ["1280 800 32 5120 0 16:8 8:8 0:8\n", { format: "rgb888", width: 1280, height: 800 }],
    ["1024 768 16 2048 4096 11:5 5:6 0:5\n", { format: "rgb565", width: 1024, height: 768 }],
  ])("%j", (answer, size) => expect(readLayout(answer, "x").size).toEqual(size));

  test.each([
    "",
    "1280 800 32 5120 0 16:8 8:8 0:8",
    "1280 800 32 5119 0 16:8 8:8 0:8\n",
    "1280 800 32 5120 0 0:8 8:8 16:8\n",
    "1280 800 24 3840 0 16:8 8:8 0:8\n",
    "0 800 32 5120 0 16:8 8:8 0:8\n",
    "1280 800 32 5120 0 16:8 8:8 0:8\nmore\n",
  ])("not %j", (answer) => {
    expect(refusal(() => readLayout(answer, "x"))).toContain("x");
  });

  /** A program in place of sealtty-display. */
  function withProgram<T>(script: string, action: () => T): T {
    put("native/sealtty-display", `#!/bin/sh\n${script}\n`);
    fs.chmodSync(at("native/sealtty-display"), 0o755);
    const before = process.env["SEALTTY_NATIVE"];
    process.env["SEALTTY_NATIVE"] = at("native");
    try {
      return action();
    } finally {
      if (before === undefined) delete process.env["SEALTTY_NATIVE"];
      else process.env["SEALTTY_NATIVE"] = before;
    }
  }

  test("rows of pixels, with a gap behind each; another driver is another screen", () => {
    put("dev/fb0", new Uint8Array(100 + 5 * 20));
    put("sys/class/graphics/fb0/name", "EFI VGA\n");
    const clock = new ManualClock();
    const screen = withProgram("echo 4 5 32 20 100 16:8 8:8 0:8", () =>
      openScreen({ kind: "pixels", path: at("dev/fb0") }, clock, places),
    );
    let lost = 0;
    screen.listen(
      () => {},
      () => lost++,
    );
    screen.writeRows(
      1,
      Uint8Array.from({ length: 20 }, (_, i) => i + 1),
    );
    const shown = fs.readFileSync(at("dev/fb0"));
    expect([...shown.subarray(120, 136)]).toEqual(Array.from({ length: 16 }, (_, i) => i + 1));
    expect([...shown.subarray(136, 146)]).toEqual([0, 0, 0, 0, 17, 18, 19, 20, 0, 0]);
    clock.advance(10_000);
    expect(lost).toBe(0);
    put("sys/class/graphics/fb0/name", "bochs-drmdrmfb\n");
    clock.advance(10_000);
    expect(lost).toBe(1);
    screen.close();
    screen.close();
    expect(clock.timers).toBe(0);
  });

  test("cells of a terminal, behind its head; another size is another screen", () => {
    const clock = new ManualClock();
    const screen = openScreen({ kind: "cells", path: at("dev/vcsa1") }, clock, places);
    expect(screen.size).toEqual({ format: "cells4", width: 80, height: 25 });
    let lost = 0;
    screen.listen(
      () => {},
      () => lost++,
    );
    screen.writeRows(2, Uint8Array.of(7, 8, 9));
    expect([...fs.readFileSync(at("dev/vcsa1")).subarray(4 + 320, 4 + 324)]).toEqual([7, 8, 9, 0]);
    const fd = fs.openSync(at("dev/vcsa1"), "r+");
    fs.writeSync(fd, Uint8Array.of(50, 160), 0, 2, 0);
    fs.closeSync(fd);
    clock.advance(10_000);
    expect(lost).toBe(1);
    screen.close();
  });

  test("a device that is no screen, a program that is missing or says no", () => {
    put("dev/fb0");
    const open = () => openScreen({ kind: "pixels", path: at("dev/fb0") }, nodeClock, places);
    expect(withProgram("echo no screen here >&2; exit 1", () => refusal(open))).toContain("no screen here");
    expect(
      withProgram("exit 0", () => {
        fs.rmSync(at("native/sealtty-display"));
        return refusal(open);
      }),
    ).toContain("sealtty-display is missing");
    fs.rmSync(at("dev/fb0"));
    expect(refusal(open)).toContain("ENOENT");
  });

  test("keys: bytes of a device as they come, and its end", async () => {
    for (const name of ["event1", "event3"]) {
      fs.mkdirSync(at("dev/input"), { recursive: true });
      execFileSync("mkfifo", [at("dev/input", name)]);
    }
    const devices: ConsoleDevices = {
      screen: { kind: "cells", path: at("dev/vcsa1") },
      input: { device: "virtio-tablet", wire: "evdev", path: at("dev/input/event3") },
      held: [at("dev/input/event1")],
    };
    const writer = fs.openSync(at("dev/input/event3"), "r+");
    const before = process.env["SEALTTY_NATIVE"];
    const keys = await withProgram(`echo "$1" >>${at("asked")}`, () => openKeys(devices, nodeClock));
    expect(process.env["SEALTTY_NATIVE"]).toBe(before);
    expect(read("asked")).toBe("grab\ngrab\n");
    const heard: number[] = [];
    let wake: () => void = () => {};
    const ended = new Promise<void>((resolve) => {
      keys.listen((bytes) => {
        heard.push(...bytes);
        wake();
      }, resolve);
    });
    fs.writeSync(writer, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9));
    while (heard.length < 9) await new Promise<void>((resolve) => (wake = resolve));
    expect(heard).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
    fs.closeSync(writer);
    await ended; // a FIFO without a writer is a device that is gone
    keys.close();
    keys.close();
  });

  test("a mouse that says other things without end is given up, and others have their turn meanwhile", async () => {
    const devices: ConsoleDevices = {
      screen: { kind: "cells", path: "" },
      input: { device: "ps2-mouse", wire: "raw", path: "/dev/zero" },
      held: [],
    };
    const clock = new ManualClock();
    let failure: unknown;
    const opening = openKeys(devices, clock).catch((error: unknown) => {
      failure = error;
    });
    while (failure === undefined) {
      clock.advance(5);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await opening;
    expect(failure).toMatchObject({ code: "device-unavailable", message: "The PS/2 mouse does not answer" });
    expect(clock.now()).toBeGreaterThan(2000);
    expect(clock.timers).toBe(0);
  });

  test("a device that nobody may grab: nothing stays open", async () => {
    addInput("event1", KEYBOARD);
    const devices: ConsoleDevices = {
      screen: { kind: "cells", path: "" },
      input: { device: "keyboard", wire: "evdev", path: at("dev/input/event1") },
      held: [],
    };
    const open = fs.readdirSync("/proc/self/fd").length;
    await expect(withProgram("exit 1", () => openKeys(devices, nodeClock))).rejects.toThrow(
      "sealtty-display grab failed",
    );
    expect(fs.readdirSync("/proc/self/fd").length).toBe(open);
  });
});

describe("configuration", () => {
  const parsed = (pipe: string) =>
    parseServerConfig(
      `[pipe]\ntype = "framebuffer"\n${pipe}\n[evidence]\ntype = "simulated"\ninstance = "x"\ni_know_this_proves_nothing = true\n[users]\nlogin = ["/bin/login"]\n`,
      "x.toml",
    ).pipe;

  test("everything is found by itself, or named", () => {
    expect(parsed("")).toEqual(CONFIG);
    expect(parsed('screen = "/dev/fb1"\ninput = "mouse"')).toEqual({
      type: "framebuffer",
      screen: "/dev/fb1",
      input: "mouse",
    });
  });
  test.each(['screen = "fb1"', 'input = "joystick"', 'device = "/dev/fb0"'])("not %s", (pipe) => {
    expect(() => parsed(pipe)).toThrow(SealttyError);
  });
});

const hasCompiler = spawnSync("cc", ["--version"]).status === 0;
if (hasCompiler)
  test("sealtty-display: usage, and devices that are none", async () => {
    const builder = (await import(new URL("../../scripts/build-native.mjs", import.meta.url).pathname)) as {
      buildNative(options: { directory: string }): Promise<void>;
    };
    await builder.buildNative({ directory: at("native") });
    const run = (...args: string[]) =>
      spawnSync(at("native/sealtty-display"), args, { input: "", encoding: "utf8" });
    expect(run()).toMatchObject({ status: 2, stdout: "" });
    expect(run("screen", "more").status).toBe(2);
    expect(run("screen")).toMatchObject({
      status: 1,
      stderr: expect.stringContaining("FBIOGET_VSCREENINFO"),
    });
    expect(run("grab")).toMatchObject({ status: 1, stderr: expect.stringContaining("EVIOCGRAB") });
  });
