// A guest whose only ways in are a display and keys, behind QEMU's own VNC server: evidence, login and a shell through pixels
// and pointer events, with the built programs at both ends, while the host keeps every byte of its VNC connections.

import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseAddress } from "../../cli/address.ts";
import { dial } from "../../cli/dial.ts";
import { nodeClock } from "../../node/clock.ts";
import { dialRfb } from "../../node/rfb.ts";
import { concat } from "../../protocol/bytes.ts";
import { parsePolicy } from "../../protocol/attestation/policy.ts";
import type { Pipe } from "../../protocol/pipe.ts";
import { connect, inspectGuest } from "../../protocol/session/connect.ts";
import { runCli } from "../support/cli.ts";
import { findSecret } from "../support/host-eyes.ts";
import { sshKeygen } from "../support/openssh.ts";
import { clientOptions } from "../support/session.ts";
import { TestTerminal } from "../support/terminal.ts";
import { searchWire, streamSearch, type WireSearch } from "../support/wire-search.ts";
import { BOOT_TIMEOUT, bootVm, CONNECT_TIMEOUT, type Vm } from "../support/vm.ts";

const PASSWORD = "sealtty-test-password";
const SECRET = "canary-on-a-screen-7Hq2Vx";
const SECRETS = [SECRET, SECRET.toUpperCase(), PASSWORD];
const LOGIN = { kind: "login", term: "xterm", columns: 80, rows: 24 } as const;
/** Typed by a viewer, it would be heard by a shell on the machine's own terminal. */
const SHELL_ON_TTY1 = `#!/bin/sh
setsid sh -c 'exec sh -i </dev/tty1 >/dev/tty1 2>&1' &
`;

interface Machine {
  readonly name: string;
  readonly firmware: "ovmf" | "seabios";
  readonly devices: readonly string[];
  readonly screen: RegExp;
}

const TABLET = ["-device", "virtio-tablet-pci"];

