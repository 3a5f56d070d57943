// The TPM provider against a real software TPM (swtpm), end to end with the appraisal, and against TPMs that misbehave.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { appraise, describeUnderNoPolicy } from "../../protocol/attestation/appraisal.ts";
import { commitmentOf } from "../../protocol/attestation/commitment.ts";
import type { AuxParts } from "../../protocol/attestation/aux.ts";
import { binderOf } from "../../protocol/attestation/binder.ts";
import { NO_COLLATERAL } from "../../protocol/attestation/collateral.ts";
import { parsePolicy } from "../../protocol/attestation/policy.ts";
import { VENDOR_ROOTS } from "../../protocol/attestation/roots.ts";
import { concat, toHex, u16, u32 } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { StaleAuxError, collectEvidence } from "../../server/evidence/collect.ts";
import { DEFAULT_PCRS, TpmEvidenceProvider, openTpmEvidence } from "../../server/evidence/tpm.ts";
import { newContext, refusedBy, signatures, suite } from "../protocol/attestation/support.ts";
import { Swtpm, hasSwtpm } from "./support/swtpm.ts";

if (!hasSwtpm)
  test("swtpm is absent: the tests with a real TPM did not run", () => {
    expect(hasSwtpm).toBe(false);
    console.warn("Install swtpm to run the TPM integration tests.");
  });

describe.runIf(hasSwtpm)("with swtpm", () => {
  const directory = hasSwtpm ? mkdtempSync(join(tmpdir(), "sealtty-swtpm-")) : "";
  const tpm = new Swtpm(directory);
  const logPath = join(directory, "log");

  beforeAll(async () => {
    await tpm.start();
    await tpm.extend(4, new Uint8Array(32).fill(4));
    await tpm.extend(9, new Uint8Array(32).fill(9));
    writeFileSync(logPath, new Uint8Array(10).fill(0xee));
  });
  afterAll(async () => {
    await tpm.stop();
    rmSync(directory, { recursive: true, force: true });
  });

  const collectWith = async (provider: TpmEvidenceProvider, context = newContext()) => {
    const makeBinder = (aux: Uint8Array) => binderOf(suite, context, "tpm", aux);
    const evidence = await collectEvidence(provider, { makeBinder });
    return { evidence, commitment: commitmentOf(suite, context) };
  };
  const common = {
    suite,
    signatures,
    acceptSimulated: false,
    now: Date.now(),
    roots: VENDOR_ROOTS,
    collateral: NO_COLLATERAL,
  };

  test("its evidence is collected, described, pinned, and then accepted for its connection only", async () => {
    const provider = new TpmEvidenceProvider({ suite, transmit: tpm.transmit, eventLogPath: logPath });
    const first = await collectWith(provider);
    const { claims } = await describeUnderNoPolicy({ ...common, ...first, name: "swtpm" });
    const policy = parsePolicy(claims.policyText);
    expect([...(policy.tpm?.pcrs.keys() ?? [])]).toEqual([...DEFAULT_PCRS]);

    const second = await collectWith(provider);
    const verified = await appraise({ ...common, ...second, policy });
    expect(verified.claims.warnings).toEqual([]);
    expect(verified.claims.instance).toContain(policy.tpm?.akNames[0]);
    const relayed = { ...common, evidence: second.evidence, commitment: first.commitment, policy };
    expect(await refusedBy(() => appraise(relayed))).toBe("tpm.binding");

    await tpm.extend(9, new Uint8Array(32).fill(1));
    expect(
      await refusedBy(async () => appraise({ ...common, ...(await collectWith(provider)), policy })),
    ).toBe("tpm.pcr");
    await provider.close();
  });

  test("flipping any byte of real evidence is refused", async () => {
    const provider = new TpmEvidenceProvider({ suite, transmit: tpm.transmit, eventLogPath: logPath });
    const { evidence, commitment } = await collectWith(provider);
    await provider.close();
    const described = await describeUnderNoPolicy({ ...common, evidence, commitment, name: "swtpm" });
    const policy = parsePolicy(described.claims.policyText);
    expect((await appraise({ ...common, evidence, commitment, policy })).claims.type).toBe("tpm");
    for (const part of ["quote", "aux"] as const) {
      for (let at = 0; at < evidence[part].length; at++) {
        const changed = evidence[part].slice();
        changed[at] = (changed[at] as number) ^ (1 << (at % 8));
        await refusedBy(() =>
          appraise({ ...common, evidence: { ...evidence, [part]: changed }, commitment, policy }),
        );
      }
    }
  });

  test("the key's name is the same for another process and after the TPM was restarted", async () => {
    const nameOf = async () => {
      const provider = new TpmEvidenceProvider({ suite, transmit: tpm.transmit });
      const { akPublic } = await provider.prepareAux();
      await provider.close();
      return toHex(akPublic ?? new Uint8Array());
    };
    const before = await nameOf();
    await tpm.stop();
    await tpm.start();
    expect(await nameOf()).toBe(before);
  });

  test("a provider goes on after the TPM lost its key", async () => {
    const provider = new TpmEvidenceProvider({ suite, transmit: tpm.transmit });
    await collectWith(provider);
    await tpm.stop();
    await tpm.start();
    const { evidence, commitment } = await collectWith(provider);
    const { claims } = await describeUnderNoPolicy({ ...common, evidence, commitment, name: "swtpm" });
    expect(claims.type).toBe("tpm");
    await provider.close();
  });

  test("no key is left in the TPM by many providers (it has room for three)", async () => {
    for (let i = 0; i < 8; i++) {
      const provider = new TpmEvidenceProvider({ suite, transmit: tpm.transmit });
      expect((await provider.prepareAux()).akPublic).toBeDefined();
      await provider.close();
    }
  });

  test("a PCR that changes between aux and quote makes aux stale; collecting again succeeds", async () => {
    const provider = new TpmEvidenceProvider({ suite, transmit: tpm.transmit });
    const aux = await provider.prepareAux();
    await tpm.extend(8, new Uint8Array(32).fill(8));
    await expect(provider.quote(new Uint8Array(64), aux)).rejects.toBeInstanceOf(StaleAuxError);

    let calls = 0;
    const context = newContext();
    const racing = {
      type: "tpm" as const,
      prepareAux: () => provider.prepareAux(),
      probe: () => provider.probe(),
      close: () => provider.close(),
      async quote(binder: Uint8Array, prepared: AuxParts) {
        if (calls++ < 2) await tpm.extend(8, new Uint8Array(32).fill(calls));
        return await provider.quote(binder, prepared);
      },
    };
    const makeBinder = (prepared: Uint8Array) => binderOf(suite, context, "tpm", prepared);
    const evidence = await collectEvidence(racing, { makeBinder });
    const commitment = commitmentOf(suite, context);
    expect(calls).toBe(3);
    await describeUnderNoPolicy({ ...common, evidence, commitment, name: "swtpm" });
    await provider.close();
  });

  test("a probe has it quote, and sees that it stopped", async () => {
    const provider = new TpmEvidenceProvider({ suite, transmit: tpm.transmit });
    await provider.probe();
    await provider.close();
    await expect(provider.probe()).rejects.toThrow("it was closed");
  });

  test("SHA-384 PCRs work, and a bank that the TPM lacks is named", async () => {
    const provider = new TpmEvidenceProvider({ suite, transmit: tpm.transmit, bank: "sha384", pcrs: [0, 4] });
    const { evidence, commitment } = await collectWith(provider);
    const { claims } = await describeUnderNoPolicy({ ...common, evidence, commitment, name: "swtpm" });
    const verified = await appraise({
      ...common,
      evidence,
      commitment,
      policy: parsePolicy(claims.policyText),
    });
    expect(verified.claims.policyText).toContain('bank = "sha384"');
    await provider.close();
  });
});

