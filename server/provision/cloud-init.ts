// What keeps cloud-init (22 to 25) to the owner's seed: files that setup writes once, and one that is written at each boot.
// docs/provision.md says what each line is against.

import { SEED_DIRECTORY } from "../config.ts";

/** There once this boot's cloud-init may run; on a file system that no reboot survives. */
export const MAY_RUN = "/run/sealtty/cloud-init";
/** Read after all of /etc/cloud: what ds-identify found, on the kernel's command line or else, goes there. */
export const RUNTIME_CONFIG = "/run/cloud-init/cloud.cfg";
export const PINS_FILE = "/etc/cloud/cloud.cfg.d/99-sealtty.cfg";
export const IDENTIFY_FILE = "/etc/cloud/ds-identify.cfg";
/** While it is there cloud-init does not run: its own switch, whatever is in it. */
export const DISABLED_FILE = "/etc/cloud/cloud-init.disabled";
export const WAIT_UNIT = "sealtty-provision.service";

/** Every one that is there in some version; a drop-in for one that is not does nothing. */
const SERVICES = [
  "cloud-init-main.service",
  "cloud-init-local.service",
  "cloud-init-network.service",
  "cloud-init.service",
  "cloud-config.service",
  "cloud-final.service",
  "cloud-init-hotplugd.service",
] as const;

/**
 * `seedfrom` outweighs one in the serial number that SMBIOS has, and `fs_label` none means that no file system is searched for: both
 * are the host's. What is random or secret is not printed, where that can be said here: the console may be the host's.
 */
export const PINS = `# Written by sealttyd: the owner's seed alone, and nothing that the host offers. docs/provision.md
datasource_list: [ NoCloud ]
datasource:
  NoCloud:
    seedfrom: ${SEED_DIRECTORY}/
    fs_label: null
ssh:
  emit_keys_to_console: false
no_ssh_fingerprints: true
`;

/** Whether there is a datasource is not looked for, at a time when no seed can be there yet. */
const IDENTIFY = `# Written by sealttyd: docs/provision.md
policy: enabled
datasource: NoCloud
`;

/** What is left in the place of all these once they are taken away. */
export const DISABLED = `# Written by sealttyd setup --remove: without what kept it to the owner's seed, cloud-init would take the host's as root.
# To have cloud-init again, with whatever the host offers it: delete this file. docs/provision.md
`;

/** A condition is looked at when the unit's turn has come, behind the wait: whatever became of that, without the file nothing runs. */
const DROP_IN = `# Written by sealttyd: docs/provision.md
[Unit]
Wants=${WAIT_UNIT}
After=${WAIT_UNIT}
ConditionPathExists=${MAY_RUN}

[Service]
# In place of the kernel's command line, where the host may have put ds=, cloud-config-url= or network-config=.
Environment=DEBUG_PROC_CMDLINE=
# Not the console.
StandardOutput=journal
StandardError=journal
`;

/** What setup writes for it, by path. */
export const CLOUD_INIT_FILES: ReadonlyMap<string, string> = new Map([
  [PINS_FILE, PINS],
  [IDENTIFY_FILE, IDENTIFY],
  ...SERVICES.map((name) => [dropInOf(name), DROP_IN] as const),
]);

export function dropInOf(service: string): string {
  return `/etc/systemd/system/${service}.d/sealtty.conf`;
}
