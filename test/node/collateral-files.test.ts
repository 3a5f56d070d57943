// Directories of collateral: each kind known by its content, JSON byte for byte, and everything else named and refused.

import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { execFileSync } from "node:child_process";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { readBoundedFile } from "../../node/bounded-file.ts";
import { readCollateralDirectory } from "../../node/collateral-files.ts";
import { NO_COLLATERAL } from "../../protocol/attestation/collateral.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { evidenceDirectory, hasEvidence, sample } from "../protocol/attestation/support.ts";
import { pemOf } from "../support/made-pki.ts";
import { madeSnp } from "../support/made-snp.ts";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "sealtty-collateral-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));
const put = (name: string, content: string | Uint8Array) => writeFileSync(join(directory, name), content);

const made = madeSnp();
const [crl] = made.crls as [Uint8Array];
const crlPem = `-----BEGIN X509 CRL-----\n${Buffer.from(crl)
  .toString("base64")
  .replace(/(.{64})/g, "$1\n")}\n-----END X509 CRL-----\n`;

test("every kind, in the order of the names; PEM becomes DER, JSON stays as it is", async () => {
  const tcb = ' {\r\n "tcbInfo":{ "id" :"TDX"},"signature":"00"}\n';
  const qe = '{"enclaveIdentity":{},"signature":"00"}';
  put("3.json", tcb);
  put("4.JSON", qe);
  put("1.crt", made.leaf);
  put("2-chain.pem", `# from the vendor\n${pemOf(made.intermediate)}\n${crlPem}and ${pemOf(made.ark)}`);
  put("5.crl", crl);
  put("README", "not one of them");
  put("x.pem.bak", "nor this");
  mkdirSync(join(directory, "nested"));
  const bag = await readCollateralDirectory(directory);
  expect(bag.certificates).toEqual([made.leaf, made.intermediate, made.ark]);
  expect(bag.crls).toEqual([crl, crl]);
  expect(bag.tcbInfos.map((bytes) => Buffer.from(bytes).toString())).toEqual([tcb]);
  expect(bag.qeIdentities.map((bytes) => Buffer.from(bytes).toString())).toEqual([qe]);
});

test("an empty directory is no collateral", async () => {
  expect(await readCollateralDirectory(directory)).toEqual(NO_COLLATERAL);
});

