// `sealtty collateral fetch` against a vendor on the loopback: what is asked, what is kept, what is not believed.

import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { vcekUrl } from "../../cli/collateral-fetch/amd.ts";
import { collateralCommand, collateralFetch } from "../../cli/commands/collateral.ts";
import { parseInput } from "../../cli/options.ts";
import { run } from "../../cli/program.ts";
import type { Services } from "../../cli/services.ts";
import { readCollateralDirectory } from "../../node/collateral-files.ts";
import { encodeAux } from "../../protocol/attestation/aux.ts";
import { NO_COLLATERAL } from "../../protocol/attestation/collateral.ts";
import { encodeEvidence } from "../../protocol/attestation/evidence.ts";
import { type TrustRoots, VENDOR_ROOTS } from "../../protocol/attestation/roots.ts";
import { checkSnp } from "../../protocol/attestation/sev-snp/verify.ts";
import { checkTdx } from "../../protocol/attestation/tdx/verify.ts";
import { toHex } from "../../protocol/bytes.ts";
import { pemOf } from "../support/made-pki.ts";
import { MADE_CHIP_ID, MADE_SNP_NOW, madeSnp } from "../support/made-snp.ts";
import { MADE_FMSPC, madeTdx } from "../support/made-tdx.ts";
import { hasEvidence, sample, signatures, suite } from "../protocol/attestation/support.ts";
import { fakeCli } from "./fake-cli.ts";

interface Reply {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | string;
}
type Route = (request: IncomingMessage, response: ServerResponse) => Reply | undefined;

let server: Server;
let base: string;
let directory: string;
let asked: string[];
let routes: Map<string, Route | Reply>;

beforeAll(async () => {
  server = createServer((request, response) => {
    const url = request.url ?? "";
    asked.push(url);
    const route = routes.get(url) ?? { status: 404 };
    const reply = typeof route === "function" ? route(request, response) : route;
    if (reply === undefined) return; // the route answers by itself, or never
    response.writeHead(reply.status ?? 200, { ...reply.headers });
    response.end(reply.body);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});
beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), "sealtty-collateral-"));
  asked = [];
  routes = new Map();
});
afterEach(() => rmSync(directory, { recursive: true }));

const file = (name: string) => path.join(directory, name);
const kept = () => path.join(directory, "kept");

interface Outcome {
  readonly out: string;
  readonly errors: string;
  readonly waits: number[];
  readonly error: { readonly code?: string; readonly message: string } | undefined;
}

/** The command with its own roots; sleeping takes no time. */
async function fetchWith(
  roots: TrustRoots,
  args: readonly string[],
  changes: Partial<Services> = {},
): Promise<Outcome> {
  const waits: number[] = [];
  const cli = fakeCli({
    suite,
    signatures,
    wallTime: () => MADE_SNP_NOW,
    clock: {
      now: () => 0,
      soon: (callback) => void setImmediate(callback),
      after(delay, callback) {
        waits.push(delay);
        setImmediate(callback);
        return () => undefined;
      },
    },
    ...changes,
  });
  const input = parseInput(collateralCommand, ["fetch", "--dir", kept(), ...args]);
  let error: Outcome["error"];
  try {
    expect(await collateralFetch(input, cli.services, roots)).toBe(0);
  } catch (thrown) {
    error = thrown as { code?: string; message: string };
  }
  return { out: cli.out(), errors: cli.errors(), waits, error };
}

const snp = madeSnp();
const TCB = "bootloader=10,tee=0,snp=27,microcode=219";
const VCEK_PATH = `/vcek/v1/Genoa/${toHex(MADE_CHIP_ID)}?blSPL=10&teeSPL=00&snpSPL=27&ucodeSPL=219`;
function serveAmd(made = snp, product = "Genoa", vcek = VCEK_PATH): void {
  routes.set(`/vcek/v1/${product}/cert_chain`, { body: pemOf(made.intermediate, made.ark) });
  routes.set(`/vcek/v1/${product}/crl`, { body: made.crls[0] as Uint8Array });
  routes.set(vcek, { body: made.leaf });
}
const AMD = () => ["--kds", base, "--snp-product", "Genoa", "--chip-id", toHex(MADE_CHIP_ID), "--tcb", TCB];
const AMD_FILES = [
  "amd-genoa-crl.der",
  `amd-genoa-vcek-${toHex(MADE_CHIP_ID.subarray(0, 8))}-0a00000000001bdb.der`,
  "amd-genoa-vcek-chain.pem",
];

