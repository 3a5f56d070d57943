// Every state of the page, with a scripted guest, under the strict headers: it renders, violates nothing, calls nobody.
// Screenshots go to test-results/browser/ for people to look at.

import type { Page } from "playwright-core";
import { beforeEach, describe, expect, test } from "vitest";
import { inNewPages, NARROW, SCREEN, WIDE } from "./fake-page/driver.ts";

const driver = inNewPages();
const { visit, stateOf, inState, shoot, shootBoth, signIn, output, typed, terminalText } = driver;
let page: Page;
beforeEach(() => {
  page = driver.page;
});

describe("before a connection", () => {
  test("loading", async () => {
    await visit("loading=1");
    expect(await stateOf()).toBe("loading");
    await shoot("loading");
  });

  test("the token leaves the address bar and the history at once", async () => {
    await visit("loading=1");
    expect(page.url()).toBe(`${driver.origin}/?loading=1`);
    expect(await page.evaluate(() => location.hash)).toBe("");
  });

  test.each(["", "#t=short", "#t=<script>alert(1)</script>0123456789"])(
    "without a token (%j) it says that the link was used",
    async (fragment) => {
      await visit("", fragment);
      await inState("link-used");
      expect(await page.locator("h1").textContent()).toBe("This link was used");
      expect(await page.locator("main").textContent()).toContain("sealtty open");
    },
  );

  test("a refused token", async () => {
    await visit("used=1");
    await inState("link-used");
    expect(await page.locator(".top-bar").isVisible()).toBe(false);
    await shootBoth("link-used");
  });

  test("no secure context", async () => {
    await visit("insecure=1");
    await inState("insecure-context");
    expect(await page.locator("h1").textContent()).toBe("This page cannot run here");
    await shootBoth("insecure-context");
  });

  test("a policy that can't be used", async () => {
    await visit("bad-policy=1");
    await inState("failed");
    expect(await page.locator("main").textContent()).toContain("Line 3: [tpm] needs at least one PCR");
    await shoot("bad-policy");
  });
});

describe("connecting", () => {
  test("each step is named, and no terminal exists before the appraisal passed", async () => {
    await visit();
    for (const phase of ["waiting-for-guest", "handshaking", "collecting-evidence", "appraising"] as const) {
      await page.evaluate((phase) => window.fake.state({ phase }), phase);
      await page.waitForSelector("li.now");
      expect(await page.locator("li.now").count()).toBe(1);
      expect(await page.locator(".xterm").count()).toBe(0);
    }
    await shootBoth("connecting");
    await page.evaluate(() => window.fake.attest("hardware"));
    await inState("signing-in");
    expect(await page.locator(".xterm").count()).toBe(0);
    await shootBoth("signing-in");
  });

  test("ten seconds of silence bring advice, and the noise on the line is shown escaped", async () => {
    await visit();
    await page.evaluate(() => {
      window.fake.state({ phase: "waiting-for-guest" });
      window.fake.noise("[    0.412] virtio_console: \x1b[31mhello\x07\r\nlogin: ");
    });
    await page.waitForSelector(".hint:not([hidden])", { timeout: 15_000 });
    expect(await page.locator(".hint").textContent()).toContain("The guest has not answered");
    await page.locator(".hint summary").click();
    expect(await page.locator(".hint pre").textContent()).toContain(
      "virtio_console: \\x1b[31mhello\\x07\nlogin: ",
    );
    await shootBoth("silent");
  });
});

describe("the line lost before there is a session", () => {
  test("while signing in: said, taken back, and a failure once it is given up", async () => {
    await visit();
    await page.evaluate(() => window.fake.attest("hardware"));
    await inState("signing-in");
    await page.evaluate(() => window.fake.state({ phase: "reconnecting", reason: "the pipe was closed" }));
    await inState("reconnecting");
    const strip = page.locator(".strip");
    expect(await strip.textContent()).toContain("Reconnecting… trying to sign you in");
    expect(await strip.textContent()).toContain("the pipe was closed");
    expect(await strip.textContent()).not.toContain("Your session goes on");
    expect(await page.locator("li.now").textContent()).toContain("Sign in as operator");
    expect(await page.locator(".xterm").count()).toBe(0);
    expect(await page.locator(".line").textContent()).toBe("Reconnecting");
    expect(await page.getByRole("button", { name: "Find in terminal" }).count()).toBe(0);
    await shootBoth("reconnecting-sign-in");
    await page.evaluate(() => window.fake.state({ phase: "attested" }));
    await inState("signing-in");
    expect(await strip.count()).toBe(0);
    await page.evaluate(() => window.fake.state({ phase: "reconnecting", reason: "" }));
    await inState("reconnecting");
    await page.evaluate(() =>
      window.fake.fail("transport-lost", "Nothing authentic came from the guest for 10 minutes"),
    );
    await inState("failed");
    expect(await page.locator("h1").textContent()).toBe("The line is gone");
    expect(await page.locator("main").textContent()).toContain("for 10 minutes");
    await page.getByRole("button", { name: "Try again" }).click();
    await inState("connecting");
    expect(await strip.count()).toBe(0);
  });

  test("the user is let in although the line had been down", async () => {
    await visit();
    await page.evaluate(() => window.fake.attest("hardware"));
    await inState("signing-in");
    await page.evaluate(() => window.fake.state({ phase: "reconnecting", reason: "" }));
    await page.evaluate(() => {
      window.fake.state({ phase: "attested" });
      window.fake.admit();
    });
    await inState("live");
    expect(await page.locator(".strip").count()).toBe(0);
  });

  const opening = async () => {
    await visit("slow-opening=1");
    await page.evaluate(() => window.fake.attest("hardware"));
    await inState("signing-in");
    await page.evaluate(() => window.fake.admit());
    await inState("opening");
    expect(await page.locator(".line").textContent()).toBe("Opening the session");
  };

  test("while the session opens: said over the empty terminal, and taken back", async () => {
    await opening();
    await page.evaluate(() => window.fake.state({ phase: "reconnecting", reason: "" }));
    await inState("reconnecting");
    expect(await page.locator(".strip").textContent()).toContain("trying to open your session");
    await shootBoth("reconnecting-opening");
    await page.evaluate(() => window.fake.state({ phase: "attested" }));
    await inState("opening");
    expect(await page.locator(".strip").count()).toBe(0);
    await page.evaluate(() => window.fake.openNow());
    await inState("live");
    await output("still the same terminal");
    await page.locator(".xterm-screen").click(); // while the window was narrow the trust panel covered it, and had the keyboard
    await page.keyboard.type("ls");
    await expect.poll(typed).toBe("ls");
  });

  test("given up while the session opens: no empty terminal, no talk of last output", async () => {
    await opening();
    await page.evaluate(() => window.fake.state({ phase: "reconnecting", reason: "" }));
    await page.evaluate(() => window.fake.fail("transport-lost", "Given up after 10 minutes"));
    await inState("failed");
    expect(await page.locator(".xterm").count()).toBe(0);
    expect(await page.locator("main").textContent()).toContain("Given up after 10 minutes");
    expect(await page.locator("main").textContent()).not.toContain("last output");
  });

  test("closed by the guest while the user's key is asked: said at once", async () => {
    await visit();
    await page.evaluate(() => window.fake.attest("hardware"));
    await inState("signing-in");
    await page.evaluate(() => window.fake.state({ phase: "closed", reason: "not-authenticated" }));
    await inState("failed");
    expect(await page.locator("h1").textContent()).toBe("You were not signed in in time");
    expect(await page.getByRole("button", { name: "Try again" }).isVisible()).toBe(true);
    await shoot("failed-not-in-time");
  });
});

