// Boots the test guest in QEMU (TCG, no root) with a software TPM. Types: vm.d.mts.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { buildGuestImage, writeInitramfs } from "../guest-image.mjs";
import { projectRoot, ScriptError } from "./run.mjs";
import { isListening } from "./unix-socket.mjs";

const READY = /^sealtty-init: ready/m;
/** Of the kernel itself; a panic because an image has no root or no init comes again the second time. */
const KERNEL_CRASH =
  /Kernel panic - not syncing: (?!VFS|No working init|Requested init|Attempted to kill init)|double fault|BUG: |Oops: /;
/** OVMF, code and variables in one: under TCG 4 s faster than the split 4M files. */
export const firmwareFile = "/usr/share/ovmf/OVMF.fd";
const textOf = (file) => (existsSync(file) ? readFileSync(file, "utf8") : "");

const running = new Set(); // child processes of this process that still live
const directories = new Set();
process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
  for (const directory of directories) rmSync(directory, { recursive: true, force: true });
});

/** Starts a program that dies with us even when we are killed (setpriv is in Debian's essential util-linux). */
function startChild(command, args) {
  const child = spawn("setpriv", ["--pdeathsig", "KILL", "--", command, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  child.output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text) => (child.output = (child.output + text).slice(-20_000)));
  }
  child.ended = new Promise((resolve) => {
    const end = () => {
      running.delete(child);
      resolve();
    };
    child.on("exit", end);
    child.on("error", (error) => {
      child.output += `${error.message}\n`;
      end();
    });
  });
  running.add(child);
  return child;
}

const hasEnded = (child) => !running.has(child);

async function endChild(child, patienceMs) {
  for (const signal of ["SIGTERM", "SIGKILL"]) {
    if (hasEnded(child)) return;
    child.kill(signal);
    await Promise.race([child.ended, sleep(patienceMs, undefined, { ref: false })]);
  }
}

/** A QMP client: one command at a time, events are passed over. */
class Monitor {
  #socket;
  #buffer = "";
  #waiting = [];

