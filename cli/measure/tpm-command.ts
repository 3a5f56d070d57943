// `sealtty measure tpm`: PCR values from an event log, from a unified kernel image, or from QEMU's direct kernel boot.

import { pcrMeaning } from "../../protocol/attestation/tpm/pcr.ts";
import {
  type EventLog,
  parseEventLog,
  replayEvents,
} from "../../protocol/attestation/tpm/event-log-format.ts";
import { toHex } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { Input } from "../options.ts";
import { readOwnerFile } from "../owner-file.ts";
import { jsonLine } from "../printable.ts";
import { print, Reporter } from "../report.ts";
import type { Services } from "../services.ts";
import { directBootPcr9 } from "./direct-boot.ts";
import { digest, type HashName } from "./hashes.ts";
import { checkPolicyOptions, intoPolicy, LIMITS } from "./output.ts";
import { authenticodeDigest, parsePe } from "./pe.ts";
import { commandLine } from "./snp-command.ts";
import { commandLineOverride, PHASES, type Phase, ukiPcr11, ukiPcr4, ukiPcr9 } from "./uki.ts";

const SOURCES = ["event-log", "uki", "initrd"] as const;
/** What a policy may pin: 10 changes all the time, from 16 on anybody may set them back. */
const isPinnable = (index: number) => index < 16 && index !== 10;

interface Value {
  readonly pcr: number;
  readonly value: Uint8Array;
  /** Boot phase, for PCR 11. */
  readonly phase?: Phase | "start";
  /** Belongs into a policy; "asked": only where --pcr names it, because more than the files decides it. */
  readonly accepted: boolean | "asked";
}

interface Computed {
  readonly values: readonly Value[];
  /** What is no PCR value by itself: Authenticode digests. */
  readonly digests: readonly (readonly [what: string, value: Uint8Array])[];
  /** For people. */
  readonly remarks: readonly string[];
}

export async function measureTpm(input: Input, services: Services): Promise<number> {
  checkPolicyOptions(input, "tpm");
  const bank = bankOf(input);
  const wanted = wantedPcrs(input);
  const given = SOURCES.filter((name) => input.has(name));
  const [source, ...others] = given;
  if (source === undefined || others.length > 0)
    bad("give one of --event-log FILE, --uki FILE, or --initrd FILE with --append TEXT");
  refuseForeign(input, source);
  const computed = await (source === "event-log"
    ? fromEventLog(input, bank)
    : source === "uki"
      ? fromUki(input, bank)
      : fromDirectBoot(input, bank));
  const values = computed.values.filter(({ pcr }) => wanted === undefined || wanted.includes(pcr));
  const isAccepted = ({ pcr, accepted }: Value) =>
    isPinnable(pcr) && (accepted === "asked" ? wanted !== undefined : accepted);
  const missing = wanted?.find((index) => !values.some(({ pcr }) => pcr === index));
  if (missing !== undefined) bad(`PCR ${missing} cannot be told from this; leave it out of --pcr`);
  await show(services, input, bank, source, { ...computed, values }, isAccepted);
  const pcrs = new Map<number, string[]>();
  for (const each of values)
    if (isAccepted(each)) pcrs.set(each.pcr, [...(pcrs.get(each.pcr) ?? []), toHex(each.value)]);
  if (pcrs.size > 0) await intoPolicy(input, services, { kind: "tpm", bank, pcrs });
  else if (input.has("save-policy") || input.has("add-to-policy"))
    bad("none of these PCRs can be pinned by a policy");
  return 0;
}

async function show(
  services: Services,
  input: Input,
  bank: HashName,
  source: string,
  computed: Computed,
  isAccepted: (value: Value) => boolean,
): Promise<void> {
  const reporter = new Reporter(services, input);
  if (reporter.json) {
    const line = {
      event: "measurement",
      kind: "tpm",
      source,
      bank,
      pcrs: computed.values.map((each) => ({
        pcr: each.pcr,
        value: toHex(each.value),
        phase: each.phase,
        accepted: isAccepted(each),
      })),
      digests: Object.fromEntries(computed.digests.map(([what, value]) => [what, toHex(value)])),
    };
    return print(services.stdout, `${jsonLine(line)}\n`);
  }
  const rows: [string, string, string][] = computed.values.map(({ pcr, value, phase }) => [
    `${pcr}`,
    toHex(value),
    phase === undefined ? pcrMeaning(pcr) : phase === "start" ? "before any boot phase" : `after ${phase}`,
  ]);
  for (const [what, value] of computed.digests) rows.push(["-", toHex(value), what]);
  await print(
    services.stdout,
    rows.map(([pcr, value, about]) => `${pcr.padStart(2)}  ${value}  ${about}\n`).join(""),
  );
  for (const remark of computed.remarks) reporter.say(`sealtty: ${remark}`);
}

