// All that needs rights which the host must never get at: evidence, the owner's keys and documents, users and their
// programs. Used in the daemon's own process, or behind server/monitor by one that has no rights.

import { nodeClock } from "../node/clock.ts";
import { nodeSuite } from "../node/crypto-suite.ts";
import type { AuxParts } from "../protocol/attestation/aux.ts";
import type { InstanceDocument } from "../protocol/attestation/instance/document.ts";
import type { Evidence } from "../protocol/attestation/evidence.ts";
import type { EvidenceProvider } from "./evidence/provider.ts";
import { SealttyError } from "../protocol/errors.ts";
import type { GuestServices } from "../protocol/session/guest-connection.ts";
import type { ProgramRequest } from "../protocol/session/channel-api.ts";
import type { AuthenticatedUser, StartProcess } from "../protocol/session/guest-process.ts";
import { Audit } from "./audit/audit.ts";
import type { CarrierEvent } from "./audit/events.ts";
import { type Asked, type Begun, Programs } from "./audit/programs.ts";
import { MAX_PROGRAMS } from "./config/users.ts";
import type { ServerConfig } from "./config.ts";
import { type OpenedEvidence, openEvidence } from "./evidence/open.ts";
import { reasonOf } from "./evidence/unavailable.ts";
import { type BelievedDocument, InstanceParts, believeDocument } from "./instance.ts";
import type { Log } from "./log.ts";
import {
  accountFor,
  loginProgram,
  ownAccount,
  type PlanProgram,
  planPrograms,
  startPlan,
} from "./sessions/user-programs.ts";
import type { KeeperPlace } from "./keeper/pass.ts";
import type { HelperRequest } from "./monitor/operations.ts";
import { CarriedProcess } from "./recording/carried-process.ts";
import { Recordings } from "./recording/recordings.ts";
import { sessionEnvironment } from "./sessions/account.ts";
import { startExec } from "./sessions/exec-process.ts";
import type { GuestProcess } from "./sessions/guest-process.ts";
import type { Launch, Pam } from "./sessions/launch.ts";
import { askingPam, openPam } from "./sessions/pam.ts";
import { ProgramShares, shareOwner } from "./sessions/program-shares.ts";
import { helperLaunch } from "./streams/as-user.ts";
import type { StartHelper } from "./streams/streams.ts";
import { userKeys } from "./user-keys.ts";

/** What the console's server needs, from whichever process. */
export interface Privileged {
  readonly provider: EvidenceProvider;
  /** No evidence could be had at the start; it may come. */
  readonly sick: boolean;
  readonly loginAllowed: boolean;
  readonly keysAllowed: boolean;
  readonly verifyUserKey: GuestServices["verifyUserKey"];
  /** Absent: nobody else has to know. */
  readonly signedOff?: GuestServices["signedOff"];
  /** What a connection is about to be sent, all of it; absent: likewise. Nobody signs in on other evidence. */
  readonly attested?: (evidence: Evidence) => void;
  readonly startProcess: StartProcess;
  /** The process that keeps sessions. Absent: they are kept where this is used. @param start - where none runs; else undefined says so. */
  readonly findKeeper?: (start: boolean) => Promise<KeeperPlace | undefined>;
  /** For forwarding; undefined: it is not allowed at all. */
  readonly startHelper: StartHelper | undefined;
  /** Beside every piece of evidence. @param proofContext - this connection's values. */
  commonParts(
    proofContext: Uint8Array,
  ): Promise<Pick<AuxParts, "instanceDocument" | "instanceKey" | "sshHostKeys">>;
  /** Absent: this process may open the console's device itself. */
  readonly askForDevice?: () => void;
  /** What the process that carries bytes knows of sessions and streams. */
  say(event: CarrierEvent): void;
  close(): Promise<void>;
}

export interface OwnPrivileged extends Privileged {
  readonly witnesses: Witnesses;
  readonly shares: ProgramShares;
  readonly plan: PlanProgram;
  /** @throws SealttyError `user-refused`, `device-unavailable`. */
  planHelper(user: AuthenticatedUser, helper: HelperRequest): Promise<Launch>;
}

export const NO_EVIDENCE = "NO EVIDENCE can be had: no client can verify this machine";

/**
 * @param speaker - of the audit: "monitor" where another process carries the bytes.
 * @throws SealttyError `bad-config`, `device-unavailable`, `evidence-unavailable`: nothing was left open then.
 */
export async function openPrivileged(
  config: ServerConfig,
  log: Log,
  speaker: "sealttyd" | "monitor",
): Promise<OwnPrivileged> {
  const wallTime = () => Date.now();
  const audit = new Audit({ config: config.audit, log, speaker, clock: nodeClock, wallTime });
  try {
    const recordings = new Recordings({ config: config.recording, audit, log, clock: nodeClock, wallTime });
    const programs = new Programs({ audit, recordings, clock: nodeClock, log });
    return await openAudited(config, log, { audit, recordings, programs });
  } catch (error) {
    audit.close();
    throw error;
  }
}

