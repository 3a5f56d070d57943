// bin `sealttyd-prompts`: hands questions for passphrases over to one client, and its answers to who asked. sealttyd starts it
// with its own rights for each channel of kind "prompts", for users whom [unlock] names. docs/unlock.md

import { nodeClock } from "../../node/clock.ts";
import { errorCode } from "../../node/socket-pipe.ts";
import {
  encodePromptsMessage,
  PromptsDecoder,
  type PromptsMessage,
} from "../../protocol/prompts/messages.ts";
import { PromptsService } from "./service.ts";
import { openVolumes, passfifoQuestions, systemdQuestions } from "./sources.ts";

const EXIT_GOOD = 0;
const EXIT_FAILED = 255;

async function serve(input: AsyncIterable<Buffer>): Promise<number> {
  const decoder = new PromptsDecoder("client");
  const service = new PromptsService({
    clock: nodeClock,
    sources: [passfifoQuestions(), systemdQuestions()],
    openVolumes: () => openVolumes(),
    send: (message: PromptsMessage) => void process.stdout.write(encodePromptsMessage(message)),
    complain: (words) => void process.stderr.write(`sealttyd-prompts: ${words}\n`),
  });
  try {
    for await (const chunk of input) {
      for (const message of decoder.push(chunk))
        if (message.type === "answer") await service.answer(message.number, message.passphrase);
      chunk.fill(0);
    }
    decoder.end();
    return EXIT_GOOD;
  } finally {
    service.stop();
  }
}

/** Whoever started this reads what is said here. */
function fail(error: unknown): never {
  if (errorCode(error) !== "EPIPE")
    process.stderr.write(`sealttyd-prompts: ${error instanceof Error ? error.message : "unknown error"}\n`);
  process.exit(EXIT_FAILED);
}

process.on("uncaughtException", fail);
process.on("unhandledRejection", fail);
process.stdout.on("error", fail);
process.exit(await serve(process.stdin).catch(fail));
