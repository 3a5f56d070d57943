// The whole way on a real VM: a verified TPM quote, login with a password, over virtio-serial and over hvc0.
import { createHash } from "node:crypto";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { nodeClock } from "../../node/clock.ts";
import { connectTcp } from "../../node/tcp-pipe.ts";
import { connectUnixSocket } from "../../node/unix-socket-pipe.ts";
import { parsePolicy } from "../../protocol/attestation/policy.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { Pipe } from "../../protocol/pipe.ts";
import type { AttestedGuest, ConnectOptions } from "../../protocol/session/api.ts";
import type { Channel } from "../../protocol/session/channel-api.ts";
import { connect, inspectGuest } from "../../protocol/session/connect.ts";
import { clientOptions } from "../support/session.ts";
import { TestTerminal } from "../support/terminal.ts";
import { BOOT_TIMEOUT, bootVm, CONNECT_TIMEOUT, sealttydServes, type Vm } from "../support/vm.ts";

const PASSWORD = "sealtty-test-password";
const PROMPT = /# (?:\x1b\[6n)?$/;
/** A ring that is soon full: what fills one of the usual size takes an emulated machine more than a minute. */
const DAEMON = `[pipe]
type = "virtio"
name = "sealtty.0"
[evidence]
type = "tpm"
device = "/dev/tpmrm0"
pcrs = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
[users]
authorized_keys = "/etc/sealtty/authorized_keys"
names = ["root"]
login = ["/bin/login"]
[sessions]
ring_kib = 256
`;
const LOGIN = { kind: "login", term: "xterm", columns: 80, rows: 24 } as const;

let vm: Vm;
let policyText: string;

beforeAll(async () => {
  vm = await bootVm({
    firmware: "ovmf",
    hvc0: { kind: "tcp" },
    files: { "/etc/sealtty/virtio.toml": DAEMON },
  });
  await sealttydServes(vm);
  const { claims } = await inspectGuest(options());
  policyText = claims.policyText;
  process.stdout.write(`VM: ready after ${Math.round(vm.bootMs)} ms\n`);
}, BOOT_TIMEOUT);

const opened: AttestedGuest[] = [];

/** QEMU serves one client at a time: what a test opened must not outlive it. */
async function open(wanted: ConnectOptions): Promise<AttestedGuest> {
  const attested = await connect(wanted);
  opened.push(attested);
  return attested;
}

afterEach(async () => {
  for (const attested of opened.splice(0)) await attested.close();
});

afterAll(async () => {
  await vm?.stop();
});

function options(
  own: Partial<ConnectOptions> = {},
  dial: () => Promise<Pipe> = () => connectUnixSocket(vm.unixPath ?? ""),
): ConnectOptions {
  return clientOptions(nodeClock, dial, {
    address: vm.address,
    identity: "vm",
    acceptSimulated: false,
    timeout: CONNECT_TIMEOUT,
    ...own,
  });
}

const hvc0 = () => connectTcp("127.0.0.1", vm.hvc0?.tcpPort ?? 0);

async function logIn(attested: AttestedGuest): Promise<TestTerminal> {
  const guest = await attested.authenticate({ method: "none", user: "root" });
  return await logInto(await guest.openChannel(LOGIN));
}

async function logInto(channel: Channel): Promise<TestTerminal> {
  const terminal = new TestTerminal(channel);
  await terminal.waitFor(/login: /);
  await terminal.type("root\r");
  await terminal.waitFor(/assword: /);
  await terminal.type(`${PASSWORD}\r`);
  await terminal.waitFor(PROMPT);
  return terminal;
}

test.each([
  ["the virtio-serial port", "binary", undefined],
  ["hvc0", "auto", hvc0],
  ["hvc0, armoured", "armour", hvc0],
] as const)(
  "evidence, policy, login and a shell over %s",
  async (_name, encoding, dial) => {
    const attested = await open(options({ policy: parsePolicy(policyText), encoding }, dial));
    expect(attested.verified.claims.assurance).toBe("host-vouched");
    expect(attested.verified.claims.type).toBe("tpm");
    const terminal = await logIn(attested);
    terminal.clear();
    await terminal.type("stty size; tty; echo ready-$((6*7))\r");
    await terminal.waitFor(/ready-42/);
    expect(terminal.shown).toMatch(/24 80/);
    expect(terminal.shown).not.toContain("\u0000");
    expect(terminal.shown).not.toContain(PASSWORD);
    await terminal.type("exit\r");
    await terminal.ended();
  },
  120_000,
);

