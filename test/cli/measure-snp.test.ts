// SEV-SNP launch digests: published ones that can be reproduced, a second implementation, and what is refused.

import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { cpuSignature, signatureOfType } from "../../cli/measure/cpu-types.ts";
import { firmwareDigest, type Launch, LaunchDigest, launchDigest } from "../../cli/measure/launch-digest.ts";
import { guidBytes } from "../../cli/measure/little-endian.ts";
import { parseOvmf } from "../../cli/measure/ovmf.ts";
import { hashTable } from "../../cli/measure/sev-hashes.ts";
import { RESET_EIP, VMMS, vmsaPage } from "../../cli/measure/vmsa.ts";
import { fromHex, toHex } from "../../protocol/bytes.ts";
import {
  AMD_SEV_HASH_TABLE,
  AMD_SEV_SECTIONS,
  AMD_SEV_V3_HASH_TABLE,
  AMD_SEV_V3_SECTIONS,
  type MadeOvmf,
  makeOvmf,
  PLAIN_SECTIONS,
} from "../support/ovmf-image.ts";

const EPYC = 0x00800f12;
const NOTHING = { kernel: new Uint8Array(0), initrd: new Uint8Array(0) }; // the publishers' /dev/null
const today = parseOvmf(makeOvmf({ sections: AMD_SEV_SECTIONS, hashTable: AMD_SEV_HASH_TABLE }));
const v3 = parseOvmf(makeOvmf({ sections: AMD_SEV_V3_SECTIONS, hashTable: AMD_SEV_V3_HASH_TABLE }));
const plain = parseOvmf(makeOvmf({ sections: PLAIN_SECTIONS, hashTable: 0 }));

