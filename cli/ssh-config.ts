// Blocks of ssh_config(5) that sealtty keeps in the user's own file: made, found, replaced and taken out. All else in the file
// stays as it is, byte for byte.

import { SealttyError } from "../protocol/errors.ts";

/** `#` lines, so that ssh passes over them. A block ends with `Match all`: what stands below it is no part of our Host. */
const BEGIN = "# sealtty config-ssh begin ";
const END = "# sealtty config-ssh end ";

/** The name of a block and of its Host: nothing that ssh would read as a pattern or a second word. */
export function isSshHostName(text: string): boolean {
  return /^[A-Za-z0-9][A-Za-z0-9._-]{0,200}$/.test(text);
}

/** What ssh looks up in known_hosts: `name`, or `[name]:port`. */
export function isKnownHostName(text: string): boolean {
  return /^(?:[A-Za-z0-9][A-Za-z0-9._:-]{0,200}|\[[A-Za-z0-9][A-Za-z0-9._:-]{0,200}\]:[0-9]{1,5})$/.test(
    text,
  );
}

export interface SshBlock {
  /** `isSshHostName`. */
  readonly host: string;
  /** Login name at the sshd; undefined: ssh's own default. */
  readonly user: string | undefined;
  /** Key file; undefined: ssh's own defaults. */
  readonly identityFile: string | undefined;
  /** Program and arguments: `sealtty proxy …`. */
  readonly proxy: readonly string[];
  /** Program and arguments: `sealtty known-hosts …`, without the name. */
  readonly knownHosts: readonly string[];
}

/** @throws SealttyError `bad-config` where a word cannot be written in ssh's file. */
export function blockText(block: SshBlock): string {
  const lines = [
    BEGIN + block.host,
    `# Made by sealtty config-ssh; changes in here are lost. Its host key comes from evidence that your policy accepts.`,
    `Host ${block.host}`,
    `    HostKeyAlias ${block.host}`,
    ...(block.user === undefined ? [] : [`    User ${ownWord(block.user)}`]),
    ...(block.identityFile === undefined ? [] : [`    IdentityFile ${ownWord(block.identityFile)}`]),
    `    ProxyCommand ${block.proxy.map(shellWord).join(" ")}`,
    `    KnownHostsCommand ${[...block.knownHosts.map(ownWord), "%H"].join(" ")}`,
    // No key that was once believed for another reason, and none that the guest's sshd would like to add.
    "    UserKnownHostsFile /dev/null",
    "    GlobalKnownHostsFile /dev/null",
    "    StrictHostKeyChecking yes",
    "    UpdateHostKeys no",
    "    VerifyHostKeyDNS no",
    "    CheckHostIP no",
    "Match all",
    END + block.host,
  ];
  return lines.map((line) => `${line}\n`).join("");
}

/** For the shell that ssh starts a ProxyCommand with, and ssh's own % before that. */
function shellWord(word: string): string {
  const safe = withoutControls(word).replaceAll("%", "%%");
  return /^[A-Za-z0-9_./:@%+=,-]+$/.test(safe) ? safe : `'${safe.replaceAll("'", "'\\''")}'`;
}

/** For ssh's own reading of words: quotes, backslashes, % and ${…}. */
function ownWord(word: string): string {
  if (word.includes("${")) throw unwritable(word, "ssh would put a variable in the place of ${…}");
  const safe = withoutControls(word).replaceAll("%", "%%");
  if (/^[A-Za-z0-9_./:@%+=,-]+$/.test(safe)) return safe;
  if (/["\\]/.test(safe)) throw unwritable(word, "ssh's file cannot hold quotes and backslashes there");
  return `"${safe}"`;
}

function withoutControls(word: string): string {
  // oxlint-disable-next-line no-control-regex
  if (/[\u0000-\u001f\u007f]/.test(word)) throw unwritable(word, "it has a control character");
  if (word === "") throw unwritable(word, "it is empty");
  return word;
}

function unwritable(word: string, why: string): SealttyError {
  return new SealttyError("bad-config", `${JSON.stringify(word)} cannot be written into ssh's file: ${why}`);
}

interface Span {
  readonly host: string;
  readonly from: number;
  /** Behind the end line's own line end. */
  readonly to: number;
}

/** @param file - as bytes, one character each (latin1). @returns the names of the blocks in it. */
export function blockNames(file: string): string[] {
  return spansOf(file).map(({ host }) => host);
}

/**
 * Puts a block in: in the place of the one of its name, else above all else, because ssh takes the first value that it finds.
 * @param file - as bytes, one character each (latin1). @param text - of the block, likewise.
 * @throws SealttyError `bad-config` where a begin or an end stands alone.
 */
export function withBlock(file: string, host: string, text: string): string {
  const own = spansOf(file).find((span) => span.host === host);
  return own === undefined ? text + file : file.slice(0, own.from) + text + file.slice(own.to);
}

/** @param file - as above. @returns it without that block; the same where there is none. @throws SealttyError as above. */
export function withoutBlock(file: string, host: string): string {
  const own = spansOf(file).find((span) => span.host === host);
  return own === undefined ? file : file.slice(0, own.from) + file.slice(own.to);
}

function spansOf(file: string): Span[] {
  const spans: Span[] = [];
  let begun: { readonly host: string; readonly from: number; readonly line: number } | undefined;
  let at = 0;
  let number = 0;
  while (at < file.length) {
    number++;
    const newline = file.indexOf("\n", at);
    const next = newline < 0 ? file.length : newline + 1;
    const line = file.slice(at, newline < 0 ? next : newline).replace(/\r$/, "");
    if (line.startsWith(BEGIN)) {
      if (begun !== undefined) throw alone("begin", begun.line);
      begun = { host: line.slice(BEGIN.length), from: at, line: number };
    } else if (line.startsWith(END)) {
      if (begun === undefined || begun.host !== line.slice(END.length)) throw alone("end", number);
      if (spans.some(({ host }) => host === begun?.host)) throw alone("second", begun.line);
      spans.push({ host: begun.host, from: begun.from, to: next });
      begun = undefined;
    }
    at = next;
  }
  if (begun !== undefined) throw alone("begin", begun.line);
  return spans;
}

function alone(what: "begin" | "end" | "second", line: number): SealttyError {
  const words =
    what === "second" ? "a second block of one name" : `a line of sealtty's "${what}" that stands alone`;
  return new SealttyError(
    "bad-config",
    `line ${line} of ssh's file has ${words}; nothing was changed: take sealtty's block out by hand, then try again`,
  );
}
