// The user's SSH keys on this machine: the file they named, else the agent's, else ~/.ssh/id_*; each with the certificates for it.

import { existsSync, readFileSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { equalBytes } from "../protocol/bytes.ts";
import { SealttyError } from "../protocol/errors.ts";
import type { UserAuth, UserAuthFields } from "../protocol/session/api.ts";
import { decodeBase64 } from "../protocol/user-auth/base64.ts";
import {
  certifiedType,
  decodeKeyOrCertificate,
  type OfferedKey,
  type UserCertificate,
} from "../protocol/user-auth/certificate.ts";
import {
  decodePublicKey,
  encodePublicKey,
  isKeyType,
  type SshPublicKey,
} from "../protocol/user-auth/public-key.ts";
import { encodeSshsig, sshsigToBeSigned, verifySshsig } from "../protocol/user-auth/sshsig.ts";
import { keyTypeOf } from "../protocol/user-auth/ssh-wire.ts";
import { USER_AUTH_NAMESPACE, userAuthMessage } from "../protocol/user-auth/user-auth-message.ts";
import { type KeyInFile, openKeyFile } from "./key-file.ts";
import { inSecurityKey, MAX_KEY_FILE, notAKeyFile } from "./openssh-key-file.ts";
import type { PrivateKey } from "./private-key.ts";
import { SshAgent } from "./ssh-agent.ts";
import { nodeSshCrypto } from "./ssh-crypto.ts";

export interface Identity {
  /** SSH wire format of the key, or of the certificate for it. */
  readonly publicKey: Uint8Array;
  /** Where the key is, for a person: a path, or the agent and the key's comment (escape it before a terminal sees it). */
  readonly source: string;
  /** In a security key, which is about to be touched. */
  readonly touched: boolean;
  /** @returns the SSHSIG blob, made and checked. */
  sign(fields: UserAuthFields): Promise<Uint8Array>;
}

export interface IdentityOptions {
  /** `-i FILE`: a private key, or the `.pub` of one that the agent holds, or the certificate of either. */
  readonly identityFile?: string;
  /** A certificate for the key; default: `FILE-cert.pub` beside it, where there is one. "none" for none, as ssh has it. */
  readonly certificateFile?: string;
  /** Default: `SSH_AUTH_SOCK`. "" for no agent. */
  readonly agentSocket?: string;
  /** Default: the user's home directory. */
  readonly home?: string;
  /** @returns undefined where nobody can be asked, or does not want to say. Absent: nobody is asked. */
  askPassphrase?(file: string): Promise<string | undefined>;
  /** A passphrase has been given a second ago, and the key is still being unlocked. */
  stillUnlocking?(file: string): void;
  /** A certificate beside a key, which nobody named, is of no use now: the key does without. @param why - names the file. */
  certificateSkipped?(why: string): void;
  /** Default: this machine's clock. Ms since 1970 UTC. */
  now?(): number;
}

/** In ~/.ssh, best first. What is in a security key, only an agent can use. */
const DEFAULT_FILES = ["id_ed25519", "id_ecdsa", "id_rsa"];
/** As ssh. */
const PASSPHRASE_TRIES = 3;
/** Ms before somebody who waits is told for what. */
const SLOW = 1000;

/** What can make a key's signatures. */
interface Signer {
  readonly key: SshPublicKey;
  readonly source: string;
  /** @param sshsigBytes - what SSHSIG has a key sign. @returns a signature in SSH wire format. */
  sign(sshsigBytes: Uint8Array): Promise<Uint8Array>;
}

interface CertificateInFile {
  readonly blob: Uint8Array;
  readonly certificate: UserCertificate;
  readonly file: string;
}

/**
 * Every key worth trying, best first: the named file's alone, else the agent's, then those in ~/.ssh. A certificate stands before
 * its plain key.
 * @throws SealttyError `bad-config`, saying what was tried, where there is none.
 */
export async function loadIdentities(options: IdentityOptions = {}): Promise<readonly Identity[]> {
  const { certificateFile, ...others } = options;
  if (certificateFile !== "none") return await loadAll(options);
  return (await loadAll({ ...others, certificateSkipped: () => {} })).filter(
    ({ publicKey }) => decodeKeyOrCertificate(publicKey).certificate === undefined,
  );
}

async function loadAll(options: IdentityOptions): Promise<readonly Identity[]> {
  const socket = options.agentSocket ?? process.env.SSH_AUTH_SOCK ?? "";
  const agent = socket === "" ? undefined : new SshAgent(socket);
  const now = options.now?.() ?? Date.now();
  const named =
    options.certificateFile === undefined ? undefined : readCertificate(options.certificateFile, now);
  if (options.identityFile !== undefined)
    return identitiesOfFile(options.identityFile, named, agent, options, now);

  const tried: string[] = [];
  const found: Identity[] = [];
  if (agent === undefined) tried.push("ssh-agent (SSH_AUTH_SOCK is not set)");
  else {
    try {
      found.push(...(await identitiesOf(agent, named, now)));
      if (found.length === 0) tried.push(`ssh-agent at ${socket} (it holds no key that can be used)`);
    } catch (error) {
      tried.push(messageOf(error));
    }
  }
  for (const name of DEFAULT_FILES) {
    const file = join(options.home ?? homedir(), ".ssh", name);
    try {
      const key = openKeyFile(readKey(file), file);
      const { publicKeyBlob } = key;
      if (publicKeyBlob !== undefined && found.some((other) => isFor(other, publicKeyBlob))) continue;
      // Nobody is asked for the passphrase of a key that may not be needed.
      if (key.encrypted && found.length > 0) continue;
      found.push(
        ...withCertificates(signerOf(await unlock(key, file, options), file), file, named, now, options),
      );
    } catch (error) {
      tried.push(messageOf(error));
    }
  }
  if (named !== undefined && !found.some((identity) => identity.publicKey === named.blob)) {
    throw new SealttyError(
      "bad-config",
      `${named.file}: neither ssh-agent nor ~/.ssh has the key that it certifies; name it with -i FILE`,
    );
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

async function identitiesOfFile(
  file: string,
  named: CertificateInFile | undefined,
  agent: SshAgent | undefined,
  options: IdentityOptions,
  now: number,
): Promise<readonly Identity[]> {
  const text = readKey(file);
  const line = publicKeyLine(text);
  if (line?.certificate !== undefined) {
    // `-i KEY-cert.pub`: the certificate, and the key beside it, or the agent's.
    const own = { blob: line.blob, certificate: requireValid(line.certificate, file, now), file };
    const privateFile = file.replace(/-cert\.pub$/, "");
    const beside = privateFile !== file && existsSync(privateFile) ? privateFile : undefined;
    const signer = await signerFor(encodePublicKey(line.key), beside, agent, options);
    if (signer !== undefined) return withCertificates(signer, file, own, now, options);
    throw new SealttyError("bad-config", `${file}: ${agentWords("the key that it certifies", agent)}`);
  }
  if (line !== undefined) {
    const signer = await signerFor(line.blob, undefined, agent, options);
    if (signer !== undefined)
      return withCertificates(signer, file.replace(/\.pub$/, ""), named, now, options);
    const refusal = notAKeyFile(text, file);
    const holds = agent === undefined ? "" : ` (ssh-agent at ${agent.path} does not hold it)`;
    throw new SealttyError("bad-config", `${refusal.message}${holds}`);
  }
  return withCertificates(await signerOfPrivateFile(text, file, agent, options), file, named, now, options);
}

function agentWords(what: string, agent: SshAgent | undefined): string {
  return agent === undefined
    ? `${what} is not beside it, and there is no ssh-agent (SSH_AUTH_SOCK is not set)`
    : `${what} is not beside it, and ssh-agent at ${agent.path} does not hold it`;
}

/** A private key file's own key; where it cannot be used as it is, the agent's of the same name, and only then its passphrase. */
async function signerOfPrivateFile(
  text: string,
  file: string,
  agent: SshAgent | undefined,
  options: IdentityOptions,
): Promise<Signer> {
  const key = openKeyFile(text, file);
  if (!key.encrypted && !key.inSecurityKey) return signerOf(await key.unlock(""), file);
  const { publicKeyBlob } = key;
  let agentSays = "";
  if (agent !== undefined && publicKeyBlob !== undefined) {
    try {
      const signer = await agentSigner(agent, publicKeyBlob);
      if (signer !== undefined) return signer;
      agentSays = ` (ssh-agent at ${agent.path} does not hold it)`;
    } catch (error) {
      agentSays = ` (${messageOf(error)})`;
    }
  }
  try {
    if (key.inSecurityKey) throw inSecurityKey(file);
    return signerOf(await unlock(key, file, options), file);
  } catch (cause) {
    if (!(cause instanceof SealttyError)) throw cause;
    throw new SealttyError("bad-config", `${cause.message}${agentSays}`, { cause });
  }
}

/** Of a key that nobody but the agent may have. */
async function heldBy(agent: SshAgent | undefined, publicKeyBlob: Uint8Array): Promise<Signer | undefined> {
  try {
    return agent === undefined ? undefined : await agentSigner(agent, publicKeyBlob);
  } catch (cause) {
    const next = "load the key with ssh-add, or name its private file with -i";
    throw new SealttyError("device-unavailable", `${messageOf(cause)}; ${next}`, { cause });
  }
}

/** The agent's key, else that of the file. */
async function signerFor(
  publicKeyBlob: Uint8Array,
  privateFile: string | undefined,
  agent: SshAgent | undefined,
  options: IdentityOptions,
): Promise<Signer | undefined> {
  const held = await heldBy(agent, publicKeyBlob).catch((cause: unknown) => {
    if (privateFile !== undefined) return undefined; // does without the agent
    throw cause;
  });
  if (held !== undefined || privateFile === undefined) return held;
  return signerOfPrivateFile(readKey(privateFile), privateFile, undefined, options);
}

async function unlock(
  key: KeyInFile,
  file: string,
  options: IdentityOptions,
): Promise<PrivateKey | undefined> {
  if (!key.encrypted) return key.unlock("");
  for (let tries = 0; tries < PASSPHRASE_TRIES; tries++) {
    const passphrase = await options.askPassphrase?.(file);
    if (passphrase === undefined) {
      throw new SealttyError(
        "bad-config",
        `${file}: this key is encrypted; load it into ssh-agent (ssh-add FILE) and try again`,
      );
    }
    const slow = setTimeout(() => options.stillUnlocking?.(file), SLOW);
    const unlocked = await key.unlock(passphrase).finally(() => clearTimeout(slow));
    if (unlocked !== undefined) return unlocked;
  }
  throw new SealttyError("bad-config", `${file}: that is not the key's passphrase`);
}

function signerOf(key: PrivateKey | undefined, file: string): Signer {
  if (key === undefined) throw new SealttyError("bad-config", `${file}: that is not the key's passphrase`);
  try {
    decodePublicKey(key.publicKeyBlob);
  } catch (cause) {
    throw new SealttyError(
      "bad-config",
      `${file}: no guest accepts this key: RSA keys need 2048 to 8192 bits`,
      { cause },
    );
  }
  return { key: key.key, source: file, sign: async (bytes) => key.sign(bytes) };
}

/** @returns undefined where the agent holds neither this plain key nor a certificate for it. */
async function agentSigner(agent: SshAgent, publicKeyBlob: Uint8Array): Promise<Signer | undefined> {
  const held = await agent.identities();
  const match = held.find(({ key }) => equalBytes(encodePublicKey(key), publicKeyBlob));
  return (
    match && {
      key: match.key,
      source: `ssh-agent, ${match.comment}`,
      sign: (bytes) => agent.sign(match.publicKeyBlob, bytes),
    }
  );
}

async function identitiesOf(
  agent: SshAgent,
  named: CertificateInFile | undefined,
  now: number,
): Promise<Identity[]> {
  const held = (await agent.identities()).filter(
    ({ certificate }) => certificate === undefined || whyInvalid(certificate, now) === undefined,
  );
  const identities = held.map(({ publicKeyBlob, key, comment }) =>
    makeIdentity(
      { key, source: `ssh-agent, ${comment}`, sign: (bytes) => agent.sign(publicKeyBlob, bytes) },
      publicKeyBlob,
    ),
  );
  const plain = named === undefined ? undefined : encodePublicKey(named.certificate.key);
  const own = plain === undefined ? undefined : await agentSigner(agent, plain);
  const first = own !== undefined && named !== undefined ? [makeIdentity(own, named.blob)] : [];
  const certified = identities.filter((_, i) => held[i]?.certificate !== undefined);
  return [...first, ...certified, ...identities.filter((identity) => !certified.includes(identity))];
}

/** @param file - the private key's: a certificate is looked for beside it, unless one was named. */
function withCertificates(
  signer: Signer,
  file: string,
  named: CertificateInFile | undefined,
  now: number,
  options: IdentityOptions,
): readonly Identity[] {
  const plain = makeIdentity(signer, encodePublicKey(signer.key));
  const certificate = named ?? certificateBeside(file, now, options);
  if (certificate === undefined) return [plain];
  if (!equalBytes(encodePublicKey(certificate.certificate.key), plain.publicKey)) {
    if (named === undefined) return [plain];
    throw new SealttyError(
      "bad-config",
      `${named.file}: this certificate is for another key than ${signer.source}`,
    );
  }
  return [makeIdentity(signer, certificate.blob), plain];
}

/** One that is not valid now is left alone: its key may do without. */
function certificateBeside(
  file: string,
  now: number,
  options: IdentityOptions,
): CertificateInFile | undefined {
  const beside = `${file}-cert.pub`;
  if (!existsSync(beside)) return undefined;
  try {
    return readCertificate(beside, now);
  } catch (error) {
    options.certificateSkipped?.(messageOf(error));
    return undefined;
  }
}

function readCertificate(file: string, now: number): CertificateInFile {
  const line = publicKeyLine(readKey(file));
  if (line?.certificate === undefined)
    throw new SealttyError("bad-config", `${file}: this is not an OpenSSH certificate`);
  return { blob: line.blob, certificate: requireValid(line.certificate, file, now), file };
}

function requireValid(certificate: UserCertificate, file: string, now: number): UserCertificate {
  const why = whyInvalid(certificate, now);
  if (why !== undefined) throw new SealttyError("bad-config", `${file}: ${why}`);
  return certificate;
}

/** By this machine's clock; the guest goes by its own. */
function whyInvalid({ type, validAfter, validBefore }: UserCertificate, now: number): string | undefined {
  const when = (seconds: number): string => new Date(Math.min(seconds * 1000, 8.64e15)).toISOString();
  if (type !== 1) return "this certificate is for a host, not for a user";
  if (now >= validBefore * 1000)
    return `this certificate expired at ${when(validBefore)}; have a new one signed`;
  if (now < validAfter * 1000)
    return `this certificate is not valid before ${when(validAfter)}; look at this machine's clock, or have another one signed`;
  return undefined;
}

function isFor(identity: Identity, publicKeyBlob: Uint8Array): boolean {
  return equalBytes(encodePublicKey(decodeKeyOrCertificate(identity.publicKey).key), publicKeyBlob);
}

/** @param publicKey - of the signer, or a certificate for it. */
function makeIdentity(signer: Signer, publicKey: Uint8Array): Identity {
  const { key, source } = signer;
  const sign = async (fields: UserAuthFields): Promise<Uint8Array> => {
    const message = userAuthMessage(fields);
    const { suite } = nodeSshCrypto;
    const signature = await signer.sign(sshsigToBeSigned(suite, USER_AUTH_NAMESPACE, "sha512", message));
    const blob = encodeSshsig({ publicKey, namespace: USER_AUTH_NAMESPACE, hash: "sha512", signature });
    const expected = { publicKey, key, namespace: USER_AUTH_NAMESPACE, message };
    if ((await verifySshsig(nodeSshCrypto, blob, expected)) === undefined)
      throw new SealttyError("device-unavailable", `${source}: made a signature that does not hold`);
    return blob;
  };
  return { publicKey, source, touched: key.kind === "sk-ed25519" || key.kind === "sk-ecdsa", sign };
}

/** What a `.pub` file says: one key or certificate. @returns undefined for any other text. */
function publicKeyLine(text: string): (OfferedKey & { readonly blob: Uint8Array }) | undefined {
  const [type = "", base64 = ""] = text.trim().split(/[ \t]+/, 2);
  if (!isKeyType(type) && certifiedType(type) === undefined) return undefined;
  const blob = decodeBase64(base64);
  if (blob === undefined || keyTypeOf(blob) !== type) return undefined;
  try {
    return { ...decodeKeyOrCertificate(blob), blob };
  } catch {
    return undefined;
  }
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

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
