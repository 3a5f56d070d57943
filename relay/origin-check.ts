// Which pages may open a web socket here. The relay carries ciphertext and no ambient authority: this keeps strangers' pages off.

const LOOPBACK_HOSTS = new Set(["localhost", "127.0.0.1", "[::1]"]);
/** The page of `sealtty open` has a name of its own each time. RFC 6761 §6.3: all of them are loopback. */
const BELOW_LOCALHOST = /^[a-z0-9-]+\.localhost$/;

/**
 * @param origin - the Origin header; absent where no browser asks, "null" from a page opened as a file.
 * @param allowed - whole origins from `--allow-origin`, e.g. "https://console.example".
 */
export function originAllowed(origin: string | undefined, allowed: readonly string[]): boolean {
  if (origin === undefined || origin === "null") return true;
  if (allowed.includes(origin)) return true;
  let url: URL;
  try {
    url = new URL(origin);
  } catch {
    return false;
  }
  if (url.origin !== origin) return false; // an origin has no path, and one spelling only
  const loopback = LOOPBACK_HOSTS.has(url.hostname) || BELOW_LOCALHOST.test(url.hostname);
  return loopback && (url.protocol === "http:" || url.protocol === "https:");
}