const tdx = madeTdx();
const TCB_PATH = `/tdx/certification/v4/tcb?fmspc=${MADE_FMSPC}`;
const QE_PATH = "/tdx/certification/v4/qe/identity";
const crlPath = (ca: string) => `/sgx/certification/v4/pckcrl?ca=${ca}&encoding=der`;
const [, tdxCa, tdxRoot, tdxSigner] = certificatesOf(tdx);
function certificatesOf(made: typeof tdx): Uint8Array[] {
  // The quote has leaf, CA and root; the bag the TCB signer besides.
  const text = Buffer.from(made.quote).toString("latin1");
  const inQuote = [...text.matchAll(/-----BEGIN CERTIFICATE-----([^-]*)-----END/g)].map(
    ([, body = ""]) => new Uint8Array(Buffer.from(body, "base64")),
  );
  const signer = made.collateral.certificates.find(
    (der) => !inQuote.some((each) => toHex(each) === toHex(der)),
  );
  return [...inQuote, signer as Uint8Array];
}
function chainHeader(name: string, ...certificates: (Uint8Array | undefined)[]): Record<string, string> {
  return { [name]: encodeURIComponent(pemOf(...(certificates as Uint8Array[]))) };
}
function serveIntel(made = tdx): void {
  const [rootCrl, pckCrl] = sortedCrls(made);
  routes.set(TCB_PATH, {
    headers: chainHeader("TCB-Info-Issuer-Chain", tdxSigner, tdxRoot),
    body: made.collateral.tcbInfos[0] as Uint8Array,
  });
  routes.set(QE_PATH, {
    headers: chainHeader("SGX-Enclave-Identity-Issuer-Chain", tdxSigner, tdxRoot),
    body: made.collateral.qeIdentities[0] as Uint8Array,
  });
  routes.set(crlPath("platform"), {
    headers: chainHeader("SGX-PCK-CRL-Issuer-Chain", tdxCa, tdxRoot),
    body: pckCrl as Uint8Array,
  });
  routes.set("/IntelSGXRootCA.der", { body: rootCrl as Uint8Array });
}
function sortedCrls(made: typeof tdx): Uint8Array[] {
  const isRoot = (der: Uint8Array) => Buffer.from(der).includes("Intel SGX Root CA");
  return [...made.collateral.crls].sort((a, b) => Number(isRoot(b)) - Number(isRoot(a)));
}
const QUOTE = () => {
  writeFileSync(file("quote.bin"), tdx.quote);
  return ["--pcs", base, "--for", file("quote.bin")];
};

