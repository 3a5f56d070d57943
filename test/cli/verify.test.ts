// Evidence kept in files and verified again; what was seen before; what re-attestation does to a command.

import { webcrypto } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AttestationWatch } from "../../cli/attestation-watch.ts";
import { evidenceFileText, readEvidenceFile } from "../../cli/evidence-file.ts";
import { run } from "../../cli/program.ts";
import { Reporter } from "../../cli/report.ts";
import { keepLook, lookBack } from "../../cli/seen-guests.ts";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { encodeAux } from "../../protocol/attestation/aux.ts";
import { binderOf } from "../../protocol/attestation/binder.ts";
import { decodeEvidence } from "../../protocol/attestation/evidence.ts";
import { signSimulatedQuote, simulatedParts } from "../../protocol/attestation/simulated.ts";
import type { ClaimedValue } from "../../protocol/attestation/verified-guest.ts";
import { toHex } from "../../protocol/bytes.ts";
import { webCryptoSignatures } from "../../protocol/crypto/webcrypto-signatures.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { Services } from "../../cli/services.ts";
import { parsePolicy } from "../../protocol/attestation/policy.ts";
import type { AttestationEvent } from "../../protocol/session/api.ts";
import {
  evidenceDirectory,
  hasEvidence,
  newContext,
  sample,
  sampleJson,
} from "../protocol/attestation/support.ts";
import { CLAIMS, fakeCli, POLICY_TEXT } from "./fake-cli.ts";

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(path.join(os.tmpdir(), "sealtty-verify-"));
});
afterAll(() => rmSync(directory, { recursive: true }));

const file = (name: string, content: string | Uint8Array): string => {
  const made = path.join(directory, name);
  writeFileSync(made, content);
  return made;
};
const realSignatures = { signatures: webCryptoSignatures(webcrypto.subtle) };

function simulatedEvidence(context = newContext()) {
  const secretKey = nodeSuite.randomBytes(32);
  const aux = encodeAux(
    simulatedParts({ publicKey: nodeSuite.ed25519PublicKey(secretKey), instance: "test" }),
  );
  const quote = signSimulatedQuote(nodeSuite, secretKey, binderOf(nodeSuite, context, "simulated", aux));
  return { evidence: { type: "simulated", quote, aux } as const, context };
}

