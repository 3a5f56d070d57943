// A guest's address, as far as a browser reaches it.

import { SealttyError } from "../../protocol/errors.ts";
import { MAX_ADDRESS } from "../../protocol/limits.ts";
import { plainText } from "../plain-text.ts";

/** @returns the URL to dial. @throws SealttyError `bad-config`. */
export function webSocketUrl(address: string): string {
  if (address.length > MAX_ADDRESS) throw refused(address, `is longer than ${MAX_ADDRESS} characters`);
  if (!/^wss?:\/\//i.test(address) || !/^[\x21-\x7e]*$/.test(address))
    throw refused(address, "is none that a browser reaches: that is ws://HOST:PORT/ or wss://HOST/…");
  let url: URL;
  try {
    url = new URL(address);
  } catch {
    throw refused(address, "is not a well-formed URL");
  }
  if (url.username !== "" || url.password !== "")
    throw refused(address, "holds a user name or password, which logs would show");
  if (url.hash !== "") throw refused(address, "holds a #fragment, which no web socket can carry");
  return url.href;
}

function refused(address: string, problem: string): SealttyError {
  return new SealttyError("bad-config", `"${plainText(address, 120)}" ${problem}`);
}
