// Writes the ProVerif models and expected.json from one parameterised source: `node formal/generate.mjs`.
// The .pv files are committed, so that they can be read and run without Node; a test checks that they are these.

import { writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { VARIANTS } from "./variants.mjs";

/** Byte strings that the models name by a constant; test/formal.test.ts compares them with protocol/attestation/binder.ts. */
export const LABELS = {
  label_evidence: "sealtty-evidence/1\\0",
  label_reattest: "sealtty-reattest/1\\0",
  label_tpm: "sealtty-tpm/1\\0",
};

/** What protocol/attestation/binder.ts hashes, in its order, and the term that stands for it here. */
export const BINDER = {
  LABEL: "label_evidence",
  "u8(ROLE_GUEST)": "role_guest",
  "u16(EVIDENCE_TYPES[type])": "type",
  "lv16(context.handshakeHash)": "h",
  "lv16(context.guestStatic)": "gs",
  "lv16(context.exporter)": "exporter(ee, ss, es)",
  "lv16(context.clientNonce)": "n",
  "lv16(suite.sha256(aux))": "aux",
};
export const RENEWAL_BINDER = {
  REATTEST_LABEL: "label_reattest",
  "u8(ROLE_GUEST)": "role_guest",
  "u16(EVIDENCE_TYPES[type])": "type",
  "lv16(context.handshakeHash)": "h",
  "lv16(context.guestStatic)": "gs",
  "lv16(context.exporter)": "exporter(ee, ss, es)",
  "u32(context.counter)": "counter",
  "lv16(context.renewalNonce)": "nonce",
  "lv16(suite.sha256(aux))": "aux",
};

/** What an instance key signs (keyProofContext in binder.ts); here no renewal is signed for, so its part is empty. */
export const KEY_PROOF = {
  "lv16(context.handshakeHash)": "h",
  "lv16(context.guestStatic)": "gs",
  "lv16(context.clientNonce)": "n",
  "lv16(renewal)": "nothing",
};
const KEY_PROOF_TERMS = ["label_instance", ...Object.values(KEY_PROOF)];

/** @param values - term for a part that differs; undefined leaves the part out. */
function hashOf(parts, values) {
  const terms = Object.values(parts).map((part) => (part in values ? values[part] : part));
  return `hash((${terms.filter((term) => term !== undefined).join(", ")}))`;
}

/** Names in both roles: n client nonce, gi gr gs public points, ee es DH results, ss KEM secret, h handshake hash. */
const product = (v) =>
  hashOf(BINDER, {
    type: v.unbound === "type" ? undefined : typeOf(v),
    aux: v.unbound === "aux" ? undefined : "hash(aux)",
  });
const BINDINGS = {
  none: () => "label_evidence",
  nonce: () => "hash((label_evidence, n))",
  "client-dh": () => "hash((label_evidence, gi))",
  static: () => "hash((label_evidence, gs))",
  "nonce-static": () => "hash((label_evidence, n, gs))",
  "h-static": () => "hash((label_evidence, h, gs))",
  product,
  "product-tpm": (v) => `hash((label_tpm, ${product(v)}))`,
};
const renewalBinder = (v, counter, nonce, aux) =>
  hashOf(RENEWAL_BINDER, {
    type: typeOf(v),
    counter: v.renewal.binds.includes("counter") ? counter : undefined,
    nonce: v.renewal.binds.includes("nonce") ? nonce : undefined,
    aux: `hash(${aux})`,
  });
const typeOf = (v) => (v.agree === "type" ? "t" : "type_snp");

/** What a report says: variable, type, and the owner's guest's own value. */
const CLAIMS = {
  measurement: { name: "m", type: "measurement", good: "good_measurement" },
  instance: { name: "i", type: "instance", good: "good_instance" },
  document: { name: "digest", type: "bitstring", good: "hash(good_document)" },
  author: { name: "author", type: "verifykey", good: "verify_key(owner_author)" },
  chip: { name: "cpu", type: "chip", good: "good_chip" },
  boot: { name: "boot", type: "bootid", good: "boot" },
};

/** A variant with its defaults. */
function settle(v) {
  const claims = ["measurement", ...(v.claims ?? ["instance"])];
  return {
    kem: true,
    later: [],
    evidence: "sealed",
    others: "instances",
    pins: claims.filter((claim) => claim !== "boot"),
    ...v,
    claims,
  };
}

/** @returns what the events about evidence carry, as [variable in the query, type, term in the processes]. */
function agreedOn(v) {
  return [
    ["h", "bitstring", "h"],
    ["s", "group", "gs"],
    ...(v.keys
      ? [
          ["k1", "key", "k_i2r(ee, ss, es)"],
          ["k2", "key", "k_r2i(ee, ss, es)"],
        ]
      : []),
    ...(v.agree === "aux" ? [["a", "bitstring", "aux"]] : []),
    ...(v.agree === "type" ? [["t", "evidencetype", "t"]] : []),
    ...(v.hostDocument ? [["d", "bitstring", "document"]] : []),
  ];
}

/** @returns the queries of a variant as [text, what ProVerif should say]. */
function queriesOf(v) {
  const [agreement, second] = Array.isArray(v.secure) ? v.secure : [v.secure, v.secure];
  // An insecure variant is asked the weaker question: failing that, it fails the injective one too.
  const kind = agreement ? "inj-event" : "event";
  if (v.user !== undefined) {
    return [
      ["h: bitstring; event(GuestUser(h))", false],
      [
        `h: bitstring; ${kind}(GuestUser(h)) ==> ${kind}(UserSigned(good_measurement, good_instance, h))`,
        agreement,
      ],
      ["attacker(output)", second],
    ];
  }
  if (v.renewal !== undefined) {
    const types = "h: bitstring, k: counter, r: nonce";
    return [
      [`${types}; event(ClientRenewed(h, k, r))`, false],
      [`${types}; ${kind}(ClientRenewed(h, k, r)) ==> ${kind}(GuestRenewed(h, k, r))`, agreement],
    ];
  }
  const agreed = agreedOn(v);
  const types = agreed.map(([name, type]) => `${name}: ${type}`).join(", ");
  const args = agreed.map(([name]) => name).join(", ");
  const reachable = [`${types}; event(ClientAccept(${args}))`, false];
  if (v.later.length > 0) return [reachable, ["attacker(keystroke) phase 1", second]];
  if (v.hostDocument !== undefined)
    return [
      reachable,
      [`${types}; event(ClientAccept(${args})) ==> event(OwnerMade(d))`, agreement],
      [`${types}; event(GuestEvidence(${args})) ==> event(OwnerMade(d))`, second],
    ];
  return [
    reachable,
    [`${types}; ${kind}(ClientAccept(${args})) ==> ${kind}(GuestEvidence(${args}))`, agreement],
    ["attacker(keystroke)", second],
  ];
}

function headerOf(v) {
  return lines(
    `(* formal/${v.file}.pv, made by formal/generate.mjs: change that.`,
    "",
    ...wrap(`   ${v.claim}`, 108),
    "",
    "   Expected (RESULT lines of ProVerif 2.05):",
    ...queriesOf(v).map(([query, expected]) => `     ${resultOf(query)} is ${expected}`),
    "   An event alone is a sanity check: false means that an honest run gets there. *)",
  );
}

function declarationsOf(v) {
  const has = (claim) => v.claims.includes(claim);
  const reported = v.claims.map((claim) => CLAIMS[claim]);
  const reportTerm = `report(${[...reported.map(({ name }) => name), "b"].join(", ")})`;
  return lines(
    "set ignoreTypes = false.",
    "",
    "(* The network: all of it is the adversary's. *)",
    "free c: channel.",
    "",
    "type exponent.",
    "type group.",
    "type nonce.",
    "type key.",
    "type evidencetype.",
    "type measurement.",
    has("instance") && "type instance.",
    has("chip") && "type chip.",
    has("boot") && lines("type bootid.", "type counter."),
    "",
    "(* X25519. Both sides refuse the points that make the result constant; the model has no such points. *)",
    "const g: group.",
    "fun exp(group, exponent): group.",
    "equation forall x: exponent, y: exponent; exp(exp(g, x), y) = exp(exp(g, y), x).",
    "fun group_bits(group): bitstring [data].",
    "",
    v.kem &&
      lines(
        "(* ML-KEM-768 *)",
        "type kemsecret.",
        "type kempublic.",
        "type coins.",
        "fun kem_public(kemsecret): kempublic.",
        "fun kem_ciphertext(kempublic, coins): bitstring.",
        "fun kem_shared(kempublic, coins): bitstring.",
        "reduc forall d: kemsecret, r: coins;",
        "  decapsulate(d, kem_ciphertext(kem_public(d), r)) = kem_shared(kem_public(d), r).",
        "",
      ),
    !v.kem && lines("(* No KEM: a public constant in its place. *)", "const no_kem: bitstring.", ""),
    "(* SHA-256, SHA-512 *)",
    "fun hash(bitstring): bitstring.",
    "",
    "(* ChaCha20-Poly1305: key, associated data, plaintext. Each handshake key seals once; transport packets differ in",
    "   their associated data. *)",
    "fun seal(key, bitstring, bitstring): bitstring.",
    "reduc forall k: key, a: bitstring, p: bitstring; unseal(k, a, seal(k, a, p)) = p.",
    "",
    "(* The HKDF chain: one function for each key that leaves it, over all secrets mixed in so far. *)",
    "fun k_ekem(group): key.",
    "fun k_static(group, bitstring): key.",
    "fun k_payload(group, bitstring, group): key.",
    "fun k_i2r(group, bitstring, group): key.",
    "fun k_r2i(group, bitstring, group): key.",
    "fun exporter(group, bitstring, group): bitstring.",
    "",
    (v.user || v.instanceKey || has("author")) &&
      lines(
        "(* SSH, Ed25519 and ID block signatures: whoever holds the public key reads what was signed. *)",
        "type signkey.",
        "type verifykey.",
        "fun verify_key(signkey): verifykey.",
        "fun sign(signkey, bitstring): bitstring.",
        "reduc forall k: signkey, p: bitstring; signed_by(verify_key(k), sign(k, p)) = p.",
        "",
      ),
    "(* Attestation hardware: anyone reads and checks a report, only the hardware makes one. *)",
    `fun report(${[...reported.map(({ type }) => type), "bitstring"].join(", ")}): bitstring [private].`,
    `reduc forall ${[...reported.map(({ name, type }) => `${name}: ${type}`), "b: bitstring"].join(", ")};`,
    `  read_report(${reportTerm}) = (${[...reported.map(({ name }) => name), "b"].join(", ")}).`,
    "",
    ...Object.entries(LABELS).map(([name, text]) => `const ${name}: bitstring. (* "${text}" *)`),
    "const prologue: bitstring.",
    "const role_guest: bitstring.",
    "const type_snp: evidencetype.",
    v.agree === "type" && "const type_azure_snp: evidencetype.",
    "const nothing: bitstring.",
    !has("document") && "const certificates: bitstring.",
    "const ad_evidence: bitstring.",
    !v.user && !v.renewal && "const ad_keystroke: bitstring.",
    v.user &&
      lines(
        "const ad_user: bitstring.",
        "const ad_output: bitstring.",
        "const label_user: bitstring.",
        "const user: bitstring.",
      ),
    v.instanceKey && "const label_instance: bitstring.",
    v.renewal && lines("const first: counter.", "const second: counter."),
    "",
    "const good_measurement: measurement.",
    has("instance") && "const good_instance: instance.",
    has("document") && "const good_document: bitstring. (* public: the host delivers it *)",
    has("chip") && "const good_chip: chip.",
    has("author") &&
      lines("free owner_author: signkey [private].", "fun measurement_bits(measurement): bitstring [data]."),
    v.user && "free output: bitstring [private]. (* what the guest sends to an authenticated user *)",
    !v.user &&
      !v.renewal &&
      "free keystroke: bitstring [private]. (* what the client sends after the appraisal *)",
  );
}

function eventsOf(v) {
  if (v.user)
    return lines("event UserSigned(measurement, instance, bitstring).", "event GuestUser(bitstring).");
  if (v.renewal)
    return lines(
      "event ClientRenewed(bitstring, counter, nonce).",
      "event GuestRenewed(bitstring, counter, nonce).",
    );
  const types = agreedOn(v)
    .map(([, type]) => type)
    .join(", ");
  return lines(
    `event ClientAccept(${types}).`,
    v.later.length === 0 && `event GuestEvidence(${types}).`,
    v.hostDocument && "event OwnerMade(bitstring).",
  );
}

/** The pattern that the client's policy makes for what read_report gives. @param renewal - its counter. */
function acceptedReport(v, binder, renewal) {
  const patterns = v.claims.map((claim) => {
    const { name, type, good } = CLAIMS[claim];
    if (v.user) return `=${name}`; // each guest a user visits under a policy of its own
    if (claim === "boot") {
      if (renewal === undefined) return "boot: bootid";
      return v.renewal.sameBoot ? "=boot" : `boot_${renewal}: bootid`;
    }
    if (v.pins.includes(claim)) return `=${good}`;
    return claim === "document" ? "=hash(document)" : `any_${name}: ${type}`;
  });
  return `(${[...patterns, `=${binder}`].join(", ")})`;
}

const eventOf = (name, v) =>
  `  event ${name}(${agreedOn(v)
    .map(([, , term]) => term)
    .join(", ")})`;
const USER_SIGNED = {
  h: ["label_user", "h", "hash(evidence)", "user"],
  nonce: ["label_user", "n", "user"],
};

function clientOf(v) {
  const has = (claim) => v.claims.includes(claim);
  const kem = v.kem;
  const typed = v.agree === "type";
  const leaksLater = v.later.includes("dh") || v.later.includes("kem");
  // Who compares the document that came beside the quote: with the policy's digest, or (acceptedReport) with the report's.
  const checksDocument = v.hostDocument === undefined || v.hostDocument.includes("client");
  const rounds = (v.renewal ? ["first", "second"] : []).map((counter) =>
    lines(
      `  new renewal_${counter}: nonce;`,
      `  out(c, (${counter}, renewal_${counter}));`,
      `  in(c, (quote_${counter}: bitstring, aux_${counter}: bitstring));`,
      `  let ${acceptedReport(v, renewalBinder(v, counter, `renewal_${counter}`, `aux_${counter}`), counter)} = read_report(quote_${counter}) in`,
      `  event ClientRenewed(h, ${counter}, renewal_${counter})`,
    ),
  );
  return lines(
    "(* -> e, e1    <- e, ee, ekem1, s, es    then evidence, and only then anything of the client's *)",
    `let Client${parameters(
      v.staticPinned && "pinned: group",
      v.user && "usk: signkey",
      v.instanceKey && "pinned_key: verifykey",
    )} =`,
    v.user && "  in(c, (m: measurement, i: instance));",
    "  new n: nonce;",
    "  new x: exponent;",
    kem && "  new d: kemsecret;",
    v.later.includes("dh") && "  ((phase 1; out(c, x)) | (",
    v.later.includes("kem") && "  ((phase 1; out(c, d)) | (",
    "  let gi = exp(g, x) in",
    `  out(c, (n, gi${kem ? ", kem_public(d)" : ""}));`,
    `  in(c, (gr: group${kem ? ", sealed_kem: bitstring" : ""}, sealed_static: bitstring, sealed_payload: bitstring));`,
    "  let ee = exp(gr, x) in",
    `  let h1 = hash((prologue, n, gi${kem ? ", kem_public(d)" : ""}, gr)) in`,
    kem &&
      lines(
        "  let ct = unseal(k_ekem(ee), h1, sealed_kem) in",
        "  let ss = decapsulate(d, ct) in",
        "  let h2 = hash((h1, sealed_kem)) in",
      ),
    !kem && lines("  let ss = no_kem in", "  let h2 = h1 in"),
    `  let group_bits(${v.staticPinned ? "=pinned" : "gs: group"}) = unseal(k_static(ee, ss), h2, sealed_static) in`,
    v.staticPinned && "  let gs = pinned in",
    "  let h3 = hash((h2, sealed_static)) in",
    "  let es = exp(gs, x) in",
    "  let (=nothing) = unseal(k_payload(ee, ss, es), h3, sealed_payload) in",
    "  let h = hash((h3, sealed_payload)) in",
    v.evidence === "clear"
      ? "  in(c, evidence: bitstring);"
      : lines(
          "  in(c, sealed_evidence: bitstring);",
          "  let evidence = unseal(k_r2i(ee, ss, es), ad_evidence, sealed_evidence) in",
        ),
    `  let (${typed ? "t: evidencetype, " : ""}quote: bitstring, aux: bitstring) = evidence in`,
    has("document") &&
      `  let ${v.instanceKey ? "(document: bitstring, signature: bitstring)" : "document"} = aux in`,
    has("document") &&
      checksDocument &&
      v.pins.includes("document") &&
      "  if hash(document) = hash(good_document) then",
    v.instanceKey &&
      `  let (${KEY_PROOF_TERMS.map((term) => `=${term}`).join(", ")}) = signed_by(pinned_key, signature) in`,
    `  let ${acceptedReport(v, BINDINGS[v.binding](v))} = read_report(quote) in`,
    v.user &&
      lines(
        "  event UserSigned(m, i, h);",
        `  out(c, seal(k_i2r(ee, ss, es), ad_user, sign(usk, (${USER_SIGNED[v.user].join(", ")}))))`,
      ),
    v.renewal && lines("  phase 1;", rounds.join(";\n")),
    !v.user &&
      !v.renewal &&
      lines(`${eventOf("ClientAccept", v)};`, "  out(c, seal(k_i2r(ee, ss, es), ad_keystroke, keystroke))"),
    leaksLater && "  ))",
  );
}

function guestOf(v) {
  const has = (claim) => v.claims.includes(claim);
  const kem = v.kem;
  const typed = v.agree === "type";
  const own = v.claims.map((claim) => CLAIMS[claim].good).join(", ");
  const aux = has("document") ? "document" : "certificates";
  return lines(
    `let Guest${parameters(
      "s: exponent",
      v.user && "user_key: verifykey",
      v.instanceKey && "instance_key: signkey",
      has("boot") && "boot: bootid",
    )} =`,
    v.hostDocument && "  in(c, document: bitstring);",
    v.hostDocument?.includes("guest") && "  if hash(document) = hash(good_document) then",
    has("document") && !v.hostDocument && "  let document = good_document in",
    typed && "  in(c, t: evidencetype);",
    `  in(c, (n: nonce, gi: group${kem ? ", their_kem: kempublic" : ""}));`,
    "  new y: exponent;",
    kem && "  new r: coins;",
    "  let gr = exp(g, y) in",
    "  let gs = exp(g, s) in",
    "  let ee = exp(gi, y) in",
    "  let es = exp(gi, s) in",
    `  let h1 = hash((prologue, n, gi${kem ? ", their_kem" : ""}, gr)) in`,
    kem &&
      lines(
        "  let ss = kem_shared(their_kem, r) in",
        "  let sealed_kem = seal(k_ekem(ee), h1, kem_ciphertext(their_kem, r)) in",
        "  let h2 = hash((h1, sealed_kem)) in",
      ),
    !kem && lines("  let ss = no_kem in", "  let h2 = h1 in"),
    "  let sealed_static = seal(k_static(ee, ss), h2, group_bits(gs)) in",
    "  let h3 = hash((h2, sealed_static)) in",
    "  let sealed_payload = seal(k_payload(ee, ss, es), h3, nothing) in",
    "  let h = hash((h3, sealed_payload)) in",
    v.instanceKey
      ? `  let aux = (${aux}, sign(instance_key, (${KEY_PROOF_TERMS.join(", ")}))) in`
      : `  let aux = ${aux} in`,
    `  let quote = report(${own}, ${BINDINGS[v.binding](v)}) in`,
    `  let evidence = (${typed ? "t, " : ""}quote, aux) in`,
    !v.user && !v.renewal && v.later.length === 0 && `${eventOf("GuestEvidence", v)};`,
    `  out(c, (gr${kem ? ", sealed_kem" : ""}, sealed_static, sealed_payload));`,
    `  out(c, ${v.evidence === "clear" ? "evidence" : "seal(k_r2i(ee, ss, es), ad_evidence, evidence)"})${v.user || v.renewal ? ";" : "."}`,
    v.user &&
      lines(
        "  in(c, sealed_user: bitstring);",
        "  let signature = unseal(k_i2r(ee, ss, es), ad_user, sealed_user) in",
        `  let (${USER_SIGNED[v.user].map((term) => `=${term}`).join(", ")}) = signed_by(user_key, signature) in`,
        "  event GuestUser(h);",
        "  out(c, seal(k_r2i(ee, ss, es), ad_output, output)).",
      ),
    v.renewal &&
      lines(
        "  phase 1;",
        "  ((out(c, exporter(ee, ss, es))) | !(",
        "    in(c, (k: counter, renewal: nonce));",
        "    event GuestRenewed(h, k, renewal);",
        `    out(c, (report(${own}, ${renewalBinder(v, "k", "renewal", "aux")}), aux))`,
        "  )).",
      ),
  );
}

/** Genuine hardware that works for the adversary: asked for a report over any binder, by guests that it may have. */
function othersOf(v) {
  const asked = v.claims.filter((claim) => claim !== "boot").map((claim) => CLAIMS[claim]);
  const inputs = asked.map(({ name, type }) => `${name}: ${type}`);
  const reported = v.claims.map((claim) => CLAIMS[claim].name);
  const instance = v.claims.includes("document") ? "digest <> hash(good_document)" : "i <> good_instance";
  const [condition, comment] = {
    instances: [
      `m <> good_measurement || ${instance}`,
      lines(
        "(* The adversary's own genuine guests, among them the same image as another instance (which is also a sibling that",
        "   leaks all it has), and any image that claims this instance: any report but ours. *)",
      ),
    ],
    images: [
      "m <> good_measurement",
      "(* The adversary's own genuine guests: any image but the owner's, which serves its own users wherever it runs. *)",
    ],
    chips: [
      "cpu <> good_chip",
      "(* The adversary's own genuine guests: any image and document, the owner's too, on any chip but the pinned one. *)",
    ],
  }[v.others];
  const author = v.claims.includes("author");
  return lines(
    comment,
    author &&
      "(* The hardware reports an author only with an ID block of that author for this measurement. *)",
    "let OtherGuests =",
    `  in(c, (${[...inputs, author && "id_block: bitstring", "b: bitstring"].filter(Boolean).join(", ")}));`,
    author && "  let (=measurement_bits(m)) = signed_by(author, id_block) in",
    `  if ${condition} then`,
    v.claims.includes("boot") && "  new boot: bootid;",
    `  out(c, report(${reported.join(", ")}, b)).`,
    v.reboots &&
      lines(
        "",
        "(* The owner's guest after a reboot, taken over: the same image and document, another boot. *)",
        "let Rebooted =",
        "  in(c, b: bitstring);",
        "  new boot: bootid;",
        `  out(c, report(${v.claims.map((claim) => CLAIMS[claim].good).join(", ")}, b)).`,
      ),
  );
}

function mainOf(v) {
  const client = `!Client${parameters(
    v.staticPinned && "exp(g, s)",
    v.user && "usk",
    v.instanceKey && "verify_key(ik)",
  )}`;
  const guest = `!Guest${parameters(
    "s",
    v.user && "verify_key(usk)",
    v.instanceKey && "ik",
    v.claims.includes("boot") && "boot",
  )}`;
  const boot = (inner) =>
    lines(
      "    new s: exponent;",
      v.claims.includes("boot") && "    new boot: bootid;",
      "    out(c, exp(g, s));",
      v.leaked && "    out(c, s);",
      v.later.includes("static") ? `    ((${inner}) | (phase 1; out(c, s)))` : `    (${inner})`,
    );
  const anyReport = v.claims.map((claim) => CLAIMS[claim]);
  const before = lines(
    v.user && lines("  new usk: signkey;", "  out(c, verify_key(usk));"),
    v.instanceKey && lines("  new ik: signkey;", "  out(c, verify_key(ik));"),
    v.instanceKey === "leaked" && "  out(c, ik);",
    v.claims.includes("author") &&
      lines(
        "  out(c, verify_key(owner_author));",
        "  out(c, sign(owner_author, measurement_bits(good_measurement)));",
      ),
    v.hostDocument && "  event OwnerMade(good_document);",
  );
  const parts = v.staticPinned
    ? lines("  (", boot(`(${client}) | (${guest})`), "  )", "  | (!OtherGuests)")
    : lines(
        `  (${client})`,
        "  | (!OtherGuests)",
        v.reboots && "  | (phase 1; !Rebooted)",
        "  | !(",
        boot(guest),
        "  )",
        v.later.includes("report") &&
          lines(
            `  | (phase 1; !(in(c, (${anyReport.map(({ name, type }) => `${name}: ${type}`).join(", ")}, b: bitstring)); out(c, report(${anyReport.map(({ name }) => name).join(", ")}, b))))`,
          ),
      );
  return before === "" ? lines("process", parts) : lines("process", before, "  (", parts, "  )");
}

function modelOf(v) {
  const queries = lines(...queriesOf(v).map(([query]) => `query ${query}.`));
  const parts = [
    headerOf(v),
    declarationsOf(v),
    eventsOf(v),
    queries,
    `${clientOf(v)}.`,
    guestOf(v),
    othersOf(v),
  ];
  return `${[...parts, mainOf(v)].join("\n\n")}\n`;
}

function parameters(...all) {
  const used = all.filter(Boolean);
  return used.length === 0 ? "" : `(${used.join(", ")})`;
}

function lines(...all) {
  return all.filter((line) => line !== false && line !== undefined).join("\n");
}

/** What ProVerif calls a query in its results. */
function resultOf(query) {
  const body = query.replace(/^[^;()]*; /, "");
  return body.includes("==>") ? body : `not ${body}`;
}

function wrap(text, width) {
  const [indent] = /^ */.exec(text);
  const out = [];
  let line = indent;
  for (const word of text.trim().split(" ")) {
    if (line.length + word.length > width) {
      out.push(line.trimEnd());
      line = indent;
    }
    line += `${word} `;
  }
  return [...out, line.trimEnd()];
}

/** File name → text. */
export const models = Object.fromEntries(VARIANTS.map((v) => [`${v.file}.pv`, modelOf(settle(v))]));

/** File name → query → what ProVerif should answer. */
export const expected = Object.fromEntries(
  VARIANTS.map((v) => [`${v.file}.pv`, Object.fromEntries(queriesOf(settle(v)))]),
);

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  for (const [file, text] of Object.entries(models)) writeFileSync(new URL(file, import.meta.url), text);
  writeFileSync(new URL("expected.json", import.meta.url), `${JSON.stringify(expected, null, 2)}\n`);
  console.log(`${Object.keys(models).length} models`);
}
