// `sealtty measure` from the outside: options and files in, values and policies out.

import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { launchDigest } from "../../cli/measure/launch-digest.ts";
import { parseOvmf } from "../../cli/measure/ovmf.ts";
import { parsePe } from "../../cli/measure/pe.ts";
import { commentsOf } from "../../cli/measure/policy-file.ts";
import { ukiPcr11 } from "../../cli/measure/uki.ts";
import { run } from "../../cli/program.ts";
import { parsePolicy, type Policy } from "../../protocol/attestation/policy.ts";
import { toHex } from "../../protocol/bytes.ts";
import { AMD_SEV_HASH_TABLE, AMD_SEV_SECTIONS, PLAIN_SECTIONS, makeOvmf } from "../support/ovmf-image.ts";
import { makeEventLog } from "../protocol/attestation/support.ts";
import { makePe, makeUki } from "../support/pe-image.ts";
import { fakeCli } from "./fake-cli.ts";

const image = makeOvmf({
  sections: AMD_SEV_SECTIONS,
  hashTable: AMD_SEV_HASH_TABLE,
  fill: (at) => at & 0xff,
});
const kernel = makePe({ sections: [{ name: ".text", content: new TextEncoder().encode("kernel") }] });
const uki = makeUki({ ".linux": kernel, ".cmdline": "quiet", ".initrd": "initrd" });
const DOCUMENT = "ab".repeat(32);
const AK = `000b${"cd".repeat(32)}`;

let directory: string;
const at = (name: string) => path.join(directory, name);
beforeAll(() => {
  directory = mkdtempSync(path.join(tmpdir(), "sealtty-measure-"));
  writeFileSync(at("OVMF.fd"), image);
  writeFileSync(at("vmlinuz"), kernel);
  writeFileSync(at("initrd"), "initrd");
  writeFileSync(at("uki.efi"), uki);
  writeFileSync(at("events"), madeLog());
  writeFileSync(
    at("ccel"),
    makeEventLog([{ index: 2, type: 0x0d, data: Buffer.from("x") }], { bank: "sha384" }),
  );
});
afterAll(() => rmSync(directory, { recursive: true }));

/** Crypto-agile log with sha256 only: PCR 4 and 7 with one event each, 10 and 16 as well. */
function madeLog(): Buffer {
  const le = (value: number, size: number) => {
    const bytes = Buffer.alloc(size);
    bytes.writeUIntLE(value, 0, size);
    return bytes;
  };
  const header = Buffer.concat([
    Buffer.from("Spec ID Event03\0"),
    le(0, 4),
    Buffer.from([0, 2, 0, 2]),
    le(1, 4),
    le(0x0b, 2),
    le(32, 2),
    Buffer.from([0]),
  ]);
  const events = [4, 7, 10, 16].map((pcr) =>
    Buffer.concat([le(pcr, 4), le(0x0d, 4), le(1, 4), le(0x0b, 2), Buffer.alloc(32, pcr), le(0, 4)]),
  );
  return Buffer.concat([le(0, 4), le(3, 4), Buffer.alloc(20), le(header.length, 4), header, ...events]);
}

async function measure(...args: string[]) {
  const cli = fakeCli();
  const status = await run(["measure", ...args], cli.services);
  return { status, out: cli.out(), errors: cli.errors() };
}
const SNP = () => ["snp", "--ovmf", at("OVMF.fd"), "--vcpus", "2", "--vcpu-type", "EPYC-Genoa"];
const policyAt = (name: string): Policy => parsePolicy(readFileSync(at(name), "utf8"));
const write = (name: string, text: string) => {
  writeFileSync(at(name), text);
  return at(name);
};

