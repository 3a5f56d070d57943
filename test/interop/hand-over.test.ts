// A sealttyd that is followed by another one, as that of an initramfs is: every client hears so.
import { afterEach, beforeEach, expect, test } from "vitest";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { newSshKey } from "../../cli/ssh-key-file.ts";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { type Relay, startRelay } from "../../relay/relay.ts";
import { startCli } from "../support/cli.ts";
import { type RunningGuest, startSealttyd } from "../support/sealttyd.ts";

const LIMIT = 120_000;
const own = os.userInfo().username;

let guest: RunningGuest;
let relay: Relay;
let home: string;
beforeEach(async () => {
  home = fs.mkdtempSync(path.join(os.tmpdir(), "sealtty-hand-over-"));
  const key = newSshKey(nodeSuite, "hand-over");
  fs.writeFileSync(path.join(home, "key"), key.privateFile, { mode: 0o600 });
  guest = await startSealttyd({
    authorizedKeys: `${key.publicLine}\n`,
    shell: ["/bin/sh", "-c", 'echo "pid=$$."; exec cat'],
    through: ["/bin/sh", "-c", 'exec "$@" --hand-over', "sh"],
  });
  // The host's end of a pipe stays, whoever serves in the guest.
  relay = await startRelay({
    listen: { host: "127.0.0.1", port: 0 },
    guests: new Map([["g", { kind: "unix", path: guest.socket }]]),
    allowOrigins: [],
    log: () => undefined,
  });
});
afterEach(async () => {
  await relay.close();
  await guest.stop();
  fs.rmSync(home, { recursive: true });
});

const args = (command: string, ...more: string[]): string[] => [
  ...[command, `ws://127.0.0.1:${relay.port}/g`, "--policy", guest.policyFile, "--simulated"],
  ...["-l", own, "-i", path.join(home, "key"), ...more],
];

test(
  "exec, and connect without a terminal: the error has a code of its own",
  async () => {
    const running = [
      startCli(args("exec", "--json", "--", "/bin/sh", "-c", "echo begun; exec cat"), {
        env: { HOME: home },
      }),
      startCli(args("connect", "--json"), { env: { HOME: home } }),
    ];
    try {
      await Promise.all(running.map((cli) => cli.waitFor(/begun|pid=/)));
      await guest.restart();
      for (const cli of running) {
        expect(await cli.ended()).toBe(255);
        expect(cli.stderr()).toMatch(/"event":"error","code":"handed-over"/);
      }
    } finally {
      await Promise.all(running.map((cli) => cli.stop()));
    }
  },
  LIMIT,
);
