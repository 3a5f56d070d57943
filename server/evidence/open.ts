// The configured kind of evidence: its provider, and where it can hold an instance document's digest.

import { existsSync } from "node:fs";
import { nodeClock } from "../../node/clock.ts";
import { nodeSuite } from "../../node/crypto-suite.ts";
import type { EvidenceProvider } from "./provider.ts";
import type { EvidenceConfig } from "../config/evidence.ts";
import type { ServerConfig } from "../config.ts";
import type { InstanceAnchor } from "../instance.ts";
import type { Log } from "../log.ts";
import { openAzureDevice } from "./azure.ts";
import { CollateralSource } from "./collateral-source.ts";
import { ConfigfsTsm, TSM_REPORTS } from "./configfs-tsm.ts";
import type { HardwareReporter } from "./hardware-report.ts";
import { Imds } from "./imds.ts";
import { SEV_GUEST_DEVICE, SevGuestDevice } from "./sev-guest.ts";
import { SIMULATED_OPT_IN, SimulatedEvidenceProvider } from "./simulated.ts";
import { readMrConfigId } from "./td-identity.ts";
import { TeeEvidenceProvider, eventLogOf } from "./tee.ts";
import { openTpmEvidence } from "./tpm.ts";

export interface OpenedEvidence {
  readonly provider: EvidenceProvider;
  /** Undefined: this kind of evidence holds no digest of a document. */
  readonly anchor: InstanceAnchor | undefined;
}

/** @throws SealttyError `bad-config`, `evidence-unavailable`: nothing was left open then. */
export async function openEvidence(
  config: Pick<ServerConfig, "evidence" | "instance">,
  log: Log,
): Promise<OpenedEvidence> {
  const { evidence } = config;
  const warn = (message: string) => log.warn("evidence", { problem: message });
  // A client can compare only what is quoted.
  const quoted = (pcrs: readonly number[]) =>
    config.instance.document === undefined ? pcrs : [...new Set([...pcrs, config.instance.pcr])];
  switch (evidence.type) {
    case "sev-snp":
    case "tdx": {
      const collateral = new CollateralSource(evidence.collateral, warn);
      await collateral.load(); // whoever starts this can still mend the files
      const provider = new TeeEvidenceProvider({
        type: evidence.type,
        suite: nodeSuite,
        reporter: await openReporter(evidence, log),
        collateral,
        eventLogPath: eventLogOf(evidence.type),
      });
      const anchor: InstanceAnchor =
        evidence.type === "sev-snp"
          ? { kind: "field", field: "HOST_DATA", hash: "sha256", read: () => provider.hostData() }
          : {
              kind: "field",
              field: "MRCONFIGID",
              hash: "sha384",
              read: () => readMrConfigId({ clock: nodeClock }),
            };
      return { provider, anchor };
    }
    case "azure": {
      const collateral = new CollateralSource(evidence.collateral, warn);
      await collateral.load();
      const provider = await openAzureDevice(evidence.device, {
        suite: nodeSuite,
        clock: nodeClock,
        pcrs: quoted(evidence.pcrs),
        collateral,
        imds: evidence.imds ? new Imds() : undefined,
        warn,
      });
      return { provider, anchor: { kind: "pcr", index: config.instance.pcr, channel: provider.channel } };
    }
    case "tpm": {
      const provider = await openTpmEvidence({
        device: evidence.device,
        pcrs: quoted(evidence.pcrs),
        suite: nodeSuite,
      });
      return { provider, anchor: { kind: "pcr", index: config.instance.pcr, channel: provider.channel } };
    }
    case "simulated":
      log.warn("SIMULATED EVIDENCE is configured: it proves nothing about this machine");
      return {
        provider: new SimulatedEvidenceProvider(SIMULATED_OPT_IN, nodeSuite, evidence.instance),
        anchor: undefined,
      };
  }
}

async function openReporter(
  evidence: Extract<EvidenceConfig, { type: "sev-snp" | "tdx" }>,
  log: Log,
): Promise<HardwareReporter> {
  const common = {
    clock: nodeClock,
    timeoutMs: evidence.timeoutSeconds * 1000,
    intervalMs: evidence.secondsBetweenReports * 1000,
  };
  if (evidence.type === "sev-snp" && usesSevGuest(evidence.collector)) {
    log.info("evidence by the device", { device: SEV_GUEST_DEVICE });
    return new SevGuestDevice({ ...common, vmpl: evidence.vmpl });
  }
  const reporter = new ConfigfsTsm({
    ...common,
    tee: evidence.type,
    ...(evidence.type === "sev-snp" ? { vmpl: evidence.vmpl } : {}),
  });
  await reporter.cleanUp();
  log.info("evidence by configfs-tsm", { directory: TSM_REPORTS });
  return reporter;
}

/** Where neither is there, configfs-tsm says what is missing. */
function usesSevGuest(collector: "auto" | "configfs" | "sev-guest"): boolean {
  if (collector !== "auto") return collector === "sev-guest";
  return !existsSync(TSM_REPORTS) && existsSync(SEV_GUEST_DEVICE);
}
