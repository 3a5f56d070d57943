// What Intel says of this platform: TCB level, TDX module, quoting enclave, and the one status that comes of the three.
// Follows Intel's quote verification library (its steps 4.1.2.4.11, .15 and .17) in its order.

import { equalBytes, isZero, toHex } from "../../bytes.ts";
import type { TcbStatus } from "../policy/model.ts";
import { refuse } from "../refusal.ts";
import type { PckFacts } from "./pck.ts";
import type { TdxBody } from "./quote.ts";
import type {
  ComponentStatus,
  IsvLevel,
  ModuleIdentity,
  PlatformStatus,
  TcbInfo,
  TcbLevel,
} from "./tcb-info.ts";

export interface TcbVerdict {
  /** Of platform, module and quoting enclave together. */
  readonly status: TcbStatus;
  readonly platformStatus: PlatformStatus;
  /** Undefined: a TDX module of version 1.0, which the platform's level covers. */
  readonly moduleStatus: ComponentStatus | undefined;
  readonly qeStatus: ComponentStatus;
  /** Of the levels that matched, sorted, each once. */
  readonly advisories: readonly string[];
  /** Date of the platform's level, milliseconds since 1970. */
  readonly platformDate: number;
}

const NEXT_MODULE =
  "Do not connect: this TDX module is not one that Intel signed for this platform, or the TCB info is older than the module (then fetch new collateral).";
const NEXT_UNSUPPORTED =
  "The platform is older than anything Intel still lists: its operator must update the firmware before it proves anything.";

/** Step 11. @returns the identity of the TDX module; undefined for modules 1.0. @throws SealttyError `evidence-refused`. */
export function requireKnownModule(body: TdxBody, info: TcbInfo): ModuleIdentity | undefined {
  const version = body.teeTcbSvn[1] as number;
  const identity = version === 0 ? undefined : findModule(info, version);
  if (version !== 0 && identity === undefined) {
    refuse(
      "tdx.module",
      "The TCB info does not know this version of the TDX module",
      `one of ${info.moduleIdentities.map(({ id }) => id).join(", ") || "no versions at all"}`,
      moduleId(version),
      NEXT_MODULE,
    );
  }
  const { mrSigner, attributes } = identity ?? info.module;
  if (!equalBytes(body.mrSignerSeam, mrSigner)) {
    refuse(
      "tdx.module-signer",
      "The TDX module is not signed by whom Intel names",
      toHex(mrSigner),
      toHex(body.mrSignerSeam),
      NEXT_MODULE,
    );
  }
  if (!isZero(body.seamAttributes) || !isZero(attributes)) {
    refuse(
      "tdx.module-attributes",
      "The TDX module has attributes that a production module does not have",
      toHex(new Uint8Array(8)),
      toHex(body.seamAttributes),
      NEXT_MODULE,
    );
  }
  return identity;
}

/** First level whose ISVSVN is not above. */
export function isvLevelOf(levels: readonly IsvLevel[], isvSvn: number): IsvLevel | undefined {
  return levels.find((level) => level.isvSvn <= isvSvn);
}

/** Step 17. @param qe - the level that the quoting enclave is at. @throws SealttyError `evidence-refused` on no level, or a revoked one. */
export function judgeTcb(
  body: TdxBody,
  pck: PckFacts,
  info: TcbInfo,
  identity: ModuleIdentity | undefined,
  qe: IsvLevel,
): TcbVerdict {
  const forSgx = info.levels.filter((level) => coversSgx(pck, level));
  const sgx = forSgx[0];
  const tdx = forSgx.find((level) => coversTdx(body.teeTcbSvn, level));
  if (sgx === undefined || tdx === undefined) {
    return refuse(
      "tdx.tcb-unsupported",
      "Intel lists no TCB level that this platform reaches",
      "one of the levels in the TCB info",
      `SGX components ${pck.components.join(" ")}, PCESVN ${pck.pceSvn}, TEE_TCB_SVN ${toHex(body.teeTcbSvn)}`,
      NEXT_UNSUPPORTED,
    );
  }
  const isvSvn = body.teeTcbSvn[0] as number;
  const module = identity === undefined ? undefined : isvLevelOf(identity.levels, isvSvn);
  if (identity !== undefined && module === undefined) {
    refuse(
      "tdx.tcb-unsupported",
      "Intel lists no level that this TDX module reaches",
      `ISVSVN ${identity.levels.map((level) => level.isvSvn).join(" or ")} of ${identity.id}`,
      `ISVSVN ${isvSvn}`,
      NEXT_UNSUPPORTED,
    );
  }
  const advisories = [
    ...new Set([...tdx.advisories, ...(module?.advisories ?? []), ...qe.advisories]),
  ].sort();
  const statuses = [sgx.status, tdx.status, module?.status, qe.status];
  if (statuses.includes("Revoked")) {
    // Intel's library lets a revoked SGX level pass where the TDX level is another; nothing good can come of that.
    refuse(
      "tdx.tcb-revoked",
      "Intel has revoked this platform's TCB: its keys may be in other hands",
      "any other status",
      `platform ${tdx.status}, TDX module ${module?.status ?? "1.0"}, quoting enclave ${qe.status}; ${advisories.join(" ")}`,
      "Do not connect. No policy can accept a revoked TCB; the platform's operator must update its firmware.",
    );
  }
  const platform = converge(tdx.status, module?.status);
  const relaunched = relaunchAdvised(body, info, sgx, platform, module, qe) ?? platform;
  return {
    status: converge(relaunched, qe.status),
    platformStatus: tdx.status,
    moduleStatus: module?.status,
    qeStatus: qe.status,
    advisories,
    platformDate: tdx.date,
  };
}

