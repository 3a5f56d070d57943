// Which guest this is: the owner's instance document as the host delivered it, believed only by this machine's own
// evidence; the instance key; and what of both goes beside every piece of evidence.

import { stat } from "node:fs/promises";
import { readBoundedFile } from "../node/bounded-file.ts";
import { MAX_KEY_FILE, parseOpensshKey } from "../node/openssh-key-file.ts";
import type { PrivateKey } from "../node/private-key.ts";
import { errorCode } from "../node/socket-pipe.ts";
import type { AuxParts } from "../protocol/attestation/aux.ts";
import {
  type DigestField,
  type DocumentDigests,
  FW_CFG_NAME,
  type InstanceDocument,
  documentDigests,
  matchesEvidence,
  parseInstanceDocument,
} from "../protocol/attestation/instance/document.ts";
import { signInstanceKey } from "../protocol/attestation/instance/key-proof.ts";
import { concat, isZero, lv16 } from "../protocol/bytes.ts";
import type { CryptoSuite } from "../protocol/crypto/suite.ts";
import { SealttyError } from "../protocol/errors.ts";
import { MAX_INSTANCE_DOCUMENT } from "../protocol/limits.ts";
import { decodeBase64, decodeBase64Url } from "../protocol/user-auth/base64.ts";
import {
  SSH_ED25519,
  decodeEd25519Key,
  decodeEd25519Signature,
  keyTypeOf,
} from "../protocol/user-auth/ssh-wire.ts";
import type { InstanceConfig } from "./config.ts";
import type { TpmChannel } from "./evidence/tpm-channel.ts";
import { pcrExtendCommand } from "./evidence/tpm-commands.ts";
import { escapeText } from "./log.ts";

/** Where this machine's evidence holds a document's digest. */
export type InstanceAnchor =
  | {
      readonly kind: "field";
      /** As the vendor calls it. */
      readonly field: "HOST_DATA" | "MRCONFIGID";
      readonly hash: "sha256" | "sha384";
      /** From the hardware itself, past the host. */
      read(): Promise<Uint8Array>;
    }
  | { readonly kind: "pcr"; readonly index: number; readonly channel: TpmChannel };

/** A document whose digest is in the evidence. */
export interface BelievedDocument {
  readonly bytes: Uint8Array;
  readonly document: InstanceDocument;
  /** How it came and by what it is believed, for the log. */
  readonly words: string;
}

/** Other places than the kernel's own, for tests. */
export interface DocumentPlaces {
  readonly fwCfg: string;
  readonly commandLine: string;
}
const PLACES: DocumentPlaces = {
  fwCfg: `/sys/firmware/qemu_fw_cfg/by_name/${FW_CFG_NAME}/raw`,
  commandLine: "/proc/cmdline",
};
const COMMAND_LINE_KEY = "sealtty.instance=";
const MAX_COMMAND_LINE = 64 * 1024;

/**
 * The first source that has a document decides: a second one is not asked where the first is not believed.
 * @throws SealttyError `bad-config` where there is none, it is malformed, or it is not believed; `evidence-unavailable`.
 */
export async function believeDocument(
  suite: CryptoSuite,
  sources: readonly string[],
  anchor: InstanceAnchor,
  places: DocumentPlaces = PLACES,
): Promise<BelievedDocument> {
  for (const source of sources) {
    const bytes = await fromSource(source, places);
    if (bytes === undefined) continue;
    const words = sourceWords(source);
    let document: InstanceDocument;
    try {
      document = parseInstanceDocument(bytes); // first: a PCR must not be spent on what nobody can read
    } catch (cause) {
      throw refused(`The instance document ${words} is malformed`, reason(cause), cause);
    }
    const digests = documentDigests(suite, bytes);
    const by = anchor.kind === "field" ? await inField(anchor, digests) : await inPcr(anchor, digests);
    return { bytes, document, words: `${words}, ${by}` };
  }
  throw refused(
    `No instance document was delivered (tried ${sources.map(sourceWords).join(", ")})`,
    "Launch the guest with one (sealtty instance make prints how), or remove [instance] document",
  );
}

