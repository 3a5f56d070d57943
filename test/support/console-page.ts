// The console's page in a test's browser: opened, typed into, and read as a screen reader would.

import type { Page } from "playwright-core";
import type { TestBrowser } from "./browser.ts";

/** For what is waited for, ms. */
const PATIENCE = 90_000;

/** @param patience - ms until the guest is verified. @returns once it is. */
export async function visit(browser: TestBrowser, url: string, patience = PATIENCE): Promise<Page> {
  const page = await browser.context.newPage();
  page.on("dialog", (dialog) => void dialog.accept());
  await page.goto(url);
  await page.waitForSelector('#page[data-state="live"]', { timeout: patience });
  // However the terminal is drawn, its text is there for screen readers.
  await page.evaluate(() =>
    document.querySelector<HTMLInputElement>('label.check-label input[type="checkbox"]')?.click(),
  );
  return page;
}

export const shown = (page: Page): Promise<string> =>
  page.evaluate(() =>
    [...document.querySelectorAll(".xterm-accessibility-tree > div")]
      .map((row) => row.textContent)
      .join("\n"),
  );

export async function waitForText(page: Page, text: string, patience = PATIENCE): Promise<void> {
  await page
    .waitForFunction(
      (text) =>
        [...document.querySelectorAll(".xterm-accessibility-tree > div")]
          .map((row) => row.textContent)
          .join("\n")
          .includes(text),
      text,
      { timeout: patience },
    )
    .catch(async () => {
      throw new Error(`The terminal never showed ${JSON.stringify(text)}, but:\n${await shown(page)}`);
    });
}

/** One input event with the whole text, as from the clipboard. */
export async function paste(page: Page, text: string): Promise<void> {
  await page.evaluate((text) => {
    const clipboardData = new DataTransfer();
    clipboardData.setData("text/plain", text);
    const event = new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true });
    document.querySelector(".xterm-helper-textarea")?.dispatchEvent(event);
  }, text);
}

/** As root, at the prompt of the guest's own program; then a command. */
export async function logIn(page: Page, password: string, mark: string): Promise<void> {
  await page.locator(".xterm-helper-textarea").focus();
  await waitForText(page, "login:");
  await page.keyboard.type("root\n");
  await waitForText(page, "assword:");
  await paste(page, password);
  await page.keyboard.press("Enter");
  await waitForText(page, "#");
  await paste(page, `echo ${mark}-$((40+2))`);
  await page.keyboard.press("Enter");
  await waitForText(page, `${mark}-42`);
}
