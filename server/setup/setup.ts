// `sealttyd setup`: a configuration for what is there, and the unit enabled; `--remove` takes exactly that back.
// docs/install.md; docs/decisions/0023-packages.md says why it enables units by itself.

import path from "node:path";
import { DEFAULT_CONFIG_FILE, parseServerConfig } from "../config.ts";
import { escapeText } from "../log.ts";
import { CLOUD_INIT_FILES, DISABLED, DISABLED_FILE, WAIT_UNIT } from "../provision/cloud-init.ts";
import { rootOption } from "../rooted-path.ts";
import { accountIn } from "../sessions/account.ts";
import { SetupRefused } from "./choose.ts";
import { configuration, isOfSetup, readOrAbsent } from "./configuration.ts";
import { DRACUT_MASK, forDracut } from "./dracut.ts";
import { EARLY_CONFIG_FILE } from "./places.ts";
import { RECOVERY_FILES, recoveryWords, requireRecoveryUnit } from "./recovery.ts";
import { type Change, NOTHING_DONE, type SetupRecord, Tree } from "./tree.ts";
import type { SetupSurroundings, SetupWishes } from "./wishes.ts";

/** It failed on the way: what was done by then is recorded. */
export class SetupFailed extends Error {
  override readonly name = "SetupFailed";
  /** A line each. */
  readonly said: readonly string[];

  constructor(said: readonly string[], message: string, options?: ErrorOptions) {
    super(message, options);
    this.said = said;
  }
}

const UNIT = "sealttyd.service";
const OWN_UNITS = "/etc/systemd/system";
const UNIT_DIRECTORIES = [
  OWN_UNITS,
  "/usr/local/lib/systemd/system",
  "/usr/lib/systemd/system",
  "/lib/systemd/system",
];
const SYSUSERS = "/usr/lib/sysusers.d/sealttyd.conf";
const FRONT_USER = "sealtty";

/** @returns what was done, a line each. @throws SetupRefused: then nothing was. SetupFailed: then not all was. */
export async function setUp(wishes: SetupWishes, around: SetupSurroundings): Promise<string[]> {
  const tree = new Tree(wishes.root);
  const { here } = wishes;
  requireRights(wishes, around);
  const before = tree.record() ?? NOTHING_DONE;
  const unit = findUnit(tree);
  requireFrontUser(tree, here);
  const provision = wishes.provision || before.made.some((each) => each.path === PROVISION_LINK);
  const { text, early, words: made } = await configuration({ ...wishes, provision }, around, tree, before);
  const words = [...made];
  const changes: Change[] = provision ? provisionChanges(tree, before) : [];
  if (wishes.early) {
    const dracut = forDracut(tree);
    changes.push(...dracut.changes);
    words.push(...dracut.words);
  }
  if (wishes.recovery) {
    requireRecoveryUnit(unit);
    changes.push(...fileChanges(tree, before, RECOVERY_FILES, "takes recovery off the host's consoles"));
    const own = text ?? tree.read(DEFAULT_CONFIG_FILE) ?? "";
    const config = parseServerConfig(own, DEFAULT_CONFIG_FILE);
    words.push(...recoveryWords(config, (file) => tree.read(file), Date.now()));
  }
  if (text !== undefined && tree.read(DEFAULT_CONFIG_FILE) !== text)
    changes.push({ kind: "file", path: DEFAULT_CONFIG_FILE, text });
  if (early !== undefined && tree.read(EARLY_CONFIG_FILE) !== early)
    changes.push({ kind: "file", path: EARLY_CONFIG_FILE, text: early });
  for (const target of unit.wantedBy) {
    const link = `${OWN_UNITS}/${target}.wants/${UNIT}`;
    if (!tree.has(link)) changes.push({ kind: "link", path: link, target: unit.file });
  }
  const systemctl = here ? around.systemctl : undefined;
  const running = systemctl !== undefined && (await systemctl("is-active", "--quiet", UNIT));
  const starts = systemctl !== undefined && !running;
  if (changes.length > 0) tree.requirePlaces(changes);
  const would = wishes.dryRun ? "would have " : "";
  const disabled = provision ? readOrAbsent(tree, DISABLED_FILE) : undefined;
  const isOurs = disabled === DISABLED;
  const said = changes.map((change) =>
    change.kind === "file"
      ? `${would}written: ${change.path}`
      : `${would}linked: ${change.path} -> ${change.target}`,
  );
  if (isOurs) said.push(`${would}removed: ${DISABLED_FILE}, which an earlier --remove left`);
  else if (disabled !== undefined)
    said.push(`${DISABLED_FILE} is yours: while it is there cloud-init does not run, with a seed or without`);
  said.push(...words);
  if (changes.length === 0 && !isOurs) said.push("already set up: no file is changed");
  if (running && changes.some((change) => change.path === DEFAULT_CONFIG_FILE))
    said.push(
      `${UNIT} runs on with its former configuration: systemctl restart ${UNIT} ends its sessions and starts it anew`,
    );
  if (here && systemctl === undefined) said.push("systemd does not run here: it starts with the next boot");
  const started = `${would}started: ${UNIT}`;
  if (wishes.dryRun) return starts ? [...said, started] : said;
  if (changes.length > 0 || starts) tree.apply(changes, before, before.started || starts);
  if (isOurs) tree.remove(DISABLED_FILE); // only now that all is there which keeps cloud-init to the seed
  if (here)
    for (const what of await around.missing(DEFAULT_CONFIG_FILE)) said.push(`on this machine, now: ${what}`);
  if (!starts) {
    // The next change to rescue mode may be before the next boot, and what dracut does at the machine's stop is.
    if (changes.some(({ path: file }) => RECOVERY_FILES.has(file) || file === DRACUT_MASK))
      await systemctl?.("daemon-reload");
    return said;
  }
  await systemctl("daemon-reload");
  if (!(await systemctl("start", UNIT)))
    throw new SetupFailed(said, `systemctl start ${UNIT} failed: systemctl status ${UNIT} says why`);
  return [...said, started];
}