describe("snp", () => {
  const expected = (changes: object) =>
    toHex(
      launchDigest({
        firmware: parseOvmf(image),
        vmm: "qemu",
        vcpus: 2,
        signature: 0xa10f10,
        features: 1n,
        kernel: undefined,
        ...changes,
      }),
    );
  const direct = () => ({ kernel, initrd: new TextEncoder().encode("initrd"), commandLine: "quiet" });
  test.each<[string, () => string[], () => object]>([
    ["no kernel", () => [], () => ({})],
    [
      "kernel",
      () => ["--kernel", at("vmlinuz"), "--initrd", at("initrd"), "--append", "quiet"],
      () => ({ kernel: direct() }),
    ],
    [
      "kernel alone",
      () => ["--kernel", at("vmlinuz")],
      () => ({ kernel: { kernel, initrd: new Uint8Array(0), commandLine: "" } }),
    ],
    ["older hosts", () => ["--vmm", "qemu-legacy"], () => ({ vmm: "qemu-legacy" })],
    ["features", () => ["--guest-features", "0x21"], () => ({ features: 0x21n })],
  ])("prints the digest: %s", async (_, args, changes) => {
    const { status, out } = await measure(...SNP(), ...args());
    expect(out).toBe(`${expected(changes())}\n`);
    expect(status).toBe(0);
  });
  test("a signature instead of a type, and clouds without either", async () => {
    const signature = await measure("snp", "--ovmf", at("OVMF.fd"), "--vcpus", "2", "--vcpu-sig", "0xA10F10");
    expect(signature.out).toBe(`${expected({})}\n`);
    const ec2 = await measure("snp", "--ovmf", at("OVMF.fd"), "--vcpus", "2", "--vmm", "ec2");
    expect(ec2.out).toBe(`${expected({ vmm: "ec2" })}\n`);
  });
  test("--json", async () => {
    const { out } = await measure(...SNP(), "--json");
    expect(JSON.parse(out)).toEqual({
      event: "measurement",
      kind: "sev-snp",
      measurement: expected({}),
      inputs: { vmm: "qemu", vcpus: 2, signature: "0xa10f10", features: "0x1", kernel: false },
    });
  });
  test.each<[string, () => string[], RegExp]>([
    ["nothing", () => ["snp"], /--vcpus is missing/],
    ["no firmware", () => ["snp", "--vcpus", "1", "--vcpu-type", "EPYC"], /--ovmf is missing/],
    [
      "no such file",
      () => ["snp", "--ovmf", at("none"), "--vcpus", "1", "--vcpu-type", "EPYC"],
      /there is no such file/,
    ],
    [
      "a directory",
      () => ["snp", "--ovmf", directory, "--vcpus", "1", "--vcpu-type", "EPYC"],
      /it is a directory/,
    ],
    [
      "not firmware",
      () => ["snp", "--ovmf", at("initrd"), "--vcpus", "1", "--vcpu-type", "EPYC"],
      /not whole pages/,
    ],
    ["no type", () => ["snp", "--ovmf", at("OVMF.fd"), "--vcpus", "1"], /--vcpu-type is missing/],
    ["type and signature", () => [...SNP(), "--vcpu-sig", "1"], /give one/],
    [
      "an unknown type",
      () => ["snp", "--ovmf", at("OVMF.fd"), "--vcpus", "1", "--vcpu-type", "Skylake"],
      /not one of EPYC/,
    ],
    [
      "a wide signature",
      () => ["snp", "--ovmf", at("OVMF.fd"), "--vcpus", "1", "--vcpu-sig", "123456789"],
      /32-bit/,
    ],
    [
      "no vCPUs",
      () => ["snp", "--ovmf", at("OVMF.fd"), "--vcpus", "0", "--vcpu-type", "EPYC"],
      /from 1 to 4096/,
    ],
    [
      "many vCPUs",
      () => ["snp", "--ovmf", at("OVMF.fd"), "--vcpus", "4097", "--vcpu-type", "EPYC"],
      /from 1 to 4096/,
    ],
    [
      "vCPUs in words",
      () => ["snp", "--ovmf", at("OVMF.fd"), "--vcpus", "two", "--vcpu-type", "EPYC"],
      /from 1 to 4096/,
    ],
    ["an unknown VMM", () => [...SNP(), "--vmm", "xen"], /none of qemu/],
    ["a type with EC2", () => [...SNP(), "--vmm", "ec2"], /does not depend on the processor/],
    ["features without SNP", () => [...SNP(), "--guest-features", "0x20"], /bit 0/],
    ["features in words", () => [...SNP(), "--guest-features", "all"], /64-bit/],
    ["an initrd without a kernel", () => [...SNP(), "--initrd", at("initrd")], /goes with --kernel/],
    ["an option of tpm", () => [...SNP(), "--uki", at("uki.efi")], /not for measure snp/],
    ["an unknown kind", () => ["tdx"], /no such kind/],
    ["no kind", () => [], /say snp or tpm/],
    ["two kinds", () => ["snp", "tpm"], /unexpected operand/],
    [
      "two policies",
      () => [...SNP(), "--save-policy", at("a"), "--add-to-policy", at("a")],
      /exclude each other/,
    ],
    ["a policy for nobody", () => [...SNP(), "--save-policy", at("never.toml")], /which machine/],
    [
      "everybody and somebody",
      () => [...SNP(), "--save-policy", at("never.toml"), "--any-instance", "--instance", DOCUMENT],
      /every machine/,
    ],
    ["a machine without a policy", () => [...SNP(), "--instance", DOCUMENT], /goes with --save-policy/],
    [
      "a short digest",
      () => [...SNP(), "--save-policy", at("never.toml"), "--instance", "abcd"],
      /64 hex digits/,
    ],
    ["an AK for SNP", () => [...SNP(), "--save-policy", at("never.toml"), "--ak", AK], /not for measure snp/],
  ])("refused: %s", async (_, args, problem) => {
    const { status, out, errors } = await measure(...args());
    expect(errors).toMatch(problem);
    expect(status).toBe(2);
    expect(out).toBe("");
    expect(existsSync(at("never.toml"))).toBe(false);
  });
});

