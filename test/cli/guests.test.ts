// guests.toml: what it may say, who may write it, and which of two that say the same counts.

import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { array, assert, constantFrom, oneof, property, string, tuple } from "fast-check";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { SETTINGS, parseOverrides } from "../../cli/guest-settings.ts";
import { isAlias, parseGuests } from "../../cli/guests-file.ts";
import { HOST_SETTINGS } from "../../cli/hosts/names.ts";
import { namedGuest } from "../../cli/named-guest.ts";
import { type OptionSpec, COMMON_OPTIONS, parseInput } from "../../cli/options.ts";
import { run } from "../../cli/program.ts";
import type { Services } from "../../cli/services.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { fakeCli, POLICY_TEXT } from "./fake-cli.ts";

let directory: string;
let home: string;
let file: string;
beforeAll(() => {
  directory = mkdtempSync(path.join(tmpdir(), "sealtty-guests-test-"));
  home = path.join(directory, "home");
  mkdirSync(path.join(directory, "sealtty"));
  file = path.join(directory, "sealtty", "guests.toml");
  writeFileSync(path.join(directory, "sealtty", "db1.policy.toml"), POLICY_TEXT);
});
afterAll(() => rmSync(directory, { recursive: true }));

function write(text: string, mode = 0o600): void {
  writeFileSync(file, text);
  chmodSync(file, mode);
}

function cliWith(text: string, changes: Partial<Services> = {}) {
  write(text);
  return fakeCli({ environment: { XDG_CONFIG_HOME: directory, HOME: home }, ...changes });
}

const GUESTS = `
[defaults]
timeout = 7
obfuscate = "strict"

[guests.db1]
address = "tcp:db1.example:7000"
policy = "db1.policy.toml"
user = "root"
identity = "~/.ssh/id_db1"
encoding = "armour"
`;

