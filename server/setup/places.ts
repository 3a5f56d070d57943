// Where setup puts things.

export const KEYS_FILE = "/etc/sealtty/authorized_keys";
export const RECORD_FILE = "/var/lib/sealtty/setup.json";
