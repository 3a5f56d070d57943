// What a client asks to have started, as bytes: in OPEN and in KEEP. docs/protocol.md §8.3

import { type Reader, concat, lv16, lv32, textOf, u16, u8, utf8 } from "../bytes.ts";
import {
  MAX_COMMAND_ARGUMENTS,
  MAX_COMMAND_BYTES,
  MAX_ENVIRONMENT,
  MAX_ENVIRONMENT_VALUE,
  MAX_TERM_NAME,
  MAX_TERMINAL_SIDE,
} from "../limits.ts";
import type { ChannelRequest } from "./channel-api.ts";

const KINDS = ["login", "shell", "exec"] as const;

/** Whether what is asked for runs on a terminal; else it has three streams. */
export function isTerminalRequest(
  request: ChannelRequest,
): request is Exclude<ChannelRequest, { kind: "exec" }> {
  return request.kind !== "exec";
}

export function openBody(request: ChannelRequest): Uint8Array {
  const terminal = !isTerminalRequest(request) ? { term: "", columns: 0, rows: 0 } : request;
  const command = request.kind === "login" ? [] : request.command;
  const environment = request.kind === "login" ? [] : Object.entries(request.environment);
  return concat(
    u8(KINDS.indexOf(request.kind)),
    lv16(utf8(terminal.term)),
    u16(terminal.columns),
    u16(terminal.rows),
    u16(command.length),
    ...command.map((argument) => lv32(utf8(argument))),
    u16(environment.length),
    ...environment.flatMap(([name, value]) => [lv16(utf8(name)), lv16(utf8(value))]),
  );
}

export function readChannel(reader: Reader): number {
  const channel = reader.u32();
  if (channel < 1 || channel > 0x00ffffff) reader.fail("names an impossible channel");
  return channel;
}

export function readSide(reader: Reader): number {
  const side = reader.u16();
  if (side < 1 || side > MAX_TERMINAL_SIDE) reader.fail("has an impossible terminal size");
  return side;
}

export function readOpen(reader: Reader): ChannelRequest {
  const kind = KINDS[reader.u8()];
  if (kind === undefined) reader.fail("asks for an unknown kind of channel");
  const term = reader.text16(MAX_TERM_NAME);
  const onPty = kind !== "exec";
  if (onPty && !/^[A-Za-z0-9][A-Za-z0-9._+-]*$/.test(term)) reader.fail("has a malformed terminal name");
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
  for (let i = 0; i < variables; i++) {
    const name = reader.text16(MAX_TERM_NAME);
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) reader.fail("has a malformed environment variable name");
    environment[name] = textWithoutNul(reader.lv16(MAX_ENVIRONMENT_VALUE), reader);
  }
  if (kind === "login") return { kind, term, columns, rows };
  if (kind === "shell") return { kind, term, columns, rows, command, environment };
  if (command.length === 0) reader.fail("asks to execute nothing");
  return { kind: "exec", command, environment };
}

function textWithoutNul(bytes: Uint8Array, reader: Reader): string {
  if (bytes.includes(0)) reader.fail("has a zero byte in a text");
  return textOf(bytes);
}