describe("parseGuests()", () => {
  const parse = (text: string) => parseGuests(text, "/etc/x/guests.toml", "/home/alice");
  test("paths are relative to the file, ~/ is the home, forwards are listed as ssh spells them", () => {
    const { guests, defaults } = parse(
      `${GUESTS}forwards = ["-L 8080:localhost:80", "-D1080"]\nkeep = true\n`,
    );
    const db1 = guests.get("db1");
    expect(db1?.address).toMatchObject({ kind: "tcp", host: "db1.example", port: 7000 });
    expect(Object.fromEntries(db1?.settings ?? [])).toEqual({
      policy: "/etc/x/db1.policy.toml",
      user: "root",
      identity: "/home/alice/.ssh/id_db1",
      encoding: "armour",
      forwards: ["-L 8080:localhost:80", "-D1080"],
      keep: true,
    });
    expect(Object.fromEntries(defaults)).toEqual({ timeout: "7", obfuscate: "strict" });
  });
  test("a host's settings: paths resolved, flags as flags", () => {
    const { guests } = parse(
      '[guests.a]\naddress = "proxmox:pve/pve1/101"\nhost = { token_file = "pve", ca_file = "/ca.pem", tls_name = "pve.example" }\n' +
        '[guests.b]\naddress = "incus:b"\nhost = { force = true, socket = "~/incus" }\n',
    );
    expect(guests.get("a")?.host).toEqual({
      token_file: "/etc/x/pve",
      ca_file: "/ca.pem",
      tls_name: "pve.example",
    });
    expect(guests.get("b")?.host).toEqual({ force: "1", socket: "/home/alice/incus" });
  });
  test.each([
    ["[guests.a", "line 1"],
    ["[guest.a]", "unknown key guest; did you mean guests?"],
    ["[guests.a]\npolcy = 'x'", "unknown key guests.a.polcy; did you mean policy?"],
    ["[defaults]\naddress = 'tcp:h:1'", "unknown key defaults.address"],
    ["[defaults]\nhost = {}", "unknown key defaults.host"],
    ["[guests.'a/b']", '"a/b" is no name for a guest'],
    ["[guests.'a:b']", '"a:b" is no name for a guest'],
    ["[guests.'-a']", '"-a" is no name'],
    ["[guests]\na = 1", "guests.a is not a section"],
    ["guests = 1", "guests is not a section"],
    ["[guests.a]\naddress = 'db1'", 'guests.a.address: "db1" is no guest address'],
    ["[guests.a]\naddress = 'unix:run/x.sock'", "write the full path"],
    ["[guests.a]\naddress = 5", "guests.a.address is not a text"],
    ["[guests.a]\npolicy = ''", "guests.a.policy is not the path of a policy"],
    ["[guests.a]\nuser = '-x y'", "guests.a.user is not a user name"],
    ["[guests.a]\ntimeout = 0", "guests.a.timeout is not a whole number of seconds"],
    ["[guests.a]\ntimeout = 86401", "guests.a.timeout"],
    ["[guests.a]\ntimeout = 1.5", "guests.a.timeout"],
    ["[guests.a]\nencoding = 'morse'", 'guests.a.encoding is not one of "auto", "binary", "armour"'],
    ["[guests.a]\nobfuscate = true", "guests.a.obfuscate is not one of"],
    ["[guests.a]\nkeep = 'yes'", "guests.a.keep is not true or false"],
    ["[guests.a]\nforwards = []", "guests.a.forwards is not a list"],
    ["[guests.a]\nforwards = ['8080:localhost:80']", "guests.a.forwards is not a list"],
    ["[guests.a]\nforwards = ['-X 1']", "guests.a.forwards is not a list"],
    ["[guests.a]\nsimulated = true", "--simulated on the command line, and nowhere else"],
    ["[defaults]\nsimulated = true", "and nowhere else"],
    ["[guests.a]\naddress = 'tcp:h:1'\nhost = {}", "guests.a.host is for proxmox:"],
    ["[guests.a]\naddress = 'proxmox:p/n/101'\nhost = { token = 'x' }", "unknown key guests.a.host.token"],
    ["[guests.a]\naddress = 'incus:a'\nhost = { force = 'yes' }", "guests.a.host.force is not true or false"],
    [
      "[guests.a]\naddress = 'nova:wss://h/'\nhost = { token_file = 1 }",
      "guests.a.host.token_file is not a text",
    ],
    ["[guests.a]\n[guests.a]", "line 2"],
    ["[guests.__proto__]\npolicy = 'x'", "not valid TOML"],
  ])("%j is refused, with the file and the place", (text, why) => {
    expect(() => parse(text)).toThrow(why);
    try {
      parse(text);
    } catch (error) {
      expect(error).toBeInstanceOf(SealttyError);
      expect((error as SealttyError).code).toBe("bad-config");
      expect((error as SealttyError).message).toContain("/etc/x/guests.toml: ");
    }
  });
  test("whatever it holds, it is read or refused as bad-config", () => {
    const pieces = [
      "[guests.a]",
      "[guests.a.host]",
      "[defaults]",
      "[[guests]]",
      "address",
      "policy",
      "host",
      "forwards",
      "keep",
    ];
    const values = [
      '"tcp:h:1"',
      '"incus:a"',
      '"none"',
      "true",
      "1",
      "-1",
      "1e9",
      "[]",
      '["-L 1:h:2"]',
      "{}",
      "{ force = true }",
    ];
    const line = oneof(
      constantFrom(...pieces.slice(0, 4)),
      tuple(constantFrom(...pieces), constantFrom(...values)).map(([key, value]) => `${key} = ${value}`),
      string(),
    );
    assert(
      property(array(line, { maxLength: 12 }), (lines) => {
        try {
          parse(lines.join("\n"));
        } catch (error) {
          expect(error).toMatchObject({ name: "SealttyError", code: "bad-config" });
        }
      }),
      { numRuns: 2000 },
    );
  });
  test("no address is a name", () => {
    for (const address of ["ws://h/", "tcp:h:1", "unix:/x", "tty:/dev/x", "incus:a", "nova:wss://h/"])
      expect(isAlias(address)).toBe(false);
    for (const name of ["db1", "db1.example", "a_b-c"]) expect(isAlias(name)).toBe(true);
  });
});

