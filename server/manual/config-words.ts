// Every key of sealttyd.toml in words, for sealttyd.toml(5). test/server/manual.test.ts holds it to what the parser takes.

export interface KeyWords {
  readonly key: string;
  /** What stands behind the equals sign. */
  readonly value: string;
  readonly words: string;
}

export interface TableWords {
  readonly table: string;
  readonly words: string;
  readonly keys: readonly KeyWords[];
}

const key = (name: string, value: string, words: string): KeyWords => ({ key: name, value, words });

export const CONFIG_WORDS: readonly TableWords[] = [
  {
    table: "pipe",
    words: "How the host carries the console. Required.",
    keys: [
      key(
        "type",
        '"virtio", "tty", "unix" or "framebuffer"',
        "a virtio-serial port, a terminal device, a socket in the guest, or the machine's screen and keys",
      ),
      key("name", '"NAME"', 'of "virtio": the name of the port'),
      key("device", '"/dev/…"', 'of "tty": the device'),
      key(
        "armour_only",
        "true or false",
        'of "tty": only printable lines go out; needed where the kernel uses the device as its console. Default false',
      ),
      key("path", '"/…"', 'of "unix": where to listen'),
      key(
        "screen",
        '"/dev/…"',
        'of "framebuffer": where to draw. Default: /dev/fb0, else the text of the terminal in front (/dev/vcsa1)',
      ),
      key(
        "input",
        '"tablet", "mouse" or "keyboard"',
        'of "framebuffer": what to hear the client by. Default: the first of these that there is',
      ),
    ],
  },
  {
    table: "evidence",
    words:
      "How this machine proves what it is. Required. Only what is named is used: there is no way down to a weaker one.",
    keys: [
      key("type", '"sev-snp", "tdx", "azure", "tpm" or "simulated"', "the kind; the last one is for tests"),
      key(
        "collector",
        '"auto", "configfs" or "sev-guest"',
        'of "sev-snp": which of the kernel\'s ways. Default "auto"',
      ),
      key("vmpl", "0 to 3", 'of "sev-snp": the level that this guest runs at. Default 0'),
      key(
        "collateral",
        '"/…"',
        'of "sev-snp", "tdx" and "azure": a directory of certificates, CRLs and TCB info to send along',
      ),
      key("timeout_seconds", "1 to 600", 'of "sev-snp" and "tdx": how long to wait for a report. Default 75'),
      key("seconds_between_reports", "1 to 60", 'of "sev-snp" and "tdx": at least. Default 1'),
      key("device", '"/dev/…"', 'of "azure" and "tpm": the TPM. Default "/dev/tpmrm0"'),
      key("pcrs", "[0, …]", 'of "azure" and "tpm": registers to quote, from 0 to 23'),
      key(
        "imds",
        "true or false",
        'of "azure": whether Azure\'s metadata service may be asked. Default false',
      ),
      key(
        "probe_minutes",
        "0 to 10080",
        "how often to ask whether evidence can still be had; 0: at the start only. Default 60",
      ),
      key("instance", '"NAME"', 'of "simulated": which guest to play'),
      key("i_know_this_proves_nothing", "true", 'of "simulated": required'),
    ],
  },
  {
    table: "users",
    words: "Who may log in. At least one of authorized_keys, login and an instance document.",
    keys: [
      key(
        "authorized_keys",
        '"/…"',
        "file of public keys, as of sshd; with %u in it, which is the user's name, one for each user",
      ),
      key(
        "names",
        '["NAME", …] or ["*"]',
        "users that the keys of one file for all are good for; required with such a file",
      ),
      key("login", '["/bin/login"]', "program that a session without a key gets; without it there are none"),
      key("shell", '["/…", …]', "program of a session with a key. Default: the user's own shell"),
      key(
        "passkey_origins",
        '["http://localhost:*"]',
        "pages that may ask a passkey to sign in; [] for none. Default as shown",
      ),
      key(
        "pam",
        '"auto", "required" or "off"',
        "whether users' programs get a session of PAM's: where it is there, or else sealttyd does not start, or never. Default \"auto\"",
      ),
      key(
        "max_programs",
        "1 to 4096",
        "of one user's that run at a time, and of all logins without a key together; 4096 of all. Default 512",
      ),
    ],
  },
  {
    table: "instance",
    words: "Which guest this is.",
    keys: [
      key(
        "document",
        '["fw_cfg", "cmdline", "/…"]',
        "places of the instance document, tried in this order; it is believed where the evidence holds its digest, else sealttyd does not start",
      ),
      key(
        "pcr",
        "8 to 15",
        'with evidence "tpm" and "azure": the register that holds the digest. Default 15',
      ),
      key("key", '"/…"', "an OpenSSH private key (Ed25519) that signs each connection"),
      key("ssh_host_keys", '["/…"]', "public host keys of this guest's sshd, sent along with the evidence"),
    ],
  },
  {
    table: "daemon",
    words: "Who does what.",
    keys: [
      key(
        "user",
        '"NAME"',
        'whom the half becomes that talks to the host; "root": one process with all rights. Default "sealtty"',
      ),
      key(
        "sandbox",
        "true or false",
        "whether that half is confined by Landlock and seccomp as well, as far as this kernel has them. Default true",
      ),
    ],
  },
  {
    table: "sessions",
    words: "Programs on a terminal that live on without their connection.",
    keys: [
      key("keep", "true or false", "whether there are any. Default true"),
      key("ring_kib", "64 to 65536", "latest output that each keeps. Default 4096"),
      key("idle_minutes", "1 to 34560", "alone for so long, one is hung up. Default 1440"),
    ],
  },
  {
    table: "forward",
    words:
      "Connections to elsewhere through this guest, for users with a key. Without this table there are none.",
    keys: [
      key("allow", "true or false", "required"),
      key(
        "ssh",
        '["/usr/sbin/sshd", "-i"]',
        "what sealtty proxy gets without a place. Default: 127.0.0.1:22",
      ),
      key(
        "gateway",
        "true or false",
        "whether forward -R may listen on other addresses than loopback. Default false",
      ),
    ],
  },
  {
    table: "unlock",
    words:
      "Who may see what passphrases are asked for, by an initramfs's cryptsetup or through systemd, and answer. Without this table nobody may.",
    keys: [
      key("users", '["root"]', "users who sign in with a key; required"),
      key("keys", '["SHA256:…"]', "only with one of these keys, as ssh-keygen -l prints them. Default: any"),
    ],
  },
  {
    table: "audit",
    words: "What happened, besides the log.",
    keys: [
      key("file", '"/…"', "lines of JSON; its directory has to be there"),
      key("required", "true or false", "where the file cannot be written, nobody is let in. Default false"),
    ],
  },
  {
    table: "recording",
    words: "What terminals show, never what is typed. Without this table nothing is recorded.",
    keys: [
      key("directory", '"/…"', "root's own, mode 700; required"),
      key("users", '["NAME", …]', "of users with a key. Default: all"),
      key("services", '["login", "shell"]', "sessions of which kind. Default: both"),
      key("notice", "true or false", "whether users are told. Default true"),
      key("required", "true or false", "what cannot be recorded is not started. Default false"),
      key("max_mib", "1 to 65536", "of each recording. Default 64"),
      key(
        "user_mib",
        "1 to 1048576",
        "of one user's together, and of those of all logins without a key. Default: half of total_mib",
      ),
      key("total_mib", "1 to 1048576", "of all together. Default 1024"),
    ],
  },
  {
    table: "services",
    words:
      "What takes root's rights, for users with a key and no forced command, by name. What is not named is nobody's.",
    keys: [
      key("kernel_log", '["NAME", …]', "who may read the kernel's log (sealtty log)"),
      key("sysrq", '["NAME", …]', "who may press SysRq keys (sealtty sysrq); goes with sysrq_keys"),
      key("sysrq_keys", '["s", "u", "b", …]', "which, one lower-case letter or digit each"),
    ],
  },
  {
    table: "provision",
    words:
      "A seed for cloud-init, handed over by sealtty provision; sealttyd setup --provision has the boot wait for it, and cloud-init take no other. Without this table none is taken.",
    keys: [
      key("users", '["NAME", …]', "who may hand it over, with a key and no forced command; required"),
      key("directory", '"/…"', 'what becomes the seed. Default "/var/lib/cloud/seed/nocloud"'),
      key("state", '"/…"', 'file that remembers it. Default "/var/lib/sealtty/provisioned"'),
      key("again", "true or false", "whether another seed may take its place later. Default false"),
      key("wait_seconds", "0 to 86400", "how long a boot without a seed waits for it. Default 600"),
      key(
        "at_timeout",
        '"go-on" or "power-off"',
        'what the machine does then; cloud-init stays off in either case. Default "go-on"',
      ),
    ],
  },
];
