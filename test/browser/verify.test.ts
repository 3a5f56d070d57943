// Whole appraisals of SEV-SNP and TDX evidence inside Chromium: real samples where they are present, made ones always.

import path from "node:path";
import type { Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { encodeAux } from "../../protocol/attestation/aux.ts";
import { NO_COLLATERAL, encodeCollateral } from "../../protocol/attestation/collateral.ts";
import { pemCertificates } from "../../protocol/attestation/x509/pem.ts";
import { fromHex, toHex } from "../../protocol/bytes.ts";
import { hasEvidence, sample, sampleJson } from "../protocol/attestation/support.ts";
import {
  launchBrowser,
  refuseFaults,
  watchFaults,
  type PageFaults,
  type TestBrowser,
} from "../support/browser.ts";
import { MADE_MEASUREMENT, madeSnp } from "../support/made-snp.ts";
import { madeTdx } from "../support/made-tdx.ts";
import { servePage, type PageServer } from "./page-server.ts";
import type { VerifyAnswer, VerifyRequest } from "./verify-page/window.ts";

const ROUNDS = 11;
const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64");
const head = 'version = 1\nminimumAssurance = "hardware"\nanyInstance = true\n';
const BOUND = Uint8Array.from({ length: 64 }, (_, i) => 255 - i);

let server: PageServer;
let browser: TestBrowser;
let page: Page;
let faults: PageFaults;

beforeAll(async () => {
  [server, browser] = await Promise.all([
    servePage(path.join(import.meta.dirname, "verify-page")),
    launchBrowser(),
  ]);
  page = await browser.context.newPage();
  faults = watchFaults(page, server.origin);
  await page.goto(server.origin);
  await page.waitForFunction(() => "verify" in window);
});
afterAll(async () => {
  await browser?.close();
  await server?.close();
});
afterEach(() => refuseFaults(faults));

const verify = (request: VerifyRequest): Promise<VerifyAnswer> =>
  page.evaluate((request) => window.verify(request), request);

/** What was booted: kernel image, then command line and initramfs. */
function rtmrs(one: string, two: string): string {
  return `[tdx.rtmrs]\n1 = ["${one}"]\n2 = ["${two}"]\n`;
}

/** With one bit of the quote turned. */
function damaged(request: VerifyRequest, at: number): VerifyRequest {
  const quote = Buffer.from(request.quote, "base64");
  quote[at] = (quote[at] as number) ^ 1;
  return { ...request, quote: base64(quote) };
}

function madeSnpRequest(): VerifyRequest {
  const { report, certificateTable, now, roots } = madeSnp({ reportData: BOUND });
  return {
    type: "sev-snp",
    quote: base64(report),
    aux: base64(encodeAux({ certificateTable })),
    bound: base64(BOUND),
    policy: `${head}[snp]\nmeasurement = ["${toHex(MADE_MEASUREMENT)}"]\n`,
    now,
    roots,
  };
}

function madeTdxRequest(): VerifyRequest {
  const { quote, collateral, now, roots } = madeTdx({ reportData: BOUND });
  return {
    type: "tdx",
    quote: base64(quote),
    aux: base64(encodeAux({ collateral: encodeCollateral(collateral) })),
    bound: base64(BOUND),
    policy: `${head}[tdx]\nmrtd = ["${"11".repeat(48)}"]\n${rtmrs("21".repeat(48), "22".repeat(48))}`,
    now,
    roots,
  };
}

function realSnpRequest(): VerifyRequest {
  const file = (name: string) => sample(`snp/genoa-v3-yaxi/${name}`);
  const { claims, verify_at } = sampleJson("snp/genoa-v3-yaxi/expected.json");
  const certificates = ["vcek.der", "ask.der", "ark.der"].map(file);
  return {
    type: "sev-snp",
    quote: base64(file("report.bin")),
    aux: base64(encodeAux({ collateral: encodeCollateral({ ...NO_COLLATERAL, certificates }) })),
    bound: base64(fromHex(claims.report_data)),
    policy: `${head}[snp]\nmeasurement = ["${claims.measurement}"]\ncrl = "if-present"\n`, // the sample has none
    now: Date.parse(verify_at),
  };
}

function realTdxRequest(): VerifyRequest {
  const file = (name: string) => sample(`tdx/v4-uptodate-phala/${name}`);
  const { claims, verify_at } = sampleJson("tdx/v4-uptodate-phala/expected.json");
  const chains = ["pck_crl_issuer_chain.pem", "tcb_info_issuer_chain.pem", "qe_identity_issuer_chain.pem"];
  const collateral = {
    certificates: chains.flatMap((name) => pemCertificates(file(name))),
    crls: [file("pck_crl.der"), file("root_ca_crl.der")],
    tcbInfos: [file("tcb_info.json")],
    qeIdentities: [file("qe_identity.json")],
  };
  return {
    type: "tdx",
    quote: base64(file("quote.bin")),
    aux: base64(encodeAux({ collateral: encodeCollateral(collateral) })),
    bound: base64(fromHex(claims.report_data)),
    policy: `${head}[tdx]\nmrtd = ["${claims.mr_td}"]\n${rtmrs(claims.rtmr1, claims.rtmr2)}`,
    now: Date.parse(verify_at),
  };
}

const REAL = [
  ["SEV-SNP: a real Genoa report", realSnpRequest],
  ["TDX: a real quote with its collateral", realTdxRequest],
] as const;
const MADE = [
  ["SEV-SNP: made", madeSnpRequest],
  ["TDX: made", madeTdxRequest],
] as const;

describe.each([...MADE, ...(hasEvidence ? REAL : [])])("%s", (name, requestOf) => {
  test("passes whole, and says as what", async () => {
    const request = requestOf();
    const times: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      const answer = await verify(request);
      expect(answer).toMatchObject({ assurance: "hardware" });
      times.push(answer.milliseconds);
      if (round > 0 || !("checks" in answer)) continue;
      const prefix = request.type === "tdx" ? "tdx." : "snp.";
      expect(answer.checks.filter((check) => check.startsWith(prefix)).length).toBeGreaterThan(5);
      expect(answer.verdict).toMatch(/\S/);
    }
    const median = times.toSorted((a, b) => a - b)[ROUNDS >> 1] ?? 0;
    process.stdout.write(
      `${name}, in Chromium: first ${times[0]?.toFixed(1)} ms, median ${median.toFixed(1)} ms\n`,
    );
  });

  test("one bit of the measurement turned: refused by its signature", async () => {
    // MEASUREMENT of a report; MRTD of a quote's body behind a 48-byte header.
    const request = requestOf();
    const answer = await verify(damaged(request, request.type === "tdx" ? 48 + 136 : 0x90));
    expect(answer).toMatchObject({ refused: request.type === "tdx" ? "tdx.signature" : "snp.signature" });
  });

  test("made for another connection: refused", async () => {
    const bound = Buffer.from(requestOf().bound, "base64");
    bound[63] = (bound[63] as number) ^ 1;
    const answer = await verify({ ...requestOf(), bound: base64(bound) });
    expect(answer).toMatchObject({ refused: expect.stringMatching(/\.binding$/) });
  });

  test("other software: refused by the policy's key", async () => {
    const request = requestOf();
    const answer = await verify({
      ...request,
      policy: request.policy.replace(/"[0-9a-f]{96}"/, `"${"ab".repeat(48)}"`),
    });
    expect(answer).toMatchObject({ refused: request.type === "tdx" ? "tdx.mrtd" : "snp.measurement" });
  });
});

test("a made root is not a vendor's: refused without the test's own", async () => {
  for (const [, requestOf] of MADE) {
    const { roots: _, ...request } = requestOf();
    expect(await verify(request)).toMatchObject({ refused: expect.stringMatching(/root|chain/) });
  }
});
