// The keys of a policy's [snp] section.

import { type Keys, choice, flag, hex, integer, list, one, text } from "../../toml-keys.ts";
import { SNP_PRODUCTS } from "../roots.ts";
import { ACCEPTS_NOTHING, chipId, on, tcbMinimum, zeroPin } from "./kinds.ts";
import type { SnpPolicy } from "./model.ts";

export const SNP_KEYS: Keys<SnpPolicy> = {
  measurements: {
    name: "measurement",
    kind: list(hex(96)),
    words: "What runs: launch measurement (MEASUREMENT).",
  },
  idKeys: {
    name: "idKey",
    kind: list(hex(96, undefined, zeroPin("ID_KEY_DIGEST"))),
    words: "What runs, by its signer: digest of the key that signed the identity block (ID_KEY_DIGEST).",
  },
  authorKeys: {
    name: "authorKey",
    kind: list(hex(96, undefined, zeroPin("AUTHOR_KEY_DIGEST"))),
    words: "What runs and which owner: digest of the author key (AUTHOR_KEY_DIGEST).",
  },
  hostData: {
    name: "hostData",
    kind: list(hex(64, undefined, zeroPin("HOST_DATA"))),
    words:
      "Which machine: HOST_DATA, set at launch; the SHA-256 of an instance document, or a value of your own.",
  },
  chipIds: {
    name: "chipId",
    kind: list(chipId),
    words: "Which processor: CHIP_ID. Needed for Milan.",
  },
  cspIds: {
    name: "cspId",
    kind: list(
      text({
        words: "1 to 128 printable ASCII characters",
        pattern: /^[\x20-\x7e]{1,128}$/,
        problem: "is not 1 to 128 printable ASCII characters",
        write: 'for example "CN=cc-us-east-2.amazonaws.com"',
      }),
    ),
    words: "Which cloud: the provider's name in a VLEK certificate.",
  },
  familyIds: { name: "familyId", kind: list(hex(32)), words: "FAMILY_ID of the identity block." },
  imageIds: { name: "imageId", kind: list(hex(32)), words: "IMAGE_ID of the identity block." },
  products: {
    name: "products",
    kind: list(choice(SNP_PRODUCTS), ACCEPTS_NOTHING),
    words:
      "Processor generations. Milan is refused without chipId (with a VLEK: cspId), whatever stands here.",
    strict: "every generation; Milan only with a pinned CHIP_ID, or with a VLEK and its pinned cloud (cspId)",
  },
  signingKeys: {
    name: "signingKey",
    kind: list(choice(["vcek", "vlek"]), ACCEPTS_NOTHING),
    words: '"vcek": the processor\'s own key. "vlek": a key that AMD gave a cloud for its machines.',
    strict: "the processor's own key",
    risk: (value) =>
      value.includes("vlek")
        ? "snp.signingKey accepts VLEK: the report is signed by a key lent to a cloud, so the machine itself is not known"
        : undefined,
  },
  vmpls: {
    name: "vmpl",
    kind: list(integer(0, 3, 0), ACCEPTS_NOTHING),
    words: "Privilege level (VMPL) from which the report was asked.",
    strict: "the most privileged level only",
    risk: (value) =>
      value.some((level) => level > 0)
        ? `snp.vmpl accepts level ${[...new Set(value)].sort((a, b) => a - b).join(", ")}: software at a more privileged level, for example the cloud's, can read and change the guest`
        : undefined,
  },
  minimumTcb: {
    name: "minimumTcb",
    kind: tcbMinimum,
    words:
      "The least version of each firmware component in REPORTED_TCB; a component that is absent is not compared.",
  },
  minimumLaunchTcb: {
    name: "minimumLaunchTcb",
    kind: tcbMinimum,
    words: "The same for LAUNCH_TCB: the firmware under which the guest was started.",
  },
  minimumMitigation: {
    name: "minimumMitigation",
    kind: one(hex(16)),
    words:
      "Bits that must be set in CURRENT_MIT_VECTOR, most significant digit first; only version 5 reports have them.",
  },
  minimumGuestSvn: {
    name: "minimumGuestSvn",
    kind: one(integer(0, 2 ** 32 - 1, 1)),
    words: "Least GUEST_SVN of the identity block.",
  },
  minimumAbi: {
    name: "minimumAbi",
    kind: one(
      text({
        words: '"major.minor"',
        pattern:
          /^(?:0|[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5])\.(?:0|[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5])$/,
        problem: "is not an ABI version",
        write: 'for example "1.55"',
      }),
    ),
    words: "Least firmware ABI version that the guest's own launch policy must ask for.",
  },
  smt: {
    name: "smt",
    kind: one(choice(["any", "off"])),
    words: '"off": simultaneous multithreading must be off in the platform.',
  },
  singleSocket: {
    name: "singleSocket",
    kind: one(choice(["any", "required"])),
    words: '"required": the guest\'s launch policy must restrict it to one socket.',
  },
  ciphertextHiding: {
    name: "ciphertextHiding",
    kind: one(choice(["any", "required"])),
    words: '"required": the host must not be able to watch the ciphertext of the guest\'s memory.',
  },
  aliasCheck: {
    name: "aliasCheck",
    kind: one(choice(["required", "any"])),
    words: '"required": the firmware must have checked the memory for aliases (BadRAM).',
    strict: "memory must have been checked for aliases (BadRAM)",
    risk: (value) =>
      value === "any"
        ? 'snp.aliasCheck = "any" accepts platforms on which doctored memory modules can undo the encryption (BadRAM)'
        : undefined,
  },
  crl: {
    name: "crl",
    kind: one(choice(["required", "if-present"])),
    words:
      '"required": AMD\'s revocation list must be there and hold. "if-present": a missing one is told, a bad one refused.',
    strict: "AMD's revocation list must be there and hold",
    risk: (value) =>
      value === "if-present"
        ? 'snp.crl = "if-present" accepts evidence without a revocation list: a revoked intermediate key goes unnoticed'
        : undefined,
  },
  allowDebug: {
    name: "allowDebug",
    kind: flag,
    words: "Accept guests whose memory the host may read and change (DEBUG).",
    strict: "guests that may be debugged are refused",
    risk: on("snp.allowDebug = true: the host can read and change the guest's memory"),
  },
  allowMigrationAgent: {
    name: "allowMigrationAgent",
    kind: flag,
    words: "Accept guests that a migration agent may move.",
    strict: "guests with a migration agent are refused",
    risk: on("snp.allowMigrationAgent = true: a migration agent can take the guest's memory elsewhere"),
  },
  allowProvisionalFirmware: {
    name: "allowProvisionalFirmware",
    kind: flag,
    words:
      "Accept platforms whose firmware is not committed (CURRENT above COMMITTED) and can be rolled back.",
    strict: "firmware that can be rolled back is refused",
    risk: on("snp.allowProvisionalFirmware = true: the host can still roll the firmware back"),
  },
  allowMilanWithoutChipId: {
    name: "allowMilanWithoutChipId",
    kind: flag,
    words: "Accept Milan without a pinned CHIP_ID (with a VLEK: cspId).",
    strict: "Milan is refused unless chipId names it, or, with a VLEK, cspId its cloud",
    risk: on(
      "snp.allowMilanWithoutChipId = true: software alone extracts the root key of a Milan processor, so anyone who has one can forge its reports",
    ),
  },
};
