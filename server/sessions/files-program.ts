// Where the program is that copies files for a user.

import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const NAME = "sealttyd-files.js";

/** Beside the program; where this is not bundled, where `npm run build` puts it. @returns undefined where it is missing. */
export function filesProgram(): string | undefined {
  const own = path.dirname(fileURLToPath(import.meta.url));
  return [path.join(own, NAME), path.resolve(own, "../../dist/bin", NAME)].find((file) =>
    fs.existsSync(file),
  );
}
