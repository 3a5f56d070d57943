// An instance document for tests.

export const SSH_KEY =
  "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIfs1GGVHcL7xPQjUbkzTxdaPZVPMHHMCyyEgAgUcrd5 alice@laptop";
export const SSH_KEY_HEX = "87ecd461951dc2fbc4f42351b9334f175a3d954f3071cc0b2c8480081472b779";

export const DOCUMENT = `version = 1
name = "db1"
authorized_keys = ["${SSH_KEY}"]
users = ["*"]
commands = ["*"]
`;
