// Writes the ProVerif models and expected.json from one parameterised source: `node formal/generate.mjs`.
// The .pv files are committed, so that they can be read and run without Node; a test checks that they are these.

import { writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

/** Byte strings that the models name by a constant; test/formal.test.ts compares them with protocol/attestation/binder.ts. */
export const LABELS = { label_evidence: "sealtty-evidence/1\\0", label_tpm: "sealtty-tpm/1\\0" };

/** The fields of the binder behind label, role and evidence type, in their order in protocol/attestation/binder.ts. */
export const BINDER_FIELDS = ["handshakeHash", "guestStatic", "exporter", "clientNonce"];

/** Names in both roles: n client nonce, gi gr gs public points, ee es DH results, ss KEM secret, h handshake hash. */
const PRODUCT = "hash((label_evidence, role_guest, h, gs, exporter(ee, ss, es), n))";
const BINDINGS = {
  none: "label_evidence",
  nonce: "hash((label_evidence, n))",
  "client-dh": "hash((label_evidence, gi))",
  static: "hash((label_evidence, gs))",
  "nonce-static": "hash((label_evidence, n, gs))",
  "h-static": "hash((label_evidence, h, gs))",
  product: PRODUCT,
  "product-tpm": `hash((label_tpm, ${PRODUCT}))`,
};

/**
 * binding    what the report signs                       leaked   every guest's static key is public from the start
 * keys       events carry the transport keys too         kem      false: plain NX
 * policy     instance | any (measurement only) | static (any instance, but the pinned static key)
 * later      what leaks in phase 1, when sessions are over: static, report (the hardware's key), dh, kem
 * user       user authentication: signature over h, or over the client nonce only
 * secure     expected: agreement and secrecy hold
 */
const VARIANTS = [
  {
    file: "unbound",
    claim: "A report that is bound to nothing can be relayed.",
    binding: "none",
    secure: false,
  },
  {
    file: "nonce",
    claim: "A report over a nonce of the client can be relayed from another session.",
    binding: "nonce",
    secure: false,
  },
  {
    file: "client-dh",
    claim: "A report over the client's ephemeral key: only this client can open the session it is sent in.",
    binding: "client-dh",
    secure: true,
  },
  {
    file: "static",
    claim: "A report over the guest's static key, while that key is secret.",
    binding: "static",
    secure: true,
  },
  {
    file: "static-leaked",
    claim: "The same once a static key has leaked (an old snapshot): an old report is replayed.",
    binding: "static",
    leaked: true,
    secure: false,
  },
  {
    file: "nonce-static",
    claim: "A report over nonce and static key, while that key is secret.",
    binding: "nonce-static",
    secure: true,
  },
  {
    file: "nonce-static-leaked",
    claim: "The same with a leaked static key: a fresh report is relayed.",
    binding: "nonce-static",
    leaked: true,
    secure: false,
  },
  {
    file: "h-static",
    claim: "A report over the handshake hash and the static key.",
    binding: "h-static",
    secure: true,
  },
  {
    file: "h-static-leaked",
    claim: "The same with a leaked static key: still no relay and no replay.",
    binding: "h-static",
    leaked: true,
    secure: true,
  },
  {
    file: "full",
    claim: "sealtty's binder, policy with an instance; the adversary runs the same image as other instances.",
    binding: "product",
    secure: true,
  },
  {
    file: "full-leaked",
    claim: "sealtty's binder with a leaked static key.",
    binding: "product",
    leaked: true,
    secure: true,
  },
  {
    file: "full-tpm-leaked",
    claim: "sealtty's binder as a TPM signs it, with a leaked static key.",
    binding: "product-tpm",
    leaked: true,
    secure: true,
  },
  {
    file: "full-keys-leaked",
    claim: "sealtty's binder with a leaked static key: agreement on the transport keys as well.",
    binding: "product",
    leaked: true,
    keys: true,
    secure: true,
  },
  {
    file: "same-image-any-instance",
    claim: "A policy with a measurement only: the adversary's own guest with the same image is accepted.",
    binding: "product",
    policy: "any",
    secure: false,
  },
  {
    file: "same-image-static-pinned",
    claim: "The same policy with a pinned static key: the adversary's guest is refused.",
    binding: "product",
    policy: "static",
    secure: true,
  },
  {
    file: "forward-secrecy",
    claim: "All long-term keys (static, report signing) leak after the session.",
    binding: "product",
    later: ["static", "report"],
    secure: true,
  },
  {
    file: "harvest-hybrid",
    claim: "Recorded today, X25519 broken later: all DH exponents and long-term keys leak after the session.",
    binding: "product",
    later: ["static", "report", "dh"],
    secure: true,
  },
  {
    file: "harvest-no-kem",
    claim: "The same without the KEM (plain NX): the recording opens.",
    binding: "product",
    later: ["static", "report", "dh"],
    kem: false,
    secure: false,
  },
  {
    file: "harvest-kem-broken",
    claim: "ML-KEM broken later: KEM secrets and long-term keys leak after the session, X25519 holds.",
    binding: "product",
    later: ["static", "report", "kem"],
    secure: true,
  },
  {
    file: "user-auth",
    claim:
      "A guest that accepts a user talks to a client of that user which accepted this very guest session; the static key has leaked, and the user also visits guests of the adversary.",
    binding: "product",
    leaked: true,
    user: "h",
    secure: true,
  },
  {
    file: "user-auth-nonce-only",
    claim:
      "A user signature that does not cover h: a guest of the adversary, which the user visits, logs in elsewhere as that user.",
    binding: "product",
    leaked: true,
    user: "nonce",
    secure: false,
  },
];

/** @returns the queries of a variant as [text, what ProVerif should say]. */
function queriesOf(v) {
  // An insecure variant is asked the weaker question: failing that, it fails the injective one too.
  const kind = v.secure ? "inj-event" : "event";
  if (v.user !== undefined) {
    return [
      ["h: bitstring; event(GuestUser(h))", false],
      [
        `h: bitstring; ${kind}(GuestUser(h)) ==> ${kind}(UserSigned(good_measurement, good_instance, h))`,
        v.secure,
      ],
      ["attacker(output)", v.secure],
    ];
  }
  const [types, args] = v.keys
    ? ["h: bitstring, s: group, k1: key, k2: key", "h, s, k1, k2"]
    : ["h: bitstring, s: group", "h, s"];
  const reachable = [`${types}; event(ClientAccept(${args}))`, false];
  if (v.later !== undefined) return [reachable, ["attacker(keystroke) phase 1", v.secure]];
  return [
    reachable,
    [`${types}; ${kind}(ClientAccept(${args})) ==> ${kind}(GuestEvidence(${args}))`, v.secure],
    ["attacker(keystroke)", v.secure],
  ];
}

function modelOf(v) {
  const kem = v.kem !== false;
  const policy = v.policy ?? "instance";
  const later = v.later ?? [];
  const binding = BINDINGS[v.binding];
  const queries = queriesOf(v);
  const keys = v.keys ? ", k_i2r(ee, ss, es), k_r2i(ee, ss, es)" : "";
  const userSigned = v.user === "h" ? "(label_user, h, hash(quote), user)" : "(label_user, n, user)";
  const userExpected = v.user === "h" ? "(=label_user, =h, =hash(quote), =user)" : "(=label_user, =n, =user)";
  // A user visits whatever guest the adversary names, each under a policy of its own.
  const accepted = v.user
    ? "=m, =i"
    : `=good_measurement, ${policy === "instance" ? "=good_instance" : "any_instance: instance"}`;
  const lines = (...all) => all.filter((line) => line !== false && line !== undefined).join("\n");

  const header = lines(
    `(* formal/${v.file}.pv, made by formal/generate.mjs: change that.`,
    "",
    ...wrap(`   ${v.claim}`, 108),
    "",
    "   Expected (RESULT lines of ProVerif 2.05):",
    ...queries.map(([query, expected]) => `     ${resultOf(query)} is ${expected}`),
    "   An event alone is a sanity check: false means that an honest run gets there. *)",
  );

  const declarations = lines(
    "set ignoreTypes = false.",
    "",
    "(* The network: all of it is the adversary's. *)",
    "free c: channel.",
    "",
    "type exponent.",
    "type group.",
    "type nonce.",
    "type key.",
    "type measurement.",
    "type instance.",
    "",
    "(* X25519. Both sides refuse the points that make the result constant; the model has no such points. *)",
    "const g: group.",
    "fun exp(group, exponent): group.",
    "equation forall x: exponent, y: exponent; exp(exp(g, x), y) = exp(exp(g, y), x).",
    "fun group_bits(group): bitstring [data].",
    "",
    kem &&
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
    !kem && lines("(* No KEM: a public constant in its place. *)", "const no_kem: bitstring.", ""),
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
    "(* Attestation hardware: anyone reads and checks a report, only the hardware makes one. *)",
    "fun report(measurement, instance, bitstring): bitstring [private].",
    "reduc forall m: measurement, i: instance, b: bitstring; read_report(report(m, i, b)) = (m, i, b).",
    "",
    v.user &&
      lines(
        "(* SSH signatures: whoever holds the public key reads what was signed. *)",
        "type signkey.",
        "type verifykey.",
        "fun verify_key(signkey): verifykey.",
        "fun sign(signkey, bitstring): bitstring.",
        "reduc forall k: signkey, p: bitstring; signed_by(verify_key(k), sign(k, p)) = p.",
        "",
      ),
    ...Object.entries(LABELS).map(([name, text]) => `const ${name}: bitstring. (* "${text}" *)`),
    "const prologue: bitstring.",
    "const role_guest: bitstring.",
    "const nothing: bitstring.",
    "const ad_evidence: bitstring.",
    v.user
      ? lines(
          "const ad_user: bitstring.",
          "const ad_output: bitstring.",
          "const label_user: bitstring.",
          "const user: bitstring.",
        )
      : "const ad_keystroke: bitstring.",
    "",
    "const good_measurement: measurement.",
    "const good_instance: instance.",
    v.user
      ? "free output: bitstring [private]. (* what the guest sends to an authenticated user *)"
      : "free keystroke: bitstring [private]. (* what the client sends after the appraisal *)",
    "",
    v.user
      ? lines("event UserSigned(measurement, instance, bitstring).", "event GuestUser(bitstring).")
      : lines(
          `event ClientAccept(bitstring, group${v.keys ? ", key, key" : ""}).`,
          `event GuestEvidence(bitstring, group${v.keys ? ", key, key" : ""}).`,
        ),
    "",
    ...queries.map(([query]) => `query ${query}.`),
  );

  const client = lines(
    "(* -> e, e1    <- e, ee, ekem1, s, es    then evidence, and only then anything of the client's *)",
    `let Client${parameters([policy === "static" && "pinned: group", v.user && "usk: signkey"])} =`,
    v.user && "  in(c, (m: measurement, i: instance));",
    "  new n: nonce;",
    "  new x: exponent;",
    kem && "  new d: kemsecret;",
    later.includes("dh") && "  ((phase 1; out(c, x)) | (",
    later.includes("kem") && "  ((phase 1; out(c, d)) | (",
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
    `  let group_bits(${policy === "static" ? "=pinned" : "gs: group"}) = unseal(k_static(ee, ss), h2, sealed_static) in`,
    policy === "static" && "  let gs = pinned in",
    "  let h3 = hash((h2, sealed_static)) in",
    "  let es = exp(gs, x) in",
    "  let (=nothing) = unseal(k_payload(ee, ss, es), h3, sealed_payload) in",
    "  let h = hash((h3, sealed_payload)) in",
    "  in(c, sealed_evidence: bitstring);",
    "  let quote = unseal(k_r2i(ee, ss, es), ad_evidence, sealed_evidence) in",
    `  let (${accepted}, =${binding}) = read_report(quote) in`,
    v.user
      ? lines(
          "  event UserSigned(m, i, h);",
          `  out(c, seal(k_i2r(ee, ss, es), ad_user, sign(usk, ${userSigned})))`,
        )
      : lines(
          `  event ClientAccept(h, gs${keys});`,
          "  out(c, seal(k_i2r(ee, ss, es), ad_keystroke, keystroke))",
        ),
    (later.includes("dh") || later.includes("kem")) && "  ))",
  );

  const guest = lines(
    `let Guest${parameters(["s: exponent", v.user && "user_key: verifykey"])} =`,
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
    `  let quote = report(good_measurement, good_instance, ${binding}) in`,
    !v.user && `  event GuestEvidence(h, gs${keys});`,
    `  out(c, (gr${kem ? ", sealed_kem" : ""}, sealed_static, sealed_payload));`,
    `  out(c, seal(k_r2i(ee, ss, es), ad_evidence, quote))${v.user ? ";" : "."}`,
    v.user &&
      lines(
        "  in(c, sealed_user: bitstring);",
        "  let signature = unseal(k_i2r(ee, ss, es), ad_user, sealed_user) in",
        `  let ${userExpected} = signed_by(user_key, signature) in`,
        "  event GuestUser(h);",
        "  out(c, seal(k_r2i(ee, ss, es), ad_output, output)).",
      ),
  );

  const others = lines(
    "(* The adversary's own genuine guests, among them the same image as another instance (which is also a sibling that",
    "   leaks all it has), and any image that claims this instance: any report but ours. *)",
    "let OtherGuests =",
    "  in(c, (m: measurement, i: instance, b: bitstring));",
    "  if m <> good_measurement || i <> good_instance then",
    "  out(c, report(m, i, b)).",
  );

  const guestProcess = `!Guest(s${v.user ? ", verify_key(usk)" : ""})`;
  const boot = (inner) =>
    lines(
      "    new s: exponent;",
      "    out(c, exp(g, s));",
      v.leaked && "    out(c, s);",
      later.includes("static") ? `    ((${inner}) | (phase 1; out(c, s)))` : `    (${inner})`,
    );
  const reports =
    later.includes("report") &&
    lines("  | (phase 1; !(in(c, (m: measurement, i: instance, b: bitstring)); out(c, report(m, i, b))))");
  const main =
    policy === "static"
      ? lines("process", "  (", boot(`(!Client(exp(g, s))) | (${guestProcess})`), "  )", "  | (!OtherGuests)")
      : lines(
          "process",
          v.user && lines("  new usk: signkey;", "  out(c, verify_key(usk));", "  ("),
          `  (!Client${v.user ? "(usk)" : ""})`,
          "  | (!OtherGuests)",
          "  | !(",
          boot(guestProcess),
          "  )",
          reports,
          v.user && "  )",
        );

  return `${[header, declarations, `${client}.`, guest, others, main].join("\n\n")}\n`;
}

function parameters(all) {
  const used = all.filter(Boolean);
  return used.length === 0 ? "" : `(${used.join(", ")})`;
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
export const models = Object.fromEntries(VARIANTS.map((v) => [`${v.file}.pv`, modelOf(v)]));

/** File name → query → what ProVerif should answer. */
export const expected = Object.fromEntries(
  VARIANTS.map((v) => [`${v.file}.pv`, Object.fromEntries(queriesOf(v))]),
);

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  for (const [file, text] of Object.entries(models)) writeFileSync(new URL(file, import.meta.url), text);
  writeFileSync(new URL("expected.json", import.meta.url), `${JSON.stringify(expected, null, 2)}\n`);
  console.log(`${Object.keys(models).length} models`);
}
