// sealtty itself: the built sealttyd as a process on a unix socket (or in a VM), and the repository's client in this process.

import { chmodSync, existsSync, writeFileSync } from "node:fs";
import path from "node:path";
import { nodeClock } from "../node/clock.ts";
import { nodeSuite } from "../node/crypto-suite.ts";
import { connectUnixSocket } from "../node/unix-socket-pipe.ts";
import { parsePolicy } from "../protocol/attestation/policy.ts";
import { webCryptoSignatures } from "../protocol/crypto/webcrypto-signatures.ts";
import type { Pipe } from "../protocol/pipe.ts";
import type { AttestedGuest, ConnectOptions } from "../protocol/session/api.ts";
import type { Channel } from "../protocol/session/channel-api.ts";
import { NO_COLLATERAL } from "../protocol/attestation/collateral.ts";
import { connect } from "../protocol/session/connect.ts";
import { type Program, scratchDirectory, startProgram } from "./children.ts";
import { COLUMNS, type Inbox, type Peer, ROWS, shellLines, type Terminal } from "./peer.ts";
import { sealttydFile } from "./places.ts";

const INSTANCE = "bench";
export const POLICY_TEXT = `version = 1\nname = "bench"\nminimumAssurance = "simulated"\n[simulated]\ninstance = "${INSTANCE}"\n`;
const POLICY = parsePolicy(POLICY_TEXT);

/** @param pipe - the lines of its [pipe] section. @param user - "root": it is not split in two. */
export const sealttydConfig = (pipe: string, authorizedKeys?: string, user = "root"): string =>
  `[pipe]\n${pipe}\n[evidence]\ntype = "simulated"\ninstance = "${INSTANCE}"\ni_know_this_proves_nothing = true\n` +
  `[daemon]\nuser = ${JSON.stringify(user)}\n[users]\nlogin = ["/bin/sh"]\n${authorizedKeys === undefined ? "" : `authorized_keys = ${JSON.stringify(authorizedKeys)}\nnames = ["*"]\n`}`;

export interface Sealttyd extends Program {
  readonly socket: string;
}

/**
 * Resolves once it listens. @param nodeArguments - for Node itself, such as --cpu-prof. @param authorizedKeys - a file; with it, and
 * by root, sealttyd is in its two halves, as its unit starts it and as sshd is.
 */
export async function startSealttyd(
  nodeArguments: readonly string[] = [],
  authorizedKeys?: string,
): Promise<Sealttyd> {
  if (!existsSync(sealttydFile)) throw new Error(`${sealttydFile} is missing: run npm run build`);
  const directory = scratchDirectory("sealttyd");
  const socket = path.join(directory, "guest.sock");
  const config = path.join(directory, "sealttyd.toml");
  const isSplit = authorizedKeys !== undefined && process.getuid?.() === 0;
  // The half without rights has to come to the socket.
  if (isSplit) for (const each of [path.dirname(directory), directory]) chmodSync(each, 0o755);
  const user = isSplit ? "nobody" : "root";
  writeFileSync(
    config,
    sealttydConfig(`type = "unix"\npath = ${JSON.stringify(socket)}`, authorizedKeys, user),
  );
  const program = startProgram(process.execPath, [...nodeArguments, sealttydFile, "--config", config]);
  await program.waitForLog(/sealttyd serves/);
  return { ...program, socket };
}

async function pump(channel: Channel, inbox: Inbox): Promise<void> {
  for (;;) {
    const bytes = await channel.stdout.read();
    if (bytes === undefined) return;
    inbox.receive(bytes);
    channel.stdout.consumed(bytes.length);
  }
}

/** An honest client's whole way in. @param dial - to a sealttyd of `startSealttyd`, through whatever stands between. */
export function attest(
  dial: () => Promise<Pipe>,
  encoding: ConnectOptions["encoding"] = "auto",
): Promise<AttestedGuest> {
  return connect({
    dial,
    suite: nodeSuite,
    signatures: webCryptoSignatures(globalThis.crypto.subtle),
    clock: nodeClock,
    wallTime: () => Date.now(),
    collateral: NO_COLLATERAL,
    address: "bench",
    identity: "bench",
    policy: POLICY,
    acceptSimulated: true,
    timeout: 60_000,
    encoding,
  });
}

export function sealttyPeer(name: string, socket: string, own: Partial<Peer> = {}): Peer {
  return sealttyPeerOver(name, () => connectUnixSocket(socket), "auto", own);
}

export function sealttyPeerOver(
  name: string,
  dial: () => Promise<Pipe>,
  encoding: ConnectOptions["encoding"],
  own: Partial<Peer> = {},
): Peer {
  return {
    name,
    patienceMs: 30_000,
    ...shellLines,
    async open(inbox): Promise<Terminal> {
      const attested = await attest(dial, encoding);
      const attestedAt = performance.now();
      const guest = await attested.authenticate({ method: "none", user: "root" });
      const authenticatedAt = performance.now();
      const channel = await guest.openChannel({ kind: "login", term: "xterm", columns: COLUMNS, rows: ROWS });
      channel.exit.catch(() => {}); // a cut connection is told by stdout as well
      void pump(channel, inbox).catch(inbox.fail);
      return {
        write: (bytes) => channel.write(bytes),
        async close() {
          channel.hangUp();
          await guest.close();
        },
        milestones: { attested: attestedAt, authenticated: authenticatedAt },
      };
    },
    stop: () => Promise.resolve(),
    ...own,
  };
}