function findModule(info: TcbInfo, version: number): ModuleIdentity | undefined {
  return info.moduleIdentities.find(({ id }) => id === moduleId(version));
}

function moduleId(version: number): string {
  return `TDX_${version.toString(16).padStart(2, "0").toUpperCase()}`;
}

function coversSgx(pck: PckFacts, level: TcbLevel): boolean {
  return (
    level.pceSvn <= pck.pceSvn && level.sgxComponents.every((svn, i) => svn <= (pck.components[i] as number))
  );
}

/** With a module after 1.0, components 0 and 1 are the module's own, and its identity judges them. */
function coversTdx(teeTcbSvn: Uint8Array, level: TcbLevel): boolean {
  const from = (teeTcbSvn[1] as number) > 0 ? 2 : 0;
  return level.tdxComponents.every((svn, i) => i < from || svn <= (teeTcbSvn[i] as number));
}

/** An outdated part makes the whole outdated, and keeps that a configuration is needed. */
function converge(status: TcbStatus, part: ComponentStatus | undefined): TcbStatus {
  if (part !== "OutOfDate") return status;
  if (status === "UpToDate" || status === "SWHardeningNeeded") return "OutOfDate";
  if (status === "ConfigurationNeeded" || status === "ConfigurationAndSWHardeningNeeded")
    return "OutOfDateConfigurationNeeded";
  return status;
}

/** The platform was updated while the TD ran: starting the TD anew would be enough (TD 1.5 only). */
function relaunchAdvised(
  body: TdxBody,
  info: TcbInfo,
  sgx: TcbLevel,
  tdxStatus: TcbStatus,
  module: IsvLevel | undefined,
  qe: IsvLevel,
): TcbStatus | undefined {
  if (body.td15 === undefined || qe.status === "OutOfDate" || module?.status !== "OutOfDate")
    return undefined;
  if (sgx.status === "OutOfDate" || sgx.status === "OutOfDateConfigurationNeeded") return undefined;
  if (tdxStatus !== "OutOfDate" && tdxStatus !== "OutOfDateConfigurationNeeded") return undefined;
  const { teeTcbSvn2 } = body.td15;
  const [isvSvn = 0, version = 0, loader = 0] = teeTcbSvn2;
  const newest = (info.levels[0] as TcbLevel).tdxComponents;
  let needed = newest[0] as number;
  if (version !== 0) {
    const identity = findModule(info, version);
    if (identity === undefined) {
      return refuse(
        "tdx.module",
        "The TCB info does not know the version of the TDX module that runs now",
        `one of ${info.moduleIdentities.map(({ id }) => id).join(", ")}`,
        moduleId(version),
        NEXT_MODULE,
      );
    }
    needed = (identity.levels[0] as IsvLevel).isvSvn;
  }
  if (isvSvn < needed || loader < (newest[2] as number)) return undefined;
  const configure = sgx.status.startsWith("Configuration") || tdxStatus === "OutOfDateConfigurationNeeded";
  return configure ? "TDRelaunchAdvisedConfigurationNeeded" : "TDRelaunchAdvised";
}