describe("published launch digests whose firmware is published as a digest and a list of sections", () => {
  // virtee/sev-snp-measure tests/test_guest.py at 0a1396f (Apache-2.0): VMSAs without FPU state, AmdSev v3 fork.
  const given =
    "cab7e085874b3acfdbe2d96dcaa3125111f00c35c6fc9708464c2ae74bfdb048a198cb9a9ccae0b3e5e1a33f5f249819";
  const old =
    "edcf6d1c57ce868a167c990f58c8667c698269ef9e0803246419eea914186343054d557e1f17acd93b032c106bc70d25";
  // virtee/sev tests/measurement.rs at 27b4e17 (Apache-2.0): VMSAs with FPU state, upstream AmdSev.
  const upstream =
    "086e2e9149ebf45abdc3445fba5b2da8270bdbb04094d7a2c37faaa4b24af3aa16aff8c374c2a55c467a50da6d466b74";
  // virtee/sev-snp-measure-go guest/guest_test.go at 01490d4 with guest/testdata/ovmf_img_{1,2}.json: AWS firmware.
  const aws1 =
    "a58211791a556a630a4319dc9e2ea96cc0e9784dd9f20a4fadf81b26c98d163fcdcb6703884bbbb80d7b1de45b3d84d0";
  const aws2 =
    "2027a27bb9f7acfd280e4c7bd68a73973b94bf0756e5b282e004b9395f597b8d0eb4defa7d8f6549375aa4d2b146f0f3";
  const empty = { ...NOTHING, commandLine: "" };
  const console = { ...NOTHING, commandLine: "console=ttyS0 loglevel=7" };

  test.each<[string, Partial<Launch> & Pick<Launch, "firmware" | "vmm">, string, string]>([
    [
      "ovmf hash given",
      { firmware: v3, vmm: "qemu-legacy", kernel: empty },
      given,
      "db06fb267824b1ccb56edbe2a9c2ce88841bca5090dc6dac91d9cd30f3c2c0bf42daccb30d55d6625bfbf0dae5c50c6d",
    ],
    [
      "kernel, command line",
      { firmware: v3, vmm: "qemu-legacy", kernel: console },
      old,
      "f07864303ad8243132029e8110b92805c78d1135a15da75f67abb9a711d78740347f24ee76f603e650ec4adf3611cc1e",
    ],
    [
      "EC2",
      { firmware: v3, vmm: "ec2", kernel: empty },
      old,
      "760b6e51039d2d6c1fc6d38ca5c387967d158e0294883e4522c36f89bd61bfc9cdb975cd1ceedffbe1b23b1daf4e3f42",
    ],
    [
      "no kernel",
      { firmware: v3, vmm: "qemu-legacy" },
      old,
      "e5e6be5a8fa6256f0245666bb237e2d028b7928148ce78d51b8a64dc9506c377709a5b5d7ab75554593bced304fcff93",
    ],
    [
      "4 vCPUs",
      { firmware: v3, vmm: "qemu-legacy", kernel: empty, vcpus: 4 },
      old,
      "1c784beb8c49aa604b7fd57fbc73b36ec53a3f5fb48a2b895ad6cc2ea15d18ee7cc15e3e57c792766b45f944c3e81cfe",
    ],
    [
      "upstream, kernel",
      { firmware: today, vmm: "qemu", kernel: empty },
      upstream,
      "ddc5224521617a536ee7ce9dd6224d1b58a8d4fda1c741f3ac99fc4bfa04ba6e9fc98646d4a07a9079397fa3852819b5",
    ],
    [
      "upstream, features 0x21",
      { firmware: today, vmm: "qemu", kernel: empty, features: 0x21n },
      upstream,
      "329c8ce0972ae52343b64d34a434a86f245dfd74f5ed7aae15d22efc78fb9683632b9b50e4e1d7fa41179ef98a7ef198",
    ],
    [
      "upstream, command line",
      { firmware: today, vmm: "qemu", kernel: console },
      upstream,
      "6d287813eb5222d770f75005c664e34c204f385ce832cc2ce7d0d6f354454362f390ef83a92046c042e706363b4b08fa",
    ],
    [
      "upstream, command line, 0x21",
      { firmware: today, vmm: "qemu", kernel: console, features: 0x21n },
      upstream,
      "803f691094946e42068aaa3a8f9e26a5c89f36f7b73ecfb28c653360fe4b3aba7e534442e7e1e17895dfe778d0228977",
    ],
    [
      "upstream, EC2",
      { firmware: today, vmm: "ec2", kernel: empty },
      upstream,
      "7d3756157c805bf6adf617064c8552e8c1688fa1c8756f11cbf56ba5d25c9270fb69c0505c1cbe1c5c66c0e34c6ed3be",
    ],
    [
      "upstream, EC2, 0x21",
      { firmware: today, vmm: "ec2", kernel: empty, features: 0x21n },
      upstream,
      "6ae80856486b1396af8c82a40351d6ed76a20c785e9c7fa4ffa27c22d5d6313b4b3b458cd3c9968e6f89fb5d8450d7a6",
    ],
    [
      "upstream, no kernel",
      { firmware: today, vmm: "qemu" },
      upstream,
      "19358ba9a7615534a9a1e2f0dfc29384dcd4dcb7062ff9c6013b26869a5fc6ecabe033c48dd6f6db5d6d76e7c5df632d",
    ],
    [
      "upstream, no kernel, 0x21",
      { firmware: today, vmm: "qemu", features: 0x21n },
      upstream,
      "e1e1ca029dd7973ab9513295be68198472dcd4fc834bd9af9b63f6e8a1674dbf281a9278a4a2ebe0eed9f22adbcd0e2b",
    ],
    [
      "upstream, 4 vCPUs",
      { firmware: today, vmm: "qemu", kernel: empty, vcpus: 4 },
      upstream,
      "5061fffb019493a903613d56d54b94912a1a2f9e4502385f5c194616753720a92441310ba6c4933de877c36e23046ad5",
    ],
    [
      "upstream, 4 vCPUs, 0x21",
      { firmware: today, vmm: "qemu", kernel: empty, vcpus: 4, features: 0x21n },
      upstream,
      "4953b1fb416fa874980e8442b3706d345926d5f38879134e00813c5d7abcbe78eafe7b422907be0b4698e2414a631942",
    ],
    [
      "AWS image 1",
      { firmware: plain, vmm: "ec2", vcpus: 2 },
      aws1,
      "4c6e33087d08fa770259484dddbef367086a15c3e2cf10038dc97229d39c942671c2e22b300178f8de594a3f2fa59303",
    ],
    [
      "AWS image 2",
      { firmware: plain, vmm: "ec2", vcpus: 2 },
      aws2,
      "c2c84b9364fc9f0f54b04534768c860c6e0e386ad98b96e8b98eca46ac8971d05c531ba48373f054c880cfd1f4a0a84e",
    ],
  ])("%s", (_, launch, start, expected) => {
    const found = launchDigest({
      vcpus: 1,
      signature: EPYC,
      features: 1n,
      kernel: undefined,
      firmwareDigest: fromHex(start),
      ...launch,
    });
    expect(toHex(found)).toBe(expected);
  });
});