describe("refusals", () => {
  test("refused evidence: the check, expected, found, what to do; nothing was sent; no terminal", async () => {
    await visit();
    await page.evaluate(() =>
      window.fake.fail(
        "evidence-refused",
        "PCR 4 of the guest holds a value that the policy does not accept",
        {
          check: "tpm.pcr",
          expected: "PCR 4 = 9f1cc2a7d04be8315a6e772c1b90fd43e8a5d6027be1f94c3085ad16e7b2409c",
          found: "PCR 4 = 00d1c63e5b7af90284eb16cd730fa8d1b52e94476cd08b13fe7a52909cb3e186",
          next: "If you updated the guest's kernel, add the new value with sealtty inspect --save-policy from a machine you trust.",
        },
      ),
    );
    await inState("refused");
    const words = await page.locator("main").textContent();
    for (const part of [
      "This guest was refused",
      "tpm.pcr",
      "PCR 4 = 9f1c",
      "PCR 4 = 00d1",
      "Nothing was sent",
      "--save-policy",
    ]) {
      expect(words).toContain(part);
    }
    expect(await page.locator(".xterm").count()).toBe(0);
    expect(await page.locator(".badge").textContent()).toBe("Refused");
    await shootBoth("refused");
    await page.getByRole("button", { name: "Try again" }).click();
    await inState("connecting");
  });

  test("a refused user", async () => {
    await visit();
    await page.evaluate(() => window.fake.attest("hardware"));
    await inState("signing-in");
    await page.evaluate(() =>
      window.fake.fail("user-refused", "The guest accepts this key for no user of that name"),
    );
    await inState("user-refused");
    expect(await page.locator("main").textContent()).not.toContain("Nothing was sent");
    await shootBoth("user-refused");
  });

  test.each([
    ["guest-silent", "The guest has not answered"],
    ["timeout", "The guest was not ready in time"],
    ["program-failed", "The guest could not start the session"],
    ["session-gone", "The session has ended"],
    ["limit-exceeded", "Too much at once"],
    ["version-unknown", "The guest speaks another version"],
    ["peer-misbehaved", "The other side broke the protocol"],
    ["transport-lost", "The line is gone"],
    ["evidence-unavailable", "The guest could not show evidence"],
    ["api-misuse", "Something went wrong in this page"],
  ] as const)("%s", async (code, title) => {
    await visit();
    await page.evaluate((code) => window.fake.fail(code, ""), code);
    await inState("failed");
    expect(await page.locator("h1").textContent()).toBe(title);
    await shoot(`failed-${code}`);
  });
});

