// sealttyd's own state: whether the owner has a way in at all, and how far it can be believed.

import { SealttyError } from "../../../protocol/errors.ts";
import { DEFAULT_CONFIG_FILE, type ServerConfig, parseServerConfig } from "../../config.ts";
import { type Check, type Evidence, found } from "../check.ts";
import { rootOption } from "../../rooted-path.ts";
import type { System } from "../system.ts";

const SERVICE = "sealttyd.service";

/** @returns undefined where there is none; the error's own words where it is wrong. */
function configOf(system: System): ServerConfig | string | undefined {
  const text = system.read(DEFAULT_CONFIG_FILE);
  if (text === undefined) return undefined;
  try {
    return parseServerConfig(text, DEFAULT_CONFIG_FILE);
  } catch (error) {
    if (error instanceof SealttyError) return error.message;
    throw error;
  }
}

/** What a check says of a configuration that is right; of others `sealttyd-config` does. */
function ofConfig(say: (config: ServerConfig) => Evidence | undefined): (system: System) => Evidence[] {
  return (system) => {
    const config = configOf(system);
    const evidence = typeof config === "object" ? say(config) : undefined;
    return evidence === undefined ? [] : [evidence];
  };
}

/** Whether the owner can still get in once consoles are closed: in general, or in rescue and emergency mode, too. */
export function hasWayIn(system: System, where: "console" | "recovery"): boolean {
  if (typeof configOf(system) !== "object" || !system.units.startable(SERVICE)) return false;
  if (where === "console") return system.units.wanted(SERVICE).length > 0;
  return ["rescue.target", "emergency.target"].every(
    (target) => system.units.wanted(SERVICE, target).length > 0,
  );
}

/** Writes the configuration and enables the service. Nobody can ask an image what will vouch for it. */
function setupFor({ tree: { root } }: System): string {
  return root === "/" ? "sealttyd setup" : `sealttyd setup ${rootOption(root)} --evidence TYPE`;
}

const off: Check = {
  id: "sealttyd-off",
  severity: "medium",
  title: "No encrypted console is started",
  why: "The only consoles of this machine are then those that the host reads.",
  repair: "hand",
  look(system) {
    const evidence: Evidence[] = [];
    const isConfigured = system.exists(DEFAULT_CONFIG_FILE);
    const isInstalled = system.units.startable(SERVICE);
    if (!isConfigured) evidence.push({ where: DEFAULT_CONFIG_FILE, found: "is not there" });
    if (!isInstalled) evidence.push({ where: SERVICE, found: "is not there, or masked" });
    else if (system.units.wanted(SERVICE).length === 0)
      evidence.push({ where: SERVICE, found: "nothing wants it" });
    return found(evidence, {
      words: "Install and enable it.",
      byHand: isConfigured ? ["sealttyd --check", `systemctl enable ${SERVICE}`] : [setupFor(system)],
    });
  },
};

const wrong: Check = {
  id: "sealttyd-config",
  severity: "high",
  title: "sealttyd's configuration is not right",
  why: "It does not start, and the host's consoles are what is left.",
  repair: "hand",
  look(system) {
    const config = configOf(system);
    return found(typeof config === "string" ? [{ where: DEFAULT_CONFIG_FILE, found: config }] : [], {
      words: "Mend it.",
      byHand: ["sealttyd --check"],
    });
  },
};

const simulated: Check = {
  id: "sealttyd-simulated",
  severity: "critical",
  title: "sealttyd shows simulated evidence",
  why: "It proves nothing: whoever answers on the pipe may show the same.",
  repair: "hand",
  look: (system) =>
    found(
      ofConfig(({ evidence }) =>
        evidence.type === "simulated"
          ? { where: DEFAULT_CONFIG_FILE, found: '[evidence] type = "simulated"' }
          : undefined,
      )(system),
      {
        words: "Use evidence of the machine's hardware.",
        byHand: ['[evidence] type = "sev-snp", "tdx", "azure" or "tpm"'],
      },
    ),
};

