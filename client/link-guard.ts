// May this link from the guest be offered? Only http and https, shown in full, opened without a way back to us.

export const MAX_LINK = 4096;

export interface SafeLink {
  /** Normalised by the URL parser: the host is in ASCII (punycode), so that a look-alike shows. */
  readonly href: string;
  readonly host: string;
  /** A user name before the host is the oldest trick to make a URL look like another. */
  readonly carriesCredentials: boolean;
}

export function safeLink(text: string): SafeLink | undefined {
  if (text.length > MAX_LINK) return undefined;
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    return undefined;
  }
  if (url.protocol !== "https:" && url.protocol !== "http:") return undefined;
  if (url.hostname === "") return undefined;
  return { href: url.href, host: url.host, carriesCredentials: url.username !== "" || url.password !== "" };
}
