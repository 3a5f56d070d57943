// What only a VM has: a real TPM's key and PCRs that are not the policy's, and a virtio port that is open already.
import { writeFileSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { runCli } from "../support/cli.ts";
import { BOOT_TIMEOUT, bootVm, sealttydServes, type Vm } from "../support/vm.ts";

// Waits until the first sealttyd has the port, then starts another on it.
const SECOND = `#!/bin/sh
{
  until ls -l /proc/[0-9]*/fd 2>/dev/null | grep -q /dev/vport; do sleep 0.1; done
  node /usr/lib/sealtty/sealttyd.js --config /etc/sealtty/virtio.toml 2>&1 | sed 's/^/second: /'
  echo "second: over"
} </dev/null &
`;

let vm: Vm;
let policyText: string;

beforeAll(async () => {
  vm = await bootVm({
    firmware: "seabios",
    files: { "/etc/sealtty/init.d/second": { data: SECOND, mode: 0o755 } },
  });
  await sealttydServes(vm);
  const policy = path.join(vm.directory, "policy.toml");
  const saved = await runCli(["inspect", vm.address, "--save-policy", policy, "--json", "--timeout", "120"]);
  if (saved.status !== 0) throw new Error(saved.stderr);
  policyText = (JSON.parse(saved.stdout.split("\n")[0] as string) as { claims: { policyText: string } })
    .claims.policyText;
}, BOOT_TIMEOUT);
afterAll(async () => {
  await vm?.stop();
});

async function inspectUnder(text: string) {
  const policy = path.join(vm.directory, "changed.toml");
  writeFileSync(policy, text);
  return runCli(["inspect", vm.address, "--policy", policy, "--timeout", "120", "-q"]);
}

const flipHex = (text: string, at: number): string =>
  text.slice(0, at) + (text[at] === "0" ? "1" : "0") + text.slice(at + 1);

test("the policy just saved is met", async () => {
  expect(await inspectUnder(policyText)).toMatchObject({ status: 0, stderr: "" });
}, 70_000);

test.each([
  ["PCR", /^4 = \["[0-9a-f]{8}/m, /check: +tpm\.pcr/],
  ["AK", /000b[0-9a-f]{20}/, /check: +tpm\.\S*(?:ak|instance)/],
])(
  "another %s",
  async (_, where, check) => {
    const match = where.exec(policyText);
    const place = (match?.index ?? 0) + (match?.[0].length ?? 0);
    const changed = flipHex(policyText, place);
    const { status, stdout, stderr } = await inspectUnder(changed);
    expect(status, stderr).toBe(1);
    expect(stdout).toBe("");
    expect(stderr).toMatch(
      /^sealtty: evidence-refused: [^\n]+\n {2}check: [^\n]+\n {2}expected: [^\n]+\n {2}found: [^\n]+\n {2}policy: [^\n]+\n {2}next: [^\n]+\n$/,
    );
    expect(stderr).toMatch(check);
    expect(stderr).toContain(changed.slice(place - 8, place + 8)); // what was expected
    expect(stderr).toContain(policyText.slice(place - 8, place + 8)); // what was found
  },
  70_000,
);

test("a second sealttyd on the port says that it is in use, and ends", async () => {
  await vm.waitForSerial(/second: over/, 60_000);
  const lines = vm.serialLog().match(/^second: .* error: [^\r\n]*/gm) ?? [];
  expect(lines).toHaveLength(1);
  expect(lines[0]).toMatch(/Cannot open \/dev\/vport\S+ .*another program has it open\. .*stop it/);
  expect(lines[0]).toContain("code=device-unavailable");
  expect(vm.serialLog()).not.toMatch(/second: +at /);
}, 70_000);
