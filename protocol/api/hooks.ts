// A program's own hooks: what one throws is that program's mistake, and told where the hook belongs to, never to the process.

import { SealttyError } from "../errors.ts";

/** @param failed - hears what the hook throws, or its promise rejects with. Throws nothing itself. */
export function callHook(hook: () => unknown, failed: (cause: unknown) => void): void {
  try {
    Promise.resolve(hook()).catch(failed);
  } catch (cause) {
    failed(cause);
  }
}

/** @param name - of the option. */
export function hookError(name: string, cause: unknown): SealttyError {
  return new SealttyError("api-misuse", `The hook ${name} failed`, { cause });
}
