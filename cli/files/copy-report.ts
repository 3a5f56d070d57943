// What a copy tells its user while it runs: the line of progress, what was not copied, and JSON events.

import type { CopiedFile, CopyOptions, CopyResult, CopyTotal, CopyTrouble } from "../api/types.ts";
import type { Reporter } from "../report.ts";
import type { Services } from "../services.ts";
import { Progress, size } from "./progress.ts";
import { jsonPath, shownPath } from "./shown-path.ts";

/** Lines about single files; of more only the number is told, whatever an end sends. */
const MOST_TROUBLES = 100;
const EVERY_MS = 1000;

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

  /** What the copy is to tell. */
  get options(): Pick<CopyOptions, "onTotal" | "onProgress" | "onFile" | "onTrouble"> {
    return {
      onProgress: (progress) => this.progress.reached(progress),
      onFile: (file) => this.#file(file),
      onTrouble: (trouble) => this.trouble(trouble),
      // How much there is, where somebody sees it.
      ...(this.progress.shown || this.#reporter.json ? { onTotal: (total) => this.#expect(total) } : {}),
    };
  }

  #file({ path, bytes, sha256 }: CopiedFile): void {
    this.progress.file();
    this.#reporter.event("file", { ...jsonPath(path), bytes, sha256 });
  }

  #expect(total: CopyTotal): void {
    this.progress.expect(total);
    this.#reporter.event("total", { files: total.files, bytes: total.bytes });
  }

  trouble({ code, path, words, where }: CopyTrouble): void {
    this.#troubles++;
    if (this.#troubles > MOST_TROUBLES) return;
    const pattern = code === "not-found" && where !== "here" && looksLikePattern(path);
    const said = pattern ? `${words}; ${NO_PATTERNS}` : words;
    this.#reporter.event("trouble", { ...jsonPath(path), code, where, words: said });
    this.progress.clear();
    const place = where === "here" ? "" : `${where}: `;
    this.#reporter.problem(`sealtty: ${place}${shownPath(path)}: ${said}`);
  }

  /** @param result - undefined where it came to nothing. */
  end(result: CopyResult | undefined): void {
    this.#cancel?.();
    this.progress.end(result !== undefined);
    const more = this.#troubles - MOST_TROUBLES;
    if (more > 0) this.#reporter.problem(`sealtty: and ${more} more that were not copied`);
    if (result === undefined) return;
    const seconds = Number(this.progress.seconds.toFixed(3));
    const { files, directories, links, bytes } = result;
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
