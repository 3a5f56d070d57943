// The bytes of a TDX quote under attack: each byte flipped, every length cut or blown up, signatures at the edges.

import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { NO_COLLATERAL, type Collateral } from "../../../protocol/attestation/collateral.ts";
import { VENDOR_ROOTS } from "../../../protocol/attestation/roots.ts";
import { parseTdxQuote } from "../../../protocol/attestation/tdx/quote.ts";
import { checkTdx } from "../../../protocol/attestation/tdx/verify.ts";
import type { VerifyContext } from "../../../protocol/attestation/verify-context.ts";
import { pemCertificates } from "../../../protocol/attestation/x509/pem.ts";
import { concat, fromHex, toHex } from "../../../protocol/bytes.ts";
import { SealttyError } from "../../../protocol/errors.ts";
import { madeTdx } from "../../support/made-tdx.ts";
import {
  forEachOf,
  hasEvidence,
  refusedBy,
  rememberingSignatures,
  sample,
  samples,
  suite,
} from "./support.ts";
import { contextOf } from "./tdx-support.ts";

interface Subject {
  readonly name: string;
  readonly quote: Uint8Array;
  readonly collateral: Collateral;
  readonly context: VerifyContext;
  /** Bytes that are flipped; where it is a part only, another subject has the same layout behind it. */
  readonly flipped: number;
  /** Where the certificates begin: text, and around it nothing is signed. */
  readonly text: number;
}

const made4 = madeTdx({ pem: (pem) => `${pem}\0` });
const made5 = madeTdx({ version: 5 });
const remembered = rememberingSignatures();
/** Header, descriptor and body: what a quote of version 5 has of its own. */
const V5_SIGNED = 48 + 6 + 648;
const subjects: Subject[] = [made4, made5].map((made, i) => ({
  name: `made, version ${i + 4}`,
  quote: made.quote,
  collateral: made.collateral,
  context: contextOf(made, { signatures: remembered }),
  flipped: i === 0 ? made.quote.length : V5_SIGNED,
  text: textStart(made.quote),
}));
if (hasEvidence) {
  const file = (name: string) => sample(`tdx/v4-uptodate-phala/${name}`);
  const quote = file("quote.bin");
  subjects.push({
    name: "real, with 70 bytes of padding",
    quote,
    flipped: quote.length,
    text: textStart(quote),
    collateral: {
      certificates: ["pck_crl_issuer_chain.pem", "tcb_info_issuer_chain.pem"].flatMap((name) =>
        pemCertificates(file(name)),
      ),
      crls: [file("pck_crl.der"), file("root_ca_crl.der")],
      tcbInfos: [file("tcb_info.json")],
      qeIdentities: [file("qe_identity.json")],
    },
    context: {
      now: Date.UTC(2025, 5, 20),
      clockSkew: 300_000,
      roots: VENDOR_ROOTS,
      signatures: remembered,
      suite,
      collateral: NO_COLLATERAL,
    },
  });
}

/** Bytes of a quote of version 4, from its start. */
const V4 = {
  signatureLength: 632,
  signature: 636,
  attestationKey: 700,
  outerSize: 766,
  qeReport: 770,
  authLength: 1218,
  innerSize: 1254,
};
const ORDER = fromHex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");

function textStart(quote: Uint8Array): number {
  return Buffer.from(quote).indexOf("-----BEGIN");
}

async function accepted({ context, collateral }: Subject, quote: Uint8Array): Promise<boolean> {
  try {
    await checkTdx(quote, collateral, context);
    return true;
  } catch (error) {
    expect(error).toBeInstanceOf(SealttyError);
    expect((error as SealttyError).code).toBe("evidence-refused");
    return false;
  }
}

const changed = (quote: Uint8Array, at: number, bytes: Uint8Array) => {
  const copy = quote.slice();
  copy.set(bytes, at);
  return copy;
};

