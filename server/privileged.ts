// All that needs rights which the host must never get at: evidence, the owner's keys and documents, users and their
// programs. Used in the daemon's own process, or behind server/monitor by one that has no rights.

import { nodeSuite } from "../node/crypto-suite.ts";
import type { AuxParts } from "../protocol/attestation/aux.ts";
import type { EvidenceProvider } from "../protocol/attestation/evidence.ts";
import { SealttyError } from "../protocol/errors.ts";
import type { GuestServices } from "../protocol/session/guest-connection.ts";
import type { StartProcess } from "../protocol/session/guest-process.ts";
import type { ServerConfig } from "./config.ts";
import { type OpenedEvidence, openEvidence } from "./evidence/open.ts";
import { reasonOf } from "./evidence/unavailable.ts";
import { type BelievedDocument, InstanceParts, believeDocument } from "./instance.ts";
import type { Log } from "./log.ts";
import { loginProgram, type PlanProgram, planPrograms, startPlanned } from "./sessions/user-programs.ts";
import { userKeys } from "./user-keys.ts";

/** What the console's server needs, from whichever process. */
export interface Privileged {
  readonly provider: EvidenceProvider;
  /** No evidence could be had at the start; it may come. */
  readonly sick: boolean;
  readonly loginAllowed: boolean;
  readonly keysAllowed: boolean;
  readonly verifyUserKey: GuestServices["verifyUserKey"];
  readonly startProcess: StartProcess;
  /** Beside every piece of evidence. @param proofContext - this connection's values. */
  commonParts(
    proofContext: Uint8Array,
  ): Promise<Pick<AuxParts, "instanceDocument" | "instanceKey" | "sshHostKeys">>;
  /** Absent: this process may open the console's device itself. */
  readonly askForDevice?: () => void;
  close(): Promise<void>;
}

export interface OwnPrivileged extends Privileged {
  readonly plan: PlanProgram;
}

export const NO_EVIDENCE = "NO EVIDENCE can be had: no client can verify this machine";

/** @throws SealttyError `bad-config`, `device-unavailable`, `evidence-unavailable`: nothing was left open then. */
export async function openPrivileged(config: ServerConfig, log: Log): Promise<OwnPrivileged> {
  const opened = await openEvidence(config, log);
  const { provider } = opened;
  try {
    const sick = await probeAtStart(provider, config, log);
    const believed = await instanceDocument(opened, config, log);
    const warn = (message: string) => log.warn("instance", { problem: message });
    const instance = await InstanceParts.open(nodeSuite, config.instance, believed, warn);
    const document = believed?.document;
    const plan = planPrograms(config.users, document);
    return {
      provider,
      sick,
      loginAllowed: loginProgram(config.users, document) !== undefined,
      keysAllowed:
        document === undefined
          ? config.users.authorizedKeys !== undefined
          : document.authorizedKeys.length > 0,
      verifyUserKey: userKeys(config.users, document, log),
      plan,
      startProcess: startPlanned(plan),
      commonParts: (proofContext) => instance.forConnection(proofContext),
      close: () => provider.close(),
    };
  } catch (error) {
    await provider.close();
    throw error;
  }
}

/**
 * Better now, to whoever starts this, than to the first client. A TPM that does not answer ends the start; a TEE's hardware
 * may come to itself (the host throttles, a driver is loaded later), and starting again and again would only hurry it.
 * @returns whether it failed.
 */
async function probeAtStart(provider: EvidenceProvider, config: ServerConfig, log: Log): Promise<boolean> {
  try {
    await provider.probe();
    return false;
  } catch (error) {
    if (config.evidence.type !== "sev-snp" && config.evidence.type !== "tdx") throw error;
    log.warn(NO_EVIDENCE, { cause: reasonOf(error) });
    return true;
  }
}

/** @throws SealttyError where one is configured and cannot be believed: then nobody knows who may log in. */
async function instanceDocument(
  { anchor }: OpenedEvidence,
  { instance }: ServerConfig,
  log: Log,
): Promise<BelievedDocument | undefined> {
  if (instance.document === undefined) return undefined;
  if (anchor === undefined)
    throw new SealttyError("bad-config", "This kind of evidence cannot vouch for an instance document");
  const believed = await believeDocument(nodeSuite, instance.document, anchor);
  log.info("instance document believed", { name: believed.document.name, from: believed.words });
  return believed;
}