const PROVISION_LINK = `${OWN_UNITS}/sysinit.target.wants/${WAIT_UNIT}`;

/** @throws SetupRefused. */
function provisionChanges(tree: Tree, before: SetupRecord): Change[] {
  const unit = UNIT_DIRECTORIES.map((directory) => path.join(directory, WAIT_UNIT)).find((file) =>
    tree.has(file),
  );
  if (unit === undefined)
    throw new SetupRefused(
      `There is no ${WAIT_UNIT}: install the package, or packaging/systemd/${WAIT_UNIT}`,
    );
  const changes = fileChanges(tree, before, CLOUD_INIT_FILES, "keeps cloud-init to your seed");
  if (!tree.has(PROVISION_LINK)) changes.push({ kind: "link", path: PROVISION_LINK, target: unit });
  return changes;
}

/** @param what - they do. @throws SetupRefused where somebody else's file would be written over. */
function fileChanges(
  tree: Tree,
  before: SetupRecord,
  files: ReadonlyMap<string, string>,
  what: string,
): Change[] {
  const changes: Change[] = [];
  for (const [file, text] of files) {
    const there = readOrAbsent(tree, file);
    if (there === text) continue;
    if (there !== undefined && !isOfSetup(file, tree, before))
      throw new SetupRefused(`${file} is yours, and says something else than what ${what}`);
    changes.push({ kind: "file", path: file, text });
  }
  return changes;
}

export interface TakenAway {
  readonly said: readonly string[];
  /** Something was edited since, and is left. */
  readonly left: boolean;
}