async function fromEventLog(input: Input, bank: HashName): Promise<Computed> {
  const file = input.text("event-log") as string;
  const bytes = await readOwnerFile(file, "event log", LIMITS.eventLog);
  let log: EventLog;
  let registers: Map<number, Uint8Array>;
  try {
    log = parseEventLog(bytes);
    if (log.format !== "crypto-agile")
      return bad(
        `${file} ${log.format === "empty" ? "is empty" : "is no event log that can be read: SHA-1 digests only, or something else"}`,
      );
    if (log.banks.every((each) => each === "sha384") && log.events.every(({ index }) => index <= 4))
      bad(
        `${file} is a confidential-computing log (CCEL): its registers are a TD's RTMRs, not PCRs; sealtty inspect --save-policy writes those into [tdx.rtmrs]`,
      );
    if (!log.banks.includes(bank))
      bad(`${file} has no ${bank} digests, but ${log.banks.join(", ")}; say --bank`);
    registers = replayEvents(log.events, bank, (message) => digest(bank, message));
  } catch (cause) {
    if (!(cause instanceof SealttyError) || cause.code !== "peer-misbehaved") throw cause;
    return bad(`${file} is no event log that can be read: ${cause.message}`, cause);
  }
  const values = [...registers]
    .sort(([a], [b]) => a - b)
    .map(([pcr, value]) => ({ pcr, value, accepted: true }));
  return {
    values,
    digests: [],
    remarks: [
      "these are the values at the end of the log; what the running system measures later (PCR 10, the phases of PCR 11) is not in it",
      "the log is the word of the machine that it came from: take it from one that you trust",
    ],
  };
}

async function fromUki(input: Input, bank: HashName): Promise<Computed> {
  const file = input.text("uki") as string;
  const pe = parsePe(await readOwnerFile(file, "UKI", LIMITS.image), `The UKI ${file}`);
  const accepted = phasesOf(input);
  const { start, phases, stubVersion, sections } = ukiPcr11(bank, pe);
  const override = input.text("cmdline-override");
  const values: Value[] = [];
  const pcr4 = ukiPcr4(bank, pe);
  if (pcr4 !== undefined) values.push({ pcr: 4, value: pcr4, accepted: "asked" });
  const pcr9 = ukiPcr9(bank, pe, override);
  if (pcr9 !== undefined) values.push({ pcr: 9, value: pcr9, accepted: "asked" });
  values.push({ pcr: 11, value: start, phase: "start", accepted: false });
  for (const [phase, value] of phases)
    values.push({ pcr: 11, value, phase, accepted: accepted.includes(phase) });
  if (override !== undefined)
    values.push({ pcr: 12, value: commandLineOverride(bank, commandLine(override)), accepted: true });
  return {
    values,
    digests: [["Authenticode digest of the image, as PCR 4's event has it", authenticodeDigest(bank, pe)]],
    remarks: [
      `systemd-stub ${stubVersion} measures ${sections.join(" ")}`,
      `a policy gets PCR 11 after ${accepted.join(", ")} (--phase)`,
      "PCR 4 and 9 are so only where the firmware itself starts this image and no loader, credential or add-on comes between: " +
        "a policy gets them only where --pcr names them",
      ...(override === undefined
        ? []
        : ["PCR 12 is so only where nothing else is measured into it: no credentials, no add-ons"]),
    ],
  };
}

async function fromDirectBoot(input: Input, bank: HashName): Promise<Computed> {
  const append = input.text("append");
  if (append === undefined) bad("--append is missing: the command line is measured together with the initrd");
  const initrd = await readOwnerFile(input.text("initrd") as string, "initrd", LIMITS.image);
  const kernel = input.text("kernel");
  const digests: [string, Uint8Array][] = [];
  if (kernel !== undefined) {
    const pe = parsePe(await readOwnerFile(kernel, "kernel", LIMITS.image), `The kernel ${kernel}`);
    digests.push(["Authenticode digest of the kernel file", authenticodeDigest(bank, pe)]);
  }
  return {
    values: [{ pcr: 9, value: directBootPcr9(bank, commandLine(append ?? ""), initrd), accepted: true }],
    digests,
    remarks: [
      ...(kernel === undefined
        ? []
        : [
            "QEMU changes the kernel's header before it starts it: PCR 4 shows another digest than that of the file",
          ]),
      "PCR 9 is so with OVMF and Linux 6.1; take PCR 4 from the event log or from sealtty inspect",
    ],
  };
}

function refuseForeign(input: Input, source: (typeof SOURCES)[number]): void {
  const foreign: Readonly<Record<(typeof SOURCES)[number], readonly string[]>> = {
    "event-log": ["kernel", "append", "cmdline-override", "phase"],
    uki: ["kernel", "append"],
    initrd: ["cmdline-override", "phase"],
  };
  for (const name of foreign[source]) if (input.has(name)) bad(`--${name} does not go with --${source}`);
}

function bankOf(input: Input): "sha256" | "sha384" {
  const text = input.text("bank") ?? "sha256";
  return text === "sha256" || text === "sha384" ? text : bad("--bank is neither sha256 nor sha384");
}

function wantedPcrs(input: Input): number[] | undefined {
  const text = input.text("pcr");
  if (text === undefined) return undefined;
  const indexes = text.split(",").map((part) => (/^[0-9]{1,2}$/.test(part) ? Number(part) : 24));
  if (indexes.some((index) => index > 23)) bad("--pcr is not a list of PCRs like 4,7,9");
  return indexes;
}

function phasesOf(input: Input): Phase[] {
  const text = input.text("phase") ?? "ready";
  return text
    .split(",")
    .map(
      (part) => PHASES.find((each) => each === part) ?? bad(`--phase is not a list of ${PHASES.join(", ")}`),
    );
}

function bad(problem: string, cause?: unknown): never {
  throw new SealttyError("bad-config", problem, { cause });
}
