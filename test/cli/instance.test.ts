// `sealtty instance`: what it says of a document, and what to start a guest with.

import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { instanceCommand } from "../../cli/commands/instance.ts";
import { launchForms } from "../../cli/instance-launch.ts";
import { parseInput } from "../../cli/options.ts";
import { exitStatusOf } from "../../cli/report.ts";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { documentDigests } from "../../protocol/attestation/instance/document.ts";
import { parsePolicy } from "../../protocol/attestation/policy.ts";
import { parseServerConfig } from "../../server/config.ts";
import { utf8 } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { DOCUMENT } from "../protocol/attestation/made-instances.ts";
import { SNP, head } from "../protocol/attestation/made-policies.ts";
import { fakeCli } from "./fake-cli.ts";

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(path.join(tmpdir(), "sealtty-instance-test-"));
});
afterAll(() => rmSync(directory, { recursive: true }));

function fileOf(content: string | Uint8Array, name = "db1.instance.toml"): string {
  const file = path.join(directory, name);
  writeFileSync(file, content);
  return file;
}

async function instance(...args: string[]) {
  const cli = fakeCli();
  let status: number;
  let error: unknown;
  try {
    status = await instanceCommand.run(parseInput(instanceCommand, args), cli.services);
  } catch (thrown) {
    error = thrown;
    status = exitStatusOf(thrown, instanceCommand.exits);
  }
  return { status, error, out: cli.out(), errors: cli.errors() };
}

const hash = (name: string, encoding: "hex" | "base64") => createHash(name).update(DOCUMENT).digest(encoding);

describe("make", () => {
  test("digests, arguments for QEMU and libvirt, and what the policy gets", async () => {
    const file = fileOf(DOCUMENT);
    const { status, out, errors } = await instance("make", file);
    expect(status).toBe(0);
    for (const part of [
      hash("sha256", "hex"),
      hash("sha384", "hex"),
      `host-data=${hash("sha256", "base64")}`,
      `mrconfigid=${hash("sha384", "base64")}`,
      `<hostData>${hash("sha256", "base64")}</hostData>`,
      `<mrConfigId>${hash("sha384", "base64")}</mrConfigId>`,
      `-fw_cfg name=opt/org.sealtty/instance,file=${file}`,
      `<entry name='opt/org.sealtty/instance' file='${file}'/>`,
      `tpm2_pcrextend 15:sha256=${hash("sha256", "hex")},sha384=${hash("sha384", "hex")}`,
    ]) {
      expect(out).toContain(part);
    }
    expect(errors).toContain("not tested on such hardware");
    expect(errors).toContain("keep secrets out of it");
  });

  test("the lines for the policy make it whole", async () => {
    const { out } = await instance("make", "--json", fileOf(DOCUMENT));
    const { launch } = JSON.parse(out);
    const policy = parsePolicy(`${head("hardware")}${SNP}${launch.policy}\n`);
    expect(policy.instance.documents).toEqual([hash("sha256", "hex")]);
  });

  test("the lines for sealttyd.toml are taken, without authorized_keys, as is said", async () => {
    const { out } = await instance("make", "--json", fileOf(DOCUMENT));
    const { launch } = JSON.parse(out);
    const config = (users: string) =>
      `[pipe]\ntype = "virtio"\nname = "sealtty.0"\n[evidence]\ntype = "sev-snp"\n${launch.sealttyd}\n[users]\n${users}\n`;
    expect(parseServerConfig(config('login = ["/bin/login"]'), "sealttyd.toml").instance).toMatchObject({
      document: ["fw_cfg"],
    });
    expect(() => parseServerConfig(config('authorized_keys = "/etc/k"'), "sealttyd.toml")).toThrow(
      /authorized_keys/,
    );
    const { out: text } = await instance("make", fileOf(DOCUMENT));
    expect(text).toMatch(/sealttyd\.toml: .*authorized_keys/);
  });

  test("--json: one line with stable fields", async () => {
    const { status, out, errors } = await instance("make", "--json", fileOf(DOCUMENT));
    expect(status).toBe(0);
    expect(errors).toBe("");
    const event = JSON.parse(out);
    expect(event).toMatchObject({
      event: "instance",
      name: "db1",
      users: "any",
      commands: "any",
      agent: { login: false, shell: true },
      sha256: hash("sha256", "hex"),
      sha384: hash("sha384", "hex"),
      pcr: 15,
    });
    expect(event.authorizedKeys).toEqual([
      {
        type: "ssh-ed25519",
        fingerprint: expect.stringMatching(/^SHA256:[A-Za-z0-9+/]{43}$/),
        comment: "alice@laptop",
      },
    ]);
    expect(Object.keys(event.launch)).toEqual([
      "qemu-snp",
      "qemu-tdx",
      "qemu-delivery",
      "libvirt-snp",
      "libvirt-tdx",
      "libvirt-delivery",
      "tpm",
      "sealttyd",
      "policy",
    ]);
  });

  test("paths with commas, blanks and quotes survive QEMU, shell and XML", () => {
    const forms = (file: string) =>
      Object.fromEntries(
        launchForms(documentDigests(nodeSuite, utf8(DOCUMENT)), file, 15).map(({ name, text }) => [
          name,
          text,
        ]),
      );
    expect(forms("/a,b")["qemu-delivery"]).toBe("-fw_cfg name=opt/org.sealtty/instance,file=/a,,b");
    expect(forms("/a b's")["qemu-delivery"]).toBe(
      String.raw`-fw_cfg 'name=opt/org.sealtty/instance,file=/a b'\''s'`,
    );
    expect(forms("/a'<&>")["libvirt-delivery"]).toContain("file='/a&apos;&lt;&amp;>'");
  });
});