const oneProcess: Check = {
  id: "sealttyd-one-process",
  severity: "medium",
  title: "The process that parses the host's bytes has all rights",
  why: "A mistake in it is the host's way to root. In two halves the one that reads them has none.",
  repair: "hand",
  look: (system) =>
    found(
      ofConfig(({ daemon }) =>
        daemon.user === "root" ? { where: DEFAULT_CONFIG_FILE, found: '[daemon] user = "root"' } : undefined,
      )(system),
      {
        words: "Give it a user of its own.",
        byHand: ["useradd --system --shell /usr/sbin/nologin sealtty", 'take user = "root" out of [daemon]'],
      },
    ),
};

const anybody: Check = {
  id: "sealttyd-any-user",
  severity: "high",
  title: "Each key of one file is good for every user, root among them",
  why: "Who has a line for any account has it for root.",
  repair: "hand",
  look: (system) =>
    found(
      ofConfig(({ users: { authorizedKeys, names } }) =>
        names === "any" && authorizedKeys?.includes("%u") === false
          ? { where: DEFAULT_CONFIG_FILE, found: '[users] names = ["*"]' }
          : undefined,
      )(system),
      {
        words: "Name the users, or give each a file.",
        byHand: ['[users] authorized_keys = "/etc/sealtty/keys/%u"'],
      },
    ),
};

const onConsole: Check = {
  id: "sealttyd-kernel-console",
  severity: "medium",
  title: "sealttyd shares its line with the kernel",
  why: "armour_only is for a device that is the kernel's console: messages are mixed in, and SysRq is read from it.",
  repair: "hand",
  look: (system) =>
    found(
      ofConfig(({ pipe }) =>
        pipe.type === "tty" && pipe.armourOnly
          ? { where: DEFAULT_CONFIG_FILE, found: `[pipe] device = "${pipe.device}", armour_only = true` }
          : undefined,
      )(system),
      {
        words: "Use a virtio port, or a line that is no console.",
        byHand: ['[pipe] type = "virtio", name = "sealtty.0"'],
      },
    ),
};

const OTHERS_WRITE = 0o022;
const STICKY = 0o1000;

const files: Check = {
  id: "sealttyd-files",
  severity: "critical",
  title: "Others than root may change who logs in",
  why: "Whoever writes sealttyd's configuration, the keys, a directory above them or a link on the way decides who is let in.",
  repair: "part",
  look(system) {
    const config = configOf(system);
    const keys = typeof config === "object" ? config.users.authorizedKeys : undefined;
    const instanceKey = typeof config === "object" ? config.instance.key : undefined;
    const named = [DEFAULT_CONFIG_FILE, keys?.replace(/\/[^/]*%u.*$/, ""), instanceKey].filter(
      (file) => file !== undefined,
    );
    const places = new Set(named.flatMap((file) => system.tree.wayTo(file)));
    const open: { where: string; found: string; mode: number }[] = [];
    const foreign: { where: string; found: string }[] = [];
    for (const where of places) {
      const facts = system.tree.facts(where, false);
      if (facts === undefined) continue;
      const shared = facts.kind === "directory" && (facts.mode & STICKY) !== 0;
      // A link has no permissions; whose it is counts, since where others may write too (/tmp) its owner can change it.
      if ((facts.mode & OTHERS_WRITE) !== 0 && !shared && facts.kind !== "link")
        open.push({ where, found: `mode ${facts.mode.toString(8).padStart(4, "0")}`, mode: facts.mode });
      // An image may be made without root: then its files are its maker's until it is packed.
      if (facts.uid !== 0 && facts.uid !== process.geteuid?.())
        foreign.push({
          where,
          found: `${facts.kind === "link" ? "a link, " : ""}belongs to user ${facts.uid}`,
        });
    }
    return found(
      [...open, ...foreign].map(({ where, found }) => ({ where, found })),
      {
        words: "Root's own, and nobody else's to write.",
        edits: open.map(({ where, mode }) => ({ kind: "mode", path: where, mode: mode & ~OTHERS_WRITE })),
        byHand: foreign.length > 0 ? ["chown -h root: each of these"] : [],
      },
    );
  },
};

export const ownChecks: readonly Check[] = [simulated, files, wrong, anybody, off, oneProcess, onConsole];
