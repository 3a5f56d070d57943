// TigerVNC's Xvnc, a VNC server that is no virtual machine's: an X server without a screen, with the small programs of X to draw,
// resize and listen.

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import type { Readable } from "node:stream";
import type { RfbPlace } from "../../node/rfb.ts";
import { utf8 } from "../../protocol/bytes.ts";
import { vncResponse } from "../../protocol/rfb/des.ts";
import { makeCertificate } from "./hosts/web-host.ts";
import { VNC_PASSWORD } from "./qemu-vnc.ts";

/** With this key each password file of VNC's is made, by everybody: it hides nothing. */
const FILE_KEY = Uint8Array.of(23, 82, 107, 6, 35, 78, 88, 7);

export interface Xvnc {
  readonly socket: string;
  /** On 127.0.0.1. */
  readonly port: number;
  /** PEM. */
  readonly ca: Buffer;
  /** Runs one of X's programs to its end. */
  x(program: string, ...args: readonly string[]): void;
  /** What happens on the root window, as xev tells it, until the server stops. */
  xev(): { told(pattern: RegExp): Promise<void> };
  /** x11vnc, which shows its display in turn. @returns once it listens. */
  x11vnc(): Promise<RfbPlace>;
  stop(): Promise<void>;
}

/** @param security - as Xvnc's -SecurityTypes. Where a password is wanted, it is VNC_PASSWORD. */
export async function startXvnc(security: string, geometry = "640x480"): Promise<Xvnc> {
  const directory = mkdtempSync(path.join(os.tmpdir(), "sealtty-xvnc-"));
  const at = (name: string): string => path.join(directory, name);
  const { certFile, keyFile } = makeCertificate(directory, "xvnc");
  const padded = new Uint8Array(16);
  padded.set(utf8(VNC_PASSWORD).subarray(0, 8));
  writeFileSync(at("password"), vncResponse(FILE_KEY, padded).subarray(0, 8), { mode: 0o600 });
  const children: ChildProcess[] = [];
  const start = (program: string, args: readonly string[], display?: string): ChildProcess => {
    const child = spawn("setpriv", ["--pdeathsig", "KILL", "--", program, ...args], {
      stdio: ["ignore", "pipe", "pipe", "pipe"],
      env: { ...process.env, ...(display === undefined ? {} : { DISPLAY: display }) },
    });
    children.push(child);
    return child;
  };
  const stop = async (): Promise<void> => {
    for (const child of children.toReversed()) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const closed = once(child, "close");
      child.kill("SIGKILL");
      await closed;
    }
    rmSync(directory, { recursive: true, force: true });
  };
  try {
    const port = await freePort();
    const server = start("Xvnc", [
      ...["-displayfd", "3", "-noreset", "-ac", "-nolisten", "tcp", "-depth", "24", "-geometry", geometry],
      ...["-rfbunixpath", at("vnc"), "-rfbport", String(port), "-interface", "127.0.0.1"],
      // Else it hears symbols alone, and an event with a scan code has none.
      ...["-RawKeyboard", "-SecurityTypes", security, "-PasswordFile", at("password")],
      ...["-X509Cert", certFile, "-X509Key", keyFile],
    ]);
    let complaints = "";
    server.stderr?.setEncoding("utf8").on("data", (text: string) => (complaints += text));
    const display = `:${await firstLine(server.stdio[3] as Readable, () => complaints)}`;
    return {
      socket: at("vnc"),
      port,
      ca: readFileSync(certFile),
      x(program, ...args) {
        execFileSync(program, args, { env: { ...process.env, DISPLAY: display }, timeout: 60_000 });
      },
      xev() {
        const child = start(
          "stdbuf",
          ["-oL", "xev", "-root", "-event", "keyboard", "-event", "mouse", "-event", "button"],
          display,
        );
        let text = "";
        let wake: () => void = () => {};
        child.stdout?.setEncoding("utf8").on("data", (more: string) => {
          text += more;
          wake();
        });
        return {
          async told(pattern) {
            while (!pattern.test(text)) await new Promise<void>((resolve) => (wake = resolve));
          },
        };
      },
      async x11vnc() {
        const port = await freePort();
        const child = start(
          "x11vnc",
          [
            ...["-rfbport", String(port), "-localhost", "-noipv6", "-norc", "-nopw", "-forever", "-shared"],
            ...["-nocursor", "-nap", "-wait", "10"],
          ],
          display,
        );
        let said = "";
        child.stderr?.setEncoding("utf8").on("data", (text: string) => (said += text));
        await firstLine(child.stdout as Readable, () => said); // PORT=
        return { kind: "tcp", host: "127.0.0.1", port };
      },
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function firstLine(from: Readable, complaints: () => string): Promise<string> {
  let text = "";
  for await (const part of from.setEncoding("latin1")) {
    text += part as string;
    const [line, rest] = text.split("\n");
    if (rest !== undefined) return line as string;
  }
  throw new Error(`The server ended: ${complaints()}`);
}

/** Somebody else could take it until it is used; nobody here does. */
async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as net.AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
