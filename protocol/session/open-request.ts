// What a client asks to have started, as bytes: in OPEN and in KEEP. docs/protocol.md §8.3

import { type Reader, concat, lv16, lv32, textOf, u16, u8, utf8 } from "../bytes.ts";
import { SealttyError } from "../errors.ts";
import { readTarget, targetBody } from "../forward/target.ts";
import {
  MAX_COMMAND_ARGUMENTS,
  MAX_COMMAND_BYTES,
  MAX_DIRECTORY,
  MAX_ENVIRONMENT,
  MAX_ENVIRONMENT_BYTES,
  MAX_ENVIRONMENT_VALUE,
  MAX_TERM_NAME,
  MAX_TERMINAL_SIDE,
} from "../limits.ts";
import type { ChannelRequest } from "./channel-api.ts";
import { readService, serviceBody } from "./service-request.ts";

/** By their numbers. */
const KINDS = ["login", "shell", "exec", "stream", "files", "prompts", "service"] as const;
const VARIABLE_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;
const TERM_NAME = /^[A-Za-z0-9][A-Za-z0-9._+-]*$/;

export function isVariableName(name: string): boolean {
  return VARIABLE_NAME.test(name) && name.length <= MAX_TERM_NAME;
}
/** For a person. */
export const VARIABLE_NAME_WORDS = `an environment variable's name has letters, digits and _, no digit first, and at most ${MAX_TERM_NAME} of them`;

type BareRequest = Extract<ChannelRequest, { kind: "files" | "prompts" }>;

/** Whether it is its kind, and nothing else. */
function isBare(request: ChannelRequest): request is BareRequest {
  return request.kind === "files" || request.kind === "prompts";
}

/**
 * What the guest would refuse, said here, before anything goes out, and in words.
 * @throws SealttyError `bad-config`, a sentence for a person; `api-misuse` on a size that no terminal has.
 */
export function checkRequest(request: ChannelRequest): void {
  if (isTerminalRequest(request)) checkTerminal(request);
  if (!("command" in request)) return;
  const { command, environment, directory = "" } = request;
  if (request.kind === "exec" && (command[0] ?? "") === "") refuse("there is no command to run");
  checkCommand(command);
  checkEnvironment(environment);
  if (utf8(directory).length > MAX_DIRECTORY)
    refuse(`the directory's name is too long: at most ${MAX_DIRECTORY} bytes`);
  if (directory.includes("\0")) refuse("the directory's name holds a NUL, which none has");
}

/** @throws SealttyError `api-misuse`: the guest would end the whole connection over it. From JavaScript anything may come. */
export function checkSize(columns: number, rows: number): void {
  if (isSide(columns) && isSide(rows)) return;
  throw new SealttyError(
    "api-misuse",
    `A terminal has 1 to ${MAX_TERMINAL_SIDE} columns and rows, and not ${String(columns)} by ${String(rows)}`,
  );
}

function isSide(side: number): boolean {
  return Number.isInteger(side) && side >= 1 && side <= MAX_TERMINAL_SIDE;
}

function checkTerminal({ term, columns, rows }: Extract<ChannelRequest, { kind: "login" | "shell" }>): void {
  checkSize(columns, rows);
  if (!isTermName(term))
    refuse(
      `a terminal's name, as xterm-256color, has letters, digits and . _ + -, one of the former first, and at most ${MAX_TERM_NAME} of them`,
    );
}

/** From JavaScript anything may come. */
function isTermName(term: unknown): boolean {
  return typeof term === "string" && term.length <= MAX_TERM_NAME && TERM_NAME.test(term);
}

function checkCommand(command: readonly string[]): void {
  let bytes = 0;
  for (const argument of command) {
    // A text has no fewer bytes than characters: one of many megabytes need not be encoded to be refused.
    bytes += (argument.length > MAX_COMMAND_BYTES ? argument : utf8(argument)).length + 1;
    if (argument.includes("\0")) refuse("a word of the command holds a NUL, which no program can be given");
  }
  if (command.length > MAX_COMMAND_ARGUMENTS || bytes > MAX_COMMAND_BYTES) {
    refuse(
      `the command is too long: at most ${MAX_COMMAND_ARGUMENTS} words and ${MAX_COMMAND_BYTES} bytes; send data through stdin`,
    );
  }
}

