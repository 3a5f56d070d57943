// `sealtty completion`: what a shell needs to complete sealtty's command line, from the table that parses it.

import { bashCompletion } from "../completion/bash.ts";
import { fishCompletion } from "../completion/fish.ts";
import { type CommandModel, completionModel } from "../completion/model.ts";
import { zshCompletion } from "../completion/zsh.ts";
import { guestsOf } from "../named-guest.ts";
import { COMMON_OPTIONS, type Command, usage } from "../options.ts";
import { print } from "../report.ts";

const SHELLS: Readonly<Record<string, (commands: readonly CommandModel[]) => string>> = {
  bash: bashCompletion,
  zsh: zshCompletion,
  fish: fishCompletion,
};

/** @param commands - all there are; asked for late, as this is one of them. */
export function completionCommand(commands: () => readonly Command[]): Command {
  const command: Command = {
    name: "completion",
    summary: "print what a shell needs to complete sealtty's commands",
    operands: "bash | zsh | fish | guests",
    brief: "bash|zsh|fish",
    options: COMMON_OPTIONS.filter(({ name }) => name === "config"),
    notes: [
      "bash: sealtty completion bash > ~/.local/share/bash-completion/completions/sealtty (or source it in ~/.bashrc)",
      "zsh: sealtty completion zsh > DIRECTORY/_sealtty, where DIRECTORY is one of $fpath",
      "fish: sealtty completion fish > ~/.config/fish/completions/sealtty.fish",
      "guests: the names in guests.toml, one a line; the scripts ask for them.",
      "Exit status: 0, or 255 for sealtty's errors.",
    ],
    exits: "ssh-like",
    async run(input, services) {
      const [what, ...extra] = input.operands;
      if (input.rest !== undefined || extra.length > 0) throw usage(command, "unexpected operand");
      if (what === "guests") {
        const { guests } = await guestsOf(input, services);
        await print(services.stdout, [...guests.keys()].map((name) => `${name}\n`).join(""));
        return 0;
      }
      const script = what !== undefined && Object.hasOwn(SHELLS, what) ? SHELLS[what] : undefined;
      if (script === undefined) {
        throw usage(command, what === undefined ? "say bash, zsh or fish" : "no script for that shell");
      }
      await print(services.stdout, script(completionModel(commands())));
      return 0;
    },
  };
  return command;
}
