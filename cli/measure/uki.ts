// Unified kernel images: PCR 11 as systemd-stub and systemd-pcrphase leave it. systemd-stub(7), systemd-measure(1)

import { utf8 } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { DIGEST_SIZE, digest, extend, type HashName } from "./hashes.ts";
import { authenticodeDigest, parsePe, type PeImage, sectionContent } from "./pe.ts";

/** What is measured, in this order whatever the image's. `.pcrsig` signs the result and is never measured. */
const ORDER = [
  ".linux",
  ".osrel",
  ".cmdline",
  ".initrd",
  ".ucode",
  ".splash",
  ".dtb",
  ".uname",
  ".sbat",
  ".pcrpkey",
  ".profile",
  ".dtbauto",
  ".hwids",
  ".efifw",
];
/** systemd-stub 252 knows no others, and so measures no others. */
const ORDER_252 = [".linux", ".osrel", ".cmdline", ".initrd", ".splash", ".dtb", ".pcrpkey"];
/** Of these the stub takes the one that fits the machine: which, the image alone does not say. */
const CHOSEN_AT_BOOT = [".dtbauto", ".efifw"];
const MAX_SECTION = 1024 * 1024 * 1024;

/** The words that systemd-pcrphase measures on the way, each behind those before it. */
export const PHASES = ["enter-initrd", "leave-initrd", "sysinit", "ready"] as const;
export type Phase = (typeof PHASES)[number];

export interface UkiPcr11 {
  /** As the image says it. */
  readonly stubVersion: string;
  readonly sections: readonly string[];
  /** Behind the stub, before any phase. */
  readonly start: Uint8Array;
  readonly phases: ReadonlyMap<Phase, Uint8Array>;
}

/** @throws SealttyError `bad-config` on an image whose PCR 11 cannot be told from it alone. */
export function ukiPcr11(name: HashName, pe: PeImage): UkiPcr11 {
  const stubVersion = versionOf(pe);
  const order = measuredBy(stubVersion);
  for (const section of CHOSEN_AT_BOOT)
    if (order.includes(section) && pe.sections.some((each) => each.name === section))
      bad(
        `The UKI has ${section} sections, of which the boot chooses by hardware; take the event log instead`,
      );
  let register: Uint8Array = new Uint8Array(DIGEST_SIZE[name]);
  const sections: string[] = [];
  for (const wanted of order) {
    const [section, ...more] = pe.sections.filter((each) => each.name === wanted);
    if (section === undefined || section.virtualSize === 0) continue;
    if (more.length > 0)
      bad(
        wanted === ".profile"
          ? "The UKI has several profiles, of which the boot chooses one; take the event log instead"
          : `The UKI has several ${wanted} sections`,
      );
    if (section.virtualSize > MAX_SECTION) bad(`The UKI's ${wanted} section is larger than 1 GiB`);
    register = extend(name, register, digest(name, utf8(`${wanted}\0`)));
    register = extend(name, register, digest(name, sectionContent(pe, section)));
    sections.push(wanted);
  }
  if (sections[0] !== ".linux") bad("The image is no UKI: it has no .linux section");
  const start = register;
  const phases = new Map<Phase, Uint8Array>();
  for (const phase of PHASES) {
    register = extend(name, register, digest(name, utf8(phase)));
    phases.set(phase, register);
  }
  return { stubVersion, sections, start, phases };
}

/**
 * PCR 12 where the loader hands over a command line of its own, and nothing else is measured into it.
 * The stub measures it as UEFI has it: UTF-16, its NUL included.
 */
export function commandLineOverride(name: HashName, commandLine: string): Uint8Array {
  const measured = Buffer.from(`${commandLine}\0`, "utf16le");
  return extend(name, new Uint8Array(DIGEST_SIZE[name]), digest(name, measured));
}

/**
 * PCR 4 where firmware starts the UKI from a boot option, and the stub has it start the kernel inside.
 * @returns undefined for stubs other than 252, which was booted and compared: newer ones load the kernel by themselves.
 */
export function ukiPcr4(name: HashName, pe: PeImage): Uint8Array | undefined {
  const kernel = pe.sections.find((each) => each.name === ".linux");
  if (kernel === undefined || Number.parseInt(versionOf(pe), 10) !== 252) return undefined;
  const inner = parsePe(sectionContent(pe, kernel), "The kernel in the UKI");
  return [
    digest(name, utf8("Calling EFI Application from Boot Option")),
    digest(name, new Uint8Array(4)), // the separator
    authenticodeDigest(name, pe),
    authenticodeDigest(name, inner),
  ].reduce<Uint8Array>((register, event) => extend(name, register, event), new Uint8Array(DIGEST_SIZE[name]));
}

/**
 * PCR 9 as the kernel inside measures it: its load options, and the initrd where the stub adds nothing to it.
 * @returns undefined where the stub changes the command line on the way (blanks at its ends, control characters).
 */
export function ukiPcr9(name: HashName, pe: PeImage, override: string | undefined): Uint8Array | undefined {
  const content = (wanted: string) => {
    const section = pe.sections.find((each) => each.name === wanted);
    return section === undefined ? new Uint8Array(0) : sectionContent(pe, section);
  };
  const initrd = content(".initrd");
  const options = override ?? new TextDecoder("latin1").decode(content(".cmdline"));
  if (initrd.length === 0 || !/^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/.test(options)) return undefined;
  const register = extend(
    name,
    new Uint8Array(DIGEST_SIZE[name]),
    digest(name, Buffer.from(`${options}\0`, "utf16le")),
  );
  return extend(name, register, digest(name, initrd));
}

/** `.sdmagic` is "#### LoaderInfo: systemd-stub VERSION ####". */
function versionOf(pe: PeImage): string {
  const magic = pe.sections.find(({ name }) => name === ".sdmagic");
  const text =
    magic === undefined ? "" : new TextDecoder("latin1").decode(sectionContent(pe, magic).subarray(0, 256));
  const version = /^#### LoaderInfo: systemd-stub ([0-9][\x21-\x7e]{0,63}) ####/.exec(text)?.[1];
  return version ?? bad("The image is no UKI of systemd-stub: it does not name one");
}

function measuredBy(version: string): readonly string[] {
  const major = Number.parseInt(version, 10);
  if (major === 252) return ORDER_252;
  if (major >= 254) return ORDER;
  return bad(
    `The UKI's systemd-stub ${version} is one whose measurements are not known here (252, or from 254 on)`,
  );
}

function bad(problem: string): never {
  throw new SealttyError("bad-config", problem);
}
