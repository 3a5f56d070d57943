// Who gets the program that copies files, and what it is started with.
import os from "node:os";
import { expect, test } from "vitest";
import type { AuthenticatedUser } from "../../protocol/session/guest-process.ts";
import { UNRESTRICTED } from "../../protocol/user-auth/restrictions.ts";
import { planPrograms, startPlanned } from "../../server/sessions/user-programs.ts";

const start = startPlanned(
  planPrograms(
    {
      authorizedKeys: "/none",
      names: "any",
      login: undefined,
      shell: undefined,
      passkeyOrigins: [],
      pam: "auto",
      maxPrograms: 512,
    },
    undefined,
  ),
);
const user = {
  name: os.userInfo().username,
  method: "ssh-key",
  key: new Uint8Array(32),
  restrictions: UNRESTRICTED,
} as const satisfies AuthenticatedUser;

test("a key with a forced command copies no files", async () => {
  const restricted: AuthenticatedUser = {
    ...user,
    restrictions: { ...UNRESTRICTED, command: "uptime" },
  };
  await expect(start(restricted, { kind: "files" })).rejects.toThrow(
    expect.objectContaining({ code: "user-refused" }),
  );
});

test("another starts it, and it ends with its input", async () => {
  const program = await start(user, { kind: "files" });
  program.endInput();
  for (const output of [program.stdout, program.stderr]) {
    for (let chunk = await output.read(); chunk !== undefined; chunk = await output.read())
      expect(Buffer.from(chunk).toString()).toBe("");
  }
  expect(await program.exit).toEqual({ kind: "exited", status: 0 });
});
