// bin `sealttyd-files`: copies files for one user, as that user, between the file system and its standard input and output.
// sealttyd starts it for each channel of kind "files"; so the kernel decides what may be read and written. docs/files.md

import { countFiles } from "../../node/files/count.ts";
import { NotTaken } from "../../node/files/outbox.ts";
import { FilesSink } from "../../node/files/sink.ts";
import { FilesSource } from "../../node/files/source.ts";
import { FileTrouble } from "../../node/files/trouble.ts";
import { FilesDecoder } from "../../protocol/files/decoder.ts";
import type { FilesMessage } from "../../protocol/files/messages.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { errorCode } from "../../node/socket-pipe.ts";
import { keepYoungHeapSmall } from "../../node/young-heap.ts";

keepYoungHeapSmall();

const EXIT_GOOD = 0;
const EXIT_TROUBLES = 1; // told through the protocol
const EXIT_FAILED = 255;

type Start = FilesMessage & { readonly type: "start" };

/** "~" and "~/…" are the user's home; all else is relative to it, since the program starts there. */
function fromHome(bytes: Uint8Array): Buffer {
  const named = Buffer.from(bytes);
  const home = Buffer.from(process.env["HOME"] ?? ".");
  if (named.length === 0) return Buffer.from(".");
  if (named.toString("latin1") === "~") return Buffer.concat([home, Buffer.from("/.")]); // even where it is a link
  return named.subarray(0, 2).toString("latin1") === "~/"
    ? Buffer.concat([home, Buffer.from("/"), named.subarray(2)])
    : named;
}

/** Resolves once the bytes are with the kernel. @throws where sealttyd does not take them any more. */
function send(bytes: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(bytes, (error) => (error ? reject(error) : resolve()));
  });
}

async function serve(input: AsyncIterable<Buffer>): Promise<number> {
  const decoder = new FilesDecoder();
  let role: { take(message: FilesMessage): Promise<void> | void; over(): Promise<number> } | undefined;
  let sink: FilesSink | undefined;
  const abort = (): void => {
    sink?.abort();
    process.exit(EXIT_FAILED);
  };
  // sealttyd hangs up where its client does; by itself this would end the program with a file half written.
  for (const signal of ["SIGHUP", "SIGINT", "SIGTERM"] as const) process.on(signal, abort);
  const begin = (start: Start): typeof role => {
    if (start.role === "source") return sourceOf(start);
    const { flags, links, target, names } = start;
    sink = new FilesSink(
      { ...flags, links, target: fromHome(target), names: names.map((name) => Buffer.from(name)) },
      send,
    );
    return sinkRole(sink, fromHome(target));
  };
  try {
    for await (const chunk of input) {
      for (const message of decoder.push(chunk)) {
        if (role !== undefined) await role.take(message);
        else if (message.type === "start") role = begin(message);
        else throw new SealttyError("peer-misbehaved", "The client did not say first what it wants");
      }
      if (sink?.done === true) break; // whatever still comes is not wanted
    }
    if (sink?.done !== true) decoder.end();
  } catch (error) {
    sink?.abort();
    throw error;
  }
  return role === undefined ? EXIT_GOOD : await role.over();
}

function sinkRole(
  sink: FilesSink,
  target: Buffer,
): { take(message: FilesMessage): Promise<void>; over(): Promise<number> } {
  let opened = false;
  return {
    async take(message) {
      if (!opened) {
        opened = true;
        try {
          sink.open();
        } catch (error) {
          if (!(error instanceof FileTrouble)) throw error;
          return sink.refuse(error, target);
        }
      }
      await sink.take(message);
    },
    async over() {
      if (!sink.done) {
        sink.abort(); // the client is gone in the middle
        return EXIT_FAILED;
      }
      return sink.counts.failed === 0 ? EXIT_GOOD : EXIT_TROUBLES;
    },
  };
}

function sourceOf({ flags, links, paths }: Start & { role: "source" }): {
  take(message: FilesMessage): void;
  over(): Promise<number>;
} {
  const own = paths.map(fromHome);
  const source = new FilesSource({ ...flags, links }, send);
  const total = flags.count ? countFiles(own, flags.recursive) : undefined;
  const roots = own.map((root) => ({ path: root }));
  const running = source
    .run(roots, total === undefined ? undefined : { type: "total", ...total })
    .then(() => process.exit(source.failed === 0 ? EXIT_GOOD : EXIT_TROUBLES), fail);
  return {
    take: (message) => source.receive(message),
    // The client has nothing more to say, which is its right: what it asked for is still on its way.
    over: () => running,
  };
}

/** Whoever started this reads what is said here. */
function fail(error: unknown): never {
  const gone = error instanceof NotTaken || errorCode(error) === "EPIPE";
  if (!gone)
    process.stderr.write(`sealttyd-files: ${error instanceof Error ? error.message : "unknown error"}\n`);
  process.exit(EXIT_FAILED);
}

process.on("uncaughtException", fail);
process.on("unhandledRejection", fail);
process.stdout.on("error", () => undefined); // told to each write
process.exit(await serve(process.stdin).catch(fail));
