// How far a copy is: a line on a terminal, with rate and time left.

import type { CopyProgress, CopyTotal } from "../api/types.ts";
import type { Services } from "../services.ts";
import { shownPath } from "./shown-path.ts";

const EVERY_MS = 200;
/** The rate is that of the last seconds: so a pipe that stalls shows. */
const WINDOW_MS = 5000;
const NARROWEST = 20;

export class Progress {
  readonly #services: Services;
  readonly #shown: boolean;
  readonly #start: number;
  #samples: { readonly at: number; readonly bytes: number }[] = [];
  #bytes = 0;
  #files = 0;
  #total: CopyTotal | undefined;
  #path: Uint8Array = new Uint8Array(0);
  #cancel: (() => void) | undefined;
  #onScreen = false;

  /** @param wanted - false: nothing is ever shown. */
  constructor(services: Services, wanted: boolean) {
    this.#services = services;
    this.#shown = wanted && services.stderr.isTTY === true && services.environment["TERM"] !== "dumb";
    this.#start = services.clock.now();
    if (this.#shown) this.#tick();
  }

  /** Whether it is worth asking how much there is. */
  get shown(): boolean {
    return this.#shown;
  }
  get bytes(): number {
    return this.#bytes;
  }
  get seconds(): number {
    return (this.#services.clock.now() - this.#start) / 1000;
  }

  expect(total: CopyTotal | undefined): void {
    this.#total = total;
  }
  reached({ bytes, path }: CopyProgress): void {
    this.#bytes = bytes;
    this.#path = path;
  }
  file(): void {
    this.#files++;
  }

  /** Before another line is written: takes this one off the screen. */
  clear(): void {
    if (!this.#onScreen) return;
    this.#onScreen = false;
    this.#write("\r\x1b[K");
  }

  /** @param done - the last state stays on the screen. */
  end(done: boolean): void {
    this.#cancel?.();
    this.#cancel = undefined;
    if (!this.#shown) return;
    if (!done) return this.clear();
    this.#draw();
    this.#onScreen = false;
    this.#write("\r\n");
  }

  #tick(): void {
    this.#draw();
    this.#cancel = this.#services.clock.after(EVERY_MS, () => this.#tick());
  }

  #draw(): void {
    const now = this.#services.clock.now();
    this.#samples.push({ at: now, bytes: this.#bytes });
    while (this.#samples.length > 2 && now - (this.#samples[0]?.at ?? now) > WINDOW_MS) this.#samples.shift();
    const [first] = this.#samples;
    const span = now - (first?.at ?? now);
    const rate = span > 0 ? ((this.#bytes - (first?.bytes ?? 0)) / span) * 1000 : 0;
    const columns = Math.max(NARROWEST, this.#services.stderr.columns ?? 80);
    const text = progressLine(
      { bytes: this.#bytes, files: this.#files, total: this.#total, rate, name: shownPath(this.#path) },
      columns - 1,
    );
    this.#onScreen = true;
    this.#write(`\r${text}\x1b[K`);
  }

  #write(text: string): void {
    const { stderr } = this.#services;
    if (!stderr.destroyed) stderr.write(text);
  }
}

export interface ProgressState {
  readonly bytes: number;
  readonly files: number;
  readonly total: CopyTotal | undefined;
  readonly rate: number; // bytes a second
  readonly name: string;
}

/** @param columns - the longest that it may be. The name gives way first, from its begin; then counts, sums, the time left. */
export function progressLine({ bytes, files, total, rate, name }: ProgressState, columns: number): string {
  const known = total !== undefined && total.bytes > 0;
  const counted = total === undefined ? files : total.files;
  const left = known && rate > 0 && bytes < total.bytes ? (total.bytes - bytes) / rate : undefined;
  const parts: Record<"share" | "sum" | "files" | "rate" | "left", string> = {
    share: known ? `${String(Math.min(100, Math.floor((bytes / total.bytes) * 100))).padStart(3)}%` : "",
    sum: total === undefined ? size(bytes) : `${size(bytes)} of ${size(total.bytes)}`,
    files: counted > 1 ? `${files}${total === undefined ? "" : ` of ${total.files}`} files` : "",
    rate: `${size(rate)}/s`,
    left: left === undefined ? "" : `${duration(left)} left`,
  };
  const joined = (): string =>
    Object.values(parts)
      .filter((part) => part !== "")
      .join("  ");
  for (const part of ["files", "sum", "left"] as const) if (joined().length > columns) parts[part] = "";
  const figures = joined();
  const room = columns - figures.length - 2;
  if (room < 4 || name === "") return figures.slice(0, columns);
  const characters = Array.from(name);
  const cut = characters.length > room ? `…${characters.slice(characters.length - room + 1).join("")}` : name;
  return `${cut}  ${figures}`;
}

/** "4.2 MiB" */
export function size(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 || value >= 99.5 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** "0:07", "1:02:33" */
export function duration(seconds: number): string {
  const whole = Math.ceil(Math.min(seconds, 359_999));
  const two = (value: number): string => String(value).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours > 0 ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}
