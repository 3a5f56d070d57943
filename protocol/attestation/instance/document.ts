// The instance document: the owner's own words on which guest this is and who may enter it. The untrusted host delivers
// it; it is believed only where its digest is in the evidence. docs/instance.md

import { sha384 } from "@noble/hashes/sha2.js";
import { concat, equalBytes, textOf } from "../../bytes.ts";
import type { CryptoSuite } from "../../crypto/suite.ts";
import { SealttyError } from "../../errors.ts";
import { MAX_INSTANCE_DOCUMENT } from "../../limits.ts";
import { type TomlSubject, readToml } from "../../toml-table.ts";
import { requireVersion } from "../owner-file-head.ts";
import {
  AGENT_SECTION,
  BY_COMMANDS,
  type AgentSettings,
  type Command,
  DOCUMENT_SECTION,
  type DocumentTop,
} from "./keys.ts";

export type { Any, Command, DocumentKey } from "./keys.ts";

export interface InstanceDocument extends DocumentTop {
  readonly agent: { readonly login: boolean; readonly shell: boolean };
  /** The document whole. */
  readonly text: string;
}

/** Where a file or a host leaves the document, by QEMU's fw_cfg. */
export const FW_CFG_NAME = "opt/org.sealtty/instance";

const SUBJECT: TomlSubject = {
  name: "Instance document",
  code: "bad-config",
  hint: 'keys look like `name = "db1"`, sections like [agent]',
};

/** @param bytes - exactly those that were hashed. @throws SealttyError `bad-config`: what is wrong, and what to write instead. */
export function parseInstanceDocument(bytes: Uint8Array): InstanceDocument {
  if (bytes.length > MAX_INSTANCE_DOCUMENT)
    fail(`the file is longer than ${MAX_INSTANCE_DOCUMENT / 1024} KiB`);
  const text = decode(bytes);
  const file = readToml(text, SUBJECT);
  requireVersion(file);
  const top = DOCUMENT_SECTION.read(file, [AGENT_SECTION.name]);
  const table = file.table(AGENT_SECTION.name);
  const agent: AgentSettings =
    table === undefined ? { login: false, shell: BY_COMMANDS } : AGENT_SECTION.read(table);
  const { login } = agent;
  if (top.authorizedKeys.length === 0 && !login) {
    file.fail("nobody could log in; add a key to authorized_keys, or write `login = true` into [agent]");
  }
  if (agent.shell === BY_COMMANDS && top.commands !== "any") {
    file.fail(
      "agent.shell is missing: a shell runs anything, whatever commands says; write `shell = false` into [agent], or " +
        "`shell = true` if that is what you mean",
    );
  }
  return { ...top, agent: { login, shell: agent.shell === BY_COMMANDS ? true : agent.shell }, text };
}

export function mayUse(document: Pick<InstanceDocument, "users">, user: string): boolean {
  return document.users === "any" || document.users.includes(user);
}

/** Word for word: no prefix, no pattern, no shell. */
export function mayRun(document: Pick<InstanceDocument, "commands">, command: Command): boolean {
  return (
    document.commands === "any" ||
    document.commands.some(
      (allowed) => allowed.length === command.length && allowed.every((word, i) => word === command[i]),
    )
  );
}

/** All that evidence can hold of a document. */
export interface DocumentDigests {
  /** 32 bytes: HOST_DATA of SEV-SNP, and what a policy pins. */
  readonly sha256: Uint8Array;
  /** 48 bytes: MRCONFIGID of TDX. */
  readonly sha384: Uint8Array;
  /** The register of each bank that was all zero and into which the bank's digest of the document was extended, once. */
  readonly pcr: { readonly sha256: Uint8Array; readonly sha384: Uint8Array };
}

export function documentDigests(suite: Pick<CryptoSuite, "sha256">, document: Uint8Array): DocumentDigests {
  const [d256, d384] = [suite.sha256(document), sha384(document)];
  return {
    sha256: d256,
    sha384: d384,
    pcr: {
      sha256: suite.sha256(concat(new Uint8Array(32), d256)),
      sha384: sha384(concat(new Uint8Array(48), d384)),
    },
  };
}

/** A field or register of checked evidence that may hold a document's digest. */
export interface DigestField {
  readonly kind: "field" | "pcr";
  readonly hash: "sha256" | "sha384";
  readonly value: Uint8Array;
}

export function matchesEvidence(digests: DocumentDigests, { kind, hash, value }: DigestField): boolean {
  return equalBytes(kind === "pcr" ? digests.pcr[hash] : digests[hash], value);
}

function decode(bytes: Uint8Array): string {
  let text: string;
  try {
    text = textOf(bytes);
  } catch (cause) {
    throw new SealttyError("bad-config", "Instance document: it is not UTF-8; save it as UTF-8 text", {
      cause,
    });
  }
  if (text.startsWith("\ufeff")) fail("it begins with a byte order mark; save it as UTF-8 without one");
  return text;
}

function fail(problem: string): never {
  throw new SealttyError("bad-config", `Instance document: ${problem}`);
}
