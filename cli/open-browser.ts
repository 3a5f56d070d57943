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

const LINK = /^http:\/\/([0-9a-f]+\.)?localhost:\d+\/#t=[A-Za-z0-9_-]+$/;
const HEAD =
  '<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer"><title>sealtty</title>';
/**
 * Chrome, Edge and Firefox know that names below localhost are this machine's (RFC 6761 §6.3). Safari asks the network, which may
 * answer with a machine of its own, and that would be handed the link: it does not follow.
 */
const NOT_IN_SAFARI =
  "This browser may ask the network where the page is. Open the link that sealtty printed in Chrome, Edge or Firefox; or start " +
  "sealtty open --localhost, where your own keys do not sign.";

/** @param url - of our own making: nothing in it needs escaping, and anything that would is refused. */
export function redirectPage(url: string): string {
  const link = LINK.exec(url);
  if (link === null) throw new Error("not a link of the page server");
  if (link[1] === undefined)
    return `${HEAD}<meta http-equiv="refresh" content="0;url=${url}"><a href="${url}">Open the console</a>\n`;
  const follow = `if (navigator.vendor.startsWith("Apple")) document.querySelector("p").hidden = false; else location.replace("${url}");`;
  return `${HEAD}<p hidden>${NOT_IN_SAFARI}</p><script>${follow}</script>\n`;
}