function checkEnvironment(environment: Readonly<Record<string, string>>): void {
  const variables = Object.entries(environment);
  if (variables.length > MAX_ENVIRONMENT) refuse(`at most ${MAX_ENVIRONMENT} environment variables`);
  let bytes = 0;
  for (const [name, value] of variables) {
    if (!isVariableName(name)) refuse(VARIABLE_NAME_WORDS);
    const length = utf8(value).length;
    if (length > MAX_ENVIRONMENT_VALUE || value.includes("\0"))
      refuse(`the value of ${name} has more than ${MAX_ENVIRONMENT_VALUE} bytes, or a NUL in it`);
    bytes += name.length + length + 2;
  }
  if (bytes > MAX_ENVIRONMENT_BYTES)
    refuse(`the environment is too long: at most ${MAX_ENVIRONMENT_BYTES} bytes`);
}

function refuse(problem: string): never {
  throw new SealttyError("bad-config", problem);
}

/** Whether what is asked for runs on a terminal. */
export function isTerminalRequest(
  request: ChannelRequest,
): request is Extract<ChannelRequest, { kind: "login" | "shell" }> {
  return request.kind === "login" || request.kind === "shell";
}

export function openBody(request: ChannelRequest): Uint8Array {
  const kind = u8(KINDS.indexOf(request.kind));
  if (isBare(request)) return kind;
  if (request.kind === "service") return concat(kind, serviceBody(request.service));
  if (request.kind === "stream") return concat(kind, targetBody(request.target));
  const terminal = !isTerminalRequest(request) ? { term: "", columns: 0, rows: 0 } : request;
  const command = request.kind === "login" ? [] : request.command;
  const environment = request.kind === "login" ? [] : Object.entries(request.environment);
  const directory = request.kind === "login" ? "" : (request.directory ?? "");
  return concat(
    kind,
    lv16(utf8(terminal.term)),
    u16(terminal.columns),
    u16(terminal.rows),
    u16(command.length),
    ...command.map((argument) => lv32(utf8(argument))),
    u16(environment.length),
    ...environment.flatMap(([name, value]) => [lv16(utf8(name)), lv16(utf8(value))]),
    lv16(utf8(directory)),
  );
}

export function readChannel(reader: Reader): number {
  const channel = reader.u32();
  if (channel < 1 || channel > 0x00ffffff) reader.fail("names an impossible channel");
  return channel;
}

export function readSide(reader: Reader): number {
  const side = reader.u16();
  if (!isSide(side)) reader.fail("has an impossible terminal size");
  return side;
}

export function readOpen(reader: Reader): ChannelRequest {
  const kind = KINDS[reader.u8()];
  if (kind === undefined) reader.fail("asks for an unknown kind of channel");
  if (kind === "files" || kind === "prompts") return { kind };
  if (kind === "service") return { kind, service: readService(reader) };
  if (kind === "stream") return { kind, target: readTarget(reader) };
  const term = reader.text16(MAX_TERM_NAME);
  const onPty = kind !== "exec";
  if (onPty && !isTermName(term)) reader.fail("has a malformed terminal name");
  const columns = onPty ? readSide(reader) : reader.u16();
  const rows = onPty ? readSide(reader) : reader.u16();
  const command: string[] = [];
  let commandBytes = 0;
  const count = reader.u16();
  if (count > MAX_COMMAND_ARGUMENTS) reader.fail("has too many arguments");
  for (let i = 0; i < count; i++) {
    const bytes = reader.lv32(MAX_COMMAND_BYTES);
    commandBytes += bytes.length + 1;
    if (commandBytes > MAX_COMMAND_BYTES) reader.fail("has a command that is too long");
    command.push(textWithoutNul(bytes, reader));
  }
  const environment: Record<string, string> = Object.create(null) as Record<string, string>;
  const variables = reader.u16();
  if (variables > MAX_ENVIRONMENT) reader.fail("has too many environment variables");
  let environmentBytes = 0;
  for (let i = 0; i < variables; i++) {
    const name = reader.text16(MAX_TERM_NAME);
    if (!VARIABLE_NAME.test(name)) reader.fail("has a malformed environment variable name");
    const value = reader.lv16(MAX_ENVIRONMENT_VALUE);
    environmentBytes += name.length + value.length + 2;
    if (environmentBytes > MAX_ENVIRONMENT_BYTES) reader.fail("has an environment that is too long");
    environment[name] = textWithoutNul(value, reader);
  }
  const directory = textWithoutNul(reader.lv16(MAX_DIRECTORY), reader);
  if (kind === "login") return { kind, term, columns, rows };
  const place = directory === "" ? { environment } : { environment, directory };
  if (kind === "shell") return { kind, term, columns, rows, command, ...place };
  if (command.length === 0) reader.fail("asks to execute nothing");
  return { kind: "exec", command, ...place };
}

function textWithoutNul(bytes: Uint8Array, reader: Reader): string {
  if (bytes.includes(0)) reader.fail("has a zero byte in a text");
  return textOf(bytes);
}
