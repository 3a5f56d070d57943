// Writes the ProVerif models and expected.json from one parameterised source: `node formal/generate.mjs`.
// The .pv files are committed, so that they can be read and run without Node; a test checks that they are these.

import { writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { clientOf, guestOf, mainOf, othersOf } from "./roles.mjs";
import { CLAIMS, LABELS, agreedOn, lines } from "./terms.mjs";
import { VARIANTS } from "./variants.mjs";

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
    v.renewal && lines("const first: counter.", "const second: counter."),
    "",
    "const good_measurement: measurement.",
    has("instance") && "const good_instance: instance.",
    has("document") && "const good_document: bitstring. (* public: the host delivers it *)",
    has("owner") && "const good_owner: bitstring. (* public, and nobody signs it *)",
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