describe("evidence files", () => {
  test("what was kept is read back, and verifies against the policy; another policy refuses it", async () => {
    const { evidence, context } = simulatedEvidence();
    const kept = file("kept.json", evidenceFileText(evidence, context, Date.UTC(2026, 5, 1)));
    expect(await readEvidenceFile(kept)).toMatchObject({ evidence, context, at: "2026-06-01T00:00:00.000Z" });
    const policy = file("policy.toml", POLICY_TEXT);
    const cli = fakeCli(realSignatures);
    const args = ["verify", "--policy", policy, "--evidence", kept, "--simulated"];
    expect(await run(args, cli.services)).toBe(0);
    expect(cli.out()).toMatch(/^verdict .*proves nothing/);
    expect(cli.out()).toContain("2026-06-01");
    expect(cli.connects).toEqual([]); // offline
    const other = file("other.toml", POLICY_TEXT.replace('instance = "test"', 'instance = "other"'));
    const refusing = fakeCli(realSignatures);
    expect(
      await run(["verify", "--policy", other, "--evidence", kept, "--simulated"], refusing.services),
    ).toBe(1);
    expect(refusing.errors()).toContain("simulated.instance");
    expect(refusing.errors()).toContain("policy:   simulated.instance");
    const unasked = fakeCli(realSignatures);
    expect(await run(["verify", "--policy", policy, "--evidence", kept], unasked.services)).toBe(1);
  });

  test("a kept file whose context or evidence was changed is refused", async () => {
    const { evidence, context } = simulatedEvidence();
    const text = evidenceFileText(evidence, context, 0);
    const policy = file("policy.toml", POLICY_TEXT);
    const made = JSON.parse(text) as { madeFor: Record<string, string>; evidence: string };
    for (const name of Object.keys(made.madeFor)) {
      const changed = { ...made, madeFor: { ...made.madeFor, [name]: "00".repeat(32) } };
      const cli = fakeCli(realSignatures);
      const kept = file("changed.json", JSON.stringify(changed));
      expect(await run(["verify", "--policy", policy, "--evidence", kept, "--simulated"], cli.services)).toBe(
        1,
      );
      expect(cli.errors()).toContain("simulated.binding");
    }
  });

  test.each([
    ["nothing", ""],
    ["words", "hello"],
    ["JSON of something else", "{}"],
    ["broken JSON", "{"],
    ["a field that is no hex", '{"format":"sealtty-evidence/1","madeFor":{"handshakeHash":1},"evidence":""}'],
  ])("%s is no evidence: usage error, not a refusal", async (_what, content) => {
    const policy = file("policy.toml", POLICY_TEXT);
    const cli = fakeCli();
    expect(await run(["verify", "--policy", policy, "--evidence", file("bad", content)], cli.services)).toBe(
      2,
    );
    expect(cli.errors()).toMatch(/bad-config: .*evidence/);
  });

  test("missing options and times that are none are usage errors", async () => {
    const policy = file("policy.toml", POLICY_TEXT);
    const { evidence, context } = simulatedEvidence();
    const kept = file("kept.json", evidenceFileText(evidence, context, 0));
    for (const args of [
      ["verify", "--policy", policy],
      ["verify", "--evidence", kept],
      ["verify", "GUEST", "--policy", policy, "--evidence", kept],
      ["verify", "--policy", policy, "--evidence", kept, "--at", "yesterday"],
      ["verify", "--policy", policy, "--evidence", kept, "--report-data", "00"],
      ["verify", "--policy", policy, "--evidence", path.join(directory, "absent")],
      ["verify", "--policy", policy, "--evidence", kept, "--collateral", path.join(directory, "absent")],
    ]) {
      expect(await run(args, fakeCli().services), args.join(" ")).toBe(2);
    }
  });

  test.runIf(hasEvidence)(
    "a bare SNP report and a bare TDX quote of real machines, with --collateral",
    async () => {
      const collateralOf = (name: string, files: readonly string[]): string => {
        const place = path.join(directory, name);
        mkdirSync(place, { recursive: true });
        for (const each of files) writeFileSync(path.join(place, path.basename(each)), sample(each));
        return place;
      };
      const snp = "snp/genoa-v3-yaxi";
      const { claims } = sampleJson(`${snp}/expected.json`) as { claims: Record<string, string> };
      const snpPolicy = file(
        "snp.toml",
        `version = 1\nname = "db1"\nminimumAssurance = "hardware"\n[snp]\nmeasurement = ["${claims.measurement}"]\nchipId = ["${claims.chip_id}"]\ncrl = "if-present"\n`,
      );
      const snpArgs = [
        ...["verify", "--policy", snpPolicy, "--evidence", `${evidenceDirectory}/${snp}/report.bin`],
        ...[
          "--collateral",
          collateralOf(
            "snp-c",
            ["vcek", "ask", "ark"].map((each) => `${snp}/${each}.der`),
          ),
        ],
        ...["--at", "2026-06-01T00:00:00Z"],
      ];
      const bare = fakeCli(realSignatures);
      expect(await run(snpArgs, bare.services), bare.errors()).toBe(0);
      expect(bare.out()).toContain("may be replayed");
      expect(bare.out()).not.toContain("this very connection");
      const shown = fakeCli(realSignatures);
      const described = ["inspect", ...snpArgs.slice(3)];
      const saved = path.join(directory, "snp-shown.toml");
      expect(await run([...described, "--save-policy", saved], shown.services), shown.errors()).toBe(0);
      expect(shown.out()).toContain("may be replayed");
      expect(shown.out()).toContain(claims.measurement);
      expect(shown.out()).not.toContain("answered");
      expect(readFileSync(saved, "utf8")).toContain(claims.measurement);
      const named = fakeCli(realSignatures);
      expect(await run([...snpArgs, "--report-data", claims.report_data as string], named.services)).toBe(0);
      expect(named.out()).not.toContain("may be replayed");
      const wrong = fakeCli(realSignatures);
      expect(await run([...snpArgs, "--report-data", "00".repeat(64)], wrong.services)).toBe(1);
      expect(wrong.errors()).toContain("snp.binding");

      const tdx = "tdx/v4-uptodate-phala";
      const td = (sampleJson(`${tdx}/expected.json`) as { claims: Record<string, string> }).claims;
      const tdxPolicy = file(
        "tdx.toml",
        `version = 1\nname = "td"\nminimumAssurance = "hardware"\nanyInstance = true\n[tdx]\nmrtd = ["${td.mr_td}"]\nallowAnyKernel = true\n[tdx.rtmrs]\n1 = ["${td.rtmr1}"]\n2 = ["${td.rtmr2}"]\n`,
      );
      const pieces = readdirSync(`${evidenceDirectory}/${tdx}`).filter((each) =>
        /\.(pem|der|json)$/.test(each),
      );
      const tdxArgs = [
        ...["verify", "--policy", tdxPolicy, "--evidence", `${evidenceDirectory}/${tdx}/quote.bin`],
        ...[
          "--collateral",
          collateralOf(
            "tdx-c",
            pieces.filter((each) => each !== "expected.json").map((each) => `${tdx}/${each}`),
          ),
        ],
      ];
      const good = fakeCli(realSignatures);
      expect(await run([...tdxArgs, "--at", "2025-06-20T00:00:00Z"], good.services), good.errors()).toBe(0);
      expect(good.out()).toMatch(/names no machine/);
      const late = fakeCli(realSignatures);
      expect(await run([...tdxArgs, "--at", "2025-09-01T00:00:00Z"], late.services)).toBe(1);
    },
  );

  test("inspect --evidence says without a policy what a kept file shows, and saves what pins it", async () => {
    const { evidence, context } = simulatedEvidence();
    const kept = file("kept.json", evidenceFileText(evidence, context, Date.UTC(2026, 5, 1)));
    const target = path.join(directory, "shown.toml");
    const cli = fakeCli(realSignatures);
    const args = ["inspect", "--evidence", kept, "--simulated"];
    expect(await run([...args, "--save-policy", target], cli.services), cli.errors()).toBe(0);
    expect(cli.out()).toContain("against NO policy: this says what the file shows");
    expect(cli.out()).toContain("2026-06-01");
    expect(cli.out()).toContain("Who had that connection");
    expect(cli.out()).not.toContain("answered");
    expect(cli.connects).toEqual([]); // nobody is asked
    expect(parsePolicy(readFileSync(target, "utf8"))).toMatchObject({ name: "shown" });
    const verified = ["verify", "--policy", target, "--evidence", kept, "--simulated"];
    expect(await run(verified, fakeCli(realSignatures).services)).toBe(0);
    expect(await run([...args, "--save-policy", target], fakeCli(realSignatures).services)).toBe(2);

    const json = fakeCli(realSignatures);
    expect(await run([...args, "--json", "--at", "2026-06-02T00:00:00Z"], json.services)).toBe(0);
    const { event, checkedAgainstPolicy, claims } = JSON.parse(json.out());
    expect([event, checkedAgainstPolicy]).toEqual(["claims", false]);
    expect(claims.notVerified[0]).toContain("as of 2026-06-02");

    const changed = { ...context, clientNonce: new Uint8Array(32) };
    const other = file("changed.json", evidenceFileText(evidence, changed, 0));
    const refusing = fakeCli(realSignatures);
    expect(await run(["inspect", "--evidence", other, "--simulated"], refusing.services)).toBe(1);
    expect(refusing.errors()).toContain("simulated.binding");
    expect(await run(["inspect", "--evidence", kept], fakeCli(realSignatures).services)).toBe(1);
  });

  test("inspect --evidence takes no guest, nothing that only a guest could answer, and no policy", async () => {
    const { evidence, context } = simulatedEvidence();
    const kept = file("kept.json", evidenceFileText(evidence, context, 0));
    const policy = file("policy.toml", POLICY_TEXT);
    const offline = ["inspect", "--simulated", "--evidence", kept];
    for (const [args, words] of [
      [[...offline, "tcp:h:1"], "instead of GUEST"],
      [[...offline, "--policy", policy], "sealtty verify"],
      [[...offline, "--save-evidence", path.join(directory, "again.json")], "--save-evidence"],
      [[...offline, "--timeout", "3"], "--timeout"],
      [[...offline, "--at", "yesterday"], "--at"],
      [["inspect", "tcp:h:1", "--at", "2026-06-01T00:00:00Z"], "--at goes with --evidence"],
      [["inspect"], "GUEST is missing"],
    ] as const) {
      const cli = fakeCli(realSignatures);
      expect(await run(args, cli.services), args.join(" ")).toBe(2);
      expect(cli.errors()).toContain(words);
      expect(cli.connects).toEqual([]);
    }
  });

  test("verify without a policy says how a file makes one", async () => {
    const { evidence, context } = simulatedEvidence();
    const kept = file("kept.json", evidenceFileText(evidence, context, 0));
    const cli = fakeCli(realSignatures);
    expect(await run(["verify", "--evidence", kept], cli.services)).toBe(2);
    expect(cli.errors()).toContain(`sealtty inspect --evidence ${kept} --save-policy FILE`);
  });

  test("inspect --save-evidence keeps what was shown, and does not write over a file", async () => {
    const target = path.join(directory, "saved.json");
    const cli = fakeCli();
    expect(await run(["inspect", "tcp:h:1", "--simulated", "--save-evidence", target], cli.services)).toBe(0);
    const saved = JSON.parse(readFileSync(target, "utf8")) as { evidence: string; type: string };
    expect(saved.type).toBe("simulated");
    expect(decodeEvidence(new Uint8Array(Buffer.from(saved.evidence, "base64"))).type).toBe("simulated");
    const again = fakeCli();
    expect(await run(["inspect", "tcp:h:1", "--simulated", "--save-evidence", target], again.services)).toBe(
      2,
    );
  });
});

