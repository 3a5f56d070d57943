// The positive control of the canary search: with encryption taken out of both ends, the same search finds the secret.
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { build } from "vite";
import { expect, test } from "vitest";
import { nodeClock } from "../../node/clock.ts";
import { connectTcp } from "../../node/tcp-pipe.ts";
import { parsePolicy } from "../../protocol/attestation/policy.ts";
import { connect, inspectGuest } from "../../protocol/session/connect.ts";
import { findSecret, tapWire, type WireTap } from "../support/host-eyes.ts";
import { nodeSuite as nullSuite } from "../support/null-suite.ts";
import { clientOptions } from "../support/session.ts";
import { TestTerminal } from "../support/terminal.ts";
import { BOOT_TIMEOUT, CONNECT_TIMEOUT, sealttydServes, withVm } from "../support/vm.ts";

const CANARY = "canary-secret-8fKx31Lm";
const PASSWORD = "canary-password-Wq7vZ2";
const root = path.resolve(import.meta.dirname, "../..");

/** sealttyd with test/support/null-suite.ts in place of node/crypto-suite.ts. */
async function buildNullSealttyd(directory: string): Promise<string> {
  const nothing = path.join(root, "test/support/null-suite.ts");
  await build({
    configFile: path.join(root, "vite.config.ts"),
    mode: "sealttyd",
    logLevel: "warn",
    build: { outDir: directory },
    plugins: [
      {
        name: "null-channel",
        enforce: "pre",
        resolveId: (source, importer) =>
          source.endsWith("node/crypto-suite.ts") && importer !== nothing ? nothing : undefined,
      },
    ],
  });
  return path.join(directory, "sealttyd.js");
}

test(
  "with a null channel on both ends, the search finds what was typed and what was shown, on the same wire",
  async () => {
    const directory = mkdtempSync(path.join(os.tmpdir(), "sealtty-null-"));
    let tap: WireTap | undefined;
    try {
      const sealttyd = await buildNullSealttyd(directory);
      await withVm(
        { firmware: "seabios", sealttyd, password: PASSWORD, virtio: { kind: "tcp" } },
        async (vm) => {
          await sealttydServes(vm);
          const port = vm.virtio?.tcpPort ?? 0;
          tap = await tapWire({ port });
          const wire = tap;
          const options = clientOptions(nodeClock, () => connectTcp("127.0.0.1", wire.port), {
            suite: nullSuite,
            acceptSimulated: false,
            timeout: CONNECT_TIMEOUT,
          });
          const policy = parsePolicy((await inspectGuest(options)).claims.policyText);
          const attested = await connect({ ...options, policy });
          const guest = await attested.authenticate({ method: "none", user: "root" });
          const terminal = new TestTerminal(
            await guest.openChannel({ kind: "login", term: "xterm", columns: 80, rows: 24 }),
          );
          await terminal.waitFor(/login: /);
          await terminal.type("root\r");
          await terminal.waitFor(/assword: /);
          await terminal.type(`${PASSWORD}\r`);
          await terminal.waitFor(/# (?:\x1b\[6n)?$/);
          await terminal.type(`# ${CANARY}\r`);
          await terminal.waitFor(new RegExp(CANARY));
          await attested.close();
          for (const secret of [CANARY, PASSWORD])
            expect(findSecret(wire.captured(), secret)).not.toEqual([]);
        },
      );
    } finally {
      await tap?.close();
      rmSync(directory, { recursive: true, force: true });
    }
  },
  BOOT_TIMEOUT,
);