describe("google/gce-tcb-verifier sev/sev_test.go at 6d623b8 (Apache-2.0): whole launches of a firmware described in full", () => {
  const image = makeOvmf({
    size: 4096,
    metadataDistance: 4096,
    resetEip: 0xff0000ff,
    sections: [
      { address: 0xff001000, size: 0x1000, code: 1 },
      { address: 0xff003000, size: 0x1000, code: 3 },
      { address: 0xff004000, size: 0x1000, code: 2 },
    ],
    fill: (at) =>
      [0x800, 0xa00].some((start) => at >= start && at < start + 16) ? "LGTM".charCodeAt(at % 4) : 0,
  });
  test.each([
    [1, "06843de00c62bb9a12fd870bd340e1af8b0ebf516e3fe04f5c9add43b7981a1df2e825b4c712fbd87c97b129eba2e6de"],
    [4, "1a8cd8039cdcdcd1ec9800ca215ba5cbbed437697debf0b2fc1a9b873f1eb15f82dc7d5cf246dbee4df1bb9d3b6c7a16"],
  ])("%i vCPUs", (vcpus, expected) => {
    const launch = {
      firmware: parseOvmf(image),
      vmm: "gce",
      vcpus,
      signature: 0,
      features: 1n,
      kernel: undefined,
    } as const;
    expect(toHex(launchDigest(launch))).toBe(expected);
  });
  test("pages with content", () => {
    const pages = new Uint8Array(3 * 4096);
    const text = new TextEncoder().encode("LGTM".repeat(4));
    pages.set(text);
    pages.set(text, pages.length - text.length);
    const running = new LaunchDigest();
    running.addContent("normal", 0n, pages);
    expect(toHex(running.value)).toBe(
      "cba1cd767c33b30f96271837dbbae4081a945464a5af397b9b0336b5d8759ee88cc6b62c05d915c4424a9ac5747437d4",
    );
  });
  test("empty pages", () => {
    const running = new LaunchDigest();
    running.addEmpty("zero", 0x9000n, 3 * 4096);
    expect(toHex(running.value)).toBe(
      "4bfe18477ba370a50329da74b9621e721c4f29663176e08fbcf088a17c1bc45f133898b86d5082acbe202a6e9419808a",
    );
  });
});

