// A program for a kept session: prints so many lines; with "editor" then draws like one, until a key is pressed.
const [count, then] = process.argv.slice(2);
let text = "";
for (let line = 1; line <= Number(count); line++) text += `line ${line}\n`;
if (then === "editor")
  text += "\x1b[?1049h\x1b[?2004h\x1b[?1002h\x1b[?1006h\x1b[2J\x1b[H~ a file\x1b[29;1H-- INSERT --\x1b[2;1H";
process.stdout.write(text);
if (then === "editor") {
  process.stdin.setRawMode(true);
  process.stdin.once("data", () => {
    process.stdout.write("\x1b[?1002l\x1b[?1006l\x1b[?2004l\x1b[?1049l", () => process.exit(0));
  });
}
