// A SysRq key, as if it were pressed: for the kernel itself, whatever state the rest of the system is in.

import fs from "node:fs";
import { SealttyError } from "../../protocol/errors.ts";
import { isSysrqKey } from "../../protocol/session/service-request.ts";

export const SYSRQ_TRIGGER = "/proc/sysrq-trigger";

/** What is written there is obeyed whatever kernel.sysrq says. @throws SealttyError `api-misuse`; the system's error. */
export function pressSysrq(key: string, trigger = SYSRQ_TRIGGER): void {
  if (!isSysrqKey(key)) throw new SealttyError("api-misuse", "Not a SysRq key");
  const fd = fs.openSync(trigger, fs.constants.O_WRONLY);
  try {
    fs.writeSync(fd, key);
  } finally {
    fs.closeSync(fd);
  }
}
