// Every pipe of the real QEMU: three devices × three backends × plain, mux=on and telnet=on; then consoles that the kernel
// prints to, and one that a getty had. Prints docs/hosts.md's table.
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { nodeClock } from "../../node/clock.ts";
import { loadIdentity, sshKeyAuth } from "../../node/user-identity.ts";
import type { Guest } from "../../protocol/session/api.ts";
import type { Channel } from "../../protocol/session/channel-api.ts";
import { connect } from "../../protocol/session/connect.ts";
import { makeScratch, sshKeygen } from "../support/openssh.ts";
import { BACKENDS, DEVICES, dialPipe, type GuestPipe, MODES, pipesVmOptions } from "../support/pipes-vm.ts";
import { clientOptions } from "../support/session.ts";
import { TestTerminal } from "../support/terminal.ts";
import { BOOT_TIMEOUT, bootVm, type Vm } from "../support/vm.ts";

const PASSWORD = "sealtty-test-password";
const ECHOES = 7;

const scratch = makeScratch();
const keyFile = scratch.path("key");

beforeAll(() => sshKeygen(keyFile));
afterAll(() => scratch.remove());

/** Linux has eight hvc: the ninth virtconsole has no device in the guest, and is in the second guest. */
const HVC = 8;
const SERIAL = ["ttyS1", "ttyS4", "ttyS5", "ttyS6", "ttyS7", "ttyS8", "ttyS9", "ttyS10", "ttyS11"];

function allPipes(): GuestPipe[] {
  return DEVICES.flatMap((device) =>
    BACKENDS.flatMap((backend, b) =>
      MODES.map((mode, m) => {
        const n = b * MODES.length + m;
        const at = {
          virtserialport: `sealtty.${n}`,
          virtconsole: `/dev/hvc${n % HVC}`,
          "16550": `/dev/${SERIAL[n]}`,
        }[device];
        return { device, backend, mode, at };
      }),
    ),
  );
}

const nameOf = ({ device, backend, mode }: GuestPipe): string => `${device}, ${backend}, ${mode}`;

/** @param append - of the kernel's command line. @param before - shell lines in the guest, before its servers start. */
async function boot(pipes: readonly GuestPipe[], append = "", before = ""): Promise<Vm> {
  const keys = readFileSync(`${keyFile}.pub`, "utf8");
  const options = await pipesVmOptions(pipes, scratch.path(""), keys, before);
  const vm = await bootVm({ ...options, append: `${options.append} ${append}` });
  try {
    await vm.waitForSerial(before === "" ? /pipes: serves all/ : /pipes: something before/, 60_000);
    expect(vm.serialLog()).not.toContain("cannot serve");
    return vm;
  } catch (error) {
    await vm.stop();
    throw error;
  }
}

async function readAll(channel: Channel, length: number): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for (let read = 0; read < length; ) {
    const part = await channel.stdout.read();
    if (part === undefined) break;
    channel.stdout.consumed(part.length);
    parts.push(part);
    read += part.length;
  }
  return Buffer.concat(parts);
}

/** Bytes towards the guest, and back: the same ones as often as fits. */
interface Lengths {
  readonly up: number;
  readonly down: number;
}

