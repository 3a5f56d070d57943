// The configuration that a setup writes: which console and evidence, and its text; an owner's own stays.

import { DEFAULT_CONFIG_FILE, type ServerConfig, parseServerConfig } from "../config.ts";
import type { EvidenceConfig } from "../config/evidence.ts";
import type { PipeConfig } from "../config/pipe.ts";
import { escapeText } from "../log.ts";
import {
  EVIDENCE_TYPES,
  type Machine,
  type RealEvidence,
  SetupRefused,
  USUAL_PORT,
  findEvidence,
  findPort,
  wordsOf,
} from "./choose.ts";
import { EARLY_CONFIG_FILE, KEYS_FILE } from "./places.ts";
import type { SetupRecord, Tree } from "./tree.ts";
import type { SetupSurroundings, SetupWishes } from "./wishes.ts";

const LOGIN = "/bin/login";
const CLOUD_INIT = "/usr/bin/cloud-init";

export interface Configuration {
  readonly text: string | undefined;
  /** Of the initramfs; undefined: none is wished for, or the owner's stays. */
  readonly early: string | undefined;
  readonly words: readonly string[];
}

/** For the system and its initramfs. @returns no text where an owner's file stays. @throws SetupRefused. */
export async function configuration(
  wishes: SetupWishes,
  around: SetupSurroundings,
  tree: Tree,
  before: SetupRecord,
): Promise<Configuration> {
  const there = readOrAbsent(tree, DEFAULT_CONFIG_FILE);
  if (there !== undefined && !isOfSetup(DEFAULT_CONFIG_FILE, tree, before)) {
    if (wishes.evidence !== undefined || wishes.pipe !== undefined)
      throw new SetupRefused(
        `${DEFAULT_CONFIG_FILE} is yours: it is not overwritten. Leave out --evidence, --port, --tty and --screen and change it there, or move it away and set up again.`,
      );
    let own: ServerConfig;
    try {
      own = parseServerConfig(there, DEFAULT_CONFIG_FILE);
    } catch (cause) {
      throw new SetupRefused(
        `${cause instanceof Error ? cause.message : "unknown error"} It is yours, and is not overwritten.`,
        { cause },
      );
    }
    if (wishes.provision && own.provision === undefined)
      throw new SetupRefused(
        `${DEFAULT_CONFIG_FILE} is yours, and has no [provision]: add it, with users = ["…"], so that a seed is taken from somebody`,
      );
    const { early, words } = earlyConfiguration(wishes, tree, before, own.pipe, own.evidence.type);
    return { text: undefined, early, words: [`kept: ${DEFAULT_CONFIG_FILE} is yours`, ...words] };
  }
  const { here } = wishes;
  if (!here && wishes.evidence === undefined)
    throw new SetupRefused(
      `For another machine's files say what evidence it will have: --evidence TYPE, one of ${EVIDENCE_TYPES.join(", ")}`,
    );
  const pipe =
    wishes.pipe ??
    pipeBefore(there, here ? around.machine : undefined) ??
    (here ? findPort(around.machine) : USUAL_PIPE);
  const evidence = wishes.evidence ?? (await findEvidence(around.machine));
  const login = tree.has(LOGIN) ? LOGIN : undefined;
  const forEarly = earlyConfiguration(wishes, tree, before, pipe, evidence);
  return {
    text: configurationText(pipe, evidence, login, wishes.provision),
    early: forEarly.early,
    words: [
      `evidence: "${evidence}": ${wordsOf(evidence)}`,
      `console: ${pipeWords(pipe)}`,
      ...(login === undefined ? [] : [`without a key: the login prompt of ${login}`]),
      ...(wishes.provision
        ? ["first boot: waits for sealtty provision, by root's keys; cloud-init takes no other seed"]
        : []),
      `with a key: root, by the keys of ${KEYS_FILE}${tree.has(KEYS_FILE) ? "" : ", which is not there yet"}`,
      ...forEarly.words,
      ...(wishes.provision && !tree.has(CLOUD_INIT)
        ? [`there is no ${CLOUD_INIT}: install cloud-init, or nothing does what is in the seed`]
        : []),
    ],
  };
}