// --- TPMs that misbehave -----------------------------------------------------------------------------------------------

const answer = (code: number, body = new Uint8Array()) =>
  concat(u16(0x8001), u32(10 + body.length), u32(code), body);

test.each([
  ["refuses with a known code", async () => answer(0x922), "TPM_RC_RETRY (0x922)"],
  [
    "has a password on its hierarchy",
    async () => answer(0x9a2),
    "TPM_RC_BAD_AUTH (0x9a2). The hierarchy that is asked has a password",
  ],
  ["was not started", async () => answer(0x100), "TPM_RC_INITIALIZE"],
  ["refuses with an unknown code", async () => answer(0x7777), "unknown response code (0x7777)"],
  ["answers nothing", async () => new Uint8Array(), "malformed"],
  ["answers a wrong length", async () => answer(0).slice(0, 9), "malformed"],
  ["answers an empty success", async () => answer(0), "malformed"],
  ["answers too much", async () => answer(0, new Uint8Array(5000)), "too long"],
  ["never answers", () => new Promise<Uint8Array>(() => {}), "in 50 ms"],
  [
    "breaks",
    async () => {
      throw new Error("EIO: i/o error");
    },
    "EIO",
  ],
] as const)("a TPM that %s is evidence-unavailable", async (_what, transmit, part) => {
  const provider = new TpmEvidenceProvider({ suite, transmit, timeoutMs: 50 });
  const error = await provider.prepareAux().catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(SealttyError);
  expect((error as SealttyError).code).toBe("evidence-unavailable");
  expect((error as SealttyError).message).toContain(part);
  await provider.close();
  await provider.close();
  await expect(provider.prepareAux()).rejects.toThrow("it was closed");
});

test("after a command without an answer no other is sent until the TPM is done with it", async () => {
  let sent = 0;
  let finish: (response: Uint8Array) => void = () => {};
  const transmit = () => {
    sent++;
    return new Promise<Uint8Array>((resolve) => {
      finish = resolve;
    });
  };
  const provider = new TpmEvidenceProvider({ suite, transmit, timeoutMs: 20 });
  await expect(provider.prepareAux()).rejects.toThrow("in 20 ms");
  await expect(provider.prepareAux()).rejects.toThrow("still has no answer");
  expect(sent).toBe(1);
  finish(answer(0));
  await new Promise((done) => setTimeout(done, 0));
  await expect(provider.prepareAux()).rejects.toThrow("in 20 ms");
  expect(sent).toBe(2);
});

test("openTpmEvidence() says what is wrong with the device", async () => {
  await expect(openTpmEvidence({ suite, device: "/nonexistent/tpm" })).rejects.toThrow(
    "There is no TPM at /nonexistent/tpm",
  );
  await expect(openTpmEvidence({ suite, device: tmpdir() })).rejects.toBeInstanceOf(SealttyError);
});

test("impossible PCR lists are refused", () => {
  const transmit = async () => new Uint8Array();
  for (const pcrs of [[], [24], [-1], [1.5]]) {
    expect(() => new TpmEvidenceProvider({ suite, transmit, pcrs })).toThrow(SealttyError);
  }
});
