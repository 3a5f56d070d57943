// Event logs: the samples by name, TPM's and TDX's, and made logs that lie.

import { createHash } from "node:crypto";
import { sha384 } from "@noble/hashes/sha2.js";
import { expect, test } from "vitest";
import { parseEventLog, replayEvents } from "../../../protocol/attestation/tpm/event-log-format.ts";
import { reportCcEventLog, reportEventLog } from "../../../protocol/attestation/tpm/event-log.ts";
import { textOfEvent } from "../../../protocol/attestation/tpm/event-text.ts";
import { concat, utf8 } from "../../../protocol/bytes.ts";
import {
  hasEvidence,
  le,
  makeEventLog,
  onlySealttyErrors,
  sample,
  sampleJson,
  samples,
  sha256,
} from "./support.ts";

const hash = (bank: string) => (message: Uint8Array) =>
  new Uint8Array(createHash(bank).update(message).digest());

const CASES: Record<string, { readonly banks: readonly string[]; readonly events: number }> = {
  "tpm-arch-linux": { banks: ["sha1", "sha256"], events: 24 },
  "tpm-ubuntu2404-sevsnp": { banks: ["sha1", "sha256", "sha384"], events: 116 },
  "ccel-trustee-ovmf": { banks: ["sha384"], events: 20 },
};
const LEGACY = "tpm-debian10-sha1-only-legacy";

test.runIf(hasEvidence)("every event log sample has a test", () => {
  expect(samples("eventlog").sort()).toEqual([...Object.keys(CASES), LEGACY].sort());
});

test.runIf(hasEvidence).each(Object.entries(CASES))("event log %s parses and replays", (name, expected) => {
  expect(sampleJson(`eventlog/${name}/expected.json`).expected).toBe("parse-ok");
  const log = parseEventLog(sample(`eventlog/${name}/eventlog.bin`));
  if (log.format !== "crypto-agile") throw new Error(`parsed as ${log.format}`);
  expect([...log.banks].sort()).toEqual(expected.banks);
  expect(log.events).toHaveLength(expected.events);
  for (const bank of log.banks) expect(replayEvents(log.events, bank, hash(bank)).size).toBeGreaterThan(2);
});

test.runIf(hasEvidence)(`event log ${LEGACY}: recognised, not mis-parsed`, () => {
  const log = sample(`eventlog/${LEGACY}/eventlog.bin`);
  expect(parseEventLog(log)).toEqual({ format: "legacy-sha1" });
  const report = reportEventLog(log, [], "sha256", sha256);
  expect(report.problem).toBe("the event log has SHA-1 digests only");
  expect(report.events).toEqual([]);
});

test.runIf(hasEvidence)("a person can read what the samples' events say", () => {
  const lines = (path: string) =>
    reportEventLog(sample(path), [], "sha256", sha256).events.map((line) => `${line.register}: ${line.text}`);
  const arch = lines("eventlog/tpm-arch-linux/eventlog.bin");
  expect(arch).toContain("PCR 4: Acpi/Pci(23.0)/Sata(1)/HD(1)/EFI/SYSTEMD/SYSTEMD-BOOTX64.EFI");
  expect(arch).toContain("PCR 1: Boot0000: Linux Boot Manager");
  const ubuntu = lines("eventlog/tpm-ubuntu2404-sevsnp/eventlog.bin");
  expect(ubuntu).toContain("PCR 0: GCE Virtual Firmware v2");
  expect(ubuntu).toContain("PCR 7: SecureBoot = 0");
  expect(ubuntu).toContain("PCR 9: Linux kernel command line: LOADED_IMAGE::LoadOptions");
  expect(ubuntu.some((line) => line.startsWith("PCR 8: kernel_cmdline: /vmlinuz-6.8.0-1010-gcp root="))).toBe(
    true,
  );
});

test.runIf(hasEvidence)(
  "an event log cut anywhere is malformed or ends between two events, and never throws anything else",
  () => {
    const log = sample("eventlog/tpm-arch-linux/eventlog.bin");
    let whole = 0;
    for (let length = 1; length < log.length; length++) {
      if (onlySealttyErrors(() => parseEventLog(log.subarray(0, length)))) whole++;
    }
    const parsed = parseEventLog(log);
    const events = parsed.format === "crypto-agile" ? parsed.events.length : 0;
    // Cuts between events, and the few where what is left over looks like padding.
    expect(whole).toBeGreaterThanOrEqual(events);
    expect(whole).toBeLessThan(4 * events);
  },
);

const ZERO_RTMRS = Array.from({ length: 4 }, () => new Uint8Array(48));

/** RTMR 0 to 3 of a TD quote, version 4. */
function rtmrsOf(quote: Uint8Array): Uint8Array[] {
  return [0, 1, 2, 3].map((i) => quote.slice(48 + 328 + 48 * i, 48 + 328 + 48 * (i + 1)));
}