/** @throws SetupRefused where the owner's own pipe or evidence cannot be had so early. */
function earlyConfiguration(
  wishes: SetupWishes,
  tree: Tree,
  before: SetupRecord,
  pipe: PipeConfig,
  evidence: EvidenceConfig["type"],
): Pick<Configuration, "early" | "words"> {
  if (!wishes.early) return { early: undefined, words: [] };
  const there = readOrAbsent(tree, EARLY_CONFIG_FILE);
  if (there !== undefined && !isOfSetup(EARLY_CONFIG_FILE, tree, before))
    return { early: undefined, words: [`kept: ${EARLY_CONFIG_FILE} is yours`] };
  if (pipe.type === "framebuffer")
    throw new SetupRefused(
      `An initramfs cannot use the machine's screen: leave out --initramfs, or write ${EARLY_CONFIG_FILE} yourself, with another pipe`,
    );
  if (evidence === "simulated" || pipe.type === "unix")
    throw new SetupRefused(
      `${DEFAULT_CONFIG_FILE} has simulated evidence or a unix socket, which no initramfs has: write ${EARLY_CONFIG_FILE} yourself, with another pipe and evidence`,
    );
  return {
    early: `${configurationText(pipe, evidence, undefined)}shell = ["/bin/sh", "-l"]\n\n[unlock]\nusers = ["root"]\n`,
    words: [
      "in the initramfs: the same console, for root by the same keys, to unlock disks and for a shell",
      ...(tree.has(KEYS_FILE)
        ? ["the next update-initramfs -u puts it in, after each change of keys as well"]
        : [
            `update-initramfs FAILS until ${KEYS_FILE} is there; it puts both in, after each change of keys as well`,
          ]),
    ],
  };
}

/**
 * What an earlier setup was told, or found: who adds --recovery means no other console. @param there - its own file.
 * @param here - the machine, where it is this one: a port that it has no more is looked for anew.
 */
function pipeBefore(there: string | undefined, here: Machine | undefined): PipeConfig | undefined {
  if (there === undefined) return undefined;
  let pipe: PipeConfig;
  try {
    ({ pipe } = parseServerConfig(there, DEFAULT_CONFIG_FILE));
  } catch {
    return undefined; // another version's
  }
  const isGone = pipe.type === "virtio" && here !== undefined && !here.ports().includes(pipe.name);
  return isGone ? undefined : pipe;
}

const USUAL_PIPE: PipeConfig = { type: "virtio", name: USUAL_PORT };

export function isOfSetup(file: string, tree: Tree, { made }: SetupRecord): boolean {
  return made.some((each) => each.kind === "file" && each.path === file && tree.isAsMade(each));
}

/** @throws SetupRefused for a link that leads nowhere: writing would put something in its place. */
export function readOrAbsent(tree: Tree, file: string): string | undefined {
  const text = tree.read(file);
  if (text === undefined && tree.has(file))
    throw new SetupRefused(`${file} is a link that leads nowhere in ${escapeText(tree.root)}`);
  return text;
}

/**
 * Keys come from a file of this machine's that only root writes, never from where a host can have put some by cloud-init,
 * such as /root/.ssh.
 */
export function configurationText(
  pipe: PipeConfig,
  evidence: RealEvidence,
  login: string | undefined,
  provision = false,
): string {
  const lines = [
    "# Written by `sealttyd setup`. `sealttyd setup --remove` takes it away, and leaves it once somebody changed it.",
    "# sealttyd.toml(5) has every key that can stand here.",
    "",
    "[pipe]",
    `type = "${pipe.type}"`,
    ...pipeLines(pipe),
    "",
    "[evidence]",
    `type = "${evidence}"`,
    "",
    "[users]",
    `authorized_keys = "${KEYS_FILE}"`,
    'names = ["root"]',
    ...(login === undefined ? [] : [`login = ["${login}"]`]),
    ...(provision ? ["", "[provision]", 'users = ["root"]'] : []),
  ];
  return `${lines.join("\n")}\n`;
}

function pipeWords(pipe: PipeConfig): string {
  switch (pipe.type) {
    case "virtio":
      return `virtio port "${escapeText(pipe.name)}"`;
    case "tty":
      return `${escapeText(pipe.device)}${pipe.armourOnly ? ", in printable lines" : ""}`;
    case "unix":
      return escapeText(pipe.path);
    case "framebuffer":
      return "the machine's screen and keys, by the host's VNC; whatever else listens there hears the host: sealttyd doctor says what does";
  }
}

function pipeLines(pipe: PipeConfig): string[] {
  // A JSON string is a TOML string.
  switch (pipe.type) {
    case "virtio":
      return [`name = ${JSON.stringify(pipe.name)}`];
    case "tty":
      return [`device = ${JSON.stringify(pipe.device)}`, ...(pipe.armourOnly ? ["armour_only = true"] : [])];
    case "unix":
      return [`path = ${JSON.stringify(pipe.path)}`];
    case "framebuffer":
      return []; // the first screen and the best input: what a boot has may differ
  }
}