describe.for(subjects)("$name", (subject) => {
  test("is good as it is", async () => {
    expect(await accepted(subject, subject.quote)).toBe(true);
  });

  test("every byte counts: header, body, signature, key, QE report, certificates, padding", {
    timeout: 120_000,
  }, async () => {
    const harmless: string[] = [];
    await forEachOf(Array(subject.flipped).keys(), async (at) => {
      const byte = subject.quote[at] as number;
      // Where nothing signs the text, white space is what could be changed: a zero becomes a space.
      const blank = at >= subject.text && (byte === 0 || byte === 0x0a);
      const masks = blank ? [1 << (at % 8), 0x20, 0x2a] : [1 << (at % 8)];
      for (const mask of new Set(masks)) {
        if (await accepted(subject, changed(subject.quote, at, Uint8Array.of(byte ^ mask))))
          harmless.push(`byte ${at} with ${mask}`);
      }
    });
    expect(harmless).toEqual([]);
  });

  test("cut anywhere", async () => {
    const end = subject.quote.findLastIndex((byte) => byte !== 0) + 1;
    for (let length = 0; length < end; length += length < 700 ? 1 : 37)
      expect(await accepted(subject, subject.quote.subarray(0, length))).toBe(false);
    for (let length = end - 40; length < end; length++)
      expect(await accepted(subject, subject.quote.subarray(0, length))).toBe(false);
  });

  test("zero bytes may follow, and only those", async () => {
    for (const length of [1, 70, 4096])
      expect(await accepted(subject, concat(subject.quote, new Uint8Array(length)))).toBe(true);
    for (const tail of [[1], [0, 0, 0x20], [...Array.from({ length: 500 }, () => 0), 1]])
      expect(await accepted(subject, concat(subject.quote, Uint8Array.from(tail)))).toBe(false);
    expect(await accepted(subject, concat(subject.quote, new Uint8Array(70_000)))).toBe(false);
  });

  test("a byte put in or taken out anywhere", async () => {
    for (let at = 0; at < subject.quote.length - 100; at += 29) {
      const [before, after] = [subject.quote.subarray(0, at), subject.quote.subarray(at)];
      expect(await accepted(subject, concat(before, Uint8Array.of(0), after))).toBe(false);
      expect(await accepted(subject, concat(before, after.subarray(1)))).toBe(false);
    }
  });
});

describe("a quote of version 4", () => {
  const [subject] = subjects as [Subject];
  const attempt = async (quote: Uint8Array) =>
    await refusedBy(async () => await checkTdx(quote, subject.collateral, subject.context));

  test.for(Object.entries({ signatureLength: 4, outerSize: 4, authLength: 2, innerSize: 4 }))(
    "%s blown up",
    async ([name, size]) => {
      const at = V4[name as keyof typeof V4];
      for (const byte of [0xff, 0x7f, 0x80])
        expect(await attempt(changed(subject.quote, at, new Uint8Array(size).fill(byte)))).toBe(
          "tdx.quote-format",
        );
      expect(await attempt(changed(subject.quote, at, new Uint8Array(size)))).toBe("tdx.quote-format");
    },
  );

  test.for([
    ["signature", V4.signature, "tdx.signature"],
    ["QE report's signature", V4.qeReport + 384, "tdx.qe-report-signature"],
  ] as const)("%s: r and s at the edges", async ([, at, check]) => {
    const [r, s] = [subject.quote.slice(at, at + 32), subject.quote.slice(at + 32, at + 64)];
    const zero = new Uint8Array(32);
    const full = new Uint8Array(32).fill(0xff);
    const one = changed(zero, 31, Uint8Array.of(1));
    for (const [first, second] of [
      [zero, zero],
      [zero, s],
      [r, zero],
      [ORDER, s],
      [r, ORDER],
      [full, full],
      [one, one],
      [s, r],
      [plusOrder(r), s],
      [r, plusOrder(s)],
    ] as const)
      expect(await attempt(changed(subject.quote, at, concat(first, second)))).toBe(check);
  });

  test("a key off the curve, or at infinity", async () => {
    for (const point of [new Uint8Array(64), new Uint8Array(64).fill(0xff), new Uint8Array(64).fill(1)])
      expect(await attempt(changed(subject.quote, V4.attestationKey, point))).toBe("tdx.attestation-key");
  });

  test("an attestation key off the curve that the quoting enclave does name", async () => {
    // The enclave's report is genuine here, and still nothing verifies under such a key.
    const made = madeTdx();
    const point = new Uint8Array(64).fill(1);
    const auth = Uint8Array.from({ length: 32 }, (_, i) => i);
    const committing = madeTdx({ qeReportData: suite.sha256(concat(point, auth)) });
    const quote = changed(committing.quote, V4.attestationKey, point);
    expect(await refusedBy(async () => await checkTdx(quote, made.collateral, contextOf(made)))).toBe(
      "tdx.signature",
    );
  });
});

