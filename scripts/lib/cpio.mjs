// Writes newc cpio archives, the format of a Linux initramfs (kernel Documentation/driver-api/early-userspace/buffer-format.rst).
// No root, no cpio program, and the same entries give the same bytes: PCR 9 measures them.

const TYPE = { file: 0o100000, directory: 0o040000, link: 0o120000, character: 0o020000 };
const padding = (length, unit) => Buffer.alloc((unit - (length % unit)) % unit);
const field = (value) => value.toString(16).padStart(8, "0");

function record(inode, name, { mode = 0, links = 1, data = Buffer.alloc(0), device = [0, 0], owner = 0 }) {
  const nameBytes = Buffer.from(`${name}\0`);
  const fields = [inode, mode, owner, owner, links, 0, data.length, 0, 0, ...device, nameBytes.length, 0];
  const head = Buffer.concat([Buffer.from(`070701${fields.map(field).join("")}`), nameBytes]);
  return [head, padding(head.length, 4), data, padding(data.length, 4)];
}

/**
 * One archive; parent directories come by themselves. Archives may be put one behind the other: later files win.
 * @param {Record<string, { data: Buffer | string, mode?: number, owner?: number }
 *   | { link: string } | { directory: true, mode?: number, owner?: number } | { device: [number, number] }>} entries
 *   - by absolute path; `device` is a character device's major and minor number; modes are without the type bits.
 * @returns {Buffer} padded to 512 bytes.
 */
export function cpioArchive(entries) {
  const all = new Map();
  for (const [name, entry] of Object.entries(entries)) {
    const parts = name.split("/").filter((part) => part !== "");
    for (let depth = 1; depth < parts.length; depth++) {
      const parent = parts.slice(0, depth).join("/");
      if (!all.has(parent)) all.set(parent, { directory: true });
    }
    all.set(parts.join("/"), entry);
  }
  const chunks = [];
  let inode = 1;
  for (const [name, entry] of all) {
    chunks.push(...record(inode++, name, header(entry)));
  }
  chunks.push(...record(0, "TRAILER!!!", {}));
  const archive = Buffer.concat(chunks);
  return Buffer.concat([archive, padding(archive.length, 512)]);
}

function header(entry) {
  if ("link" in entry) return { mode: TYPE.link | 0o777, data: Buffer.from(entry.link) };
  if ("device" in entry) return { mode: TYPE.character | 0o600, device: entry.device };
  const { owner = 0 } = entry;
  if ("directory" in entry) return { mode: TYPE.directory | (entry.mode ?? 0o755), links: 2, owner };
  return { mode: TYPE.file | (entry.mode ?? 0o644), data: Buffer.from(entry.data), owner };
}
