// The guest's graphical desktop as a view beside the terminal: where its VNC server is, how it is shown, and the way out of it.

import { plainText } from "./plain-text.ts";
import { button, element } from "./dom.ts";
import { USUAL_PLACE } from "./desktop-place.ts";

/** Leaves the desktop by keyboard, as it leaves the terminal. All other keys are the guest's. */
const LEAVE_CODE = "KeyM";
const LEAVE_KEYS = "Ctrl+Shift+M";
const MAX_PLACE = 300;
const MAX_CREDENTIAL = 255;
const MAX_NAME = 80;

export type DesktopFit = "scaled" | "as-is" | "follows";

export interface DesktopSettings {
  readonly viewOnly: boolean;
  readonly fit: DesktopFit;
}

export interface DesktopViewActions {
  connect(place: string): void;
  disconnect(): void;
  credentials(given: { readonly username: string; readonly password: string }): void;
  settingsChanged(settings: DesktopSettings): void;
  /** To the desktop: the keyboard is meant for it. */
  focusDesktop(): void;
  /** The keyboard has gone elsewhere. */
  left(): void;
  ctrlAltDelete(): void;
  copyFromGuest(): void;
  sendToGuest(): void;
}

export class DesktopView {
  readonly element: HTMLElement;
  /** What noVNC draws into. */
  readonly screen = element("div", {
    class: "desktop-screen",
    hidden: true,
    tabindex: 0,
    role: "application",
    "aria-label": `Desktop of the guest. All keys go there; ${LEAVE_KEYS} leaves it.`,
  });
  readonly #actions: DesktopViewActions;
  readonly #place = element("input", {
    id: "desktop-place",
    class: "desktop-field",
    type: "text",
    value: USUAL_PLACE,
    maxlength: MAX_PLACE,
    spellcheck: "false",
    autocomplete: "off",
    autocapitalize: "off",
    "aria-describedby": "desktop-place-help",
  });
  readonly #connect: HTMLButtonElement;
  readonly #status = element("p", { class: "quiet desktop-status", role: "status" });
  readonly #controls: HTMLElement;
  readonly #viewOnly = element("input", { type: "checkbox" });
  readonly #fit = element(
    "select",
    { class: "desktop-fit", "aria-label": "Size of the desktop" },
    element("option", { value: "scaled" }, "Scaled to fit"),
    element("option", { value: "as-is" }, "As large as it is"),
    element("option", { value: "follows" }, "Follows the window"),
  );
  readonly #copy: HTMLButtonElement;
  readonly #keysWanted: readonly HTMLButtonElement[]; // nothing of them where only looking on
  readonly #help: HTMLElement;
  readonly #form: HTMLElement;
  readonly #user = element("input", {
    id: "desktop-user",
    class: "desktop-field",
    type: "text",
    maxlength: MAX_CREDENTIAL,
    autocomplete: "off",
    autocapitalize: "off",
    spellcheck: "false",
  });
  readonly #userRow = element(
    "div",
    { class: "desktop-row" },
    element("label", { for: "desktop-user" }, "User"),
    this.#user,
  );
  readonly #password = element("input", {
    id: "desktop-password",
    class: "desktop-field",
    type: "password",
    maxlength: MAX_CREDENTIAL,
    autocomplete: "one-time-code", // no browser keeps it, or fills in another one
    "data-1p-ignore": true,
    "data-bwignore": true,
    "data-lpignore": "true",
  });
  #connected = false;

  constructor(actions: DesktopViewActions) {
    this.#actions = actions;
    this.#connect = button("Connect", () => this.#toggle(), { class: "button small primary" });
    this.#copy = button("Copy its clipboard", () => actions.copyFromGuest(), {
      class: "button small",
      disabled: true,
      title: "What was cut or copied in the guest goes to your clipboard",
    });
    this.#keysWanted = [
      button("Send your clipboard", () => actions.sendToGuest(), {
        class: "button small",
        title: "What is in your clipboard goes to the guest's",
      }),
      button("Ctrl+Alt+Del", () => actions.ctrlAltDelete(), { class: "button small" }),
    ];
    this.#viewOnly.addEventListener("change", () => this.#settingsChanged());
    this.#fit.addEventListener("change", () => this.#settingsChanged());
    this.#place.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.isComposing && !this.#busy) this.#toggle();
    });
    this.#controls = element(
      "div",
      { class: "desktop-controls", hidden: true },
      this.#fit,
      element("label", { class: "check-label" }, this.#viewOnly, "Only look on"),
      ...this.#keysWanted,
      this.#copy,
      element("span", { class: "quiet desktop-leave" }, element("kbd", {}, LEAVE_KEYS), " leaves it"),
    );
    this.#help = element(
      "div",
      { class: "desktop-help" },
      element("h2", {}, "A desktop of the guest, through this connection"),
      element(
        "p",
        { id: "desktop-place-help" },
        "Where does a VNC server listen in the guest? 127.0.0.1:5900 is display 0, :1 display 1 (port 5901), and a path is a unix socket, opened with your rights there. The host sees none of it.",
      ),
      element(
        "p",
        { class: "quiet" },
        "One that listens on the guest's loopback or on a socket is enough: Xtigervnc -localhost, x0vncserver, wayvnc. The guest's owner allows it by [forward] in sealttyd.toml.",
      ),
    );
    this.#form = this.#credentialsForm();
    this.element = element(
      "div",
      { class: "desktop", hidden: true },
      element(
        "div",
        { class: "desktop-head" },
        element("label", { for: "desktop-place" }, "VNC server in the guest"),
        this.#place,
        this.#connect,
        this.#status,
        this.#controls,
      ),
      this.#help,
      this.#form,
      this.screen,
    );
    this.screen.addEventListener("focus", () => actions.focusDesktop());
    // Not a stop on the way back while what is in it has the keyboard: that would lead into it again.
    this.screen.addEventListener("focusin", () => (this.screen.tabIndex = -1));
    this.screen.addEventListener("focusout", ({ relatedTarget }) => {
      if (relatedTarget instanceof Node && this.screen.contains(relatedTarget)) return;
      this.screen.tabIndex = 0;
      actions.left();
    });
    this.screen.addEventListener("keydown", (event) => this.#maybeLeave(event), { capture: true });
  }

  set hidden(hidden: boolean) {
    this.element.hidden = hidden;
  }

  get settings(): DesktopSettings {
    const { value } = this.#fit;
    return {
      viewOnly: this.#viewOnly.checked,
      fit: value === "as-is" || value === "follows" ? value : "scaled",
    };
  }

  get place(): string {
    return this.#place.value;
  }

  connecting(words: string): void {
    this.#show("connecting");
    this.say(words);
  }

  /** @param user - a name is wanted as well. @param takeFocus - the keyboard is meant for the answer. */
  askForCredentials(user: boolean, takeFocus: boolean): void {
    this.#show("asking");
    this.#userRow.hidden = !user;
    this.say("Its VNC server asks who you are.");
    if (takeFocus) (user ? this.#user : this.#password).focus();
  }

  connected(): void {
    this.#show("on");
  }

  /** @param name - the guest's, anything may be in it. */
  describe(name: string, size: { readonly width: number; readonly height: number }): void {
    const shown = plainText(name, MAX_NAME);
    this.say(`${shown === "" ? "Connected" : `“${shown}”`}, ${size.width} × ${size.height}.`);
  }

  /** @param trouble - it is not what the user chose. */
  off(words: string, trouble: boolean): void {
    const held = this.element.contains(document.activeElement) && this.#connected;
    this.#show("off");
    this.say(words, trouble);
    if (held) this.#connect.focus();
  }

  say(words: string, trouble = false): void {
    this.#status.textContent = words;
    this.#status.classList.toggle("over", trouble);
  }

  /** @param length - characters; undefined: there is nothing to copy. */
  offerCopy(length: number | undefined): void {
    this.#copy.disabled = length === undefined;
    this.#copy.textContent =
      length === undefined ? "Copy its clipboard" : `Copy its clipboard (${length.toLocaleString("en")})`;
  }

  /** Nothing else has the keyboard. */
  get mayTakeFocus(): boolean {
    const { activeElement } = document;
    return activeElement === document.body || this.element.contains(activeElement);
  }

  focus(): void {
    if (this.#connected) this.#actions.focusDesktop();
    else this.#place.focus();
  }

  get #busy(): boolean {
    return this.#place.readOnly;
  }

  #toggle(): void {
    if (this.#busy) this.#actions.disconnect();
    else this.#actions.connect(this.#place.value);
  }

  #show(what: "off" | "connecting" | "asking" | "on"): void {
    this.#connected = what === "on";
    this.#place.readOnly = what !== "off";
    this.#connect.textContent = what === "off" ? "Connect" : what === "on" ? "Disconnect" : "Cancel";
    this.#connect.classList.toggle("primary", what === "off");
    this.#help.hidden = what === "on" || what === "asking";
    this.#form.hidden = what !== "asking";
    this.#user.value = this.#password.value = "";
    this.screen.hidden = what !== "on";
    this.#controls.hidden = what !== "on";
    if (what !== "on") this.offerCopy(undefined);
  }

  #settingsChanged(): void {
    for (const each of this.#keysWanted) each.disabled = this.#viewOnly.checked;
    this.#actions.settingsChanged(this.settings);
  }

  /** Without it a keyboard alone would never get out: noVNC takes every key. */
  #maybeLeave(event: KeyboardEvent): void {
    if (event.code !== LEAVE_CODE || !event.ctrlKey || !event.shiftKey || event.altKey || event.metaKey)
      return;
    event.preventDefault();
    event.stopPropagation();
    this.#connect.focus();
  }

  /** No form element: browsers offer to keep what one sends. */
  #credentialsForm(): HTMLElement {
    const send = (): void => {
      const given = { username: this.#user.value, password: this.#password.value };
      this.#user.value = this.#password.value = "";
      this.#actions.credentials(given);
    };
    const made = element(
      "div",
      { class: "desktop-credentials", hidden: true, role: "group", "aria-labelledby": "desktop-asks" },
      element("h2", { id: "desktop-asks" }, "The VNC server asks who you are"),
      this.#userRow,
      element(
        "div",
        { class: "desktop-row" },
        element("label", { for: "desktop-password" }, "Password"),
        this.#password,
      ),
      element(
        "p",
        { class: "quiet" },
        "It goes to the guest alone, sealed, and is kept nowhere here. Of a plain VNC password the first eight characters count.",
      ),
      button("Go on", send, { class: "button primary" }),
    );
    made.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.isComposing || !(event.target instanceof HTMLInputElement)) return;
      event.preventDefault();
      send();
    });
    return made;
  }
}