describe("a live session", () => {
  test("terminal, trust panel, badge", async () => {
    await signIn("host=1");
    await output(SCREEN);
    const panel = await page.locator("#trust-panel").textContent();
    for (const part of [
      "Vouched for by the processor",
      "What was verified",
      "What was not verified",
      "Which machine",
      "Signed by",
      "build-7 reference values",
      "ML-KEM-768",
      "Post-quantum",
    ]) {
      expect(panel).toContain(part);
    }
    expect(await page.locator(".badge").textContent()).toBe("Hardware-attested");
    expect(await page.locator(".line").textContent()).toBe("Connected");
    expect(await page.locator(".round-trip").textContent()).toBe("23 ms");
    await shootBoth("live-panel");
    await page.locator(".badge").click();
    expect(await page.locator("#trust-panel").isVisible()).toBe(false);
    await shootBoth("live");
    const [request] = await page.evaluate(() => window.fake.requests);
    expect(request).toMatchObject({ kind: "shell", command: [], term: "xterm-256color" });
  });

  test("what was parsed gives credit back", async () => {
    await signIn();
    await output("x".repeat(100_000));
    await expect.poll(() => page.evaluate(() => window.fake.credit)).toBe(100_000);
  });

  test("light colours", async () => {
    await page.emulateMedia({ colorScheme: "light" });
    await signIn("host=1", "host-vouched");
    await output(SCREEN);
    expect(await page.evaluate(() => getComputedStyle(document.body).backgroundColor)).toBe(
      "rgb(241, 243, 245)",
    );
    await shootBoth("live-light");
    await page.emulateMedia({ colorScheme: "dark" });
  });

  test("login without a key: the guest's own prompt, the same panel", async () => {
    await signIn("auth=none", "host-vouched");
    await output("\r\nDebian GNU/Linux 12 db-primary\r\n\r\ndb-primary login: ");
    const [request] = await page.evaluate(() => window.fake.requests);
    expect(request?.kind).toBe("login");
    await shoot("login");
  });

  test("keystrokes reach the channel as bytes; a resize reaches it once per change", async () => {
    await signIn();
    await page.keyboard.type("whoami é");
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => window.fake.input.includes(13));
    expect(await typed()).toBe("whoami é\r");
    await page.setViewportSize({ width: 900, height: 600 });
    await page.waitForFunction(() => window.fake.resizes.length > 0);
    const resizes = await page.evaluate(() => window.fake.resizes);
    expect(resizes.length).toBeLessThanOrEqual(3);
    await page.setViewportSize(WIDE);
  });

  test("simulated evidence: the red bar is there before the first answer and never leaves", async () => {
    await visit("simulated=1");
    const bar = page.locator(".bar.danger");
    expect(await bar.textContent()).toBe("SIMULATED EVIDENCE — this proves nothing about the guest");
    await page.evaluate(() => window.fake.attest("simulated"));
    await inState("signing-in");
    await page.evaluate(() => window.fake.admit());
    await inState("live");
    await output("\x1b[?1049h\x1b[2J\x1b[H" + SCREEN);
    expect(await bar.isVisible()).toBe(true);
    await shootBoth("simulated");
    await page.evaluate(() => window.fake.exit({ kind: "exited", status: 0 }));
    await inState("ended");
    expect(await bar.isVisible()).toBe(true);
  });

  test("any instance: the bar stays", async () => {
    await signIn("any=1");
    expect(await page.locator(".bar.caution").textContent()).toContain("ANY INSTANCE");
    await shoot("any-instance");
    await page.evaluate(() => window.fake.lose());
    await inState("lost");
    expect(await page.locator(".bar.caution").isVisible()).toBe(true);
  });

  test("reconnecting keeps the content readable; coming back clears it", async () => {
    await signIn();
    await output(SCREEN);
    await page.locator(".badge").click();
    await page.evaluate(() => window.fake.state({ phase: "reconnecting", reason: "the line closed" }));
    await inState("reconnecting");
    expect(await page.locator(".xterm").isVisible()).toBe(true);
    await shootBoth("reconnecting");
    await page.evaluate(() => window.fake.state({ phase: "attested" }));
    await inState("live");
    expect(await page.locator(".strip").count()).toBe(0);
  });

  test.each([
    ["normal", { kind: "exited", status: 0 }, "The session ended normally (exit status 0)."],
    ["failure", { kind: "exited", status: 130 }, "The session ended with exit status 130."],
    ["signal", { kind: "signalled", signal: "SIGKILL" }, "The session was ended by SIGKILL."],
    ["hostile", { kind: "signalled", signal: "SIGNED BY AMD ✔" }, "a signal that has no known name"],
  ] as const)("ended: %s", async (name, exit, words) => {
    await signIn();
    await output(SCREEN);
    await page.locator(".badge").click();
    await page.evaluate((exit) => window.fake.exit(exit), exit);
    await inState("ended");
    const strip = await page.locator(".strip").textContent();
    expect(strip).toContain(words);
    expect(strip).not.toContain("AMD");
    if (name === "failure") await shootBoth("ended");
    await page.getByRole("button", { name: "Open a new session" }).click();
    await inState("live");
    expect(await page.evaluate(() => window.fake.requests.length)).toBe(2);
    await page.evaluate(() => window.fake.exit({ kind: "exited", status: 0 }));
    await inState("ended");
    await page.evaluate(() => window.fake.closeConnection());
    await page.waitForSelector("text=Run sealtty open again");
  });

  test("a lost connection never looks like a clean end", async () => {
    await signIn();
    await output(SCREEN);
    await page.locator(".badge").click();
    await page.evaluate(() => window.fake.lose());
    await inState("lost");
    expect(await page.locator(".strip").textContent()).toContain("This was not a clean end");
    await shootBoth("lost");
  });

  test("leaving a live session asks; leaving an ended one doesn't", async () => {
    await signIn();
    const asks = () => page.evaluate(() => !dispatchEvent(new Event("beforeunload", { cancelable: true })));
    expect(await asks()).toBe(true);
    await page.evaluate(() => window.fake.exit({ kind: "exited", status: 0 }));
    await inState("ended");
    expect(await asks()).toBe(false);
  });

  test("the host drawer: live frames in hex, bounded", async () => {
    await signIn("host=1");
    await output(SCREEN);
    await page.locator(".badge").click();
    await page.evaluate(() => window.fake.frames(12, 64)); // kept although the drawer is closed
    await page.getByRole("button", { name: "What the host sees", exact: true }).click();
    await page.waitForSelector(".wire");
    expect(await page.locator(".drawer").textContent()).toContain("This is all that crosses the host.");
    await shootBoth("host-view");
    await page.evaluate(() => window.fake.frames(1000, 2000));
    await expect.poll(() => page.locator(".wire-counts").textContent()).toContain("guest 674 frames");
    expect(await page.locator(".wire").count()).toBe(150);
  });

  test("settings, find", async () => {
    await signIn();
    await output(SCREEN);
    await page.getByRole("button", { name: "Settings" }).click();
    await shoot("settings");
    await page.keyboard.press("Escape");
    await page.locator(".badge").click(); // on a small screen the panel covers the terminal
    await page.locator(".xterm").click();
    await page.keyboard.press("Control+Shift+F");
    await page.keyboard.type("postgres");
    await page.waitForFunction(() => /of \d/.test(document.querySelector(".find-count")?.textContent ?? ""));
    await shootBoth("find");
    await page.keyboard.press("Escape");
    expect(await page.locator(".find").isVisible()).toBe(false);
  });

  test("on a small screen the panel comes first, and nothing is typed into the covered terminal", async () => {
    await page.setViewportSize(NARROW);
    await signIn();
    expect(await page.locator("#trust-panel").isVisible()).toBe(true);
    await page.keyboard.type("secret");
    expect(await typed()).toBe("");
    await page.getByRole("button", { name: "Continue to the terminal" }).click();
    await page.keyboard.type("ls");
    await expect.poll(typed).toBe("ls");
  });

  test("by keyboard: out of the terminal, into the panel, back", async () => {
    await signIn();
    await page.keyboard.press("Control+Shift+M");
    expect(await page.evaluate(() => document.activeElement?.className)).toContain("badge");
    await page.keyboard.press("Enter"); // closes it
    expect(await page.locator("#trust-panel").isVisible()).toBe(false);
    await page.keyboard.press("Enter");
    expect(await page.locator("#trust-panel").isVisible()).toBe(true);
    await page.keyboard.press("Escape");
    expect(await page.locator("#trust-panel").isVisible()).toBe(false);
    expect(await page.evaluate(() => document.activeElement?.className)).toContain("xterm-helper-textarea");
    expect(await typed()).toBe("");
  });

  test("text size by keyboard", async () => {
    await signIn();
    const before = await page.evaluate(() => window.fake.requests[0]);
    await page.keyboard.press("Control+=");
    await page.keyboard.press("Control+=");
    await page.waitForFunction(() => window.fake.resizes.length > 0);
    const [columns] = await page.evaluate(() => window.fake.resizes.at(-1) ?? [0, 0]);
    expect(columns).toBeLessThan((before as { columns: number }).columns);
    expect(await typed()).toBe("");
  });
});

