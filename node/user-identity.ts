// The user's SSH key on this machine: the file they named, else the agent, else ~/.ssh/id_ed25519.

import { readFileSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { equalBytes } from "../protocol/bytes.ts";
import { SealttyError } from "../protocol/errors.ts";
import type { UserAuth, UserAuthFields } from "../protocol/session/api.ts";
import { encodeSshsig, sshsigToBeSigned, verifySshsig } from "../protocol/user-auth/sshsig.ts";
import { USER_AUTH_NAMESPACE, userAuthMessage } from "../protocol/user-auth/user-auth-message.ts";
import { nodeSuite } from "./crypto-suite.ts";
import { MAX_KEY_FILE, parseOpensshKey, publicKeyOfKeyFile } from "./openssh-key-file.ts";
import { SshAgent } from "./ssh-agent.ts";

export interface Identity {
  /** SSH wire format. */
  readonly publicKey: Uint8Array;
  /** Where the key is, for a person: a path, or the agent and the key's comment (escape it before a terminal sees it). */
  readonly source: string;
  /** @returns the SSHSIG blob, made and checked. */
  sign(fields: UserAuthFields): Promise<Uint8Array>;
}

export interface IdentityOptions {
  /** `-i FILE`: a private key, or the `.pub` of one that the agent holds. */
  readonly identityFile?: string;
  /** Default: `SSH_AUTH_SOCK`. "" for no agent. */
  readonly agentSocket?: string;
  /** Default: the user's home directory. */
  readonly home?: string;
}

/**
 * Every key worth trying, best first: the named file's alone; else the agent's Ed25519 keys, then ~/.ssh/id_ed25519.
 * @throws SealttyError `bad-config`, saying what was tried, where there is none.
 */
export async function loadIdentities(options: IdentityOptions = {}): Promise<readonly Identity[]> {
  const socket = options.agentSocket ?? process.env.SSH_AUTH_SOCK ?? "";
  const agent = socket === "" ? undefined : new SshAgent(socket);
  if (options.identityFile !== undefined) return [await identityOfFile(options.identityFile, agent)];

  const tried: string[] = [];
  const found: Identity[] = [];
  if (agent === undefined) tried.push("ssh-agent (SSH_AUTH_SOCK is not set)");
  else {
    try {
      found.push(...(await identitiesOf(agent)));
      if (found.length === 0) tried.push(`ssh-agent at ${socket} (it holds no ssh-ed25519 key)`);
    } catch (error) {
      tried.push(messageOf(error));
    }
  }
  const file = join(options.home ?? homedir(), ".ssh", "id_ed25519");
  try {
    const identity = identityOf(readKey(file), file);
    if (!found.some((other) => equalBytes(other.publicKey, identity.publicKey))) found.push(identity);
  } catch (error) {
    tried.push(messageOf(error));
  }
  if (found.length === 0) {
    throw new SealttyError(
      "bad-config",
      `No SSH key to authenticate with. Tried: ${tried.join("; ")}. Name a key with -i FILE, or load one with ssh-add.`,
    );
  }
  return found;
}

/** The first of `loadIdentities`. */
export async function loadIdentity(options: IdentityOptions = {}): Promise<Identity> {
  const [first] = await loadIdentities(options);
  if (first === undefined) throw new SealttyError("bad-config", "No SSH key to authenticate with");
  return first;
}

/** For `AttestedGuest.authenticate`. */
export function sshKeyAuth(user: string, identity: Identity): UserAuth {
  return { method: "ssh-key", user, publicKey: identity.publicKey, sign: (fields) => identity.sign(fields) };
}

async function identityOfFile(file: string, agent: SshAgent | undefined): Promise<Identity> {
  const text = readKey(file);
  const refusal = attempt(() => identityOf(text, file));
  if (!(refusal instanceof SealttyError)) return refusal;
  // Encrypted, or a .pub: the agent may hold the private half.
  const wanted = publicKeyOfKeyFile(text);
  if (wanted === undefined || agent === undefined) throw refusal;
  const loaded = await identitiesOf(agent).catch((cause: unknown) => {
    throw new SealttyError("bad-config", `${refusal.message} (${messageOf(cause)})`, { cause });
  });
  const match = loaded.find((identity) => equalBytes(identity.publicKey, wanted));
  if (match === undefined) {
    throw new SealttyError("bad-config", `${refusal.message} (ssh-agent at ${agent.path} does not hold it)`);
  }
  return match;
}

function identityOf(text: string, file: string): Identity {
  const key = parseOpensshKey(text, file);
  return makeIdentity(key.publicKeyBlob, file, async (bytes) => key.sign(bytes));
}

async function identitiesOf(agent: SshAgent): Promise<Identity[]> {
  const loaded = await agent.identities();
  return loaded.map(({ publicKeyBlob, comment }) =>
    makeIdentity(publicKeyBlob, `ssh-agent, ${comment}`, (bytes) => agent.sign(publicKeyBlob, bytes)),
  );
}

function makeIdentity(
  publicKey: Uint8Array,
  source: string,
  signBytes: (sshsigBytes: Uint8Array) => Promise<Uint8Array>,
): Identity {
  const sign = async (fields: UserAuthFields): Promise<Uint8Array> => {
    const message = userAuthMessage(fields);
    const signature = await signBytes(sshsigToBeSigned(nodeSuite, USER_AUTH_NAMESPACE, "sha512", message));
    const blob = encodeSshsig({ publicKey, namespace: USER_AUTH_NAMESPACE, hash: "sha512", signature });
    if (!verifySshsig(nodeSuite, blob, { publicKey, namespace: USER_AUTH_NAMESPACE, message })) {
      throw new SealttyError("device-unavailable", `${source}: made a signature that does not hold`);
    }
    return blob;
  };
  return { publicKey, source, sign };
}

/** @throws SealttyError `bad-config` where the file cannot be read or others can read it. */
function readKey(file: string): string {
  let text: string;
  let mode: number;
  try {
    const status = statSync(file);
    if (!status.isFile()) throw new SealttyError("bad-config", `${file}: not a file`);
    if (status.size > MAX_KEY_FILE) throw new SealttyError("bad-config", `${file}: too large for a key file`);
    mode = status.mode;
    text = readFileSync(file, "utf8");
  } catch (cause) {
    if (cause instanceof SealttyError) throw cause;
    throw new SealttyError("bad-config", `${file}: ${reasonOf(cause)}`, { cause });
  }
  const isPrivate = text.includes("PRIVATE KEY-----");
  if (isPrivate && process.platform !== "win32" && (mode & 0o077) !== 0) {
    throw new SealttyError(
      "bad-config",
      `${file}: others can read this private key; run chmod 600 on it first`,
    );
  }
  return text;
}

function reasonOf(cause: unknown): string {
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : "unknown error";
  if (code === "ENOENT") return "no such file";
  if (code === "EACCES") return "no permission to read it";
  return `cannot be read (${code})`;
}

/** The result, or the SealttyError instead of it. */
function attempt<T>(run: () => T): T | SealttyError {
  try {
    return run();
  } catch (error) {
    if (error instanceof SealttyError) return error;
    throw error;
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
