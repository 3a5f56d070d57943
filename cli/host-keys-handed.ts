// ssh starts `sealtty proxy` as its way to the guest, and `sealtty known-hosts` to learn the guest's key, while the pipe of many
// hosts takes one client at a time. So the proxy hands on what it verified: in a file of the user's, by the process that both
// are children of, for as long as the proxy runs.

import { createHash } from "node:crypto";
import { rmSync } from "node:fs";
import { open } from "node:fs/promises";
import path from "node:path";
import { readAtMost } from "../node/bounded-file.ts";
import type { SshHostKey } from "../protocol/attestation/ssh-host-keys.ts";
import { decodeBase64 } from "../protocol/user-auth/base64.ts";
import { keyTypeOf } from "../protocol/user-auth/ssh-wire.ts";
import { hostKeysDirectory } from "./directories.ts";
import type { Services } from "./services.ts";
import { keepOwnFile } from "./whole-file.ts";

const VERSION = 1;
const MAX_FILE = 64 * 1024;

/** Whom was believed, and by what: keys are for nobody who asks for another guest, or by another policy. */
export interface Believed {
  readonly address: string;
  readonly policyText: string;
}

/** @param parent - of both processes. Trouble is no trouble for the connection. @returns what takes it away. */
export async function handHostKeys(
  keys: readonly SshHostKey[],
  believed: Believed,
  services: Pick<Services, "environment" | "onExit">,
  parent = process.ppid,
): Promise<() => void> {
  const directory = hostKeysDirectory(services.environment);
  if (directory === undefined || keys.length === 0) return () => {};
  const file = fileOf(directory, parent);
  const handed = {
    version: VERSION,
    proxy: process.pid,
    believed: digestOf(believed),
    keys: keys.map(({ blob }) => Buffer.from(blob).toString("base64")),
  };
  try {
    await keepOwnFile(file, JSON.stringify(handed));
  } catch {
    return () => {}; // known-hosts then asks the guest itself
  }
  const remove = (): void => rmSync(file, { force: true });
  const off = services.onExit(remove);
  return () => {
    off();
    remove();
  };
}

/** @returns undefined where no proxy that lives has handed on any for this guest and policy. */
export async function handedHostKeys(
  believed: Believed,
  services: Pick<Services, "environment">,
  parent = process.ppid,
): Promise<readonly SshHostKey[] | undefined> {
  const directory = hostKeysDirectory(services.environment);
  if (directory === undefined) return undefined;
  try {
    const handle = await open(fileOf(directory, parent), "r");
    let text: string;
    try {
      const { uid, mode } = await handle.stat();
      if (uid !== process.getuid?.() || (mode & 0o077) !== 0) return undefined;
      text = Buffer.from(await readAtMost(handle, MAX_FILE)).toString("utf8");
    } finally {
      await handle.close();
    }
    const { version, proxy, believed: digest, keys } = JSON.parse(text) as Record<string, unknown>;
    if (version !== VERSION || digest !== digestOf(believed) || !Array.isArray(keys)) return undefined;
    if (typeof proxy !== "number" || !Number.isInteger(proxy) || proxy < 1) return undefined;
    process.kill(proxy, 0); // throws where it has ended
    return keys.map((key) => {
      const blob = typeof key === "string" ? decodeBase64(key) : undefined;
      const type = blob === undefined ? undefined : keyTypeOf(blob);
      if (blob === undefined || type === undefined) throw new Error("not a key");
      return { type, blob };
    });
  } catch {
    return undefined;
  }
}

function fileOf(directory: string, parent: number): string {
  return path.join(directory, `${parent}.json`);
}

function digestOf({ address, policyText }: Believed): string {
  return createHash("sha256")
    .update(JSON.stringify([address, policyText]))
    .digest("hex");
}
