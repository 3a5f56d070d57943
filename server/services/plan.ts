// Who may have which of sealttyd's services, and what is started for it. Everything here is the configuration's word; a service
// that it does not name is nobody's.

import type { InstanceDocument } from "../../protocol/attestation/instance/document.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { AuthenticatedUser } from "../../protocol/session/guest-process.ts";
import type { ServiceRequest } from "../../protocol/session/service-request.ts";
import type { ProvisionConfig, ServicesConfig } from "../config.ts";
import { serviceProgram } from "../sessions/helper-programs.ts";
import type { Launch } from "../sessions/launch.ts";

export interface ServiceSettings {
  readonly services: ServicesConfig;
  readonly provision: ProvisionConfig | undefined;
}

const OWN_PATH = "/usr/sbin:/usr/bin:/sbin:/bin";

/** @throws SealttyError `user-refused`, `device-unavailable`: why stays in the guest's log. */
export function serviceLaunch(
  user: AuthenticatedUser,
  service: ServiceRequest,
  settings: ServiceSettings,
  document: InstanceDocument | undefined,
): Launch {
  // GuestChannels and the monitor refuse it already (allowsKind).
  if (user.method !== "ssh-key" || user.restrictions.command !== undefined)
    throw new SealttyError("user-refused", "Services are for keys without a forced command");
  if (document !== undefined && document.commands !== "any")
    throw new SealttyError(
      "user-refused",
      "The instance document allows certain commands only, so no services",
    );
  const args = argumentsOf(user.name, service, settings);
  const program = serviceProgram();
  if (program === undefined)
    throw new SealttyError("device-unavailable", "sealttyd-service.js is missing beside sealttyd.js");
  // As sealttyd's own user, in an environment of which nothing is the client's.
  return {
    command: [process.execPath, program, service.name, ...args],
    environment: { PATH: OWN_PATH, LANG: "C.UTF-8" },
    directory: "/",
  };
}

function argumentsOf(
  user: string,
  service: ServiceRequest,
  { services, provision }: ServiceSettings,
): readonly string[] {
  switch (service.name) {
    case "kernel-log":
      requireNamed(user, services.kernelLog, "[services] kernel_log");
      return service.follow ? ["follow"] : [];
    case "sysrq":
      requireNamed(user, services.sysrq, "[services] sysrq");
      if (!services.sysrqKeys.includes(service.key))
        throw new SealttyError("user-refused", "[services] sysrq_keys does not have this key");
      return [service.key];
    case "provision":
      if (provision === undefined)
        throw new SealttyError("user-refused", "There is no [provision] in the configuration");
      requireNamed(user, provision.users, "[provision] users");
      return [provision.directory, provision.state, ...(provision.again ? ["again"] : [])];
  }
}

function requireNamed(user: string, allowed: readonly string[], where: string): void {
  if (!allowed.includes(user)) throw new SealttyError("user-refused", `${where} does not name this user`);
}
