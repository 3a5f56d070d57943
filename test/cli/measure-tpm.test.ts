// PCR values computed in advance: UKIs against systemd-measure and made images, Authenticode, direct boot.

import { execFileSync } from "node:child_process";
import { createHash, generateKeyPairSync } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { directBootPcr9 } from "../../cli/measure/direct-boot.ts";
import { authenticodeDigest, parsePe } from "../../cli/measure/pe.ts";
import { commandLineOverride, PHASES, ukiPcr11, ukiPcr4, ukiPcr9 } from "../../cli/measure/uki.ts";
import { toHex } from "../../protocol/bytes.ts";
import { makePe, makeUki, PE_OFFSETS } from "../support/pe-image.ts";

const STUB = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";
const MEASURE = "/usr/lib/systemd/systemd-measure";
const seeded = (length: number, seed: number) =>
  Uint8Array.from({ length }, (_, i) => (i * 167 + seed * 31 + (i >> 8)) & 0xff);
const sha = (name: string, ...parts: (Uint8Array | string)[]) => {
  const hash = createHash(name);
  for (const part of parts) hash.update(part);
  return hash.digest();
};
const parse = (bytes: Uint8Array) => parsePe(bytes, "The image");

/** From the manual page's words alone: extend with the name and its NUL, then with the content. */
function pcr11(
  name: string,
  sections: readonly (readonly [string, Uint8Array | string])[],
  phases: readonly string[],
): string {
  let register = Buffer.alloc(name === "sha256" ? 32 : 48);
  const extend = (measured: Buffer) => {
    register = sha(name, register, measured);
  };
  for (const [section, content] of sections) {
    extend(sha(name, `${section}\0`));
    extend(sha(name, content));
  }
  for (const phase of phases) extend(sha(name, phase));
  return register.toString("hex");
}

describe("against Debian's systemd-measure, with a UKI that objcopy builds from systemd-boot-efi's stub", () => {
  let directory: string;
  const parts = {
    linux: seeded(123_457, 1),
    osrel: new TextEncoder().encode('NAME="made"\nID=made\n'),
    cmdline: new TextEncoder().encode("quiet console=ttyS0"),
    initrd: seeded(65_537, 2),
    splash: seeded(999, 3),
    dtb: seeded(44, 4),
    pcrpkey: new TextEncoder().encode("a key\n"),
  };
  beforeAll(() => {
    // Loud on purpose: without these packages nothing independent checks PCR 11.
    for (const [file, name] of [
      [STUB, "systemd-boot-efi"],
      [MEASURE, "systemd"],
      ["/usr/bin/objcopy", "binutils"],
    ] as const)
      if (!existsSync(file))
        throw new Error(`${file} is missing: install the Debian package ${name} (node scripts/packages.mjs)`);
    directory = mkdtempSync(path.join(tmpdir(), "sealtty-uki-"));
    for (const [name, content] of Object.entries(parts)) writeFileSync(path.join(directory, name), content);
  });
  afterAll(() => {
    if (directory !== undefined) rmSync(directory, { recursive: true });
  });

  function build(names: readonly (keyof typeof parts)[]): Uint8Array {
    const uki = path.join(directory, "uki.efi");
    // Addresses in the opposite order of measurement: the image's layout must not matter.
    const sections = names.flatMap((name, i) => [
      "--add-section",
      `.${name}=${path.join(directory, name)}`,
      "--change-section-vma",
      `.${name}=0x${(0x4000000 - 0x200000 * i).toString(16)}`,
    ]);
    execFileSync("objcopy", [...sections, STUB, uki]);
    return new Uint8Array(readFileSync(uki));
  }
  test.each<[string, (keyof typeof parts)[]]>([
    ["every section", ["linux", "osrel", "cmdline", "initrd", "splash", "dtb", "pcrpkey"]],
    ["kernel, initrd and command line, in another order", ["cmdline", "initrd", "linux"]],
    ["a kernel alone", ["linux"]],
  ])("%s", (_, names) => {
    const uki = parse(build(names));
    for (const bank of ["sha256", "sha384"] as const) {
      const output = execFileSync(
        MEASURE,
        ["calculate", `--bank=${bank}`, ...names.map((name) => `--${name}=${path.join(directory, name)}`)],
        { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] },
      );
      const expected = [...output.matchAll(/11:sha(?:256|384)=([0-9a-f]+)/g)].map(([, value]) => value);
      expect(expected).toHaveLength(PHASES.length);
      const { phases, sections } = ukiPcr11(bank, uki);
      expect([...phases.values()].map(toHex)).toEqual(expected);
      expect(new Set(sections)).toEqual(new Set(names.map((name) => `.${name}`)));
    }
  });
  test("Authenticode, against osslsigncode: the digest that it signs", () => {
    if (!existsSync("/usr/bin/osslsigncode"))
      throw new Error(
        "osslsigncode is missing: install the Debian package osslsigncode (node scripts/packages.mjs)",
      );
    build(["linux", "cmdline"]);
    const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
    const [key, certificate, signed] = ["key.pem", "certificate.pem", "signed.efi"].map((name) =>
      path.join(directory, name),
    ) as [string, string, string];
    writeFileSync(key, privateKey.export({ type: "pkcs8", format: "pem" }));
    execFileSync(
      "openssl",
      ["req", "-x509", "-new", "-key", key, "-out", certificate, "-subj", "/CN=made", "-days", "2"],
      { stdio: "ignore" },
    );
    for (const image of [path.join(directory, "uki.efi"), STUB]) {
      rmSync(signed, { force: true });
      execFileSync(
        "osslsigncode",
        ["sign", "-certs", certificate, "-key", key, "-h", "sha256", "-in", image, "-out", signed],
        { stdio: "ignore" },
      );
      let report = "";
      try {
        report = execFileSync("osslsigncode", ["verify", "-in", signed], {
          encoding: "utf8",
          stdio: ["ignore", "pipe", "ignore"],
        });
      } catch (error) {
        report = (error as { stdout: string }).stdout; // it does not like a self-signed certificate
      }
      const [, expected = "none"] = /Calculated message digest *: ([0-9A-F]+)/.exec(report) ?? [];
      expect(toHex(authenticodeDigest("sha256", parse(new Uint8Array(readFileSync(signed)))))).toBe(
        expected.toLowerCase(),
      );
    }
  });
});

