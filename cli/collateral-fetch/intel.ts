// Intel's Provisioning Certification Service, version 4: TCB info, QE identity, both CA's revocation lists, the root's.

import { SealttyError } from "../../protocol/errors.ts";
import { textOf, toHex } from "../../protocol/bytes.ts";
import { CA_NAMES, SIGNER_NAME } from "../../protocol/attestation/tdx/chain.ts";
import { readQeIdentity } from "../../protocol/attestation/tdx/qe-identity.ts";
import { parseSignedJson } from "../../protocol/attestation/tdx/signed-json.ts";
import { readTcbInfo } from "../../protocol/attestation/tdx/tcb-info.ts";
import { MAX_PEM_TEXT } from "../../protocol/attestation/x509/pem.ts";
import type { Certificate } from "../../protocol/attestation/x509/certificate.ts";
import { chainPiece, checkedChain, crlPiece, quietly, reading, type Trust, wrong } from "./certificates.ts";
import { type Answer, type DownloadOptions, download } from "./download.ts";
import type { Piece } from "./piece.ts";

export const PCS = "https://api.trustedservices.intel.com";
/** The root's list is on another host. */
export const PCS_ROOTS = "https://certificates.trustedservices.intel.com";

export interface IntelWanted {
  /** 12 hex digits, lower-case. */
  readonly fmspc: string;
  /** Both where it is not known which one issued the platform's certificate. */
  readonly authorities: readonly ("platform" | "processor")[];
}

const PCK_AUTHORITIES = { platform: CA_NAMES.Platform, processor: CA_NAMES.Processor } as const;

/** Yields each piece as soon as it held. @throws SealttyError `peer-misbehaved`, and as `download` does. */
export async function* fetchIntel(
  base: string,
  roots: string,
  { fmspc, authorities }: IntelWanted,
  trust: Trust,
  options: DownloadOptions,
): AsyncGenerator<Piece> {
  yield* signedJson(
    {
      url: `${base}/tdx/certification/v4/tcb?fmspc=${fmspc}`,
      header: "tcb-info-issuer-chain",
      member: "tcbInfo",
      name: `intel-tdx-tcb-info-${fmspc}.json`,
      chainName: "intel-tcb-info-chain.pem",
      what: `TCB info of FMSPC ${fmspc}`,
      read(value) {
        const info = readTcbInfo(value);
        if (toHex(info.fmspc) !== fmspc)
          throw new SealttyError("peer-misbehaved", "TCB info is of another FMSPC");
        return info;
      },
    },
    trust,
    options,
  );
  yield* signedJson(
    {
      url: `${base}/tdx/certification/v4/qe/identity`,
      header: "sgx-enclave-identity-issuer-chain",
      member: "enclaveIdentity",
      name: "intel-tdx-qe-identity.json",
      chainName: "intel-qe-identity-chain.pem",
      what: "identity of the quoting enclave",
      read: readQeIdentity,
    },
    trust,
    options,
  );
  let root: Certificate | undefined;
  for (const authority of authorities) {
    const url = `${base}/sgx/certification/v4/pckcrl?ca=${authority}&encoding=der`;
    const answer = await download(url, options);
    const chain = await issuerChain(
      url,
      answer,
      "sgx-pck-crl-issuer-chain",
      PCK_AUTHORITIES[authority],
      trust,
    );
    root = chain.root;
    yield chainPiece(`intel-pck-${authority}-chain.pem`, `PCK ${authority} CA and root`, chain);
    yield await crlPiece(
      url,
      `intel-pck-crl-${authority}.der`,
      `revocation list of the PCK ${authority} CA`,
      answer.body,
      chain.issuer,
      trust,
    );
  }
  const url = `${roots}/IntelSGXRootCA.der`;
  const { body } = await download(url, options);
  yield await crlPiece(
    url,
    "intel-root-crl.der",
    "revocation list of the root",
    body,
    root as Certificate,
    trust,
  );
}

interface JsonWanted {
  readonly url: string;
  readonly header: string;
  readonly member: "tcbInfo" | "enclaveIdentity";
  readonly name: string;
  readonly chainName: string;
  readonly what: string;
  /** @throws SealttyError `peer-misbehaved`. */
  read(value: unknown): {
    readonly issueDate: number;
    readonly nextUpdate: number;
    readonly evaluationNumber: number;
  };
}

async function* signedJson(
  wanted: JsonWanted,
  trust: Trust,
  options: DownloadOptions,
): AsyncGenerator<Piece> {
  const { url, member, name, what } = wanted;
  const answer = await download(url, options);
  const chain = await issuerChain(url, answer, wanted.header, SIGNER_NAME, trust);
  const parse = (bytes: Uint8Array) => {
    const signed = parseSignedJson(bytes, member, what);
    return { signed, content: wanted.read(JSON.parse(textOf(signed.body)) as unknown) };
  };
  const { signed, content } = reading(url, () => parse(answer.body));
  if (!(await trust.signatures.verify("ecdsa-p256-sha256", chain.issuer.key, signed.body, signed.signature)))
    wrong(url, "is not signed by Intel's TCB signing key");
  const { issueDate, nextUpdate, evaluationNumber } = content;
  if (nextUpdate < trust.now) wrong(url, "is out of date; check this machine's clock");
  yield chainPiece(wanted.chainName, `TCB signing certificate and root, for the ${what}`, chain);
  yield {
    name,
    what,
    bytes: answer.body,
    from: issueDate,
    until: nextUpdate,
    rank: [evaluationNumber, issueDate],
    rankOf: (bytes) =>
      quietly(() => {
        const old = parse(bytes).content;
        return [old.evaluationNumber, old.issueDate];
      }),
  };
}

/** Intel sends the chain as URL-encoded PEM in a header. */
async function issuerChain(
  url: string,
  { headers }: Answer,
  header: string,
  commonName: string,
  trust: Trust,
): Promise<{ issuer: Certificate; root: Certificate }> {
  const encoded = headers.get(header);
  if (encoded === null) return wrong(url, `has no header ${header}: it is no PCS of version 4`);
  let text: string;
  try {
    text = decodeURIComponent(encoded);
  } catch (cause) {
    return wrong(url, `has a damaged header ${header}`, cause);
  }
  if (text.length > MAX_PEM_TEXT) wrong(url, `has a header ${header} that is too long`);
  const chain = await checkedChain(url, new TextEncoder().encode(text), trust);
  if (chain.issuer.subjectCommonName !== commonName) wrong(url, `is not issued by ${commonName}`);
  return chain;
}
