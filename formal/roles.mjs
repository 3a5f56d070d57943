// The processes of a model: client, guest, the adversary's hardware, and how they are started.

import { BINDINGS, CLAIMS, KEY_PROOF_TERMS, agreedOn, lines, parameters, renewalBinder } from "./terms.mjs";

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

export function clientOf(v) {
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

export function guestOf(v) {
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
export function othersOf(v) {
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

export function mainOf(v) {
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