/** Bytes a second each way, and the median of a byte's way to `cat` and back, ms. Every byte is compared. */
async function measure(guest: Guest, lengths: Lengths): Promise<{ up: number; down: number; echo: number }> {
  const cat = await guest.openChannel({ kind: "exec", command: ["cat"], environment: {} });
  const echoes: number[] = [];
  for (let i = 0; i < ECHOES; i++) {
    const start = performance.now();
    await cat.write(Uint8Array.of(i));
    expect(await readAll(cat, 1)).toEqual(Buffer.of(i));
    echoes.push(performance.now() - start);
  }
  cat.end();
  expect(await cat.stdout.read()).toBeUndefined();
  expect(await cat.exit).toEqual({ kind: "exited", status: 0 });

  const file = randomBytes(lengths.up);
  const times = lengths.down / lengths.up;
  const keep = await guest.openChannel({
    kind: "exec",
    command: ["sh", "-c", `f=$(mktemp); cat >"$f"; wc -c <"$f"; for i in $(seq ${times}); do cat "$f"; done`],
    environment: {},
  });
  const start = performance.now();
  await keep.write(file);
  keep.end();
  const head = `${file.length}\n`;
  const answer = await readAll(keep, head.length);
  const arrived = performance.now();
  const back = Buffer.concat([answer, await readAll(keep, head.length + lengths.down - answer.length)]);
  const returned = performance.now();
  expect(back.subarray(0, head.length).toString()).toBe(head);
  const expected = Buffer.concat(Array.from({ length: times }, () => file));
  expect(back.subarray(head.length).equals(expected)).toBe(true);
  expect(await keep.stdout.read()).toBeUndefined();
  expect(await keep.exit).toEqual({ kind: "exited", status: 0 });
  echoes.sort((a, b) => a - b);
  return {
    up: lengths.up / ((arrived - start) / 1000),
    down: lengths.down / ((returned - arrived) / 1000),
    echo: echoes[ECHOES >> 1] as number,
  };
}

