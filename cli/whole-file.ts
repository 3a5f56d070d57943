// Writing a file whole or not at all.

import { open, rename, stat, unlink } from "node:fs/promises";

/**
 * @param replace - an existing file gives way, and its permissions stay; else it must not be there (EEXIST).
 * @throws Error: Node's own, with `code`; nothing of the new file is left then.
 */
export async function writeWholeFile(
  file: string,
  content: string | Uint8Array,
  replace: boolean,
): Promise<void> {
  const written = replace ? `${file}.${process.pid}.new` : file;
  const mode = replace ? (await stat(file).catch(() => ({ mode: 0o644 }))).mode & 0o777 : 0o644;
  const handle = await open(written, "wx", mode);
  try {
    try {
      await handle.writeFile(content);
      await handle.sync();
    } finally {
      await handle.close();
    }
    if (replace) await rename(written, file);
  } catch (error) {
    await unlink(written).catch(() => undefined);
    throw error;
  }
}
