// QEMU's own VNC servers, in each way they can be asked to sign in, on a machine without a disk that stands still.

import { spawn } from "node:child_process";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { makeCertificate } from "./hosts/web-host.ts";

export const VNC_PASSWORD = "pass-word"; // one byte longer than counts

export interface Picture {
  readonly width: number;
  readonly height: number;
  /** Red, green, blue. */
  readonly pixels: Uint8Array;
}

export interface QemuVnc {
  /** Without a password, the same screen at both. */
  readonly socket: string;
  readonly webSocket: string;
  /** With VNC_PASSWORD. */
  readonly passwordSocket: string;
  /** On 127.0.0.1: VeNCrypt without and with a certificate; the second wants VNC_PASSWORD, too. */
  readonly anonymousPort: number;
  readonly certificatePort: number;
  /** PEM. */
  readonly ca: Buffer;
  qmp(command: string, args?: object): Promise<unknown>;
  /** What QEMU itself says that is on the screen. */
  screendump(): Promise<Picture>;
  stop(): Promise<void>;
}

interface VncServers {
  readonly id: string;
  readonly server: readonly { readonly service: string; readonly websocket: boolean }[];
}

/** It dies with us (setpriv), and takes next to no processor: `-S` starts it paused. @param disk - what it boots from. */
export async function startQemuVnc(disk?: Uint8Array): Promise<QemuVnc> {
  const directory = mkdtempSync(path.join(os.tmpdir(), "sealtty-vnc-"));
  const at = (name: string): string => path.join(directory, name);
  const { certFile, keyFile } = makeCertificate(directory, "vnc");
  copyFileSync(certFile, at("ca-cert.pem"));
  copyFileSync(certFile, at("server-cert.pem"));
  copyFileSync(keyFile, at("server-key.pem"));
  if (disk !== undefined) writeFileSync(at("disk"), disk);
  const anywhere = "127.0.0.1:0,to=9999"; // the first display that is free
  const child = spawn(
    "setpriv",
    [
      ...["--pdeathsig", "KILL", "--", "qemu-system-x86_64"],
      ..."-machine pc -accel tcg -m 16 -nodefaults -no-user-config -S -display none -vga std -qmp stdio".split(
        " ",
      ),
      ...(disk === undefined ? [] : ["-drive", `file=${at("disk")},format=raw,if=ide`]),
      ...["-object", "tls-creds-anon,id=anonymous,endpoint=server"],
      ...[
        "-object",
        `tls-creds-x509,id=certificate,endpoint=server,verify-peer=off,sanity-check=off,dir=${directory}`,
      ],
      ...["-vnc", `unix:${at("plain")},id=plain,websocket=127.0.0.1:0`],
      ...["-vnc", `unix:${at("password")},id=password,password=on`],
      ...["-vnc", `${anywhere},id=anonymous,tls-creds=anonymous`],
      ...["-vnc", `${anywhere},id=certificate,tls-creds=certificate,password=on`],
    ],
    { stdio: ["pipe", "pipe", "pipe"] },
  );
  let complaints = "";
  child.stderr
    .setEncoding("utf8")
    .on("data", (text: string) => (complaints = (complaints + text).slice(-4000)));
  const waiting: { resolve: (value: unknown) => void; reject: (error: Error) => void }[] = [];
  const ended = new Promise<void>((resolve) => {
    const end = (): void => {
      for (const { reject } of waiting.splice(0)) reject(new Error(`QEMU ended: ${complaints}`));
      resolve();
    };
    child.once("error", end);
    child.once("close", end);
  });
  child.stdin.on("error", () => {}); // it ended: `close` tells
  createInterface({ input: child.stdout }).on("line", (line) => {
    const message = JSON.parse(line) as { return?: unknown; error?: { desc: string } };
    if (message.error !== undefined) waiting.shift()?.reject(new Error(message.error.desc));
    else if ("return" in message) waiting.shift()?.resolve(message.return);
  });
  const qmp = (execute: string, args: object = {}): Promise<unknown> =>
    new Promise((resolve, reject) => {
      if (child.exitCode !== null) return reject(new Error(`QEMU ended: ${complaints}`));
      waiting.push({ resolve, reject });
      child.stdin.write(`${JSON.stringify({ execute, arguments: args })}\n`);
    });
  const stop = async (): Promise<void> => {
    child.kill("SIGKILL");
    await ended;
    rmSync(directory, { recursive: true, force: true });
  };
  try {
    await qmp("qmp_capabilities");
    for (const display of ["password", "certificate"])
      await qmp("set_password", { protocol: "vnc", display, password: VNC_PASSWORD });
    const servers = (await qmp("query-vnc-servers")) as VncServers[];
    const portOf = (id: string, websocket: boolean): number =>
      Number(
        servers.find((one) => one.id === id)?.server.find((one) => one.websocket === websocket)?.service,
      );
    return {
      socket: at("plain"),
      webSocket: `ws://127.0.0.1:${portOf("plain", true)}/`,
      passwordSocket: at("password"),
      anonymousPort: portOf("anonymous", false),
      certificatePort: portOf("certificate", false),
      ca: readFileSync(certFile),
      qmp,
      async screendump() {
        await qmp("screendump", { filename: at("screen.ppm") });
        return readPpm(readFileSync(at("screen.ppm")));
      },
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

function readPpm(file: Buffer): Picture {
  const [head, width, height] =
    /^P6\s+([0-9]+)\s+([0-9]+)\s+255\s/.exec(file.toString("latin1", 0, 40)) ?? [];
  if (head === undefined) throw new Error("QEMU's screendump is no PPM");
  return { width: Number(width), height: Number(height), pixels: file.subarray(head.length) };
}