describe("docs/configuration.md", () => {
  const text = readFileSync(new URL("../../docs/configuration.md", import.meta.url), "utf8");
  test("has a row for each key, with the option that says the same", () => {
    const rows = [...text.matchAll(/^\| `(\w+)` \| .* \| (.*) \|$/gm)].map(([, key, option]) => [
      key,
      option,
    ]);
    const expected = Object.entries(SETTINGS).map(([name, { option }]) => [
      name,
      name === "forwards" ? "`-L`, `-R`, `-D`" : expect.stringContaining(`\`--${option}\``),
    ]);
    expect(rows).toEqual([["address", "GUEST"], ...expected, ["host", "the environment"]]);
  });
  test("has each host's settings", () => {
    for (const [kind, { names }] of Object.entries(HOST_SETTINGS)) {
      const row =
        new RegExp(`^\\| \`${kind === "vnc" ? "vnc\\+…" : kind}:\` \\| (.*) \\|$`, "m").exec(text)?.[1] ?? "";
      for (const name of names) {
        const all = ["ca_file", "tls_name", "cert_file", "key_file"].includes(name);
        expect(all ? text : row).toContain(`\`${name}`);
      }
    }
  });
  test("its example is good", () => {
    const example = /```toml\n([^]*?)```/.exec(text)?.[1] ?? "";
    const { guests, defaults } = parseGuests(example, "/etc/x/guests.toml", "/home/alice");
    expect([...guests.keys()]).toEqual(["db1", "web1"]);
    expect(defaults.get("user")).toBe("root");
  });
  test("every example of a key is good", () => {
    const lines = Object.entries(SETTINGS).map(([name, { example }]) => `${name} = ${example}`);
    expect(parseGuests(`[defaults]\n${lines.join("\n")}`, "g", undefined).defaults.size).toBe(lines.length);
  });
});

describe("-o", () => {
  test("takes the file's names; the first of one counts, forwards add up", () => {
    const said = [
      "user=root",
      "user=other",
      "keep=yes",
      "batch=no",
      "timeout=9",
      "forwards=-L 1:h:2",
      "forwards=-D 3",
    ];
    expect(Object.fromEntries(parseOverrides(said).settings)).toEqual({
      user: "root",
      keep: true,
      batch: false,
      timeout: "9",
      forwards: ["-L 1:h:2", "-D 3"],
    });
    expect(parseOverrides(["address=tcp:h:1", "identity=a=b"]).address).toBe("tcp:h:1");
    expect(parseOverrides(["identity=a=b"]).settings.get("identity")).toBe("a=b");
  });
  test.each([
    ["User=root", 'no key "User"'],
    ["user", "takes KEY=VALUE"],
    ["user=", "is not a user name"],
    ["keep=maybe", "is not yes or no"],
    ["encoding=morse", "is not one of"],
    ["timeout=1e3", "is not a whole number"],
    ["simulated=yes", "only by --simulated itself"],
    ["host=x", 'no key "host"'],
    ["address=", 'no key "address"'],
    ["constructor=x", 'no key "constructor"'],
    ["a\x1b[2J=x", 'no key "a\ufffd[2J"'],
  ])("%j is refused", (each, why) => {
    expect(() => parseOverrides([each])).toThrow(why);
  });
});

