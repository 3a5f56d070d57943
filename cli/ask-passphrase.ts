// Asks for a key's passphrase as ssh does: on the terminal, whatever standard input is, or by the program that SSH_ASKPASS names.

import { spawn } from "node:child_process";
import { closeSync, openSync, writeSync } from "node:fs";
import { ReadStream } from "node:tty";

const MAX_PASSPHRASE = 1023; // as ssh

type Environment = Readonly<Record<string, string | undefined>>;

/** @returns undefined where there is nobody to ask, or the user gave up. */
export async function askPassphrase(prompt: string, environment: Environment): Promise<string | undefined> {
  const program = environment["SSH_ASKPASS"] ?? "";
  const wish = environment["SSH_ASKPASS_REQUIRE"] ?? "";
  const display = [environment["DISPLAY"], environment["WAYLAND_DISPLAY"]].some(
    (name) => (name ?? "") !== "",
  );
  const mayAsk = program !== "" && wish !== "never";
  if (mayAsk && (wish === "force" || (wish === "prefer" && display))) return askProgram(program, prompt);
  const terminal = openTerminal();
  if (terminal !== undefined) return askOnTerminal(terminal, prompt);
  return mayAsk && display ? askProgram(program, prompt) : undefined;
}

/** Where a passphrase was asked for; nowhere, where there is no terminal. Standard error may be JSON. @param line - without its end. */
export function sayOnTerminal(line: string): void {
  const terminal = openTerminal();
  if (terminal === undefined) return;
  writeSync(terminal, `${line}\r\n`);
  closeSync(terminal);
}

/** The line that it prints; whatever else it does is no passphrase. */
function askProgram(program: string, prompt: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const child = spawn(program, [prompt], { stdio: ["ignore", "pipe", "inherit"] });
    let answer = Buffer.alloc(0);
    child.stdout.on("data", (chunk: Buffer) => {
      answer = Buffer.concat([answer, chunk]);
      if (answer.length > MAX_PASSPHRASE + 1) child.kill();
    });
    child.once("error", () => resolve(undefined));
    child.once("close", (status) => {
      const line = answer.toString("utf8").split(/\r?\n/, 1)[0] ?? "";
      answer.fill(0);
      resolve(status === 0 ? line : undefined);
    });
  });
}

function openTerminal(): number | undefined {
  try {
    return openSync("/dev/tty", "r+");
  } catch {
    return undefined; // ENXIO: no controlling terminal
  }
}

/** Without echo. Ctrl-C ends sealtty as anywhere; Ctrl-D on an empty line gives up. @param fd - is closed. */
async function askOnTerminal(fd: number, prompt: string): Promise<string | undefined> {
  const input = new ReadStream(fd);
  const restore = (): void => {
    input.setRawMode(false);
  };
  process.once("exit", restore);
  try {
    input.setRawMode(true);
    writeSync(fd, prompt); // not before: what is typed at once would be shown
    const answer = await readLine(input);
    writeSync(fd, "\n"); // raw as Node has it, a line feed still returns
    if (answer !== "interrupted") return answer.line;
    restore();
    process.kill(process.pid, "SIGINT");
    return undefined;
  } finally {
    restore();
    process.off("exit", restore);
    input.destroy();
    closeQuietly(fd);
  }
}

/** Edits as a terminal in its own line mode does: erase (^H, DEL), kill (^U), end (^D). */
function readLine(input: ReadStream): Promise<{ readonly line: string | undefined } | "interrupted"> {
  return new Promise((resolve) => {
    const decoder = new TextDecoder();
    let line: string[] = [];
    const done = (answer: { readonly line: string | undefined } | "interrupted"): void => {
      input.removeAllListeners("data");
      input.pause();
      resolve(answer);
    };
    input.on("data", (chunk: Buffer) => {
      for (const character of decoder.decode(chunk, { stream: true })) {
        if (character === "\r" || character === "\n") return done({ line: line.join("") });
        if (character === "\x03") return done("interrupted");
        if (character === "\x04") {
          if (line.length === 0) return done({ line: undefined });
        } else if (character === "\x7f" || character === "\b") line.pop();
        else if (character === "\x15") line = [];
        else if (line.length < MAX_PASSPHRASE) line.push(character);
      }
    });
    input.once("end", () => done({ line: undefined }));
    input.once("error", () => done({ line: undefined }));
  });
}

function closeQuietly(fd: number): void {
  try {
    closeSync(fd);
  } catch {
    // the stream closed it
  }
}