describe("AMD", () => {
  test("chain, revocation list and the chip's certificate, which then verify the report offline", async () => {
    serveAmd();
    const { error, out, errors } = await fetchWith(snp.roots, AMD());
    expect(error).toBeUndefined();
    expect(asked).toEqual(["/vcek/v1/Genoa/cert_chain", "/vcek/v1/Genoa/crl", VCEK_PATH]);
    expect(readdirSync(kept()).sort()).toEqual([...AMD_FILES].sort());
    expect(out).toMatch(/^amd-genoa-vcek-chain\.pem {2}Genoa ASK and ARK, good until 2036-01-01: new$/m);
    expect(errors).toContain(`kept in ${kept()}`);
    const facts = await checkSnp(snp.report, undefined, NO_COLLATERAL, {
      now: snp.now,
      clockSkew: 0,
      roots: snp.roots,
      signatures,
      suite,
      collateral: await readCollateralDirectory(kept()),
    });
    expect(facts).toBeDefined();
  });
  test("out of a bare report, and out of kept evidence", async () => {
    serveAmd();
    writeFileSync(file("report.bin"), snp.report);
    expect((await fetchWith(snp.roots, ["--kds", base, "--for", file("report.bin")])).error).toBeUndefined();
    expect(asked[2]).toBe(VCEK_PATH);
    const zeros = "00".repeat(32);
    const evidence = encodeEvidence({ type: "sev-snp", quote: snp.report, aux: encodeAux({}) });
    const madeFor = { handshakeHash: zeros, guestStatic: zeros, exporter: zeros, clientNonce: zeros };
    writeFileSync(
      file("evidence.json"),
      JSON.stringify({
        format: "sealtty-evidence/1",
        madeFor,
        evidence: Buffer.from(evidence).toString("base64"),
      }),
    );
    asked = [];
    const again = await fetchWith(snp.roots, ["--kds", base, "--for", file("evidence.json")]);
    expect(again.error).toBeUndefined();
    expect(again.out.match(/: unchanged$/gm)).toHaveLength(3);
    expect(asked[2]).toBe(VCEK_PATH);
  });
  test("Turin: eight bytes of chip id, fmc first", async () => {
    const turin = madeSnp({ product: "Turin", keys: "turin" });
    const chip = toHex(MADE_CHIP_ID.subarray(0, 8));
    serveAmd(turin, "Turin", `/vcek/v1/Turin/${chip}?fmcSPL=01&blSPL=10&teeSPL=00&snpSPL=27&ucodeSPL=219`);
    const args = ["--kds", `${base}/`, "--snp-product", "turin", "--chip-id", chip, "--tcb", `fmc=1,${TCB}`];
    expect((await fetchWith(turin.roots, args)).error).toBeUndefined();
    expect(readdirSync(kept())).toContain(`amd-turin-vcek-${chip}-010a001b000000db.der`);
  });
  test("a VLEK's report, or a masked chip id: what there is, and who has the rest", async () => {
    const vlek = madeSnp({ kind: "vlek" });
    routes.set("/vlek/v1/Genoa/cert_chain", { body: pemOf(vlek.intermediate, vlek.ark) });
    routes.set("/vlek/v1/Genoa/crl", { body: vlek.crls[0] as Uint8Array });
    writeFileSync(file("report.bin"), vlek.report);
    const cloud = await fetchWith(vlek.roots, ["--kds", base, "--for", file("report.bin")]);
    expect(cloud.error).toBeUndefined();
    expect(cloud.errors).toMatch(/only the cloud has/);
    expect(asked).toHaveLength(2);
    serveAmd();
    writeFileSync(file("report.bin"), madeSnp({ chipId: new Uint8Array(64) }).report);
    const masked = await fetchWith(snp.roots, ["--kds", base, "--for", file("report.bin")]);
    expect(masked.errors).toMatch(/masks its chip id/);
    expect(masked.error).toBeUndefined();
  });
  test("-v names every URL before it is asked; --json says what is kept until when", async () => {
    serveAmd();
    const verbose = await fetchWith(snp.roots, [...AMD(), "-v"]);
    for (const url of asked) expect(verbose.errors).toContain(`GET ${base}${url}`);
    const { out } = await fetchWith(snp.roots, [...AMD(), "--json"]);
    const events = out
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(events).toHaveLength(3);
    const both = await fetchWith(snp.roots, [...AMD(), "--json", "-v"]);
    const urls = both.errors
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>)
      .filter(({ event }) => event === "request")
      .map(({ url }) => url);
    expect(urls).toEqual(asked.slice(-3).map((url) => `${base}${url}`));
    expect(events[1]).toEqual({
      event: "collateral",
      file: "amd-genoa-crl.der",
      what: "Genoa revocation list",
      validFrom: "2026-06-01T00:00:00.000Z",
      validUntil: "2027-06-01T00:00:00.000Z",
      kept: "unchanged",
    });
  });
  test("vcekUrl() writes what AMD's documentation shows", () => {
    const tcb = { fmc: undefined, bootloader: 2, tee: 0, snp: 5, microcode: 68 };
    expect(vcekUrl("https://kdsintf.amd.com", "Milan", new Uint8Array(64).fill(0xa1), tcb)).toBe(
      `https://kdsintf.amd.com/vcek/v1/Milan/${"a1".repeat(64)}?blSPL=02&teeSPL=00&snpSPL=05&ucodeSPL=68`,
    );
  });
});

