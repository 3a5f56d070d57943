// Pipes of the real QEMU: three devices × three backends × plain, mux=on and telnet=on, as far as they work. Prints
// docs/hosts.md's table.
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { nodeClock } from "../../node/clock.ts";
import { loadIdentity, sshKeyAuth } from "../../node/user-identity.ts";
import type { Pipe } from "../../protocol/pipe.ts";
import type { Guest } from "../../protocol/session/api.ts";
import type { Channel } from "../../protocol/session/channel-api.ts";
import { connect } from "../../protocol/session/connect.ts";
import { makeScratch, sshKeygen } from "../support/openssh.ts";
import { BACKENDS, DEVICES, dialPipe, type GuestPipe, MODES, pipesVmOptions } from "../support/pipes-vm.ts";
import { clientOptions } from "../support/session.ts";
import { TestTerminal } from "../support/terminal.ts";
import { BOOT_TIMEOUT, bootVm, type Vm } from "../support/vm.ts";

const PASSWORD = "sealtty-test-password";
const LENGTH = 64 * 1024;
const ECHOES = 20;

const scratch = makeScratch();
const keyFile = scratch.path("key");

beforeAll(() => sshKeygen(keyFile));
afterAll(() => scratch.remove());

/** Linux has eight hvc: a ninth virtconsole would have no device in the guest. */
const HVC = 8;
const SERIAL = ["ttyS1", "ttyS4", "ttyS5", "ttyS6", "ttyS7", "ttyS8", "ttyS9", "ttyS10", "ttyS11"];

/** docs/hosts.md says what is known of these: they have no session yet. */
const notYet = ({ device, backend, mode }: GuestPipe): boolean =>
  backend === "websocket" && (mode === "mux=on" || (mode === "telnet=on" && device !== "virtserialport"));

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

async function boot(pipes: readonly GuestPipe[]): Promise<Vm> {
  const keys = readFileSync(`${keyFile}.pub`, "utf8");
  const vm = await bootVm(await pipesVmOptions(pipes, scratch.path(""), keys));
  try {
    await vm.waitForSerial(/pipes: serves all/, 60_000);
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

/** Bytes a second each way, and the median of a byte's way to `cat` and back. Every byte is compared. */
/** @param length - of the file; it comes back so often that LENGTH bytes come down. */
async function measure(guest: Guest, length: number): Promise<{ up: number; down: number; echo: number }> {
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

  const file = randomBytes(length);
  const times = LENGTH / length;
  const keep = await guest.openChannel({
    kind: "exec",
    command: ["sh", "-c", `cat >/tmp/f$$; wc -c </tmp/f$$; for i in $(seq ${times}); do cat /tmp/f$$; done`],
    environment: {},
  });
  const start = performance.now();
  await keep.write(file);
  keep.end();
  const head = `${file.length}\n`;
  const answer = await readAll(keep, head.length);
  const arrived = performance.now();
  const back = Buffer.concat([answer, await readAll(keep, head.length + LENGTH - answer.length)]);
  const returned = performance.now();
  expect(back.subarray(0, head.length).toString()).toBe(head);
  const expected = Buffer.concat(Array.from({ length: times }, () => file));
  expect(back.subarray(head.length).equals(expected)).toBe(true);
  expect(await keep.stdout.read()).toBeUndefined();
  expect(await keep.exit).toEqual({ kind: "exited", status: 0 });
  echoes.sort((a, b) => a - b);
  return {
    up: file.length / ((arrived - start) / 1000),
    down: LENGTH / ((returned - arrived) / 1000),
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

/** Towards the guest: less where 64 KiB would take a minute in a guest that is emulated on a busy machine. */
function lengthFor(name: string): number {
  if (/virtserialport.*mux/.test(name)) return LENGTH / 16;
  return name.startsWith("16550") ? LENGTH / 4 : LENGTH;
}

/** A whole session; what was found of the pipe, and how fast it was. */
async function wholeSession(dial: () => Promise<Pipe>, name: string) {
  const start = performance.now();
  const attested = await connect(clientOptions(nodeClock, dial, { timeout: 60_000 }));
  const took = performance.now() - start;
  const found = attested.stats.carries;
  try {
    const guest = await attested.authenticate(
      sshKeyAuth("root", await loadIdentity({ identityFile: keyFile })),
    );
    const speed = await measure(guest, lengthFor(name));
    await logIn(guest);
    const { carries, packetsLost } = guest.stats;
    const kilobytes = (bytes: number): string => (bytes / 1000).toPrecision(3);
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

  test.each(pipes.filter((pipe) => !notYet(pipe)).map((pipe) => [nameOf(pipe), pipe] as const))(
    "%s: login, and 64 KiB both ways",
    async (name, pipe) => {
      const { found } = await wholeSession(() => dialPipe(vm, pipe, scratch.path("")), name);
      expect(found.encoding).toBe(pipe.mode === "plain" ? "binary" : "armour");
    },
    240_000,
  );
});
