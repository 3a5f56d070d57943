// What does this OSC 52 ask for? A write may be offered to the user; a read is never answered.

export const MAX_CLIPBOARD_WRITE = 100 * 1024; // bytes

export type ClipboardRequest =
  | { readonly kind: "write"; readonly text: string }
  | { readonly kind: "read" } // "?": would type the user's clipboard into the guest
  | { readonly kind: "refused"; readonly why: "too-large" | "malformed" };

/** @param data - the text after `OSC 52 ;`: a selection (may be empty, as tmux sends it), `;`, base64. */
export function parseClipboardRequest(data: string): ClipboardRequest {
  const separator = data.indexOf(";");
  if (separator < 0 || !/^[cpqs0-7]*$/.test(data.slice(0, separator)))
    return { kind: "refused", why: "malformed" };
  const payload = data.slice(separator + 1);
  if (payload === "?") return { kind: "read" };
  if (payload.length > Math.ceil(MAX_CLIPBOARD_WRITE / 3) * 4) return { kind: "refused", why: "too-large" };
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(payload)) return { kind: "refused", why: "malformed" };
  try {
    const bytes = Uint8Array.from(atob(payload), (char) => char.charCodeAt(0));
    if (bytes.length > MAX_CLIPBOARD_WRITE) return { kind: "refused", why: "too-large" };
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    // The clipboard may end up in another terminal: no controls but TAB and line ends travel through ours.
    return { kind: "write", text: text.replace(/[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]/g, "") };
  } catch {
    return { kind: "refused", why: "malformed" };
  }
}