/** What is written down of users and their programs. */
interface Witnesses {
  readonly audit: Audit;
  readonly recordings: Recordings;
  readonly programs: Programs;
}

async function openAudited(
  config: ServerConfig,
  log: Log,
  { audit, recordings, programs }: Witnesses,
): Promise<OwnPrivileged> {
  const opened = await openEvidence(config, log);
  const { provider } = opened;
  try {
    const sick = await probeAtStart(provider, config, log);
    const believed = await instanceDocument(opened, config, log);
    const warn = (message: string) => log.warn("instance", { problem: message });
    const instance = await InstanceParts.open(nodeSuite, config.instance, believed, warn);
    const document = believed?.document;
    const pam = await openPam(config.users.pam, log, nodeClock);
    const plan = planPrograms(config.users, document, pam, config);
    const planHelper = planHelpers(config.forward, document, pam);
    const shares = new ProgramShares(config.users.maxPrograms, MAX_PROGRAMS);
    // Where a document names what may run, a connection to anywhere is none of it; a shell could connect as well.
    const mayForward = config.forward.allow && document?.agent.shell !== false;
    return {
      provider,
      sick,
      loginAllowed: loginProgram(config.users, document) !== undefined,
      keysAllowed:
        document === undefined
          ? config.users.authorizedKeys !== undefined
          : document.authorizedKeys.length > 0,
      verifyUserKey: programs.watchKeys(
        askingPam(userKeys(config.users, document, log), pam, log, nodeClock),
      ),
      plan,
      async startProcess(user, request) {
        const service = auditName(request);
        const planned = await plan(user, request).catch((error: unknown) => {
          programs.refused(user, service, error);
          throw error;
        });
        const { terminal, launch } = planned;
        const release = await takeShare(shares, programs, { user, service, launch });
        const begin = (): Begun => programs.begin({ user, service, launch, terminal });
        const { begun, process } = await startBegun(begin, release, async () => await startPlan(planned));
        return new CarriedProcess(process, {
          program: begun.program,
          clock: nodeClock,
          terminal: terminal !== undefined,
          sink: begun.recording,
          notice: begun.recording === undefined ? undefined : recordings.notice,
          say: (event) => audit.after(event),
        });
      },
      planHelper,
      startHelper: mayForward
        ? async (user, helper) => {
            const launch = await planHelper(user, helper);
            const asked = { user, service: helperService(helper), launch };
            const release = await takeShare(shares, programs, asked);
            const begin = (): Begun => programs.begin(asked);
            return (await startBegun(begin, release, async () => startExec(launch))).process;
          }
        : undefined,
      say: (event) => audit.after(event),
      witnesses: { audit, recordings, programs },
      shares,
      commonParts: (proofContext) => instance.forConnection(proofContext),
      async close() {
        programs.close();
        await provider.close();
      },
    };
  } catch (error) {
    await provider.close();
    throw error;
  }
}

/** @throws SealttyError `limit-exceeded`, written down. */
async function takeShare(shares: ProgramShares, programs: Programs, asked: Asked): Promise<() => void> {
  const { user, service, launch } = asked;
  try {
    return shares.take(await shareOwner(user, launch));
  } catch (error) {
    programs.refused(user, service, error);
    throw error;
  }
}

/** @param release - called once the program is gone, or could not be started. */
async function startBegun(
  begin: () => Begun,
  release: () => void,
  start: () => Promise<GuestProcess>,
): Promise<{ readonly begun: Begun; readonly process: GuestProcess }> {
  let begun: Begun | undefined;
  try {
    const written = begin();
    begun = written;
    const process = await start();
    void process.exit.then((status) => {
      release();
      written.ended(status);
    });
    return { begun, process };
  } catch (error) {
    release();
    begun?.failed(error);
    throw error;
  }
}

/** As the audit names it: of a service its own name, and the key of SysRq. */
export function auditName(request: ProgramRequest): string {
  if (request.kind !== "service") return request.kind;
  const { service } = request;
  return service.name === "sysrq" ? `sysrq-${service.key}` : service.name;
}

/** Likewise. */
export function helperService({ kind }: HelperRequest): string {
  return kind === "ssh" ? kind : `forward-${kind}`;
}

export function planHelpers(
  forward: ServerConfig["forward"],
  document: InstanceDocument | undefined,
  pam?: Pam,
): OwnPrivileged["planHelper"] {
  return async (user, helper) => {
    if (!forward.allow || document?.agent.shell === false)
      throw new SealttyError("user-refused", "Forwarding is not allowed");
    if (helper.kind !== "ssh") return helperLaunch(await accountFor(user.name), helper, pam);
    if (forward.ssh === undefined) throw new SealttyError("bad-config", "No program for the service ssh");
    const environment = sessionEnvironment(await ownAccount(), undefined);
    return { command: forward.ssh, environment, directory: "/" };
  };
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
