// What the page says of evidence: the trust panel, refusals with all that failed, a guest that looks otherwise than last
// time, a guest that changes while it is open. Screenshots go to test-results/browser/ for people to look at.

import type { Page } from "playwright-core";
import { beforeEach, describe, expect, test } from "vitest";
import type { ClaimedChange } from "../../protocol/attestation/changes.ts";
import type { AppraisedClaims } from "../../protocol/attestation/verified-guest.ts";
import type { FailedCheck, Refusal } from "../../protocol/errors.ts";
import { inNewPages, NARROW, SCREEN } from "./fake-page/driver.ts";

const driver = inNewPages();
const { visit, stateOf, inState, shoot, shootBoth, signIn, output, typed } = driver;
let page: Page;
beforeEach(() => {
  page = driver.page;
});

const panel = () => page.locator("#trust-panel");
const focused = () => page.evaluate(() => document.activeElement?.textContent);
/** Nothing on the page is wider than the screen. */
const overflow = () =>
  page.evaluate(() =>
    [...document.querySelectorAll("#page *, dialog *")]
      .filter((each) => each.closest(".xterm, .preview, .menu") === null)
      .filter((each) => each.getBoundingClientRect().right > innerWidth + 1)
      .map((each) => `${each.tagName}.${each.className}`),
  );

const OLD = "a1".repeat(48);
const NEW = "b2".repeat(48);
const MEASUREMENT: ClaimedChange = {
  name: "snp.measurement",
  words: "Launch measurement",
  before: OLD,
  after: NEW,
  scope: "lasting",
};
const REPORT_ID: ClaimedChange = {
  name: "snp.report-id",
  words: "REPORT_ID",
  before: "11".repeat(32),
  after: "22".repeat(32),
  scope: "boot",
};
const HOSTILE = '<img src=x onerror="alert(1)">\u202eevil\u200b\u001b[31m<script>alert(2)</script>';

function failed(check: string, problem: string, policyKey?: string): FailedCheck {
  return {
    check,
    problem,
    expected: "0".repeat(96),
    found: "f".repeat(128),
    next: "Write the value found into the policy if it is yours.",
    ...(policyKey === undefined ? {} : { policyKey }),
  };
}
const REFUSAL: Refusal = {
  check: "snp.vmpl",
  expected: "VMPL 0",
  found: "VMPL 1",
  next: "Where a paravisor stands between processor and guest, as in some clouds, the guest asks from VMPL 1 or 2.",
  policyKey: "snp.vmpl",
  others: [
    failed("snp.chip-id", "The processor is not one that the policy names", "snp.chipId"),
    failed(
      "snp.provisional-firmware",
      "The processor runs provisional firmware",
      "snp.allowProvisionalFirmware",
    ),
    failed("snp.structure", HOSTILE),
  ],
};

