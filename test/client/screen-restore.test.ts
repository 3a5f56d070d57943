// A screen on its way into the page's terminal: reset, of the screen's size while it is written, its own size again, and
// everything around it in order. The terminal is xterm.js without a display.

import headless from "@xterm/headless";
import { expect, test } from "vitest";
import { ScreenRestore } from "../../client/screen-restore.ts";
import { utf8 } from "../../protocol/bytes.ts";

function world() {
  const terminal = new headless.Terminal({ cols: 40, rows: 5, scrollback: 100, allowProposedApi: true });
  const sizes: string[] = [];
  terminal.onResize(({ cols, rows }) => sizes.push(`${cols}x${rows}`));
  const restore = new ScreenRestore({
    write: (bytes, parsed) => terminal.write(bytes, parsed),
    begin: (columns, rows) => {
      terminal.reset();
      terminal.resize(columns, rows);
    },
    end: () => terminal.resize(40, 5),
  });
  const write = (text: string) =>
    new Promise<void>((resolve) => {
      restore.write(utf8(text), resolve);
    });
  const lines = () => {
    const { active } = terminal.buffer;
    return [...Array(active.length).keys()]
      .map((row) => active.getLine(row)?.translateToString(true) ?? "")
      .filter((line) => line !== "");
  };
  return { restore, write, lines, sizes };
}

test("what came before is gone, what comes behind goes on from the screen, and lines keep their ends", async () => {
  const { restore, write, lines, sizes } = world();
  void write("old\r\nlines\x1b[31m");
  const screen = `above\r\n${"x".repeat(60)}\r\nlast`;
  restore.restore(60, 3, screen.length);
  const written = [write(screen.slice(0, 20)), write(screen.slice(20)), write(" and more")];
  await Promise.all(written);
  await write("\r\nnext");
  expect(sizes).toEqual(["60x3", "40x5"]);
  expect(lines()).toEqual(["above", "x".repeat(40), "x".repeat(20), "last and more", "next"]);
});

test("two screens, one behind the other; each byte is said to be parsed once", async () => {
  const { restore, write, lines } = world();
  restore.restore(40, 5, 5);
  const first = write("first");
  restore.restore(20, 5, 6);
  const second = write("second");
  await Promise.all([first, second]);
  await write("!");
  expect(lines()).toEqual(["second!"]);
});

test("a screen that ends in the middle leaves the terminal at its own size", async () => {
  const { restore, write, lines, sizes } = world();
  restore.restore(60, 3, 100);
  await write("only a part");
  restore.abandon();
  restore.abandon();
  expect(sizes).toEqual(["60x3", "40x5"]);
  await write(" and what follows");
  expect(lines()).toEqual(["only a part and what follows"]);
});
