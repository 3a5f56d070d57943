// Where setup puts things.

export const KEYS_FILE = "/etc/sealtty/authorized_keys";
export const RECORD_FILE = "/var/lib/sealtty/setup.json";
/** What the hook of initramfs-tools, or the module for dracut, puts into an initramfs as its configuration. */
export const EARLY_CONFIG_FILE = "/etc/sealtty/initramfs.toml";
/** Of initramfs-tools, by the package. */
export const EARLY_HOOK = "/usr/share/initramfs-tools/hooks/sealtty";
