// `sealttyd setup` in temporary trees: what it writes, what it refuses, and that --remove leaves what was there before.

import { execFileSync, spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import * as fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { DEFAULT_CONFIG_FILE, parseServerConfig } from "../../server/config.ts";
import {
  type Machine,
  type RealEvidence,
  SetupRefused,
  findEvidence,
  findPort,
} from "../../server/setup/choose.ts";
import { CHECKS } from "../../server/doctor/checks.ts";
import { System } from "../../server/doctor/system.ts";
import { concat, lv32, utf8 } from "../../protocol/bytes.ts";
import { Tree as DoctorsTree } from "../../server/doctor/tree.ts";
import { CLOUD_INIT_FILES, DISABLED } from "../../server/provision/cloud-init.ts";
import type { PipeConfig } from "../../server/config/pipe.ts";
import { EARLY_CONFIG_FILE, RECORD_FILE } from "../../server/setup/places.ts";
import { RECOVERY_FILES } from "../../server/setup/recovery.ts";
import { configurationText } from "../../server/setup/configuration.ts";
import { SetupFailed, setUp, takeAway } from "../../server/setup/setup.ts";
import type { SetupSurroundings, SetupWishes } from "../../server/setup/wishes.ts";
import { treeOf, writeTree } from "../support/tree.ts";

const project = path.resolve(import.meta.dirname, "../..");
const UNIT = fs.readFileSync(path.join(project, "packaging/systemd/sealttyd.service"), "utf8");
const LINKS = ["sysinit", "rescue", "emergency"].map(
  (target) => `/etc/systemd/system/${target}.target.wants/sealttyd.service`,
);
const BARE = {
  "usr/lib/systemd/system/sealttyd.service": UNIT,
  "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nsealtty:x:990:990::/:/usr/sbin/nologin\n",
  "bin/login": "",
};

let root: string;
beforeEach(() => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), "sealtty-setup-"));
});
afterEach(() => fs.rmSync(root, { recursive: true }));

const at = (file: string): string => path.join(root, file);
const read = (file: string): string => fs.readFileSync(at(file), "utf8");

function machine(
  devices: Readonly<Record<string, readonly RealEvidence[]>>,
  ports: readonly string[] = ["sealtty.0"],
) {
  const asked: string[] = [];
  const made: Machine = {
    exists: (device) => device in devices,
    ports: () => ports,
    async probe(type) {
      asked.push(type);
      if (!Object.values(devices).some((types) => types.includes(type)))
        throw new Error(`no ${type}\u001b[2J`);
    },
  };
  return { ...made, asked };
}

const NOTHING_TO_UNDO = { said: ["nothing to undo: it was so already"], left: false };
const SCREEN = { type: "framebuffer", screen: undefined, input: undefined } as const;
const SNP = { "/dev/sev-guest": ["sev-snp"], "/dev/tpmrm0": ["tpm"] } as const;

function wishes(more: Partial<SetupWishes> = {}): SetupWishes {
  return {
    root,
    here: true,
    evidence: undefined,
    pipe: undefined,
    provision: false,
    recovery: false,
    dryRun: false,
    early: false,
    ...more,
  };
}

function surroundings(of: Machine = machine(SNP), active = false) {
  const calls: string[] = [];
  let running = active;
  const around: SetupSurroundings = {
    machine: of,
    isRoot: true,
    async systemctl(...args) {
      calls.push(args.join(" "));
      if (args[0] === "is-active") return running;
      if (args[0] === "start") running = true;
      if (args[0] === "stop") running = false;
      return true;
    },
    missing: async () => ["there is no coffee"],
  };
  return { around, calls };
}

async function refusalOf(work: Promise<unknown>): Promise<string> {
  const before = treeOf(root);
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(SetupRefused);
  expect(treeOf(root)).toEqual(before);
  return (error as SetupRefused).message;
}

describe("what is found", () => {
  test.each<[string, Readonly<Record<string, readonly RealEvidence[]>>, RealEvidence, readonly string[]]>([
    ["SEV-SNP before the TPM beside it", SNP, "sev-snp", ["sev-snp"]],
    ["TDX", { "/dev/tdx_guest": ["tdx"] }, "tdx", ["tdx"]],
    ["Azure's report in the TPM", { "/dev/tpmrm0": ["azure", "tpm"] }, "azure", ["azure"]],
    ["a TPM", { "/dev/tpmrm0": ["tpm"] }, "tpm", ["azure", "tpm"]],
  ])("%s", async (_, devices, type, asked) => {
    const found = machine(devices);
    expect(await findEvidence(found)).toBe(type);
    expect(found.asked).toEqual(asked);
  });

  test("a processor that does not answer is not passed over for a TPM that does", async () => {
    const found = machine({ "/dev/sev-guest": [], "/dev/tpmrm0": ["tpm"] });
    const message = await refusalOf(findEvidence(found));
    expect(message).toContain(
      '/dev/sev-guest is there, but no evidence of type "sev-snp" can be had: no sev-snp\\x1b[2J.',
    );
    expect(found.asked).toEqual(["sev-snp"]);
  });

  test("nothing", async () => {
    expect(await refusalOf(findEvidence(machine({})))).toMatch(
      /nothing to prove .*\/dev\/sev-guest.*--evidence/,
    );
  });

  test.each([
    [["org.qemu.guest_agent.0", "sealtty.0", "sealtty.1"], "sealtty.0"],
    [["sealtty-console"], "sealtty-console"],
    [["other", "sealtty"], "sealtty"],
  ])("of the ports %j it is %s", (ports, name) => {
    expect(findPort(machine({}, ports))).toEqual({ type: "virtio", name });
  });

  test.each([
    [[], /\(in \/sys\/class\/virtio-ports: none\)\. Have the host add -device virtserialport.*--port.*--tty/],
    [["org.qemu.guest_agent.0", "sealttyish\n"], /"org.qemu.guest_agent.0", "sealttyish\\x0a"/],
    [["sealtty.1", "sealtty.2"], /several.*"sealtty.1", "sealtty.2".*--port/],
  ])("of the ports %j none is taken", async (ports, message) => {
    expect(await refusalOf((async () => findPort(machine({}, ports)))())).toMatch(message);
  });
});

