// A program's traffic over a raw terminal, both ways as fast as they go, with every byte checked.

import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Pipe } from "../../protocol/pipe.ts";
import { scratchDirectory } from "../children.ts";
import { MARKER } from "../peer.ts";
import { attest } from "../sealtty.ts";
import { failures } from "./report.ts";
import { WordChecker, WordSource } from "./word-stream.ts";

/** For what takes long on a busy machine, ms. */
export const PATIENCE = 600_000;

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text));

/** The program's shell line, once its terminal is raw. */
export async function openRaw(dial: () => Promise<Pipe>, command: string) {
  const attested = await attest(dial);
  const guest = await attested.authenticate({ method: "none", user: "root" });
  const channel = await guest.openChannel({ kind: "login", term: "xterm", columns: 80, rows: 24 });
  channel.exit.catch(() => {}); // a cut connection is told by stdout as well
  await channel.write(bytes(`stty raw -echo; printf 'REA''DY'; ${command}\n`));
  let text = "";
  for (;;) {
    const part = await channel.stdout.read();
    if (part === undefined) throw new Error(`The shell ended: ${text}`);
    channel.stdout.consumed(part.length);
    text += Buffer.from(part).toString("latin1");
    const at = text.indexOf(MARKER);
    if (at >= 0) return { guest, channel, begun: Buffer.from(text.slice(at + MARKER.length), "latin1") };
  }
}

export interface Traffic {
  readonly received: () => number;
  /** Ends both directions, and says what became of every byte. */
  finish(): Promise<readonly { readonly way: string; readonly verdict: WordChecker["verdict"] }[]>;
}

/** Both ways as fast as they go, each byte checked against its place. */
export async function startTraffic(dial: () => Promise<Pipe>, random: () => number): Promise<Traffic> {
  const result = path.join(scratchDirectory("traffic"), "result.json");
  const [inward, outward] = [Math.floor(random() * 2 ** 31), Math.floor(random() * 2 ** 31)];
  const peer = path.join(import.meta.dirname, "peer.js");
  const { guest, channel, begun } = await openRaw(
    dial,
    `exec ${process.execPath} ${peer} ${inward} ${outward} ${result}`,
  );
  const checker = new WordChecker(outward);
  checker.push(begun);
  let received = begun.length;
  const reading = (async () => {
    while (!checker.ended) {
      const part = await channel.stdout.read();
      if (part === undefined) throw new Error("The traffic ended early");
      checker.push(part);
      received += part.length;
      channel.stdout.consumed(part.length);
    }
  })();
  const source = new WordSource(inward);
  let going = true;
  const writing = (async () => {
    while (going) await channel.write(source.take(2048));
    await channel.write(source.end());
  })();
  const both = Promise.all([reading, writing]);
  both.catch(() => {}); // told by finish
  return {
    received: () => received,
    async finish() {
      going = false;
      await within(both, "the end of the traffic");
      while (!existsSync(result)) await sleep(10);
      const verdict = JSON.parse(readFileSync(result, "utf8")) as WordChecker["verdict"];
      if (verdict.whole + verdict.lost !== source.length)
        failures.push(`the guest had ${verdict.whole} of ${source.length} bytes`);
      await guest.close();
      return [
        { way: "to the guest", verdict },
        { way: "to the client", verdict: checker.verdict },
      ];
    },
  };
}

export async function within<T>(work: Promise<T>, what: string, ms = PATIENCE): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`No ${what} within ${ms / 1000} s`)), ms);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
