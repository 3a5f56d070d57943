// For VNC servers without QEMU's key events, which take symbols: those of a US keyboard, which most of them translate back.

/** X11's keysyms by scan code: of letters, digits and punctuation they are Latin-1. */
const ROWS: readonly (readonly [first: number, symbols: string])[] = [
  [2, "1234567890-="],
  [16, "qwertyuiop[]"],
  [30, "asdfghjkl;'`"],
  [43, "\\zxcvbnm,./"],
];
const F1 = { code: 59, symbol: 0xffbe };
const KEYPAD: ReadonlyMap<number, number> = new Map([
  [71, 0xffb7],
  [72, 0xffb8],
  [73, 0xffb9],
  [75, 0xffb4],
  [76, 0xffb5],
  [77, 0xffb6],
  [79, 0xffb1],
  [80, 0xffb2],
]);
const VOID_SYMBOL = 0xffffff;

/** @param code - a key that the modem uses. @returns one that is no key for any other. */
export function keysymOf(code: number): number {
  if (code >= F1.code && code < F1.code + 10) return F1.symbol + code - F1.code;
  for (const [first, symbols] of ROWS) {
    const symbol = symbols[code - first];
    if (symbol !== undefined) return symbol.charCodeAt(0);
  }
  return KEYPAD.get(code) ?? VOID_SYMBOL;
}
