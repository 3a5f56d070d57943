// The malicious host against evidence: replay, relay, diversion to a sibling, mix-and-match, swapped parts, confusion.
// Genuine hardware is played by a PKI made here; everything above it is the product's own.

import { expect, test } from "vitest";
import { appraise } from "../../protocol/attestation/appraisal.ts";
import { commitmentOf } from "../../protocol/attestation/commitment.ts";
import { type AuxParts, decodeAux, encodeAux } from "../../protocol/attestation/aux.ts";
import { type BindingContext, binderOf } from "../../protocol/attestation/binder.ts";
import { NO_COLLATERAL, encodeCollateral } from "../../protocol/attestation/collateral.ts";
import { EVIDENCE_TYPES, type Evidence, type EvidenceType } from "../../protocol/attestation/evidence.ts";
import { signInstanceKey } from "../../protocol/attestation/instance/key-proof.ts";
import { type Policy, parsePolicy } from "../../protocol/attestation/policy.ts";
import { concat, lv16, toHex, u16, u8, utf8 } from "../../protocol/bytes.ts";
import type { KeyPair } from "../../protocol/crypto/suite.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { GuestEndpoint } from "../../protocol/session/accept.ts";
import type { ConnectOptions } from "../../protocol/session/api.ts";
import { connect, inspectGuest } from "../../protocol/session/connect.ts";
import type { EvidenceRequest } from "../../protocol/session/guest-evidence.ts";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { newContext, refusedBy, signatures, suite } from "../protocol/attestation/support.ts";
import { fastClock } from "../support/clocks.ts";
import { MADE_CHIP_ID, MADE_MEASUREMENT, type MadeSnpOptions, madeSnp } from "../support/made-snp.ts";
import { madeTdx } from "../support/made-tdx.ts";
import { memoryPipes } from "../support/memory-pipe.ts";
import { clientOptions } from "../support/session.ts";

const document = (name: string): Uint8Array =>
  utf8(
    `version = 1\nname = "${name}"\nauthorized_keys = []\nusers = ["root"]\ncommands = ["*"]\n[agent]\nlogin = true\n`,
  );
const OWNERS = document("db1");
const SIBLINGS = document("evil-twin");
const digest = (bytes: Uint8Array): string => toHex(suite.sha256(bytes));

/** A genuine machine: the same CPU vendor, the same image, an instance of its own. */
interface Machine {
  readonly document: Uint8Array;
  readonly hostData: Uint8Array;
  readonly instanceKey?: Uint8Array;
  readonly chip?: Uint8Array;
}
const machine = (doc: Uint8Array, more: Partial<Machine> = {}): Machine => ({
  document: doc,
  hostData: suite.sha256(doc),
  ...more,
});

function snpEvidence(
  { makeBinder, proofContext }: EvidenceRequest,
  { document: doc, hostData, instanceKey, chip }: Machine,
  bend: MadeSnpOptions = {},
): Evidence {
  const chipOptions = chip === undefined ? {} : { chipId: chip, extensions: { "4": chip } };
  const pki = madeSnp({ ...chipOptions, ...bend });
  const proof = instanceKey && signInstanceKey(suite, instanceKey, proofContext);
  const aux = encodeAux({
    certificateTable: pki.certificateTable,
    instanceDocument: doc,
    ...(proof === undefined ? {} : { instanceKey: proof }),
  });
  const { report } = madeSnp({
    reportData: makeBinder("sev-snp", aux),
    hostData,
    ...chipOptions,
    ...bend,
  });
  return { type: "sev-snp", quote: report, aux };
}

/** RTMR 1 and 2 of a made TD: its kernel, and what that was started with. */
const KERNEL = `[tdx.rtmrs]\n1 = ["${"21".repeat(48)}"]\n2 = ["${"22".repeat(48)}"]\n`;
const ASKED = { renewal: false, wanted: () => true };
const requestOf = (context: BindingContext): EvidenceRequest => {
  const { binderFor, keyProof } = commitmentOf(suite, context);
  return { makeBinder: binderFor, proofContext: keyProof, ...ASKED };
};

const policyOf = (pins = `[instance]\ndocuments = ["${digest(OWNERS)}"]\n`, top = ""): Policy =>
  parsePolicy(`version = 1
name = "db1"
minimumAssurance = "hardware"
${top}
${pins}
[snp]
measurement = ["${toHex(MADE_MEASUREMENT)}"]
`);