describe("a name in place of GUEST", () => {
  test("stands for the address and all that the file says of it", async () => {
    const cli = cliWith(GUESTS);
    expect(await run(["sessions", "db1"], cli.services)).toBe(0);
    expect(cli.connects[0]).toMatchObject({
      address: "tcp:db1.example:7000",
      encoding: "armour",
      timeout: 7000,
    });
    expect(cli.auths[0]).toMatchObject({ method: "ssh-key", user: "root" });
  });
  test("the command line counts before -o, that before the guest's lines, those before the defaults", async () => {
    const cli = cliWith(GUESTS);
    const input = (...args: string[]) =>
      parseInput(
        { name: "connect", options: [...COMMON_OPTIONS, { name: "obfuscate", value: "HOW", help: "" }] },
        args,
      );
    const settled = async (...args: string[]) =>
      (await namedGuest("db1", input(...args), cli.services)).input;
    expect((await settled()).text("timeout")).toBe("7");
    expect((await settled()).text("obfuscate")).toBe("strict");
    expect((await settled("-o", "timeout=8")).text("timeout")).toBe("8");
    expect((await settled("-o", "timeout=8", "--timeout", "9")).text("timeout")).toBe("9");
    expect((await settled("-l", "alice")).text("login")).toBe("alice");
    expect((await settled("-o", "identity=none")).has("identity")).toBe(false);
    expect((await settled("-o", "identity=none", "-i", "x")).text("identity")).toBe("x");
    expect((await settled("-o", "batch=yes")).has("batch")).toBe(true);
    expect((await settled("-o", "keep=yes")).has("keep")).toBe(false); // this command has no --keep
    const { said, alias } = await settled("-l", "alice");
    expect(said?.has("policy")).toBe(false);
    expect(alias).toBe("db1");
  });
  test("settling twice gives the same, and reads the file once", async () => {
    const cli = cliWith(GUESTS);
    const first = await namedGuest(
      "db1",
      parseInput({ name: "x", options: COMMON_OPTIONS }, []),
      cli.services,
    );
    rmSync(file);
    const second = await namedGuest(first.guest, first.input, first.services);
    expect(second).toEqual(first);
  });
  test("forwards are the options of sealtty forward, behind those of the command line", async () => {
    const cli = cliWith(`${GUESTS}forwards = ["-L 8080:localhost:80", "-R 1:h:2"]\n`);
    const options: OptionSpec[] = [
      ...COMMON_OPTIONS,
      { name: "local", short: "L", value: "SPEC", help: "" },
      { name: "remote", short: "R", value: "SPEC", help: "" },
    ];
    const given = parseInput({ name: "forward", options }, ["-L", "1:a:1", "-o", "forwards=-L 2:b:2"]);
    const { input } = await namedGuest("db1", given, cli.services);
    expect(input.texts("local")).toEqual(["1:a:1", "2:b:2", "8080:localhost:80"]);
    expect(input.texts("remote")).toEqual(["1:h:2"]);
    expect(input.texts("dynamic")).toEqual([]);
    expect(input.has("remote")).toBe(true);
  });
  test("defaults count for an address as well; a guest's lines do not", async () => {
    const cli = cliWith(GUESTS);
    const policy = path.join(directory, "sealtty", "db1.policy.toml");
    expect(await run(["sessions", "tcp:db1.example:7000", "--policy", policy], cli.services)).toBe(0);
    expect(cli.connects[0]).toMatchObject({ timeout: 7000, encoding: "auto" });
    expect(cli.auths[0]).toMatchObject({ method: "none", user: "me" });
  });
  test("one that is not known is named, with those that are", async () => {
    const cli = cliWith(GUESTS);
    expect(await run(["connect", "db2"], cli.services)).toBe(255);
    expect(cli.errors()).toMatch(/there is no guest "db2"; .*guests\.toml has db1\. An address has a colon/);
    expect(await run(["connect", "root@db1"], cli.services)).toBe(255);
    expect(cli.errors()).toContain(
      '"root@db1" is no guest address: the user goes with -l, as in -l root db1',
    );
    expect(cli.connects).toEqual([]);
    const none = cliWith("");
    expect(await run(["inspect", "db2"], none.services)).toBe(2);
    expect(none.errors()).toContain("guests.toml names no guest: write [guests.db2] into ");
  });
  test("without a file, addresses work and names are explained", async () => {
    const cli = fakeCli({ environment: { XDG_CONFIG_HOME: path.join(directory, "nothing") } });
    const policy = path.join(directory, "sealtty", "db1.policy.toml");
    expect(await run(["sessions", "tcp:h:1", "--policy", policy], cli.services)).toBe(0);
    expect(await run(["sessions", "db1"], cli.services)).toBe(255);
    expect(cli.errors()).toContain('there is no guest "db1"');
  });
  test("-F names another file; it must be there", async () => {
    const cli = cliWith(GUESTS);
    const other = path.join(directory, "other.toml");
    writeFileSync(other, `[guests.db1]\naddress = "tcp:other:1"\npolicy = "sealtty/db1.policy.toml"\n`);
    expect(await run(["sessions", "-F", other, "db1"], cli.services)).toBe(0);
    expect(cli.connects[0]).toMatchObject({ address: "tcp:other:1", timeout: 30_000 });
    expect(await run(["sessions", "-F", `${other}.not`, "db1"], cli.services)).toBe(255);
    expect(cli.errors()).toContain("other.toml.not: there is no such file; check the path");
  });
  test("an address by -o, with the guest's other lines or without any", async () => {
    const cli = cliWith(GUESTS);
    expect(await run(["sessions", "db1", "-o", "address=tcp:moved:2"], cli.services)).toBe(0);
    expect(cli.connects[0]).toMatchObject({ address: "tcp:moved:2", encoding: "armour" });
    const policy = path.join(directory, "sealtty", "db1.policy.toml");
    const args = ["sessions", "new", "-o", "address=tcp:new:3", "--policy", policy];
    expect(await run(args, cli.services)).toBe(0);
    expect(cli.connects[1]).toMatchObject({ address: "tcp:new:3", encoding: "auto" });
    expect(await run(["sessions", "tcp:h:1", "-o", "address=tcp:h:2"], cli.services)).toBe(255);
    expect(cli.errors()).toContain("-o address goes with a name");
  });
  test.runIf(process.platform !== "win32")(
    "a file that others may change is refused: it names policies",
    async () => {
      const cli = cliWith(GUESTS);
      for (const mode of [0o620, 0o602]) {
        chmodSync(file, mode);
        expect(await run(["sessions", "db1"], cli.services)).toBe(255);
      }
      expect(cli.errors()).toContain("chmod go-w");
      chmodSync(file, 0o644);
      expect(await run(["sessions", "db1"], cli.services)).toBe(0);
    },
  );
  test("what is no text, or too much of it, is refused", async () => {
    const cli = cliWith(GUESTS);
    writeFileSync(file, Uint8Array.of(0x5b, 0xff));
    expect(await run(["sessions", "db1"], cli.services)).toBe(255);
    expect(cli.errors()).toContain("is not UTF-8 text");
    writeFileSync(file, `# ${"x".repeat(256 * 1024)}`);
    expect(await run(["sessions", "db1"], cli.services)).toBe(255);
    expect(cli.errors()).toContain("is larger than 256 KiB");
  });
  test("a guest's host settings replace the environment's, for this guest only", async () => {
    const dials: unknown[] = [];
    const cli = cliWith(
      '[guests.vm]\naddress = "proxmox:pve/n/101"\npolicy = "db1.policy.toml"\nhost = { token_file = "pve.token" }\n' +
        '[guests.vm2]\naddress = "proxmox:pve/n/102"\npolicy = "db1.policy.toml"\n',
      {
        environment: {
          XDG_CONFIG_HOME: directory,
          SEALTTY_PROXMOX_TOKEN: "a!b=c",
          SEALTTY_PROXMOX_CA_FILE: "/ca",
          SEALTTY_NOVA_API: "https://n",
        },
        dial(_, environment) {
          dials.push(environment);
          return Promise.reject(new SealttyError("transport-lost", "nobody is there"));
        },
      },
    );
    expect(await run(["sessions", "vm"], cli.services)).toBe(0);
    expect(await run(["sessions", "vm2"], cli.services)).toBe(0);
    for (const { dial } of cli.connects) await dial?.().catch(() => undefined);
    expect(dials).toEqual([
      {
        XDG_CONFIG_HOME: directory,
        SEALTTY_PROXMOX_TOKEN_FILE: path.join(directory, "sealtty", "pve.token"),
        SEALTTY_PROXMOX_TOKEN: undefined,
        SEALTTY_PROXMOX_CA_FILE: undefined,
        SEALTTY_NOVA_API: "https://n",
      },
      undefined,
    ]);
  });
});