describe("a guest that attacks its terminal", () => {
  const screenReader = async () => {
    await page.getByRole("button", { name: "Settings" }).click();
    await page.getByLabel("Screen reader mode").check();
    await page.locator(".xterm-screen").click();
  };

  test.each(["L", "M", "S", "T", "Z", "I", "b"])(
    "CSI 2147483647 %s does not hang the page",
    async (final) => {
      await signIn();
      await screenReader();
      await output(`a\x1b[2147483647${final}\x1b[H\x1b[2Jstill here`);
      await expect.poll(terminalText, { timeout: 30_000 }).toContain("still here");
    },
  );

  test("a flood of the largest repeats leaves the page answering", async () => {
    await signIn();
    await screenReader();
    await output(`${"\x1b[9999L\x1b[9999S\x1b[9999Ia\x1b[9999b".repeat(5_000)}\x1b[H\x1b[2Jstill here`);
    await expect.poll(terminalText, { timeout: 45_000, interval: 200 }).toContain("still here");
  });

  test("its title stands last in the tab's title, cleaned", async () => {
    await signIn();
    await output("\x1b]2;\u202eevil\u200b AMD SEV verified\x07");
    await page.waitForFunction(() => document.title.includes("AMD"));
    expect(await page.title()).toBe("db-primary · sealtty · guest title: evil AMD SEV verified");
    expect(await page.locator(".top-bar").textContent()).not.toContain("AMD");
    expect(await page.locator("#trust-panel").textContent()).not.toMatch(/evil|SEV verified/);
  });

  test("a clipboard read gets no answer; a write asks first, and Block holds", async () => {
    await driver.context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: driver.origin });
    await signIn();
    await page.evaluate(() => navigator.clipboard.writeText("MY PASSWORD"));
    await page.locator(".xterm-screen").click();
    await output("\x1b]52;c;?\x07\x1b]52;c;cm0gLXJmIC8K\x07");
    await page.waitForSelector(".banner.question");
    expect(await typed()).toBe("");
    expect(await page.evaluate(() => navigator.clipboard.readText())).toBe("MY PASSWORD");
    await shoot("clipboard-question");
    await page.getByRole("button", { name: "Block" }).click();
    await output("\x1b]52;c;cm0gLXJmIC8K\x07");
    await page.waitForTimeout(200);
    expect(await page.locator(".banner.question").count()).toBe(0);
    expect(await page.evaluate(() => navigator.clipboard.readText())).toBe("MY PASSWORD");
  });

  test("modes left on are off after the end", async () => {
    await signIn();
    await output("\x1b[?1000h\x1b[?1003h\x1b[?1049h\x1b[?2004h\x1bP+q");
    await page.waitForSelector(".xterm.enable-mouse-events");
    await page.evaluate(() => window.fake.exit({ kind: "exited", status: 0 }));
    await inState("ended");
    await page.waitForFunction(() => document.querySelector(".xterm.enable-mouse-events") === null);
    expect(await page.locator(".xterm.enable-mouse-events").count()).toBe(0);
  });

  test("questions that every terminal answers are answered, window reports are not", async () => {
    await signIn();
    await output("\x1b[21t\x1b[20t\x1b[14t\x1b[18t\x05\x1b[>q\x1b[c");
    await expect.poll(typed).toBe("\x1b[?1;2c");
  });
});

describe("pasting and links", () => {
  const paste = (text: string) =>
    page.evaluate((text) => {
      const data = new DataTransfer();
      data.setData("text/plain", text);
      document
        .querySelector(".xterm-helper-textarea")
        ?.dispatchEvent(
          new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }),
        );
    }, text);

  test("one plain line goes in without a question", async () => {
    await signIn();
    await paste("ls -l");
    await expect.poll(typed).toBe("ls -l");
    expect(await page.locator("dialog").count()).toBe(0);
  });

  test("an end mark of bracketed paste never reaches the guest from inside the text", async () => {
    await signIn();
    await output("\x1b[?2004h");
    await page.waitForTimeout(100);
    await paste("safe\x1b[201~\rrm -rf x\r\u202e");
    await page.waitForSelector("dialog[open]");
    await shootBoth("paste");
    expect(await typed()).toBe("");
    await page.getByRole("button", { name: "Paste", exact: true }).click();
    await expect.poll(typed).toBe("\x1b[200~safe\rrm -rf x\r\u202e\x1b[201~");
  });

  test("several lines: cancel sends nothing, one line joins them", async () => {
    await signIn();
    await paste("first\nsecond\n");
    await page.waitForSelector("dialog[open]");
    await page.keyboard.press("Enter"); // the focus is on Cancel
    await expect.poll(() => page.locator("dialog").count()).toBe(0);
    expect(await typed()).toBe("");
    await paste("first\nsecond\n");
    await page.getByRole("button", { name: "Paste as one line" }).click();
    await expect.poll(typed).toBe("first second");
  });

  test("a link of the guest shows its full address before it opens", async () => {
    await signIn();
    await output(
      "\x1b[H\x1b]8;;https://user:pw@xn--pple-43d.com/%E2%80%AE?q=1\x1b\\Open the AMD page to verify this guest\x1b]8;;\x1b\\",
    );
    await page.waitForTimeout(200);
    const box = await page.locator(".xterm-screen").boundingBox();
    if (box === null) throw new Error("no terminal");
    await page.mouse.move(box.x + 40, box.y + 8);
    await page.waitForTimeout(150);
    await page.mouse.click(box.x + 41, box.y + 9);
    await page.waitForSelector("dialog[open]");
    const words = await page.locator("dialog").textContent();
    expect(words).toContain("https://user:pw@xn--pple-43d.com/%E2%80%AE?q=1");
    expect(words).toContain("user name in front of the host");
    await shoot("link");
    await page.getByRole("button", { name: "Cancel" }).click();
    expect(driver.context.pages().filter((each) => each.url().includes("xn--"))).toEqual([]);
  });
});

/** On a machine that does other things as well. */
const SOON = { timeout: 30_000 };

