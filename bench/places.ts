// Where the project's files are, seen from the bundle dist/bench/bench.js.

import path from "node:path";

export const projectRoot = path.resolve(import.meta.dirname, "../..");
export const sealttydFile = path.join(projectRoot, "dist/bin/sealttyd.js");
export const sealttyFile = path.join(projectRoot, "dist/bin/sealtty.js");
export const sealttyExecFile = path.join(projectRoot, "dist/bin/sealtty-exec");
export const pageDirectory = path.join(projectRoot, "dist/page");
export const benchmarksDocument = path.join(projectRoot, "docs/benchmarks.md");