describe("PCR 11 of made UKIs", () => {
  const linux = seeded(700, 5);
  test("stub 252 measures its seven sections, later ones .ucode, .uname and .sbat as well", () => {
    const parts = {
      ".sbat": "s",
      ".uname": "u",
      ".ucode": "c",
      ".pcrsig": "g",
      ".linux": linux,
      ".cmdline": "a",
      ".profile": "p",
      ".hwids": "h",
    };
    const early = ukiPcr11("sha256", parse(makeUki(parts)));
    expect(early.sections).toEqual([".linux", ".cmdline"]);
    expect(toHex(early.start)).toBe(
      pcr11(
        "sha256",
        [
          [".linux", linux],
          [".cmdline", "a"],
        ],
        [],
      ),
    );
    const late = ukiPcr11("sha256", parse(makeUki(parts, "257.4-1")));
    const all = [
      [".linux", linux],
      [".cmdline", "a"],
      [".ucode", "c"],
      [".uname", "u"],
      [".sbat", "s"],
      [".profile", "p"],
      [".hwids", "h"],
    ] as const;
    expect(toHex(late.start)).toBe(pcr11("sha256", all, []));
    for (const [i, phase] of PHASES.entries())
      expect(toHex(late.phases.get(phase) as Uint8Array)).toBe(pcr11("sha256", all, PHASES.slice(0, i + 1)));
    expect(late.stubVersion).toBe("257.4-1");
  });
  test("the sha384 bank, an empty section, and one that is larger in memory than in the file", () => {
    const image = makeUki({ ".osrel": "" }, undefined, [
      { name: ".linux", content: linux, virtualSize: 1000 },
    ]);
    const inMemory = new Uint8Array(1000);
    inMemory.set(linux);
    expect(toHex(ukiPcr11("sha384", parse(image)).start)).toBe(pcr11("sha384", [[".linux", inMemory]], []));
    // Padding in the file is not measured: the section is cut to its size in memory.
    const cut = makeUki({}, undefined, [{ name: ".linux", content: linux, virtualSize: 300 }]);
    expect(toHex(ukiPcr11("sha256", parse(cut)).start)).toBe(
      pcr11("sha256", [[".linux", linux.subarray(0, 300)]], []),
    );
  });
  const more = (name: string) => [{ name, content: Uint8Array.of(1) }];
  test.each<[string, Uint8Array, RegExp]>([
    ["no kernel", makeUki({ ".cmdline": "a" }), /no \.linux/],
    ["no stub's name", makePe({ sections: [{ name: ".linux", content: linux }] }), /no UKI of systemd-stub/],
    ["an unknown stub", makeUki({ ".linux": linux }, "253.1"), /not known here/],
    ["an old stub", makeUki({ ".linux": linux }, "249"), /not known here/],
    ["two kernels", makeUki({ ".linux": linux }, undefined, more(".linux")), /several \.linux/],
    [
      "several profiles",
      makeUki({ ".linux": linux, ".profile": "a" }, "257", more(".profile")),
      /several profiles/,
    ],
    ["a device tree of choice", makeUki({ ".linux": linux, ".dtbauto": "a" }, "257"), /chooses by hardware/],
  ])("refused: %s", (_, image, problem) => {
    const measure = () => ukiPcr11("sha256", parse(image));
    expect(measure).toThrow(problem);
    expect(measure).toThrow(expect.objectContaining({ code: "bad-config" }));
  });
});

