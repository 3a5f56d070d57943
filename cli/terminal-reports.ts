// Tells a terminal's own answers and notices, which come as if typed, from keys: cursor position, attributes, focus, ….

const ESC = 0x1b;
const BEL = 0x07;
const BACKSLASH = 0x5c;
/** What follows ESC: control sequences, and strings (DCS, SOS, OSC, PM, APC) that ST or BEL ends. */
const CSI = 0x5b;
const STRINGS: ReadonlySet<number> = new Set([0x50, 0x58, 0x5d, 0x5e, 0x5f]);

/** Longer ones are taken for keys. */
export const MAX_REPORT = 4096;

/**
 * What a byte is. `none`: no part of any sequence. `within`: of one that has not ended. `report`, `key`: the last of one.
 * `broken`: what came before it was a key, and the byte is to be fed again, by itself.
 */
export type ReportPart = "none" | "within" | "report" | "key" | "broken";

/** ECMA-48 §5.4 and §5.6; xterm's ctlseqs for what terminals answer. Holds no bytes, and gives none back. */
export class TerminalReports {
  #state: "ground" | "escape" | "control" | "string" | "string-escape" = "ground";
  #length = 0;
  /** First parameter byte and last intermediate byte of a control sequence; 0 for none. */
  #parameter = 0;
  #intermediate = 0;

  feed(byte: number): ReportPart {
    if (this.#state === "ground") {
      if (byte !== ESC) return "none";
      this.#state = "escape";
      this.#length = 0;
      this.#parameter = 0;
      this.#intermediate = 0;
      return "within";
    }
    if (++this.#length > MAX_REPORT) return this.#end("broken");
    switch (this.#state) {
      case "escape":
        if (byte === CSI) this.#state = "control";
        else if (STRINGS.has(byte)) this.#state = "string";
        else return this.#end(byte < 0x20 ? "broken" : "key");
        return "within";
      case "control":
        return this.#control(byte);
      case "string":
        if (byte === BEL) return this.#end("report");
        if (byte === ESC) this.#state = "string-escape";
        else if (byte < 0x20) return this.#end("broken"); // Enter, say: Alt and a letter began this, no terminal
        return "within";
      case "string-escape":
        if (byte === BACKSLASH) return this.#end("report");
        this.#state = "escape"; // the string was none, and its ESC begins another sequence
        this.#length = 0;
        return "broken";
    }
  }

  #control(byte: number): ReportPart {
    if (byte < 0x20 || byte > 0x7e) return this.#end("broken");
    if (byte < 0x30) this.#intermediate = byte;
    else if (byte < 0x40) this.#parameter ||= byte;
    else return this.#end(isReport(this.#parameter, this.#intermediate, byte) ? "report" : "key");
    return "within";
  }

  #end(part: ReportPart): ReportPart {
    this.#state = "ground";
    return part;
  }
}

/** Of a control sequence. `CSI < …`, a mouse, counts as a key, and so does F3: `CSI R`, without parameters. */
function isReport(parameter: number, intermediate: number, final: number): boolean {
  switch (String.fromCharCode(final)) {
    case "I": // focus came
    case "O": // and went
      return parameter === 0;
    case "R": // cursor position
    case "n": // status
    case "c": // attributes
    case "t": // window
    case "x": // terminal parameters
      return parameter !== 0;
    case "y": // modes
      return intermediate === 0x24;
    default:
      return parameter === 0x3f || parameter === 0x3e || parameter === 0x3d; // ? > = are in no key
  }
}