describe("snp without a kernel", () => {
  const WARNING = /warning: the kernel is NOT in this measurement/;
  test("is said on stderr, even with -q, and in JSON; with one it is not", async () => {
    for (const quiet of [[], ["-q"]]) {
      const { errors } = await measure(...SNP(), ...quiet);
      expect(errors).toMatch(WARNING);
      expect(errors).toMatch(/give --kernel, --initrd and --append/);
    }
    const json = await measure(...SNP(), "--json");
    expect(JSON.parse(json.errors)).toMatchObject({
      event: "warning",
      warning: expect.stringMatching(/kernel is NOT/),
    });
    expect((await measure(...SNP(), "--kernel", at("vmlinuz"))).errors).not.toMatch(/warning/);
  });
  test("firmware that cannot measure one is said to be so", async () => {
    writeFileSync(at("plain.fd"), makeOvmf({ sections: PLAIN_SECTIONS, fill: (i) => i & 0xff }));
    const args = ["snp", "--ovmf", at("plain.fd"), "--vcpus", "1", "--vcpu-type", "EPYC"];
    const { status, errors } = await measure(...args);
    expect(status).toBe(0);
    expect(errors).toMatch(WARNING);
    expect(errors).toMatch(/this firmware measures none/);
    expect((await measure(...args, "--kernel", at("vmlinuz"))).status).toBe(2);
  });
  test("a policy keeps saying of which measurement", async () => {
    const file = at("no-kernel.toml");
    const remark = (measurement: string) => `Careful: no kernel is in ${measurement.slice(0, 16)}…`;
    const first = (await measure(...SNP(), "--save-policy", file, "--any-instance")).out.trim();
    const remarks = () =>
      commentsOf(readFileSync(file, "utf8")).filter((words) => words.startsWith("Careful: no kernel"));
    expect(remarks()).toEqual([expect.stringContaining(remark(first))]);
    // One that has a kernel adds none, and takes none away; our own remark is no comment of the owner's.
    expect((await measure(...SNP(), "--kernel", at("vmlinuz"), "--add-to-policy", file)).status).toBe(0);
    expect(remarks()).toEqual([expect.stringContaining(remark(first))]);
    const third = (await measure(...SNP(), "--vmm", "qemu-legacy", "--add-to-policy", file)).out.trim();
    expect(remarks()).toEqual([first, third].map((each) => expect.stringContaining(remark(each))));
    expect(policyAt("no-kernel.toml").snp?.measurements).toHaveLength(3);
    await measure(...SNP(), "--kernel", at("vmlinuz"), "--save-policy", at("kernel.toml"), "--any-instance");
    expect(readFileSync(at("kernel.toml"), "utf8")).not.toContain("no kernel");
  });
});