test.runIf(hasEvidence).each([
  ["v4-uptodate-gcp-cos113-with-ccel", 43, "Acpi/Pci(4.0)/NVMe(1)/HD(12)/EFI/BOOT/BOOTX64.EFI"],
  ["v4-ccel-live-collateral-expired", 20, "Linux kernel command line: LOADED_IMAGE::LoadOptions"],
] as const)("CC event log of %s replays to the quoted RTMRs", (name, events, text) => {
  const log = sample(`tdx/${name}/ccel.bin`);
  const rtmrs = rtmrsOf(sample(`tdx/${name}/quote.bin`));
  const report = reportCcEventLog(log, rtmrs, sha384);
  expect(report).toMatchObject({ problem: undefined, reproduced: [0, 1, 2], differing: [], uncovered: [] });
  expect(report.events).toHaveLength(events);
  expect(report.events.every((event) => event.verified || event.type === "EV_NO_ACTION")).toBe(true);
  expect(report.events.map((event) => event.text)).toContain(text);
  expect(new Set(report.events.map((event) => event.register))).toEqual(
    new Set(["RTMR 0", "RTMR 1", "RTMR 2"]),
  );
  // The registers of another guest.
  const other = rtmrs.map((rtmr) => rtmr.map((byte) => byte ^ 1));
  const lie = reportCcEventLog(log, other, sha384);
  expect(lie.problem).toBe("the event log does not reproduce any quoted RTMR");
  expect(lie.events.some((event) => event.verified || event.textProven)).toBe(false);
});

test("a CC event log counts its registers from MRTD, which no event is verified for", () => {
  const log = makeEventLog(
    [
      { index: 0, type: 0x80000008, data: utf8("not extended") },
      { index: 1, type: 0x05, data: utf8("one") },
      { index: 4, type: 0x05, data: utf8("four") },
    ],
    { bank: "sha384" },
  );
  const extended = (text: string) => sha384(concat(new Uint8Array(48), sha384(utf8(text))));
  const zero = new Uint8Array(48);
  const report = reportCcEventLog(log, [extended("one"), extended("one"), zero, extended("four")], sha384);
  expect(report).toMatchObject({ problem: undefined, reproduced: [0, 3], differing: [], uncovered: [1] });
  expect(
    report.events.map(({ register, verified, textProven }) => ({ register, verified, textProven })),
  ).toEqual([
    { register: "MRTD", verified: false, textProven: false },
    { register: "RTMR 0", verified: true, textProven: true },
    { register: "RTMR 3", verified: true, textProven: true },
  ]);
});

test("a CC event log that names a register beyond RTMR 3 is malformed", () => {
  const log = makeEventLog([{ index: 5, type: 0x05, data: utf8("five") }], { bank: "sha384" });
  const report = reportCcEventLog(log, ZERO_RTMRS, sha384);
  expect(report.problem).toBe("the event log is malformed");
  expect(report.events).toEqual([]);
});

test("a TPM's log is no CC event log: it has no SHA-384 digests", () => {
  const log = makeEventLog([{ index: 1, type: 0x05, data: utf8("one") }]);
  expect(reportCcEventLog(log, ZERO_RTMRS, sha384).problem).toBe("the event log is malformed");
});

test("a log from before TPM 2.0 is recognised by its first event", () => {
  const log = concat(le(0, 4), le(8, 4), new Uint8Array(20).fill(7), le(4, 4), utf8("v1.0"));
  expect(parseEventLog(log)).toEqual({ format: "legacy-sha1" });
  expect(reportEventLog(log, [], "sha256", sha256).problem).toBe("the event log has SHA-1 digests only");
});

test("a log of more events than four times any real one's is refused; the most of them cost little", () => {
  const events = (count: number, size = 0) =>
    Array.from({ length: count }, (_, i) => ({
      index: 1 + (i % 4),
      type: 0x05,
      data: new Uint8Array(size).fill(0x41),
    }));
  const report = (count: number, size = 0) =>
    reportCcEventLog(makeEventLog(events(count, size), { bank: "sha384" }), ZERO_RTMRS, sha384);
  expect(report(1024).problem).toBe("the event log does not reproduce any quoted RTMR");
  expect(report(1025).problem).toBe("the event log is malformed");
  const most = Math.max(...Object.values(CASES).map((each) => each.events));
  expect(4 * most).toBeLessThanOrEqual(1024);
});

test("only registers that are quoted are replayed, and what events say is hashed only for showing", () => {
  const one = { index: 1, type: 0x05, data: utf8("one") };
  const log = makeEventLog([one, { index: 2, type: 0x05, data: utf8("two") }, { ...one, index: 3 }]);
  const hashed: string[] = [];
  const counting = (message: Uint8Array) => {
    hashed.push(message.length === 64 ? "extend" : "data");
    return sha256(message);
  };
  const value = sha256(concat(new Uint8Array(32), sha256(utf8("one"))));
  const report = reportEventLog(log, [{ bank: "sha256", index: 1, value }], "sha256", counting);
  expect(report).toMatchObject({ reproduced: [1], proven: 1 });
  expect(hashed).toEqual(["extend"]);
  expect(report.events.map(({ verified, textProven }) => [verified, textProven])).toEqual([
    [true, true],
    [false, false],
    [false, false],
  ]);
  expect(hashed).toEqual(["extend", "data"]);
  expect(report.events).toBe(report.events);
});