describe("what was seen before", () => {
  const value = (text: string): ClaimedValue => ({
    name: "snp.measurement",
    words: "Launch measurement",
    value: text,
    scope: "lasting",
  });
  const services = (home: string) => ({ environment: { HOME: home }, wallTime: () => Date.UTC(2026, 0, 2) });

  test("a first look says nothing, the same look nothing, another look what changed", async () => {
    const home = mkdtempSync(path.join(directory, "home-"));
    const look = (text: string, address = "tcp:h:1") =>
      lookBack("db1", address, { values: [value(text)] }, services(home));
    const keep = (text: string) => keepLook("db1", "tcp:h:1", { values: [value(text)] }, services(home));
    expect(await look("aa")).toBeUndefined();
    expect(await look("aa")).toBeUndefined(); // looking keeps nothing
    await keep("aa");
    expect((await look("aa"))?.changes).toEqual([]);
    const changed = await look("bb");
    expect((await look("bb"))?.changes).toEqual(changed?.changes); // until it is kept
    await keep("bb");
    expect(changed?.at).toBe("2026-01-02T00:00:00.000Z");
    expect(changed?.changes).toMatchObject([{ name: "snp.measurement", before: "aa", after: "bb" }]);
    expect((await look("bb"))?.changes).toEqual([]);
    expect(await look("bb", "tcp:h:2")).toBeUndefined(); // another guest
  });

  test("a broken file, and no home at all, are a first look; the connection goes on", async () => {
    const home = mkdtempSync(path.join(directory, "home-"));
    await keepLook("db1", "a", { values: [value("aa")] }, services(home));
    const place = path.join(home, ".local/state/sealtty/seen");
    const [name] = readdirSync(place);
    for (const broken of [
      "",
      "{}",
      "null",
      '{"version":1,"at":"2026-01-02T00:00:00.000Z","values":[null]}',
      "\u0000",
    ]) {
      writeFileSync(path.join(place, name as string), broken);
      expect(await lookBack("db1", "a", { values: [value("aa")] }, services(home))).toBeUndefined();
    }
    expect(await lookBack("db1", "a", { values: [] }, { environment: {} })).toBeUndefined();
    await keepLook("db1", "a", { values: [] }, { environment: {}, wallTime: () => 0 });
    await keepLook("db1", "a", { values: [] }, { environment: { HOME: "/dev/null" }, wallTime: () => 0 });
  });

  test("a boot's own values are not kept", async () => {
    const home = mkdtempSync(path.join(directory, "home-"));
    const boot = (text: string): ClaimedValue => ({ ...value(text), name: "snp.report-id", scope: "boot" });
    await keepLook("db1", "a", { values: [boot("1")] }, services(home));
    expect((await lookBack("db1", "a", { values: [boot("2")] }, services(home)))?.changes).toEqual([]);
  });

  test("it is told even with -q, until a user is in: neither inspect nor a refused user forgets it", async () => {
    const home = mkdtempSync(path.join(directory, "home-"));
    const old = { values: [{ ...value("old"), name: "simulated.instance" }] };
    await keepLook("test", "tcp:h:1", old, services(home));
    const policy = ["tcp:h:1", "--policy", file("policy.toml", POLICY_TEXT), "--simulated", "-q"];
    const command = (name: string, connect?: Services["connect"]) => {
      const cli = fakeCli({ environment: { HOME: home }, ...(connect === undefined ? {} : { connect }) });
      cli.channel.finish({ kind: "exited", status: 0 });
      return run([name, ...policy], cli.services).then((status) => ({ status, errors: cli.errors() }));
    };
    const refusing: Services["connect"] = async (options) => ({
      ...(await fakeCli().services.connect(options)),
      authenticate: () => Promise.reject(new SealttyError("user-refused", "no")),
    });
    for (const { status, errors } of [
      await command("inspect"),
      await command("connect", refusing),
      await command("connect"),
    ]) {
      expect(errors).toMatch(/not what it was on 2026-01-02/);
      expect(errors).toMatch(/- [^\n]*: old\r?\n +\+ [^\n]*: test/);
      expect(status).toBe(errors.includes("user-refused") ? 255 : 0);
    }
    expect((await command("connect")).errors).not.toContain("not what it was");
  });

  test("connecting tells it, and --json has it", async () => {
    const home = mkdtempSync(path.join(directory, "home-"));
    await keepLook(
      "test",
      "tcp:h:1",
      { values: [{ ...value("old"), name: "simulated.instance" }] },
      services(home),
    );
    const policy = file("policy.toml", POLICY_TEXT);
    const environment = { HOME: home, TERM: "xterm" };
    const cli = fakeCli({ environment });
    expect(await run(["inspect", "tcp:h:1", "--policy", policy, "--simulated"], cli.services)).toBe(0);
    expect(cli.errors()).toMatch(/not what it was on 2026-01-02/);
    expect(cli.errors()).toMatch(/- [^\n]*: old\r?\n +\+ [^\n]*: test/);
  });
});