describe("the trust panel", () => {
  test("a verdict in one sentence, four blocks, and each check with what was expected and found", async () => {
    await signIn();
    await output(SCREEN);
    expect(await panel().locator(".verdict h3").textContent()).toContain(
      "A genuine AMD Genoa processor vouches",
    );
    const titles = await panel().locator(".panel-section h3").allTextContents();
    expect(titles.slice(0, 6)).toEqual([
      "What runs",
      "Who vouches",
      "Which machine",
      "How fresh",
      "What was verified",
      "What was not verified",
    ]);
    const row = panel().locator("details[data-key$='snp.tcb']");
    expect(await row.locator("dl").isVisible()).toBe(false);
    await row.locator("summary").focus();
    await page.keyboard.press("Enter");
    expect(await row.locator("dl").innerText()).toContain("at least bootloader 7, snp 20, microcode 64");
    expect(await row.locator("dl").innerText()).toContain("bootloader 9, tee 0, snp 22, microcode 72");
    expect(await row.locator("dl").innerText()).toContain("snp.minimumTcb");
    await shootBoth("trust-panel");
    await page.getByRole("button", { name: "Show or hide all values" }).click();
    expect(await panel().locator(".checks details[open]").count()).toBe(6);
    await page.getByRole("heading", { name: "What was verified" }).scrollIntoViewIfNeeded();
    await panel().evaluate((element) => element.querySelector(".panel-body")?.scrollBy(0, 500));
    expect(await overflow()).toEqual([]);
    await shootBoth("trust-panel-values");
    await page.setViewportSize(NARROW);
    expect(await overflow()).toEqual([]);
  });

  test("light colours", async () => {
    await page.emulateMedia({ colorScheme: "light" });
    await signIn();
    await output(SCREEN);
    await page.getByText("The document whole").click();
    expect(await page.locator(".verdict.good h3").evaluate((each) => getComputedStyle(each).color)).toBe(
      "rgb(28, 107, 51)",
    );
    await shootBoth("trust-panel-light");
    await page.emulateMedia({ colorScheme: "dark" });
  });

  test("the owner's instance document: name, digest, and the text folded away", async () => {
    await signIn();
    const document = panel().locator(".instance-document");
    expect(await document.textContent()).toContain("“db-primary”");
    expect(await document.textContent()).toContain("proven because its digest is in the evidence");
    expect(await document.locator("pre").isVisible()).toBe(false);
    await page.getByText("The document whole").click();
    expect(await document.locator("pre").textContent()).toContain('name = "db-primary"\n');
    await shoot("trust-panel-document");
  });

  test("an instance document that the policy does not name is not called the owner's", async () => {
    await visit();
    await page.evaluate(() =>
      window.fake.attest("hardware", {
        instance: "The processor with CHIP_ID 1f2e3d4c",
        instanceDocument: {
          name: "db-primary",
          pinned: false,
          digest: "5c".repeat(32),
          text: 'version = 1\nname = "db-primary"\n',
        },
      }),
    );
    await inState("signing-in");
    const document = panel().locator(".instance-document");
    const words = (await document.textContent()) ?? "";
    expect(words).toContain("An instance document that your policy does not name: “db-primary”");
    expect(words).toContain("Chosen by whoever started this guest");
    expect(words).toContain("nothing says that it is yours");
    expect(words).not.toMatch(/owner|named by your policy/i);
    expect(
      await panel()
        .locator("section", { has: page.locator(".instance-document") })
        .textContent(),
    ).not.toMatch(/owner/i);
    await document.scrollIntoViewIfNeeded();
    await shootBoth("trust-panel-unnamed-document");
  });

  test("the policy: what pins the machine, or that any will do, for as long as it lives", async () => {
    await signIn();
    expect(await panel().textContent()).toContain(
      "pinned by instance document; processor (CHIP_ID), one of 2",
    );
    await page.evaluate(() => localStorage.clear());
    await signIn("any=1");
    expect(await panel().locator(".any-instance").textContent()).toContain(
      "ANY INSTANCE (anyInstance = true)",
    );
    await shoot("trust-panel-any");
  });

  test("hostile text in claims stays text: no markup, no controls, no reordering", async () => {
    await visit();
    await page.evaluate((hostile) => {
      const line = { check: hostile, words: hostile, value: hostile, expected: "x", policyKey: hostile };
      window.fake.attest("hardware", {
        verdict: hostile,
        what: hostile,
        signedBy: hostile,
        instance: hostile,
        fresh: hostile,
        instanceDocument: { name: hostile, pinned: true, digest: hostile, text: `first\n${hostile}\n` },
        verified: [line],
        notVerified: [hostile],
        warnings: [hostile],
      });
    }, HOSTILE);
    await inState("signing-in");
    expect(await panel().locator("img, script, .verdict h3 *").count()).toBe(0);
    expect(await panel().locator(".verdict h3").textContent()).toContain(
      '<img src=x onerror="alert(1)"> evil',
    );
    const words = (await panel().textContent()) ?? "";
    expect(words).not.toMatch(/[\u202e\u200b\u001b]/);
    expect(await panel().locator("pre.preview").textContent()).toContain(
      'first\n<img src=x onerror="alert(1)">\\u{202e}evil\\u{200b}\\u{1b}[31m<script>',
    );
    await shoot("trust-panel-hostile");
  });

  test("many long claims: it scrolls inside itself", async () => {
    await visit();
    await page.evaluate(() => {
      const line = {
        check: "x.y",
        words: "w".repeat(380),
        value: "f".repeat(512),
        expected: "0".repeat(512),
      };
      window.fake.attest("hardware", { verified: Array.from({ length: 150 }, () => line) });
    });
    await inState("signing-in");
    await page.getByRole("button", { name: "Show or hide all values" }).click();
    expect(await overflow()).toEqual([]);
    expect(await page.evaluate(() => document.documentElement.scrollHeight <= innerHeight)).toBe(true);
  });
});