const judge = (evidence: Evidence, context: BindingContext, policy = policyOf()) =>
  appraise({
    evidence,
    commitment: commitmentOf(suite, context),
    policy,
    suite,
    signatures,
    acceptSimulated: false,
    now: madeSnp().now,
    roots: { ...madeSnp().roots, intel: madeTdx().roots.intel },
    collateral: NO_COLLATERAL,
  });

test("honest: the owner's guest is believed, and its document shown", async () => {
  const context = newContext();
  const { claims } = await judge(snpEvidence(requestOf(context), machine(OWNERS)), context);
  expect(claims.assurance).toBe("hardware");
  expect(claims.instanceDocument).toMatchObject({ name: "db1", digest: digest(OWNERS) });
  expect(claims.verdict).toMatch(/your guest "db1".*this very connection/);
  expect(claims.anyInstance).toBe(false);
});

test("replay: yesterday's evidence of the same guest", async () => {
  const evidence = snpEvidence(requestOf(newContext()), machine(OWNERS));
  expect(await refusedBy(() => judge(evidence, newContext()))).toBe("snp.binding");
});

test("zero report data, and report data that somebody chose", async () => {
  const context = newContext();
  for (const reportData of [new Uint8Array(64), new Uint8Array(64).fill(7), context.handshakeHash]) {
    const full = concat(reportData, new Uint8Array(64 - reportData.length));
    const evidence = snpEvidence(requestOf(context), machine(OWNERS), { reportData: full });
    expect(await refusedBy(() => judge(evidence, context))).toBe("snp.binding");
  }
});

test("diversion to a leaky sibling: same image, genuine hardware, the attacker's instance", async () => {
  const context = newContext();
  const sibling = snpEvidence(requestOf(context), machine(SIBLINGS));
  expect(await refusedBy(() => judge(sibling, context))).toBe("instance.pinned-document");
  // It may deliver the owner's document: its own evidence gives it away.
  const liar = snpEvidence(requestOf(context), { document: OWNERS, hostData: suite.sha256(SIBLINGS) });
  expect(await refusedBy(() => judge(liar, context))).toBe("instance.document");
  const zero = snpEvidence(requestOf(context), { document: OWNERS, hostData: new Uint8Array(32) });
  expect(await refusedBy(() => judge(zero, context))).toBe("instance.document");
  // What a policy that names no machine buys: it is let in, and that is said for ever.
  const anyone = policyOf("", "anyInstance = true");
  const { claims } = await judge(sibling, context, anyone);
  expect(claims.anyInstance).toBe(true);
  expect(claims.warnings.join()).toMatch(/names no machine/);
  expect(claims.verdict).toMatch(/perhaps not the one you mean/);
});

test("a pinned chip tells a sibling with the same document on other hardware apart", async () => {
  const context = newContext();
  const policy = parsePolicy(
    `version = 1\nname = "db1"\nminimumAssurance = "hardware"\n[snp]\nmeasurement = ["${toHex(MADE_MEASUREMENT)}"]\nchipId = ["${toHex(MADE_CHIP_ID)}"]\n`,
  );
  await expect(
    judge(snpEvidence(requestOf(context), machine(OWNERS)), context, policy),
  ).resolves.toBeDefined();
  const elsewhere = snpEvidence(requestOf(context), machine(OWNERS, { chip: new Uint8Array(64).fill(0x5a) }));
  expect(await refusedBy(() => judge(elsewhere, context, policy))).toBe("snp.chip-id");
});

test("an instance key pinned: none, another one, and a proof of another connection are refused", async () => {
  const context = newContext();
  const key = suite.randomBytes(32);
  const policy = policyOf(`[instance]\nkeys = ["${toHex(suite.ed25519PublicKey(key))}"]\n`);
  const good = snpEvidence(requestOf(context), machine(OWNERS, { instanceKey: key }));
  await expect(judge(good, context, policy)).resolves.toBeDefined();
  const without = snpEvidence(requestOf(context), machine(OWNERS));
  expect(await refusedBy(() => judge(without, context, policy))).toMatch(/^instance\./);
  const another = snpEvidence(requestOf(context), machine(OWNERS, { instanceKey: suite.randomBytes(32) }));
  expect(await refusedBy(() => judge(another, context, policy))).toMatch(/^instance\./);
  // A sibling that had the true guest sign for another connection, and puts that proof into evidence of its own.
  const foreign = requestOf(newContext());
  const borrowed = snpEvidence(
    { ...requestOf(context), proofContext: foreign.proofContext },
    machine(OWNERS, { instanceKey: key }),
  );
  expect(await refusedBy(() => judge(borrowed, context, policy))).toMatch(/^instance\./);
});

