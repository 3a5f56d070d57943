// configfs-tsm against a simulated kernel: what it does right, and every way in which it fails.

import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { SealttyError } from "../../protocol/errors.ts";
import { ConfigfsTsm, type TsmOptions, nodeTsmFiles } from "../../server/evidence/configfs-tsm.ts";
import type { Tee } from "../../server/evidence/hardware-report.ts";
import { HandClock, SteppedClock } from "./support/hand-clock.ts";
import {
  type ConfigfsBehaviour,
  SimulatedConfigfs,
  errno,
  snpReportOf,
  tdxQuoteOf,
} from "./support/simulated-configfs.ts";

const directory = "/simulated/tsm/report";
const data = new Uint8Array(64).map((_, i) => i + 1);
const NEVER = 1e9;
const table = new Uint8Array(100).fill(0xce);

const SNP: ConfigfsBehaviour = {
  driver: "sev_guest",
  report: (inblob, vmpl) => snpReportOf(inblob, vmpl),
  auxblob: table,
};
const TDX: ConfigfsBehaviour = {
  driver: "tdx_guest",
  report: (inblob) => tdxQuoteOf(inblob, 4),
  auxblob: "absent",
};

/** Waits pass at once, but for the time bound, which never comes. */
class QuietClock extends HandClock {
  override after(delay: number, callback: () => void): () => void {
    if (delay >= NEVER) return () => {};
    return super.after(delay, callback);
  }
}

function simulated(tee: Tee, behaviour: ConfigfsBehaviour, options: Partial<TsmOptions> = {}) {
  const files = new SimulatedConfigfs(directory, { ...behaviour });
  const clock = new QuietClock();
  const vmpl = tee === "sev-snp" ? { vmpl: 0 } : {};
  const all = { tee, clock, files, directory, intervalMs: 1000, timeoutMs: NEVER, ...vmpl, ...options };
  return { files, clock, tsm: new ConfigfsTsm(all) };
}