const machines: readonly Machine[] = [
  {
    name: "a framebuffer and a virtio tablet",
    firmware: "ovmf",
    devices: TABLET,
    screen: /"screen":\{"kind":"pixels".*"device":"virtio-tablet","wire":"evdev"/,
  },
  {
    name: "VGA text and a PS/2 mouse",
    firmware: "seabios",
    devices: [],
    screen: /"screen":\{"kind":"cells".*"device":"ps2-mouse","wire":"raw"/,
  },
];

const DAEMON = `[pipe]
type = "framebuffer"
[evidence]
type = "tpm"
device = "/dev/tpmrm0"
pcrs = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
[users]
authorized_keys = "/etc/sealtty/authorized_keys"
names = ["root"]
login = ["/bin/login"]
shell = ["/bin/sh", "-l"]
`;

test("the search finds a secret that is drawn, cut anywhere", () => {
  const found: string[] = [];
  const search = streamSearch(SECRETS, (what) => found.push(what));
  const pixels = Array.from(SECRET).flatMap((letter, i) => [
    letter.charCodeAt(0),
    ...(i % 3 === 2 ? [0] : []),
  ]);
  const wire = Uint8Array.of(1, 2, 3, ...pixels, 9, 9);
  for (let from = 0; from < wire.length; from += 5) search(wire.subarray(from, from + 5));
  expect(found.length).toBeGreaterThan(0);
  found.length = 0;
  search(new TextEncoder().encode(`typed: ${PASSWORD}`));
  expect(found).toContain("plain, all bytes");
});

describe.each(machines)("$name", ({ firmware, devices, screen }) => {
  let scratch: string;
  let vm: Vm;
  let tap: WireSearch;
  const at = (name: string): string => path.join(scratch, name);

  beforeAll(async () => {
    scratch = mkdtempSync(path.join(os.tmpdir(), "sealtty-vnc-vm-"));
    vm = await bootVm({
      firmware,
      virtio: undefined,
      timeoutMs: BOOT_TIMEOUT,
      append: "console=tty0 console=ttyS0 sealtty.screen",
      authorizedKeys: `${sshKeygen(at("key"))}\n`,
      qemuArguments: ["-device", "VGA", ...devices, "-vnc", `unix:${at("vnc")}`],
      files: {
        "/etc/sealtty/screen.toml": DAEMON,
        "/etc/sealtty/init.d/shell": { data: SHELL_ON_TTY1, mode: 0o755 },
      },
    });
    tap = await searchWire(at("tapped"), at("vnc"), SECRETS);
    await vm.waitForSerial(/sealttyd\[screen\]: .*sealttyd serves/, CONNECT_TIMEOUT);
  }, BOOT_TIMEOUT + CONNECT_TIMEOUT);

  afterAll(async () => {
    await tap?.close();
    await vm?.stop();
    rmSync(scratch, { recursive: true, force: true });
  });

  test("evidence, login, a shell, a secret that the host does not see", async () => {
    const carried: Uint8Array[][] = [[], []];
    const keep = (pipe: Pipe): Pipe => ({
      incoming: (async function* () {
        for await (const chunk of pipe.incoming) {
          carried[0]?.push(chunk.slice());
          yield chunk;
        }
      })(),
      async send(chunk) {
        carried[1]?.push(chunk.slice());
        await pipe.send(chunk);
      },
      close: () => pipe.close(),
    });
    const address = parseAddress(`vnc+unix:${tap.path}`);
    const options = clientOptions(nodeClock, async () => keep(await dial(address, {}, nodeClock)), {
      address: address.text,
      identity: "vm",
      acceptSimulated: false,
      timeout: CONNECT_TIMEOUT,
      encoding: "binary",
    });
    const start = performance.now();
    const { claims } = await inspectGuest(options);
    const inspected = performance.now();
    const attested = await connect({ ...options, policy: parsePolicy(claims.policyText) });
    const verified = performance.now();
    const guest = await attested.authenticate({ method: "none", user: "root" });
    const terminal = new TestTerminal(await guest.openChannel(LOGIN));
    await terminal.waitFor(/login: /, CONNECT_TIMEOUT);
    const prompt = performance.now();
    await terminal.type("root\r");
    await terminal.waitFor(/assword: /, CONNECT_TIMEOUT);
    await terminal.type(`${PASSWORD}\r`);
    await terminal.waitFor(/# (?:\x1b\[6n)?$/, CONNECT_TIMEOUT);
    terminal.clear();
    await terminal.type(`echo ${SECRET} | tr a-z A-Z; cat /run/sealtty/console.json; echo over-$((6*7))\r`);
    await terminal.waitFor(/over-42\r\n/, CONNECT_TIMEOUT);
    expect(terminal.shown).toContain(SECRET.toUpperCase());
    expect(terminal.shown.replaceAll(/\r\n/g, "")).toMatch(screen);
    const ms = (from: number, to: number): string => `${Math.round(to - from)} ms`;
    process.stdout.write(
      `inspected after ${ms(start, inspected)}, verified after ${ms(inspected, verified)}, prompt ${ms(verified, prompt)} later\n`,
    );
    await terminal.type("exit\r");
    await terminal.ended();
    await attested.close();
    const streams = carried.map((chunks) => concat(...chunks));
    expect(Math.min(...streams.map(({ length }) => length))).toBeGreaterThan(2000);
    for (const secret of SECRETS) expect(findSecret(streams, secret)).toEqual([]);
    expect(tap.bytes()).toBeGreaterThan(100_000);
    expect(tap.found()).toEqual([]);
  }, 400_000);

  test("the commands, by vnc+unix:", async () => {
    const address = `vnc+unix:${at("vnc")}`;
    const policy = at("policy.toml");
    const saved = await runCli(["inspect", address, "--save-policy", policy, "--timeout", "120"]);
    expect(saved.status, saved.stderr).toBe(0);
    const args = ["--policy", policy, "-l", "root", "-i", at("key"), "--timeout", "120"];
    const done = await runCli(["exec", address, ...args, "--", "sh", "-c", "echo $((40+2)); exit 7"]);
    expect(done).toMatchObject({ status: 7, stdout: "42\n" });
  }, 400_000);

  test("who types on the plain VNC reaches nobody", async () => {
    const rfb = await dialRfb({ kind: "unix", path: at("vnc") });
    const running = rfb.run(() => {});
    const press = async (...codes: readonly number[]): Promise<void> => {
      for (const down of [true, false])
        for (const scancode of down ? codes : codes.toReversed())
          await rfb.send([{ kind: "key", down, scancode, keysym: 0xffffff }]);
    };
    // reboot; Alt-F2; Ctrl-Alt-Del; Alt-SysRq-b
    for (const code of [0x13, 0x12, 0x30, 0x18, 0x18, 0x14, 0x1c]) await press(code);
    await press(0x38, 0x3c);
    await press(0x1d, 0x38, 0xd3);
    await press(0x38, 0x54, 0x30);
    await rfb.close();
    await running;
    const args = ["--policy", at("policy.toml"), "-l", "root", "-i", at("key"), "--timeout", "120"];
    const up = await runCli([
      "exec",
      `vnc+unix:${at("vnc")}`,
      ...args,
      "--",
      "cat",
      "/sys/class/tty/tty0/active",
    ]);
    expect(up).toMatchObject({ status: 0, stdout: "tty1\n" });
  }, 400_000);
});