describe("Intel", () => {
  test("everything that a quote needs, byte for byte, which then verifies it offline", async () => {
    serveIntel();
    const { error, out } = await fetchWith(tdx.roots, QUOTE());
    expect(error).toBeUndefined();
    expect(asked).toEqual([TCB_PATH, QE_PATH, crlPath("platform"), "/IntelSGXRootCA.der"]);
    expect(readFileSync(path.join(kept(), `intel-tdx-tcb-info-${MADE_FMSPC}.json`))).toEqual(
      Buffer.from(tdx.collateral.tcbInfos[0] as Uint8Array),
    );
    expect(out).toMatch(/revocation list of the root, good until/);
    const facts = await checkTdx(tdx.quote, NO_COLLATERAL, {
      now: tdx.now,
      clockSkew: 0,
      roots: tdx.roots,
      signatures,
      suite,
      collateral: await readCollateralDirectory(kept()),
    });
    expect(facts).toBeDefined();
  });
  test("by FMSPC alone: the lists of both CAs", async () => {
    serveIntel();
    const processor = madeTdx({ ca: "Processor" });
    const [, processorCa] = certificatesOf(processor);
    routes.set(crlPath("processor"), {
      headers: chainHeader("SGX-PCK-CRL-Issuer-Chain", processorCa, tdxRoot),
      body: sortedCrls(processor)[1] as Uint8Array,
    });
    const { error } = await fetchWith(tdx.roots, ["--pcs", base, "--fmspc", MADE_FMSPC.toUpperCase()]);
    expect(error).toBeUndefined();
    expect(readdirSync(kept())).toEqual(
      expect.arrayContaining(["intel-pck-crl-platform.der", "intel-pck-crl-processor.der"]),
    );
  });
  test("a newer TCB evaluation is not replaced by an older one; an older is", async () => {
    serveIntel(madeTdx({ evaluation: 20 }));
    await fetchWith(tdx.roots, QUOTE());
    const name = path.join(kept(), `intel-tdx-tcb-info-${MADE_FMSPC}.json`);
    const newer = readFileSync(name);
    serveIntel(madeTdx({ evaluation: 18 }));
    const older = await fetchWith(tdx.roots, QUOTE());
    expect(older.out).toMatch(/tcb-info.*json .*kept yours, which is newer$/m);
    expect(readFileSync(name)).toEqual(newer);
    serveIntel(madeTdx({ evaluation: 21 }));
    expect((await fetchWith(tdx.roots, QUOTE())).out).toMatch(/tcb-info.*json .*: renewed$/m);
    expect(readFileSync(name)).not.toEqual(newer);
  });
});