/** The same digest from its definition, without any of our parts: text assembled from hex, one hash at a time. */
function second(launch: {
  image: Uint8Array;
  sections: readonly { address: number; size: number; code: number }[];
  hashTable: number;
  eip: number;
  vcpus: number;
  signature: number;
  features: number;
  kernel: { kernel: Uint8Array; initrd: Uint8Array; commandLine: string } | undefined;
}): string {
  const sha = (name: string, data: Uint8Array | string) => createHash(name).update(data).digest("hex");
  const le = (value: number | bigint, bytes: number) =>
    Buffer.from(
      BigInt(value)
        .toString(16)
        .padStart(2 * bytes, "0"),
      "hex",
    )
      .reverse()
      .toString("hex");
  let running = "00".repeat(48);
  const page = (type: number, address: number | bigint, content: string | undefined) => {
    const hash = content === undefined ? "00".repeat(48) : sha("sha384", Buffer.from(content, "hex"));
    running = sha(
      "sha384",
      Buffer.from(`${running}${hash}7000${le(type, 1)}0000000000${le(address, 8)}`, "hex"),
    );
  };
  const whole = Buffer.from(launch.image).toString("hex");
  for (let at = 0; at < launch.image.length; at += 4096)
    page(1, 0x1_0000_0000 - launch.image.length + at, whole.slice(2 * at, 2 * at + 8192));
  for (const { address, size, code } of launch.sections) {
    for (let at = address; at < address + size; at += 4096) {
      if (code === 2) page(5, at, undefined);
      else if (code === 3) page(6, at, undefined);
      else if (code === 16 && launch.kernel !== undefined) {
        const { kernel, initrd, commandLine } = launch.kernel;
        const table =
          "06d63894224fc94cb479a793d411fd21a800" +
          `d82dd09720bd944caa78e7714d36ab2a3200${sha("sha256", `${commandLine}\0`)}` +
          `31f7ba442f3ad74b9af141e29169781d3200${sha("sha256", initrd)}` +
          `3794e74dd2ab7f42b835d5b172d2045b3200${sha("sha256", kernel)}`;
        page(1, at, ("00".repeat(launch.hashTable % 4096) + table).padEnd(8192, "0"));
      } else page(3, at, undefined);
    }
  }
  const fields = (eip: number): [number, number | bigint, number][] => [
    ...[0x00, 0x20, 0x30, 0x40, 0x50].map((at): [number, number, number] => [at + 2, 0xffff0093, 6]),
    [
      0x10,
      BigInt(`0x${(eip & 0xffff0000) >>> 0 ? ((eip & 0xffff0000) >>> 0).toString(16) : "0"}0000ffff009bf000`),
      16,
    ],
    [0x64, 0xffff, 4],
    [0x72, 0xffff0082, 6],
    [0x84, 0xffff, 4],
    [0x92, 0xffff008b, 6],
    [0xd0, 0x1000, 8],
    [0x148, 0x40, 8],
    [0x158, 0x10, 8],
    [0x160, 0x400, 8],
    [0x168, 0xffff0ff0, 8],
    [0x170, 2, 8],
    [0x178, eip & 0xffff, 8],
    [0x268, 0x7040600070406n, 8],
    [0x310, launch.signature, 8],
    [0x3b0, launch.features, 8],
    [0x3e8, 1, 8],
    [0x408, 0x1f80, 4],
    [0x410, 0x37f, 2],
  ];
  for (let i = 0; i < launch.vcpus; i++) {
    const area = Array<string>(4096).fill("00");
    for (const [at, value, bytes] of fields(i === 0 ? 0xfffffff0 : launch.eip)) {
      const hex = le(value, bytes);
      for (let j = 0; j < bytes; j++) area[at + j] = hex.slice(2 * j, 2 * j + 2);
    }
    page(2, 0xfffffffff000, area.join(""));
  }
  return running;
}

test("launchDigest() agrees with a second implementation on random launches", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 2, max: 5 }),
      fc.integer({ min: 0, max: 255 }),
      fc.uint8Array({ maxLength: 100 }),
      fc.uint8Array({ maxLength: 100 }),
      fc.string({ unit: "grapheme", maxLength: 40 }),
      fc.integer({ min: 1, max: 5 }),
      fc.integer({ min: 0, max: 0xffffffff }),
      fc.integer({ min: 0, max: 0xffff }),
      fc.boolean(),
      fc.integer({ min: 1, max: 0xffffffff }),
      (pages, fill, kernel, initrd, commandLine, vcpus, signature, features, direct, resetEip) => {
        const made = {
          sections: AMD_SEV_SECTIONS,
          hashTable: AMD_SEV_HASH_TABLE,
          size: 4096 * pages,
          resetEip,
        };
        const image = makeOvmf({ ...made, fill: (at) => (at * 31 + fill) & 0xff });
        const start = direct ? { kernel, initrd, commandLine } : undefined;
        const found = launchDigest({
          firmware: parseOvmf(image),
          vmm: "qemu",
          vcpus,
          signature,
          features: BigInt(features),
          kernel: start,
        });
        const expected = second({ ...made, image, eip: resetEip, vcpus, signature, features, kernel: start });
        expect(toHex(found)).toBe(expected);
      },
    ),
    { numRuns: 40 },
  );
});

