// The programs themselves through a host's proxy: sealtty, the real websockify, sealttyd; credentials from files.

import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { newSshKey } from "../../cli/ssh-key-file.ts";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { connectUnixSocket } from "../../node/unix-socket-pipe.ts";
import type { Pipe } from "../../protocol/pipe.ts";
import { runCli } from "../support/cli.ts";
import { makeCertificate, type TlsFiles } from "../support/hosts/web-host.ts";
import { type RunningWebsockify, startWebsockify } from "../support/hosts/websockify.ts";
import { type RunningGuest, startSealttyd } from "../support/sealttyd.ts";
import { seeded } from "../support/seeded.ts";

const TOKEN = "3a1d7c52-5555-4666-8777-888899990000";
const directory = mkdtempSync(path.join(os.tmpdir(), "sealtty-hosts-interop-"));
const at = (name: string): string => path.join(directory, name);
let guest: RunningGuest;
let proxy: RunningWebsockify;
let tls: TlsFiles;

beforeAll(async () => {
  const key = newSshKey(nodeSuite, "hosts test");
  writeFileSync(at("key"), key.privateFile, { mode: 0o600 });
  guest = await startSealttyd({ authorizedKeys: `${key.publicLine}\n`, shell: ["/bin/sh"] });
  tls = makeCertificate(directory, "nova");
  proxy = await startWebsockify((pipe) => joinPipes(pipe, guest.socket), TOKEN, tls);
});
afterAll(async () => {
  await proxy?.stop();
  await guest?.stop();
  rmSync(directory, { recursive: true, force: true });
});

async function joinPipes(pipe: Pipe, socket: string): Promise<void> {
  const other = await connectUnixSocket(socket);
  const copy = async (from: Pipe, to: Pipe): Promise<void> => {
    try {
      for await (const chunk of from.incoming) await to.send(chunk);
    } finally {
      await to.close();
    }
  };
  await Promise.all([copy(pipe, other), copy(other, pipe)]);
}

test("sealtty exec nova:… carries input, output and status, and says nothing of the token however much it says", async () => {
  const input = Buffer.from(seeded(21).bytes(256 * 1024));
  writeFileSync(at("token"), `${TOKEN}\n`);
  const environment = { SEALTTY_NOVA_TOKEN_FILE: at("token"), SEALTTY_NOVA_CA_FILE: tls.certFile };
  const args = [
    ...["exec", `nova:wss://${proxy.authority}/`, "--policy", guest.policyFile, "--simulated", "-v", "-v"],
    ...[
      "-l",
      os.userInfo().username,
      "-i",
      at("key"),
      "--",
      "sh",
      "-c",
      "sha256sum; echo to-stderr >&2; exit 5",
    ],
  ];
  const good = await runCli(args, input, { env: environment });
  expect(good.stderr).toContain("to-stderr");
  expect(good.stdout).toBe(`${createHash("sha256").update(input).digest("hex")}  -\n`);
  expect(good.status).toBe(5);
  expect(good.stdout + good.stderr).not.toContain(TOKEN);

  writeFileSync(at("token"), "4b2e8d63-wrong-token");
  const refused = await runCli(args, "", { env: environment });
  expect(refused.status).toBe(255);
  expect(refused.stderr).toContain("transport-lost");
  expect(refused.stderr).toContain("make a new one");
  expect(refused.stdout + refused.stderr).not.toContain("4b2e8d63");
});
