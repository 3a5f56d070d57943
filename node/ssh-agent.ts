// A client for ssh-agent (draft-ietf-sshm-ssh-agent): lists Ed25519 identities and has one of them sign SSHSIG bytes.

import { createConnection } from "node:net";
import { concat, lv32, Reader, u8, u32, utf8 } from "../protocol/bytes.ts";
import { SealttyError } from "../protocol/errors.ts";
import { decodeEd25519Key, decodeEd25519Signature } from "../protocol/user-auth/ssh-wire.ts";

export interface AgentIdentity {
  /** SSH wire format, 51 bytes. */
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

/** All its errors are SealttyError `device-unavailable`. @param path - a unix socket, as in `SSH_AUTH_SOCK`. */
export class SshAgent {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  /** The `ssh-ed25519` keys, in the agent's order; keys of other types are left out. */
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
        if (isEd25519(publicKeyBlob)) found.push({ publicKeyBlob, comment });
      }
      reader.end();
      return found;
    });
  }

  /** @param sshsigBytes - from `sshsigToBeSigned`: an agent is never asked to sign anything else. @returns 64 bytes. */
  async sign(publicKeyBlob: Uint8Array, sshsigBytes: Uint8Array): Promise<Uint8Array> {
    if (!isSshsig(sshsigBytes)) throw new SealttyError("api-misuse", "An agent signs SSHSIG bytes only");
    const request = concat(u8(SIGN_REQUEST), lv32(publicKeyBlob), lv32(sshsigBytes), u32(0));
    const reply = await this.#request(request, SIGN_TIMEOUT_MS);
    if (reply[0] === FAILURE) {
      throw this.#error(
        "refused to sign: the key was removed, its use was not confirmed, the agent is locked, or the key is bound to hosts (ssh-add -h)",
      );
    }
    return this.#parse(reply, (reader) => {
      if (reader.u8() !== SIGN_RESPONSE) reader.fail("is no signature");
      const signature = decodeEd25519Signature(reader.lv32(1024)).slice();
      reader.end();
      return signature;
    });
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

function isEd25519(blob: Uint8Array): boolean {
  try {
    decodeEd25519Key(blob);
    return true;
  } catch {
    return false;
  }
}

function isSshsig(bytes: Uint8Array): boolean {
  return utf8("SSHSIG").every((byte, i) => bytes[i] === byte);
}
