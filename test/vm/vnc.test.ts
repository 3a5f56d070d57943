// A guest whose only ways in are a display and keys, behind QEMU's own VNC server: evidence, login and a shell through pixels
// and pointer events, with the built programs at both ends, by terminal and in a browser, while the host keeps every byte of its
// VNC connections, and looks on and types.

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseAddress } from "../../cli/address.ts";
import { dial } from "../../cli/dial.ts";
import { nodeClock } from "../../node/clock.ts";
import { dialRfb } from "../../node/rfb.ts";
import { concat } from "../../protocol/bytes.ts";
import { type Policy, parsePolicy } from "../../protocol/attestation/policy.ts";
import type { Pipe } from "../../protocol/pipe.ts";
import type { ConnectOptions } from "../../protocol/session/api.ts";
import { connect, inspectGuest } from "../../protocol/session/connect.ts";
import { launchBrowser, watchFaults } from "../support/browser.ts";
import { runCli, startCli } from "../support/cli.ts";
import { logIn, paste, visit, waitForText } from "../support/console-page.ts";
import { findSecret, tapWire, webSocketPayloads } from "../support/host-eyes.ts";
import { sshKeygen } from "../support/openssh.ts";
import { clientOptions } from "../support/session.ts";
import { TestTerminal } from "../support/terminal.ts";
import { searchWire, streamSearch, type WireSearch } from "../support/wire-search.ts";
import { BOOT_TIMEOUT, bootVm, CONNECT_TIMEOUT, type Vm } from "../support/vm.ts";

const CONFINE = path.resolve(import.meta.dirname, "../../dist/bin/sealtty-confine");
const PASSWORD = "sealtty-test-password";
const SECRET = "canary-on-a-screen-7Hq2Vx";
const SECRETS = [SECRET, SECRET.toUpperCase(), PASSWORD];
const LOGIN = { kind: "login", term: "xterm", columns: 80, rows: 24 } as const;
const TEST_TIMEOUT = 400_000;
/** Who the half of sealttyd is that talks to the host, in the test guest. */
const FRONT = 990;
/** Typed by a viewer, it would be heard by a shell on the machine's own terminal. */
const SHELL_ON_TTY1 = `#!/bin/sh
setsid sh -c 'exec sh -i </dev/tty1 >/dev/tty1 2>&1' &
`;

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

/** A guest behind VNC alone, and the host's ear on the way to it. */
class Machine {
  readonly #scratch = mkdtempSync(path.join(os.tmpdir(), "sealtty-vnc-vm-"));
  #vm: Vm | undefined;
  #tap: WireSearch | undefined;