describe("PCR 4, 9 and 12", () => {
  // Checked on a booted VM with these formulas: OVMF 2022.11, systemd-stub 252, Linux 6.1 (docs/measure.md).
  const kernel = makePe({ sections: [{ name: ".text", content: seeded(900, 6) }] });
  const uki = parse(makeUki({ ".linux": kernel, ".cmdline": "quiet x=1", ".initrd": "an initrd" }));
  const chain = (...events: readonly Buffer[]) =>
    events.reduce((register, event) => sha("sha256", register, event), Buffer.alloc(32));
  test("the firmware starts the UKI, and the stub of version 252 the kernel in it", () => {
    const expected = chain(
      sha("sha256", "Calling EFI Application from Boot Option"),
      sha("sha256", Buffer.alloc(4)),
      Buffer.from(authenticodeDigest("sha256", uki)),
      Buffer.from(authenticodeDigest("sha256", parse(kernel))),
    );
    // In memory the section ends where the kernel's file ends.
    expect(toHex(ukiPcr4("sha256", uki) as Uint8Array)).toBe(expected.toString("hex"));
    expect(ukiPcr4("sha256", parse(makeUki({ ".linux": kernel }, "257")))).toBeUndefined();
  });
  test("the kernel's load options and initrd", () => {
    const expected = (options: string) =>
      chain(sha("sha256", Buffer.from(`${options}\0`, "utf16le")), sha("sha256", "an initrd")).toString(
        "hex",
      );
    expect(toHex(ukiPcr9("sha256", uki, undefined) as Uint8Array)).toBe(expected("quiet x=1"));
    expect(toHex(ukiPcr9("sha256", uki, "other") as Uint8Array)).toBe(expected("other"));
    for (const odd of [" quiet", "quiet\n", "qui\tet", ""])
      expect(
        ukiPcr9("sha256", parse(makeUki({ ".linux": kernel, ".cmdline": odd, ".initrd": "i" })), undefined),
      ).toBeUndefined();
    expect(
      ukiPcr9("sha256", parse(makeUki({ ".linux": kernel, ".cmdline": "a" })), undefined),
    ).toBeUndefined();
  });
  test("QEMU's direct boot appends initrd=initrd", () => {
    const expected = chain(
      sha("sha256", Buffer.from("console=ttyS0 initrd=initrd\0", "utf16le")),
      sha("sha256", "i"),
    );
    expect(toHex(directBootPcr9("sha256", "console=ttyS0", new TextEncoder().encode("i")))).toBe(
      expected.toString("hex"),
    );
  });
  test("a command line that the loader gives", () => {
    expect(toHex(commandLineOverride("sha256", "ab"))).toBe(
      chain(sha("sha256", Buffer.from("a\0b\0\0\0", "latin1"))).toString("hex"),
    );
  });
});