/** Modulo 2^256: what a verifier that reduces would take for the same number. */
function plusOrder(number: Uint8Array): Uint8Array {
  const sum = BigInt(`0x${toHex(number)}`) + BigInt(`0x${toHex(ORDER)}`);
  return fromHex(BigInt.asUintN(256, sum).toString(16).padStart(64, "0"));
}

describe("fuzzing from good quotes", () => {
  const corpus = [made4.quote, made5.quote, ...samples("tdx").map((name) => sample(`tdx/${name}/quote.bin`))];
  const edit = fc.record({
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    how: fc.constantFrom("set", "insert", "remove", "cut", "number"),
    bytes: fc.uint8Array({ minLength: 1, maxLength: 8 }),
    number: fc.constantFrom(0, 1, 0x7f, 0xff, 0xffff, 0x7fff_ffff, 0xffff_ffff),
  });
  type Edit = typeof edit extends fc.Arbitrary<infer T> ? T : never;
  const mutated = fc
    .tuple(fc.constantFrom(...corpus), fc.array(edit, { minLength: 1, maxLength: 6 }))
    .map(([quote, edits]) => edits.reduce(applied, quote));

  function applied(bytes: Uint8Array, { at, how, bytes: piece, number }: Edit): Uint8Array {
    // Structure is at the front: half of the edits go there.
    const place = Math.floor(
      at < 0.5 ? at * 2 * Math.min(bytes.length, 1300) : (at - 0.5) * 2 * bytes.length,
    );
    const [before, after] = [bytes.subarray(0, place), bytes.subarray(place)];
    if (how === "insert") return concat(before, piece, after);
    if (how === "remove") return concat(before, after.subarray(piece.length));
    if (how === "cut") return before;
    const put = how === "set" ? piece : Uint8Array.of(number, number >>> 8, number >>> 16, number >>> 24);
    return concat(before, put, after.subarray(put.length));
  }

  test("the parser gives a quote, or a kind that is told apart, or `peer-misbehaved`", () => {
    fc.assert(
      fc.property(mutated, (quote) => {
        try {
          const parsed = parseTdxQuote(quote);
          if (parsed.supported) expect(parsed.quote.signed.length).toBeLessThan(quote.length);
        } catch (error) {
          expect(error).toBeInstanceOf(SealttyError);
          expect((error as SealttyError).code).toBe("peer-misbehaved");
        }
      }),
      { numRuns: 5000 },
    );
  });

  test("anything at all is no quote", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 2000 }), (bytes) => {
        let supported = false;
        try {
          supported = parseTdxQuote(bytes).supported;
        } catch (error) {
          expect((error as SealttyError).code).toBe("peer-misbehaved");
        }
        expect(supported).toBe(false);
      }),
      { numRuns: 1000 },
    );
  });

  test("the whole check passes only what differs in nothing but zero padding", async () => {
    const [subject] = subjects as [Subject];
    const content = (quote: Uint8Array) => toHex(quote).replace(/(?:00)+$/, "");
    await fc.assert(
      fc.asyncProperty(fc.array(edit, { minLength: 1, maxLength: 4 }), async (edits) => {
        const quote = edits.reduce(applied, subject.quote);
        if (await accepted(subject, quote)) expect(content(quote)).toBe(content(subject.quote));
      }),
      { numRuns: 1000 },
    );
  });
});
