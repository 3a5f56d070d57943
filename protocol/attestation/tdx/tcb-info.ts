// TCB info, version 3, of a TDX platform: what Intel says of each security version. Intel PCS API v4, "Get TDX TCB Info"

import type { TcbStatus } from "../policy/model.ts";
import { JsonObject } from "./json-fields.ts";
import { malformed } from "./signed-json.ts";

const WHAT = "TCB info";
const MAX_LEVELS = 128;
const MAX_MODULES = 64;
const MAX_ADVISORIES = 128;
const ADVISORY = /^[A-Z0-9-]{1,32}$/;

const PLATFORM_STATUSES = [
  "UpToDate",
  "SWHardeningNeeded",
  "ConfigurationNeeded",
  "ConfigurationAndSWHardeningNeeded",
  "OutOfDate",
  "OutOfDateConfigurationNeeded",
  "Revoked",
] as const satisfies readonly TcbStatus[];
export type PlatformStatus = (typeof PLATFORM_STATUSES)[number];
/** Of the TDX module and of the quoting enclave. */
const COMPONENT_STATUSES = ["UpToDate", "OutOfDate", "Revoked"] as const satisfies readonly TcbStatus[];
export type ComponentStatus = (typeof COMPONENT_STATUSES)[number];

/** One security version of the TDX module or of the quoting enclave, newest first in its list. */
export interface IsvLevel {
  readonly isvSvn: number;
  readonly status: ComponentStatus;
  readonly date: number;
  readonly advisories: readonly string[];
}

export interface TcbLevel {
  /** 16 numbers each. */
  readonly sgxComponents: readonly number[];
  readonly tdxComponents: readonly number[];
  readonly pceSvn: number;
  readonly status: PlatformStatus;
  /** Milliseconds since 1970. */
  readonly date: number;
  readonly advisories: readonly string[];
}

export interface ModuleSigner {
  /** 48 bytes; all zero: Intel. */
  readonly mrSigner: Uint8Array;
  /** 8 bytes. */
  readonly attributes: Uint8Array;
}

export interface ModuleIdentity extends ModuleSigner {
  /** `TDX_03`: upper-case hex of the module's major version. */
  readonly id: string;
  readonly levels: readonly IsvLevel[];
}

export interface TcbInfo {
  readonly issueDate: number;
  readonly nextUpdate: number;
  /** 6 bytes. */
  readonly fmspc: Uint8Array;
  /** 2 bytes. */
  readonly pceId: Uint8Array;
  readonly evaluationNumber: number;
  readonly module: ModuleSigner;
  readonly moduleIdentities: readonly ModuleIdentity[];
  /** In Intel's order, newest first; never empty. */
  readonly levels: readonly TcbLevel[];
}

/** @param value - parsed from the exact bytes that are signed. @throws SealttyError `peer-misbehaved`. */
export function readTcbInfo(value: unknown): TcbInfo {
  const info = new JsonObject(value, WHAT);
  info.choice("id", ["TDX"]);
  if (info.number("version", 255) !== 3) malformed(WHAT, "has a version that this version does not know");
  if (info.number("tcbType", 255) !== 0) malformed(WHAT, "has a TCB type that this version does not know");
  const module = info.object("tdxModule").only("mrsigner", "attributes", "attributesMask");
  const identities = info.has("tdxModuleIdentities") ? info.objects("tdxModuleIdentities", MAX_MODULES) : [];
  const moduleIdentities = identities.map(readModuleIdentity);
  if (new Set(moduleIdentities.map(({ id }) => id)).size !== moduleIdentities.length)
    malformed(WHAT, "has one TDX module identity twice");
  const levels = info.objects("tcbLevels", MAX_LEVELS).map(readLevel);
  if (levels.length === 0) malformed(WHAT, "has no TCB level");
  return {
    issueDate: info.date("issueDate"),
    nextUpdate: info.date("nextUpdate"),
    fmspc: info.hex("fmspc", 6),
    pceId: info.hex("pceId", 2),
    evaluationNumber: info.number("tcbEvaluationDataNumber", 0xffff),
    module: readSigner(module),
    moduleIdentities,
    levels,
  };
}

function readModuleIdentity(identity: JsonObject): ModuleIdentity {
  identity.only("id", "mrsigner", "attributes", "attributesMask", "tcbLevels");
  const id = identity.text("id", 16).toUpperCase();
  if (!/^TDX_[0-9A-F]{2}$/.test(id))
    malformed(WHAT, "has a TDX module identity with another name than TDX_xx");
  return { id, ...readSigner(identity), levels: readIsvLevels(identity, WHAT) };
}

/** The mask is read for its form only: every bit of the attributes must be zero, masked or not. */
function readSigner(signer: JsonObject): ModuleSigner {
  signer.hex("attributesMask", 8);
  return { mrSigner: signer.hex("mrsigner", 48), attributes: signer.hex("attributes", 8) };
}

/** `tcbLevels` of a TDX module or an enclave. */
export function readIsvLevels(object: JsonObject, what: string): readonly IsvLevel[] {
  const levels = object.objects("tcbLevels", MAX_LEVELS).map((level) => ({
    isvSvn: level.object("tcb").only("isvsvn").number("isvsvn", 0xffff),
    status: level.choice("tcbStatus", COMPONENT_STATUSES),
    date: level.date("tcbDate"),
    advisories: level.optionalTexts("advisoryIDs", MAX_ADVISORIES, ADVISORY),
  }));
  if (levels.length === 0) malformed(what, "has an empty list of TCB levels");
  return levels;
}

function readLevel(level: JsonObject): TcbLevel {
  const tcb = level.object("tcb").only("sgxtcbcomponents", "tdxtcbcomponents", "pcesvn");
  return {
    sgxComponents: readComponents(tcb, "sgxtcbcomponents"),
    tdxComponents: readComponents(tcb, "tdxtcbcomponents"),
    pceSvn: tcb.number("pcesvn", 0xffff),
    status: level.choice("tcbStatus", PLATFORM_STATUSES),
    date: level.date("tcbDate"),
    advisories: level.optionalTexts("advisoryIDs", MAX_ADVISORIES, ADVISORY),
  };
}

function readComponents(tcb: JsonObject, name: string): readonly number[] {
  const components = tcb.objects(name, 16);
  if (components.length !== 16) malformed(WHAT, `has another number of ${name} than 16`);
  return components.map((component) => component.number("svn", 255));
}
