// Azure's confidential VMs: a real software TPM that holds a made paravisor report and the attestation key at Azure's
// handle, and a metadata service on this machine; end to end with the appraisal under made roots.

import http from "node:http";
import type { AddressInfo } from "node:net";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { nodeClock } from "../../node/clock.ts";
import { describeUnderNoPolicy } from "../../protocol/attestation/appraisal.ts";
import { commitmentOf } from "../../protocol/attestation/commitment.ts";
import { decodeAux } from "../../protocol/attestation/aux.ts";
import { parseHclReport } from "../../protocol/attestation/azure/hcl.ts";
import { NO_COLLATERAL, decodeCollateral } from "../../protocol/attestation/collateral.ts";
import { parsePcrValues } from "../../protocol/attestation/tpm/pcr.ts";
import { concat, lv16, u16, u32, utf8 } from "../../protocol/bytes.ts";
import { binderOf } from "../../protocol/attestation/binder.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { type AzureOptions, openAzureEvidence } from "../../server/evidence/azure.ts";
import { CollateralSource } from "../../server/evidence/collateral-source.ts";
import { collectEvidence } from "../../server/evidence/collect.ts";
import { Imds } from "../../server/evidence/imds.ts";
import { TpmChannel } from "../../server/evidence/tpm-channel.ts";
import { parseReadPublic, readPublicCommand } from "../../server/evidence/tpm-commands.ts";
import { parsePublic } from "../../protocol/attestation/tpm/public.ts";
import { newContext, signatures, suite } from "../protocol/attestation/support.ts";
import { hclReport, runtimeClaims } from "../support/made-azure.ts";
import { MADE_SNP_NOW, type MadeSnp, madeSnp } from "../support/made-snp.ts";
import { madeKey, pemOf } from "../support/made-pki.ts";
import { tdxQuoteOf } from "./support/simulated-configfs.ts";
import { Swtpm, hasTpmTools } from "./support/swtpm.ts";

if (!hasTpmTools)
  test("swtpm or tpm2-tools are absent: the tests with a real TPM did not run", () => {
    expect(hasTpmTools).toBe(false);
    console.warn("Install swtpm and tpm2-tools to run the Azure collector's tests.");
  });

type Answer = (request: http.IncomingMessage, body: string, response: http.ServerResponse) => void;

/** The metadata service, on the loopback interface. */
class FakeImds {
  readonly #server = http.createServer((request, response) => {
    let body = "";
    request.on("data", (chunk: Buffer) => (body += chunk.toString()));
    request.on("end", () => {
      this.requests.push(`${request.method} ${request.url}`);
      this.answer(request, body, response);
    });
  });
  readonly requests: string[] = [];
  answer: Answer = (_, __, response) => response.writeHead(404).end();

  async start(): Promise<void> {
    await new Promise<void>((done) => this.#server.listen(0, "127.0.0.1", done));
  }
  client(timeoutMs = 5000): Imds {
    const { port } = this.#server.address() as AddressInfo;
    return new Imds({ address: { host: "127.0.0.1", port }, timeoutMs });
  }
  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((done) => this.#server.close(done));
  }
}

const imds = new FakeImds();
const directory = mkdtempSync(join(tmpdir(), "sealtty-azure-"));
beforeAll(() => imds.start());
afterAll(async () => {
  await imds.stop();
  rmSync(directory, { recursive: true, force: true });
});

const json =
  (value: unknown): Answer =>
  (_, __, response) =>
    void response.writeHead(200).end(JSON.stringify(value));

