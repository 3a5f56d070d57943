// What a channel of kind "service" asks for: something that takes root's rights, and that the guest's configuration allows
// some users by name. docs/protocol.md §8.13

import { type Reader, concat, u8, utf8 } from "../bytes.ts";

export type ServiceRequest =
  /** The kernel's log, from its oldest record on: protocol/kernel-log/messages.ts. */
  | { readonly name: "kernel-log"; readonly follow: boolean }
  /** One letter or digit, as Linux's Documentation/admin-guide/sysrq.rst has them. */
  | { readonly name: "sysrq"; readonly key: string }
  /** A seed for cloud-init: protocol/provision/seed.ts. */
  | { readonly name: "provision" };

export type ServiceName = ServiceRequest["name"];

/** By their numbers. */
export const SERVICES = ["kernel-log", "sysrq", "provision"] as const satisfies readonly ServiceName[];

const SYSRQ_KEY = /^[0-9a-z]$/;

export function isSysrqKey(text: string): boolean {
  return SYSRQ_KEY.test(text);
}

export function serviceBody(service: ServiceRequest): Uint8Array {
  const number = u8(SERVICES.indexOf(service.name));
  switch (service.name) {
    case "kernel-log":
      return concat(number, u8(service.follow ? 1 : 0));
    case "sysrq":
      return concat(number, utf8(service.key));
    case "provision":
      return number;
  }
}

/** @throws SealttyError `peer-misbehaved`. */
export function readService(reader: Reader): ServiceRequest {
  const name = SERVICES[reader.u8()];
  switch (name) {
    case "kernel-log": {
      const follow = reader.u8();
      if (follow > 1) reader.fail("has a flag that is neither 0 nor 1");
      return { name, follow: follow === 1 };
    }
    case "sysrq": {
      const key = String.fromCharCode(reader.u8());
      if (!isSysrqKey(key)) reader.fail("names an impossible SysRq key");
      return { name, key };
    }
    case "provision":
      return { name };
    default:
      return reader.fail("asks for an unknown service");
  }
}
