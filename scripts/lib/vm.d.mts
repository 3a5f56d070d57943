// Types of vm.mjs: the test guest in QEMU.

/** The host's end of a pipe; a TCP port is chosen by QEMU unless given. */
export interface VmPipe {
  readonly kind: "websocket" | "unix" | "tcp";
  readonly port?: number;
  /** QEMU writes there what the guest sends (not what it receives). */
  readonly logfile?: string;
}

export interface VmPipeAddress {
  /** As the sealtty command line takes it: ws://…, unix:… or tcp:… */
  readonly address: string;
  readonly wsUrl?: string;
  readonly unixPath?: string;
  readonly tcpPort?: number;
}

export type GuestFile =
  | string
  | Buffer
  | { readonly data: string | Buffer; readonly mode?: number; readonly owner?: number };

/** Files of scripts/debian-guest.mjs. */
export interface DebianFiles {
  readonly kernel: string;
  readonly initrd: string;
  /** Never written to, unless `keepsWrites`. */
  readonly disk: string;
  readonly keepsWrites?: boolean;
  readonly append: string;
}

export interface DebianGuest extends DebianFiles {
  /** OpenSSH private key that root has there, before and after the disk is open. */
  readonly identity: string;
}

export interface VmOptions {
  /** "ovmf" (default) measures kernel, command line and initramfs into PCR 4 and 9; "seabios" boots 4 s sooner and does not. */
  readonly firmware?: "ovmf" | "seabios";
  /** A software TPM; default true. */
  readonly tpm?: boolean;
  /** Keeps the TPM's state (its identity) there; otherwise each VM has a new TPM. */
  readonly tpmStateDirectory?: string;
  /** The port named sealtty.0; default a unix socket; undefined: no such port. */
  readonly virtio?: VmPipe | undefined;
  /** A virtconsole as /dev/hvc0, with a sealttyd of its own; default none. */
  readonly hvc0?: VmPipe | undefined;
  /** ttyS0 at a unix socket, where somebody may type into it; default: only read. */
  readonly typesOnSerial?: boolean;
  /** A whole Debian in place of the small guest (scripts/debian-guest.mjs), whose other options mean nothing then; with `ready`. */
  readonly system?: DebianFiles;
  /** What its serial console says once bootVm is to return; default: the small guest's own word. */
  readonly ready?: RegExp;
  readonly memoryMiB?: number;
  /** Default 1: several that are emulated wait for each other where a machine has other work, and cost it a fifth more. */
  readonly cpus?: number;
  /** What the kernel command line says of consoles; default "console=ttyS0". Without it nothing is read there: with `ready`. */
  readonly console?: string;
  /** More of the kernel command line; `sealtty.only=virtio|hvc0|none` starts that instance only. */
  readonly append?: string;
  readonly qemuArguments?: readonly string[];
  /** The bundle to run as sealttyd in the guest; default dist/bin/sealttyd.js. Called with `--config FILE`. */
  readonly sealttyd?: string;
  /** Default "tpm" with a TPM, else "simulated". */
  readonly evidence?: "tpm" | "simulated";
  /** Of root and of alice; default scripts/guest-image.mjs's defaultPassword. */
  readonly password?: string;
  /** Content of /etc/sealtty/authorized_keys. */
  readonly authorizedKeys?: string;
  /** This machine's sshd, rsync and Python in the guest as well; default no. */
  readonly programs?: boolean;
  /** By absolute path in the guest, in place of the image's own; executables in /etc/sealtty/init.d/ run before "ready". */
  readonly files?: Readonly<Record<string, GuestFile>>;
  /** For the boot until "sealtty-init: ready"; default 120 s. */
  readonly timeoutMs?: number;
}

export interface Vm {
  readonly bootMs: number;
  /** Temporary: sockets and logs; gone after stop(). */
  readonly directory: string;
  readonly virtio: VmPipeAddress | undefined;
  readonly hvc0: VmPipeAddress | undefined;
  /** Of the virtio port, else of hvc0, as the sealtty command line takes it. */
  readonly address: string;
  /** Of the virtio port, if its pipe is of that kind. */
  readonly wsUrl: string | undefined;
  readonly unixPath: string | undefined;
  /** The host's end of ttyS0, with `typesOnSerial`. */
  readonly serialPath: string | undefined;
  /** QEMU and swtpm. */
  readonly pids: readonly number[];
  /** Resolves when QEMU ended, by stop() or by itself. */
  readonly ended: Promise<void>;
  /** All of ttyS0 so far: firmware, kernel, init, and sealttyd's stderr as "sealttyd[virtio]: …". */
  serialLog(): string;
  /** @throws with the logs when QEMU ends, the kernel crashes or the time (default 30 s) is over. */
  waitForSerial(pattern: RegExp, timeoutMs?: number): Promise<RegExpExecArray>;
  /** Every TPM command and response in hexadecimal. */
  swtpmLog(): string;
  qmp(command: string, args?: Record<string, unknown>): Promise<unknown>;
  /** Idempotent. Ends only what bootVm started. */
  stop(): Promise<void>;
}

/** @throws with the captured logs; a crash of the guest's kernel alone is tried once more. */
export function bootVm(options?: VmOptions): Promise<Vm>;

/** The OVMF image that "ovmf" boots. */
export const firmwareFile: string;
