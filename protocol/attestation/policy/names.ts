// Names that an owner gives: of a policy, of a simulated instance.

const MAX_NAME = 64;

/** 1 to 64 characters, none of them a control or a direction mark. */
export function isPolicyName(name: string): boolean {
  return name.length >= 1 && name.length <= MAX_NAME && !/[\p{C}\p{Zl}\p{Zp}]/u.test(name);
}

/** An instance name is shown and compared: 1 to 64 printable ASCII characters. */
export function isInstanceName(name: string): boolean {
  return /^[\x20-\x7e]{1,64}$/.test(name);
}
