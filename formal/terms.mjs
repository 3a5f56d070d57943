// The terms that the models are made of: labels, binders, what a report says, what the events carry.

/** Byte strings that the models name by a constant; test/formal.test.ts compares them with protocol/attestation. */
export const LABELS = {
  label_evidence: "sealtty-evidence/1\\0",
  label_instance: "sealtty-instance-key/1\\0",
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
export const KEY_PROOF_TERMS = ["label_instance", ...Object.values(KEY_PROOF)];

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
export const BINDINGS = {
  none: () => "label_evidence",
  nonce: () => "hash((label_evidence, n))",
  "client-dh": () => "hash((label_evidence, gi))",
  static: () => "hash((label_evidence, gs))",
  "nonce-static": () => "hash((label_evidence, n, gs))",
  "h-static": () => "hash((label_evidence, h, gs))",
  product,
  "product-tpm": (v) => `hash((label_tpm, ${product(v)}))`,
};
export const renewalBinder = (v, counter, nonce, aux) =>
  hashOf(RENEWAL_BINDER, {
    type: typeOf(v),
    counter: v.renewal.binds.includes("counter") ? counter : undefined,
    nonce: v.renewal.binds.includes("nonce") ? nonce : undefined,
    aux: `hash(${aux})`,
  });
const typeOf = (v) => (v.agree === "type" ? "t" : "type_snp");

/** What a report says: variable, type, and the owner's guest's own value. */
export const CLAIMS = {
  measurement: { name: "m", type: "measurement", good: "good_measurement" },
  instance: { name: "i", type: "instance", good: "good_instance" },
  document: { name: "digest", type: "bitstring", good: "hash(good_document)" },
  author: { name: "author", type: "verifykey", good: "verify_key(owner_author)" },
  owner: { name: "owner", type: "bitstring", good: "good_owner" },
  chip: { name: "cpu", type: "chip", good: "good_chip" },
  boot: { name: "boot", type: "bootid", good: "boot" },
};

/** @returns what the events about evidence carry, as [variable in the query, type, term in the processes]. */
export function agreedOn(v) {
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

export function parameters(...all) {
  const used = all.filter(Boolean);
  return used.length === 0 ? "" : `(${used.join(", ")})`;
}

export function lines(...all) {
  return all.filter((line) => line !== false && line !== undefined).join("\n");
}