async function inField(
  anchor: Extract<InstanceAnchor, { kind: "field" }>,
  digests: DocumentDigests,
): Promise<string> {
  const value = await anchor.read();
  const expected: DigestField = { kind: "field", hash: anchor.hash, value };
  if (matchesEvidence(digests, expected)) return `its ${anchor.hash} is this machine's ${anchor.field}`;
  throw refused(
    `The instance document is not believed: its ${anchor.hash} is not in ${anchor.field}`,
    isZero(value)
      ? `This machine was launched without any: give its digest as ${anchor.field} (sealtty instance make prints how)`
      : "The host delivered another document than the one whose digest this machine was launched with",
  );
}

/** A register that is still zero is extended here, once for each boot; afterwards nobody can make it hold another one. */
async function inPcr(
  { channel, index }: Extract<InstanceAnchor, { kind: "pcr" }>,
  digests: DocumentDigests,
): Promise<string> {
  const banks = ["sha256", "sha384"] as const;
  return await channel.exclusive(async () => {
    const differing = async () => {
      const values = await channel.readPcrInBanks(index, banks);
      if (values.length === 0)
        throw refused("The instance document is not believed", `The TPM has no PCR ${index} in a known bank`);
      const others = values.filter(({ bank, value }) => {
        const hash = banks.find((known) => known === bank);
        return hash === undefined || !matchesEvidence(digests, { kind: "pcr", hash, value });
      });
      return others.map(({ bank, value }) => ({ bank, zero: isZero(value) }));
    };
    const before = await differing();
    if (before.length > 0 && before.every(({ zero }) => zero)) {
      const extended = banks
        .filter((bank) => before.some((other) => other.bank === bank))
        .map((bank) => ({ bank, digest: digests[bank] }));
      await channel.run(pcrExtendCommand(index, extended), `extend PCR ${index}`);
    }
    if ((await differing()).length === 0) return `its digest is in PCR ${index}`;
    throw refused(
      `The instance document is not believed: PCR ${index} holds something else than its digest`,
      `Another document was measured in this boot, or another program uses PCR ${index} (systemd measures into 15): name a PCR that nobody else uses with pcr in [instance], or reboot`,
    );
  });
}

/** @returns undefined where the source does not exist. */
async function fromSource(source: string, places: DocumentPlaces): Promise<Uint8Array | undefined> {
  if (source === "cmdline") return await fromCommandLine(places.commandLine);
  const file = source === "fw_cfg" ? places.fwCfg : source;
  try {
    return await readBoundedFile(file, MAX_INSTANCE_DOCUMENT);
  } catch (cause) {
    if (errorCode(cause) === "ENOENT" || errorCode(cause) === "ENOTDIR") return undefined;
    throw refused(`The instance document ${sourceWords(source)} cannot be read`, reason(cause), cause);
  }
}

async function fromCommandLine(file: string): Promise<Uint8Array | undefined> {
  let text: string;
  try {
    text = Buffer.from(await readBoundedFile(file, MAX_COMMAND_LINE)).toString("latin1");
  } catch (cause) {
    throw refused("The kernel command line cannot be read", reason(cause), cause);
  }
  const found = text.split(/\s+/).filter((word) => word.startsWith(COMMAND_LINE_KEY));
  const [only, second] = found;
  if (only === undefined) return undefined;
  const encoded = only.slice(COMMAND_LINE_KEY.length);
  const bytes = decodeBase64Url(encoded);
  if (second !== undefined || bytes === undefined || bytes.length === 0) {
    throw refused(
      "The instance document on the kernel command line cannot be read",
      "Write it once, as sealtty.instance= and base64url without padding",
    );
  }
  return bytes;
}

function sourceWords(source: string): string {
  if (source === "fw_cfg") return `from fw_cfg ${FW_CFG_NAME}`;
  return source === "cmdline" ? "on the kernel command line" : `in ${escapeText(source)}`;
}

/** What goes beside every piece of evidence, and proves the instance key anew on each connection. */
export class InstanceParts {
  readonly #suite: CryptoSuite;
  readonly #config: InstanceConfig;
  readonly #document: Uint8Array | undefined;
  readonly #key: PrivateKey | undefined;
  readonly #warn: (message: string) => void;
  #reported: string | undefined;

  private constructor(
    suite: CryptoSuite,
    config: InstanceConfig,
    document: Uint8Array | undefined,
    key: PrivateKey | undefined,
    warn: (message: string) => void,
  ) {
    this.#suite = suite;
    this.#config = config;
    this.#document = document;
    this.#key = key;
    this.#warn = warn;
  }