describe("what is not believed leaves everything as it was", () => {
  const forgedAmd = madeSnp({ keys: "another" });
  const headless: Reply = { body: tdx.collateral.tcbInfos[0] as Uint8Array };
  const reserialised = () =>
    JSON.stringify(JSON.parse(Buffer.from(tdx.collateral.tcbInfos[0] as Uint8Array).toString()), null, 1);
  const pckChain = () => chainHeader("TCB-Info-Issuer-Chain", tdxCa, tdxRoot);
  const good = () => chainHeader("TCB-Info-Issuer-Chain", tdxSigner, tdxRoot);
  test.each<[string, "amd" | "intel", () => void, RegExp]>([
    ["another root", "amd", () => serveAmd(forgedAmd), /another root/],
    [
      "an ASK that the root did not sign",
      "amd",
      () => routes.set("/vcek/v1/Genoa/cert_chain", { body: pemOf(forgedAmd.intermediate, snp.ark) }),
      /root did not sign/,
    ],
    [
      "one certificate",
      "amd",
      () => routes.set("/vcek/v1/Genoa/cert_chain", { body: pemOf(snp.ark) }),
      /chain of two/,
    ],
    [
      "a login page",
      "amd",
      () => routes.set("/vcek/v1/Genoa/cert_chain", { body: "<html>" }),
      /what is not it/,
    ],
    [
      "another's revocation list",
      "amd",
      () => routes.set("/vcek/v1/Genoa/crl", { body: forgedAmd.crls[0] as Uint8Array }),
      /not signed by its issuer/,
    ],
    [
      "an empty revocation list",
      "amd",
      () => routes.set("/vcek/v1/Genoa/crl", { body: "" }),
      /what is not it/,
    ],
    [
      "an old revocation list",
      "amd",
      () =>
        routes.set("/vcek/v1/Genoa/crl", {
          body: madeSnp({ crl: { thisUpdate: Date.UTC(2025, 0, 1), nextUpdate: Date.UTC(2026, 0, 1) } })
            .crls[0] as Uint8Array,
        }),
      /out of date/,
    ],
    [
      "another's VCEK",
      "amd",
      () => routes.set(VCEK_PATH, { body: forgedAmd.leaf }),
      /not signed by its issuer/,
    ],
    [
      "a VCEK of another TCB",
      "amd",
      () => routes.set(VCEK_PATH, { body: madeSnp({ tcb: { snp: 26 } }).leaf }),
      /another TCB/,
    ],
    [
      "a VCEK of another chip",
      "amd",
      () =>
        routes.set(VCEK_PATH, { body: madeSnp({ extensions: { "4": new Uint8Array(64).fill(9) } }).leaf }),
      /another chip/,
    ],
    [
      "an expired VCEK",
      "amd",
      () => routes.set(VCEK_PATH, { body: madeSnp({ leaf: { notAfter: Date.UTC(2026, 1, 1) } }).leaf }),
      /not valid today/,
    ],
    ["TCB info without a chain", "intel", () => routes.set(TCB_PATH, headless), /no header/],
    [
      "a damaged header",
      "intel",
      () => routes.set(TCB_PATH, { ...headless, headers: { "TCB-Info-Issuer-Chain": "%E0%A4%A" } }),
      /damaged header/,
    ],
    [
      "TCB info signed by a PCK CA",
      "intel",
      () => routes.set(TCB_PATH, { ...headless, headers: pckChain() }),
      /not issued by Intel SGX TCB Signing/,
    ],
    [
      "TCB info written anew",
      "intel",
      () => routes.set(TCB_PATH, { headers: good(), body: reserialised() }),
      /not signed by Intel/,
    ],
    [
      "TCB info of another platform",
      "intel",
      () =>
        routes.set(TCB_PATH, {
          headers: good(),
          body: madeTdx({ tcbInfo: (info) => ({ ...info, fmspc: "00906ED50000" }) }).collateral
            .tcbInfos[0] as Uint8Array,
        }),
      /another FMSPC/,
    ],
    [
      "old TCB info",
      "intel",
      () =>
        routes.set(TCB_PATH, {
          headers: good(),
          body: madeTdx({ jsonDays: [-60, -30] }).collateral.tcbInfos[0] as Uint8Array,
        }),
      /out of date/,
    ],
    [
      "the root's list as the CA's",
      "intel",
      () =>
        routes.set(crlPath("platform"), {
          headers: chainHeader("SGX-PCK-CRL-Issuer-Chain", tdxCa, tdxRoot),
          body: sortedCrls(tdx)[0] as Uint8Array,
        }),
      /not signed by its issuer/,
    ],
    [
      "the CA's list as the root's",
      "intel",
      () => routes.set("/IntelSGXRootCA.der", { body: sortedCrls(tdx)[1] as Uint8Array }),
      /not signed by its issuer/,
    ],
    [
      "no end of an answer",
      "amd",
      () => routes.set("/vcek/v1/Genoa/crl", { body: new Uint8Array(200 * 1024) }),
      /more than 128 KiB/,
    ],
    [
      "a redirect elsewhere",
      "amd",
      () =>
        routes.set("/vcek/v1/Genoa/crl", { status: 302, headers: { location: "/vcek/v1/Genoa/cert_chain" } }),
      /redirects elsewhere/,
    ],
    ["nothing by that name", "amd", () => routes.delete(VCEK_PATH), /answers 404: .*chip id/],
  ])("%s", async (_, vendor, change, problem) => {
    const [roots, serve, args] =
      vendor === "amd"
        ? ([snp.roots, serveAmd, AMD()] as const)
        : ([tdx.roots, serveIntel, QUOTE()] as const);
    serve();
    await fetchWith(roots, args);
    const before = new Map(readdirSync(kept()).map((name) => [name, readFileSync(path.join(kept(), name))]));
    change();
    const { error } = await fetchWith(roots, args);
    expect(error?.message).toMatch(problem);
    expect(error?.message).toContain(base);
    expect(["peer-misbehaved", "transport-lost"]).toContain(error?.code);
    expect(new Map(readdirSync(kept()).map((name) => [name, readFileSync(path.join(kept(), name))]))).toEqual(
      before,
    );
  });
  test("with the vendors' own roots nothing made here is kept", async () => {
    serveAmd();
    expect((await fetchWith(VENDOR_ROOTS, AMD())).error?.message).toMatch(/another root/);
    serveIntel();
    expect((await fetchWith(VENDOR_ROOTS, QUOTE())).error?.message).toMatch(/another root/);
    expect(readdirSync(kept())).toEqual([]);
  });
  test("a damaged file of ours is replaced, and a CRL that is newer than the server's is not", async () => {
    serveAmd();
    mkdirSync(kept());
    const [crl, vcek] = AMD_FILES as [string, string];
    writeFileSync(path.join(kept(), vcek), "damaged");
    const newer = madeSnp({ crl: { thisUpdate: Date.UTC(2026, 5, 10), nextUpdate: Date.UTC(2027, 0, 1) } })
      .crls[0] as Uint8Array;
    writeFileSync(path.join(kept(), crl), newer);
    const { out, error } = await fetchWith(snp.roots, AMD());
    expect(error).toBeUndefined();
    expect(out).toMatch(/VCEK.*: renewed$/m);
    expect(out).toMatch(/revocation list.*: kept yours/);
    expect(readFileSync(path.join(kept(), crl))).toEqual(Buffer.from(newer));
  });
});

