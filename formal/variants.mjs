// What the models ask: one entry for each .pv file, as switches that generate.mjs, roles.mjs and terms.mjs know.

/** The strongest siblings: genuine guests whose keys, sessions and programs are all the adversary's. */
const SIBLINGS = { binding: "product", leaked: true, claims: ["document"] };
const RENEWALS = { binding: "product", claims: ["document", "boot"] };

/**
 * binding      what the report signs: terms.mjs, BINDINGS
 * unbound      what the product's binder leaves out: "type" or "aux"
 * keys         events carry the transport keys too
 * agree        events carry this too: "aux" or "type"
 * evidence     "clear": evidence travels outside the sealed channel, as a saved file does
 * leaked       every guest's static key is public from the start      kem   false: plain NX
 * claims       what a report says beside its measurement and binder: instance (an abstract one; the default), document
 *              (HOST_DATA, MRCONFIGID or a PCR: digest of an instance document), author, owner (MROWNER), chip, boot
 *              (REPORT_ID, resetCount)
 * pins         what the policy compares; default: measurement and all claims but boot
 * staticPinned the policy has the guest's static key      instanceKey   the policy has an instance key; "leaked": public
 * others       which reports the adversary gets from genuine hardware, for any binder: of "instances" other than the
 *              owner's (default), "images" that are not the owner's (here the image itself names its users), other "chips"
 * hostDocument the host delivers the instance document; who checks its digest: "guest", "client"
 * renewal      evidence is asked for again in phase 1, in the clear, when the exporter has leaked: what its binder has
 *              ("counter", "nonce"), and whether the boot is compared
 * reboots      the owner's guest is started once more in phase 1, and is the adversary's then
 * later        what leaks in phase 1, when sessions are over: static, report (the hardware's key), dh, kem
 * user         user authentication: signature over h, or over the client nonce only
 * secure       expected: agreement and secrecy hold; or one answer for each query behind the first
 */