  static async open(file) {
    const monitor = new Monitor();
    const socket = net.connect(file);
    await once(socket, "connect");
    monitor.#socket = socket.setEncoding("utf8");
    socket.on("data", (text) => monitor.#receive(text));
    socket.on("error", () => {});
    socket.on("close", () => {
      for (const { reject } of monitor.#waiting.splice(0)) reject(new Error("QEMU closed its monitor"));
    });
    await monitor.command("qmp_capabilities");
    return monitor;
  }

  command(execute, args = {}) {
    return new Promise((resolve, reject) => {
      if (this.#socket.destroyed) return reject(new Error("QEMU closed its monitor"));
      this.#waiting.push({ resolve, reject });
      this.#socket.write(`${JSON.stringify({ execute, arguments: args })}\n`);
    });
  }

  #receive(text) {
    const lines = (this.#buffer + text).split("\n");
    this.#buffer = lines.pop();
    for (const line of lines.filter((candidate) => candidate.trim() !== "")) {
      const message = JSON.parse(line);
      if ("return" in message) this.#waiting.shift()?.resolve(message.return);
      else if ("error" in message) this.#waiting.shift()?.reject(new Error(`QMP: ${message.error.desc}`));
    }
  }

  close() {
    this.#socket.destroy();
  }
}

/** QEMU's -chardev for a pipe of ours. Port 0: QEMU picks a free one, and the monitor tells which. */
function chardevArgument(id, pipe, directory) {
  const where =
    pipe.kind === "unix"
      ? `path=${path.join(directory, id)}`
      : `host=127.0.0.1,port=${pipe.port ?? 0},nodelay=on${pipe.kind === "websocket" ? ",websocket=on" : ""}`;
  return `socket,id=${id},${where},server=on,wait=off${pipe.logfile ? `,logfile=${pipe.logfile}` : ""}`;
}

async function pipeAddress(monitor, id, pipe, directory) {
  if (pipe.kind === "unix") {
    const unixPath = path.join(directory, id);
    return { address: `unix:${unixPath}`, unixPath };
  }
  const chardevs = await monitor.command("query-chardev");
  const found = chardevs.find((chardev) => chardev.label === id);
  const port = Number(/127\.0\.0\.1:(\d+)/.exec(found?.filename ?? "")?.[1] ?? pipe.port ?? 0);
  if (port === 0) throw new ScriptError(`QEMU tells no port for ${id}: ${found?.filename}`);
  if (pipe.kind === "tcp") return { address: `tcp:127.0.0.1:${port}`, tcpPort: port };
  const wsUrl = `ws://127.0.0.1:${port}/`;
  return { address: wsUrl, wsUrl, tcpPort: port };
}

function qemuArguments(options, image, directory, sockets) {
  const { firmware, virtio, hvc0, memoryMiB, append } = options;
  const args = ["-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", String(options.cpus)];
  args.push("-m", String(memoryMiB), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot");
  if (firmware === "ovmf") args.push("-bios", firmwareFile);
  const { system } = options;
  args.push("-kernel", image.kernel, "-initrd", system?.initrd ?? path.join(directory, "initrd.cpio"));
  args.push("-append", ["quiet", options.console, "panic=-1", system?.append ?? "", append].join(" ").trim());
  if (system !== undefined)
    args.push(
      "-drive",
      `file=${system.disk},if=none,id=root,format=raw,snapshot=${system.keepsWrites ? "off" : "on"}`,
      ..."-device virtio-blk-pci,drive=root".split(" "),
    );
  const log = path.join(directory, "serial.log");
  const serial = options.typesOnSerial
    ? `socket,id=serial,path=${path.join(directory, "serial")},server=on,wait=off,logfile=${log}`
    : `file,id=serial,path=${log}`;
  args.push("-chardev", serial, "-serial", "chardev:serial");
  args.push("-qmp", `unix:${sockets.monitor},server=on,wait=off`);
  if (sockets.tpm) {
    args.push("-chardev", `socket,id=tpm,path=${sockets.tpm}`);
    args.push("-tpmdev", "emulator,id=tpm0,chardev=tpm", "-device", "tpm-crb,tpmdev=tpm0");
  }
  if (virtio || hvc0) args.push("-device", "virtio-serial-pci,id=vs0,max_ports=16");
  if (virtio) {
    args.push("-chardev", chardevArgument("virtio", virtio, directory));
    args.push("-device", "virtserialport,bus=vs0.0,nr=2,chardev=virtio,name=sealtty.0");
  }
  if (hvc0) {
    args.push("-chardev", chardevArgument("hvc0", hvc0, directory));
    args.push("-device", "virtconsole,bus=vs0.0,nr=1,chardev=hvc0");
  }
  return [...args, ...options.qemuArguments];
}

async function startTpm(stateDirectory, directory) {
  mkdirSync(stateDirectory, { recursive: true });
  const socket = path.join(directory, "swtpm");
  const log = path.join(directory, "swtpm.log");
  const control = ["--ctrl", `type=unixio,path=${socket}`, "--log", `level=20,file=${log}`];
  const child = startChild("swtpm", [
    "socket",
    "--tpm2",
    "--terminate",
    "--tpmstate",
    `dir=${stateDirectory}`,
    ...control,
  ]);
  for (let tries = 0; !isListening(socket); tries++) {
    if (hasEnded(child) || tries > 200) {
      await endChild(child, 2000);
      throw new ScriptError(`swtpm does not start:\n${child.output}${textOf(log)}`);
    }
    await sleep(25);
  }
  return { child, socket, log };
}

const tail = (text, lines) => text.trimEnd().split("\n").slice(-lines).join("\n");

class BootFailure extends ScriptError {
  constructor(message, kernelCrash) {
    super(message);
    this.kernelCrash = kernelCrash;
  }
}

async function bootOnce(options, image) {
  const directory = mkdtempSync(path.join(os.tmpdir(), "sealtty-vm-"));
  const serialFile = path.join(directory, "serial.log");
  directories.add(directory);
  const start = performance.now();
  let booted = false;
  let tpm;
  let qemu;
  let monitor;
  const cleanUp = async () => {
    if (monitor !== undefined) {
      monitor.command("quit").catch(() => {}); // closes the chardevs in order
      await Promise.race([qemu.ended, sleep(3000, undefined, { ref: false })]);
      monitor.close();
    }
    if (qemu !== undefined) await endChild(qemu, 3000);
    if (tpm !== undefined) {
      await Promise.race([tpm.child.ended, sleep(1000, undefined, { ref: false })]); // --terminate: ends with QEMU
      await endChild(tpm.child, 2000);
    }
    rmSync(directory, { recursive: true, force: true });
    directories.delete(directory);
  };
  const failed = (why) => {
    const serial = textOf(serialFile);
    const what = booted ? "The guest had booted, but" : "The guest did not boot:";
    const logs = `--- serial console\n${tail(serial, 60)}\n--- QEMU\n${qemu?.output ?? ""}`;
    return new BootFailure(`${what} ${why}\n${logs}`, KERNEL_CRASH.test(serial));
  };
  try {
    if (options.system === undefined)
      await writeInitramfs(image, path.join(directory, "initrd.cpio"), options);
    if (options.tpm)
      tpm = await startTpm(options.tpmStateDirectory ?? path.join(directory, "tpm"), directory);
    const sockets = { monitor: path.join(directory, "qmp"), tpm: tpm?.socket };
    qemu = startChild("qemu-system-x86_64", qemuArguments(options, image, directory, sockets));
    while (!isListening(sockets.monitor)) {
      if (hasEnded(qemu)) throw failed("QEMU ended");
      await sleep(25);
    }
    monitor = await Monitor.open(sockets.monitor);
    const virtio = options.virtio && (await pipeAddress(monitor, "virtio", options.virtio, directory));
    const hvc0 = options.hvc0 && (await pipeAddress(monitor, "hvc0", options.hvc0, directory));
    let lastSerial = "";
    const serialLog = () => (lastSerial = textOf(serialFile) || lastSerial); // still there after stop()
    const waitForSerial = async (pattern, timeoutMs = 30_000) => {
      const deadline = performance.now() + timeoutMs;
      for (;;) {
        const match = pattern.exec(serialLog());
        if (match !== null) return match;
        if (hasEnded(qemu)) throw failed("QEMU ended");
        if (KERNEL_CRASH.test(lastSerial)) throw failed("its kernel crashed");
        if (performance.now() > deadline) throw failed(`no ${pattern} on its console within ${timeoutMs} ms`);
        await sleep(50);
      }
    };
    await waitForSerial(options.ready ?? READY, options.timeoutMs);
    booted = true;
    let stopping;
    return {
      bootMs: performance.now() - start,
      directory,
      virtio,
      hvc0,
      address: (virtio ?? hvc0)?.address,
      wsUrl: virtio?.wsUrl,
      unixPath: virtio?.unixPath,
      serialPath: options.typesOnSerial ? path.join(directory, "serial") : undefined,
      pids: [qemu.pid, ...(tpm ? [tpm.child.pid] : [])],
      ended: qemu.ended,
      serialLog,
      waitForSerial,
      swtpmLog: () => (tpm ? textOf(tpm.log) : ""),
      qmp: (command, args) => monitor.command(command, args),
      stop() {
        serialLog();
        stopping ??= cleanUp();
        return stopping;
      },
    };
  } catch (error) {
    await cleanUp();
    throw error;
  }
}

/** See vm.d.mts. */
export async function bootVm(given = {}) {
  const options = {
    firmware: "ovmf",
    tpm: true,
    virtio: { kind: "unix" },
    memoryMiB: 1024,
    cpus: 1,
    console: "console=ttyS0",
    append: "",
    qemuArguments: [],
    sealttyd: path.join(projectRoot, "dist/bin/sealttyd.js"),
    timeoutMs: 120_000,
    ...given,
  };
  options.evidence ??= options.tpm ? "tpm" : "simulated";
  if (!existsSync(options.sealttyd))
    throw new ScriptError(`${options.sealttyd} is missing: run npm run build`);
  const image = options.system ?? (await buildGuestImage());
  try {
    return await bootOnce(options, image);
  } catch (error) {
    if (!error.kernelCrash) throw error;
    process.stderr.write(
      `${error.message}\nThe guest's kernel crashed, which TCG does at times: booting once more\n`,
    );
    return bootOnce(options, image);
  }
}