describe("how fresh", () => {
  test("checked when, next when; asked now, and the answer is told", async () => {
    await page.clock.install();
    await signIn();
    const times = panel().locator(".check-times");
    const result = panel().locator(".check-result");
    expect(await times.textContent()).toBe("Checked just now, next in 10 min");
    await page.clock.fastForward("03:10");
    await expect.poll(() => times.textContent()).toBe("Checked 3 min ago, next in 7 min");
    const again = page.getByRole("button", { name: "Check again now" });
    await again.focus();
    await page.keyboard.press("Enter");
    await page.keyboard.press("Enter"); // asked once, however often it is pressed
    expect(await page.evaluate(() => window.fake.rechecks)).toBe(1);
    expect(await result.getAttribute("role")).toBe("status");
    expect(await result.textContent()).toBe("Asking the guest for new evidence…");
    expect(await again.getAttribute("aria-disabled")).toBe("true");
    await page.evaluate(() => window.fake.renew());
    await expect
      .poll(() => result.textContent())
      .toContain("the same guest, the same boot, and your policy is met");
    expect(await times.textContent()).toBe("Checked just now, next in 10 min");
    expect(await focused()).toBe("Check again now");
    expect(await again.getAttribute("aria-disabled")).toBe(null);
    await again.scrollIntoViewIfNeeded();
    await shootBoth("checked-again");
  });

  test("a renewal keeps what was unfolded and where the keyboard stands", async () => {
    await signIn();
    const row = panel().locator("details[data-key$='snp.tcb']");
    await row.locator("summary").focus();
    await page.keyboard.press("Enter");
    const top = () => row.evaluate((element) => Math.round(element.getBoundingClientRect().top));
    const before = await top();
    await page.evaluate(() => window.fake.renew({ fresh: "Signed a second time" }));
    expect(await panel().textContent()).toContain("Signed a second time");
    expect(await row.getAttribute("open")).toBe("");
    expect(await focused()).toContain("at least as new as you ask for");
    expect(Math.abs((await top()) - before)).toBeLessThan(3); // what is read does not jump
  });

  test("no answer: a quiet line, from the third on a notice; an answer takes both away", async () => {
    await signIn();
    await output(SCREEN);
    await page.evaluate(() => window.fake.unavailable("the device is busy", 1));
    expect(await panel().textContent()).toContain("The last check had no answer: the device is busy.");
    expect(await page.locator(".strip").count()).toBe(0);
    await page.evaluate(() => window.fake.unavailable("the device is busy", 2));
    await page.evaluate(() => window.fake.unavailable("the device is busy", 3));
    expect(await page.locator(".strip").textContent()).toContain("no evidence to show at the last 3 checks");
    expect(await stateOf()).toBe("live");
    await shootBoth("unavailable");
    await page.evaluate(() => window.fake.renew());
    expect(await page.locator(".strip").count()).toBe(0);
    expect(await panel().textContent()).not.toContain("no answer");
  });

  test("asked for and not to be had: said, and nothing is frozen", async () => {
    await signIn();
    await page.getByRole("button", { name: "Check again now" }).click();
    await page.evaluate(() => window.fake.unavailable("", 1));
    await expect
      .poll(() => panel().locator(".check-result").textContent())
      .toBe("The guest could not show new evidence this time. What was verified before stands.");
    expect(await page.locator("dialog").count()).toBe(0);
  });

  test("while the line is down nobody can be asked", async () => {
    await signIn();
    await page.evaluate(() => window.fake.state({ phase: "reconnecting", reason: "" }));
    expect(await page.getByRole("button", { name: "Check again now" }).isVisible()).toBe(false);
    await page.evaluate(() => window.fake.state({ phase: "attested" }));
    expect(await page.getByRole("button", { name: "Check again now" }).isVisible()).toBe(true);
  });
});

