// `sealtty man`: the manual page, from the same table that parses and helps.

import { manualPage } from "../man-page.ts";
import { type Command, usage } from "../options.ts";
import { print } from "../report.ts";

/** @param commands - all there are; asked for late, as this is one of them. */
export function manCommand(commands: () => readonly Command[]): Command {
  const command: Command = {
    name: "man",
    summary: "print the manual page",
    operands: "",
    options: [],
    notes: [
      "Read it with: sealtty man | man -l -    or install it as share/man/man1/sealtty.1",
      "Exit status: 0, or 255 for sealtty's errors.",
    ],
    exits: "ssh-like",
    async run(input, services) {
      if (input.operands.length > 0 || input.rest !== undefined)
        throw usage(command, "man takes no operands");
      await print(services.stdout, manualPage(commands(), services.version));
      return 0;
    },
  };
  return command;
}