async function failure(attempt: Promise<unknown>): Promise<string> {
  const error = await attempt.then(
    () => new Error("it gave a report"),
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(SealttyError);
  expect((error as SealttyError).code).toBe("evidence-unavailable");
  return (error as SealttyError).message;
}

test("SEV-SNP: report for the VMPL asked for, certificate table, and nothing left behind", async () => {
  const { tsm, files } = simulated("sev-snp", SNP, { vmpl: 2 });
  const { report, certificateTable, manifest } = await tsm.report(data);
  expect(report).toEqual(snpReportOf(data, 2));
  expect(certificateTable).toEqual(table);
  expect(manifest).toBeUndefined();
  expect(files.entries.size).toBe(0);
  expect([files.made, files.directoriesMade]).toEqual([1, 1]);
});

test.each(["absent", new Uint8Array()] as const)(
  "without certificates of the host (%s) the table is empty",
  async (auxblob) => {
    const { tsm } = simulated("sev-snp", { ...SNP, auxblob });
    expect((await tsm.report(data)).certificateTable).toEqual(new Uint8Array());
  },
);

test.each([4, 5] as const)("TDX quote version %i: with its echo, without auxblob", async (version) => {
  const { tsm, files } = simulated("tdx", {
    ...TDX,
    report: (inblob) => tdxQuoteOf(inblob, version),
  });
  const { report, certificateTable } = await tsm.report(data);
  expect(report.length).toBe(8000);
  expect(certificateTable).toEqual(new Uint8Array());
  expect(files.entries.size).toBe(0);
});

test("a write that the kernel loses without a word is seen, and tried again in another entry", async () => {
  const { tsm, files } = simulated("sev-snp", { ...SNP, lostWrites: 2 });
  expect((await tsm.report(data)).report).toEqual(snpReportOf(data, 0));
  expect([files.made, files.directoriesMade]).toEqual([1, 3]);
  const always = simulated("sev-snp", { ...SNP, lostWrites: 100 });
  expect(await failure(always.tsm.report(data))).toContain("did not take the inblob");
  expect([always.files.made, always.files.directoriesMade, always.files.entries.size]).toEqual([0, 5, 0]);
});

test.each(["EBUSY", "EAGAIN", "EINTR"])(
  "%s while the report is read: tried again; for ever: given up",
  async (code) => {
    let failures = 2;
    const report = (inblob: Uint8Array) => {
      if (failures-- > 0) throw errno(code);
      return tdxQuoteOf(inblob, 4);
    };
    const { tsm, files } = simulated("tdx", { ...TDX, report });
    expect((await tsm.report(data)).report).toEqual(tdxQuoteOf(data, 4));
    expect(files.directoriesMade).toBe(3);
    failures = 1000;
    expect(await failure(tsm.report(data))).toContain(`read outblob of a report request (${code})`);
    expect(files.directoriesMade).toBe(8);
  },
);

test("an entry that someone takes away is made again", async () => {
  const { tsm, files } = simulated("sev-snp", SNP);
  let taken = false;
  files.behaviour.before = (operation, attribute) => {
    if (operation !== "read" || attribute !== "outblob" || taken) return;
    taken = true;
    files.entries.clear();
  };
  expect((await tsm.report(data)).report).toEqual(snpReportOf(data, 0));
  expect(files.directoriesMade).toBe(2);
});

test("another process that writes to the same entry: its report is never taken", async () => {
  const { tsm, files } = simulated("sev-snp", SNP);
  let strangers = 1;
  files.behaviour.before = (operation, attribute) => {
    if (operation !== "read" || attribute !== "outblob" || strangers-- <= 0) return;
    files.writeAsStranger([...files.entries.keys()][0] as string, new Uint8Array(64).fill(0xee));
  };
  expect((await tsm.report(data)).report).toEqual(snpReportOf(data, 0));
  expect(files.directoriesMade).toBe(2);
  strangers = 1000;
  expect(await failure(tsm.report(data))).toContain("was changed while it was answered");
});

test.each([
  ["sev-snp", SNP],
  ["tdx", TDX],
] as const)(
  "%s: a report over other data than asked for is never passed on, and not asked for again",
  async (tee, good) => {
    const { tsm, files } = simulated(tee, {
      ...good,
      report: (inblob, vmpl) => {
        const other = inblob.slice();
        other[63] = (other[63] as number) ^ 1;
        return tee === "tdx" ? tdxQuoteOf(other, 5) : snpReportOf(other, vmpl);
      },
    });
    expect(await failure(tsm.report(data))).toContain("other report data");
    expect([files.made, files.entries.size]).toEqual([1, 0]);
  },
);

test.each([
  [
    "no TEE behind the module",
    "sev-snp",
    { driver: undefined },
    "The kernel has no TEE driver to ask for reports",
  ],
  ["a TDX guest, SEV-SNP expected", "sev-snp", TDX, 'come from tdx, and not from sev-snp. Set type = "tdx"'],
  ["an SEV-SNP guest, TDX expected", "tdx", SNP, 'come from sev-snp, and not from tdx. Set type = "sev-snp"'],
  ["an Arm CCA realm", "tdx", { driver: "arm_cca_guest" }, "This is an Arm CCA realm"],
  ["a driver from the future", "tdx", { driver: "x_guest" }, "an unknown kind of hardware"],
  [
    "a VMPL below the floor",
    "sev-snp",
    { ...SNP, privlevelFloor: 2 },
    "runs at VMPL 2 and cannot report for VMPL 0. Set vmpl = 2",
  ],
  ["nonsense as the floor", "sev-snp", { ...SNP, privlevelFloor: Number.NaN }, "lowest VMPL is not a number"],
  [
    "a short report",
    "sev-snp",
    { ...SNP, report: () => new Uint8Array(1183) },
    "has 1183 bytes instead of 1184",
  ],
  ["a long report", "sev-snp", { ...SNP, report: () => new Uint8Array(1185) }, "outblob is longer than 1184"],
  [
    "a long certificate table",
    "sev-snp",
    { ...SNP, auxblob: new Uint8Array(65537), outblobMax: 1e6 },
    "auxblob is longer than 65536",
  ],
  ["a quote of 8 KiB and more", "tdx", { ...TDX, report: () => new Uint8Array(8193) }, "DICE (CWT)"],
  ["EFBIG", "tdx", { ...TDX, outblobMax: 100 }, "DICE (CWT)"],
  [
    "a CWT of less than that",
    "tdx",
    { ...TDX, report: () => Uint8Array.of(0xd8, 0x3d, 0xd2, 0x84, ...new Uint8Array(900)) },
    "DICE (CWT)",
  ],
  [
    "a bare COSE_Sign1",
    "tdx",
    { ...TDX, report: () => Uint8Array.of(0xd2, 0x84, ...new Uint8Array(900)) },
    "DICE (CWT)",
  ],
  [
    "an SGX quote",
    "tdx",
    { ...TDX, report: () => Uint8Array.of(3, 0, 2, 0, 0, 0, 0, 0, ...new Uint8Array(900)) },
    "does not know",
  ],
  [
    "a P-384 quote",
    "tdx",
    { ...TDX, report: () => Uint8Array.of(4, 0, 3, 0, 0x81, 0, 0, 0, ...new Uint8Array(900)) },
    "does not know",
  ],
  ["an empty quote", "tdx", { ...TDX, report: () => new Uint8Array() }, "is empty"],
  [
    "a quote that is cut off",
    "tdx",
    { ...TDX, report: (inblob: Uint8Array) => tdxQuoteOf(inblob, 4).slice(0, 600) },
    "cut off",
  ],
  ["a quote of five bytes", "tdx", { ...TDX, report: () => Uint8Array.of(4, 0, 2, 0, 0x81) }, "cut off"],
] as const)("%s is refused with a clear word, at the first try", async (_what, tee, behaviour, words) => {
  const { tsm, files } = simulated(tee, behaviour);
  expect(await failure(tsm.report(data))).toContain(words);
  expect(files.directoriesMade).toBeLessThan(2);
  expect(files.entries.size).toBe(0);
});

test.each([
  ["EIO", "sev-snp", "VMPCK"],
  ["ENOTTY", "sev-snp", "the kernel gave up this guest's key. The kernel may have disabled the VMPCK"],
  ["EIO", "tdx", "quote generation service"],
  ["ETIMEDOUT", "tdx", "the host did not answer"],
  ["EINVAL", "sev-snp", "the hardware refused the request"],
  ["ENOMEM", "sev-snp", "See the guest's kernel log"],
] as const)("%s from the hardware of %s is told with its cause", async (code, tee, words) => {
  const { tsm, files } = simulated(tee, {
    ...(tee === "tdx" ? TDX : SNP),
    report: () => {
      throw errno(code);
    },
  });
  const message = await failure(tsm.report(data));
  expect(message).toContain(words);
  expect(message).toContain(code);
  expect(files.entries.size).toBe(0);
});

test.each([
  ["ENOENT", "Mount configfs"],
  ["EACCES", "Run it as root"],
  ["ENOSPC", "ENOSPC"],
])("%s while the entry is made is told", async (code, words) => {
  const { tsm, files } = simulated("sev-snp", SNP);
  files.behaviour.before = () => {
    throw errno(code);
  };
  expect(await failure(tsm.report(data))).toContain(words);
});

test("reports start at least the interval apart, one at a time", async () => {
  const { tsm, clock, files } = simulated("sev-snp", SNP);
  const starts: number[] = [];
  files.behaviour.before = (operation) => {
    if (operation !== "mkdir") return;
    expect(files.entries.size).toBe(0);
    starts.push(clock.now());
  };
  await Promise.all([1, 2, 3].map(() => tsm.report(data)));
  expect(starts).toEqual([0, 1000, 2000]);
});

test("after a failure the hardware is left alone, longer each time; a success ends that", async () => {
  const clock = new SteppedClock();
  let broken = true;
  const { tsm, files } = simulated(
    "sev-snp",
    {
      ...SNP,
      report(inblob, vmpl) {
        if (broken) throw errno("EIO");
        return snpReportOf(inblob, vmpl);
      },
    },
    { clock },
  );
  const ask = async (): Promise<string> => {
    const answer = tsm.report(data).then(
      () => "a report",
      (error: unknown) => (error as Error).message,
    );
    await clock.pass(1000);
    return await answer;
  };
  expect(await ask()).toContain("EIO");
  expect(await ask()).toMatch(/left alone for [12] s after a failure: .*EIO/);
  expect(files.directoriesMade).toBe(1);
  await clock.pass(2000);
  expect(await ask()).toContain("VMPCK");
  expect(files.directoriesMade).toBe(2);
  await clock.pass(2000);
  expect(await ask()).toContain("left alone");
  broken = false;
  await clock.pass(4000);
  expect(await ask()).toBe("a report");
  expect(await ask()).toBe("a report");
});

test("a report that takes too long is given up; none is asked for before it ended, and its entry goes then", async () => {
  const clock = new SteppedClock();
  let finish: (quote: Uint8Array) => void = () => {};
  let slow = true;
  const { tsm, files } = simulated(
    "tdx",
    {
      ...TDX,
      report: (inblob) =>
        slow
          ? new Promise<Uint8Array>((resolve) => {
              finish = resolve;
            })
          : tdxQuoteOf(inblob, 4),
    },
    { clock, timeoutMs: 75_000 },
  );
  const first = failure(tsm.report(data));
  await clock.pass(74_000);
  expect(files.entries.size).toBe(1);
  await clock.pass(2000);
  expect(await first).toContain("gave no report in 75 s");
  await clock.pass(10_000);
  const second = failure(tsm.report(data));
  await clock.pass(0);
  expect(await second).toContain("An earlier request still has no answer");
  expect(files.directoriesMade).toBe(1);
  slow = false;
  finish(tdxQuoteOf(data, 4));
  await clock.pass(60_000);
  expect(files.entries.size).toBe(0);
  const third = tsm.report(data);
  await clock.pass(5000);
  expect((await third).report).toEqual(tdxQuoteOf(data, 4));
  expect(clock.waiting).toBe(0);
});

test("what killed processes left is removed at the start; entries of the living and of others stay", async () => {
  const { tsm, files } = simulated("sev-snp", SNP, { isAlive: (pid) => pid === 77 });
  const hex = "0123456789abcdef";
  const names = [
    `sealtty-76-${hex}`,
    `sealtty-77-${hex}`,
    `sealtty-${process.pid}-${hex}`,
    "go-tpm",
    `sealtty-76-${hex}x`,
  ];
  for (const name of names) await files.makeDirectory(join(directory, name));
  await tsm.cleanUp();
  expect(await files.list(directory)).toEqual([names[1], names[3], names[4]]);
  await simulated("sev-snp", SNP, { directory: "/nowhere" }).tsm.cleanUp();
});

test("an SVSM's service: its attributes in the kernel's order, each counted, and its manifest", async () => {
  const service = {
    provider: "svsm",
    guid: "c476f1eb-0123-45a5-9641-b4e7dde5bfe3",
    manifestVersion: 0,
  } as const;
  const written: string[] = [];
  const { tsm, files } = simulated("sev-snp", { ...SNP, report: () => new Uint8Array(1184) }, { service });
  files.behaviour.before = (operation, attribute) => {
    if (operation === "write") written.push(attribute);
  };
  const { report, manifest } = await tsm.report(data);
  expect(report.length).toBe(1184);
  expect(Buffer.from(manifest ?? []).toString()).toBe("manifest");
  expect(written).toEqual([
    "privlevel",
    "service_provider",
    "service_guid",
    "service_manifest_version",
    "inblob",
  ]);
});

test("report data of another length than 64 bytes are a mistake of ours", () => {
  expect(() => simulated("sev-snp", SNP).tsm.report(new Uint8Array(63))).toThrow("64 bytes");
});

test("the file operations themselves, in a plain directory", async () => {
  const base = mkdtempSync(join(tmpdir(), "sealtty-tsm-"));
  try {
    const entry = join(base, "entry");
    await nodeTsmFiles.makeDirectory(entry);
    await expect(nodeTsmFiles.makeDirectory(entry)).rejects.toMatchObject({ code: "EEXIST" });
    writeFileSync(join(entry, "inblob"), "");
    await nodeTsmFiles.write(join(entry, "inblob"), data);
    expect(new Uint8Array(await nodeTsmFiles.read(join(entry, "inblob"), 64))).toEqual(data);
    expect((await nodeTsmFiles.read(join(entry, "inblob"), 10)).length).toBe(11);
    // configfs makes attributes, nobody else does.
    await expect(nodeTsmFiles.write(join(entry, "other"), data)).rejects.toMatchObject({ code: "ENOENT" });
    await expect(nodeTsmFiles.read(join(entry, "other"), 10)).rejects.toMatchObject({ code: "ENOENT" });
    expect(await nodeTsmFiles.list(base)).toEqual(["entry"]);
    mkdirSync(join(base, "empty"));
    await nodeTsmFiles.removeDirectory(join(base, "empty"));
    expect(existsSync(join(base, "empty"))).toBe(false);
  } finally {
    rmSync(base, { recursive: true, force: true });
  }
});