describe("refused evidence", () => {
  test("every check that failed, the key of the policy, and a text to copy", async () => {
    await driver.context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: driver.origin });
    await visit();
    await page.evaluate(
      (refusal) =>
        window.fake.fail(
          "evidence-refused",
          "The report was asked for from another privilege level",
          refusal,
        ),
      REFUSAL,
    );
    await inState("refused");
    const words = (await page.locator("main").textContent()) ?? "";
    for (const part of [
      "VMPL 0",
      "VMPL 1",
      "What to change in the policy if this is really your guest",
      "the key snp.vmpl.",
      "3 more checks failed",
      "The processor is not one that the policy names",
      "snp.chipId",
      "snp.allowProvisionalFirmware",
      "Nothing was sent to it",
    ]) {
      expect(words).toContain(part);
    }
    expect(words).not.toMatch(/[\u202e\u200b\u001b]/);
    expect(await page.locator("main img, main script").count()).toBe(0);
    expect(await overflow()).toEqual([]);
    await shootBoth("refused-others");
    await page.setViewportSize(NARROW);
    expect(await overflow()).toEqual([]);
    await page.getByRole("button", { name: "Copy as text" }).click();
    await page.getByRole("button", { name: "Copied" }).waitFor();
    const copied = await page.evaluate(() => navigator.clipboard.readText());
    expect(copied).toContain("check: snp.vmpl\nexpected: VMPL 0\nfound: VMPL 1\npolicy key: snp.vmpl\n");
    expect(copied).toContain("The processor runs provisional firmware\ncheck: snp.provisional-firmware\n");
    expect(copied).toContain("Nothing was sent to it.");
  });

  test("where no key of the policy decides, it says so; light colours", async () => {
    await page.emulateMedia({ colorScheme: "light" });
    await visit();
    await page.evaluate(
      (refusal) => window.fake.fail("evidence-refused", "The report is not signed by that key", refusal),
      { check: "snp.signature", expected: "a valid signature", found: "another", next: "Do not connect." },
    );
    await inState("refused");
    expect(await page.locator("main").textContent()).toContain(
      "No key of the policy can change this answer.",
    );
    await shootBoth("refused-light");
    await page.emulateMedia({ colorScheme: "dark" });
  });
});