describe("commands with a name", () => {
  test("inspect judges by the guest's policy, but not where it makes a new one", async () => {
    const cli = cliWith(GUESTS);
    expect(await run(["inspect", "db1"], cli.services)).toBe(0);
    expect(cli.out()).toContain("against your policy");
    const first = cliWith(GUESTS.replace("db1.policy.toml", "not-there-yet.toml"));
    const target = path.join(directory, "saved.toml");
    expect(await run(["inspect", "db1", "--save-policy", target], first.services)).toBe(0);
    expect(first.out()).toContain("against NO policy");
    expect(await run(["inspect", "db1"], first.services)).toBe(2);
    expect(first.errors()).toMatch(
      /not-there-yet\.toml: there is no such file; .* sealtty inspect db1 --save-policy FILE/,
    );
  });
  test("connect passes its exit status through; -l counts before the file's user", async () => {
    const cli = cliWith(GUESTS);
    cli.stdin.isTTY = true;
    const done = run(["connect", "db1", "-l", "alice"], cli.services);
    await vi.waitFor(() => expect(cli.requests).toHaveLength(1));
    expect(cli.auths[0]).toMatchObject({ user: "alice" });
    cli.channel.finish({ kind: "exited", status: 4 });
    expect(await done).toBe(4);
  });
});