describe("Debian's firmware", () => {
  const read = (file: string) => {
    // Loud on purpose: the only real image that tests can get.
    if (!existsSync(file))
      throw new Error(`${file} is missing: install the Debian package ovmf (node scripts/packages.mjs)`);
    return new Uint8Array(readFileSync(file));
  };
  test("OVMF.fd has SEV metadata, and both implementations agree about it", () => {
    const image = read("/usr/share/ovmf/OVMF.fd");
    const firmware = parseOvmf(image);
    expect(firmware.resetEip).toBe(0x80b004);
    expect(firmware.hashTableAddress).toBeUndefined();
    expect(
      firmware.sections.every(({ address, size }) => address >= 0x800000 && address + size <= 0x820000),
    ).toBe(true);
    const KINDS = { "sec-mem": 1, secrets: 2, cpuid: 3, "svsm-caa": 4, "kernel-hashes": 16 };
    const sections = firmware.sections.map(({ kind, address, size }) => ({
      address,
      size,
      code: KINDS[kind],
    }));
    const launch = { vcpus: 2, signature: EPYC, kernel: undefined };
    expect(toHex(launchDigest({ ...launch, firmware, vmm: "qemu", features: 1n }))).toBe(
      second({ ...launch, image, sections, hashTable: 0, eip: 0x80b004, features: 1 }),
    );
  });
  test("OVMF_CODE_4M.fd was built without, which is said", () => {
    expect(() => parseOvmf(read("/usr/share/OVMF/OVMF_CODE_4M.fd"))).toThrow(/built without SEV-SNP/);
  });
});

test("whatever is changed about a launch changes its digest", () => {
  const image = makeOvmf({ sections: AMD_SEV_SECTIONS, hashTable: AMD_SEV_HASH_TABLE });
  const base: Launch = {
    firmware: parseOvmf(image),
    vmm: "qemu",
    vcpus: 2,
    signature: EPYC,
    features: 1n,
    kernel: { ...NOTHING, commandLine: "quiet" },
  };
  const changed = makeOvmf({
    sections: AMD_SEV_SECTIONS,
    hashTable: AMD_SEV_HASH_TABLE,
    fill: (at) => (at === 9 ? 1 : 0),
  });
  const moved = makeOvmf({ sections: AMD_SEV_SECTIONS, hashTable: AMD_SEV_HASH_TABLE + 16 });
  const launches: Launch[] = [
    base,
    { ...base, vcpus: 1 },
    { ...base, vcpus: 3 },
    { ...base, signature: EPYC + 1 },
    { ...base, features: 0x21n },
    { ...base, vmm: "qemu-legacy" },
    { ...base, vmm: "ec2" },
    { ...base, kernel: undefined },
    { ...base, vmm: "gce", kernel: undefined },
    { ...base, kernel: { ...NOTHING, commandLine: "quiet " } },
    { ...base, kernel: { ...NOTHING, kernel: Uint8Array.of(0), commandLine: "quiet" } },
    { ...base, kernel: { ...NOTHING, initrd: Uint8Array.of(0), commandLine: "quiet" } },
    { ...base, firmware: parseOvmf(changed) },
    { ...base, firmware: parseOvmf(moved) },
    { ...base, firmware: { ...base.firmware, resetEip: 0x80b008 } },
  ];
  expect(new Set(launches.map((launch) => toHex(launchDigest(launch)))).size).toBe(launches.length);
});

test("the firmware's own digest goes on to the launch digest", () => {
  const firmware = parseOvmf(makeOvmf({ sections: PLAIN_SECTIONS, hashTable: 0, fill: (at) => at & 0xff }));
  const launch = { firmware, vmm: "qemu", vcpus: 1, signature: 1, features: 1n, kernel: undefined } as const;
  expect(launchDigest({ ...launch, firmwareDigest: firmwareDigest(firmware) })).toEqual(launchDigest(launch));
});

