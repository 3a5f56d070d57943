// Stands in for sealttyd in the test guest, on many pipes at once: sealttyd's own parts, one server for each file in
// /etc/sealtty/pipes, in one process (twenty-six of them would fill the guest's memory). Runs there, bundled.

import fs from "node:fs";
import { readServerConfig } from "../../server/config.ts";
import { createLog } from "../../server/log.ts";
import { serve } from "../../server/serve.ts";

const DIRECTORY = "/etc/sealtty/pipes";
const log = createLog({ level: "error" });

for (const file of fs.readdirSync(DIRECTORY)) {
  try {
    await serve(await readServerConfig(`${DIRECTORY}/${file}`), log);
    console.error(`serves ${file}`);
  } catch (error) {
    console.error(`cannot serve ${file}: ${error instanceof Error ? error.message : "unknown"}`);
  }
}
console.error("serves all");