describe("a server in trouble", () => {
  test("429 is waited for, as long as it says, and told", async () => {
    serveAmd();
    let busy = 2;
    routes.set(VCEK_PATH, () =>
      busy-- > 0 ? { status: 429, headers: { "retry-after": "7" } } : { body: snp.leaf },
    );
    const { error, waits, errors } = await fetchWith(snp.roots, AMD());
    expect(error).toBeUndefined();
    expect(waits).toEqual([7000, 7000]);
    expect(errors).toMatch(/127\.0\.0\.1:\d+ is busy; asking again in 7 s/);
  });
  test("without a word how long: longer each time, and not for ever", async () => {
    serveAmd();
    routes.set("/vcek/v1/Genoa/cert_chain", { status: 503 });
    const { error, waits } = await fetchWith(snp.roots, AMD());
    expect(waits).toEqual([2000, 4000, 8000, 16000]);
    expect(error).toMatchObject({ code: "transport-lost" });
    expect(error?.message).toMatch(/answers 503: it is busy/);
    routes.set("/vcek/v1/Genoa/cert_chain", { status: 429, headers: { "retry-after": "86400" } });
    expect((await fetchWith(snp.roots, AMD())).waits).toEqual([60_000, 60_000, 60_000, 60_000]);
  });
  test("silence ends", async () => {
    routes.set("/vcek/v1/Genoa/cert_chain", () => undefined);
    const { error } = await fetchWith(snp.roots, [...AMD(), "--timeout", "1"]);
    expect(error).toMatchObject({ code: "timeout" });
    expect(error?.message).toMatch(/within 1 s/);
  });
  test("nobody there", async () => {
    const { error } = await fetchWith(snp.roots, [...AMD().slice(2), "--kds", "http://127.0.0.1:1"]);
    expect(error).toMatchObject({ code: "transport-lost" });
  });
  test("a directory that cannot be made", async () => {
    serveAmd();
    writeFileSync(kept(), "a file");
    const { error } = await fetchWith(snp.roots, AMD());
    expect(error).toMatchObject({ code: "bad-config" });
    expect(asked).toEqual([]);
  });
});