describe("a guest seen before", () => {
  const attest = async (changes: Partial<AppraisedClaims> = {}) => {
    await visit();
    await page.evaluate((changes) => {
      window.fake.state({ phase: "waiting-for-guest" });
      window.fake.attest("hardware", changes);
    }, changes);
  };
  const values = (measurement: string, reportId = "1".repeat(64)): Partial<AppraisedClaims> => ({
    values: [
      { name: "snp.measurement", words: "Launch measurement", value: measurement, scope: "lasting" },
      { name: "snp.report-id", words: "REPORT_ID", value: reportId, scope: "boot" },
    ],
  });
  const admitted = async () => {
    await inState("signing-in");
    await page.evaluate(() => window.fake.admit());
    await inState("live");
  };

  test("for the first time: nothing is said; as last time: one quiet line", async () => {
    await attest(values(OLD));
    await admitted();
    expect(await panel().textContent()).not.toContain("last saw");
    await attest(values(OLD));
    await admitted();
    expect(await panel().textContent()).toContain("As you last saw it");
    expect(await page.locator("dialog").count()).toBe(0);
  });

  test("rebooted since: one quiet line and no question", async () => {
    await attest(values(OLD));
    await admitted();
    await attest(values(OLD, "2".repeat(64)));
    await admitted();
    expect(await panel().textContent()).toContain("Rebooted since you last looked");
  });

  test("something that lasts is otherwise: before and now, before a terminal opens; expected means remembered", async () => {
    await attest(values(OLD));
    await admitted();
    await attest(values(NEW));
    await page.waitForSelector("dialog[open]");
    expect(await page.locator(".xterm").count()).toBe(0);
    const words = (await page.locator("dialog").textContent()) ?? "";
    for (const part of [
      "Something is different",
      "meets your policy",
      "Launch measurement",
      OLD,
      NEW,
      "Nothing was sent",
    ])
      expect(words).toContain(part);
    expect(await focused()).toBe("Close the connection");
    expect(await overflow()).toEqual([]);
    await shootBoth("changed-since");
    await page.getByRole("button", { name: "This is expected: go on" }).click();
    await admitted();
    expect(await panel().textContent()).toContain("as you expected: Launch measurement");
    await attest(values(NEW));
    await admitted();
    expect(await page.locator("dialog").count()).toBe(0);
  });

  test.each(["Escape", "the button"])(
    "not expected (%s): closed, nothing was sent, and asked again",
    async (how) => {
      await attest(values(OLD));
      await admitted();
      await attest(values(NEW));
      await page.waitForSelector("dialog[open]");
      if (how === "Escape") await page.keyboard.press("Escape");
      else await page.getByRole("button", { name: "Close the connection" }).click();
      await inState("failed");
      expect(await page.locator("main").textContent()).toContain("You closed the connection");
      expect(await page.locator("main").textContent()).toContain("Nothing was sent to it");
      expect(await page.evaluate(() => window.fake.closes)).toBe(1);
      expect(await page.evaluate(() => window.fake.requests.length)).toBe(0);
      if (how === "Escape") await shootBoth("closed-over-changes");
      await attest(values(NEW));
      await page.waitForSelector("dialog[open]");
    },
  );

  test.each(["not json", "[]", '[{"identity":"db-primary"}]', '{"a":1}', "null"])(
    "a store that holds %s is a guest never seen",
    async (stored) => {
      await visit();
      await page.evaluate((stored) => localStorage.setItem("sealtty.seen.v1", stored), stored);
      await attest(values(OLD));
      await admitted();
      expect(await page.locator("dialog").count()).toBe(0);
    },
  );

  test("an answer that comes too late for the guest: connected anew by itself, and not asked again", async () => {
    await attest(values(OLD));
    await admitted();
    await page.clock.install();
    await attest(values(NEW));
    await page.waitForSelector("dialog[open]");
    await page.clock.fastForward("05:00");
    await page.evaluate(() => window.fake.state({ phase: "closed", reason: "not-authenticated" }));
    expect(await stateOf()).toBe("connecting"); // the question still stands
    await page.getByRole("button", { name: "This is expected: go on" }).click();
    await expect.poll(() => page.evaluate(() => window.fake.connects)).toBe(2);
    expect(await stateOf()).toBe("connecting");
    expect(await page.locator("main").textContent()).toContain("the connection is made anew");
    expect(await page.locator("main").textContent()).toContain("the evidence is checked again");
    expect(await page.locator("main").textContent()).not.toContain("The line is gone");
    expect(await page.locator(".badge").textContent()).toBe("Not verified yet");
    expect(await page.evaluate(() => window.fake.signIns)).toBe(0);
    await page.evaluate(() => window.fake.state({ phase: "appraising" }));
    await shootBoth("connected-anew");
    await page.evaluate((changes) => window.fake.attest("hardware", changes), values(NEW));
    await admitted();
    expect(await page.locator("dialog").count()).toBe(0);
    expect(await panel().textContent()).toContain("as you expected: Launch measurement");
    expect(await page.evaluate(() => window.fake.closes)).toBe(1);
  });

  test("a browser that forbids storage changes nothing else", async () => {
    await signIn("no-storage=1");
    expect(await panel().textContent()).toContain("What was verified");
  });
});

