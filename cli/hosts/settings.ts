// What a host's API wants to know of its user: from the environment or from files that it names, never from a command line.

import { textOf } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { readOwnerFile } from "../owner-file.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

/** Long enough for a Kubernetes token with many groups. */
const MAX_SECRET = 16 * 1024;
const MAX_PEM = 256 * 1024;

/** What a secret may be made of. None may break out of a header, a form or a line. */
const TOKEN = /^[\x21-\x7e]+$/;
const PASSWORD = /^[^\p{Cc}\p{Cs}]+$/u;

/** One host's settings: all have one prefix, such as `SEALTTY_PROXMOX`. */
export class HostSettings {
  readonly #environment: Environment;
  readonly prefix: string;

  constructor(environment: Environment, prefix: string) {
    this.#environment = environment;
    this.prefix = prefix;
  }

  /** A setting that is no secret; undefined where it is absent or empty. */
  text(name: string): string | undefined {
    const value = this.#environment[`${this.prefix}_${name}`];
    return value === undefined || value === "" ? undefined : value;
  }

  /** @param what - for people: "where the API server is". @throws SealttyError `bad-config` where it is absent. */
  required(name: string, what: string): string {
    const value = this.text(name);
    if (value === undefined) throw this.#missing(`${this.prefix}_${name}`, what);
    return value;
  }

  /** A switch: 1 or nothing. @throws SealttyError `bad-config`. */
  flag(name: string): boolean {
    const value = this.text(name);
    if (value === undefined || value === "1") return value === "1";
    throw new SealttyError("bad-config", `${this.prefix}_${name} takes 1, or is not set`);
  }

  /**
   * The value of PREFIX_NAME, or the content of the file that PREFIX_NAME_FILE names, read anew each time: whoever renews a
   * token writes it there. @throws SealttyError `bad-config`; its message never holds the secret.
   */
  async secret(name: string, kind: "token" | "password" = "token"): Promise<string | undefined> {
    const inEnvironment = this.text(name);
    const file = this.text(`${name}_FILE`);
    if (inEnvironment !== undefined && file !== undefined) {
      throw new SealttyError(
        "bad-config",
        `${this.prefix}_${name} and ${this.prefix}_${name}_FILE are both set; keep one of them`,
      );
    }
    let value = inEnvironment;
    if (file !== undefined) {
      const bytes = await readOwnerFile(file, `${kind} of ${this.prefix}_${name}_FILE`, MAX_SECRET);
      value = this.#decoded(bytes, file).replace(/\r?\n$/, "");
    }
    if (value === undefined) return undefined;
    if (value.length > MAX_SECRET || !(kind === "token" ? TOKEN : PASSWORD).test(value)) {
      const where = file ?? `${this.prefix}_${name}`;
      throw new SealttyError(
        "bad-config",
        `${where} does not hold a ${kind} on one line; write nothing else there`,
      );
    }
    return value;
  }

  /** @throws SealttyError `bad-config` where neither is set. */
  async requiredSecret(name: string, what: string): Promise<string> {
    const value = await this.secret(name);
    if (value === undefined)
      throw this.#missing(`${this.prefix}_${name}_FILE (or ${this.prefix}_${name})`, what);
    return value;
  }

  /** Certificates or a key in PEM, from the file that PREFIX_NAME names. @throws SealttyError `bad-config`. */
  async pem(name: string, kind: "CERTIFICATE" | "PRIVATE KEY"): Promise<string | undefined> {
    const file = this.text(name);
    if (file === undefined) return undefined;
    const text = this.#decoded(await readOwnerFile(file, `file of ${this.prefix}_${name}`, MAX_PEM), file);
    if (!new RegExp(`-----BEGIN (?:[A-Z]+ )?${kind}-----`).test(text)) {
      throw new SealttyError(
        "bad-config",
        `${file} (${this.prefix}_${name}) holds no PEM ${kind}; name the right file`,
      );
    }
    return text;
  }

  #decoded(bytes: Uint8Array, file: string): string {
    try {
      return textOf(bytes);
    } catch {
      throw new SealttyError("bad-config", `${file} is not text; name the right file`);
    }
  }

  #missing(name: string, what: string): SealttyError {
    return new SealttyError("bad-config", `${name} is not set; it says ${what} (docs/hosts.md)`);
  }
}
