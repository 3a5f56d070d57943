// What `sealttyd setup --initramfs` has to do besides where dracut makes the initramfs: docs/unlock.md.

import type { Change, Tree } from "./tree.ts";

/** One is there where it is installed. */
export const DRACUT_FILES = ["/usr/lib/dracut/dracut-init.sh", "/usr/lib/dracut/dracut-functions.sh"];
/** The package's module for it. */
export const DRACUT_MODULE = "/usr/lib/dracut/modules.d/99sealtty/module-setup.sh";
/** Unpacks the initramfs from /boot once more when the machine stops, and what is in it then runs as root. */
export const DRACUT_SHUTDOWN = "dracut-shutdown.service";
/** What systemd is told of by a daemon-reload alone. */
export const DRACUT_MASK = `/etc/systemd/system/${DRACUT_SHUTDOWN}`;

export interface ForDracut {
  readonly changes: readonly Change[];
  /** A line each, for people. */
  readonly words: readonly string[];
}

/** By files alone, as the tree may be another machine's. */
export function forDracut(tree: Tree): ForDracut {
  if (!DRACUT_FILES.some((file) => tree.has(file))) return { changes: [], words: [] };
  const words = ["where dracut makes the initramfs: dracut --force --regenerate-all puts it in"];
  if (!tree.has(DRACUT_MODULE))
    words.push(
      `there is no ${DRACUT_MODULE}: install the package, or packaging/dracut, before dracut makes it`,
    );
  if (!tree.has(DRACUT_MASK))
    return { changes: [{ kind: "link", path: DRACUT_MASK, target: "/dev/null" }], words };
  if (!tree.leadsTo(DRACUT_MASK, "/dev/null"))
    words.push(
      `${DRACUT_MASK} is yours: where it runs, what the host has in /boot when the machine stops is run as root, beside the open disk`,
    );
  return { changes: [], words };
}
