// How a test reaches the scripted guest inside the page.

import type { Fake } from "./fake-main.ts";

declare global {
  interface Window {
    fake: Fake;
  }
}