describe("tpm", () => {
  const { start, phases } = ukiPcr11("sha256", parsePe(uki, "uki"));
  test("a UKI: every phase, and the image's digest", async () => {
    const { status, out, errors } = await measure("tpm", "--uki", at("uki.efi"));
    expect(status).toBe(0);
    const lines = out.split("\n");
    expect(lines).toContain(`11  ${toHex(start)}  before any boot phase`);
    for (const [phase, value] of phases) expect(lines).toContain(`11  ${toHex(value)}  after ${phase}`);
    expect(out).toMatch(/^ 4 {2}[0-9a-f]{64} {2}boot loader/m);
    expect(out).toMatch(/^ 9 {2}[0-9a-f]{64}/m);
    expect(out).toMatch(/^ - {2}[0-9a-f]{64} {2}Authenticode/m);
    expect(errors).toMatch(/systemd-stub 252\.39-1~deb12u2 measures \.linux \.cmdline \.initrd/);
  });
  test("--json names what a policy would get", async () => {
    const { out } = await measure("tpm", "--uki", at("uki.efi"), "--json", "--phase", "enter-initrd,ready");
    const { pcrs, bank } = JSON.parse(out) as {
      bank: string;
      pcrs: { pcr: number; phase?: string; accepted: boolean }[];
    };
    expect(bank).toBe("sha256");
    expect(pcrs.filter(({ accepted }) => accepted)).toMatchObject([
      { pcr: 11, phase: "enter-initrd" },
      { pcr: 11, phase: "ready" },
    ]);
  });
  test("an event log: every PCR that it reaches", async () => {
    const { status, out } = await measure("tpm", "--event-log", at("events"));
    expect(status).toBe(0);
    expect(out.split("\n").map((line) => line.slice(0, 2))).toEqual([" 4", " 7", "10", "16", ""]);
    const one = await measure("tpm", "--event-log", at("events"), "--pcr", "7");
    expect(one.out).toMatch(/^ 7 {2}[0-9a-f]{64} {2}Secure Boot/);
    expect(one.out.split("\n")).toHaveLength(2);
  });
  test("direct boot", async () => {
    const { out, errors } = await measure(
      "tpm",
      "--initrd",
      at("initrd"),
      "--append",
      "quiet",
      "--kernel",
      at("vmlinuz"),
    );
    expect(out).toMatch(/^ 9 {2}[0-9a-f]{64}/);
    expect(out).toMatch(/Authenticode digest of the kernel file/);
    expect(errors).toMatch(/PCR 4 shows another digest/);
  });
  test.each<[string, () => string[], RegExp]>([
    ["nothing", () => ["tpm"], /give one of/],
    ["two sources", () => ["tpm", "--uki", at("uki.efi"), "--event-log", at("events")], /give one of/],
    [
      "a kernel with a log",
      () => ["tpm", "--event-log", at("events"), "--kernel", at("vmlinuz")],
      /does not go with --event-log/,
    ],
    ["no command line", () => ["tpm", "--initrd", at("initrd")], /--append is missing/],
    ["not a log", () => ["tpm", "--event-log", at("vmlinuz")], /no event log that can be read/],
    ["a CC event log", () => ["tpm", "--event-log", at("ccel")], /confidential-computing log \(CCEL\)/],
    [
      "a CC event log in its own bank",
      () => ["tpm", "--event-log", at("ccel"), "--bank", "sha384"],
      /confidential-computing log \(CCEL\)/,
    ],
    [
      "a document alone, before anything is read",
      () => ["tpm", "--uki", at("absent"), "--save-policy", at("never.toml"), "--instance", DOCUMENT],
      /only beside --ak/,
    ],
    [
      "a TPM for nobody",
      () => ["tpm", "--uki", at("uki.efi"), "--save-policy", at("never.toml")],
      /which machine: --ak HEX/,
    ],
    ["another bank", () => ["tpm", "--event-log", at("events"), "--bank", "sha384"], /no sha384 digests/],
    ["an unknown bank", () => ["tpm", "--uki", at("uki.efi"), "--bank", "sha1"], /neither sha256 nor sha384/],
    [
      "an unknown phase",
      () => ["tpm", "--uki", at("uki.efi"), "--phase", "final"],
      /not a list of enter-initrd/,
    ],
    ["not a UKI", () => ["tpm", "--uki", at("vmlinuz")], /no UKI/],
    [
      "a PCR that is not known",
      () => ["tpm", "--uki", at("uki.efi"), "--pcr", "11,7"],
      /PCR 7 cannot be told/,
    ],
    ["a PCR that is none", () => ["tpm", "--uki", at("uki.efi"), "--pcr", "24"], /not a list of PCRs/],
    ["an option of snp", () => ["tpm", "--uki", at("uki.efi"), "--vcpus", "1"], /not for measure tpm/],
    [
      "only what cannot be pinned",
      () => [
        "tpm",
        "--event-log",
        at("events"),
        "--pcr",
        "16",
        "--save-policy",
        at("never.toml"),
        "--any-instance",
      ],
      /can be pinned/,
    ],
  ])("refused: %s", async (_, args, problem) => {
    const { status, errors } = await measure(...args());
    expect(errors).toMatch(problem);
    expect(status).toBe(2);
    expect(existsSync(at("never.toml"))).toBe(false);
  });
});

