// `sealtty collateral fetch`: gets what vendors publish about their keys and platforms, for verifying without a network.

import { type TrustRoots, VENDOR_ROOTS } from "../../protocol/attestation/roots.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { fetchAmd, KDS } from "../collateral-fetch/amd.ts";
import type { DownloadOptions } from "../collateral-fetch/download.ts";
import { fetchIntel, PCS, PCS_ROOTS } from "../collateral-fetch/intel.ts";
import { type Kept, keep, makeDirectory } from "../collateral-fetch/keep.ts";
import type { Piece } from "../collateral-fetch/piece.ts";
import { wantedOf } from "../collateral-fetch/wanted.ts";
import { collateralCache } from "../directories.ts";
import { COMMON_OPTIONS, type Command, type Input, usage } from "../options.ts";
import { jsonLine } from "../printable.ts";
import { print, Reporter } from "../report.ts";
import type { Services } from "../services.ts";

const COMMON = ["json", "verbose", "quiet"];

export const collateralCommand: Command = {
  name: "collateral",
  summary: "fetch what AMD or Intel publish about a platform, for checks without a network",
  brief: "fetch …",
  operands: "fetch --for EVIDENCE | --snp-product NAME [--chip-id HEX --tcb LIST] | --fmspc HEX",
  options: [
    {
      name: "for",
      value: "FILE",
      help: "evidence (inspect --save-evidence), or a bare SNP report or TDX quote",
    },
    {
      name: "snp-product",
      value: "NAME",
      help: "AMD: Milan, Genoa or Turin",
      values: ["Milan", "Genoa", "Turin"],
    },
    { name: "chip-id", value: "HEX", help: "AMD: CHIP_ID of the report, for the chip's own certificate" },
    {
      name: "tcb",
      value: "LIST",
      help: "AMD: REPORTED_TCB, e.g. bootloader=4,tee=0,snp=23,microcode=213 (Turin: fmc=… as well)",
    },
    { name: "vlek", help: "AMD: the chain for keys of a cloud (VLEK) instead of a chip's (VCEK)" },
    { name: "fmspc", value: "HEX", help: "Intel: FMSPC of the platform, 12 digits" },
    { name: "dir", value: "DIR", help: "where to keep it; default: the cache that every check looks into" },
    { name: "kds", value: "URL", help: `instead of ${KDS}` },
    { name: "pcs", value: "URL", help: `instead of ${PCS}, and of ${PCS_ROOTS} for the root's list` },
    { name: "timeout", value: "SECONDS", help: "for each request; default 30" },
    ...COMMON_OPTIONS.filter(({ name }) => COMMON.includes(name)),
  ],
  notes: [
    "Only these servers are contacted; -v names every URL. They learn which chip or platform you ask about.",
    "Everything is checked up to the vendor's pinned root before it is kept, and never put over something newer.",
    "Exit status: 0 good, 2 usage, 255 it could not be fetched.",
  ],
  exits: "inspect-like",
  run: (input, services) => collateralFetch(input, services, VENDOR_ROOTS),
};

/** @param roots - the vendors' own, but for tests. */
export async function collateralFetch(input: Input, services: Services, roots: TrustRoots): Promise<number> {
  const [verb, ...extra] = input.operands;
  if (input.rest !== undefined || extra.length > 0) throw usage(collateralCommand, "unexpected operand");
  if (verb !== "fetch") throw usage(collateralCommand, verb === undefined ? "say fetch" : "no such verb");
  const reporter = new Reporter(services, input);
  const timeout = timeoutOf(input);
  const kds = baseOf(input, "kds") ?? KDS;
  const pcs = baseOf(input, "pcs");
  const wanted = await wantedOf(input);
  for (const [name, of] of [
    ["kds", wanted.amd],
    ["pcs", wanted.intel],
  ] as const)
    if (input.has(name) && of === undefined) bad(`--${name}: nothing of that vendor is asked for`);
  const directory = input.text("dir") ?? collateralCache(services.environment);
  if (directory === undefined)
    return bad("--dir is missing, and there is no home directory to keep a cache in");
  for (const remark of wanted.remarks) {
    reporter.event("remark", { words: remark });
    reporter.say(`sealtty: ${remark}`);
  }

  const options: DownloadOptions = {
    timeout,
    onRequest(url) {
      if (reporter.verbosity > 0) reporter.event("request", { url });
      reporter.detail(`  GET ${url}`);
    },
    onWait(url, delay) {
      reporter.event("waiting", { url, seconds: Math.ceil(delay / 1000) });
      reporter.say(`sealtty: ${new URL(url).host} is busy; asking again in ${Math.ceil(delay / 1000)} s`);
    },
    sleep: (delay) => new Promise((resolve) => void services.clock.after(delay, resolve)),
  };
  const { suite, signatures } = services;
  const trust = (pins: readonly string[]) => ({ now: services.wallTime(), pins, suite, signatures });
  await makeDirectory(directory);
  if (wanted.amd !== undefined)
    await keepAll(
      fetchAmd(kds, wanted.amd, trust(roots.amd[wanted.amd.product]), options),
      directory,
      reporter,
      services,
    );
  if (wanted.intel !== undefined)
    await keepAll(
      fetchIntel(pcs ?? PCS, pcs ?? PCS_ROOTS, wanted.intel, trust(roots.intel), options),
      directory,
      reporter,
      services,
    );
  reporter.say(`sealtty: kept in ${directory}`);
  return 0;
}

const WORDS: Readonly<Record<Kept, string>> = {
  new: "new",
  renewed: "renewed",
  unchanged: "unchanged",
  "yours-is-newer": "kept yours, which is newer",
};

/** Each piece is kept as soon as it held: what comes later may fail, and these are good. */
async function keepAll(
  pieces: AsyncIterable<Piece>,
  directory: string,
  reporter: Reporter,
  services: Services,
): Promise<void> {
  for await (const piece of pieces) {
    const kept = await keep(directory, piece);
    const { name, what } = piece;
    const [validFrom, validUntil] = [iso(piece.from), iso(piece.until)];
    await print(
      services.stdout,
      reporter.json
        ? `${jsonLine({ event: "collateral", file: name, what, validFrom, validUntil, kept })}\n`
        : `${name}  ${what}, good until ${validUntil.slice(0, 10)}: ${WORDS[kept]}\n`,
    );
  }
}

function iso(time: number): string {
  return new Date(time).toISOString();
}

function timeoutOf(input: Input): number {
  const text = input.text("timeout") ?? "30";
  const seconds = /^[0-9]{1,4}$/.test(text) ? Number(text) : 0;
  return seconds >= 1 ? 1000 * seconds : bad("--timeout is not a number of seconds from 1 to 9999");
}

/** Without a slash at its end. Plain http is fine: every answer is signed, and a mirror may be on this machine. */
function baseOf(input: Input, name: string): string | undefined {
  const text = input.text(name);
  if (text === undefined) return undefined;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (
    url === undefined ||
    (url.protocol !== "https:" && url.protocol !== "http:") ||
    url.search !== "" ||
    url.hash !== ""
  )
    return bad(`--${name} is not a URL like https://mirror.example/path`);
  return url.href.replace(/\/+$/, "");
}

function bad(problem: string): never {
  throw new SealttyError("bad-config", problem);
}
