// What a copy tells its user while it runs: the line of progress, what was not copied, and JSON events.

import type { FilesTotal } from "../../node/files/count.ts";
import type { SinkCounts } from "../../node/files/sink.ts";
import type { FilesEvents } from "../../node/files/source.ts";
import { TROUBLE_WORDS } from "../../node/files/trouble.ts";
import type { TroubleName } from "../../protocol/files/messages.ts";
import type { Reporter } from "../report.ts";
import type { Services } from "../services.ts";
import { Progress, size } from "./progress.ts";
import { jsonPath, shownPath } from "./shown-path.ts";

/** Lines about single files; of more only the number is told, whatever an end sends. */
const MOST_TROUBLES = 100;
const EVERY_MS = 1000;

/** Where something went wrong, for people. */
export type Where = "" | "in the guest" | "in the source's guest" | "in the target's guest";

export class CopyReport {
  readonly #reporter: Reporter;
  readonly #services: Services;
  readonly progress: Progress;
  #troubles = 0;
  #cancel: (() => void) | undefined;

  constructor(services: Services, reporter: Reporter) {
    this.#services = services;
    this.#reporter = reporter;
    this.progress = new Progress(services, !reporter.quiet && !reporter.json);
    if (reporter.json) this.#tick();
  }

  /** Entries that were not copied, at either end. */
  get failed(): number {
    return this.#troubles;
  }
  /** Whether it is worth asking how much there is. */
  get wantsTotal(): boolean {
    return this.progress.shown || this.#reporter.json;
  }

  /** For the end that sees the content here. */
  readonly events: FilesEvents = {
    entry: (path) => this.progress.entry(path),
    progress: (bytes) => this.progress.add(bytes),
    file: (path, bytes, digest) => this.file(path, bytes, digest),
    trouble: (trouble, path) => this.trouble(trouble.code, path, ""),
  };

  file(path: Uint8Array, bytes: number, digest: Uint8Array): void {
    this.progress.file();
    this.#reporter.event("file", {
      ...jsonPath(path),
      bytes,
      sha256: Buffer.from(digest).toString("hex"),
    });
  }

  expect(total: FilesTotal | undefined): void {
    this.progress.expect(total);
    if (total !== undefined) this.#reporter.event("total", { files: total.files, bytes: total.bytes });
  }

  trouble(code: TroubleName, path: Uint8Array, where: Where): void {
    this.#troubles++;
    if (this.#troubles > MOST_TROUBLES) return;
    const pattern = code === "not-found" && where !== "" && looksLikePattern(path);
    const words = pattern ? `${TROUBLE_WORDS[code]}; ${NO_PATTERNS}` : TROUBLE_WORDS[code];
    this.#reporter.event("trouble", { ...jsonPath(path), code, where: where === "" ? "here" : where, words });
    this.progress.clear();
    const place = where === "" ? "" : `${where}: `;
    this.#reporter.problem(`sealtty: ${place}${shownPath(path)}: ${words}`);
  }

  /** @param done - all that could be copied was. */
  end(done: boolean, counts: SinkCounts | undefined): void {
    this.#cancel?.();
    this.progress.end(done);
    const more = this.#troubles - MOST_TROUBLES;
    if (more > 0) this.#reporter.problem(`sealtty: and ${more} more that were not copied`);
    if (!done || counts === undefined) return;
    const seconds = Number(this.progress.seconds.toFixed(3));
    const { files, directories, links, bytes } = counts;
    this.#reporter.event("done", { files, directories, links, bytes, failed: this.#troubles, seconds });
    this.#reporter.detail(
      `sealtty: ${counted(files, "file")}, ${counted(directories, "directory", "directories")}, ${counted(links, "link")}, ${size(bytes)} in ${seconds.toFixed(1)} s`,
    );
  }

  #tick(): void {
    this.#cancel = this.#services.clock.after(EVERY_MS, () => {
      this.#reporter.event("progress", { bytes: this.progress.bytes });
      this.#tick();
    });
  }
}

/** ssh's scp would have had the guest's shell look. */
const NO_PATTERNS =
  "a guest expands no patterns: name the files, copy their directory with -r, or have a shell there name them (exec)";

function looksLikePattern(path: Uint8Array): boolean {
  return /[*?]|\[[^\]]+\]|\{[^}]*,[^}]*\}/.test(Buffer.from(path).toString("latin1"));
}

const counted = (number: number, one: string, many = `${one}s`): string =>
  `${number} ${number === 1 ? one : many}`;
