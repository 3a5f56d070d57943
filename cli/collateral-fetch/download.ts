// One HTTP answer, bounded in size and time; a server that is busy is asked again, later.

import { SealttyError } from "../../protocol/errors.ts";
import { MAX_COLLATERAL_PIECE } from "../../protocol/limits.ts";

/** AMD's server answers 429 to more than a few requests in ten seconds. */
const MAX_ATTEMPTS = 5;
const FIRST_WAIT_MS = 2000;
const MAX_WAIT_MS = 60_000;

export interface DownloadOptions {
  /** For one attempt, in milliseconds. */
  readonly timeout: number;
  /** Told before each request. */
  onRequest(url: string): void;
  /** Told before each wait, in milliseconds. */
  onWait(url: string, delay: number): void;
  sleep(delay: number): Promise<void>;
}

export interface Answer {
  readonly body: Uint8Array;
  readonly headers: Headers;
}

/** @throws SealttyError `transport-lost`, `timeout`: with the URL, and what to do. No redirect is followed. */
export async function download(url: string, options: DownloadOptions): Promise<Answer> {
  for (let attempt = 1; ; attempt++) {
    options.onRequest(url);
    const response = await request(url, options.timeout);
    if (response.answer !== undefined) return response.answer;
    const { status, retryAfter } = response;
    if ((status !== 429 && status !== 503) || attempt === MAX_ATTEMPTS) throw refusal(url, status);
    const delay = Math.min(MAX_WAIT_MS, retryAfter ?? FIRST_WAIT_MS * 2 ** (attempt - 1));
    options.onWait(url, delay);
    await options.sleep(delay);
  }
}

type Outcome =
  | { readonly answer: Answer }
  | { readonly answer: undefined; readonly status: number; readonly retryAfter: number | undefined };

async function request(url: string, timeout: number): Promise<Outcome> {
  try {
    const response = await fetch(url, {
      redirect: "error", // only what the user pointed to is contacted
      signal: AbortSignal.timeout(timeout),
      headers: { accept: "*/*" },
    });
    if (response.status !== 200) {
      await response.body?.cancel();
      return {
        answer: undefined,
        status: response.status,
        retryAfter: secondsOf(response.headers.get("retry-after")),
      };
    }
    return { answer: { body: await bounded(response), headers: response.headers } };
  } catch (cause) {
    if (cause instanceof SealttyError) throw cause;
    const { name } = cause as Error;
    if (name === "TimeoutError" || name === "AbortError")
      throw new SealttyError(
        "timeout",
        `${url} did not answer within ${timeout / 1000} s; try again, or say --timeout`,
        { cause },
      );
    throw new SealttyError(
      "transport-lost",
      `${url} cannot be fetched (${whyOf(cause)}); check network and address`,
      { cause },
    );
  }
}

async function bounded(response: Response): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of response.body ?? []) {
    const bytes = part as Uint8Array;
    length += bytes.length;
    if (length > MAX_COLLATERAL_PIECE)
      throw new SealttyError(
        "peer-misbehaved",
        `${response.url} answers with more than ${MAX_COLLATERAL_PIECE / 1024} KiB`,
      );
    parts.push(bytes);
  }
  return new Uint8Array(Buffer.concat(parts));
}

function refusal(url: string, status: number): SealttyError {
  const why =
    status === 404
      ? "it has nothing by that name: check product, chip id, TCB or FMSPC"
      : status === 429 || status === 503
        ? "it is busy; try again in some minutes"
        : "try again later, or use a mirror";
  return new SealttyError("transport-lost", `${url} answers ${status}: ${why}`);
}

/** The delay form only: a date would need a clock that agrees with the server's. */
function secondsOf(header: string | null): number | undefined {
  return header !== null && /^[0-9]{1,6}$/.test(header) ? Number(header) * 1000 : undefined;
}

function whyOf(error: unknown): string {
  const { cause } = error as { cause?: { code?: unknown; message?: unknown } };
  if (typeof cause?.code === "string") return cause.code;
  return cause?.message === "unexpected redirect" ? "it redirects elsewhere" : "connection failed";
}
