// The keys of a policy's [tdx] section.

import { type Item, type Keys, choice, flag, hex, integer, list, one, text } from "../../toml-keys.ts";
import { ACCEPTS_NOTHING, on, rtmrs, zeroPin } from "./kinds.ts";
import { TCB_STATUSES, type TcbStatus, type TdxPolicy } from "./model.ts";

export const TDX_KEYS: Keys<TdxPolicy> = {
  mrtd: { name: "mrtd", kind: list(hex(96)), words: "What runs: measurement of the firmware (MRTD)." },
  rtmrs: {
    name: "rtmrs",
    kind: rtmrs,
    words:
      "What runs: the registers that firmware, boot loader and kernel extend. All that are named must hold; 1 and 2 say which kernel.",
  },
  mrSeam: { name: "mrSeam", kind: list(hex(96)), words: "Measurement of Intel's TDX module (MRSEAM)." },
  mrConfigId: {
    name: "mrConfigId",
    kind: list(hex(96, undefined, zeroPin("MRCONFIGID"))),
    words:
      "Which machine: MRCONFIGID, set at launch; the SHA-384 of an instance document, or a value of your own.",
  },
  mrOwner: {
    name: "mrOwner",
    kind: list(hex(96, undefined, zeroPin("MROWNER"))),
    words: "Which owner: MROWNER, set at launch.",
  },
  mrOwnerConfig: { name: "mrOwnerConfig", kind: list(hex(96)), words: "MROWNERCONFIG, set at launch." },
  mrServiceTd: {
    name: "mrServiceTd",
    kind: list(hex(96), ACCEPTS_NOTHING),
    words: "MRSERVICETD: service (migration) TDs bound to the guest.",
    strict: "no service (migration) TD",
    risk: (value) =>
      value.some((each) => !/^0*$/.test(each))
        ? "tdx.mrServiceTd accepts a service TD, which may be able to move or read the guest"
        : undefined,
  },
  piids: {
    name: "piid",
    kind: list(hex(32, undefined, "is all zero, which is no platform's id; remove it")),
    words: "Which platform: instance id in the PCK certificate.",
  },
  tcbStatus: {
    name: "tcbStatus",
    kind: list(tcbStatus(), ACCEPTS_NOTHING),
    words: 'What Intel\'s verification may say of the platform. "Revoked" is never accepted.',
    strict: "only platforms that Intel calls up to date",
    risk: (value) => {
      const worse = value.filter((status) => status !== "UpToDate");
      return worse.length === 0
        ? undefined
        : `tdx.tcbStatus accepts ${worse.join(", ")}: platforms with weaknesses that Intel has published`;
    },
  },
  advisories: {
    name: "advisories",
    kind: list(
      text({
        words: '"INTEL-SA-" and 5 digits',
        pattern: /^INTEL-SA-[0-9]{5}$/,
        problem: "is not the number of an advisory",
        write: 'for example "INTEL-SA-00615"',
      }),
    ),
    words:
      "Intel's advisories that are tolerated where the status is not UpToDate; any other one refuses the guest.",
  },
  minimumTcbEvaluation: {
    name: "minimumTcbEvaluation",
    kind: one(integer(0, 65_535, 17)),
    words: "Least tcbEvaluationDataNumber of Intel's TCB information: keeps out an old edition of it.",
  },
  xfam: {
    name: "xfam",
    kind: list(hex(16)),
    words: "XFAM in the quote's byte order: processor features that the guest may use.",
  },
  smt: {
    name: "smt",
    kind: one(choice(["any", "off"])),
    words: '"off": simultaneous multithreading must be off, by the PCK certificate.',
  },
  dynamicPlatform: {
    name: "dynamicPlatform",
    kind: one(choice(["any", "static"])),
    words: '"static": processors of the platform must not be exchangeable at run time.',
  },
  allowAnyKernel: {
    name: "allowAnyKernel",
    kind: flag,
    words:
      "Do without RTMR 1 and 2: whoever starts the firmware chooses kernel, command line and initramfs. Not needed beside [azure], where the PCRs say it.",
    strict: "RTMR 1 and 2 must be pinned (but beside [azure])",
    risk: on(
      "tdx.allowAnyKernel = true: only the firmware is known; unless tdx.rtmrs pins both 1 and 2, whoever starts it chooses the kernel, its command line and the initramfs",
    ),
  },
  allowDebug: {
    name: "allowDebug",
    kind: flag,
    words: "Accept guests whose memory the host may read and change (DEBUG).",
    strict: "guests that may be debugged are refused",
    risk: on("tdx.allowDebug = true: the host can read and change the guest's memory"),
  },
  allowSeptVe: {
    name: "allowSeptVe",
    kind: flag,
    words:
      "Accept guests without SEPT_VE_DISABLE, into which the host can inject exceptions by taking memory away.",
    strict: "SEPT_VE_DISABLE must be set",
    risk: on("tdx.allowSeptVe = true: the host can inject exceptions into the guest's kernel"),
  },
  allowMigratable: {
    name: "allowMigratable",
    kind: flag,
    words: "Accept guests that can be migrated.",
    strict: "guests that can be migrated are refused",
    risk: on("tdx.allowMigratable = true: a migration TD can take the guest's memory elsewhere"),
  },
  allowPerfmon: {
    name: "allowPerfmon",
    kind: flag,
    words: "Accept guests with performance monitoring.",
    strict: "guests with performance monitoring are refused",
    risk: on("tdx.allowPerfmon = true: performance counters make side channels easier to use"),
  },
};

function tcbStatus(): Item<TcbStatus> {
  const [best, ...others] = TCB_STATUSES.filter((status) => status !== "Revoked");
  const item = choice([best as TcbStatus, ...others]);
  return {
    ...item,
    words: "status words of Intel",
    read: (value, fail) =>
      value === "Revoked"
        ? fail('is "Revoked", which no policy may accept: the platform\'s keys are in other hands; remove it')
        : item.read(value, fail),
  };
}
