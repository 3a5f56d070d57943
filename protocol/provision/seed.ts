// A seed for cloud-init, as a client hands it to the service "provision": all of it, then the stream's end. docs/protocol.md §8.13

import { Reader, concat, lv32, u8 } from "../bytes.ts";
import { SealttyError } from "../errors.ts";
import { MAX_META_DATA, MAX_NETWORK_CONFIG, MAX_USER_DATA } from "../limits.ts";

/** As cloud-init's datasource NoCloud has them. */
export interface Seed {
  /** Not empty. */
  readonly userData: Uint8Array;
  /** Absent: the guest makes one with an instance-id. */
  readonly metaData?: Uint8Array;
  readonly networkConfig?: Uint8Array;
}

const VERSION = 1;
const HAS_META_DATA = 1;
const HAS_NETWORK_CONFIG = 2;

/** Bytes of the longest there is. */
export const MAX_SEED = 2 + 3 * 4 + MAX_USER_DATA + MAX_META_DATA + MAX_NETWORK_CONFIG;

/** How the guest's program ends: its exit status. Anything else means that it failed. */
export const PROVISION_STATUS = { written: 0, failed: 1, "already-provisioned": 3, malformed: 4 } as const;

/** @throws SealttyError `bad-config`, a sentence for a person. */
export function encodeSeed({ userData, metaData, networkConfig }: Seed): Uint8Array {
  if (userData.length === 0) throw new SealttyError("bad-config", "the user-data is empty");
  requireLength("user-data", userData, MAX_USER_DATA);
  requireLength("meta-data", metaData, MAX_META_DATA);
  requireLength("network-config", networkConfig, MAX_NETWORK_CONFIG);
  const flags =
    (metaData === undefined ? 0 : HAS_META_DATA) | (networkConfig === undefined ? 0 : HAS_NETWORK_CONFIG);
  return concat(
    u8(VERSION),
    u8(flags),
    lv32(userData),
    ...[metaData, networkConfig].flatMap((part) => (part === undefined ? [] : [lv32(part)])),
  );
}

function requireLength(what: string, part: Uint8Array | undefined, most: number): void {
  if (part !== undefined && part.length > most)
    throw new SealttyError(
      "bad-config",
      `the ${what} has ${part.length} bytes, and at most ${most} are taken`,
    );
}

/** @param bytes - all of the stream. @throws SealttyError `peer-misbehaved`. */
export function readSeed(bytes: Uint8Array): Seed {
  const reader: Reader = new Reader(bytes, "A seed");
  if (reader.u8() !== VERSION) reader.fail("is of an unknown version");
  const flags = reader.u8();
  if ((flags & ~(HAS_META_DATA | HAS_NETWORK_CONFIG)) !== 0) reader.fail("has an unknown flag");
  const userData = reader.lv32(MAX_USER_DATA);
  if (userData.length === 0) reader.fail("has no user-data");
  const metaData = (flags & HAS_META_DATA) === 0 ? undefined : reader.lv32(MAX_META_DATA);
  const networkConfig = (flags & HAS_NETWORK_CONFIG) === 0 ? undefined : reader.lv32(MAX_NETWORK_CONFIG);
  reader.end();
  return {
    userData,
    ...(metaData === undefined ? {} : { metaData }),
    ...(networkConfig === undefined ? {} : { networkConfig }),
  };
}
