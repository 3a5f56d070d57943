// From the configuration to evidence: what is opened, what is missing on a machine without hardware, and what ends the start.

import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test, vi } from "vitest";
import { missingHere } from "../../server/check.ts";
import { parseServerConfig } from "../../server/config.ts";
import { TSM_REPORTS } from "../../server/evidence/configfs-tsm.ts";
import { openEvidence } from "../../server/evidence/open.ts";
import { SEV_GUEST_DEVICE } from "../../server/evidence/sev-guest.ts";
import { createLog } from "../../server/log.ts";
import { serve } from "../../server/serve.ts";

const directory = mkdtempSync(join(tmpdir(), "sealtty-open-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const lines: string[] = [];
const log = createLog({ journal: true, write: (line) => lines.push(line) });
const configOf = (evidence: string, rest = '[users]\nlogin = ["/bin/sh"]\n') =>
  parseServerConfig(
    `[pipe]\ntype = "unix"\npath = ${JSON.stringify(join(directory, "s"))}\n[evidence]\n${evidence}\n${rest}`,
    "c.toml",
  );
const noTee = !existsSync(TSM_REPORTS) && !existsSync(SEV_GUEST_DEVICE);

test.runIf(noTee)(
  "SEV-SNP and TDX without hardware: opened, and told at the probe; --check tells before",
  async () => {
    for (const type of ["sev-snp", "tdx"]) {
      const config = configOf(`type = "${type}"`);
      const { provider, anchor } = await openEvidence(config, log);
      expect(provider.type).toBe(type);
      expect(anchor).toMatchObject({ kind: "field", field: type === "tdx" ? "MRCONFIGID" : "HOST_DATA" });
      await expect(provider.probe()).rejects.toThrow(`There is no ${TSM_REPORTS}. Mount configfs`);
      await provider.close();
      expect(await missingHere(config)).toContainEqual(expect.stringContaining(TSM_REPORTS));
    }
    vi.stubEnv("SEALTTY_NATIVE", directory); // a place without the helper, whatever was built here
    await expect(
      openEvidence(configOf('type = "sev-snp"\ncollector = "sev-guest"'), log),
    ).rejects.toMatchObject({
      code: "evidence-unavailable",
    });
    vi.unstubAllEnvs();
  },
);

test("what is missing for the other kinds", async () => {
  const tpm = configOf('type = "tpm"\ndevice = "/nonexistent/tpm"');
  await expect(openEvidence(tpm, log)).rejects.toThrow("There is no TPM at /nonexistent/tpm");
  const azure = configOf('type = "azure"\ndevice = "/nonexistent/tpm"');
  await expect(openEvidence(azure, log)).rejects.toThrow("There is no TPM at /nonexistent/tpm");
  const collateral = configOf(
    'type = "tdx"\ncollateral = "/nonexistent/c"',
    '[users]\nlogin = ["/bin/sh"]\n[instance]\nkey = "/nonexistent/k"',
  );
  await expect(openEvidence(collateral, log)).rejects.toThrow("/nonexistent/c does not exist");
  const missing = (await Promise.all([tpm, azure, collateral].map(missingHere))).flat();
  for (const words of [
    "no TPM at /nonexistent/tpm",
    "no directory /nonexistent/c",
    "no instance key /nonexistent/k",
  ])
    expect(missing).toContainEqual(expect.stringContaining(words));
});

test("collateral that cannot be used ends the start, naming its file", async () => {
  writeFileSync(join(directory, "bad.json"), "{");
  const config = configOf(`type = "tdx"\ncollateral = ${JSON.stringify(directory)}`);
  await expect(serve(config, log)).rejects.toThrow("bad.json is not valid JSON");
});

test.runIf(noTee)(
  "without evidence a TEE's daemon serves and warns; where a document has to be believed, it does not start",
  async () => {
    lines.length = 0;
    const server = await serve(configOf('type = "sev-snp"'), log);
    await server.stop();
    expect(lines).toContainEqual(expect.stringMatching(/^<4>NO EVIDENCE can be had.*There is no/));
    const file = join(directory, "document");
    writeFileSync(
      file,
      'version = 1\nname = "x"\nauthorized_keys = []\nusers = ["*"]\ncommands = ["*"]\n[agent]\nlogin = true\n',
    );
    const config = configOf('type = "tdx"', `[instance]\ndocument = [${JSON.stringify(file)}]`);
    await expect(serve(config, log)).rejects.toMatchObject({ code: "evidence-unavailable" });
  },
);