test("mix and match of two guests: report of one, what lies beside of the other", async () => {
  const context = newContext();
  const ours = snpEvidence(requestOf(context), machine(OWNERS));
  const theirs = snpEvidence(requestOf(context), machine(SIBLINGS));
  expect(await refusedBy(() => judge({ ...ours, aux: theirs.aux }, context))).toBe("snp.binding");
  expect(await refusedBy(() => judge({ ...theirs, aux: ours.aux }, context))).toBe("snp.binding");
});

test("every part beside the quote is bound: swapped, added, removed", async () => {
  const context = newContext();
  const evidence = snpEvidence(requestOf(context), machine(OWNERS));
  const parts = decodeAux("sev-snp", evidence.aux);
  const { certificates, crls } = madeSnp();
  const swaps: AuxParts[] = [
    { ...parts, instanceDocument: SIBLINGS },
    { ...parts, eventLog: utf8("nothing happened") },
    { ...parts, sshHostKeys: lv16(utf8("ssh-ed25519 attacker")) },
    // Good certificates of the same chain, by another way.
    { instanceDocument: OWNERS, collateral: encodeCollateral({ ...NO_COLLATERAL, certificates, crls }) },
  ];
  for (const swapped of swaps) {
    expect(await refusedBy(() => judge({ ...evidence, aux: encodeAux(swapped) }, context))).toBe(
      "snp.binding",
    );
  }
  const { instanceDocument: _gone, ...without } = parts;
  expect(await refusedBy(() => judge({ ...evidence, aux: encodeAux(without) }, context))).toBe("snp.binding");
  const longer = concat(evidence.aux, Uint8Array.of(0));
  expect(await refusedBy(() => judge({ ...evidence, aux: longer }, context))).toBe("evidence.format");
});

test("reflection and role: a binder for another role is refused", async () => {
  const context = newContext();
  const request: EvidenceRequest = {
    makeBinder: (type, aux) =>
      suite.sha512(
        concat(
          utf8("sealtty-evidence/1\0"),
          u8(1), // the client's role, not the guest's
          u16(EVIDENCE_TYPES[type]),
          ...[context.handshakeHash, context.guestStatic, context.exporter, context.clientNonce].map(lv16),
          lv16(suite.sha256(aux)),
        ),
      ),
    proofContext: requestOf(context).proofContext,
    ...ASKED,
  };
  expect(await refusedBy(() => judge(snpEvidence(request, machine(OWNERS)), context))).toBe("snp.binding");
});

test("evidence type confusion: a quote made for one type is no quote of another", async () => {
  const context = newContext();
  const request = requestOf(context);
  const asType = (type: EvidenceType): EvidenceRequest => ({
    ...request,
    makeBinder: (_, aux) => request.makeBinder(type, aux),
  });
  for (const type of Object.keys(EVIDENCE_TYPES) as EvidenceType[]) {
    if (type === "sev-snp") continue;
    const confused = snpEvidence(asType(type), machine(OWNERS));
    expect(await refusedBy(() => judge(confused, context)), type).toBe("snp.binding");
    const relabelled: Evidence = { ...snpEvidence(request, machine(OWNERS)), type };
    expect(await refusedBy(() => judge(relabelled, context)), type).toBe("evidence.type");
  }
  // A policy that accepts several kinds: the bytes of one under the label of the other.
  const several = parsePolicy(
    `version = 1\nname = "x"\nminimumAssurance = "host-vouched"\nanyInstance = true\n[snp]\nmeasurement = ["${toHex(MADE_MEASUREMENT)}"]\n` +
      `[tdx]\nmrtd = ["${"11".repeat(48)}"]\n${KERNEL}[tpm]\n[tpm.pcrs]\n4 = ["${"22".repeat(32)}"]\n`,
  );
  const snp = snpEvidence(request, machine(OWNERS));
  for (const type of ["tdx", "tpm"] as const) {
    expect(await refusedBy(() => judge({ ...snp, type }, context, several))).toMatch(
      /format|unsupported|parts|version/,
    );
  }
});