describe("the command line", () => {
  const command = async (...args: string[]) => {
    const cli = fakeCli({ environment: {} });
    return { status: await run(["collateral", ...args], cli.services), errors: cli.errors() };
  };
  const CHIP = toHex(MADE_CHIP_ID);
  test.each<[string, string[], RegExp]>([
    ["no verb", [], /say fetch/],
    ["another verb", ["show"], /no such verb/],
    ["nothing to fetch", ["fetch"], /say what for/],
    ["an unknown product", ["fetch", "--snp-product", "Rome"], /none of Milan/],
    ["a chip without a TCB", ["fetch", "--snp-product", "Genoa", "--chip-id", CHIP], /go together/],
    [
      "a chip without a product",
      ["fetch", "--fmspc", MADE_FMSPC, "--chip-id", CHIP],
      /goes with --snp-product/,
    ],
    [
      "a short chip id",
      ["fetch", "--snp-product", "Genoa", "--chip-id", "00", "--tcb", TCB],
      /128 hex digits/,
    ],
    [
      "half a TCB",
      ["fetch", "--snp-product", "Genoa", "--chip-id", CHIP, "--tcb", "snp=1"],
      /lacks bootloader/,
    ],
    [
      "a TCB twice",
      ["fetch", "--snp-product", "Genoa", "--chip-id", CHIP, "--tcb", `${TCB},snp=1`],
      /not like/,
    ],
    [
      "a TCB above 255",
      [
        "fetch",
        "--snp-product",
        "Genoa",
        "--chip-id",
        CHIP,
        "--tcb",
        "bootloader=256,tee=0,snp=0,microcode=0",
      ],
      /not like/,
    ],
    [
      "fmc on Genoa",
      ["fetch", "--snp-product", "Genoa", "--chip-id", CHIP, "--tcb", `fmc=1,${TCB}`],
      /only Turin/,
    ],
    ["no fmc on Turin", ["fetch", "--snp-product", "Turin", "--chip-id", CHIP, "--tcb", TCB], /lacks fmc/],
    [
      "a VLEK of a chip",
      ["fetch", "--snp-product", "Genoa", "--vlek", "--chip-id", CHIP, "--tcb", TCB],
      /cloud only/,
    ],
    ["a short FMSPC", ["fetch", "--fmspc", "00"], /12 hex digits/],
    ["no such evidence", ["fetch", "--for", "/nowhere/quote"], /cannot read/],
    [
      "evidence and options",
      ["fetch", "--for", "/nowhere/quote", "--fmspc", MADE_FMSPC],
      /read from the evidence/,
    ],
    [
      "a mirror of a vendor that is not asked",
      ["fetch", "--fmspc", MADE_FMSPC, "--kds", "http://127.0.0.1:1"],
      /nothing of that vendor/,
    ],
    ["a URL that is none", ["fetch", "--fmspc", MADE_FMSPC, "--pcs", "file:///x"], /not a URL/],
    ["no time", ["fetch", "--fmspc", MADE_FMSPC, "--timeout", "0"], /1 to 9999/],
    ["no place to keep it", ["fetch", "--fmspc", MADE_FMSPC], /--dir is missing/],
  ])("refused, and nobody asked: %s", async (_, args, problem) => {
    const { status, errors } = await command(...args);
    expect(errors).toMatch(problem);
    expect(status).toBe(2);
  });
  test("a server that cannot be reached is 255", async () => {
    const { status } = await command(
      "fetch",
      "--dir",
      kept(),
      "--fmspc",
      MADE_FMSPC,
      "--pcs",
      "http://127.0.0.1:1",
    );
    expect(status).toBe(255);
  });
  test("the default directory is the cache", async () => {
    serveAmd();
    const cli = fakeCli({
      suite,
      signatures,
      wallTime: () => MADE_SNP_NOW,
      environment: { HOME: directory },
    });
    const input = parseInput(collateralCommand, ["fetch", ...AMD()]);
    expect(await collateralFetch(input, cli.services, snp.roots)).toBe(0);
    expect(readdirSync(path.join(directory, ".cache", "sealtty", "collateral")).sort()).toEqual(
      [...AMD_FILES].sort(),
    );
  });
});

