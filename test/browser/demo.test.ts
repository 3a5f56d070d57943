// `npm start` itself: the page, a shell, what the host sees, the second way in, and a clean end.
import { mkdirSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { launchBrowser, type TestBrowser, watchFaults } from "../support/browser.ts";
import { type RunningCli, runCli, startCli } from "../support/cli.ts";

const START = path.resolve(import.meta.dirname, "../../scripts/start.mjs");
const SHOTS = path.resolve(import.meta.dirname, "../../test-results/demo");
mkdirSync(SHOTS, { recursive: true });

let browser: TestBrowser;
let demo: RunningCli;

beforeAll(async () => {
  [browser, demo] = [
    await launchBrowser({ colorScheme: "dark", webgl: true }),
    startCli(["--no-open", "--port", "0"], { program: START }),
  ];
});
afterAll(async () => {
  await demo?.stop();
  await browser?.close();
});

const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

test("npm start: a working terminal in the browser, the same guest for the CLI, nothing left after Ctrl-C", async () => {
  const [, url] = await demo.waitFor(/Open: (http:\/\/[0-9a-f]+\.localhost:\d+\/#\S+)/, 120_000);
  const [, address] = await demo.waitFor(/Guest: (\S+)/);
  const [, policy, identity] = await demo.waitFor(/--policy (\S+) -i (\S+)/);
  expect(demo.stdout() + demo.stderr()).toMatch(/SIMULATED/);

  const page = await browser.context.newPage();
  page.on("dialog", (dialog) => void dialog.accept());
  const faults = watchFaults(page, new URL(url as string).origin);
  await page.goto(url as string);
  await page.waitForSelector('#page[data-state="live"]', { timeout: 60_000 });
  expect(page.url()).not.toContain("t="); // the token is gone from the address bar
  await page.evaluate(() =>
    document.querySelector<HTMLInputElement>('label.check-label input[type="checkbox"]')?.click(),
  );
  const shown = () =>
    page.evaluate(() => document.querySelector(".xterm-accessibility-tree")?.textContent ?? "");
  await expect.poll(shown, { timeout: 30_000 }).toMatch(/@\S+[#$]/); // typed before the prompt, it would be echoed twice
  await page.locator(".xterm-helper-textarea").focus();
  await page.keyboard.type("echo pid=$$ sum=$((40+2))\n");
  await page.waitForFunction(
    () => /pid=\d+ sum=42/.test(document.querySelector(".xterm-accessibility-tree")?.textContent ?? ""),
    undefined,
    { timeout: 30_000 },
  );
  const shell = Number(/pid=(\d+) sum=42/.exec(await shown())?.[1]);
  expect(isAlive(shell)).toBe(true);

  await page.getByRole("button", { name: /what the host sees/i }).click();
  await page.locator(".xterm-helper-textarea").focus();
  await page.keyboard.type("# the host cannot read this\n");
  await expect.poll(shown, { timeout: 30_000 }).toMatch(/# the host cannot read this.*@/);
  await page.waitForFunction(() => /[0-9a-f]{2} [0-9a-f]{2} [0-9a-f]{2}/.test(document.body.innerText));
  expect(await page.locator(".xterm-screen canvas").count()).toBeGreaterThan(0); // it draws with WebGL
  await page.screenshot({ path: path.join(SHOTS, "demo.png") });
  expect(faults.violations).toEqual([]);
  expect(faults.errors).toEqual([]);

  const common = [address as string, "--simulated", "--policy", policy as string];
  const inspected = await runCli(["inspect", ...common, "--json"]);
  expect(inspected.status).toBe(0);
  const executed = await runCli(
    ["exec", ...common, "-i", identity as string, "--", "sh", "-c", "cat; exit 9"],
    "in and out",
  );
  expect(executed).toMatchObject({ status: 9, stdout: "in and out" });

  demo.child.kill("SIGINT"); // Ctrl-C
  expect(await demo.ended()).toBe(0);
  for (let i = 0; i < 50 && isAlive(shell); i++) await new Promise((resolve) => setTimeout(resolve, 100));
  expect(isAlive(shell)).toBe(false);
  await page.waitForSelector('#page:not([data-state="live"])', { timeout: 60_000 });
  await page.screenshot({ path: path.join(SHOTS, "after-ctrl-c.png") });
  await page.close();
}, 240_000);