test("1 MB of output over the virtio port arrives whole", async () => {
  const attested = await open(options({ policy: parsePolicy(policyText) }));
  const terminal = await logIn(attested);
  terminal.clear();
  await terminal.type("seq 1 180000 | head -c 1000000 | md5sum; echo FIRST-$((1+1))\r");
  const [, digest] = await terminal.waitFor(/([0-9a-f]{32}) {2}-[^]*FIRST-2\r\n/);
  terminal.clear();
  await terminal.type(
    "stty -opost; echo BEGIN-$((1+1)); seq 1 180000 | head -c 1000000; echo END-$((1+1))\r",
  );
  await terminal.waitFor(/END-2\n/, 120_000);
  const printed = terminal.shown.slice(
    terminal.shown.indexOf("BEGIN-2\n") + 8,
    terminal.shown.indexOf("END-2\n"),
  );
  expect(printed.length).toBe(1_000_000);
  expect(createHash("md5").update(printed).digest("hex")).toBe(digest);
}, 240_000);

test("more output than the ring has: the guest's own thread gives the screen back, with 10,000 lines above it", async () => {
  const attested = await open(options({ policy: parsePolicy(policyText) }));
  const guest = await attested.authenticate({ method: "none", user: "root" });
  const one = await guest.openSession({ request: LOGIN });
  const terminal = await logInto(one);
  await terminal.type("seq 1 70000; echo whole-$((6*7))\r");
  await terminal.waitFor(/whole-42\r\n/, 300_000);
  const two = await guest.attach({
    session: one.session,
    mode: "read-only",
    from: 0,
    columns: 80,
    rows: 24,
    screenLines: 10_000,
  });
  const told: unknown[] = [];
  two.onGap = (lost) => told.push({ lost });
  two.onScreen = (screen) => told.push(screen);
  const late = new TestTerminal(two);
  await late.waitFor(/whole-42\r\n/);
  expect(told).toMatchObject([{ begin: 0, columns: 80, rows: 24, lines: 10_000, cut: 0 }]);
  expect(late.shown).toMatch(/\r\n65000\r\n65001\r\n/);
  one.hangUp();
  await terminal.ended();
}, 400_000);

test("reconnect: the host drops the pipe, the session goes on with the same keys", async () => {
  let pipes = 0;
  let current: Pipe | undefined;
  const dial = async (): Promise<Pipe> => {
    pipes++;
    current = await connectUnixSocket(vm.unixPath ?? "");
    return current;
  };
  const attested = await open(options({ policy: parsePolicy(policyText) }, dial));
  const terminal = await logIn(attested);
  terminal.clear();
  await terminal.type("(sleep 1; echo later-$((40+2))) & echo now\r");
  await terminal.waitFor(/now\r\n/);
  await current?.close();
  await terminal.waitFor(/later-42/);
  expect(pipes).toBeGreaterThan(1);
}, 120_000);

async function refusal(text: string, own: Partial<ConnectOptions> = {}): Promise<SealttyError> {
  const attempt = connect(options({ policy: parsePolicy(text), ...own }));
  const outcome = await attempt.then(
    () => undefined,
    (error: unknown) => error,
  );
  if (!(outcome instanceof SealttyError)) throw new Error(`expected a refusal, not ${String(outcome)}`);
  return outcome;
}

const flipHex = (text: string, at: number): string =>
  text.slice(0, at) + (text[at] === "0" ? "1" : "0") + text.slice(at + 1);

test("another PCR value, another AK, a policy for simulated evidence only: each is refused by its own check", async () => {
  const pcr = policyText.search(/^4 = \["/m);
  expect(pcr).toBeGreaterThan(0);
  const wrongPcr = await refusal(flipHex(policyText, pcr + 8));
  expect(wrongPcr.code).toBe("evidence-refused");
  expect(wrongPcr.refusal?.check).toMatch(/pcr/);
  expect(wrongPcr.refusal?.expected).not.toBe(wrongPcr.refusal?.found);

  const ak = policyText.search(/000b[0-9a-f]{64}/);
  const wrongAk = await refusal(flipHex(policyText, ak + 10));
  expect(wrongAk.refusal?.check).toMatch(/ak|instance/);

  const simulated = 'version = 1\nname = "x"\nminimumAssurance = "simulated"\n[simulated]\ninstance = "x"\n';
  const wrongType = await refusal(simulated, { acceptSimulated: true });
  expect(wrongType.code).toBe("evidence-refused");
}, 60_000);

test("a guest that says nothing: one clear sentence within the timeout", async () => {
  const attempt = connect(
    options({ policy: parsePolicy(policyText), timeout: 1500 }, () =>
      connectUnixSocket(`${vm.directory}/nothing`),
    ),
  );
  await expect(attempt).rejects.toMatchObject({
    code: expect.stringMatching(/device-unavailable|transport-lost/),
  });
});