describe("policies", () => {
  test("a new one for SNP accepts the digest and the document, nothing else", async () => {
    const { status, out } = await measure(...SNP(), "--save-policy", at("db1.toml"), "--instance", DOCUMENT);
    expect(status).toBe(0);
    const policy = policyAt("db1.toml");
    expect(policy).toMatchObject({
      name: "db1",
      minimumAssurance: "hardware",
      anyInstance: false,
      tpm: undefined,
      tdx: undefined,
    });
    expect(policy.snp?.measurements).toEqual([out.trim()]);
    expect(policy.instance.documents).toEqual([DOCUMENT]);
  });
  test("a new one for a TPM: only PCR 11 when ready, and what --pcr names", async () => {
    await measure("tpm", "--uki", at("uki.efi"), "--save-policy", at("uki.toml"), "--ak", AK);
    const ready = toHex(ukiPcr11("sha256", parsePe(uki, "uki")).phases.get("ready") as Uint8Array);
    expect(policyAt("uki.toml")).toMatchObject({
      minimumAssurance: "host-vouched",
      tpm: { akNames: [AK], bank: "sha256" },
    });
    expect([...(policyAt("uki.toml").tpm?.pcrs ?? [])]).toEqual([[11, [ready]]]);
    await measure(
      "tpm",
      "--uki",
      at("uki.efi"),
      "--save-policy",
      at("more.toml"),
      "--any-instance",
      "--pcr",
      "4,9,11",
    );
    expect([...(policyAt("more.toml").tpm?.pcrs.keys() ?? [])]).toEqual([4, 9, 11]);
    expect(policyAt("more.toml").anyInstance).toBe(true);
  });
  test("from an event log: neither PCR 10 nor those that anybody may reset", async () => {
    await measure("tpm", "--event-log", at("events"), "--save-policy", at("log.toml"), "--any-instance");
    expect([...(policyAt("log.toml").tpm?.pcrs.keys() ?? [])]).toEqual([4, 7]);
  });
  test("a file that is there stays, unless --force", async () => {
    const file = write("there.toml", "mine");
    const refused = await measure(...SNP(), "--save-policy", file, "--any-instance");
    expect(refused.status).toBe(2);
    expect(refused.errors).toMatch(/exists already/);
    expect(readFileSync(file, "utf8")).toBe("mine");
    expect((await measure(...SNP(), "--save-policy", file, "--any-instance", "--force")).status).toBe(0);
    expect(policyAt("there.toml").snp?.measurements).toHaveLength(1);
  });
  test("adding keeps everything that was said, and says where it went", async () => {
    await measure(...SNP(), "--save-policy", at("grow.toml"), "--instance", DOCUMENT);
    chmodSync(at("grow.toml"), 0o600);
    const before = policyAt("grow.toml");
    const added = await measure(...SNP(), "--vmm", "qemu-legacy", "--add-to-policy", at("grow.toml"));
    expect(added.errors).toMatch(/added to snp\.measurement of/);
    const after = policyAt("grow.toml");
    expect(after.snp?.measurements).toEqual([...(before.snp?.measurements ?? []), added.out.trim()]);
    expect({ ...after, snp: undefined }).toEqual({ ...before, snp: undefined });
    expect({ ...after.snp, measurements: [] }).toEqual({ ...before.snp, measurements: [] });
    expect(statSync(at("grow.toml")).mode & 0o777).toBe(0o600);
    const text = readFileSync(at("grow.toml"), "utf8");
    const again = await measure(
      ...SNP(),
      "--json",
      "--vmm",
      "qemu-legacy",
      "--add-to-policy",
      at("grow.toml"),
    );
    expect(JSON.parse(again.out.trim().split("\n")[1] ?? "")).toMatchObject({
      event: "policy-changed",
      changed: false,
    });
    expect(readFileSync(at("grow.toml"), "utf8")).toBe(text);
  });
  test("PCRs are joined to those that are pinned; a [tpm] policy of the other bank is left alone", async () => {
    const pin = "11".repeat(32);
    const file = write(
      "pins.toml",
      `version = 1\nminimumAssurance = "host-vouched"\n[tpm]\nak = ["${AK}"]\n[tpm.pcrs]\n11 = ["${pin}"]\n7 = ["${pin}"]\n`,
    );
    expect((await measure("tpm", "--uki", at("uki.efi"), "--add-to-policy", file)).status).toBe(0);
    const { pcrs } = policyAt("pins.toml").tpm ?? { pcrs: new Map() };
    expect([...pcrs.keys()]).toEqual([7, 11]);
    expect(pcrs.get(11)).toHaveLength(2);
    expect(pcrs.get(11)?.[0]).toBe(pin);
    const refused = await measure("tpm", "--uki", at("uki.efi"), "--bank", "sha384", "--add-to-policy", file);
    expect(refused.status).toBe(2);
    expect(refused.errors).toMatch(/say --bank sha256/);
  });
  test("where [azure] judges a vTPM and no [tpm] does, PCRs go there", async () => {
    const file = write(
      "azure.toml",
      `version = 1\nminimumAssurance = "paravisor"\n[snp]\nidKey = ["${"22".repeat(48)}"]\n[azure]\nvmId = ["01234567-89AB-CDEF-0123-456789ABCDEF"]\n[azure.pcrs]\n7 = ["${"11".repeat(32)}"]\n`,
    );
    const { status, errors } = await measure("tpm", "--uki", at("uki.efi"), "--add-to-policy", file);
    expect(errors).toMatch(/added to azure\.pcrs/);
    expect(status).toBe(0);
    expect([...(policyAt("azure.toml").azure?.pcrs.keys() ?? [])]).toEqual([7, 11]);
    expect(policyAt("azure.toml").tpm).toBeUndefined();
  });
  test("a launch digest goes nowhere beside [azure], and into no policy without [snp]", async () => {
    const azure = write(
      "azure-snp.toml",
      `version = 1\nminimumAssurance = "paravisor"\nanyInstance = true\n[snp]\nmeasurement = ["${"22".repeat(48)}"]\n[azure]\n[azure.pcrs]\n7 = ["${"11".repeat(32)}"]\n`,
    );
    const tpm = write(
      "only-tpm.toml",
      `version = 1\nminimumAssurance = "host-vouched"\n[tpm]\nak = ["${AK}"]\n[tpm.pcrs]\n7 = ["${"11".repeat(32)}"]\n`,
    );
    for (const [file, problem] of [
      [azure, /beside it snp\.measurement is the paravisor's/],
      [tpm, /only-tpm\.toml accepts no SEV-SNP evidence yet/],
    ] as const) {
      const before = readFileSync(file, "utf8");
      const { status, errors } = await measure(...SNP(), "--add-to-policy", file);
      expect(errors).toMatch(problem);
      expect(status).toBe(2);
      expect(readFileSync(file, "utf8")).toBe(before);
    }
  });
  test("comments of the owner's are not lost without --force", async () => {
    await measure(...SNP(), "--save-policy", at("notes.toml"), "--any-instance");
    const text = `${readFileSync(at("notes.toml"), "utf8")}# the June firmware\n`;
    const file = write("notes.toml", text);
    const args = [...SNP(), "--vmm", "qemu-legacy", "--add-to-policy", file];
    const refused = await measure(...args);
    expect(refused.status).toBe(2);
    expect(refused.errors).toMatch(/a comment of yours that would be lost, first "the June firmware"/);
    expect(readFileSync(file, "utf8")).toBe(text);
    expect((await measure(...args, "--force")).status).toBe(0);
    expect(policyAt("notes.toml").snp?.measurements).toHaveLength(2);
  });
  test("a policy that cannot be read, or would not be whole, stays as it is", async () => {
    const broken = write("broken.toml", "version = 2\n");
    expect((await measure(...SNP(), "--add-to-policy", broken)).status).toBe(2);
    // A TPM's word is less than this owner asks for.
    await measure(...SNP(), "--save-policy", at("strict.toml"), "--any-instance");
    const text = readFileSync(at("strict.toml"), "utf8");
    const refused = await measure("tpm", "--uki", at("uki.efi"), "--add-to-policy", at("strict.toml"));
    expect(refused.status).toBe(2);
    expect(refused.errors).toMatch(/host-vouched/);
    expect(readFileSync(at("strict.toml"), "utf8")).toBe(text);
    expect((await measure(...SNP(), "--add-to-policy", at("missing.toml"))).errors).toMatch(/no such file/);
  });
  test("comments are told from strings", () => {
    const toml = `a = "# no" # yes\n# whole line\nb = '# no'\nc = """\n# no\n"""\nd = "\\"# no" #\te\n#\n`;
    expect(commentsOf(toml)).toEqual(["yes", "whole line", "e"]);
  });
});
