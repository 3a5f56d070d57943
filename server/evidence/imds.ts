// Azure's instance metadata service: the two requests that evidence needs. Plain HTTP to the host, so nothing of it is
// believed; asked only where the configuration says so.

import http from "node:http";
import { decodeBase64Url } from "../../protocol/user-auth/base64.ts";
import { type Collateral, NO_COLLATERAL, joinCollateral } from "../../protocol/attestation/collateral.ts";
import { concat } from "../../protocol/bytes.ts";
import { collateralOf } from "../../node/collateral-files.ts";
import { MAX_HARDWARE_REPORT } from "../../protocol/limits.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { reasonOf, unavailable } from "./unavailable.ts";

/** The one address that it has in every Azure VM. */
const IMDS_ADDRESS = { host: "169.254.169.254", port: 80 } as const;
const CERTIFICATION = "/metadata/THIM/amd/certification";
const TD_QUOTE = "/acc/tdquote";
const TIMEOUT_MS = 10_000;
const MAX_ANSWER = 64 * 1024;

export interface ImdsOptions {
  /** For tests; nothing else changes it. */
  readonly address?: { readonly host: string; readonly port: number };
  readonly timeoutMs?: number;
}

export class Imds {
  readonly #address: { readonly host: string; readonly port: number };
  readonly #timeoutMs: number;

  constructor(options: ImdsOptions = {}) {
    this.#address = options.address ?? IMDS_ADDRESS;
    this.#timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
  }

  /** The VCEK certificate of this machine and AMD's chain above it. @throws SealttyError `evidence-unavailable`. */
  async amdCertificates(): Promise<Collateral> {
    const answer = await this.#json("GET", CERTIFICATION, undefined, { Metadata: "true" });
    const texts = [answer["vcekCert"], answer["certificateChain"]];
    try {
      return joinCollateral(
        NO_COLLATERAL,
        ...texts.map((text) => {
          if (typeof text !== "string") throw new Error("a certificate is missing");
          return collateralOf(Buffer.from(text, "latin1"), "the answer");
        }),
      );
    } catch (cause) {
      throw malformed(cause);
    }
  }

  /** @param report - TDREPORT, 1024 bytes. @returns the TD quote. @throws SealttyError `evidence-unavailable`. */
  async tdQuote(report: Uint8Array): Promise<Uint8Array> {
    const body = JSON.stringify({ report: Buffer.from(report).toString("base64url") });
    const { quote } = await this.#json("POST", TD_QUOTE, body, { "Content-Type": "application/json" });
    const bytes = typeof quote === "string" ? decodeBase64Url(withoutPadding(quote)) : undefined;
    if (bytes === undefined || bytes.length === 0) throw malformed(new Error("there is no quote in it"));
    if (bytes.length > MAX_HARDWARE_REPORT) throw malformed(new Error("the quote is too long"));
    return bytes;
  }

  async #json(
    method: "GET" | "POST",
    path: string,
    body: string | undefined,
    headers: Readonly<Record<string, string>>,
  ): Promise<Record<string, unknown>> {
    let text: string;
    try {
      text = await this.#request(method, path, body, headers);
    } catch (cause) {
      throw unavailable(
        `Azure's metadata service did not answer: ${reasonOf(cause)}`,
        "See that the guest has a route to 169.254.169.254 and no firewall before it.",
        cause,
      );
    }
    try {
      const value: unknown = JSON.parse(text);
      if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Error("no object");
      return value as Record<string, unknown>;
    } catch (cause) {
      throw malformed(cause);
    }
  }

  /** No proxy, no redirect, no name to look up, nothing kept open. */
  #request(
    method: string,
    path: string,
    body: string | undefined,
    headers: Readonly<Record<string, string>>,
  ): Promise<string> {
    return new Promise((resolve, reject) => {
      const request = http.request({
        ...this.#address,
        method,
        path,
        headers,
        agent: false,
        maxHeaderSize: 8192,
      });
      // For the whole exchange: a socket's own timeout starts again with each byte.
      const timer = setTimeout(
        () => request.destroy(new Error(`nothing in ${this.#timeoutMs} ms`)),
        this.#timeoutMs,
      );
      request.once("close", () => clearTimeout(timer));
      request.once("error", reject);
      request.once("response", (response) => {
        const parts: Uint8Array[] = [];
        let length = 0;
        response.on("data", (chunk: Buffer) => {
          length += chunk.length;
          if (length > MAX_ANSWER) request.destroy(new Error("the answer is too long"));
          else parts.push(chunk);
        });
        response.once("error", reject);
        response.once("aborted", () => reject(new Error("the answer was cut off")));
        response.once("end", () => {
          if (response.statusCode !== 200) reject(new Error(`status ${response.statusCode ?? 0}`));
          else resolve(Buffer.from(concat(...parts)).toString("utf8"));
        });
      });
      request.end(body);
    });
  }
}

/** At most two: a pattern over the host's bytes would have to be one that no bytes make slow. */
function withoutPadding(text: string): string {
  if (text.endsWith("==")) return text.slice(0, -2);
  return text.endsWith("=") ? text.slice(0, -1) : text;
}

function malformed(cause: unknown): SealttyError {
  return unavailable(
    `Azure's metadata service gave something else than was asked for: ${reasonOf(cause)}`,
    "Try again; if it stays, this machine is no confidential VM of the kind that its TPM says.",
    cause,
  );
}