describe("re-attestation and commands", () => {
  const CHANGED: Extract<AttestationEvent, { kind: "changed" }> = {
    kind: "changed",
    reason: "The guest is no longer what it was",
    changes: [{ name: "snp.report-id", words: "Report ID", before: "aa", after: "bb", scope: "boot" }],
    refusal: undefined,
  };
  const policyArgs = () => ["--policy", file("policy.toml", POLICY_TEXT), "-i", "key"];
  const until = async (holds: () => boolean): Promise<void> => {
    for (let i = 0; i < 400 && !holds(); i++) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(holds()).toBe(true);
  };

  test("exec: a changed guest ends the command with 255 and says what changed", async () => {
    const cli = fakeCli();
    const running = run(["exec", "tcp:h:1", ...policyArgs(), "-n", "--", "sleep"], cli.services);
    await until(() => cli.requests.length > 0);
    cli.connects[0]?.onAttestation?.(CHANGED);
    expect(await running).toBe(255);
    expect(cli.errors()).toContain("evidence-refused");
    expect(cli.errors()).toContain("Report ID: aa");
    expect(cli.channel.events).toContain("hang-up");
  });

  test("connect in a terminal: frozen, told, and the person goes on with ~G", async () => {
    let wentOn = 0;
    let frozen = false;
    const base = fakeCli();
    const cli = fakeCli({
      connect: async (options) => {
        const attested = await base.services.connect(options);
        return {
          ...attested,
          async authenticate(auth) {
            const guest = await attested.authenticate(auth);
            return {
              ...guest,
              openChannel: (request) => guest.openChannel(request),
              get frozen() {
                return frozen;
              },
              goOn: () => {
                wentOn++;
                frozen = false;
              },
            };
          },
        };
      },
    });
    cli.stdin.isTTY = true;
    cli.stdout.isTTY = true;
    const running = run(["connect", "tcp:h:1", ...policyArgs()], cli.services);
    await until(() => base.requests.length > 0);
    frozen = true;
    base.connects[0]?.onAttestation?.(CHANGED);
    expect(cli.errors()).toContain("FROZEN");
    expect(cli.errors()).toContain("  - Report ID: aa\n  + Report ID: bb\n");
    expect(cli.errors()).toContain("~G");
    cli.stdin.write("~G");
    await until(() => wentOn === 1);
    cli.stdin.write("\r~.");
    expect(await running).toBe(255);
  });

  test("what a watch says: renewed only when asked for, missing evidence every third time", async () => {
    const cli = fakeCli();
    const watch = new AttestationWatch(new Reporter(cli.services, undefined));
    const renewed = { kind: "renewed", claims: CLAIMS } as const;
    watch.told(CLAIMS);
    watch.event(renewed);
    expect(cli.errors()).toBe("");
    watch.sayNext();
    watch.event(renewed);
    expect(cli.errors()).toContain("the same guest");
    for (const inARow of [1, 2, 3]) watch.event({ kind: "unavailable", reason: "throttled", inARow });
    expect(cli.errors().match(/no fresh evidence/g)).toHaveLength(1);
    expect(watch.changed(CHANGED)).toBe(false); // nobody is there to say that it was meant
    expect(watch.goOn()).toBe(false);
  });
});