test("downgrade: weaker evidence than the policy names is refused by type", async () => {
  const context = newContext();
  const { quote } = snpEvidence(requestOf(context), machine(OWNERS));
  for (const type of ["tpm", "simulated", "azure-snp", "tdx", "nitro", "cca"] as const) {
    expect(await refusedBy(() => judge({ type, quote, aux: encodeAux({}) }, context)), type).toBe(
      "evidence.type",
    );
  }
});

test("truncated, oversized and empty everything is refused, and never by another error", async () => {
  const context = newContext();
  const good = snpEvidence(requestOf(context), machine(OWNERS));
  const bent: Evidence[] = [];
  for (const length of [0, 1, 16, 255, 672, 1183]) bent.push({ ...good, quote: good.quote.slice(0, length) });
  bent.push({ ...good, quote: concat(good.quote, Uint8Array.of(0)) });
  bent.push({ ...good, quote: new Uint8Array(64 * 1024) });
  for (let length = 0; length < good.aux.length; length += 211)
    bent.push({ ...good, aux: good.aux.slice(0, length) });
  for (const evidence of bent)
    expect(await refusedBy(() => judge(evidence, context))).toMatch(/^(snp|evidence)\./);
});

test("debug, migration and another image cannot hide behind a good instance", async () => {
  const context = newContext();
  const other = snpEvidence(requestOf(context), machine(OWNERS), { measurement: new Uint8Array(48).fill(9) });
  expect(await refusedBy(() => judge(other, context))).toBe("snp.measurement");
});

test("TDX: a sibling's MRCONFIGID is refused, the owner's is believed", async () => {
  const context = newContext();
  const { sha384 } = await import("@noble/hashes/sha2.js");
  const tdxEvidence = (doc: Uint8Array, launchedWith: Uint8Array): Evidence => {
    const mrConfigId = sha384(launchedWith);
    const { collateral } = madeTdx();
    const aux = encodeAux({ collateral: encodeCollateral(collateral), instanceDocument: doc });
    const { quote } = madeTdx({ mrConfigId, reportData: requestOf(context).makeBinder("tdx", aux) });
    return { type: "tdx", quote, aux };
  };
  const policy = parsePolicy(
    `version = 1\nname = "db1"\nminimumAssurance = "hardware"\n[instance]\ndocuments = ["${digest(OWNERS)}"]\n[tdx]\nmrtd = ["${"11".repeat(48)}"]\n${KERNEL}`,
  );
  const { claims } = await judge(tdxEvidence(OWNERS, OWNERS), context, policy);
  expect(claims.instanceDocument?.name).toBe("db1");
  expect(await refusedBy(() => judge(tdxEvidence(SIBLINGS, SIBLINGS), context, policy))).toBe(
    "instance.pinned-document",
  );
  expect(await refusedBy(() => judge(tdxEvidence(OWNERS, SIBLINGS), context, policy))).toBe(
    "instance.document",
  );
});

test("TDX: another kernel under the owner's firmware and document is refused, unless the policy lets in any", async () => {
  const context = newContext();
  const { sha384 } = await import("@noble/hashes/sha2.js");
  const { collateral } = madeTdx();
  const aux = encodeAux({ collateral: encodeCollateral(collateral), instanceDocument: OWNERS });
  const reportData = requestOf(context).makeBinder("tdx", aux);
  const evidenceOf = (rtmr1: number): Evidence => {
    const body = { rtmr1: new Uint8Array(48).fill(rtmr1) };
    return { type: "tdx", quote: madeTdx({ mrConfigId: sha384(OWNERS), reportData, body }).quote, aux };
  };
  const policyWith = (kernel: string) =>
    parsePolicy(
      `version = 1\nname = "db1"\nminimumAssurance = "hardware"\n[instance]\ndocuments = ["${digest(OWNERS)}"]\n[tdx]\nmrtd = ["${"11".repeat(48)}"]\n${kernel}`,
    );
  expect((await judge(evidenceOf(0x21), context, policyWith(KERNEL))).claims.warnings.join()).not.toContain(
    "kernel",
  );
  expect(await refusedBy(() => judge(evidenceOf(0x66), context, policyWith(KERNEL)))).toBe("tdx.rtmr");
  // Firmware and document are the owner's, and both are public: so the policy has to say that it wants no more.
  expect(() => policyWith("")).toThrow("allowAnyKernel");
  const any = await judge(evidenceOf(0x66), context, policyWith("allowAnyKernel = true\n"));
  expect(any.claims.warnings.join("\n")).toMatch(/pins no kernel/);
  expect(any.claims.notVerified.join("\n")).toContain(
    "RTMRs quoted but not pinned by the policy: 0, 1, 2, 3",
  );
});