describe("Authenticode of made images", () => {
  const sections = [
    { name: ".a", content: seeded(700, 1) },
    { name: ".b", content: seeded(20, 2) },
  ];
  const plain = makePe({ sections });
  const digestOf = (bytes: Uint8Array) => toHex(authenticodeDigest("sha256", parse(bytes)));
  const { optional } = PE_OFFSETS;
  test("is the hash of everything but checksum and certificate entry", () => {
    const expected = sha(
      "sha256",
      plain.subarray(0, optional + 64),
      plain.subarray(optional + 68, optional + 144),
      plain.subarray(optional + 152),
    );
    expect(digestOf(plain)).toBe(expected.toString("hex"));
  });
  test("does not depend on checksum and signatures, and does on every other byte", () => {
    const signed = makePe({ sections, certificates: seeded(64, 9), checksum: 0x1234 });
    expect(digestOf(signed)).toBe(digestOf(plain));
    expect(digestOf(makePe({ sections, trailing: Uint8Array.of(7) }))).not.toBe(digestOf(plain));
    for (const at of [0x50, optional + 80, PE_OFFSETS.sections + 36, 512 + 699, plain.length - 1]) {
      const changed = plain.slice();
      changed[at] = (changed[at] as number) ^ 1;
      expect(digestOf(changed), `byte ${at}`).not.toBe(digestOf(plain));
    }
  });
  test("takes sections by their place in the file, and what is behind them", () => {
    const image = makePe({ sections, reversed: true, trailing: seeded(13, 3) });
    const expected = sha(
      "sha256",
      image.subarray(0, optional + 64),
      image.subarray(optional + 68, optional + 144),
      image.subarray(optional + 152),
    );
    expect(digestOf(image)).toBe(expected.toString("hex"));
  });
  test.each<[string, (bytes: Uint8Array, view: DataView) => void, RegExp]>([
    ["no MZ", (bytes) => bytes.fill(0, 0, 1), /no MZ/],
    ["a PE header far away", (_, view) => view.setUint32(0x3c, 0xfffffff0, true), /ends too early/],
    ["no PE signature", (_, view) => view.setUint32(PE_OFFSETS.pe, 1, true), /no PE signature/],
    [
      "another optional header",
      (_, view) => view.setUint16(optional, 0x107, true),
      /unknown optional header/,
    ],
    ["no certificate entry", (_, view) => view.setUint32(optional + 108, 4, true), /no room/],
    [
      "directories behind the header",
      (_, view) => view.setUint32(optional + 108, 0x10000000, true),
      /no room/,
    ],
    ["65535 sections", (_, view) => view.setUint16(PE_OFFSETS.pe + 6, 0xffff, true), /too many sections/],
    [
      "headers longer than the file",
      (_, view) => view.setUint32(optional + 60, 0xffff, true),
      /impossible length/,
    ],
    [
      "headers that end in the table",
      (_, view) => view.setUint32(optional + 60, 100, true),
      /impossible length/,
    ],
    [
      "a section outside",
      (_, view) => view.setUint32(PE_OFFSETS.sections + 20, 0xfffff000, true),
      /ends too early/,
    ],
    ["certificates in the middle", (_, view) => view.setUint32(optional + 148, 8, true), /not at its end/],
  ])("refused: %s", (_, damage, problem) => {
    const image = plain.slice();
    damage(image, new DataView(image.buffer));
    expect(() => parse(image)).toThrow(problem);
  });
  test("parsePe() on damaged headers throws nothing but bad-config, and its digest never throws", () => {
    const changes = fc.array(fc.tuple(fc.nat(511), fc.nat(255)), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(changes, fc.nat(plain.length), (all, length) => {
        const image = plain.slice(0, length);
        for (const [at, byte] of all) if (at < image.length) image[at] = byte;
        let pe: ReturnType<typeof parse>;
        try {
          pe = parse(image);
        } catch (error) {
          expect(error).toMatchObject({ code: "bad-config" });
          return;
        }
        expect(authenticodeDigest("sha256", pe)).toHaveLength(32);
      }),
    );
  });
});