describe("--batch", () => {
  const policy = () => path.join(directory, "sealtty", "db1.policy.toml");
  test("connect takes a key, because the guest's login program would ask", async () => {
    const cli = fakeCli();
    const done = run(["connect", "tcp:h:1", "--policy", policy(), "--batch"], cli.services);
    await vi.waitFor(() => expect(cli.requests).toHaveLength(1));
    expect(cli.auths[0]).toMatchObject({ method: "ssh-key" });
    expect(cli.requests[0]).toMatchObject({ kind: "shell" });
    cli.channel.finish({ kind: "exited", status: 0 });
    expect(await done).toBe(0);
    const keyless = fakeCli({
      loadIdentity: () => Promise.reject(new SealttyError("bad-config", "No SSH key to authenticate with")),
    });
    expect(await run(["connect", "tcp:h:1", "--policy", policy(), "--batch"], keyless.services)).toBe(255);
    expect(keyless.errors()).toContain("bad-config: No SSH key");
    expect(keyless.connects).toEqual([]);
  });
  test.each([
    ["said once", [], 1],
    ["not with -q", ["-q"], 0],
  ] as const)("a certificate beside the key that has expired is left out: %s", async (_, options, times) => {
    const cli = fakeCli({
      loadIdentity(file, how) {
        how?.certificateSkipped?.("k-cert.pub: this certificate expired at 2021-01-01T00:00:00.000Z");
        const sign = () => Promise.resolve(Uint8Array.of(2));
        return Promise.resolve({ publicKey: Uint8Array.of(1), source: file ?? "default", sign });
      },
    });
    const done = run(["connect", "tcp:h:1", "--policy", policy(), "-i", "k", ...options], cli.services);
    await vi.waitFor(() => expect(cli.requests).toHaveLength(1));
    cli.channel.finish({ kind: "exited", status: 0 });
    expect(await done).toBe(0);
    const said =
      "sealtty: warning: k-cert.pub: this certificate expired at 2021-01-01T00:00:00.000Z; the key is tried without it";
    expect(cli.errors().split(said).length - 1).toBe(times);
  });
  test.each([false, true])("on a changed guest nobody is asked (batch: %s)", async (batch) => {
    const cli = fakeCli();
    cli.stdin.isTTY = true;
    cli.stdout.isTTY = true;
    const done = run(
      ["connect", "tcp:h:1", "--policy", policy(), ...(batch ? ["--batch"] : [])],
      cli.services,
    );
    await vi.waitFor(() => expect(cli.requests).toHaveLength(1));
    cli.connects[0]?.onAttestation?.({
      kind: "changed",
      reason: "it is another",
      changes: [],
      refusal: undefined,
    });
    if (batch) {
      expect(await done).toBe(255);
      expect(cli.errors()).toContain("evidence-refused: it is another");
      return;
    }
    expect(cli.errors()).toContain("goes on if you know why");
    cli.channel.finish({ kind: "exited", status: 0 });
    expect(await done).toBe(0);
  });
});

describe("quiet in scripts", () => {
  test.each([
    [false, [], false],
    [false, ["-v"], true],
    [true, [], true],
    [true, ["-q"], false],
    [true, ["--json"], false],
  ])("standard error a terminal: %s, %j: what was verified is said: %s", async (isTTY, more, said) => {
    const cli = fakeCli();
    cli.stderr.isTTY = isTTY;
    const policy = path.join(directory, "sealtty", "db1.policy.toml");
    expect(await run(["sessions", "tcp:h:1", "--policy", policy, ...more], cli.services)).toBe(0);
    expect(cli.errors().includes('sealtty: verified "test"')).toBe(said);
    if (!more.includes("--json")) expect(cli.errors()).toContain("SIMULATED"); // a warning is no banner
  });
  test.each([
    [{}, false, false],
    [{}, true, true],
    [{ NO_COLOR: "1" }, true, false],
    [{ NO_COLOR: "" }, true, true],
    [{ FORCE_COLOR: "1" }, false, true],
    [{ FORCE_COLOR: "0" }, true, false],
    [{ NO_COLOR: "1", FORCE_COLOR: "1" }, true, false],
    [{ TERM: "dumb" }, true, false],
  ])("%j, a terminal: %s: colours: %s", async (environment, isTTY, colours) => {
    const cli = fakeCli({ environment });
    cli.stderr.isTTY = isTTY;
    const policy = path.join(directory, "sealtty", "db1.policy.toml");
    expect(await run(["sessions", "tcp:h:1", "--policy", policy], cli.services)).toBe(0);
    expect(cli.errors().includes("\x1b[")).toBe(colours);
  });
});