describe("show", () => {
  test("what it says, in words, with the keys' fingerprints as ssh-keygen has them", async () => {
    const limited =
      DOCUMENT.replace('users = ["*"]', 'users = ["root", "alice"]').replace(
        'commands = ["*"]',
        'commands = [["uptime"], ["sh", "-c", "a b"]]',
      ) + "[agent]\nlogin = true\nshell = false\n";
    const { status, out } = await instance("show", fileOf(limited));
    expect(status).toBe(0);
    expect(out).toContain('"db1"');
    expect(out).toMatch(/ssh-ed25519 SHA256:[A-Za-z0-9+/]{43} alice@laptop\n/);
    expect(out).toContain("root, alice");
    expect(out).toContain('uptime; sh -c "a b"\n');
    expect(out).toMatch(/shell +none/);
    expect(out).toMatch(/password +the guest's login program/);
    expect(out).not.toContain("-fw_cfg");
  });
  test("any, nothing and nobody are said", async () => {
    const open = await instance("show", fileOf(DOCUMENT));
    expect(open.out).toMatch(/users +any account/);
    expect(open.out).toMatch(/exec +anything/);
    expect(open.out).toMatch(/password +nobody/);
    const none = DOCUMENT.replace('commands = ["*"]', "commands = []");
    const shut = await instance("show", fileOf(`${none}[agent]\nshell = false\n`));
    expect(shut.out).toMatch(/exec +nothing/);
  });
});

test("a bad document: file, place and advice on stderr; status 1", async () => {
  const file = fileOf(DOCUMENT.replace('users = ["*"]\n', ""));
  for (const verb of ["make", "show"]) {
    const { status, out, errors } = await instance(verb, file);
    expect(status).toBe(1);
    expect(out).toBe("");
    expect(errors).toMatch(/^sealtty: bad-config: .*users is missing; write /);
    expect(errors).toContain(file);
  }
});

test.each([
  ["a file that is not there", () => path.join(directory, "none.toml"), "there is no such file"],
  ["a huge file", () => fileOf(new Uint8Array(64 * 1024 + 1), "huge.toml"), "is larger than 64 KiB"],
])("%s: status 2", async (_what, file, part) => {
  const { status, error } = await instance("make", file());
  expect(status).toBe(2);
  expect((error as SealttyError).message).toContain(part);
});

test("schema prints the schema of the repository", async () => {
  const { status, out } = await instance("schema");
  expect(status).toBe(0);
  const file = fileURLToPath(new URL("../../docs/instance.schema.json", import.meta.url));
  expect(out).toBe(readFileSync(file, "utf8"));
});

test.each([
  ["nothing"],
  ["an unknown verb", "sign", "x"],
  ["no file", "make"],
  ["two files", "show", "a", "b"],
])("usage: %s, status 2", async (_what, ...args) => {
  const { status, error } = await instance(...args);
  expect(status).toBe(2);
  expect((error as SealttyError).message).toContain("usage: sealtty instance");
});
