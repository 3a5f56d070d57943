// What Azure's paravisor says about the guest in JSON whose hash its hardware report carries: the vTPM's key, and how the
// machine is configured. Only members that mean something here are read; others are tolerated, because all are signed.

import { equalBytes, fromHex } from "../../bytes.ts";
import { SealttyError } from "../../errors.ts";
import { decodeBase64Url } from "../../user-auth/base64.ts";
import { type JsonMembers, type JsonValue, parseStrictJson } from "../strict-json.ts";

export interface RuntimeClaims {
  /** RSA-2048 modulus of the vTPM's attestation key, HCLAkPub; its exponent is 65537. */
  readonly akModulus: Uint8Array;
  /** The guest has a serial console that the host reads and writes in the clear. */
  readonly consoleEnabled: boolean;
  readonly secureBoot: boolean;
  /** The vTPM keeps its keys over a power cycle. Undefined: an older paravisor, which does not say. */
  readonly tpmPersisted: boolean | undefined;
  /** UUID in upper case, as the host gave it to the paravisor. */
  readonly vmId: string;
  /** 64 bytes that the guest wrote before it had the report made. Undefined: none, or all zero. */
  readonly userData: Uint8Array | undefined;
}

const WHAT = "Azure's runtime data";
const UUID = /^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$/;
const EXPONENT = "AQAB";

/** @param bytes - the very bytes that were hashed. @throws SealttyError `peer-misbehaved`. */
export function parseRuntimeClaims(bytes: Uint8Array): RuntimeClaims {
  const claims = parseStrictJson(bytes, WHAT);
  const configuration = objectOf(claims.get("vm-configuration"), "vm-configuration");
  const vmId = configuration.get("vmUniqueId");
  if (typeof vmId !== "string" || !UUID.test(vmId)) fail("has a vmUniqueId that is not a UUID");
  if (!flag(configuration, "tpm-enabled")) fail("says that there is no vTPM");
  return {
    akModulus: attestationKey(claims.get("keys")),
    consoleEnabled: flag(configuration, "console-enabled"),
    secureBoot: flag(configuration, "secure-boot"),
    tpmPersisted: configuration.has("tpm-persisted") ? flag(configuration, "tpm-persisted") : undefined,
    vmId: vmId.toUpperCase(),
    userData: userData(claims.get("user-data")),
  };
}

/** The one JWK whose `kid` is HCLAkPub. Its `key_ops` is no guide: older paravisors write "encrypt". */
function attestationKey(keys: JsonValue | undefined): Uint8Array {
  if (!Array.isArray(keys)) return fail("has no list of keys");
  const found = keys.map((key) => objectOf(key, "key")).filter((key) => key.get("kid") === "HCLAkPub");
  const [key] = found;
  if (key === undefined || found.length !== 1) return fail("has not exactly one key HCLAkPub");
  const modulus = key.get("n");
  if (key.get("kty") !== "RSA" || key.get("e") !== EXPONENT || typeof modulus !== "string")
    return fail("has an HCLAkPub that is not an RSA key with the exponent 65537");
  const bytes = modulus.length === 342 ? decodeBase64Url(modulus) : undefined;
  if (bytes === undefined || (bytes[0] as number) < 0x80)
    return fail("has an HCLAkPub of another size than 2048 bits");
  return bytes;
}

function userData(value: JsonValue | undefined): Uint8Array | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== "string" || !/^[0-9A-Fa-f]{128}$/.test(value))
    return fail("has user-data that is not 64 bytes in hex");
  const bytes = fromHex(value);
  return equalBytes(bytes, new Uint8Array(64)) ? undefined : bytes;
}

/** An absent flag is not a flag that is off. */
function flag(members: JsonMembers, name: string): boolean {
  const value = members.get(name);
  if (typeof value !== "boolean") return fail(`does not say ${name} with true or false`);
  return value;
}

function objectOf(value: JsonValue | undefined, name: string): JsonMembers {
  if (!(value instanceof Map)) return fail(`has a ${name} that is not an object`);
  return value;
}

function fail(problem: string): never {
  throw new SealttyError("peer-misbehaved", `${WHAT} ${problem}`);
}