test.each<[string, string | Uint8Array, string]>([
  ["a.der", "", "is neither DER nor PEM nor JSON"],
  ["a.der", "hello", "is neither DER nor PEM nor JSON"],
  ["a.der", made.leaf.slice(0, -1), "is cut off"],
  ["a.der", Buffer.concat([made.leaf, Uint8Array.of(0)]), "bytes behind its end"],
  ["a.der", Uint8Array.of(0x30), "is cut off"],
  ["a.der", Uint8Array.of(0x30, 0x80, 0, 0), "is cut off"],
  ["a.der", Uint8Array.of(0x30, 5, 2, 1, 0, 0x30, 0), "is neither an X.509 certificate"],
  ["a.json", "{", "is not valid JSON"],
  ["a.json", '{"tcbInfo":{}}', "neither a signed tcbInfo"],
  ["a.json", '{"signature":"00"}', "neither a signed tcbInfo"],
  ["a.pem", pemOf(made.leaf).replace("MI", "M!"), "damaged PEM block"],
  ["a.pem", pemOf(made.leaf).replace(/.\n-----END/, "\n-----END"), "damaged base64"],
  ["a.pem", `${pemOf(made.leaf)}-----BEGIN CERTIFICATE-----\nMIIB`, "damaged PEM block"],
  ["a.pem", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END X509 CRL-----\n", "damaged PEM block"],
  [
    "a.pem",
    "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n",
    "something else than certificates and CRLs",
  ],
  ["a.pem", crlPem.replaceAll("X509 CRL", "CERTIFICATE"), "something else than its label says"],
  ["a.json", new Uint8Array(300_000).fill(0x20), "file too large"],
  ["a.json", `{"tcbInfo":{},"signature":"${"0".repeat(131_073)}"}`, "more than 131072 bytes in one piece"],
])("%s is refused by its name (%#)", async (name, content, words) => {
  put(name, content);
  const error = await readCollateralDirectory(directory).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(SealttyError);
  expect((error as SealttyError).code).toBe("bad-config");
  expect((error as SealttyError).message).toContain(join(directory, name));
  expect((error as SealttyError).message).toContain(words);
});

test("too many pieces, FIFOs, and directories that are none", async () => {
  // An owner's directory may be of many machines; what goes with evidence has tighter limits of its own.
  for (let i = 0; i < 512; i++) put(`${i}.der`, made.leaf);
  expect((await readCollateralDirectory(directory)).certificates).toHaveLength(512);
  put("0.der", new TextEncoder().encode(pemOf(made.leaf, made.ark)));
  await expect(readCollateralDirectory(directory)).rejects.toThrow("more than 512 pieces");
  put("512.der", made.leaf);
  await expect(readCollateralDirectory(directory)).rejects.toThrow("more than 512 files");
  await expect(readCollateralDirectory(join(directory, "none"))).rejects.toThrow("does not exist");
  await expect(readCollateralDirectory(join(directory, "0.der"))).rejects.toThrow("is not a directory");
  const fifo = join(directory, "fifo");
  mkdirSync(fifo);
  execFileSync("mkfifo", [join(fifo, "a.der")]);
  await expect(readCollateralDirectory(fifo)).rejects.toThrow("not a regular file");
});

test("the pieces of a directory have a bound together", async () => {
  const body = `{"tcbInfo":{},"signature":"${"0".repeat(131_000)}"}`;
  for (let i = 0; i < 64; i++) put(`${i}.json`, body);
  expect((await readCollateralDirectory(directory)).tcbInfos).toHaveLength(64);
  put("64.json", body);
  await expect(readCollateralDirectory(directory)).rejects.toThrow("more than 8 MiB of collateral");
});

test("a file that is something else is told to go, or to have another ending", async () => {
  for (const [name, content] of [
    ["package.json", '{"name":"x"}'],
    ["notes.json", "{ not json"],
    ["notes.pem", "hello"],
  ] as const) {
    put(name, content);
    const ending = /remove it, or give it another ending than \.der, .*\.json/;
    await expect(readCollateralDirectory(directory)).rejects.toThrow(ending);
    rmSync(join(directory, name));
  }
});

test("readBoundedFile() takes what has no size, and stops at its bound", async () => {
  expect((await readBoundedFile("/proc/self/status", 65536)).length).toBeGreaterThan(100);
  await expect(readBoundedFile("/proc/self/status", 10)).rejects.toThrow("too large");
  put("exact", new Uint8Array(200_000).fill(1));
  expect((await readBoundedFile(join(directory, "exact"), 200_000)).every((byte) => byte === 1)).toBe(true);
  await expect(readBoundedFile(join(directory, "exact"), 199_999)).rejects.toThrow("too large");
  symlinkSync("/dev/zero", join(directory, "zero"));
  await expect(readBoundedFile(join(directory, "zero"), 10)).rejects.toThrow("not a regular file");
});

test.skipIf(!hasEvidence)("real files of both vendors", async () => {
  const intel = join(evidenceDirectory, "tdx/v4-uptodate-dstack");
  for (const name of readdirSync(intel)) {
    if (name !== "expected.json") copyFileSync(join(intel, name), join(directory, name));
  }
  for (const name of ["genoa-ark", "genoa-ask", "turin-asvk"])
    put(`${name}.der`, sample(`snp-roots/${name}.der`));
  const bag = await readCollateralDirectory(directory);
  const counts = Object.entries(bag).map(([kind, pieces]) => [
    kind,
    (pieces as readonly Uint8Array[]).length,
  ]);
  expect(Object.fromEntries(counts)).toEqual({ certificates: 9, crls: 2, tcbInfos: 1, qeIdentities: 1 });
  expect(bag.tcbInfos[0]).toEqual(sample("tdx/v4-uptodate-dstack/tcb_info.json"));
});