  at(name: string): string {
    return path.join(this.#scratch, name);
  }

  get vm(): Vm {
    if (this.#vm === undefined) throw new Error("The guest did not boot");
    return this.#vm;
  }

  get tap(): WireSearch {
    if (this.#tap === undefined) throw new Error("The guest did not boot");
    return this.#tap;
  }

  async boot(firmware: "ovmf" | "seabios", devices: readonly string[]): Promise<void> {
    this.#vm = await bootVm({
      firmware,
      virtio: undefined,
      timeoutMs: BOOT_TIMEOUT,
      append: "console=tty0 console=ttyS0 sealtty.screen",
      authorizedKeys: `${sshKeygen(this.at("key"))}\n`,
      qemuArguments: [
        ...["-device", "VGA", ...devices],
        ...["-vnc", `unix:${this.at("vnc")},websocket=127.0.0.1:0`],
      ],
      files: {
        "/usr/lib/sealtty/sealtty-confine": { data: readFileSync(CONFINE), mode: 0o755 },
        "/etc/sealtty/screen.toml": DAEMON,
        "/etc/sealtty/init.d/shell": { data: SHELL_ON_TTY1, mode: 0o755 },
      },
    });
    this.#tap = await searchWire(this.at("tapped"), this.at("vnc"), SECRETS);
    await this.vm.waitForSerial(/sealttyd\[screen\]: .*sealttyd serves/, CONNECT_TIMEOUT);
  }

  async stop(): Promise<void> {
    await this.#tap?.close();
    await this.#vm?.stop();
    rmSync(this.#scratch, { recursive: true, force: true });
  }

  get address(): string {
    return `vnc+unix:${this.at("vnc")}`;
  }

  /** Through the host's ear. @param over - what is put around each pipe. */
  options(over: (pipe: Pipe) => Pipe = (pipe) => pipe): ConnectOptions {
    const address = parseAddress(`vnc+unix:${this.tap.path}`);
    return clientOptions(nodeClock, async () => over(await dial(address, {}, nodeClock)), {
      address: address.text,
      identity: "vm",
      acceptSimulated: false,
      timeout: CONNECT_TIMEOUT,
      encoding: "binary",
    });
  }

  /** With `sealtty exec`, as root by a key. */
  async exec(...command: readonly string[]) {
    const args = ["--policy", this.at("policy.toml"), "-l", "root", "-i", this.at("key"), "--timeout", "120"];
    return await runCli(["exec", this.address, ...args, "--", ...command]);
  }

  async webSocketPort(): Promise<number> {
    const servers = (await this.vm.qmp("query-vnc-servers")) as {
      readonly server: readonly { readonly service: string; readonly websocket: boolean }[];
    }[];
    return Number(servers[0]?.server.find(({ websocket }) => websocket)?.service);
  }
}

/** Logs in with the password, at the guest's own prompt. */
async function atShell(terminal: TestTerminal): Promise<void> {
  await terminal.waitFor(/login: /, CONNECT_TIMEOUT);
  await terminal.type("root\r");
  await terminal.waitFor(/assword: /, CONNECT_TIMEOUT);
  await terminal.type(`${PASSWORD}\r`);
  await terminal.waitFor(/# (?:\x1b\[6n)?$/, CONNECT_TIMEOUT);
  terminal.clear();
}

/** @param screen - what the guest has to say of the devices that it took. @returns the guest's policy. */
async function logsInUnseen(machine: Machine, screen: RegExp): Promise<Policy> {
  const carried: Uint8Array[][] = [[], []];
  const options = machine.options((pipe) => ({
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
  }));
  const start = performance.now();
  const { claims } = await inspectGuest(options);
  const inspected = performance.now();
  const policy = parsePolicy(claims.policyText);
  const attested = await connect({ ...options, policy });
  const verified = performance.now();
  expect(attested.verified.claims).toMatchObject({ type: "tpm", assurance: "host-vouched" });
  const guest = await attested.authenticate({ method: "none", user: "root" });
  const terminal = new TestTerminal(await guest.openChannel(LOGIN));
  await terminal.waitFor(/login: /, CONNECT_TIMEOUT);
  const prompt = performance.now();
  await atShell(terminal);
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
  return policy;
}

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

describe("a framebuffer and a virtio tablet", () => {
  const machine = new Machine();
  let policy: Policy;

  beforeAll(() => machine.boot("ovmf", ["-device", "virtio-tablet-pci"]), BOOT_TIMEOUT + CONNECT_TIMEOUT);
  afterAll(() => machine.stop());

  test(
    "evidence, login, a shell, a secret that the host does not see",
    async () => {
      policy = await logsInUnseen(
        machine,
        /"screen":\{"kind":"pixels".*"device":"virtio-tablet","wire":"evdev"/,
      );
      expect(machine.tap.bytes()).toBeGreaterThan(100_000);
      expect(machine.tap.found()).toEqual([]);
    },
    TEST_TIMEOUT,
  );

  test(
    "another viewer moves the mouse, clicks and types; ten times the connection is cut: each command comes through, once",
    async () => {
      let dials = 0;
      const options = machine.options((pipe) => {
        dials++;
        return pipe;
      });
      const attested = await connect({ ...options, policy });
      const guest = await attested.authenticate({ method: "none", user: "root" });
      const terminal = new TestTerminal(await guest.openChannel(LOGIN));
      await atShell(terminal);

      const viewer = await dialRfb({ kind: "unix", path: machine.at("vnc") });
      const looking = viewer.run(() => {});
      let busy = true;
      let moves = 0;
      const interfering = (async () => {
        for (; busy; moves++) {
          // As a hand does: some 60 moves a second, a click and a key now and then.
          await viewer.send([
            {
              kind: "pointer",
              buttons: moves % 40 === 39 ? 1 : 0,
              x: (moves * 7) % 1280,
              y: (moves * 3) % 800,
            },
            { kind: "key", down: moves % 20 < 10, scancode: 0x1e, keysym: 0x61 },
          ]);
          await new Promise<void>((resolve) => void nodeClock.after(16, resolve));
        }
      })();
      for (let i = 0; i < 10; i++) {
        await terminal.type(`echo viewed-$((${i}+100))\r`);
        await terminal.waitFor(new RegExp(`viewed-${i + 100}\\r\\n`), CONNECT_TIMEOUT);
      }
      busy = false;
      await interfering;
      await viewer.close();
      await looking;
      expect(moves).toBeGreaterThan(10);
      expect(dials).toBe(1);

      for (let i = 0; i < 10; i++) {
        machine.tap.cut();
        await terminal.type(`echo again-$((${i}+100))\r`);
        await terminal.waitFor(new RegExp(`again-${i + 100}\\r\\n`), CONNECT_TIMEOUT);
      }
      expect(dials).toBeGreaterThanOrEqual(11);
      for (const word of ["viewed", "again"])
        expect(
          [...terminal.shown.matchAll(new RegExp(`${word}-(\\d+)\\r\\n`, "g"))].map(([, i]) => i),
        ).toEqual(Array.from({ length: 10 }, (_, i) => String(i + 100)));
      await attested.close();
      expect(machine.tap.found()).toEqual([]);
    },
    TEST_TIMEOUT,
  );

  test(
    "the commands, by vnc+unix:; the half that talks to the host has the screen and the keys, and nothing else",
    async () => {
      const saved = await runCli([
        ...["inspect", machine.address, "--save-policy", machine.at("policy.toml"), "--timeout", "120"],
      ]);
      expect(saved.status, saved.stderr).toBe(0);
      const done = await machine.exec(
        "sh",
        "-c",
        `for process in /proc/[0-9]*; do
          case $(tr '\\0' ' ' <$process/cmdline) in *' '--fron[t]' ') front=\${process#/proc/} ;; esac
        done
        grep -E '^(Uid|CapEff|NoNewPrivs|Seccomp):' /proc/$front/status
        ls -l /proc/$front/fd | sed -n 's/.* -> /open /p'
        find /dev -user ${FRONT} -exec stat -c 'owned %n %a' {} +
        cat /run/sealtty/console.json
        exit 7`,
      );
      expect(done, done.stderr).toMatchObject({ status: 7 });
      const { stdout } = done;
      expect(stdout).toMatch(new RegExp(`^Uid:\\t${FRONT}\\t${FRONT}\\t${FRONT}\\t${FRONT}$`, "m"));
      expect(stdout).toMatch(/^CapEff:\t0{16}$/m);
      expect(stdout).toMatch(/^NoNewPrivs:\t1$/m);
      expect(stdout).toMatch(/^Seccomp:\t2$/m);
      expect(machine.vm.serialLog()).not.toContain("not confined");
      const { devices } = JSON.parse(/^\{.*\}$/m.exec(stdout)?.[0] ?? "{}") as {
        readonly devices: {
          readonly screen: { readonly path: string };
          readonly input: { readonly path: string };
          readonly held: readonly string[];
        };
      };
      const taken = [devices.screen.path, devices.input.path, ...devices.held].toSorted();
      expect(taken).toContain("/dev/fb0");
      expect(devices.held).toHaveLength(1); // the PS/2 keyboard, which every such machine has
      const lines = (word: string): string[] =>
        [
          ...new Set(
            [...stdout.matchAll(new RegExp(`^${word} (/dev/.*)$`, "gm"))].map(([, line = ""]) => line),
          ),
        ].sort();
      expect(lines("owned").filter((line) => !line.startsWith("/dev/pts/"))).toEqual(
        taken.map((device) => `${device} 600`),
      );
      expect(lines("open").filter((device) => !/^\/dev\/(?:null|(?:pts\/)?ptmx)$/.test(device))).toEqual(
        taken,
      );
    },
    TEST_TIMEOUT,
  );

  test(
    "who types on the plain VNC reaches nobody",
    async () => {
      const rfb = await dialRfb({ kind: "unix", path: machine.at("vnc") });
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
      const up = await machine.exec("cat", "/sys/class/tty/tty0/active");
      expect(up, up.stderr).toMatchObject({ status: 0, stdout: "tty1\n" });
    },
    TEST_TIMEOUT,
  );
});

describe("VGA text and a PS/2 mouse", () => {
  const machine = new Machine();

  beforeAll(() => machine.boot("seabios", []), BOOT_TIMEOUT + CONNECT_TIMEOUT);
  afterAll(() => machine.stop());

  test(
    "evidence, login, a shell, a secret that the host does not see",
    async () => {
      await logsInUnseen(machine, /"screen":\{"kind":"cells".*"device":"ps2-mouse","wire":"raw"/);
      expect(machine.tap.bytes()).toBeGreaterThan(100_000);
      expect(machine.tap.found()).toEqual([]);
    },
    TEST_TIMEOUT,
  );
});

describe("a framebuffer and a keyboard, nothing else", () => {
  const machine = new Machine();

  beforeAll(
    // Without its PS/2 ports the machine has no mouse either.
    () => machine.boot("ovmf", ["-machine", "i8042=off", "-device", "virtio-keyboard-pci"]),
    BOOT_TIMEOUT + CONNECT_TIMEOUT,
  );
  afterAll(() => machine.stop());

  test(
    "by the commands' vnc+unix: a policy; the page, straight to the VNC server's web socket: verified evidence, login, a command",
    async () => {
      const saved = await runCli([
        ...["inspect", machine.address, "--save-policy", machine.at("policy.toml"), "--timeout", "120"],
      ]);
      expect(saved.status, saved.stderr).toBe(0);
      const browser = await launchBrowser();
      const tap = await tapWire({ port: await machine.webSocketPort() });
      const open = startCli([
        ...["open", `vnc+ws://127.0.0.1:${tap.port}/`, "--policy", machine.at("policy.toml")],
        ...["-l", "root", "--no-open", "--port", "0"],
      ]);
      try {
        const [, url = ""] = await open.waitFor(/Open: (http:\/\/[0-9a-f]+\.localhost:\d+\/#\S+)/);
        const page = await visit(browser, url, 2 * CONNECT_TIMEOUT);
        const faults = watchFaults(page, new URL(url).origin);
        await logIn(page, PASSWORD, "seen");
        // At once: each key that is typed alone is half a second of key presses.
        await paste(
          page,
          `echo ${SECRET} | tr a-z A-Z; grep -o '"device.*held[^]]*]' /run/sealtty/console.json`,
        );
        await page.keyboard.press("Enter");
        await waitForText(page, SECRET.toUpperCase());
        // Whatever else there was would be what it listens to, or holds.
        await waitForText(page, '"device":"keyboard","wire":"evdev"');
        await waitForText(page, '"held":[]');
        expect(await page.locator("body").innerText()).toMatch(/TPM/);
        expect(faults.violations).toEqual([]);
        await page.close();
        const found: string[] = [];
        for (const stream of tap.captured())
          streamSearch(SECRETS, (what) => found.push(what))(webSocketPayloads(stream));
        expect(tap.bytes()).toBeGreaterThan(100_000);
        expect(found).toEqual([]);
      } catch (error) {
        process.stderr.write(`--- sealtty open\n${open.stderr()}\n`);
        throw error;
      } finally {
        await open.stop();
        await tap.close();
        await browser.close();
      }
    },
    2 * TEST_TIMEOUT, // 63 bytes a second
  );
});
