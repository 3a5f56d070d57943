// Colours of the terminal, dark and light; xterm.js lifts what falls below a contrast of 4.5.

import type { ITheme } from "@xterm/xterm";

export const DARK: ITheme = {
  background: "#101418",
  foreground: "#dce3ea",
  cursor: "#7fd1c7",
  cursorAccent: "#101418",
  selectionBackground: "#2f5b6d",
  selectionInactiveBackground: "#2a3d48",
  black: "#1d242b",
  red: "#f0716b",
  green: "#7ec98a",
  yellow: "#e5c076",
  blue: "#74b0f4",
  magenta: "#c79bf2",
  cyan: "#6fcfd0",
  white: "#c9d2db",
  brightBlack: "#76838f",
  brightRed: "#ff938c",
  brightGreen: "#9be0a4",
  brightYellow: "#f6d795",
  brightBlue: "#9ac8ff",
  brightMagenta: "#ddbcff",
  brightCyan: "#94e6e4",
  brightWhite: "#f5f8fa",
};

export const LIGHT: ITheme = {
  background: "#fcfcfa",
  foreground: "#1f2730",
  cursor: "#0c6b66",
  cursorAccent: "#fcfcfa",
  selectionBackground: "#b9dcec",
  selectionInactiveBackground: "#d9e6ec",
  black: "#1f2730",
  red: "#b3261e",
  green: "#1e7a34",
  yellow: "#8a6100",
  blue: "#1559b3",
  magenta: "#7c3aad",
  cyan: "#0a7280",
  white: "#6b7680",
  brightBlack: "#56616b",
  brightRed: "#c8362d",
  brightGreen: "#26883e",
  brightYellow: "#966c06",
  brightBlue: "#1f69cb",
  brightMagenta: "#8d49c2",
  brightCyan: "#0f7f8e",
  brightWhite: "#3c4650",
};

export const MONOSPACE =
  'ui-monospace, "Cascadia Mono", "SF Mono", Menlo, Consolas, "Liberation Mono", "DejaVu Sans Mono", monospace';