async function failure(attempt: Promise<unknown>): Promise<string> {
  const error = await attempt.then(
    () => new Error("it succeeded"),
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(SealttyError);
  return `${(error as SealttyError).code}: ${(error as SealttyError).message}`;
}

describe.runIf(hasTpmTools)("with swtpm", () => {
  const tpm = new Swtpm(directory);
  const warnings: string[] = [];
  /** swtpm's NV indexes hold 2048 bytes at most, Azure's holds 2600: the same report with less behind it. */
  const NV_SIZE = 2048;
  let snp: MadeSnp;
  let claims: Uint8Array;

  const writeReport = async (report: Uint8Array) => {
    writeFileSync(join(directory, "hcl"), report);
    await tpm.tools(["tpm2_nvwrite", "-Q", "-C", "o", "-i", "hcl", "0x01400001"]);
  };
  const reportOf = (hardware: Uint8Array, options: Parameters<typeof hclReport>[2] = {}) =>
    hclReport(hardware, claims, { ...options, padding: new Uint8Array(NV_SIZE - 1236 - claims.length) });
  const open = (options: Partial<AzureOptions> = {}) =>
    openAzureEvidence({
      suite,
      clock: nodeClock,
      transmit: tpm.transmit,
      pcrs: [0, 4, 7],
      collateral: new CollateralSource(undefined, () => {}),
      imds: undefined,
      warn: (problem) => warnings.push(problem),
      ...options,
    });

  beforeAll(async () => {
    await tpm.start();
    await tpm.tools(
      [
        ...(["tpm2_createprimary", "-Q", "-C", "e", "-G", "rsa2048:rsassa-sha256:null", "-c", "ak"] as const),
        ...["-a", "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign"],
      ],
      ["tpm2_evictcontrol", "-Q", "-C", "o", "-c", "ak", "0x81000003"],
      ["tpm2_nvdefine", "-Q", "-C", "o", "-s", String(NV_SIZE), "-a", "ownerread|ownerwrite", "0x01400001"],
    );
    await tpm.extend(4, new Uint8Array(32).fill(4));
    const channel = new TpmChannel({ transmit: tpm.transmit });
    const { key } = parsePublic(
      parseReadPublic(await channel.run(readPublicCommand(0x81000003), "find the key")),
    );
    if (key.kind !== "rsa") throw new Error("the key is not RSA");
    const modulus = Buffer.from(key.modulus).toString("base64url");
    claims = utf8(
      runtimeClaims(madeKey("rsa", "unused"), (all) => {
        for (const each of all["keys"] as { n: string }[]) each.n = modulus;
      }),
    );
    snp = madeSnp({ reportData: concat(suite.sha256(claims), new Uint8Array(32)) });
    await writeReport(reportOf(snp.report));
  });
  afterAll(() => tpm.stop());

  const certification = () =>
    json({
      vcekCert: pemOf(snp.leaf),
      tcbm: "0",
      certificateChain: pemOf(snp.intermediate, snp.ark),
      cacheControl: "1",
    });

  test("SEV-SNP: quote, report and PCRs from the TPM, certificates from the service and files; all of it verified", async () => {
    imds.answer = certification();
    imds.requests.length = 0;
    const crls = join(directory, "crls");
    mkdirSync(crls);
    for (const [i, crl] of snp.crls.entries()) writeFileSync(join(crls, `${i}.crl`), crl);
    const provider = await open({ imds: imds.client(), collateral: new CollateralSource(crls, () => {}) });
    expect(provider.type).toBe("azure-snp");
    const context = newContext();
    const makeBinder = (aux: Uint8Array) => binderOf(suite, context, "azure-snp", aux);
    const evidence = await collectEvidence(provider, { makeBinder });
    const parts = decodeAux("azure-snp", evidence.aux);
    expect(Object.keys(parts).sort()).toEqual(["collateral", "hclReport", "pcrs"]);
    expect(parsePcrValues(parts.pcrs ?? new Uint8Array()).map(({ index }) => index)).toEqual([0, 4, 7]);
    const { claims: told } = await describeUnderNoPolicy({
      evidence,
      commitment: commitmentOf(suite, context),
      suite,
      signatures,
      acceptSimulated: false,
      now: MADE_SNP_NOW,
      roots: snp.roots,
      collateral: NO_COLLATERAL,
      name: "azure",
    });
    expect(told.type).toBe("azure-snp");
    await collectEvidence(provider, { makeBinder });
    expect(imds.requests).toEqual(["GET /metadata/THIM/amd/certification"]);
    await provider.probe();
    await provider.close();
  });

  test("without imds nobody is asked; a service that does not answer is told once, and evidence goes without", async () => {
    imds.requests.length = 0;
    const silent = await open();
    const { aux } = await collectEvidence(silent, { makeBinder: () => new Uint8Array(64) });
    expect(Object.keys(decodeAux("azure-snp", aux)).sort()).toEqual(["hclReport", "pcrs"]);
    expect(imds.requests).toEqual([]);
    imds.answer = (_, __, response) => void response.writeHead(500).end();
    warnings.length = 0;
    const provider = await open({ imds: imds.client() });
    for (let i = 0; i < 2; i++) await collectEvidence(provider, { makeBinder: () => new Uint8Array(64) });
    expect(warnings).toEqual([
      expect.stringContaining("no AMD certificates: Azure's metadata service did not answer: status 500"),
    ]);
    imds.answer = certification();
    const parts = decodeAux(
      "azure-snp",
      (await collectEvidence(provider, { makeBinder: () => new Uint8Array(64) })).aux,
    );
    expect(decodeCollateral(parts.collateral ?? new Uint8Array()).certificates).toEqual([
      snp.leaf,
      snp.intermediate,
      snp.ark,
    ]);
  });

  test("TDX: the service quotes the TDREPORT, once; without imds it is said at the start", async () => {
    const tdReport = new Uint8Array(1184).fill(0x5a, 0, 1024);
    await writeReport(reportOf(tdReport, { reportType: 4 }));
    expect(await failure(open())).toContain(
      "bad-config: On Azure a TDX guest gets its quote from the metadata service",
    );
    const quote = tdxQuoteOf(new Uint8Array(64).fill(3), 4).slice(0, 5000);
    imds.requests.length = 0;
    imds.answer = (request, body, response) => {
      expect(request.headers["content-type"]).toBe("application/json");
      const { report } = JSON.parse(body) as { report: string };
      expect(new Uint8Array(Buffer.from(report, "base64url"))).toEqual(tdReport.slice(0, 1024));
      json({ quote: Buffer.from(quote).toString("base64url") })(request, body, response);
    };
    const provider = await open({ imds: imds.client() });
    expect(provider.type).toBe("azure-tdx");
    for (let i = 0; i < 2; i++) {
      const { aux } = await collectEvidence(provider, { makeBinder: () => new Uint8Array(64) });
      const parts = decodeAux("azure-tdx", aux);
      expect(Object.keys(parts).sort()).toEqual(["hardwareQuote", "hclReport", "pcrs"]);
      expect(parts.hardwareQuote).toEqual(quote);
      expect(parseHclReport(parts.hclReport ?? new Uint8Array()).type).toBe("tdx");
    }
    expect(imds.requests).toEqual(["POST /acc/tdquote"]);
    imds.answer = json({ quote: Buffer.from("no quote at all").toString("base64url") });
    expect(await failure((await open({ imds: imds.client() })).prepareAux())).toContain("does not know");
    await writeReport(reportOf(snp.report));
    expect(await failure(provider.prepareAux())).toContain("changed its kind");
  });

  test("a report of another version, and a TPM without report or key, are told", async () => {
    await writeReport(reportOf(snp.report, { version: 9 }));
    expect(await failure(open())).toContain("evidence-unavailable: Azure's HCL report has a version");
    await writeReport(reportOf(snp.report));
    await tpm.tools(["tpm2_evictcontrol", "-Q", "-C", "o", "-c", "0x81000003"]);
    expect(await failure(open())).toContain(
      "refused to find Azure's attestation key 0x81000003: TPM_RC_HANDLE",
    );
    await tpm.tools(["tpm2_nvundefine", "-Q", "-C", "o", "0x01400001"]);
    expect(await failure(open())).toContain("The TPM has no Azure report (NV index 0x1400001)");
  });
});

// --- NV indexes and services that misbehave ----------------------------------------------------------------------------

const nvPublic = (attributes: number, size: number) =>
  lv16(concat(u32(0x01400001), u16(0x0b), u32(attributes), lv16(new Uint8Array()), u16(size)));
const answer = (body: Uint8Array) => concat(u16(0x8001), u32(10 + body.length), u32(0), body);
const WRITTEN = 1 << 29;
const OWNER_READ = 1 << 17;

test.each([
  ["was never written", answer(concat(nvPublic(OWNER_READ, 2600), lv16(new Uint8Array())))],
  ["is locked against reading", answer(nvPublic(OWNER_READ | WRITTEN | (1 << 28), 2600))],
  ["may not be read by its owner", answer(nvPublic(WRITTEN, 2600))],
  ["is too long", answer(nvPublic(WRITTEN | OWNER_READ, 9000))],
  ["malformed", answer(nvPublic(WRITTEN | OWNER_READ, 2600).slice(0, 8))],
])("an NV index that %s is told", async (words, response) => {
  const channel = new TpmChannel({ transmit: async () => response });
  expect(await failure(channel.readNv(0x01400001, "Azure report", 8192))).toContain(words);
});

test("2600 bytes are read in pieces, and a piece of another length is refused", async () => {
  const content = new Uint8Array(2600).map((_, i) => i);
  let lie = 0;
  const transmit = async (command: Uint8Array) => {
    const view = new DataView(command.buffer, command.byteOffset);
    if (view.getUint32(6) === 0x169) return answer(nvPublic(WRITTEN | OWNER_READ, content.length));
    expect(view.getUint32(10)).toBe(0x40000001); // by its owner
    const [length, offset] = [view.getUint16(command.length - 4), view.getUint16(command.length - 2)];
    const data = lv16(content.subarray(offset, offset + length - lie));
    const body = concat(u32(data.length), data, new Uint8Array(5));
    return concat(u16(0x8002), u32(10 + body.length), u32(0), body);
  };
  const channel = new TpmChannel({ transmit });
  expect(new Uint8Array(await channel.readNv(0x01400001, "Azure report", 8192))).toEqual(content);
  lie = 1;
  expect(await failure(channel.readNv(0x01400001, "Azure report", 8192))).toContain(
    "another length than was asked for",
  );
});

test.each<[string, Answer, string]>([
  [
    "another status",
    (_, __, response) => void response.writeHead(302, { Location: "http://127.0.0.1/" }).end(),
    "status 302",
  ],
  ["no JSON", (_, __, response) => void response.end("<html>"), "something else than was asked for"],
  ["a list", json([]), "something else than was asked for"],
  ["no certificates", json({}), "a certificate is missing"],
  [
    "damaged certificates",
    json({ vcekCert: "-----BEGIN CERTIFICATE-----\nAAA\n-----END CERTIFICATE-----\n", certificateChain: "" }),
    "damaged base64",
  ],
  [
    "a private key",
    json({ vcekCert: "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n" }),
    "something else than certificates",
  ],
  ["too much", (_, __, response) => void response.end(Buffer.alloc(70_000, 0x20)), "too long"],
  [
    "half an answer",
    (_, __, response) =>
      void response.writeHead(200, { "Content-Length": "100" }).write("{", () => response.destroy()),
    "Azure's metadata service",
  ],
  ["nothing", () => {}, "nothing in 200 ms"],
  [
    "a byte now and then",
    (_, __, response) => {
      const timer = setInterval(() => response.write(" "), 30);
      response.once("close", () => clearInterval(timer));
    },
    "nothing in 200 ms",
  ],
])("a metadata service that gives %s is evidence-unavailable", async (_what, behaviour, words) => {
  imds.answer = behaviour;
  const message = await failure(imds.client(200).amdCertificates());
  expect(message).toContain(words);
  expect(message).toMatch(/^evidence-unavailable/);
});

test("a TD quote may come with the padding that base64 has, and with no more", async () => {
  for (const [quote, bytes] of [
    ["AAAA", 3],
    ["AAA=", 2],
    ["AA==", 1],
  ] as const) {
    imds.answer = json({ quote });
    expect(await imds.client().tdQuote(new Uint8Array(1024))).toEqual(new Uint8Array(bytes));
  }
});

test.each([
  [{}],
  [{ quote: 7 }],
  [{ quote: "" }],
  [{ quote: "=" }],
  [{ quote: "a*b" }],
  [{ quote: "AA===" }],
  [{ quote: `AA${"=".repeat(40_000)}` }],
  [{ quote: "A".repeat(44_000) }],
])("a metadata service that gives %j in place of a TD quote is evidence-unavailable", async (value) => {
  imds.answer = json(value);
  expect(await failure(imds.client().tdQuote(new Uint8Array(1024)))).toMatch(/^evidence-unavailable/);
});
