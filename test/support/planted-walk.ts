// Plants what the doctor looks for, sees what a host has of it, has it mended, and looks again from the host's side.

import { expect } from "vitest";
import { PLANTED, type PlantingHost, type RunInGuest } from "./planted-findings.ts";

/** For what a host does to show in an emulated guest, ms. */
const SHOWS_WITHIN = 60_000;
/** Seconds to wait before it is believed that the host got nothing. */
const QUIET_FOR = 3;
/** What the doctor leaves to do by hand, where it is a command, and not one of a boot. */
const COMMAND = /^(?:kill \d+|swapoff -a|modprobe -r \w+|systemctl mask --now [\w@. -]+)$/;
/** An initramfs that is made anew counts at the next boot, which this test does not wait for. */
const NEXT_BOOT = /^(?:update-initramfs|dracut) /;

export interface FindingLine {
  readonly event: string;
  readonly id?: string;
  readonly evidence?: readonly { readonly where: string; readonly found: string }[];
  readonly byHand?: readonly string[];
  readonly commands?: readonly string[];
}

interface Scene {
  readonly host: PlantingHost;
  readonly run: RunInGuest;
  /** `sealttyd doctor --json` in the guest with more options. @returns what it printed. */
  readonly doctor: (...options: readonly string[]) => Promise<string>;
  readonly tell: (what: string) => void;
}

/** Of `sealttyd doctor --json`. */
export const eventsOf = (text: string): FindingLine[] =>
  text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as FindingLine);
/** @returns the ids of what was found. */
export const findingsOf = (events: readonly FindingLine[]): string[] =>
  events.filter(({ event }) => event === "finding").map(({ id = "" }) => id);

let words = 0;
/** One that was nowhere before. */
export const newWord = (id: string): string => `planted-${id}-${++words}-`.replaceAll("-", "x");

/** @returns the ids of what the host has nothing of, which then would prove nothing later. */
async function notUsableByHost({ host, run }: Scene): Promise<string[]> {
  const without = [];
  for (const { id, use } of PLANTED) {
    const has = await use?.(host, run, newWord(id));
    const until = performance.now() + SHOWS_WITHIN;
    let shown = has === undefined || (await has());
    while (!shown && performance.now() < until) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      shown = (await has?.()) === true;
    }
    if (!shown) without.push(id);
  }
  return without;
}

/** @returns the ids of what the host still gets something of. */
async function hostStillHas({ host, run }: Scene): Promise<string[]> {
  const used = [];
  for (const { id, use } of PLANTED) used.push({ id, has: await use?.(host, run, newWord(id)) });
  await run(`sleep ${QUIET_FOR}`);
  const had = await Promise.all(used.map(async ({ id, has }) => ((await has?.()) === true ? [id] : [])));
  return had.flat();
}

export async function closesWhatItFinds(scene: Scene): Promise<void> {
  const { run, tell, doctor } = scene;
  for (const { plant } of PLANTED) if (plant !== undefined) await run(`${plant}; true`);
  tell("planted");
  expect(await notUsableByHost(scene)).toEqual([]);
  tell("the host makes use of it");
  expect(findingsOf(eventsOf(await doctor()))).toEqual(expect.arrayContaining(PLANTED.map(({ id }) => id)));
  tell("found");
  const fixed = eventsOf(await doctor("--fix"));
  const after = fixed.flatMap(({ event, commands = [] }) => (event === "after" ? commands : []));
  for (const command of after.filter((each) => !NEXT_BOOT.test(each))) await run(command);
  tell("mended");
  const left = eventsOf(await doctor());
  const byHand = left.flatMap((line) => line.byHand ?? []).filter((command) => COMMAND.test(command));
  for (const command of [...byHand, ...PLANTED.flatMap((each) => each.byHand ?? [])]) await run(command);
  const stay = PLANTED.filter(({ stays }) => stays).map(({ id }) => id);
  const planted = new Set(PLANTED.map(({ id }) => id));
  expect(
    findingsOf(eventsOf(await doctor()))
      .filter((id) => planted.has(id))
      .toSorted(),
  ).toEqual(stay.toSorted());
  tell("found no more");
  expect(await hostStillHas(scene)).toEqual([]);
  tell("and the host has nothing of it");
}