describe("a guest that changes while it is open", () => {
  const change = (
    changes: readonly ClaimedChange[],
    refusal?: Refusal,
    now: Partial<AppraisedClaims> = {},
  ): Promise<void> =>
    page.evaluate(
      ([changes, refusal, now]) =>
        window.fake.change(
          { reason: "The guest was launched anew: REPORT_ID is another one", changes, refusal },
          now,
        ),
      [changes, refusal, now] as const,
    );
  const dialog = () => page.locator("dialog.frozen");
  const goOn = () => page.getByRole("button", { name: "Go on: I know why it changed" });

  test("the console is covered; Escape, typing and clicks do nothing; Close has the focus", async () => {
    await signIn();
    await output(SCREEN);
    await page.locator(".xterm").click();
    await page.keyboard.type("ls");
    await expect.poll(typed).toBe("ls");
    await change([REPORT_ID]);
    await inState("frozen");
    expect(await dialog().getAttribute("role")).toBe("alertdialog");
    expect(await page.locator("#frozen-title").textContent()).toBe(
      "This is no longer the guest that you connected to",
    );
    const words = (await dialog().textContent()) ?? "";
    for (const part of [
      "launched anew",
      "REPORT_ID",
      "11".repeat(32),
      "22".repeat(32),
      "(new at every boot)",
      "a copy",
    ])
      expect(words).toContain(part);
    expect(await focused()).toBe("Close the console");
    expect(await page.title()).toContain("Frozen: the guest changed");
    expect(await page.locator(".badge").textContent()).toBe("Changed");
    for (let i = 0; i < 4; i++) await page.keyboard.press("Escape");
    await page.keyboard.type("secret");
    await page.mouse.click(5, 400);
    await page.keyboard.press("Control+Shift+F");
    expect(await dialog().isVisible()).toBe(true);
    expect(await page.locator(".find").isVisible()).toBe(false);
    expect(await typed()).toBe("ls");
    expect(await focused()).toBe("Close the console");
    expect(await overflow()).toEqual([]);
    await shootBoth("frozen");
  });

  test("the keyboard stays inside", async () => {
    await signIn();
    await change([REPORT_ID]);
    await inState("frozen");
    for (let i = 0; i < 8; i++) {
      await page.keyboard.press("Tab");
      const inside = await page.evaluate(
        () => document.activeElement === document.body || document.activeElement?.closest("dialog") !== null,
      );
      expect(inside).toBe(true);
    }
  });

  test("going on takes a confirmation first; then it is said for ever, and what was typed meanwhile is gone", async () => {
    await signIn();
    await output(SCREEN);
    await change([MEASUREMENT, REPORT_ID], undefined, { what: "The new kernel" });
    await inState("frozen");
    expect(await goOn().isDisabled()).toBe(true);
    await page.evaluate(() => document.querySelector<HTMLElement>(".xterm-helper-textarea")?.focus());
    await page.keyboard.type("secret");
    await page.getByLabel("I know why this guest changed").check();
    await shootBoth("frozen-confirmed");
    await page.getByLabel("I know why this guest changed").uncheck();
    expect(await goOn().isDisabled()).toBe(true);
    await page.getByLabel("I know why this guest changed").check();
    await goOn().click();
    await inState("live");
    expect(await page.evaluate(() => window.fake.frozen)).toBe(false);
    expect(await dialog().count()).toBe(0);
    expect(await page.locator(".bar.caution").textContent()).toMatch(/^CHANGED — at .* you went on$/);
    expect(await panel().textContent()).toContain("The new kernel");
    expect(await page.locator(".badge").textContent()).toBe("Hardware-attested");
    await page.keyboard.type("ok");
    await expect.poll(typed).toBe("ok");
    await shoot("went-on");
    await page.evaluate(() => window.fake.renew());
    expect(await page.locator(".bar.caution").isVisible()).toBe(true);
  });

  test("refused as well: every failed check stands there, and going on is marked in red", async () => {
    await signIn();
    await output(SCREEN);
    await change([], REFUSAL);
    await inState("frozen");
    expect(await page.locator("#frozen-title").textContent()).toBe(
      "This is no longer the guest that you connected to",
    );
    const words = (await dialog().textContent()) ?? "";
    for (const part of [
      "does not meet your policy",
      "snp.vmpl",
      "VMPL 1",
      "snp.chipId",
      "3 more checks failed",
    ])
      expect(words).toContain(part);
    expect(words).not.toContain("Nothing was sent");
    expect(await focused()).toBe("Close the console");
    expect(await overflow()).toEqual([]);
    await shootBoth("frozen-refused");
    await page.emulateMedia({ colorScheme: "light" });
    await shootBoth("frozen-refused-light");
    await page.emulateMedia({ colorScheme: "dark" });
    await page.getByLabel("I know why this guest changed").check();
    await goOn().click();
    await inState("live");
    expect(await page.locator(".bar.danger").textContent()).toContain("REFUSED, AND YOU WENT ON");
    expect(await page.locator(".badge").textContent()).toBe("Changed");
    expect(await panel().locator(".verdict.danger").textContent()).toContain("did not meet your policy");
    await shootBoth("went-on-refused");
    await page.evaluate(() => window.fake.renew());
    expect(await page.locator(".badge").textContent()).toBe("Hardware-attested");
    expect(await page.locator(".bar.danger").isVisible()).toBe(true);
  });

  const silent = () =>
    page.evaluate(() => {
      for (const inARow of [1, 2, 3]) window.fake.unavailable("the device is busy", inARow);
      window.fake.change({
        reason: "The guest gave no fresh evidence, 3 times in a row: the device is busy",
        changes: [],
        refusal: undefined,
      });
    });

  test("no fresh evidence three times in a row: the reason and no table; going on stays red", async () => {
    await signIn();
    await output(SCREEN);
    await page.keyboard.type("ls");
    await silent();
    await inState("frozen");
    expect(await page.locator("#frozen-title").textContent()).toBe("This guest no longer proves itself");
    expect(await page.locator("#frozen-reason").textContent()).toBe(
      "The guest gave no fresh evidence, 3 times in a row: the device is busy.",
    );
    const words = (await dialog().textContent()) ?? "";
    for (const part of [
      "Nothing shows that it changed",
      "nothing that you type goes out",
      "It last proved itself",
    ])
      expect(words).toContain(part);
    expect(words).not.toMatch(/no longer the guest|why it changed|meets? your policy/);
    expect(await dialog().locator("table, .comparison").count()).toBe(0);
    expect(await focused()).toBe("Close the console");
    expect(await page.title()).toContain("Frozen: no fresh evidence");
    expect(await page.locator(".badge").textContent()).toBe("Not proven");
    expect(await page.locator(".strip").count()).toBe(0); // the dialog says it
    await page.keyboard.type("secret");
    expect(await typed()).toBe("ls");
    expect(await overflow()).toEqual([]);
    await shootBoth("frozen-unproven");
    const without = page.getByRole("button", { name: "Go on without fresh evidence" });
    expect(await without.isDisabled()).toBe(true);
    await page.getByLabel("I know why it has no evidence to show").check();
    await without.click();
    await inState("live");
    expect(await page.locator(".bar.danger").textContent()).toContain("NOT PROVEN, AND YOU WENT ON");
    expect(await page.locator(".badge").textContent()).toBe("Not proven");
    expect(await panel().locator(".verdict.danger").textContent()).toContain("no fresh evidence to show");
    await shootBoth("went-on-unproven");
    await page.evaluate(() => window.fake.renew());
    expect(await page.locator(".badge").textContent()).toBe("Hardware-attested");
    expect(await page.locator(".bar.danger").isVisible()).toBe(true);
  });

  test("no fresh evidence, and closed: it says why", async () => {
    await signIn();
    await silent();
    await inState("frozen");
    await page.keyboard.press("Enter"); // the focus is on Close
    await inState("ended");
    expect(await page.locator(".strip").textContent()).toContain("the guest no longer proved itself");
    expect(await page.evaluate(() => window.fake.closes)).toBe(1);
  });

  test("each thing that the user went on over keeps its own bar and its own time", async () => {
    await signIn();
    await silent();
    await page.getByLabel("I know why it has no evidence to show").check();
    await page.getByRole("button", { name: "Go on without fresh evidence" }).click();
    await inState("live");
    await change([REPORT_ID], undefined, { what: "The new kernel" });
    await page.getByLabel("I know why this guest changed").check();
    await goOn().click();
    await inState("live");
    expect(await page.locator(".bar.danger").textContent()).toContain("NOT PROVEN");
    expect(await page.locator(".bar.caution").textContent()).toContain("CHANGED");
    expect(await page.locator(".badge").textContent()).toBe("Hardware-attested"); // of what is there now
    expect(await panel().locator(".verdict.danger").count()).toBe(0);
  });

  test("close: the connection is closed, the content stays readable, a new one can be made", async () => {
    await signIn();
    await output(SCREEN);
    await change([MEASUREMENT]);
    await inState("frozen");
    await page.keyboard.press("Enter"); // the focus is on Close
    await inState("ended");
    expect(await page.evaluate(() => window.fake.closes)).toBe(1);
    expect(await page.locator(".strip").textContent()).toContain("no longer the one that you connected to");
    expect(await page.locator(".badge").textContent()).toBe("Changed");
    expect(await panel().locator(".verdict.danger").textContent()).toContain("changed after it was verified");
    await shootBoth("frozen-closed");
    await page.getByRole("button", { name: "Connect again" }).click();
    await inState("connecting");
  });

  test("asked for by hand and changed: the dialog says it, the panel does not claim silence", async () => {
    await signIn();
    await page.getByRole("button", { name: "Check again now" }).click();
    await change([REPORT_ID]);
    await inState("frozen");
    await page.getByLabel("I know why this guest changed").check();
    await goOn().click();
    await inState("live");
    expect(await panel().locator(".check-result").textContent()).toBe("");
    expect(await page.getByRole("button", { name: "Check again now" }).isVisible()).toBe(true);
  });

  test("the line going and coming does not uncover it; its end leaves only Close", async () => {
    await signIn();
    await output(SCREEN);
    await change([REPORT_ID]);
    await inState("frozen");
    await page.evaluate(() => {
      window.fake.state({ phase: "reconnecting", reason: "" });
      window.fake.state({ phase: "attested" });
    });
    expect(await stateOf()).toBe("frozen");
    expect(await dialog().isVisible()).toBe(true);
    await page.evaluate(() => window.fake.lose());
    await inState("lost");
    expect(await dialog().textContent()).toContain("The connection has ended meanwhile.");
    expect(await goOn().count()).toBe(0);
    await page.getByRole("button", { name: "Close the console" }).click();
    expect(await dialog().count()).toBe(0);
    expect(await page.locator(".strip").textContent()).toContain("This was not a clean end");
  });

  test("a later look at the same change asks for the confirmation anew", async () => {
    await signIn();
    await change([REPORT_ID]);
    await page.getByLabel("I know why this guest changed").check();
    await change([MEASUREMENT, REPORT_ID]);
    expect(await dialog().count()).toBe(1);
    expect(await goOn().isDisabled()).toBe(true);
    expect(await dialog().textContent()).toContain("2 values changed");
  });

  test("hostile text in the changes stays text", async () => {
    await signIn();
    await change([{ ...MEASUREMENT, words: HOSTILE, before: undefined, after: HOSTILE }], {
      ...REFUSAL,
      found: HOSTILE,
    });
    await inState("frozen");
    expect(await dialog().locator("img, script").count()).toBe(0);
    expect(await dialog().textContent()).not.toMatch(/[\u202e\u200b\u001b]/);
    expect(await dialog().textContent()).toContain("not there");
  });

  test("a session that had ended stays ended when the user goes on", async () => {
    await signIn();
    await page.evaluate(() => window.fake.exit({ kind: "exited", status: 0 }));
    await inState("ended");
    await change([REPORT_ID]);
    await inState("frozen");
    await page.getByLabel("I know why this guest changed").check();
    await goOn().click();
    await inState("ended");
    expect(await page.getByRole("button", { name: "Open a new session" }).isVisible()).toBe(true);
  });
});
