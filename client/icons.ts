// The few drawings of the page, as stroked paths on a 16 by 16 grid.

const SHAPES = {
  "shield-check": ["M8 1.5 13 3.3v4.2c0 3.2-2 5.6-5 7-3-1.4-5-3.8-5-7V3.3z", "m5.6 8 1.7 1.7 3.2-3.4"],
  "shield-alert": ["M8 1.5 13 3.3v4.2c0 3.2-2 5.6-5 7-3-1.4-5-3.8-5-7V3.3z", "M8 5v3.4", "M8 10.8v.1"],
  shield: ["M8 1.5 13 3.3v4.2c0 3.2-2 5.6-5 7-3-1.4-5-3.8-5-7V3.3z"],
  check: ["m3 8.5 3.2 3.2L13 4.8"],
  cross: ["m4 4 8 8", "m12 4-8 8"],
  dash: ["M4 8h8"],
  alert: ["M8 2 14.6 13.5H1.4z", "M8 6.4v3.2", "M8 11.6v.1"],
  search: ["M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9z", "m10.4 10.4 3.4 3.4"],
  up: ["m3.5 10 4.5-4.5 4.5 4.5"],
  down: ["m3.5 6 4.5 4.5L12.5 6"],
  sliders: ["M2 4.5h6", "M11 4.5h3", "M9.5 3v3", "M2 11.5h3", "M8 11.5h6", "M6.5 10v3"],
  eye: [
    "M1.5 8S4 3.8 8 3.8 14.5 8 14.5 8 12 12.2 8 12.2 1.5 8 1.5 8z",
    "M8 6.2a1.8 1.8 0 1 0 0 3.6 1.8 1.8 0 0 0 0-3.6z",
  ],
  key: ["M5.5 7.5a3 3 0 1 0 0 6 3 3 0 0 0 0-6z", "m7.8 8.2 5.7-5.7", "m11 5 1.8 1.8"],
  browser: ["M2 3h12v10H2z", "M2 6h12"],
  prompt: ["m3 4.5 3.5 3.5L3 11.5", "M8.5 11.5H13"],
  finger: [
    "M4 8.5V7a4 4 0 0 1 8 0v1.5",
    "M6.2 13.6V7a1.8 1.8 0 0 1 3.6 0v2.6c0 1.6-.4 3-1 4.2",
    "M4 11.2v1",
    "M12 10.8v1.4",
  ],
  clock: ["M8 1.8a6.2 6.2 0 1 0 0 12.4A6.2 6.2 0 0 0 8 1.8z", "M8 4.6V8l2.4 1.6"],
  plug: ["M5.5 1.5v3", "M10.5 1.5v3", "M3.5 4.5h9v3a4.5 4.5 0 0 1-9 0z", "M8 12v2.5"],
  unplugged: ["M5.5 1.5v3", "M10.5 1.5v3", "M3.5 4.5h9v3a4.5 4.5 0 0 1-9 0z", "M8 12v2.5", "M1.5 14.5l13-13"],
  link: [
    "M6.5 9.5l3-3",
    "M7 4.5l1.6-1.6a3 3 0 0 1 4.3 4.3L11.3 8.8",
    "M9 11.5l-1.6 1.6a3 3 0 0 1-4.3-4.3L4.7 7.2",
  ],
  stop: ["M4 4h8v8H4z"],
  screen: ["M2 3h12v8H2z", "M8 11v2.5", "M5 13.5h6"],
  lines: ["M3 4h10", "M3 8h10", "M3 12h6"],
  clipboard: ["M5.5 3h-2v11h9V3h-2", "M5.5 1.8h5v2.6h-5z"],
} as const;

export type IconName = keyof typeof SHAPES;

const SVG = "http://www.w3.org/2000/svg";

/** Hidden from assistive technology: a word always stands beside it. */
export function icon(name: IconName, className = "icon"): SVGSVGElement {
  const drawing = document.createElementNS(SVG, "svg");
  drawing.setAttribute("viewBox", "0 0 16 16");
  drawing.setAttribute("class", className);
  drawing.setAttribute("aria-hidden", "true");
  for (const shape of SHAPES[name]) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", shape);
    drawing.appendChild(path);
  }
  return drawing;
}