/** A guest on a pipe in memory, whose evidence is what `collect` says. */
function guestOn(staticKey: KeyPair, collect: (request: EvidenceRequest) => Promise<Evidence>) {
  const clock = fastClock(10);
  const asked: string[] = [];
  const endpoint = new GuestEndpoint({
    suite: nodeSuite,
    clock,
    staticKey,
    services: {
      collectEvidence: collect,
      loginAllowed: true,
      keysAllowed: false,
      verifyUserKey: async () => undefined,
      wallTime: () => Date.now(),
      startProcess: async (user) => {
        asked.push(user.name);
        throw new SealttyError("program-failed", "none here");
      },
      log: () => {},
    },
  });
  const dial = async () => {
    const pipes = memoryPipes();
    void endpoint.servePipe(pipes.guest).catch(() => {});
    return pipes.client;
  };
  return { clock, dial, asked };
}

const options = (guest: ReturnType<typeof guestOn>, own: Partial<ConnectOptions> = {}): ConnectOptions =>
  clientOptions(guest.clock, guest.dial, {
    policy: policyOf(),
    acceptSimulated: false,
    wallTime: () => madeSnp().now,
    trustRoots: madeSnp().roots,
    ...own,
  });

test("a whole connection to an SNP guest: attested, authenticated, renewed", async () => {
  const guest = guestOn(nodeSuite.x25519KeyPair(), async (request) => snpEvidence(request, machine(OWNERS)));
  const events: string[] = [];
  const attested = await connect(options(guest, { onAttestation: (event) => events.push(event.kind) }));
  expect(attested.verified.claims.instanceDocument?.name).toBe("db1");
  const session = await attested.authenticate({ method: "none", user: "root" });
  await session.reattest();
  expect(events).toEqual(["renewed"]);
  await session.close();
});

test("the vendors' own roots refuse the same guest: nothing made here counts without a test saying so", async () => {
  const guest = guestOn(nodeSuite.x25519KeyPair(), async (request) => snpEvidence(request, machine(OWNERS)));
  const { trustRoots: _ours, ...vendors } = options(guest);
  const refused = await connect(vendors).catch((error: unknown) => error);
  expect(refused).toBeInstanceOf(SealttyError);
  expect((refused as SealttyError).refusal?.check).toMatch(/root|chain/);
});

test("relay through the genuine guest with its leaked static key: its evidence is for another connection", async () => {
  const leaked = nodeSuite.x25519KeyPair();
  const genuine = guestOn(leaked, async (request) => snpEvidence(request, machine(OWNERS)));
  let relayed = 0;
  const attacker = guestOn(leaked, async () => {
    // It knows the static key, and asks the genuine guest for evidence as any client may.
    const { evidence } = await inspectGuest(options(genuine));
    relayed++;
    return evidence;
  });
  const refused = await connect(options(attacker)).catch((error: unknown) => error);
  expect(relayed).toBe(1);
  expect((refused as SealttyError).refusal?.check).toBe("snp.binding");
  expect(attacker.asked).toEqual([]);
});

test("a sibling in the guest's place gets nothing: not a user name, before it was refused", async () => {
  const sibling = guestOn(nodeSuite.x25519KeyPair(), async (request) =>
    snpEvidence(request, machine(SIBLINGS)),
  );
  const refused = await connect(options(sibling)).catch((error: unknown) => error);
  expect((refused as SealttyError).refusal?.check).toBe("instance.pinned-document");
  expect(sibling.asked).toEqual([]);
});

test("a binder differs in every one of its values", () => {
  const context = newContext();
  const aux = Uint8Array.of(1);
  const base = toHex(binderOf(suite, context, "sev-snp", aux));
  const others = [
    binderOf(suite, { ...context, handshakeHash: new Uint8Array(32) }, "sev-snp", aux),
    binderOf(suite, { ...context, guestStatic: new Uint8Array(32) }, "sev-snp", aux),
    binderOf(suite, { ...context, exporter: new Uint8Array(32) }, "sev-snp", aux),
    binderOf(suite, { ...context, clientNonce: new Uint8Array(32) }, "sev-snp", aux),
    binderOf(suite, context, "tdx", aux),
    binderOf(suite, context, "sev-snp", Uint8Array.of(2)),
  ].map(toHex);
  expect(new Set([base, ...others]).size).toBe(7);
});
