// Opens the user's browser at a link with a secret in it: by way of a file, because every local user can read a
// program's arguments.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";

/** @returns whether a browser was asked to open. The file goes when this process ends. */
export function openBrowser(url: string): boolean {
  const graphical = (process.env["DISPLAY"] ?? "") !== "" || (process.env["WAYLAND_DISPLAY"] ?? "") !== "";
  const program = process.platform === "darwin" ? "open" : graphical ? "xdg-open" : undefined;
  if (program === undefined) return false;
  const directory = mkdtempSync(path.join(os.tmpdir(), "sealtty-open-")); // mode 0700
  process.once("exit", () => rmSync(directory, { recursive: true, force: true }));
  const file = path.join(directory, "open.html");
  writeFileSync(file, redirectPage(url), { mode: 0o600, flag: "wx" });
  const child = spawn(program, [pathToFileURL(file).href], { stdio: "ignore", detached: true });
  child.on("error", () => undefined); // the link was printed
  child.unref();
  return true;
}

/** @param url - of our own making: nothing in it needs escaping, and anything that would is refused. */
export function redirectPage(url: string): string {
  if (!/^http:\/\/localhost:\d+\/#t=[A-Za-z0-9_-]+$/.test(url))
    throw new Error("not a link of the page server");
  return `<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer"><meta http-equiv="refresh" content="0;url=${url}"><title>sealtty</title><a href="${url}">Open the console</a>\n`;
}