export const VARIANTS = [
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
    pins: ["measurement"],
    secure: false,
  },
  {
    file: "same-image-static-pinned",
    claim: "The same policy with a pinned static key: the adversary's guest is refused.",
    binding: "product",
    pins: ["measurement"],
    staticPinned: true,
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
  {
    file: "sibling-any-instance",
    claim:
      "Diversion: the policy has a measurement only (anyInstance), the client believes whatever instance document fits the evidence. A sibling of the adversary runs the same image with a document of its own.",
    ...SIBLINGS,
    pins: ["measurement"],
    secure: false,
  },
  {
    file: "sibling-document",
    claim: "Measurement and digest of the owner's instance document: the sibling has another document.",
    ...SIBLINGS,
    secure: true,
  },
  {
    file: "sibling-document-any-image",
    claim:
      "The document's digest without a measurement: the adversary launches an image of its own with the owner's document.",
    ...SIBLINGS,
    pins: ["document"],
    secure: false,
  },
  {
    file: "sibling-author",
    claim:
      "Measurement and author key, an image that takes its users from outside: the host launches it once more, with the owner's ID block and its own document.",
    ...SIBLINGS,
    claims: ["document", "author"],
    pins: ["measurement", "author"],
    secure: false,
  },
  {
    file: "sibling-author-document",
    claim: "The author key instead of a measurement, and the document: the author signed this image only.",
    ...SIBLINGS,
    claims: ["document", "author"],
    pins: ["author", "document"],
    secure: true,
  },
  {
    file: "author-own-image",
    claim:
      "The author key alone, where the author signs only images that name their users themselves: each guest of them is the owner's.",
    ...SIBLINGS,
    claims: ["document", "author"],
    pins: ["author"],
    others: "images",
    secure: true,
  },
  {
    file: "sibling-owner-field",
    claim:
      "Measurement and a field that whoever starts a guest sets freely, and that means nothing to the image (MROWNER): the sibling has the owner's value.",
    ...SIBLINGS,
    claims: ["document", "owner"],
    pins: ["measurement", "owner"],
    secure: false,
  },
  {
    file: "sibling-instance-key",
    claim: "Measurement and a pinned instance key, which signs the connection; static keys have leaked.",
    ...SIBLINGS,
    pins: ["measurement"],
    instanceKey: "secret",
    secure: true,
  },
  {
    file: "sibling-instance-key-leaked",
    claim: "The same once the instance key has leaked: the sibling signs with it.",
    ...SIBLINGS,
    pins: ["measurement"],
    instanceKey: "leaked",
    secure: false,
  },
  {
    file: "sibling-instance-key-leaked-document",
    claim: "A leaked instance key beside a pinned document: the document still holds.",
    ...SIBLINGS,
    instanceKey: "leaked",
    secure: true,
  },
  {
    file: "sibling-same-chip",
    claim: "Measurement and CHIP_ID; the sibling runs on that very chip.",
    ...SIBLINGS,
    claims: ["document", "chip"],
    pins: ["measurement", "chip"],
    secure: false,
  },
  {
    file: "sibling-other-chip",
    claim: "Measurement and CHIP_ID; the adversary has any guests, but on other chips.",
    ...SIBLINGS,
    claims: ["document", "chip"],
    pins: ["measurement", "chip"],
    others: "chips",
    secure: true,
  },
  {
    file: "document-unchecked",
    claim:
      "The host delivers the instance document, and nobody compares it with the digest in the evidence, though the policy pins that.",
    binding: "product",
    claims: ["document"],
    hostDocument: [],
    secure: [false, false],
  },
  {
    file: "document-checked-by-client",
    claim:
      "Only the client compares: it never shows a false document, but a guest serves under one until a client comes.",
    binding: "product",
    claims: ["document"],
    hostDocument: ["client"],
    secure: [true, false],
  },
  {
    file: "document-checked",
    claim: "Guest and client believe the document only when its digest is in the evidence.",
    binding: "product",
    claims: ["document"],
    hostDocument: ["guest", "client"],
    secure: [true, true],
  },
  {
    file: "aux-unbound",
    claim:
      "Evidence outside the sealed channel, its binder without aux: certificates, event log or document are swapped.",
    binding: "product",
    evidence: "clear",
    unbound: "aux",
    agree: "aux",
    secure: [false, true],
  },
  {
    file: "aux-bound",
    claim: "The same with aux in the binder.",
    binding: "product",
    evidence: "clear",
    agree: "aux",
    secure: true,
  },
  {
    file: "aux-unbound-sealed",
    claim:
      "A binder without aux inside the sealed channel: while its keys are secret, the channel protects aux.",
    binding: "product",
    unbound: "aux",
    agree: "aux",
    secure: true,
  },
  {
    file: "type-unbound",
    claim:
      "Evidence outside the sealed channel, its binder without the evidence type, two types with reports of one kind of hardware: one is passed off as the other.",
    binding: "product",
    evidence: "clear",
    unbound: "type",
    agree: "type",
    secure: [false, true],
  },
  {
    file: "type-bound",
    claim: "The same with the type in the binder.",
    binding: "product",
    evidence: "clear",
    agree: "type",
    secure: true,
  },
  {
    file: "renewal",
    claim:
      "Re-attestation with counter and fresh nonce, the boot compared: no replay, no evidence made ahead, no other guest, even when all secrets of the connection have leaked and the rebooted guest is the adversary's.",
    ...RENEWALS,
    renewal: { binds: ["counter", "nonce"], sameBoot: true },
    reboots: true,
    secure: true,
  },
  {
    file: "renewal-unbound",
    claim: "Neither counter nor nonce in the renewal's binder: an earlier renewal is replayed.",
    ...RENEWALS,
    renewal: { binds: [], sameBoot: true },
    secure: false,
  },
  {
    file: "renewal-counter-only",
    claim: "The counter alone can be foreseen: evidence is asked for ahead of time.",
    ...RENEWALS,
    renewal: { binds: ["counter"], sameBoot: true },
    secure: false,
  },
  {
    file: "renewal-any-boot",
    claim:
      "Counter and nonce, but the boot not compared: the rebooted guest, taken over, answers for the first.",
    ...RENEWALS,
    renewal: { binds: ["counter", "nonce"], sameBoot: false },
    reboots: true,
    secure: false,
  },
];
