// Where the programs are that sealttyd starts for a channel, and that are its own.

import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

/** Copies files for a user. @returns undefined where it is missing. */
export const filesProgram = (): string | undefined => besideSealttyd("sealttyd-files.js");

/** Hands over questions for passphrases. @returns undefined where it is missing. */
export const promptsProgram = (): string | undefined => besideSealttyd("sealttyd-prompts.js");

/** Does what takes root's rights. @returns undefined where it is missing. */
export const serviceProgram = (): string | undefined => besideSealttyd("sealttyd-service.js");

/** Beside the program; where this is not bundled, where `npm run build` puts it. */
function besideSealttyd(name: string): string | undefined {
  const own = path.dirname(fileURLToPath(import.meta.url));
  return [path.join(own, name), path.resolve(own, "../../dist/bin", name)].find((file) =>
    fs.existsSync(file),
  );
}