describe("parts", () => {
  test("processor signatures", () => {
    // QEMU's builtin_x86_defs through CPUID Fn0000_0001_EAX; 0x800f12 is the one in sev-snp-measure's README.
    expect(signatureOfType("EPYC-v4")).toBe(0x800f12);
    expect(signatureOfType("EPYC-Rome")).toBe(0x830f10);
    expect(signatureOfType("epyc-milan-v2")).toBe(0xa00f11);
    expect(signatureOfType("EPYC-Genoa-v1")).toBe(0xa10f10);
    expect(signatureOfType("EPYC-Turin")).toBe(0xb00f00);
    expect(signatureOfType("EPYC-IBPB")).toBe(0x800f12);
    expect(signatureOfType("Skylake-Server")).toBeUndefined();
    expect(signatureOfType("toString")).toBeUndefined();
    expect(cpuSignature(6, 0x3a, 9)).toBe(0x000306a9);
  });
  test("the table of kernel hashes: hashes of nothing, padded to 176 bytes", () => {
    const sha256OfNothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const sha256OfNul = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d";
    expect(toHex(hashTable({ ...NOTHING, commandLine: "" }))).toBe(
      `06d63894224fc94cb479a793d411fd21a800d82dd09720bd944caa78e7714d36ab2a3200${sha256OfNul}` +
        `31f7ba442f3ad74b9af141e29169781d3200${sha256OfNothing}` +
        `3794e74dd2ab7f42b835d5b172d2045b3200${sha256OfNothing}${"00".repeat(8)}`,
    );
  });
  test("the save area of GCE's first vCPU: non-zero bytes as its publisher lists them", () => {
    const page = vmsaPage({ vmm: "gce", eip: RESET_EIP, signature: 7, features: 1n });
    const shown = [...page.entries()]
      .filter(([, byte]) => byte !== 0)
      .map(([at, byte]) => `${at.toString(16)}:${byte.toString(16)}`);
    expect(shown.join(" ")).toBe(
      "2:93 4:ff 5:ff 11:f0 12:9b 14:ff 15:ff 1a:ff 1b:ff 22:93 24:ff 25:ff 32:93 34:ff 35:ff 42:93 44:ff 45:ff " +
        "52:93 54:ff 55:ff 64:ff 65:ff 72:82 74:ff 75:ff 84:ff 85:ff 92:8b 94:ff 95:ff d1:10 148:40 158:10 161:4 " +
        "168:f0 169:f 16a:ff 16b:ff 170:2 178:f0 179:ff 268:6 269:1 26a:7 311:6 3b0:1 3e8:1",
    );
  });
  test("a save area is one page, whatever the VMM", () => {
    for (const vmm of VMMS)
      expect(vmsaPage({ vmm, eip: 0x80b004, signature: 1, features: 1n })).toHaveLength(4096);
  });
  test("GUIDs are mixed-endian", () => {
    expect(toHex(guidBytes("00112233-4455-6677-8899-aabbccddeeff"))).toBe("33221100554477668899aabbccddeeff");
  });
});

