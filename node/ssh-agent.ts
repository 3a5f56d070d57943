// A client for ssh-agent (draft-ietf-sshm-ssh-agent): lists keys and certificates, and has one of them sign SSHSIG bytes.

import { createConnection } from "node:net";
import { concat, lv32, Reader, u8, u32, utf8 } from "../protocol/bytes.ts";
import { SealttyError } from "../protocol/errors.ts";
import { MAX_SSH_SIGNATURE } from "../protocol/limits.ts";
import { decodeKeyOrCertificate, type OfferedKey } from "../protocol/user-auth/certificate.ts";
import { isSignatureFor } from "../protocol/user-auth/signature.ts";
import { keyTypeOf } from "../protocol/user-auth/ssh-wire.ts";

export interface AgentIdentity extends OfferedKey {
  /** SSH wire format of the key, or of the certificate for it. */
  readonly publicKeyBlob: Uint8Array;
  readonly comment: string;
}

const MAX_AGENT_MESSAGE = 256 * 1024; // as in OpenSSH
const MAX_AGENT_IDENTITIES = 2048; // as in OpenSSH
const LIST_TIMEOUT_MS = 10_000;
const SIGN_TIMEOUT_MS = 120_000; // the agent may be asking its user
const [FAILURE, REQUEST_IDENTITIES, IDENTITIES_ANSWER, SIGN_REQUEST, SIGN_RESPONSE] = [
  5, 11, 12, 13, 14,
] as const;
/** For RSA keys, which would sign with SHA-1 otherwise; others ignore it. */
const RSA_SHA2_512_FLAG = 4;

/** All its errors are SealttyError `device-unavailable`. @param path - a unix socket, as in `SSH_AUTH_SOCK`. */
export class SshAgent {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  /** Keys and certificates of the kinds that a guest may accept, in the agent's order; others are left out. */
  async identities(): Promise<readonly AgentIdentity[]> {
    const reply = await this.#request(u8(REQUEST_IDENTITIES), LIST_TIMEOUT_MS);
    return this.#parse(reply, (reader) => {
      if (reader.u8() !== IDENTITIES_ANSWER) reader.fail("does not list identities");
      const count = reader.u32();
      if (count > MAX_AGENT_IDENTITIES) reader.fail("lists too many identities");
      const found: AgentIdentity[] = [];
      for (let i = 0; i < count; i++) {
        const publicKeyBlob = reader.lv32(MAX_AGENT_MESSAGE).slice();
        const comment = new TextDecoder().decode(reader.lv32(MAX_AGENT_MESSAGE));
        const offered = offeredKey(publicKeyBlob);
        if (offered !== undefined) found.push({ ...offered, publicKeyBlob, comment });
      }
      reader.end();
      return found;
    });
  }

  /**
   * @param publicKeyBlob - of one of its identities.
   * @param sshsigBytes - from `sshsigToBeSigned`: an agent is never asked to sign anything else.
   * @returns the signature in SSH wire format.
   */
  async sign(publicKeyBlob: Uint8Array, sshsigBytes: Uint8Array): Promise<Uint8Array> {
    if (!isSshsig(sshsigBytes)) throw new SealttyError("api-misuse", "An agent signs SSHSIG bytes only");
    const request = concat(u8(SIGN_REQUEST), lv32(publicKeyBlob), lv32(sshsigBytes), u32(RSA_SHA2_512_FLAG));
    const reply = await this.#request(request, SIGN_TIMEOUT_MS);
    if (reply[0] === FAILURE) {
      throw this.#error(
        "refused to sign: the key was removed, its use was not confirmed, its security key was not touched, the agent is locked, or the key is bound to hosts (ssh-add -h), which ssh alone can use",
      );
    }
    const signature = this.#parse(reply, (reader) => {
      if (reader.u8() !== SIGN_RESPONSE) reader.fail("is no signature");
      const blob = reader.lv32(MAX_SSH_SIGNATURE).slice();
      reader.end();
      return blob;
    });
    const { key } = decodeKeyOrCertificate(publicKeyBlob);
    if (!isSignatureFor(key, signature)) {
      const name = keyTypeOf(signature);
      const old = key.kind === "rsa" && name === "ssh-rsa";
      throw this.#error(
        old
          ? "signs with SHA-1, which nobody may accept any more; use a newer agent, or a key that is not RSA"
          : "signed in a way that its key does not have",
      );
    }
    return signature;
  }

  #parse<T>(reply: Uint8Array, parse: (reader: Reader) => T): T {
    try {
      return parse(new Reader(reply, "reply of the ssh-agent"));
    } catch (cause) {
      throw this.#error("sent a reply that makes no sense", cause);
    }
  }

  /** One connection for one request. @returns the reply without its length. */
  #request(request: Uint8Array, timeout: number): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      const socket = createConnection({ path: this.path });
      const fail = (problem: string, cause?: unknown): void => {
        clearTimeout(timer);
        socket.destroy();
        reject(this.#error(problem, cause));
      };
      const timer = setTimeout(() => fail(`did not answer within ${timeout / 1000} s`), timeout);
      let received = Buffer.alloc(0);
      socket.on("error", (cause: NodeJS.ErrnoException) => fail(reasonOf(cause), cause));
      socket.on("close", () => fail("closed the connection without an answer")); // no effect once settled
      socket.on("data", (chunk: Buffer) => {
        received = Buffer.concat([received, chunk]);
        if (received.length < 4) return;
        const length = received.readUInt32BE(0);
        if (length === 0 || length > MAX_AGENT_MESSAGE) return fail("sent a reply of impossible size");
        if (received.length < 4 + length) return;
        clearTimeout(timer);
        socket.destroy();
        resolve(new Uint8Array(received.subarray(4, 4 + length)));
      });
      socket.write(lv32(request));
    });
  }

  #error(problem: string, cause?: unknown): SealttyError {
    return new SealttyError("device-unavailable", `ssh-agent at ${this.path} ${problem}`, { cause });
  }
}

function reasonOf(cause: NodeJS.ErrnoException): string {
  if (cause.code === "ENOENT" || cause.code === "ECONNREFUSED") return "is not running";
  if (cause.code === "EACCES") return "is not yours to use (no permission)";
  return `cannot be reached (${cause.code ?? "unknown error"})`;
}

function offeredKey(blob: Uint8Array): OfferedKey | undefined {
  try {
    return decodeKeyOrCertificate(blob);
  } catch {
    return undefined; // of a kind that is not ours to use
  }
}

function isSshsig(bytes: Uint8Array): boolean {
  return utf8("SSHSIG").every((byte, i) => bytes[i] === byte);
}