/** @throws SetupRefused: then nothing was taken away. */
export async function takeAway(
  wishes: Pick<SetupWishes, "root" | "here" | "dryRun">,
  around: Pick<SetupSurroundings, "systemctl" | "isRoot">,
): Promise<TakenAway> {
  const tree = new Tree(wishes.root);
  const record = tree.record();
  if (record === undefined) return { said: ["nothing to undo: it was so already"], left: false };
  requireRights(wishes, around);
  const systemctl = wishes.here ? around.systemctl : undefined;
  const would = wishes.dryRun ? "would have " : "";
  const said: string[] = [];
  const keptToSeed = record.made.some(
    ({ path: file }) => file === PROVISION_LINK || CLOUD_INIT_FILES.has(file),
  );
  if (keptToSeed) said.push(...disableCloudInit(tree, wishes.dryRun));
  if (record.started && systemctl !== undefined) {
    said.push(`${would}stopped: ${UNIT}`);
    if (!wishes.dryRun) await systemctl("stop", UNIT); // one that does not run is as good
  }
  const { removed, stays } = tree.takeBack(record, wishes.dryRun);
  if (!wishes.dryRun && systemctl !== undefined) await systemctl("daemon-reload");
  said.push(
    ...removed.map((file) => `${would}removed: ${file}`),
    ...stays.map((file) => `left as it is, because it was changed since: ${file}`),
  );
  return { said, left: stays.length > 0 };
}

/**
 * The next boot's cloud-init would take the host's user-data as root: what keeps it from that is there before what kept it
 * from it until now goes. @returns what is done, a line each. @throws SetupRefused where something else is in its place.
 */
function disableCloudInit(tree: Tree, dryRun: boolean): string[] {
  const there = readOrAbsent(tree, DISABLED_FILE);
  if (there !== undefined) return [`left as it is: ${DISABLED_FILE}, and so cloud-init stays off`];
  if (!dryRun) tree.leaveBehind(DISABLED_FILE, DISABLED);
  return [
    `${dryRun ? "would have " : ""}written: ${DISABLED_FILE}: cloud-init stays off, which would take what the host offers and run it as root`,
    `to have cloud-init again, in spite of that: delete ${DISABLED_FILE}`,
  ];
}

/** @throws SetupRefused. */
function requireRights(
  { here, dryRun }: Pick<SetupWishes, "here" | "dryRun">,
  { isRoot }: Pick<SetupSurroundings, "isRoot">,
): void {
  if (here && !dryRun && !isRoot)
    throw new SetupRefused("Only root may change this machine's files: run it as root");
}

interface Unit {
  readonly file: string;
  readonly wantedBy: readonly string[];
}

/** @throws SetupRefused. */
function findUnit(tree: Tree): Unit {
  for (const directory of UNIT_DIRECTORIES) {
    const file = path.join(directory, UNIT);
    if (!tree.has(file)) continue;
    const text = tree.leadsTo(file, "/dev/null") ? "" : tree.read(file);
    if (text === undefined)
      throw new SetupRefused(`${file} is a link that leads nowhere in ${escapeText(tree.root)}`);
    if (text === "")
      throw new SetupRefused(`${UNIT} is masked: systemctl unmask ${UNIT} first, if it is to run here`);
    const wantedBy = [...text.matchAll(/^WantedBy=(.*)$/gm)]
      .flatMap(([, names = ""]) => names.split(/\s+/))
      .filter((name) => /^[\w@:-][\w@:.-]*\.target$/.test(name));
    if (wantedBy.length === 0)
      throw new SetupRefused(`${file} says in no line WantedBy= when it is to start: nothing to enable`);
    return { file, wantedBy };
  }
  throw new SetupRefused(
    `There is no ${UNIT} in ${UNIT_DIRECTORIES.join(", ")}: install the package, or packaging/systemd/${UNIT}`,
  );
}

/** @throws SetupRefused: sealttyd would not start. */
function requireFrontUser(tree: Tree, here: boolean): void {
  if (accountIn(tree.read("/etc/passwd") ?? "", FRONT_USER) !== undefined) return;
  if (!here && tree.has(SYSUSERS)) return; // systemd makes it when the image boots
  const root = here ? "" : `${rootOption(tree.root)} `;
  throw new SetupRefused(
    `The user ${FRONT_USER} is missing. sealttyd's process without rights, which talks to the host, runs as it. Make it: ` +
      `systemd-sysusers ${root}${path.basename(SYSUSERS)}, or useradd ${root}--system --shell /usr/sbin/nologin ${FRONT_USER}`,
  );
}
