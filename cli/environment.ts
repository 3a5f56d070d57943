// What of this machine's environment the guest's programs see: how to print, nothing else.

import { MAX_ENVIRONMENT_VALUE } from "../protocol/limits.ts";
import type { Services } from "./services.ts";

const PASSED = /^(?:LANG|LC_[A-Z]+|COLORTERM)$/;

export function passedEnvironment(environment: Services["environment"]): Record<string, string> {
  const passed: Record<string, string> = {};
  for (const [name, value] of Object.entries(environment)) {
    if (value === undefined || !PASSED.test(name)) continue;
    if (/^[\x20-\x7e]+$/.test(value) && value.length <= MAX_ENVIRONMENT_VALUE) passed[name] = value;
  }
  return passed;
}

export function terminalName(environment: Services["environment"]): string {
  const name = environment["TERM"] ?? "";
  return /^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$/.test(name) ? name : "xterm-256color";
}
