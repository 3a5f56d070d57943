// `sealtty unlock` against a guest that asks what the test says: what a passphrase in a file answers, and what not.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { run } from "../../cli/program.ts";
import { concat } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { encodePromptsMessage, type Prompt, PromptsDecoder } from "../../protocol/prompts/messages.ts";
import { type FakeCli, fakeCli, POLICY_TEXT } from "./fake-cli.ts";

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(path.join(tmpdir(), "sealtty-unlock-cli-"));
  writeFileSync(path.join(directory, "policy.toml"), POLICY_TEXT);
  writeFileSync(path.join(directory, "passphrase"), "canary of a passphrase\n");
});
afterAll(() => rmSync(directory, { recursive: true }));

const DISK = { origin: "systemd", echo: false, name: "cryptsetup:/dev/vdb", message: "Disk" } as const;
const INITRAMFS = { origin: "initramfs", echo: false, name: "", message: "Root disk" } as const;
const OTHER = {
  origin: "systemd",
  echo: false,
  name: "backup:login",
  message: "Password of the server",
} as const;
const ECHOED = { origin: "systemd", echo: true, name: "cryptsetup:/dev/vdc", message: "Shown" } as const;

/** @param over - the guest says nothing to an answer, as its initramfs is left. @returns the exit status, and which questions were answered. */
async function unlock(cli: FakeCli, asked: readonly Omit<Prompt, "number">[], over = false) {
  const file = (name: string): string => path.join(directory, name);
  const done = run(
    [
      ...["unlock", "tcp:h:1", "--policy", file("policy.toml"), "--simulated", "--wait", "0.2"],
      ...["--passphrase-file", file("passphrase")],
    ],
    cli.services,
  );
  await vi.waitFor(() => expect(cli.requests).toHaveLength(1), { timeout: 60_000 });
  const prompts = asked.map((prompt, index) => ({ ...prompt, number: index + 1 }));
  const answered: string[] = [];
  let seen = 0;
  const guest = setInterval(() => {
    const messages = new PromptsDecoder("client").push(concat(...cli.channel.input));
    for (const message of messages.slice(seen)) {
      if (message.type !== "answer") continue;
      seen++;
      answered.push(prompts.find(({ number }) => number === message.number)?.message ?? "?");
      if (over) cli.channel.stdout.push(new SealttyError("handed-over", "over"));
      else
        cli.channel.stdout.push(
          encodePromptsMessage({ type: "outcome", number: message.number, outcome: "opened" }),
        );
    }
  }, 1);
  cli.channel.stdout.push(encodePromptsMessage({ type: "pending", prompts }));
  try {
    return { status: await done, answered };
  } finally {
    clearInterval(guest);
  }
}

test("a file answers the initramfs and cryptsetup; what else is asked is named and passed over", async () => {
  const cli = fakeCli();
  expect(await unlock(cli, [OTHER, DISK, ECHOED, INITRAMFS])).toEqual({
    status: 0,
    answered: ["Disk", "Root disk"],
  });
  expect(cli.errors()).toContain("no disk's question: Password of the server (backup:login)");
  expect(cli.errors()).toContain("no disk's question: Shown (cryptsetup:/dev/vdc)");
  expect(cli.errors()).not.toContain("canary");
});

test.each([INITRAMFS, DISK])(
  "a guest that goes on from its initramfs with the answer ($origin) has its disk",
  async (disk) => {
    const cli = fakeCli();
    expect(await unlock(cli, [disk], true)).toEqual({ status: 0, answered: [disk.message] });
    expect(cli.errors()).toContain("goes on from its initramfs");
  },
);

test("where no disk asks within --wait nothing is answered, and that is no success", async () => {
  const cli = fakeCli();
  expect(await unlock(cli, [OTHER, ECHOED])).toEqual({ status: 1, answered: [] });
  expect(cli.errors()).toContain("no disk's question: Password of the server (backup:login)");
  expect(cli.errors()).toContain("the guest asks for nothing");
});