  /** @throws SealttyError `bad-config` where the instance key cannot be used. */
  static async open(
    suite: CryptoSuite,
    config: InstanceConfig,
    document: BelievedDocument | undefined,
    warn: (message: string) => void,
  ): Promise<InstanceParts> {
    const key = config.key === undefined ? undefined : await readInstanceKey(config.key);
    return new InstanceParts(suite, config, document?.bytes, key, warn);
  }

  /** @param proofContext - this connection's values: protocol/attestation/binder.ts. */
  async forConnection(
    proofContext: Uint8Array,
  ): Promise<Pick<AuxParts, "instanceDocument" | "instanceKey" | "sshHostKeys">> {
    const sshHostKeys = await this.#hostKeys();
    return {
      ...(this.#document === undefined ? {} : { instanceDocument: this.#document }),
      ...(this.#key === undefined ? {} : { instanceKey: proveKey(this.#suite, this.#key, proofContext) }),
      ...(sshHostKeys.length > 0 ? { sshHostKeys } : {}),
    };
  }

  /** Read each time: sshd may make its keys after this daemon has started. */
  async #hostKeys(): Promise<Uint8Array> {
    const keys: Uint8Array[] = [];
    for (const file of this.#config.sshHostKeys) {
      try {
        keys.push(lv16(hostKeyOf(Buffer.from(await readBoundedFile(file, MAX_KEY_FILE)).toString("latin1"))));
      } catch (error) {
        const problem = `cannot read the SSH host key ${file}: ${reason(error)}`;
        if (errorCode(error) !== "ENOENT" && problem !== this.#reported) {
          this.#reported = problem;
          this.#warn(problem);
        }
      }
    }
    return concat(...keys);
  }
}

/** For `sealttyd --check`. @returns a sentence, or undefined where the file has a public key. */
export async function hostKeyProblem(file: string): Promise<string | undefined> {
  try {
    hostKeyOf(Buffer.from(await readBoundedFile(file, MAX_KEY_FILE)).toString("latin1"));
    return undefined;
  } catch (error) {
    const name = escapeText(file);
    return errorCode(error) === "ENOENT"
      ? `there is no SSH host key ${name}: evidence would not name it, and ssh would refuse the guest`
      : `${name}, of ssh_host_keys, is no public key of ssh: ${reason(error)}`;
  }
}

/** The key's file keeps its secret to itself and signs. */
function proveKey(suite: CryptoSuite, key: PrivateKey, context: Uint8Array): Uint8Array {
  const signer: Pick<CryptoSuite, "ed25519Sign" | "ed25519PublicKey"> = {
    ed25519PublicKey: () => decodeEd25519Key(key.publicKeyBlob),
    ed25519Sign: (_, message) => decodeEd25519Signature(key.sign(message)),
  };
  return signInstanceKey(signer, suite.randomBytes(32), context);
}

async function readInstanceKey(file: string): Promise<PrivateKey> {
  let text: string;
  try {
    if (((await stat(file)).mode & 0o077) !== 0)
      throw new Error("others can read it; run chmod 600 on it first");
    text = Buffer.from(await readBoundedFile(file, MAX_KEY_FILE)).toString("utf8");
  } catch (cause) {
    throw new SealttyError(
      "bad-config",
      `The instance key ${escapeText(file)} cannot be used: ${reason(cause)}`,
      {
        cause,
      },
    );
  }
  const key = parseOpensshKey(text, escapeText(file));
  if (key.key.kind === "ed25519") return key;
  throw new SealttyError(
    "bad-config",
    `${escapeText(file)}: only ssh-ed25519 keys are supported as instance keys; make one with ssh-keygen -t ed25519`,
  );
}

/** A line of `ssh_host_*_key.pub`. */
function hostKeyOf(text: string): Uint8Array {
  if (/[\r\n]/.test(text.trim()))
    throw new Error("it has more than a line: what else is in it is not for others");
  const [type, base64 = ""] = text.trim().split(/[ \t]+/, 3);
  const blob = decodeBase64(base64);
  if (blob === undefined || keyTypeOf(blob) !== type) throw new Error("it is no public key file");
  if (type === SSH_ED25519) decodeEd25519Key(blob);
  return blob;
}

function refused(problem: string, next: string, cause?: unknown): SealttyError {
  const options = cause === undefined ? {} : { cause };
  return new SealttyError("bad-config", `${problem}. ${next.replace(/\.$/, "")}.`, options);
}

function reason(cause: unknown): string {
  return errorCode(cause) ?? (cause instanceof Error ? cause.message : "unknown reason");
}
