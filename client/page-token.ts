// The one-use token that opens the local server: out of the address bar at once, kept for a reload of the same tab.

/** In the tab's session storage: this origin's only, gone with the tab, worth nothing once used or once the server ended. */
const NEXT_TOKEN = "sealtty.next-token";

/** Reads `#t=TOKEN` and takes it out of the address bar and the history at once; after a reload, the one kept for that. */
export function takeToken(location: Location, history: History, storage: Storage): string | undefined {
  const kept = storage.getItem(NEXT_TOKEN);
  storage.removeItem(NEXT_TOKEN);
  const token = new URLSearchParams(location.hash.slice(1)).get("t") ?? kept ?? "";
  if (location.hash !== "") history.replaceState(null, "", location.pathname + location.search);
  return /^[A-Za-z0-9_-]{16,256}$/.test(token) ? token : undefined;
}

/** So that a reload of this tab works although every token does so only once. */
export function keepNextToken(storage: Storage, token: string | undefined): void {
  if (token !== undefined) storage.setItem(NEXT_TOKEN, token);
}