test("text is proven only where it is what was hashed, under a reproduced PCR", () => {
  const log = makeEventLog([
    { index: 9, type: 0x0d, data: utf8("linux console=hvc0\0") },
    { index: 9, type: 0x0d, data: utf8("a lie"), digest: sha256(utf8("the truth")) },
  ]);
  const first = sha256(concat(new Uint8Array(32), sha256(utf8("linux console=hvc0\0"))));
  const value = sha256(concat(first, sha256(utf8("the truth"))));
  const report = reportEventLog(log, [{ bank: "sha256", index: 9, value }], "sha256", sha256);
  expect(report.events.map(({ text, verified, textProven }) => ({ text, verified, textProven }))).toEqual([
    { text: "linux console=hvc0", verified: true, textProven: true },
    { text: "a lie", verified: true, textProven: false },
  ]);
});

test("the startup locality begins PCR 0, and padding ends the log", () => {
  const locality = { index: 0, type: 3, data: concat(utf8("StartupLocality\0"), Uint8Array.of(3)) };
  const event = { index: 0, type: 8, data: utf8("v1") };
  const initial = new Uint8Array(32);
  initial[31] = 3;
  const value = sha256(concat(initial, sha256(event.data)));
  const quoted = [{ bank: "sha256", index: 0, value }] as const;
  for (const padding of [new Uint8Array(), new Uint8Array(50), new Uint8Array(50).fill(0xff)]) {
    const report = reportEventLog(
      makeEventLog([locality, event], { trailing: padding }),
      quoted,
      "sha256",
      sha256,
    );
    expect(report.reproduced).toEqual([0]);
    expect(report.events).toHaveLength(2);
  }
  const late = reportEventLog(makeEventLog([event, locality]), quoted, "sha256", sha256);
  expect(late.problem).toContain("malformed");
});

// --- text --------------------------------------------------------------------------------------------------------------

const utf16 = (text: string) =>
  concat(...Array.from({ length: text.length }, (_, i) => le(text.charCodeAt(i), 2)));
const node = (type: number, subtype: number, body: Uint8Array) =>
  concat(Uint8Array.of(type, subtype), le(4 + body.length, 2), body);
const image = (...nodes: Uint8Array[]) => {
  const path = concat(...nodes, node(0x7f, 0xff, new Uint8Array()));
  return concat(new Uint8Array(24), le(path.length, 8), path);
};
const variable = (name: string, value: Uint8Array) =>
  concat(new Uint8Array(16), le(name.length, 8), le(value.length, 8), utf16(name), value);

test.each([
  ["a separator", 0x04, new Uint8Array(4), "end of a phase"],
  ["an error separator", 0x04, le(1, 4), "a firmware error"],
  [
    "a tagged event",
    0x06,
    concat(le(0xf5bc582a, 4), le(8, 4), utf8("timeout\0")),
    "systemd-boot loader.conf: timeout",
  ],
  ["a tag that nobody knows", 0x06, concat(le(7, 4), le(2, 4), utf8("hi")), "hi"],
  ["a UKI section, as systemd-stub writes it", 0x0d, utf16(".linux\0"), ".linux"],
  ["a Secure Boot variable", 0x80000001, variable("SecureBoot", Uint8Array.of(1)), "SecureBoot = 1"],
  [
    "a boot option",
    0x80000002,
    variable("Boot0001", concat(new Uint8Array(6), utf16("My \u202edisk\0"))),
    "Boot0001: My \\u202edisk",
  ],
  [
    "an image on a disk",
    0x80000003,
    image(
      node(2, 1, new Uint8Array(8)),
      node(1, 1, Uint8Array.of(0, 4)),
      node(4, 4, utf16("\\EFI\\a\x1b.efi\0")),
    ),
    "Acpi/Pci(4.0)/EFI/a\\u001b.efi",
  ],
  [
    "a file of the firmware",
    0x80000004,
    image(
      node(
        4,
        6,
        Uint8Array.from({ length: 16 }, (_, i) => i),
      ),
    ),
    "FvFile(03020100-0504-0706-0809-0a0b0c0d0e0f)",
  ],
  ["an unknown node", 0x80000003, image(node(9, 9, new Uint8Array(3))), "Node(9,9)"],
  ["a node that ends too early", 0x80000003, image(node(1, 1, new Uint8Array(1))), ""],
  ["an image event that ends too early", 0x80000003, new Uint8Array(10), ""],
  ["the partition table", 0x80000006, new Uint8Array(500), "partition table"],
  ["a firmware action", 0x80000007, utf8("Exit Boot Services Invocation"), "Exit Boot Services Invocation"],
  ["a named blob", 0x8000000a, concat(Uint8Array.of(3), utf8("abc"), new Uint8Array(16)), "abc"],
] as const)("%s is told in words", (_what, type, data, text) => {
  expect(textOfEvent({ index: 0, type, digests: new Map(), data })).toBe(text);
});
