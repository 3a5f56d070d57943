// `npm run demo:vm`: a VM of our own with a software TPM, and its console in the browser. Ctrl-C ends everything.
// usage, below, says the options.

import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { build } from "./build.mjs";
import { buildGuestImage, defaultPassword } from "./guest-image.mjs";
import { ensureNodeModules } from "./lib/install.mjs";
import {
  cacheDirectory,
  mustRun,
  projectRoot,
  run,
  runScript,
  ScriptError,
  secondsSince,
} from "./lib/run.mjs";
import { bootVm, firmwareFile } from "./lib/vm.mjs";
import { ensurePackages } from "./packages.mjs";

const usage = `npm run demo:vm -- [--no-open] [--port N] [--password WORD]
Boots a VM of our own (QEMU) with a software TPM, and opens its console page. Ctrl-C ends everything.
  --no-open        print the link, start no browser
  --port N         port of the page on localhost; 0 for any
  --password WORD  of root in the VM; default ${defaultPassword}
Others are for sealtty open. The first time it installs Debian packages (QEMU, swtpm, …) and makes the guest's image.
`;

const say = (text) => process.stdout.write(`demo: ${text}\n`);
const sealtty = path.join(projectRoot, "dist/bin/sealtty.js");

/** --password is ours, the rest goes to `sealtty open`. */
function splitArguments(args) {
  const at = args.indexOf("--password");
  if (at === -1) return { password: defaultPassword, rest: args };
  if (args[at + 1] === undefined) throw new ScriptError("--password needs a value");
  return { password: args[at + 1], rest: args.toSpliced(at, 2) };
}

/** The policy of this demo machine as it is built now: another sealttyd or password is another measured machine. */
async function policyFor(address, directory, sealttydHash) {
  const policy = path.join(directory, `policy-${sealttydHash}.toml`);
  if (existsSync(policy)) {
    say(`checking the guest against the policy saved earlier: ${policy}`);
    return policy;
  }
  say(
    "first use of this demo machine: TRUSTING IT AS IT IS NOW, without any check, and saving that as the policy.",
  );
  say(
    "That is fine here because we built and started it ourselves. For a machine of someone else it would not be.",
  );
  const unfinished = `${policy}.unfinished`;
  const inspect = await run(process.execPath, [sealtty, "inspect", address, "--save-policy", unfinished]);
  process.stdout.write(inspect.stdout.replaceAll(unfinished, policy));
  process.stderr.write(inspect.stderr.replaceAll(unfinished, policy));
  if (inspect.status !== 0 || !existsSync(unfinished)) {
    throw new ScriptError(`sealtty inspect could not save a policy (exit status ${inspect.status})`);
  }
  renameSync(unfinished, policy);
  return policy;
}

/** Two VMs cannot share one TPM's state. @returns what gives the turn back. */
function takeTurn(file) {
  if (existsSync(file)) {
    const pid = Number(readFileSync(file, "utf8"));
    let alive = false;
    try {
      alive = pid > 0 && process.kill(pid, 0);
    } catch {
      // left behind by one that was killed
    }
    if (alive) throw new ScriptError(`Another npm run demo:vm is running (process ${pid}): end it first.`);
  }
  mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
  writeFileSync(file, String(process.pid));
  return () => rmSync(file, { force: true });
}

/** Runs `sealtty open` until it ends or we are told to. */
function openConsole(args, stopped) {
  const child = spawn(process.execPath, [sealtty, "open", ...args], { stdio: "inherit" });
  stopped.addEventListener("abort", () => child.kill("SIGTERM"));
  return new Promise((resolve) => {
    child.on("error", () => resolve(255));
    child.on("close", (status) => resolve(stopped.aborted ? 0 : (status ?? 255)));
  });
}

/** The turn is ours: builds, boots, opens. */
async function demo(directory, password, rest, stop) {
  await ensureNodeModules();
  await ensurePackages(["vm", "ssh"]);
  await build();
  const image = await buildGuestImage();
  if (stop.signal.aborted) return 0;

  // Whatever the firmware measures is in the policy's name, so a rebuilt sealttyd does not look like an attack.
  const qemuVersion = await mustRun("qemu-system-x86_64", ["--version"]);
  const hash = createHash("sha256").update(image.kernelPackage + image.base + password + qemuVersion);
  const programs = [
    "sealttyd",
    "sealttyd-screen",
    "sealttyd-files",
    "sealttyd-prompts",
    "sealttyd-connect",
    "sealttyd-service",
  ].map((name) => `dist/bin/${name}.js`);
  const inputs = [...programs, "scripts/guest/init.sh", "scripts/guest-image.mjs", firmwareFile];
  for (const file of inputs) hash.update(readFileSync(path.resolve(projectRoot, file)));
  const key = path.join(directory, "id_ed25519");
  if (!existsSync(key))
    await mustRun("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "demo", "-f", key]);
  const authorizedKeys = readFileSync(`${key}.pub`, "utf8");
  hash.update(authorizedKeys);

  say("booting a VM with a software TPM (QEMU, no KVM: about ten seconds)");
  const start = performance.now();
  let vm;
  try {
    vm = await bootVm({
      cpus: 2, // nothing else has this machine's while somebody looks
      virtio: { kind: "websocket" },
      tpmStateDirectory: path.join(directory, "tpm"),
      password,
      authorizedKeys,
    });
    say(`booted in ${secondsSince(start)}; the host's end of its console is ${vm.address}`);
    void vm.ended.then(() => stop.abort());
    if (stop.signal.aborted) return 0;
    const policy = await policyFor(vm.address, directory, hash.digest("hex").slice(0, 12));
    say(`log in as root with the password ${password}; Ctrl-C here ends everything`);
    say("In another terminal (QEMU serves one client at a time: close the page first):");
    const program = path.relative(process.cwd(), sealtty);
    const common = `${vm.address} --policy ${policy} -l root`;
    process.stdout.write(`  node ${program} connect ${common}\n`);
    process.stdout.write(`  node ${program} exec ${common} -i ${key} -- uname -a\n`);
    process.stdout.write(`  node ${program} inspect ${vm.address} --policy ${policy}\n`);
    return await openConsole([vm.address, "--policy", policy, "-l", "root", ...rest], stop.signal);
  } catch (error) {
    if (!stop.signal.aborted) throw error; // a Ctrl-C reaches QEMU as well, and then anything here may fail
    return 0;
  } finally {
    await vm?.stop();
    say("the VM has ended");
  }
}

await runScript(async () => {
  const args = process.argv.slice(2);
  if (args.includes("--help") || args.includes("-h")) {
    process.stdout.write(usage);
    return 0;
  }
  const { password, rest } = splitArguments(args);
  const directory = path.join(cacheDirectory, "demo");
  // Before anything is built: the other demonstration runs what a build would replace.
  const release = takeTurn(path.join(directory, "running"));
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => stop.abort());
  try {
    return await demo(directory, password, rest, stop);
  } finally {
    release();
  }
});
