// Stands in for sealttyd in the test guest: sends every byte of the virtio port sealtty.0 back. Runs there, by plain Node.

import fs from "node:fs";

const root = "/sys/class/virtio-ports";
const port = fs
  .readdirSync(root)
  .find((name) => fs.readFileSync(`${root}/${name}/name`, "utf8").trim() === "sealtty.0");
if (port === undefined) throw new Error("no port sealtty.0");
const fd = fs.openSync(`/dev/${port}`, fs.constants.O_RDWR | fs.constants.O_NONBLOCK | fs.constants.O_NOCTTY);
const buffer = Buffer.alloc(4096);
console.error(`echoes on /dev/${port}`);

setInterval(() => {
  try {
    let count = fs.readSync(fd, buffer);
    for (let sent = 0; sent < count; ) sent += fs.writeSync(fd, buffer, sent, count - sent);
  } catch (error) {
    if (error.code !== "EAGAIN") throw error;
  }
}, 5);