describe("what is written", () => {
  test("is what sealttyd takes, whatever the port is called", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", minLength: 1, maxLength: 40 }), (name) => {
        const text = configurationText({ type: "virtio", name }, "tdx", "/bin/login");
        let config: ReturnType<typeof parseServerConfig>;
        try {
          config = parseServerConfig(text, "made");
        } catch {
          expect(name).toMatch(/\p{Cc}/u); // refused, as in a file of an owner's
          return;
        }
        expect(config.pipe).toEqual({ type: "virtio", name });
        expect(config.evidence.type).toBe("tdx");
        expect(config.users).toMatchObject({
          authorizedKeys: "/etc/sealtty/authorized_keys",
          names: ["root"],
          login: ["/bin/login"],
        });
      }),
    );
  });

  test("is read back for a terminal device, and without a login program", () => {
    const text = configurationText({ type: "tty", device: "/dev/hvc0", armourOnly: true }, "tpm", undefined);
    const { pipe, users } = parseServerConfig(text, "made");
    expect(pipe).toEqual({ type: "tty", device: "/dev/hvc0", armourOnly: true });
    expect(users.login).toBeUndefined();
  });
});

describe("set up and taken back", () => {
  const configuration = (type: RealEvidence): string =>
    configurationText({ type: "virtio", name: "sealtty.0" }, type, "/bin/login");

  test.each<[string, Readonly<Record<string, string>>, readonly string[]]>([
    ["a bare machine", {}, []],
    [
      "keys, and units of others' that are enabled",
      {
        "etc/sealtty/authorized_keys": "ssh-ed25519 AAAA me\n",
        "etc/systemd/system/sysinit.target.wants/other.service": "",
        "var/lib/dpkg/status": "",
      },
      [],
    ],
    ["a unit that its owner enabled in part", {}, [LINKS[0] ?? ""]],
  ])("%s: the tree is what it was", async (_, files, enabled) => {
    writeTree(root, { ...BARE, ...files });
    for (const link of enabled) {
      fs.mkdirSync(path.dirname(at(link)), { recursive: true });
      fs.symlinkSync("/usr/lib/systemd/system/sealttyd.service", at(link));
    }
    const before = treeOf(root);
    const { around, calls } = surroundings();
    const said = await setUp(wishes(), around);
    expect(read(DEFAULT_CONFIG_FILE)).toBe(configuration("sev-snp"));
    expect(fs.statSync(at(DEFAULT_CONFIG_FILE)).mode & 0o777).toBe(0o644);
    for (const link of LINKS)
      expect(fs.readlinkSync(at(link))).toBe("/usr/lib/systemd/system/sealttyd.service");
    expect(said).toContain(`written: ${DEFAULT_CONFIG_FILE}`);
    expect(said.filter((line) => line.startsWith("linked: ")).length).toBe(3 - enabled.length);
    expect(said).toContain("on this machine, now: there is no coffee");
    expect(calls).toEqual(["is-active --quiet sealttyd.service", "daemon-reload", "start sealttyd.service"]);

    calls.length = 0;
    const { said: undone, left } = await takeAway(wishes(), around);
    expect(left).toBe(false);
    expect(undone).toContain(`removed: ${DEFAULT_CONFIG_FILE}`);
    expect(calls).toEqual(["stop sealttyd.service", "daemon-reload"]);
    expect(treeOf(root)).toEqual(before);
  });

  test("a dry run says the same and changes nothing", async () => {
    writeTree(root, BARE);
    const before = treeOf(root);
    const { around, calls } = surroundings();
    const would = await setUp(wishes({ dryRun: true }), around);
    expect(treeOf(root)).toEqual(before);
    expect(calls).toEqual(["is-active --quiet sealttyd.service"]);
    const did = await setUp(wishes(), around);
    expect(would.map((line) => line.replace(/^would have /, ""))).toEqual(
      did.filter((line) => !line.startsWith("on this machine")),
    );
    const set = treeOf(root);
    expect((await takeAway(wishes({ dryRun: true }), around)).said).toContain(
      `would have removed: ${DEFAULT_CONFIG_FILE}`,
    );
    expect(treeOf(root)).toEqual(set);
  });

  test("for an initramfs: a configuration that will do there, and taken back with the rest", async () => {
    writeTree(root, { ...BARE, "etc/sealtty/authorized_keys": "ssh-ed25519 AAAA me\n" });
    const before = treeOf(root);
    const { around } = surroundings();
    const said = await setUp(wishes({ early: true }), around);
    expect(said).toContain(`written: ${EARLY_CONFIG_FILE}`);
    expect(said.join("\n")).toMatch(/update-initramfs -u/);
    const { pipe, evidence, users, unlock } = parseServerConfig(read(EARLY_CONFIG_FILE), "made");
    expect({ pipe, type: evidence.type }).toEqual({
      pipe: { type: "virtio", name: "sealtty.0" },
      type: "sev-snp",
    });
    expect(users).toMatchObject({ login: undefined, names: ["root"], shell: ["/bin/sh", "-l"] });
    expect(unlock).toEqual({ users: ["root"], keys: undefined });
    await takeAway(wishes(), around);
    expect(treeOf(root)).toEqual(before);
  });

  test("for an initramfs, later: beside an owner's configuration, with its pipe; a running service is not asked for", async () => {
    const own = configurationText({ type: "virtio", name: "other" }, "tpm", undefined);
    writeTree(root, { ...BARE, "etc/sealtty/sealttyd.toml": `${own}# mine\n` });
    const said = await setUp(wishes({ early: true }), surroundings(machine(SNP), true).around);
    expect(said).toContain(`kept: ${DEFAULT_CONFIG_FILE} is yours`);
    expect(said.join("\n")).not.toMatch(/former configuration/);
    const { pipe, evidence } = parseServerConfig(read(EARLY_CONFIG_FILE), "made");
    expect({ pipe, type: evidence.type }).toEqual({ pipe: { type: "virtio", name: "other" }, type: "tpm" });
    fs.appendFileSync(at(EARLY_CONFIG_FILE), "# mine, too\n");
    expect(await setUp(wishes({ early: true }), surroundings().around)).toContain(
      `kept: ${EARLY_CONFIG_FILE} is yours`,
    );
  });

  test("for an initramfs of dracut's: what would run /boot's as root at the end is masked, and taken back with the rest", async () => {
    const mask = "etc/systemd/system/dracut-shutdown.service";
    const MODULE = "usr/lib/dracut/modules.d/99sealtty/module-setup.sh";
    const files = { ...BARE, "usr/lib/dracut/dracut-init.sh": "", [MODULE]: "" };
    writeTree(root, files);
    const before = treeOf(root);
    const { around, calls } = surroundings();
    await setUp(wishes(), around);
    calls.length = 0;
    expect(fs.existsSync(at(`/${mask}`))).toBe(false); // no initramfs of ours: none of our business
    const said = (await setUp(wishes({ early: true }), around)).join("\n");
    expect(said).toContain(`linked: /${mask} -> /dev/null`);
    expect(said).toMatch(/dracut --force/);
    expect(said).not.toMatch(/there is no .*99sealtty/);
    expect(fs.readlinkSync(at(`/${mask}`))).toBe("/dev/null");
    // sealttyd runs already: the machine may stop before systemd looks at its units for another reason.
    expect(calls).toEqual(["is-active --quiet sealttyd.service", "daemon-reload"]);
    expect((await setUp(wishes({ early: true }), around)).join("\n")).toContain("already set up");
    expect(calls.slice(2)).toEqual(["is-active --quiet sealttyd.service"]);
    await takeAway(wishes(), around);
    expect(treeOf(root)).toEqual(before);

    fs.rmSync(at(`/${MODULE}`));
    writeTree(root, { [mask]: "[Service]\n" });
    const kept = (await setUp(wishes({ early: true }), around)).join("\n");
    expect(kept).toMatch(/there is no .*99sealtty/);
    expect(kept).toMatch(/dracut-shutdown\.service is yours/);
    expect(read(`/${mask}`)).toBe("[Service]\n");
  });

  test("for an initramfs, with evidence or a console that none has: refused", async () => {
    for (const [pipe, words] of [
      [{ type: "unix", path: "/run/s" }, /which no initramfs has/],
      [SCREEN, /cannot use the machine's screen/],
    ] as const) {
      const own = configurationText(pipe, "tpm", undefined);
      writeTree(root, { ...BARE, "etc/sealtty/sealttyd.toml": own });
      expect(await refusalOf(setUp(wishes({ early: true }), surroundings().around))).toMatch(words);
    }
    writeTree(root, BARE);
    fs.rmSync(at("/etc/sealtty/sealttyd.toml"));
    expect(await refusalOf(setUp(wishes({ early: true, pipe: SCREEN }), surroundings().around))).toMatch(
      /leave out --initramfs/,
    );
  });

  test("twice is as once", async () => {
    writeTree(root, BARE);
    const before = treeOf(root);
    const { around, calls } = surroundings();
    await setUp(wishes(), around);
    const once = treeOf(root);
    calls.length = 0;
    expect(await setUp(wishes(), around)).toContain("already set up: no file is changed");
    expect(treeOf(root)).toEqual(once);
    expect(calls).toEqual(["is-active --quiet sealttyd.service"]);
    await takeAway(wishes(), around);
    expect(treeOf(root)).toEqual(before);
  });

  test.each<[string, PipeConfig]>([
    ["the machine's screen", SCREEN],
    ["a terminal device", { type: "tty", device: "/dev/hvc0", armourOnly: true }],
    ["a port of another name", { type: "virtio", name: "console.7" }],
  ])("%s that was named stays, whatever a later setup adds", async (_, pipe) => {
    writeTree(root, { ...BARE, "usr/lib/systemd/system/rescue.service": "" });
    const image = { here: false, evidence: "tpm" } as const;
    const { around } = surroundings(machine({}, []));
    await setUp(wishes({ ...image, pipe }), around);
    await setUp(wishes({ ...image, recovery: true }), around);
    expect(parseServerConfig(read(DEFAULT_CONFIG_FILE), "made").pipe).toEqual(pipe);
    await setUp(wishes({ ...image, pipe: { type: "virtio", name: "sealtty.0" } }), around);
    expect(parseServerConfig(read(DEFAULT_CONFIG_FILE), "made").pipe).toMatchObject({ name: "sealtty.0" });
  });

  test("a port that this machine has no more is looked for anew", async () => {
    writeTree(root, BARE);
    await setUp(wishes(), surroundings(machine(SNP, ["sealtty-a"])).around);
    await setUp(wishes(), surroundings(machine(SNP, ["sealtty-a", "sealtty-b"])).around);
    expect(parseServerConfig(read(DEFAULT_CONFIG_FILE), "made").pipe).toMatchObject({ name: "sealtty-a" });
    await setUp(wishes(), surroundings(machine(SNP, ["sealtty-b"])).around);
    expect(parseServerConfig(read(DEFAULT_CONFIG_FILE), "made").pipe).toMatchObject({ name: "sealtty-b" });
  });

  test("on other hardware its own file is written anew, and still taken back", async () => {
    writeTree(root, BARE);
    const before = treeOf(root);
    await setUp(wishes(), surroundings().around);
    const { around } = surroundings(machine({ "/dev/tdx_guest": ["tdx"] }), true);
    const said = await setUp(wishes(), around);
    expect(read(DEFAULT_CONFIG_FILE)).toBe(configuration("tdx"));
    expect(said.join("\n")).toContain("runs on with its former configuration");
    await takeAway(wishes(), around);
    expect(treeOf(root)).toEqual(before);
  });

  test("what its owner edited is neither overwritten nor removed", async () => {
    writeTree(root, BARE);
    const { around } = surroundings();
    await setUp(wishes(), around);
    const edited = `${read(DEFAULT_CONFIG_FILE)}[forward]\nallow = true\n`;
    fs.writeFileSync(at(DEFAULT_CONFIG_FILE), edited);
    expect(await setUp(wishes(), around)).toContain(`kept: ${DEFAULT_CONFIG_FILE} is yours`);
    expect(read(DEFAULT_CONFIG_FILE)).toBe(edited);
    expect(await refusalOf(setUp(wishes({ evidence: "tpm" }), around))).toContain(
      "is yours: it is not overwritten",
    );

    const { said, left } = await takeAway(wishes(), around);
    expect(left).toBe(true);
    expect(said).toContain(`left as it is, because it was changed since: ${DEFAULT_CONFIG_FILE}`);
    expect(read(DEFAULT_CONFIG_FILE)).toBe(edited);
    for (const link of LINKS) expect(fs.existsSync(path.dirname(at(link)))).toBe(false);
    expect(await takeAway(wishes(), around)).toEqual(NOTHING_TO_UNDO);
  });

  test("an owner's configuration that is wrong is told, and nothing is enabled for it", async () => {
    writeTree(root, { ...BARE, "etc/sealtty/sealttyd.toml": "[pipe]\n" });
    expect(await refusalOf(setUp(wishes(), surroundings().around))).toMatch(
      /"type" is missing.*not overwritten/,
    );
  });

  test("a start that fails says so, with what was written, and is undone like any other", async () => {
    writeTree(root, BARE);
    const before = treeOf(root);
    const { around } = surroundings();
    const systemctl = async (verb: string): Promise<boolean> => verb !== "start" && verb !== "is-active";
    const error = await setUp(wishes(), { ...around, systemctl }).catch((reason: unknown) => reason);
    if (!(error instanceof SetupFailed)) throw error;
    expect(error.message).toContain("systemctl status sealttyd.service says why");
    expect(error.said).toContain(`written: ${DEFAULT_CONFIG_FILE}`);
    expect(error.said.filter((line) => line.startsWith("started"))).toEqual([]);
    await takeAway(wishes(), around);
    expect(treeOf(root)).toEqual(before);
  });

  test("cut short after the record was written, it is undone all the same", async () => {
    writeTree(root, BARE);
    const before = treeOf(root);
    const { around } = surroundings();
    await setUp(wishes(), around);
    fs.rmSync(at(LINKS[1] ?? ""));
    fs.rmSync(at(DEFAULT_CONFIG_FILE));
    expect((await takeAway(wishes(), around)).left).toBe(false);
    expect(treeOf(root)).toEqual(before);
  });
});

const KEY_LINE = `ssh-ed25519 ${Buffer.from(concat(lv32(utf8("ssh-ed25519")), lv32(new Uint8Array(32).fill(5)))).toString("base64")} me\n`;

describe("recovery", () => {
  const UNITS = ["rescue", "emergency"].map((mode) => `usr/lib/systemd/system/${mode}.service`);
  const SULOGIN = "[Service]\nExecStart=-/lib/systemd/systemd-sulogin-shell x\nStandardInput=tty-force\n";
  const WORLD = { ...BARE, ...Object.fromEntries(UNITS.map((unit) => [unit, SULOGIN])) };
  const found = () =>
    CHECKS.filter(({ id }) => id === "recovery-console").flatMap(
      (check) => check.look(new System(new DoctorsTree(root)))?.evidence ?? [],
    );

  test("is off the consoles for the doctor as well, and taken back with the rest", async () => {
    writeTree(root, WORLD);
    expect(found()).toHaveLength(2);
    const before = treeOf(root);
    const { around, calls } = surroundings(machine(SNP), true);
    const said = await setUp(wishes({ recovery: true }), around);
    for (const [file, text] of RECOVERY_FILES) expect(read(file)).toBe(text);
    expect(said).toContain(
      "in rescue and emergency mode: nothing on the consoles; by sealtty whom /bin/login lets in",
    );
    expect(said).toContain(
      "beware: /etc/sealtty/authorized_keys has no key by which root gets a shell, and whether anybody gets in so was not looked at: try it before you need it",
    );
    expect(found()).toEqual([]);
    // It counts from the next change of mode on, and not only from the next boot.
    expect(calls).toEqual(["is-active --quiet sealttyd.service", "daemon-reload"]);
    expect(await setUp(wishes({ recovery: true }), around)).toContain("already set up: no file is changed");
    await setUp(wishes(), around); // as with the initramfs: what was wished for once stays
    expect(found()).toEqual([]);
    expect((await takeAway(wishes(), around)).left).toBe(false);
    expect(treeOf(root)).toEqual(before);
    expect(found()).toHaveLength(2);
  });

  test("of an owner who wrote a file of that name: nothing is written over", async () => {
    const [file = ""] = RECOVERY_FILES.keys();
    writeTree(root, { ...WORLD, [file.slice(1)]: "[Service]\nExecStart=/bin/mine\n" });
    expect(await refusalOf(setUp(wishes({ recovery: true }), surroundings().around))).toContain(
      `${file} is yours`,
    );
  });

  test.each([
    ["no login, and keys that are not root's", 'authorized_keys = "/k"\nnames = ["alice"]\n', undefined],
    ["keys of root's own file", 'authorized_keys = "/k/%u"\n', "root by the keys of /k/root"],
    ["keys for everybody", 'authorized_keys = "/k/all"\nnames = ["*"]\n', "root by the keys of /k/all"],
    [
      "keys and a login",
      'authorized_keys = "/k/all"\nnames = ["root"]\nlogin = ["/bin/login"]\n',
      "root by the keys of /k/all, whom /bin/login lets in",
    ],
    ["a login alone", 'login = ["/bin/login"]\n', "whom /bin/login lets in"],
    ["keys that are not there", 'authorized_keys = "/k/none"\nnames = ["root"]\n', undefined],
    ["a file without a key", 'authorized_keys = "/k/empty"\nnames = ["*"]\n', undefined],
    ["keys that are over, or run one command", 'authorized_keys = "/k/useless"\nnames = ["*"]\n', undefined],
  ])("who gets in is the configuration's to say, and the keys': %s", async (_, users, way) => {
    const own = `[pipe]\ntype = "virtio"\nname = "s"\n[evidence]\ntype = "tpm"\n[users]\n${users}`;
    const useless = `expiry-time="20200101" ${KEY_LINE}command="uptime" ${KEY_LINE}restrict ${KEY_LINE}`;
    writeTree(root, {
      ...WORLD,
      "etc/sealtty/sealttyd.toml": own,
      ...{
        "k/root": KEY_LINE,
        "k/all": `# mine\n${KEY_LINE}`,
        "k/empty": "# none yet\n",
        "k/useless": useless,
      },
    });
    const work = setUp(wishes({ recovery: true }), surroundings().around);
    if (way === undefined) expect(await refusalOf(work)).toContain("nobody could mend this machine");
    else expect((await work).join("\n")).toMatch(new RegExp(`by sealtty ${way}$`, "m"));
  });

  test("where the unit would not start in these modes: refused", async () => {
    const unit = UNIT.replace(/^WantedBy=.*$/m, "WantedBy=sysinit.target rescue.target");
    writeTree(root, { ...WORLD, "usr/lib/systemd/system/sealttyd.service": unit });
    expect(await refusalOf(setUp(wishes({ recovery: true }), surroundings().around))).toContain(
      "does not say WantedBy=emergency.target",
    );
  });
});

describe("refused, and nothing is changed", () => {
  const refused = (
    files: Readonly<Record<string, string>>,
    more: Partial<SetupWishes> = {},
  ): Promise<string> => {
    writeTree(root, files);
    return refusalOf(setUp(wishes(more), surroundings().around));
  };

  test("where there is no unit", async () => {
    expect(await refused({ "etc/passwd": BARE["etc/passwd"] })).toContain("There is no sealttyd.service");
  });

  test("where the unit is masked", async () => {
    writeTree(root, BARE);
    fs.mkdirSync(at("etc/systemd/system"), { recursive: true });
    fs.symlinkSync("/dev/null", at("etc/systemd/system/sealttyd.service"));
    expect(await refused({})).toContain("masked");
  });

  test("where the unit is a link that leads nowhere", async () => {
    const { "usr/lib/systemd/system/sealttyd.service": _, ...others } = BARE;
    writeTree(root, others);
    fs.mkdirSync(at("etc/systemd/system"), { recursive: true });
    fs.symlinkSync("/opt/sealttyd.service", at("etc/systemd/system/sealttyd.service"));
    expect(await refused({})).toContain(
      "/etc/systemd/system/sealttyd.service is a link that leads nowhere in ",
    );
  });

  test("where who runs it is not root; a dry run is anybody's, and an image may be its maker's", async () => {
    writeTree(root, BARE);
    const around = { ...surroundings().around, isRoot: false };
    expect(await refusalOf(setUp(wishes(), around))).toContain("run it as root");
    const before = treeOf(root);
    await setUp(wishes({ dryRun: true }), around);
    expect(treeOf(root)).toEqual(before);
    await setUp(wishes({ here: false, evidence: "tpm" }), around);
    expect(await refusalOf(takeAway(wishes(), around))).toContain("run it as root");
    await takeAway(wishes({ here: false }), around);
    expect(treeOf(root)).toEqual(before);
  });

  test("where there is no directory to look into, or no place for what it would write", async () => {
    writeTree(root, { ...BARE, "var/lib": "a file" });
    const { around } = surroundings();
    for (const dryRun of [true, false])
      expect(await refusalOf(setUp(wishes({ dryRun }), around))).toBe(
        "/var/lib is in the way: it is no directory",
      );
    expect(await refusalOf(setUp(wishes({ root: at("nothing") }), around))).toBe(
      `There is no directory ${at("nothing")}`,
    );
    expect(await refusalOf(takeAway(wishes({ root: at("var/lib") }), around))).toBe(
      `${at("var/lib")} is not a directory`,
    );
  });

  test("where there is no user for the front; an image may have it made at its first boot", async () => {
    const { "etc/passwd": _, ...others } = BARE;
    const files = { ...others, "usr/lib/sysusers.d/sealttyd.conf": "u sealtty -\n" };
    expect(await refused(files)).toMatch(
      /The user sealtty is missing\..*: systemd-sysusers sealttyd.conf, or useradd --system --shell/,
    );
    expect(await setUp(wishes({ here: false, evidence: "tdx" }), surroundings().around)).toContain(
      `written: ${DEFAULT_CONFIG_FILE}`,
    );
  });

  test("where an image has no user for the front: what to do is said for the image", async () => {
    const { "etc/passwd": _, ...others } = BARE;
    expect(await refused(others, { here: false, evidence: "tdx" })).toContain(
      `: systemd-sysusers --root ${root} sealttyd.conf, or useradd --root ${root} --system --shell`,
    );
  });

  test("another machine's files without --evidence: nobody can ask that machine", async () => {
    expect(await refused(BARE, { here: false })).toContain("--evidence");
  });

  describe("or done inside, where an image has links", () => {
    let outside: string;
    beforeEach(() => {
      outside = fs.mkdtempSync(path.join(os.tmpdir(), "sealtty-outside-"));
      writeTree(root, BARE);
    });
    afterEach(() => fs.rmSync(outside, { recursive: true }));
    const image = { here: false, evidence: "tdx" } as const;

    test("a directory that is only on this machine is no place to write to", async () => {
      fs.symlinkSync(outside, at("etc/sealtty"));
      for (const dryRun of [true, false])
        expect(await refused({}, { ...image, dryRun })).toContain(
          "/etc/sealtty is a link that leads nowhere in ",
        );
      expect(fs.readdirSync(outside)).toEqual([]);
    });

    test("what this machine has at the end of a link is not read", async () => {
      const line = "sealtty:x:990:990::/:/usr/sbin/nologin\n";
      writeTree(outside, { passwd: line, "sealttyd.toml": "[pipe]\n", "sealttyd.service": UNIT });
      const links = {
        "etc/passwd": "passwd",
        "etc/sealtty/sealttyd.toml": "sealttyd.toml",
        "usr/lib/systemd/system/sealttyd.service": "sealttyd.service",
      };
      for (const [file, name] of Object.entries(links)) {
        for (const up of ["", "../".repeat(40)]) {
          fs.rmSync(at(file), { force: true });
          fs.mkdirSync(path.dirname(at(file)), { recursive: true });
          fs.symlinkSync(`${up}${path.join(outside, name).slice(up === "" ? 0 : 1)}`, at(file));
          expect(await refused({}, image)).toMatch(
            name === "passwd" ? /user sealtty is missing/ : /leads nowhere in/,
          );
        }
        fs.rmSync(at(file));
        writeTree(root, name === "sealttyd.toml" ? {} : BARE);
      }
    });

    test("absolute links mean the image's own files, and the tree comes back as it was", async () => {
      for (const directory of ["data", "etc/systemd/system"])
        fs.mkdirSync(at(directory), { recursive: true });
      fs.mkdirSync(at("opt"));
      fs.renameSync(at("usr/lib/systemd/system/sealttyd.service"), at("opt/sealttyd.service"));
      fs.renameSync(at("etc/passwd"), at("opt/passwd"));
      fs.symlinkSync("/opt/sealttyd.service", at("etc/systemd/system/sealttyd.service"));
      fs.symlinkSync("/opt/passwd", at("etc/passwd"));
      fs.symlinkSync("/data", at("etc/sealtty"));
      const before = treeOf(root);
      const { around } = surroundings();
      expect(await setUp(wishes(image), around)).toContain(`written: ${DEFAULT_CONFIG_FILE}`);
      expect(fs.readdirSync(at("data"))).toEqual(["sealttyd.toml"]);
      expect((await takeAway(wishes(image), around)).left).toBe(false);
      expect(treeOf(root)).toEqual(before);
    });

    test("links in a ring are said", async () => {
      fs.rmSync(at("etc/passwd"));
      fs.symlinkSync("passwd", at("etc/passwd"));
      expect(await refused({}, image)).toContain("/etc/passwd is behind links that lead round in a ring");
    });

    test("a FIFO where a file belongs is not waited for", async () => {
      fs.rmSync(at("etc/passwd"));
      execFileSync("mkfifo", [at("etc/passwd")]);
      // Not by `refused`, which looks into every file.
      await expect(setUp(wishes(image), surroundings().around)).rejects.toThrow(
        "/etc/passwd cannot be read: not a regular file",
      );
    });
  });

  test.each([
    "",
    "[]",
    '{"version":2,"made":[],"started":false}',
    '{"version":1,"made":[{"kind":"file","path":"/etc/../../etc/passwd","sha256":""}],"started":false}',
    '{"version":1,"made":[{"kind":"device","path":"/x"}],"started":false}',
  ])("a record that setup did not write: %s", async (text) => {
    writeTree(root, { ...BARE, [RECORD_FILE]: text });
    const { around } = surroundings();
    expect(await refusalOf(setUp(wishes(), around))).toContain(`${RECORD_FILE} is not as setup writes it`);
    expect(await refusalOf(takeAway(wishes(), around))).toContain(`${RECORD_FILE} is not as setup writes it`);
  });
});

describe("the program", () => {
  const sealttyd = path.join(project, "dist/bin/sealttyd.js");
  const run = (...args: readonly string[]) =>
    spawnSync(process.execPath, [sealttyd, "setup", ...args], { encoding: "utf8" });

  test("sets an image up and takes it back; asks nothing", () => {
    writeTree(root, BARE);
    const before = treeOf(root);
    const set = run("--root", root, "--evidence", "sev-snp", "--port", "console.7");
    expect(set).toMatchObject({ status: 0, stderr: "" });
    expect(set.stdout).toContain('console: virtio port "console.7"');
    const check = execFileSync(process.execPath, [sealttyd, "--check", "--config", at(DEFAULT_CONFIG_FILE)], {
      encoding: "utf8",
    });
    expect(check).toContain(`${at(DEFAULT_CONFIG_FILE)}: good\n`);
    expect(run("--root", root, "--remove")).toMatchObject({ status: 0, stderr: "" });
    expect(treeOf(root)).toEqual(before);
    expect(run("--root", root, "--remove")).toMatchObject({
      status: 0,
      stdout: "nothing to undo: it was so already\n",
      stderr: "",
    });
  });

  test("the machine's screen, where there is no port", () => {
    writeTree(root, BARE);
    const set = run("--root", root, "--evidence", "tpm", "--screen");
    expect(set).toMatchObject({ status: 0, stderr: "" });
    expect(set.stdout).toContain("console: the machine's screen and keys");
    expect(parseServerConfig(read(DEFAULT_CONFIG_FILE), "made").pipe).toEqual(SCREEN);
    expect(run("--root", root, "--remove").status).toBe(0);
  });

  test("an image's terminal device may be its kernel's console: printable lines only", () => {
    writeTree(root, BARE);
    expect(run("--root", root, "--evidence", "tpm", "--tty", "/dev/no-console-here").status).toBe(0);
    const { pipe } = parseServerConfig(read(DEFAULT_CONFIG_FILE), "made");
    expect(pipe).toEqual({ type: "tty", device: "/dev/no-console-here", armourOnly: true });
  });

  test.each([
    ["nothing", "There is no directory "],
    ["bin/login", "/bin/login is not a directory\n"],
  ])("--root with %s is refused in a sentence", (name, words) => {
    writeTree(root, BARE);
    const { status, stdout, stderr } = run("--root", at(name), "--evidence", "tpm");
    expect([status, stdout]).toEqual([1, ""]);
    expect(stderr).toMatch(/^sealttyd setup: [^\n]*\n$/);
    expect(stderr).toContain(words);
  });

  if (process.getuid?.() === 0)
    test("without the right to write there, it says to run it as root", () => {
      writeTree(root, BARE);
      for (const file of ["", "var", "etc"]) {
        fs.mkdirSync(at(file), { recursive: true });
        fs.chownSync(at(file), 65534, 65534);
        fs.chmodSync(at(file), 0o755);
      }
      // The root user without its capabilities may still read the program, wherever that is.
      const args = ["--bounding-set=-all", "--inh-caps=-all", process.execPath, sealttyd, "setup"];
      const { status, stdout, stderr } = spawnSync(
        "setpriv",
        [...args, "--root", root, "--evidence", "tpm"],
        { encoding: "utf8" },
      );
      expect([status, stdout]).toEqual([255, ""]);
      expect(stderr).toBe(`sealttyd setup: ${at("var/lib")} may not be read or changed: run it as root\n`);
    });

  test.each([
    [["--evidence", "simulated"], "--evidence takes one of sev-snp, tdx, azure, tpm"],
    [["--port", "a", "--tty", "/dev/hvc0"], "exclude each other"],
    [["--screen", "--tty", "/dev/hvc0"], "exclude each other"],
    [["--remove", "--screen"], "--remove undoes what was done"],
    [["--tty", "hvc0"], "absolute path"],
    [["--remove", "--port", "a"], "--remove undoes what was done"],
    [["--remove", "--recovery"], "--remove undoes what was done"],
    [["here"], "Unexpected argument"],
    [["--root", ""], "--root takes a directory"],
    [["--remove", "--root="], "--root takes a directory"],
  ])("usage: %j", (args, message) => {
    const { status, stdout, stderr } = run("--root", root, ...args);
    expect([status, stdout]).toEqual([2, ""]);
    expect(stderr).toContain(message);
    expect(stderr).toContain("Usage: sealttyd setup [--evidence TYPE]");
    expect(treeOf(root)).toEqual([]);
  });
});

const SYSTEMCTL = "/usr/bin/systemctl";
const canPretend = process.getuid?.() === 0 && fs.existsSync(SYSTEMCTL);
if (!canPretend)
  test("NOT RUN: only root may put other files in this machine's place, and there must be a systemctl", () => {
    expect(canPretend).toBe(false);
  });

/**
 * In a mount namespace of its own: the tree's /etc and /var in place of this machine's, a /run where systemd seems to run,
 * and a systemctl that writes down what it is asked.
 */
describe.runIf(canPretend)("the program, on the machine that it runs on", () => {
  const sealttyd = path.join(project, "dist/bin/sealttyd.js");
  const SCRIPT =
    'for each in etc var; do mount --bind "$0/$each" "/$each" || exit 99; done; mount --bind "$0/systemctl" /usr/bin/systemctl && mount -t tmpfs none /run && mkdir -p /run/systemd/system && exec "$@"';

  function run(...args: readonly string[]) {
    return spawnSync(
      "unshare",
      ["-m", "sh", "-c", SCRIPT, root, process.execPath, sealttyd, "setup", ...args],
      {
        encoding: "utf8",
        env: { PATH: process.env["PATH"] },
      },
    );
  }
  const calls = (): string[] => {
    const told = read("calls").trim().split("\n");
    fs.rmSync(at("calls"));
    return told;
  };

  test("has systemd start it, and stop it again; the files are as before", () => {
    const { "usr/lib/systemd/system/sealttyd.service": unit, "etc/passwd": passwd } = BARE;
    writeTree(root, {
      "etc/passwd": passwd,
      "etc/systemd/system/sealttyd.service": unit,
      "var/lib/dpkg/status": "",
      systemctl: `#!/bin/sh\necho "$*" >>${at("calls")}\n[ "$1" != is-active ]\n`,
    });
    fs.chmodSync(at("systemctl"), 0o755);
    const before = treeOf(root);

    const nothing = run();
    expect([nothing.status, nothing.stdout]).toEqual([1, ""]); // a machine that runs tests has no port for it
    expect(nothing.stderr).toMatch(/^sealttyd setup: There is no virtio port for it/);
    expect(treeOf(root)).toEqual(before);

    const set = run("--evidence", "tpm", "--port", "no-such-port");
    expect([set.status, set.stderr]).toEqual([0, ""]);
    expect(set.stdout).toContain("started: sealttyd.service\n");
    expect(set.stdout).toContain('on this machine, now: there is no virtio port named "no-such-port"');
    expect(calls()).toEqual([
      "is-active --quiet sealttyd.service",
      "daemon-reload",
      "start sealttyd.service",
    ]);
    expect(fs.readlinkSync(at(LINKS[0] ?? ""))).toBe("/etc/systemd/system/sealttyd.service");

    expect(run("--remove")).toMatchObject({ status: 0, stderr: "" });
    expect(calls()).toEqual(["stop sealttyd.service", "daemon-reload"]);
    expect(treeOf(root)).toEqual(before);
  });
});

describe("setup --provision", () => {
  const WAIT = {
    "usr/lib/systemd/system/sealtty-provision.service": fs.readFileSync(
      path.join(project, "packaging/systemd/sealtty-provision.service"),
      "utf8",
    ),
  };
  const wished = wishes({ here: false, evidence: "sev-snp", provision: true });

  test("writes what keeps cloud-init to the owner's seed, is undone but for what keeps cloud-init off, and is not forgotten by a later setup", async () => {
    writeTree(root, { ...BARE, ...WAIT });
    const before = treeOf(root);
    await setUp({ ...wished, root }, surroundings().around);
    expect(parseServerConfig(read(DEFAULT_CONFIG_FILE), "test").provision).toMatchObject({
      users: ["root"],
      again: false,
    });
    for (const [file, text] of CLOUD_INIT_FILES) expect(read(file)).toBe(text);
    expect(fs.readlinkSync(at("/etc/systemd/system/sysinit.target.wants/sealtty-provision.service"))).toBe(
      "/usr/lib/systemd/system/sealtty-provision.service",
    );
    const after = treeOf(root);
    await setUp({ ...wished, root, provision: false }, surroundings().around);
    expect(treeOf(root)).toEqual(after);
    await takeAway({ root, here: false, dryRun: false }, surroundings().around);
    expect(fs.readdirSync(at("/etc/cloud"))).toEqual(["cloud-init.disabled"]);
    fs.rmSync(at("/etc/cloud"), { recursive: true });
    expect(treeOf(root)).toEqual(before);
  });

  const DISABLED_FILE = "/etc/cloud/cloud-init.disabled";
  const image = { here: false, dryRun: false };

  test("--remove leaves cloud-init off, before it takes anything away, and says how to have it again", async () => {
    writeTree(root, { ...BARE, ...WAIT });
    await setUp({ ...wished, root }, surroundings().around);
    const after = treeOf(root);
    const would = await takeAway({ root, ...image, dryRun: true }, surroundings().around);
    expect(would.said.join("\n")).toContain(`would have written: ${DISABLED_FILE}`);
    expect(treeOf(root)).toEqual(after);
    const { said, left } = await takeAway({ root, ...image }, surroundings().around);
    expect(left).toBe(false);
    expect(said.findIndex((line) => line.startsWith(`written: ${DISABLED_FILE}`))).toBe(0);
    expect(said.join("\n")).toContain(`to have cloud-init again, in spite of that: delete ${DISABLED_FILE}`);
    expect(read(DISABLED_FILE)).toBe(DISABLED);
    expect(await takeAway({ root, ...image }, surroundings().around)).toEqual(NOTHING_TO_UNDO);
    expect(read(DISABLED_FILE)).toBe(DISABLED);
    // Set up again, it is kept to the seed again.
    const again = await setUp({ ...wished, root }, surroundings().around);
    expect(again.join("\n")).toContain(`removed: ${DISABLED_FILE}`);
    expect(fs.existsSync(at(DISABLED_FILE))).toBe(false);
    for (const [file, text] of CLOUD_INIT_FILES) expect(read(file)).toBe(text);
  });

  test("somebody else's cloud-init.disabled is theirs, all the way", async () => {
    writeTree(root, { ...BARE, ...WAIT, "etc/cloud/cloud-init.disabled": "" });
    const before = treeOf(root);
    const said = await setUp({ ...wished, root }, surroundings().around);
    expect(said.join("\n")).toContain(`${DISABLED_FILE} is yours`);
    await takeAway({ root, ...image }, surroundings().around);
    expect(treeOf(root)).toEqual(before);
  });

  test("where it cannot be written nothing is taken away", async () => {
    writeTree(root, { ...BARE, ...WAIT });
    await setUp({ ...wished, root }, surroundings().around);
    fs.symlinkSync("nowhere", at(DISABLED_FILE));
    expect(await refusalOf(takeAway({ root, ...image }, surroundings().around))).toContain("leads nowhere");
    fs.unlinkSync(at(DISABLED_FILE));
    fs.mkdirSync(at(DISABLED_FILE));
    expect(await refusalOf(takeAway({ root, ...image }, surroundings().around))).toContain(DISABLED_FILE);
  });

  test("a setup that had nothing to do with cloud-init leaves it alone", async () => {
    writeTree(root, { ...BARE, "etc/cloud/cloud.cfg": "" });
    await setUp({ ...wished, root, provision: false }, surroundings().around);
    await takeAway({ root, ...image }, surroundings().around);
    expect(fs.readdirSync(at("/etc/cloud"))).toEqual(["cloud.cfg"]);
  });

  test("the package's removal does the same", async () => {
    writeTree(root, {
      ...BARE,
      ...WAIT,
      "usr/bin/sealttyd": `#!/bin/sh\nexec '${process.execPath}' '${path.join(project, "dist/bin/sealttyd.js")}' "$@"\n`,
    });
    fs.chmodSync(at("/usr/bin/sealttyd"), 0o755);
    await setUp({ ...wished, root }, surroundings().around);
    const prerm = (verb: string): string =>
      execFileSync("sh", [path.join(project, "packaging/deb/prerm"), verb], {
        encoding: "utf8",
        env: { ...process.env, DPKG_ROOT: root },
      });
    expect(prerm("upgrade")).toBe("");
    expect(fs.existsSync(at(DISABLED_FILE))).toBe(false);
    expect(prerm("remove")).toContain(`written: ${DISABLED_FILE}`);
    expect(read(DISABLED_FILE)).toBe(DISABLED);
    for (const file of CLOUD_INIT_FILES.keys()) expect(fs.existsSync(at(file)), file).toBe(false);
  });

  test.each([
    ["without its unit", {}, "no sealtty-provision.service"],
    [
      "over a file of the owner's",
      { ...WAIT, "etc/cloud/ds-identify.cfg": "datasource: Ec2\n" },
      "ds-identify.cfg is yours",
    ],
    [
      "beside a configuration of the owner's that has nobody to take a seed from",
      {
        ...WAIT,
        "etc/sealtty/sealttyd.toml": configurationText({ type: "virtio", name: "s" }, "tpm", "/bin/login"),
      },
      "has no [provision]",
    ],
  ])("is refused %s, and nothing is changed", async (_, files, words) => {
    writeTree(root, { ...BARE, ...files });
    const before = treeOf(root);
    const asked =
      "etc/sealtty/sealttyd.toml" in files ? { ...wished, root, evidence: undefined } : { ...wished, root };
    await expect(setUp(asked, surroundings().around)).rejects.toThrow(words);
    expect(treeOf(root)).toEqual(before);
  });
});