describe("warnings of later evidence", () => {
  const renewed = (...warnings: string[]) => ({ kind: "renewed", claims: { ...CLAIMS, warnings } }) as const;

  test("what it warns of for the first time is said, once, even with -q", () => {
    const cli = fakeCli();
    const watch = new AttestationWatch(
      new Reporter(cli.services, { has: (name) => name === "quiet", count: () => 0 }),
    );
    watch.told({ warnings: ["old"] });
    watch.event(renewed("old"));
    expect(cli.errors()).toBe("");
    watch.event(renewed("old", "TCB out of date"));
    watch.event(renewed("old", "TCB out of date"));
    expect(cli.errors()).toBe("sealtty: warning, new since the last evidence: TCB out of date\n");
    watch.event(renewed());
    watch.event(renewed("old")); // gone, and there again
    expect(cli.errors()).toMatch(/: old\n$/);
  });

  test("--json has them in the event", () => {
    const cli = fakeCli();
    const json = { has: (name: string) => name === "json", count: () => 0 };
    const watch = new AttestationWatch(new Reporter(cli.services, json));
    watch.event(renewed("new"));
    expect(JSON.parse(cli.errors())).toEqual({ event: "attestation-renewed", newWarnings: ["new"] });
  });
});

test("an evidence file holds what the connection was, and no key of it", async () => {
  const { evidence, context } = simulatedEvidence();
  const text = evidenceFileText(evidence, context, 0);
  expect(Object.keys(JSON.parse(text) as object)).toEqual(["format", "at", "type", "madeFor", "evidence"]);
  expect(text).toContain(toHex(context.handshakeHash));
});