describe("the guest asks", () => {
  const DISK = {
    number: 1,
    origin: "initramfs",
    echo: false,
    name: "/dev/vda2",
    message: "Please unlock disk root_crypt",
  } as const;
  const panel = () => page.locator(".prompts");
  const closeTrust = () => page.locator(".badge").click(); // on a narrow screen it covers the rest
  const ask = (prompts: Parameters<typeof window.fake.ask>[0]) =>
    page.evaluate((prompts) => window.fake.ask(prompts), prompts);
  const outcome = (number: number, outcome: Parameters<typeof window.fake.outcome>[1]) =>
    page.evaluate(([number, outcome]) => window.fake.outcome(number, outcome), [number, outcome] as const);
  const answers = () => page.evaluate(() => window.fake.answers);
  const field = () => page.locator(".prompt-field");

  test("a passphrase: shown, typed without echo, refused, asked again, accepted", async () => {
    await signIn("prompts=1");
    await closeTrust();
    await page.locator(".xterm-screen").click();
    expect(await panel().isVisible()).toBe(false); // nothing is asked
    await output("\r\nBusyBox v1.35.0 (Debian)\r\n\r\n~ # ");
    await ask([DISK]);
    await panel().waitFor();
    const asked = page.getByLabel("Please unlock disk root_crypt (/dev/vda2)");
    expect(await asked.evaluate((each) => each === document.activeElement)).toBe(true); // nobody was typing
    expect(await asked.getAttribute("type")).toBe("password");
    expect(await asked.getAttribute("autocomplete")).toBe("one-time-code");
    expect(await page.locator("form").count()).toBe(0);
    await page.keyboard.type("wrong");
    await shootBoth("prompt");
    await field().focus();
    await page.keyboard.press("Enter");
    await expect.poll(answers, SOON).toEqual([{ number: 1, text: "wrong" }]);
    expect(await field().inputValue()).toBe("");
    expect(await panel().textContent()).not.toContain("Accepted"); // silence confirms nothing
    await page.keyboard.type("more"); // while the guest looks
    expect(await field().inputValue()).toBe("");
    await ask([{ ...DISK, number: 2 }]);
    await outcome(1, "asked-again");
    await expect.poll(() => panel().textContent(), SOON).toContain("Refused: the guest asks for it again.");
    await page.keyboard.type("and more"); // whoever types on does not look: it is no beginning of another answer
    await page.keyboard.press("Enter");
    expect(await field().inputValue()).toBe("");
    await shoot("prompt-again");
    await page.keyboard.press("Tab"); // from the words to the question below them
    expect(await field().evaluate((each) => each === document.activeElement)).toBe(true);
    await page.keyboard.type("right");
    await page.getByRole("button", { name: "Answer" }).click();
    await expect.poll(answers, SOON).toContainEqual({ number: 2, text: "right" });
    await ask([]);
    await outcome(2, "opened");
    await expect.poll(() => panel().textContent(), SOON).toContain("Accepted: a volume");
    expect(await field().count()).toBe(0);
    await shoot("prompt-accepted");
    expect(await typed()).toBe(""); // nothing of it went into the terminal
    await page.getByRole("button", { name: "Dismiss" }).click();
    expect(await panel().isVisible()).toBe(false);
    await page.keyboard.type("ls");
    await expect.poll(typed, SOON).toBe("ls");
  });

  const focused = () =>
    page.evaluate(() => document.activeElement?.id || (document.activeElement?.className ?? "").trim());

  test.each([
    ["while its question stands", false],
    ["after its question went", true],
  ])(
    "an answer that takes its time, %s: what is typed again meanwhile, and its Enter, go nowhere",
    async (_, goesFirst) => {
      await signIn("prompts=1");
      await closeTrust();
      await page.locator(".xterm-screen").click();
      await ask([DISK]);
      await field().waitFor();
      await page.keyboard.type("right");
      await page.keyboard.press("Enter");
      await expect.poll(answers, SOON).toEqual([{ number: 1, text: "right" }]);
      await page.keyboard.type("ri"); // nothing seems to happen
      if (goesFirst) {
        await ask([]);
        await expect.poll(() => panel().textContent(), SOON).toContain("Your answer is with the guest.");
        await shoot("prompt-waiting");
        // The line comes back under the user's fingers: it does not bring the keyboard into the terminal either.
        await page.evaluate(() => window.fake.state({ phase: "reconnecting", reason: "" }));
        await inState("reconnecting");
        await page.evaluate(() => window.fake.state({ phase: "attested" }));
        await inState("live");
        await page.keyboard.type("g");
      }
      await outcome(1, "opened");
      await expect.poll(() => panel().textContent(), SOON).toContain("Accepted: a volume");
      expect(await focused()).toBe("prompt-outcome good");
      await page.keyboard.type("ght");
      await page.keyboard.press("Enter");
      await page.keyboard.press("Space");
      expect(await panel().isVisible()).toBe(true);
      expect(await typed()).toBe("");
      await page.getByRole("button", { name: "Dismiss" }).click();
      await page.keyboard.type("ls");
      await expect.poll(typed, SOON).toBe("ls");
    },
  );

  test("two disks after one another, by keyboard alone: the next question has it, where nobody typed on", async () => {
    await signIn("prompts=1");
    await ask([DISK]);
    await field().waitFor();
    await page.keyboard.type("one");
    await page.keyboard.press("Enter");
    await expect.poll(answers, SOON).toHaveLength(1);
    await ask([]);
    await expect.poll(() => panel().textContent(), SOON).toContain("Your answer is with the guest.");
    await ask([{ ...DISK, number: 2, message: "Please unlock disk data_crypt" }]);
    await expect.poll(() => field().count(), SOON).toBe(1);
    await outcome(1, "opened");
    await expect.poll(focused, SOON).toBe("prompt-2");
    await page.keyboard.type("two");
    await page.keyboard.press("Enter");
    await expect.poll(answers, SOON).toContainEqual({ number: 2, text: "two" });
    expect(await typed()).toBe("");
  });

  test("two questions, one with an answer that is no secret, while somebody types in the terminal", async () => {
    await signIn("prompts=1");
    await closeTrust();
    await page.locator(".xterm-screen").click();
    await page.keyboard.type("cat fil");
    await ask([DISK, { number: 2, origin: "systemd", echo: true, name: "", message: "Which tunnel?" }]);
    await panel().waitFor();
    await page.keyboard.type("e");
    await expect.poll(typed, SOON).toBe("cat file"); // the keyboard stayed where it was
    expect(await field().count()).toBe(2);
    await page.getByLabel("Which tunnel?").fill("office");
    await shootBoth("prompt-two");
    await page.getByLabel("Which tunnel?").focus();
    await page.keyboard.press("Enter");
    await expect.poll(answers, SOON).toEqual([{ number: 2, text: "office" }]);
    await ask([DISK]);
    await outcome(2, "unknown");
    await expect.poll(() => panel().textContent(), SOON).toContain("could not be seen");
    await page.getByLabel("Please unlock disk").press("Enter");
    await expect.poll(() => panel().textContent(), SOON).toContain("Nothing was typed, so nothing was sent.");
    expect(await answers()).toHaveLength(1);
  });

  test("a question that goes away while somebody types into it: the rest goes to no other one, and not into the terminal", async () => {
    await signIn("prompts=1");
    await closeTrust();
    const other = { ...DISK, number: 2, message: "Please unlock disk data_crypt" };
    await ask([DISK, other]);
    await page.getByLabel("Please unlock disk root_crypt").focus();
    await page.keyboard.type("half a");
    await ask([other]);
    await expect.poll(() => panel().textContent(), SOON).toContain("The question is gone");
    await shoot("prompt-gone");
    await page.keyboard.type(" passphrase");
    await page.keyboard.press("Enter");
    expect(await page.getByLabel("data_crypt").inputValue()).toBe("");
    await page.getByLabel("data_crypt").focus();
    await page.keyboard.type("half an");
    await ask([]);
    await expect.poll(() => field().count(), SOON).toBe(0);
    await page.keyboard.type("other one");
    await page.keyboard.press("Enter");
    await ask([{ ...DISK, number: 3 }]);
    await expect.poll(() => field().count(), SOON).toBe(1);
    await page.keyboard.type("still"); // a new question does not take the keyboard either
    await page.keyboard.press("Enter");
    expect(await field().inputValue()).toBe("");
    expect(await answers()).toEqual([]);
    expect(await typed()).toBe("");
  });

  test("a hostile question: text and nothing else, on its place, no longer than it may be", async () => {
    await signIn("prompts=1");
    const evil = `<img src=x onerror=alert(1)>\u202egnp.exe\u001b[2J\n${"A".repeat(200)}`;
    await ask(
      Array.from({ length: 16 }, (_, i) => ({
        ...DISK,
        number: i + 1,
        message: evil,
        name: "x".repeat(128),
      })),
    );
    await panel().waitFor();
    expect(await page.locator(".prompts img").count()).toBe(0);
    const words = await page.locator(".prompt-words").first().textContent();
    expect(words).toContain("<img src=x onerror=alert(1)> gnp.exe [2J AAAA");
    expect(words).not.toMatch(/[\u0000-\u001f\u202e]/);
    const [place, stage] = await Promise.all([panel().boundingBox(), page.locator(".stage").boundingBox()]);
    expect(place?.height ?? 999).toBeLessThan((stage?.height ?? 0) * 0.6);
    expect(await page.locator(".xterm").isVisible()).toBe(true);
    await shootBoth("prompt-hostile");
  });

  test("messages that cannot be read, and a program that ends: said, and nothing is asked", async () => {
    await signIn("prompts=1");
    await ask([DISK]);
    await panel().waitFor();
    await page.evaluate(() => window.fake.promptsEnd("no directory \u001b[31mx"));
    await expect.poll(() => panel().textContent(), SOON).toContain("no directory \\x1b[31mx");
    expect(await field().count()).toBe(0);
    await signIn("prompts=1");
    await page.evaluate(() => window.fake.promptsBytes([7, 0, 0, 1, 0]));
    await expect.poll(() => panel().textContent(), SOON).toContain("cannot be read");
  });

  test("a guest that changed gets nothing of what was typed for the one before", async () => {
    await signIn("prompts=1");
    await ask([DISK]);
    await field().fill("half a passphr");
    await page.evaluate(() =>
      window.fake.change({ reason: "It is another boot", changes: [], refusal: undefined }),
    );
    await page.waitForSelector("dialog.frozen[open]");
    expect(await field().inputValue()).toBe("");
    await page.keyboard.press("Enter"); // the focus is on closing
    await inState("ended");
    expect(await answers()).toEqual([]);
  });

  test("no shell in the initramfs: the question alone, and the page waits for it", async () => {
    await visit("prompts=1&no-shell=1");
    await page.evaluate(() => window.fake.attest("hardware"));
    await inState("signing-in");
    await page.evaluate(() => window.fake.admit());
    await inState("prompts");
    expect(await page.locator("h1").textContent()).toBe("No terminal here");
    expect(await page.locator(".xterm").count()).toBe(0);
    expect(await page.locator(".line").textContent()).toBe("Connected");
    await ask([DISK]);
    await panel().waitFor();
    await shootBoth("prompt-alone");
    await field().focus();
    await page.keyboard.type("right");
    await page.keyboard.press("Enter");
    await expect.poll(answers, SOON).toEqual([{ number: 1, text: "right" }]);
  });

  test("no shell, and nothing this user may answer: a failure as ever", async () => {
    await visit("no-shell=1");
    await page.evaluate(() => window.fake.attest("hardware"));
    await inState("signing-in");
    await page.evaluate(() => window.fake.admit());
    await inState("failed");
    expect(await page.locator("h1").textContent()).toBe("The guest could not start the session");
  });
});

