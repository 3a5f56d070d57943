/** A root of Debian's with its real cloud-init, to be read only. For root, with mmdebstrap. */
export function cloudInitRoot(): Promise<string>;
