// The options of each call, as a program of Node's has them.

import {
  BOUNDED,
  type Checks,
  ELSEWHERE,
  ENCODING,
  HOOK,
  isObject,
  isText,
  MILLISECONDS,
  OBFUSCATION,
  ON_TERMINAL,
  oneOf,
  SIGNAL,
  SWITCH,
  TEXT,
  USER,
  whole,
} from "../../protocol/api/misuse.ts";
import { MAX_SCREEN_LINES } from "../../protocol/limits.ts";
import type {
  AttachOptions,
  ConnectOptions,
  CopyOptions,
  ExecOptions,
  ForwardOptions,
  KeepOptions,
  ShellOptions,
  StreamOptions,
} from "./types.ts";

export const CONNECT_OPTIONS: Checks<ConnectOptions> = {
  guest: TEXT,
  policy: {
    words: "the path of a file, or { text }",
    holds: (value) => isText(value) || (isObject(value) && "text" in value && isText(value.text)),
    secret: true,
  },
  user: USER,
  identity: { words: "the path of a file, or false", holds: (value) => value === false || isText(value) },
  simulated: SWITCH,
  collateral: TEXT,
  timeout: MILLISECONDS,
  encoding: ENCODING,
  obfuscate: OBFUSCATION,
  onState: HOOK,
  onEvidence: HOOK,
  onChanged: HOOK,
};

export const EXEC_OPTIONS: Checks<ExecOptions> = {
  env: ELSEWHERE,
  cwd: ELSEWHERE,
  signal: SIGNAL,
  stdin: {
    words: "true, a text, bytes, or what can be iterated",
    holds: (value) =>
      value === true ||
      isText(value) ||
      (isObject(value) && (Symbol.asyncIterator in value || Symbol.iterator in value)),
    secret: true,
  },
  timeout: MILLISECONDS,
};

export const SHELL_OPTIONS: Checks<ShellOptions> = { ...ON_TERMINAL, ...BOUNDED };

const ATTACHMENT = {
  screenLines: whole(0, MAX_SCREEN_LINES, `up to ${MAX_SCREEN_LINES}`),
  onMark: HOOK,
  onViewers: HOOK,
} as const;

export const KEEP_OPTIONS: Checks<KeepOptions> = {
  ...ON_TERMINAL,
  ...ATTACHMENT,
  sizing: oneOf("smallest", "latest"),
  idleSeconds: whole(1, 0xffff_ffff, "at least 1"),
};

export const ATTACH_OPTIONS: Checks<AttachOptions> = {
  columns: ELSEWHERE,
  rows: ELSEWHERE,
  mode: oneOf("read-write", "read-only"),
  ...ATTACHMENT,
};

export const COPY_OPTIONS: Checks<CopyOptions> = {
  recursive: SWITCH,
  preserve: SWITCH,
  follow: oneOf("named", "always", "never"),
  resume: SWITCH,
  intoDirectory: SWITCH,
  signal: SIGNAL,
  onTotal: HOOK,
  onProgress: HOOK,
  onFile: HOOK,
  onTrouble: HOOK,
};

export const STREAM_OPTIONS: Checks<StreamOptions> = { signal: SIGNAL, onStderr: HOOK };

export const FORWARD_OPTIONS: Checks<ForwardOptions> = { onFailed: HOOK };