describe("images that are refused", () => {
  const good: MadeOvmf = { sections: AMD_SEV_SECTIONS, hashTable: AMD_SEV_HASH_TABLE };
  const section = (address: number, code: number, size = 4096) => ({ address, code, size });
  test.each<[string, Uint8Array, RegExp]>([
    ["empty", new Uint8Array(0), /not whole pages/],
    ["half a page", makeOvmf(good).subarray(2048), /not whole pages/],
    ["no table", new Uint8Array(8192), /no GUIDed table/],
    [
      "no metadata",
      makeOvmf({
        ...good,
        damage: (image) => image.fill(0, 8192 - 32 - 18 - 22 - 26 - 16, 8192 - 32 - 18 - 22 - 26),
      }),
      /without SEV-SNP/,
    ],
    [
      "entry of length 0",
      makeOvmf({ ...good, damage: (_, view) => view.setUint16(8192 - 32 - 18 - 18, 0, true) }),
      /impossible length/,
    ],
    [
      "entry that begins before the table",
      makeOvmf({ ...good, damage: (_, view) => view.setUint16(8192 - 32 - 18 - 18, 200, true) }),
      /impossible length/,
    ],
    [
      "table longer than the image",
      makeOvmf({ ...good, damage: (_, view) => view.setUint16(8192 - 32 - 18, 0xffff, true) }),
      /impossible length/,
    ],
    [
      "metadata outside",
      makeOvmf({
        ...good,
        damage: (_, view) => view.setUint32(8192 - 32 - 18 - 22 - 26 - 22, 0x7fffffff, true),
      }),
      /ends too early/,
    ],
    [
      "metadata at the very end",
      makeOvmf({ ...good, damage: (_, view) => view.setUint32(8192 - 32 - 18 - 22 - 26 - 22, 2, true) }),
      /ends too early/,
    ],
    [
      "wrong signature",
      makeOvmf({ ...good, metadataDistance: 8192, damage: (image) => image.fill(0x41, 0, 4) }),
      /no ASEV signature/,
    ],
    [
      "metadata of version 2",
      makeOvmf({ ...good, metadataDistance: 8192, damage: (_, view) => view.setUint32(8, 2, true) }),
      /version 2/,
    ],
    [
      "count and length differ",
      makeOvmf({ ...good, metadataDistance: 8192, damage: (_, view) => view.setUint32(12, 6, true) }),
      /impossible length/,
    ],
    [
      "four billion sections",
      makeOvmf({
        ...good,
        metadataDistance: 8192,
        damage: (_, view) => view.setUint32(12, 0xffffffff, true),
      }),
      /impossible length/,
    ],
    ["unknown kind", makeOvmf({ ...good, sections: [...AMD_SEV_SECTIONS, section(0, 5)] }), /unknown kind 5/],
    [
      "half a page of memory",
      makeOvmf({ ...good, sections: [...AMD_SEV_SECTIONS, section(0, 1, 2048)] }),
      /not whole pages/,
    ],
    [
      "no memory at all",
      makeOvmf({ ...good, sections: [...AMD_SEV_SECTIONS, section(0, 1, 0)] }),
      /not whole pages/,
    ],
    [
      "4 GiB of memory",
      makeOvmf({ ...good, sections: [...AMD_SEV_SECTIONS, section(0x900000, 1, 0xf0000000)] }),
      /not whole pages/,
    ],
    ["overlap", makeOvmf({ ...good, sections: [...AMD_SEV_SECTIONS, section(0x808000, 1)] }), /overlap/],
    [
      "two secrets pages",
      makeOvmf({ ...good, sections: [...AMD_SEV_SECTIONS, section(0, 2)] }),
      /two secrets/,
    ],
    [
      "secrets of two pages",
      makeOvmf({ ...good, sections: [section(0, 2, 8192), section(0x4000, 3)] }),
      /not one page/,
    ],
    [
      "no CPUID page",
      makeOvmf({ ...good, sections: AMD_SEV_SECTIONS.filter(({ code }) => code !== 3) }),
      /no cpuid/,
    ],
  ])("%s", (_, image, problem) => {
    expect(() => parseOvmf(image)).toThrow(expect.objectContaining({ code: "bad-config" }));
    expect(() => parseOvmf(image)).toThrow(problem);
  });
  test("a GUID twice", () => {
    const image = makeOvmf({
      ...good,
      damage: (bytes) => bytes.copyWithin(8192 - 32 - 18 - 22 - 16, 8192 - 32 - 18 - 16, 8192 - 32 - 18),
    });
    expect(() => parseOvmf(image)).toThrow(/twice|impossible length|another length/);
  });
  const launch = (made: MadeOvmf, changes: Partial<Launch>) => () =>
    launchDigest({
      firmware: parseOvmf(makeOvmf(made)),
      vmm: "qemu",
      vcpus: 1,
      signature: 1,
      features: 1n,
      kernel: undefined,
      ...changes,
    });
  const kernel = { ...NOTHING, commandLine: "" };
  test("launches that this firmware cannot do", () => {
    expect(launch({ sections: PLAIN_SECTIONS, hashTable: 0 }, { kernel })).toThrow(/measures no kernel/);
    expect(launch({ ...good, hashTable: 0 }, { kernel })).toThrow(/measures no kernel/);
    expect(launch({ ...good, hashTable: 0x80d000 }, { kernel })).toThrow(/outside the section/);
    expect(launch({ ...good, hashTable: 0x810fc0 }, { kernel })).toThrow(/across a page's end/);
    expect(launch(good, { kernel, vmm: "gce" })).toThrow(/gce starts no kernel/);
    expect(launch({ ...good, resetEip: undefined }, { vcpus: 2 })).toThrow(/--vcpus 1/);
    expect(launch({ ...good, resetEip: undefined }, {})).not.toThrow();
  });
  test("parseOvmf() on damaged images throws nothing but bad-config", () => {
    const image = makeOvmf({ ...good, metadataDistance: 4096 });
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: 4096, max: 8191 }), fc.nat(255)), { minLength: 1, maxLength: 8 }),
        (changes) => {
          const damaged = image.slice();
          for (const [at, byte] of changes) damaged[at < 4300 ? at : 7900 + (at % 292)] = byte;
          try {
            parseOvmf(damaged);
          } catch (error) {
            expect(error).toMatchObject({ code: "bad-config" });
          }
        },
      ),
    );
  });
});