describe.skipIf(!hasEvidence)("real evidence, answered with what Intel and AMD really published", () => {
  test("a TDX quote: everything is kept, and verifies it offline", async () => {
    const real = "tdx/v4-uptodate-dstack";
    const chain = (name: string, chainFile: string) => ({
      [name]: encodeURIComponent(Buffer.from(sample(`${real}/${chainFile}`)).toString()),
    });
    routes.set("/tdx/certification/v4/tcb?fmspc=90c06f000000", {
      headers: chain("TCB-Info-Issuer-Chain", "tcb_info_issuer_chain.pem"),
      body: sample(`${real}/tcb_info.json`),
    });
    routes.set(QE_PATH, {
      headers: chain("SGX-Enclave-Identity-Issuer-Chain", "qe_identity_issuer_chain.pem"),
      body: sample(`${real}/qe_identity.json`),
    });
    routes.set(crlPath("platform"), {
      headers: chain("SGX-PCK-CRL-Issuer-Chain", "pck_crl_issuer_chain.pem"),
      body: sample(`${real}/pck_crl.der`),
    });
    routes.set("/IntelSGXRootCA.der", { body: sample(`${real}/root_ca_crl.der`) });
    const quote = sample(`${real}/quote.bin`);
    writeFileSync(file("quote.bin"), quote);
    const now = Date.parse("2026-03-17T00:00:00Z");
    const args = ["--pcs", base, "--for", file("quote.bin")];
    const { error } = await fetchWith(VENDOR_ROOTS, args, { wallTime: () => now });
    expect(error).toBeUndefined();
    const collateral = await readCollateralDirectory(kept());
    const context = { now, clockSkew: 0, roots: VENDOR_ROOTS, signatures, suite, collateral };
    expect(await checkTdx(quote, NO_COLLATERAL, context)).toBeDefined();
  });
  test("an SNP report: chip and TCB are asked for, AMD's chain is believed", async () => {
    const real = "snp/genoa-v5-live";
    const pem = pemOf(sample(`${real}/ask.der`), sample(`${real}/ark.der`));
    routes.set("/vcek/v1/Genoa/cert_chain", { body: pem });
    writeFileSync(file("report.bin"), sample(`${real}/report.bin`));
    // No list of AMD's is among the samples: the fetch ends there, and the chain is kept.
    const { error } = await fetchWith(VENDOR_ROOTS, ["--kds", base, "--for", file("report.bin")]);
    expect(error?.message).toMatch(/crl answers 404/);
    expect(readdirSync(kept())).toEqual(["amd-genoa-vcek-chain.pem"]);
    expect(readFileSync(path.join(kept(), "amd-genoa-vcek-chain.pem"), "utf8")).toBe(pem);
  });
});
