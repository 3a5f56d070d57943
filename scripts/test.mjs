// `npm test`: installs what is missing, builds, prepares the guest image, runs vitest with our arguments passed on. With --dracut
// (`npm run test:dracut`) those of a Debian whose initramfs is dracut's, and no others: each run has no time for them.
// The last line is always `N passed, N failed, N skipped`.

import { mkdtemp, readFile, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { build } from "./build.mjs";
import { buildDebianGuest } from "./debian-guest.mjs";
import { buildGuestImage } from "./guest-image.mjs";
import { ensureNodeModules, runTool } from "./lib/install.mjs";
import { ScriptError, secondsSince } from "./lib/run.mjs";
import { ensurePackages } from "./packages.mjs";

const given = process.argv.slice(2);
const dracut = given.includes("--dracut");

async function prepare() {
  const start = performance.now();
  await ensureNodeModules();
  await ensurePackages([
    "vm",
    "browser",
    "vnc",
    "flow",
    "ssh",
    "remote",
    "tpm",
    "native",
    "measure",
    "formal",
    "hosts",
    "shells",
    "debian",
    "libvirt",
    "nspawn",
  ]);
  await build();
  await buildGuestImage();
  if (dracut) await buildDebianGuest({ initramfs: "dracut" });
  process.stdout.write(`prepared in ${secondsSince(start)}\n`);
}

/** A file that fails as a whole (does not load, say) counts as one failed test. */
function countOf(report) {
  const brokenFiles = report.testResults.filter(
    (file) => file.status === "failed" && !file.assertionResults.some((test) => test.status === "failed"),
  );
  return {
    passed: report.numPassedTests,
    failed: report.numFailedTests + brokenFiles.length,
    skipped: report.numPendingTests + report.numTodoTests,
  };
}

async function runTests(args) {
  const directory = await mkdtemp(path.join(os.tmpdir(), "sealtty-test-"));
  const file = path.join(directory, "report.json");
  try {
    const { status } = await runTool(
      "vitest",
      ["run", "--reporter=default", "--reporter=json", `--outputFile.json=${file}`, ...args],
      { show: true },
    );
    const count = countOf(JSON.parse(await readFile(file, "utf8")));
    // Vitest also fails for what no test saw, such as a rejection that nobody handled.
    if (status !== 0 && count.failed === 0) count.failed = 1;
    return count;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

let count = { passed: 0, failed: 1, skipped: 0 }; // what it is when a step before the tests fails
try {
  await prepare();
  const projects = dracut ? ["dracut"] : ["pure", "unit", "machines", "alone"];
  const others = given.filter((argument) => argument !== "--dracut");
  count = await runTests([...projects.map((name) => `--project=${name}`), ...others]);
} catch (error) {
  process.stderr.write(`${error instanceof ScriptError ? error.message : error.stack}\n`);
}
const ran = count.passed + count.failed;
if (ran === 0) process.stderr.write("No test ran: that counts as a failure\n");
process.exitCode = count.failed > 0 || ran === 0 ? 1 : 0;
process.stdout.write(`${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped\n`);
