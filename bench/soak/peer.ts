// The program on the guest's pty: checks what it reads, and writes as fast as it is taken, until it is told to end.
//   node peer.js SEED-OF-WHAT-COMES SEED-OF-WHAT-GOES RESULT-FILE

import fs from "node:fs";
import { WordChecker, WordSource } from "./word-stream.ts";

const WORDS = 4096;
const [seedIn, seedOut, resultFile = ""] = process.argv.slice(2);
const checker = new WordChecker(Number(seedIn));
const source = new WordSource(Number(seedOut));

/** Not process.stdout: on a terminal it would block the reading side, too. */
function write(bytes: Uint8Array, then: () => void): void {
  fs.write(1, bytes, (error, written) => {
    if (error !== null) process.exit(1); // hung up
    if (written < bytes.length) write(bytes.subarray(written), then);
    else then();
  });
}

function goOn(): void {
  if (!checker.ended) return write(source.take(WORDS), goOn);
  fs.writeFileSync(`${resultFile}.new`, JSON.stringify(checker.verdict));
  fs.renameSync(`${resultFile}.new`, resultFile);
  write(source.end(), () => {}); // and stay: the terminal's end would race with its last bytes
}

process.stdin.on("data", (chunk: Buffer) => checker.push(chunk));
goOn();