describe("the machine leaves its initramfs", () => {
  const handOver = async () => {
    await page.evaluate(() => window.fake.handOver());
    await inState("connecting");
    await expect.poll(() => page.evaluate(() => window.fake.connects), SOON).toBe(2);
  };
  const admitted = async () => {
    await inState("signing-in");
    await page.evaluate(() => window.fake.admit());
    await inState("live");
  };
  const gate = () => page.getByRole("button", { name: "Click here to type in the new system's terminal" });
  const DISK = { number: 1, origin: "initramfs", echo: false, name: "", message: "Disk" } as const;
  const onGate = () => gate().evaluate((each) => each === document.activeElement);
  /** As a passphrase is typed: without a look. */
  const typeOn = async (text: string) => {
    await page.keyboard.type(text);
    await page.keyboard.press("Enter");
    await page.keyboard.press("Space");
  };

  test("a passphrase that is being typed meanwhile goes nowhere: not into the new system's terminal, nor to a question of its", async () => {
    await signIn("prompts=1");
    await page.locator(".badge").click(); // on a narrow screen it covers the rest
    await page.locator(".xterm-screen").click();
    await page.evaluate((disk) => window.fake.ask([disk]), DISK);
    await page.locator(".prompt-field").waitFor();
    await page.keyboard.type("half a pass");
    await handOver();
    await typeOn("phr");
    await page.evaluate(() => window.fake.attest("hardware"));
    await admitted();
    await typeOn("ase");
    await output(SCREEN);
    expect(await page.locator(".prompts").textContent()).toContain("The question is gone");
    await shootBoth("hand-over-typing");
    await page.evaluate((disk) => window.fake.ask([{ ...disk, number: 2, origin: "systemd" }]), DISK);
    await expect.poll(() => page.locator(".prompt-field").count(), SOON).toBe(1);
    await typeOn("once more");
    expect(await gate().isVisible()).toBe(true);
    expect(await page.locator(".prompt-field").inputValue()).toBe("");
    expect(await page.evaluate(() => window.fake.answers)).toEqual([]);
    expect(await typed()).toBe("");
    await page.locator(".prompts").getByRole("button", { name: "Dismiss" }).click(); // is no way around it
    await typeOn("x");
    expect(await typed()).toBe("");
    await gate().click();
    expect(await gate().count()).toBe(0);
    await page.keyboard.type("w");
    await expect.poll(typed, SOON).toBe("w");
  });

  test("so does what is being typed in the initramfs's terminal; by keyboard it is Tab, and Enter once nobody types", async () => {
    await signIn();
    await page.locator(".badge").click();
    await page.locator(".xterm-screen").click();
    await page.keyboard.type("cat");
    await expect.poll(typed, SOON).toBe("cat");
    await handOver();
    await typeOn(" /etc/cr");
    await page.evaluate(() => window.fake.attest("hardware"));
    await admitted();
    await typeOn("ypt");
    expect(await typed()).toBe("cat");
    expect(await page.locator(".gate-words").getAttribute("role")).toBe("alert"); // told to who cannot see it
    expect(await page.locator(".gate-words").evaluate((each) => each === document.activeElement)).toBe(true);
    await shoot("gate");
    await page.keyboard.press("Tab"); // as a shell completes a name
    expect(await onGate()).toBe(true);
    await gate().evaluate((each: HTMLElement) => {
      dispatchEvent(new KeyboardEvent("keydown", { key: "t" }));
      each.click(); // as Enter does, at once after it
    });
    expect(await gate().isVisible()).toBe(true);
    await expect
      .poll(async () => {
        if ((await gate().count()) > 0) await page.keyboard.press("Enter");
        return await gate().count();
      }, SOON)
      .toBe(0);
    await page.keyboard.type("s");
    await expect.poll(typed, SOON).toBe("cats");
  });

  test("the page connects again by itself, checks anew, and says what is new; once for each connection", async () => {
    await signIn("prompts=1");
    await output("~ # ");
    await page.evaluate(() =>
      window.fake.ask([{ number: 1, origin: "initramfs", echo: false, name: "", message: "Disk" }]),
    );
    await page.locator(".prompt-field").fill("right");
    await page.locator(".prompt-field").press("Enter");
    await expect.poll(() => page.evaluate(() => window.fake.answers), SOON).toHaveLength(1);
    await page.evaluate(() => window.fake.ask([]));
    await expect
      .poll(() => page.locator(".prompts").textContent(), SOON)
      .toContain("Your answer is with the guest.");
    await handOver();
    const words = await page.locator("main").textContent();
    expect(words).toContain("The machine leaves its initramfs");
    expect(words).toContain("the evidence is checked again, against the same policy");
    expect(await page.locator(".badge").textContent()).toBe("Not verified yet");
    // The keyboard is there: what is typed on goes to words, and nowhere from there.
    expect(await page.locator(".prompts").textContent()).toContain(
      "It was not told what became of your answer",
    );
    expect(await page.locator(".prompt-field").count()).toBe(0);
    await page.evaluate(() => window.fake.state({ phase: "waiting-for-guest" }));
    await shootBoth("hand-over");
    await page.evaluate(() => window.fake.attest("hardware"));
    await admitted();
    const banner = page.locator(".banner");
    expect(await banner.textContent()).toContain("The machine went on from its initramfs to its system.");
    expect(await banner.textContent()).toContain("What became of your last answer was not told before that.");
    await output(SCREEN);
    await shootBoth("handed-over");
    await gate().click();
    await page.keyboard.type("w");
    await expect.poll(typed, SOON).toBe("w");
    // A second time the user is asked: no guest makes the page sign in again and again.
    await page.evaluate(() => window.fake.handOver());
    await inState("lost");
    expect(await page.locator(".strip").textContent()).toContain("The machine starts its system");
    expect(await page.evaluate(() => window.fake.connects)).toBe(2);
    await page.getByRole("button", { name: "Connect again" }).click();
    await inState("connecting");
    await page.evaluate(() => window.fake.attest("hardware"));
    await admitted();
    expect(await banner.count()).toBe(0);
  });

  test("another boot, or another machine, after it: asked about before anything is sent", async () => {
    await signIn();
    await handOver();
    await page.evaluate(() => {
      window.fake.attest("hardware", {
        values: [{ name: "snp.report-id", words: "REPORT_ID", value: "of another boot", scope: "boot" }],
      });
    });
    await page.waitForSelector("dialog[open]");
    const words = await page.locator("dialog").textContent();
    expect(words).toContain("Something is different since the initramfs");
    expect(words).toContain("of another boot");
    await shootBoth("hand-over-changed");
    await page.getByRole("button", { name: "This is expected: go on" }).evaluate((each: HTMLElement) => {
      dispatchEvent(new KeyboardEvent("keydown", { key: "t" }));
      each.click(); // as Tab and Enter of a shell's line do
    });
    expect(await page.locator("dialog[open]").isVisible()).toBe(true);
    await page.keyboard.press("Escape");
    await inState("failed");
    expect(await page.evaluate(() => window.fake.signIns)).toBe(1); // the first connection's
  });

  test("its session had ended already: the page connects again all the same", async () => {
    await signIn();
    await page.evaluate(() => window.fake.exit({ kind: "signalled", signal: "SIGHUP" }));
    await inState("ended");
    await handOver();
    expect(await page.locator("main").textContent()).toContain("The machine leaves its initramfs");
  });
});

