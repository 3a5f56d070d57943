// `sealtty exec`: one program in the guest, with stdin, stdout, stderr and exit status apart.

import { EXEC, execOptions, planOf } from "../exec-plan.ts";
import { execOverMaster } from "../master/exec-over-master.ts";
import { startMaster } from "../master/start-master.ts";
import { obfuscationOf } from "../option-values.ts";
import type { Command } from "../options.ts";
import { enter, reach } from "../reach.ts";
import { Reporter } from "../report.ts";
import { runVerified } from "../run-program.ts";
import { terminalCommand } from "./connect.ts";

export const execCommand: Command = {
  ...EXEC,
  async run(input, services) {
    const plan = planOf(input, services);
    const reporter = new Reporter(services, input);
    if (input.has("master")) return execOverMaster(plan, input, services, reporter, startMaster);
    const { guest: guestName, request } = plan;
    const { command } = request;
    const { stdin, ...place } = execOptions(plan);
    if (plan.terminal) return terminalCommand(guestName, { command, ...place }, input, services);
    const reached = await reach(guestName, input, services, reporter, {
      key: true,
      shaping: obfuscationOf(input, "off"),
    });
    try {
      const guest = await enter(reached);
      const program = await guest.exec(command, { ...place, ...(stdin === true ? { stdin } : {}) });
      return await runVerified(program, guest.claims, plan, services, reporter);
    } finally {
      await reached.end();
    }
  },
};