async function logIn(guest: Guest): Promise<void> {
  const terminal = new TestTerminal(
    await guest.openChannel({ kind: "login", term: "vt100", columns: 80, rows: 24 }),
  );
  await terminal.waitFor(/login: /);
  await terminal.type("root\r");
  await terminal.waitFor(/assword: /);
  await terminal.type(`${PASSWORD}\r`);
  await terminal.waitFor(/# (?:\x1b\[6n)?$/);
  await terminal.type("echo in-$((40+2)); exit\r");
  await terminal.waitFor(/in-42/);
  await terminal.ended();
}

/** Less where 64 KiB would take long in a guest that is emulated on a busy machine. */
function lengthsFor({ device, backend, mode }: GuestPipe): Lengths {
  const KIB = 1024;
  if (device === "16550")
    return backend === "websocket" ? { up: KIB, down: 8 * KIB } : { up: 4 * KIB, down: 16 * KIB };
  return mode === "mux=on" ? { up: 2 * KIB, down: 32 * KIB } : { up: 64 * KIB, down: 64 * KIB };
}

/** A whole session; what was found of the pipe, and how fast it was. */
async function wholeSession(
  vm: Vm,
  pipe: GuestPipe,
  name = nameOf(pipe),
  onHostNoise: (noise: Uint8Array) => void = () => {},
) {
  const start = performance.now();
  const dial = () => dialPipe(vm, pipe, scratch.path(""));
  const attested = await connect(clientOptions(nodeClock, dial, { timeout: 180_000, onHostNoise }));
  const took = performance.now() - start;
  const found = attested.stats.carries;
  try {
    const guest = await attested.authenticate(
      sshKeyAuth("root", await loadIdentity({ identityFile: keyFile })),
    );
    const speed = await measure(guest, lengthsFor(pipe));
    await logIn(guest);
    const { carries, packetsLost } = guest.stats;
    const kilobytes = (bytes: number): number => Number((bytes / 1000).toPrecision(3));
    process.stdout.write(
      `| ${name.replaceAll(", ", " | ")} | ${found.encoding} | ${found.burst || "–"} | ${Math.round(took)} | ` +
        `${kilobytes(speed.up)} | ${kilobytes(speed.down)} | ${speed.echo.toFixed(1)} | ${packetsLost}, ${carries.burst || "–"} |\n`,
    );
    return { found, carries };
  } finally {
    await attested.close();
  }
}

describe("each pipe of QEMU", () => {
  const pipes = allPipes().filter(
    ({ device, at }, i, all) => device !== "virtconsole" || all.findIndex((other) => other.at === at) === i,
  );
  let vm: Vm;
  beforeAll(async () => {
    vm = await boot(pipes);
    process.stdout.write(`all pipes: ready after ${Math.round(vm.bootMs)} ms\n`);
  }, BOOT_TIMEOUT);
  afterAll(async () => {
    await vm?.stop();
  });

  test.each(pipes.map((pipe) => [nameOf(pipe), pipe] as const))(
    "%s: keys, a file each way, and a login",
    async (_name, pipe) => {
      const { found } = await wholeSession(vm, pipe);
      if (pipe.mode !== "plain") expect(found.encoding).toBe("armour");
      // The pipe that drops what is longer than 16 bytes may drop a binary HELLO as well: all byte values are then never tried.
      else if (pipe.device === "16550" && pipe.backend === "websocket")
        expect(["binary", "armour"]).toContain(found.encoding);
      else expect(found.encoding).toBe("binary");
    },
    240_000,
  );
});

describe("consoles that are not ours alone", () => {
  // hvc0 to hvc2, in this order.
  const hvc: GuestPipe = {
    device: "virtconsole",
    backend: "unix",
    mode: "plain",
    at: "/dev/hvc0",
    armourOnly: true,
  };
  const ninth: GuestPipe = {
    device: "virtconsole",
    backend: "websocket",
    mode: "telnet=on",
    at: "/dev/hvc1",
  };
  const had: GuestPipe = { device: "virtconsole", backend: "tcp", mode: "plain", at: "/dev/hvc2" };
  const serial: GuestPipe = {
    device: "16550",
    backend: "websocket",
    mode: "plain",
    at: "/dev/ttyS1",
    armourOnly: true,
  };
  /** The getty waits until somebody typed at it, which is our client's HELLO, and is then stopped. */
  const BEFORE = `
setsid getty 38400 hvc2 vt100 </dev/null &
getty=$!
echo "pipes: something before"
for i in $(seq 200); do grep -q login "/proc/$getty/comm" && break; sleep 0.1; done
kill -9 $getty
(while :; do echo "<1>somebody else prints on this console" >/dev/kmsg; sleep 1; done) &
`;
  let vm: Vm;
  beforeAll(async () => {
    // The last one is where the guest's own log goes. A second UART can be a console of the kernel's as an early one only.
    const consoles = "console=hvc0 earlycon=uart8250,io,0x2f8,115200 keep_bootcon console=ttyS0";
    vm = await boot([hvc, ninth, had, serial], consoles, BEFORE);
  }, BOOT_TIMEOUT);
  afterAll(async () => {
    await vm?.stop();
  });

  const listen = (): { text: string; take(noise: Uint8Array): void } => ({
    text: "",
    take(noise) {
      this.text += Buffer.from(noise).toString("latin1");
    },
  });

  test("virtconsole, tcp, plain, on which a getty was: its prompt is noise, and the session comes up", async () => {
    const noise = listen();
    await wholeSession(vm, had, `${nameOf(had)}; a getty before`, (bytes) => noise.take(bytes));
    expect(noise.text).toContain("login:");
    expect(vm.serialLog()).not.toContain("cannot serve");
  }, 240_000);

  test.each([
    [nameOf(hvc), hvc],
    [nameOf(serial), serial],
  ])(
    "%s, on which the kernel prints: armour, and its messages are noise",
    async (name, pipe) => {
      const noise = listen();
      const { found } = await wholeSession(vm, pipe, `${name}; kernel messages`, (bytes) =>
        noise.take(bytes),
      );
      expect(found.encoding).toBe("armour");
      expect(noise.text).toContain("somebody else prints on this console");
    },
    240_000,
  );

  test(`${nameOf(ninth)}: keys, a file each way, and a login`, async () => {
    const { found } = await wholeSession(vm, ninth);
    expect(found.encoding).toBe("armour");
  }, 240_000);
});