describe("the kernel's log", () => {
  const WALL = Date.UTC(2026, 10, 26, 17, 48, 30);
  const toLog = () => page.getByRole("tab", { name: "Kernel log" }).click();
  const rows = () => page.locator(".log-row").allInnerTexts();
  const last = () => page.locator(".log-row").last().innerText();
  const status = () => page.locator(".log-status").textContent();
  const BOOT = [
    "5,0,0,-;Linux version 6.1.0-40-amd64 (debian-kernel@lists.debian.org)",
    "6,1,14,-;Command line: root=/dev/mapper/root_crypt ro quiet",
    "6,2,412000,-;Memory Encryption Features active: AMD SEV SEV-ES SEV-SNP",
    "4,3,800123,-;virtio_blk virtio1: [vda] new size: 41943040 512-byte logical blocks",
    "30,5,2200456,-;systemd[1]: Mounting boot.mount - /boot...",
    "3,6,2903111,-;EXT4-fs error (device vda1): ext4_lookup:1857: inode #2: comm systemd: deleted inode",
    "2,7,2903999,-;watchdog: BUG: soft lockup - CPU#0 stuck for 26s!\\x0aModules linked in: virtio_blk",
  ];
  const log = (records: readonly string[], wall?: number) =>
    page.evaluate(([records, wall]) => window.fake.log(records, wall), [records, wall] as const);

  test("not asked for before its tab is opened; who may not see it is told so", async () => {
    await signIn();
    expect(await page.evaluate(() => window.fake.logRequests)).toBe(0);
    await toLog();
    await expect.poll(status, SOON).toContain("You may not see the kernel's log here.");
    expect(await status()).toContain("sealttyd.toml");
    await shoot("kernel-log-refused");
    await page.getByRole("button", { name: "Try again" }).click();
    await expect.poll(() => page.evaluate(() => window.fake.logRequests), SOON).toBe(2);
    await signIn("auth=none&log=1");
    await toLog();
    expect(await status()).toContain("only to users who sign in with a key");
    expect(await page.evaluate(() => window.fake.logRequests)).toBe(0);
  });

  test("since power-on and live, with gaps; by level; the terminal stays as it is", async () => {
    await signIn("log=1");
    await page.locator(".badge").click(); // the trust panel would cover it on a narrow screen
    await output(SCREEN);
    await toLog();
    await log(BOOT, WALL);
    await expect.poll(status, SOON).toBe("Reading what there is since power-on…");
    await page.evaluate(() => window.fake.logCaughtUp());
    await expect.poll(status, SOON).toBe("Live, 7 records since power-on.");
    expect((await rows())[4]).toContain("1 record lost here: the kernel wrote over what nobody had read.");
    expect((await rows())[0]).toMatch(/\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\s+notice\s+Linux version/);
    expect(await page.locator(".xterm").isVisible()).toBe(false);
    await shootBoth("kernel-log");
    await page.getByLabel("Least level shown").selectOption("warn");
    expect(await page.locator(".log-row").count()).toBe(4); // and the gap
    await log(["7,8,3000000,-;fine", "1,9,3000001,-;not fine"]);
    await expect.poll(() => page.locator(".log-row").count(), SOON).toBe(5);
    await page.getByLabel("Least level shown").selectOption("debug");
    await page.keyboard.press("Escape");
    await page.getByRole("tab", { name: "Kernel log" }).press("ArrowLeft");
    expect(await page.locator(".xterm").isVisible()).toBe(true);
    await page.locator(".xterm-screen").click();
    await page.keyboard.type("ls");
    await expect.poll(typed, SOON).toBe("ls");
    await page.emulateMedia({ colorScheme: "light" });
    await toLog();
    await shoot("kernel-log-light");
    await page.emulateMedia({ colorScheme: "dark" });
  });

  test("hostile records are text: no sequence is acted on, nothing hides or runs", async () => {
    await signIn("log=1");
    await page.locator(".badge").click();
    await toLog();
    await log(
      [
        "4,0,1,-;usb 1-1: Product: <img src=x onerror=alert(1)>\\x1b]0;owned\\x07\\xe2\\x80\\xae txt.exe",
        `6,1,2,-;${"\\x0a".repeat(3)}three lines above\\x09tab`,
        `6,2,3,-;${"W".repeat(4000)}`,
      ],
      WALL,
    );
    await expect.poll(() => page.locator(".log-row").count(), SOON).toBe(3);
    expect(await page.locator(".log img").count()).toBe(0);
    const [first = ""] = await rows();
    expect(first).toContain("<img src=x onerror=alert(1)>\\u{1b}]0;owned\\u{7}\\u{202e} txt.exe");
    expect(await page.title()).not.toContain("owned");
    await shootBoth("kernel-log-hostile");
  });

  test("long records: the rows that are drawn are no more text than what is kept", async () => {
    await signIn("log=1");
    await toLog();
    await log(["6,0,0,-;begin"], WALL);
    await page.evaluate(() => {
      const text = "x".repeat(7000);
      const records = Array.from({ length: 700 }, (_, i) => `6,${i + 1},${i + 1},-;record ${i + 1} ${text}`);
      for (let at = 0; at < 700; at += 100) window.fake.log(records.slice(at, at + 100));
      window.fake.logCaughtUp();
    });
    await expect.poll(status, { timeout: 60_000 }).toContain("Live, 701 records since power-on. The latest");
    expect(await last()).toContain("record 700");
    const kept = Number(/The latest (\d+)/.exec((await status()) ?? "")?.[1]);
    expect(kept).toBeLessThan(600); // of 4 MiB
    expect(await page.locator(".log-row").count()).toBe(kept);
  });

  test("a flood: no more is held than fits, credit waits for what is drawn, and Pause holds the view", async () => {
    await signIn("log=1");
    await toLog();
    await log(["6,0,0,-;begin"], WALL);
    await page.evaluate(() => window.fake.logCaughtUp());
    for (let at = 1; at < 12_000; at += 1000) {
      await page.evaluate((at) => {
        const records = Array.from({ length: 1000 }, (_, i) => `6,${at + i},${at + i},-;record ${at + i}`);
        window.fake.log(records);
      }, at);
    }
    await expect
      .poll(status, { timeout: 30_000 })
      .toBe("Live, 12,001 records since power-on. The latest 5,000 are kept here.");
    expect(await page.locator(".log-row").count()).toBe(5000);
    expect(await last()).toContain("record 12000");
    const atEnd = () =>
      page
        .locator(".log-list")
        .evaluate((list) => list.scrollHeight - list.scrollTop - list.clientHeight < 40);
    expect(await atEnd()).toBe(true);
    await page.getByRole("button", { name: "Pause" }).click();
    await log(["6,12001,20000,-;while paused"]);
    await expect.poll(status, SOON).toBe("Paused: 1 record came since.");
    expect(await last()).toContain("record 12000");
    await page.getByRole("button", { name: "Go on" }).click();
    await expect.poll(last, SOON).toContain("while paused");
    // Whoever has scrolled up stays there.
    await page.locator(".log-list").evaluate((list) => (list.scrollTop = list.scrollHeight / 2));
    await log(["6,12002,20001,-;below"]);
    await expect.poll(last, SOON).toContain("below");
    expect(await atEnd()).toBe(false);
    const place = () => page.locator(".log-list").evaluate((list) => list.scrollTop);
    const before = await place();
    await page.getByRole("tab", { name: "Terminal" }).click();
    await toLog();
    expect(Math.abs((await place()) - before)).toBeLessThan(200); // some rows went above it
    expect(before).toBeGreaterThan(1000);
  });

  test("after a hand-over it is read anew, where the user looked at it", async () => {
    await signIn("log=1");
    await toLog();
    await log(BOOT, WALL);
    await expect.poll(() => page.locator(".log-row").count(), SOON).toBe(8);
    await page.evaluate(() => window.fake.handOver());
    await inState("connecting");
    await page.evaluate(() => window.fake.attest("hardware"));
    await inState("signing-in");
    await page.evaluate(() => window.fake.admit());
    await inState("live");
    await expect.poll(() => page.evaluate(() => window.fake.logRequests), SOON).toBe(2);
    await log(["6,0,0,-;of the system"], WALL);
    await expect.poll(async () => (await rows()).join(), SOON).toContain("of the system");
    expect(await page.locator(".log-row").count()).toBe(1);
    await page.evaluate(() => window.fake.lose());
    await inState("lost");
    expect(await status()).toContain("this is what came until then");
    expect(await page.locator(".log-row").count()).toBe(1);
  });
});
