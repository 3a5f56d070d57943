// A real software TPM (swtpm), on a unix socket in a directory of its own.

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { rmSync } from "node:fs";
import { type Socket, connect } from "node:net";
import { join } from "node:path";
import { concat, lv16, toHex, u16, u32, u8 } from "../../../protocol/bytes.ts";
import type { TpmTransmit } from "../../../server/evidence/tpm-channel.ts";

export const hasSwtpm = spawnSync("swtpm", ["--version"]).status === 0;
export const hasTpmTools = hasSwtpm && spawnSync("tpm2_nvdefine", ["--version"]).status === 0;

export class Swtpm {
  #process: ChildProcess | undefined;
  #socket: Socket | undefined;
  #waiting: ((bytes: Uint8Array) => void) | undefined;
  #received: Uint8Array = new Uint8Array();
  readonly directory: string;
  constructor(directory: string) {
    this.directory = directory;
  }

  async start(): Promise<void> {
    const server = join(this.directory, "server.sock");
    const control = `${server}.ctrl`; // where tpm2-tools look for it
    for (const path of [server, control]) rmSync(path, { force: true });
    this.#process = spawn(
      "swtpm",
      [
        ...["socket", "--tpm2", "--tpmstate", `dir=${this.directory}`],
        ...["--server", `type=unixio,path=${server}`, "--ctrl", `type=unixio,path=${control}`],
        ...["--flags", "not-need-init,startup-clear"],
      ],
      { stdio: "ignore" },
    );
    this.#received = new Uint8Array();
    await this.connect();
  }

  /** Runs tpm2-tools on it: it serves one connection at a time. */
  async tools(...commands: readonly (readonly [string, ...string[]])[]): Promise<void> {
    const socket = this.#socket;
    if (socket !== undefined && !socket.destroyed) {
      const closed = new Promise((done) => socket.once("close", done));
      socket.destroy();
      await closed;
    }
    const environment = {
      ...process.env,
      TPM2TOOLS_TCTI: `swtpm:path=${join(this.directory, "server.sock")}`,
    };
    for (const [program, ...args] of commands) {
      const { status, stderr } = spawnSync(program, args, { env: environment, cwd: this.directory });
      if (status !== 0) throw new Error(`${program} failed: ${String(stderr)}`);
    }
    await this.connect();
  }

  async connect(): Promise<void> {
    const socket = await this.#connected();
    this.#socket = socket;
    socket.on("data", (chunk) => {
      this.#received = concat(this.#received, chunk);
      if (this.#received.length < 6) return;
      const length = Buffer.from(this.#received).readUInt32BE(2);
      if (this.#received.length < length) return;
      const response = this.#received.subarray(0, length);
      this.#received = this.#received.slice(length);
      this.#waiting?.(response);
    });
    socket.on("error", () => {}); // a test that needs an answer notices
  }

  /** The socket's file is there a moment before anyone listens on it. */
  async #connected(): Promise<Socket> {
    for (let attempt = 1; ; attempt++) {
      const socket = connect(join(this.directory, "server.sock"));
      try {
        await new Promise<void>((done, failed) => socket.once("connect", done).once("error", failed));
        return socket;
      } catch (error) {
        if (attempt >= 200) throw error;
        await new Promise((done) => setTimeout(done, 25));
      }
    }
  }

  readonly transmit: TpmTransmit = (command) =>
    new Promise((resolve) => {
      this.#waiting = resolve;
      this.#socket?.write(command);
    });

  async extend(pcr: number, digest: Uint8Array): Promise<void> {
    const auth = concat(u32(9), u32(0x40000009), lv16(new Uint8Array()), u8(0), lv16(new Uint8Array()));
    const body = concat(u32(0x182), u32(pcr), auth, u32(1), u16(0x0b), digest);
    const response = await this.transmit(concat(u16(0x8002), u32(6 + body.length), body));
    if (toHex(response.subarray(6, 10)) !== "00000000") throw new Error("TPM2_PCR_Extend failed");
  }

  async stop(): Promise<void> {
    this.#socket?.destroy();
    const child = this.#process;
    if (child === undefined || child.exitCode !== null) return;
    const exited = new Promise((done) => child.once("exit", done));
    child.kill("SIGTERM");
    await exited;
  }
}
