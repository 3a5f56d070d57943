// What an event of a firmware's log says, for people. All of it is the log's own word, escaped and cut to a line; the report
// says which lines are proven. TCG PC Client Platform Firmware Profile §10.2; UEFI 2.10 §10 (device paths)

import type { LogEvent } from "./event-log-format.ts";
import { LittleEndianReader } from "../little-endian.ts";

const MAX_TEXT = 160;
const MAX_PATH_NODES = 32;

const EVENT_TYPES: ReadonlyMap<number, string> = new Map([
  [0x00, "EV_PREBOOT_CERT"],
  [0x01, "EV_POST_CODE"],
  [0x03, "EV_NO_ACTION"],
  [0x04, "EV_SEPARATOR"],
  [0x05, "EV_ACTION"],
  [0x06, "EV_EVENT_TAG"],
  [0x07, "EV_S_CRTM_CONTENTS"],
  [0x08, "EV_S_CRTM_VERSION"],
  [0x09, "EV_CPU_MICROCODE"],
  [0x0a, "EV_PLATFORM_CONFIG_FLAGS"],
  [0x0b, "EV_TABLE_OF_DEVICES"],
  [0x0c, "EV_COMPACT_HASH"],
  [0x0d, "EV_IPL"],
  [0x0e, "EV_IPL_PARTITION_DATA"],
  [0x0f, "EV_NONHOST_CODE"],
  [0x10, "EV_NONHOST_CONFIG"],
  [0x11, "EV_NONHOST_INFO"],
  [0x12, "EV_OMIT_BOOT_DEVICE_EVENTS"],
  [0x13, "EV_POST_CODE2"],
  [0x80000001, "EV_EFI_VARIABLE_DRIVER_CONFIG"],
  [0x80000002, "EV_EFI_VARIABLE_BOOT"],
  [0x80000003, "EV_EFI_BOOT_SERVICES_APPLICATION"],
  [0x80000004, "EV_EFI_BOOT_SERVICES_DRIVER"],
  [0x80000005, "EV_EFI_RUNTIME_SERVICES_DRIVER"],
  [0x80000006, "EV_EFI_GPT_EVENT"],
  [0x80000007, "EV_EFI_ACTION"],
  [0x80000008, "EV_EFI_PLATFORM_FIRMWARE_BLOB"],
  [0x80000009, "EV_EFI_HANDOFF_TABLES"],
  [0x8000000a, "EV_EFI_PLATFORM_FIRMWARE_BLOB2"],
  [0x8000000b, "EV_EFI_HANDOFF_TABLES2"],
  [0x8000000c, "EV_EFI_VARIABLE_BOOT2"],
  [0x80000010, "EV_EFI_HCRTM_EVENT"],
  [0x800000e0, "EV_EFI_VARIABLE_AUTHORITY"],
  [0x800000e1, "EV_EFI_SPDM_FIRMWARE_BLOB"],
  [0x800000e2, "EV_EFI_SPDM_FIRMWARE_CONFIG"],
]);

/** Who tags events so (Linux efistub.h; systemd measure.h). */
const TAGS: ReadonlyMap<number, string> = new Map([
  [0x8f3b22ec, "Linux initrd"],
  [0x8f3b22ed, "Linux kernel command line"],
  [0xf5bc582a, "systemd-boot loader.conf"],
  [0x6c46f751, "devicetree addon"],
  [0x49dffe0f, "initrd addon"],
  [0xdac08e1a, "microcode addon"],
  [0x13aed6db, "UKI profile"],
]);

/** `EV_…`, or `unknown 0x…`. */
export function eventTypeName(type: number): string {
  return EVENT_TYPES.get(type) ?? `unknown 0x${type.toString(16)}`;
}

/** @returns printable ASCII, bounded; empty where there is nothing a person could read. */
export function textOfEvent(event: LogEvent): string {
  try {
    return cut(words(event));
  } catch {
    return ""; // not of the shape that its type promises
  }
}

function words({ type, data }: LogEvent): string {
  switch (type) {
    case 0x04:
      return separator(data);
    case 0x06:
      return tagged(data);
    case 0x80000001:
    case 0x80000002:
    case 0x8000000c:
    case 0x800000e0:
      return variable(data);
    case 0x80000003:
    case 0x80000004:
    case 0x80000005:
      return image(data);
    case 0x80000006:
      return "partition table";
    case 0x80000008:
      return data.length === 16 ? "firmware volume" : safeText(data);
    case 0x80000009:
    case 0x8000000b:
      return type === 0x8000000b ? safeText(described(data)) : "tables for the operating system";
    case 0x8000000a:
      return safeText(described(data));
    default:
      return safeText(data);
  }
}

/** EV_SEPARATOR: where one part of the boot hands over to the next, or says that it failed. */
function separator(data: Uint8Array): string {
  if (data.length !== 4) return safeText(data);
  const value = new LittleEndianReader(data, "Separator").u32();
  if (value === 0 || value === 0xffffffff) return "end of a phase";
  return value === 1 ? "a firmware error" : "";
}

/** TCG_PCClientTaggedEvent: u32 id, u32 size, data. */
function tagged(data: Uint8Array): string {
  const reader = new LittleEndianReader(data, "Tagged event");
  const name = TAGS.get(reader.u32());
  const text = safeText(reader.bytes(reader.u32()));
  if (name === undefined) return text;
  return text === "" ? name : `${name}: ${text}`;
}

/** UEFI_VARIABLE_DATA: vendor GUID, u64 characters, u64 bytes, name in UTF-16, value. */
function variable(data: Uint8Array): string {
  const reader = new LittleEndianReader(data, "Variable");
  reader.bytes(16);
  const characters = reader.u32();
  if (reader.u32() !== 0 || characters > 256) return "";
  const size = reader.u32();
  if (reader.u32() !== 0) return "";
  const name = safeText(reader.bytes(2 * characters));
  const value = reader.bytes(Math.min(size, reader.remaining));
  if (value.length === 1) return `${name} = ${value[0]}`;
  if (!/^Boot[0-9A-F]{4}$/.test(name)) return name;
  const option = new LittleEndianReader(value, "Boot option"); // EFI_LOAD_OPTION: attributes, length of path, description
  option.bytes(6);
  return `${name}: ${utf16(option.rest())}`;
}

/** UEFI_IMAGE_LOAD_EVENT: address, length, link-time address, length of the path (u64 each), device path. */
function image(data: Uint8Array): string {
  const reader = new LittleEndianReader(data, "Image event");
  reader.bytes(24);
  const size = reader.u32();
  if (reader.u32() !== 0) return "";
  return devicePath(reader.bytes(size));
}

/** UEFI_PLATFORM_FIRMWARE_BLOB2 and the like begin with u8 length and a description. */
function described(data: Uint8Array): Uint8Array {
  const reader = new LittleEndianReader(data, "Described event");
  return reader.bytes(reader.u8());
}

function devicePath(bytes: Uint8Array): string {
  const reader = new LittleEndianReader(bytes, "Device path");
  const nodes: string[] = [];
  while (reader.remaining > 0 && nodes.length < MAX_PATH_NODES) {
    const type = reader.u8();
    const subtype = reader.u8();
    const length = reader.u16();
    if (length < 4) break;
    const body = reader.bytes(length - 4);
    if (type === 0x7f) break;
    nodes.push(pathNode(type, subtype, body));
  }
  return nodes.join("/");
}

function pathNode(type: number, subtype: number, body: Uint8Array): string {
  const reader = new LittleEndianReader(body, "Device path node");
  switch (256 * type + subtype) {
    case 0x0101: {
      const [fn, device] = [reader.u8(), reader.u8()];
      return `Pci(${device}.${fn})`;
    }
    case 0x0201:
      return "Acpi";
    case 0x0302:
      return `Scsi(${reader.u16()},${reader.u16()})`;
    case 0x0312:
      return `Sata(${reader.u16()})`;
    case 0x0317:
      return `NVMe(${reader.u32()})`;
    case 0x030b:
      return "MAC";
    case 0x0318:
      return `Uri(${safeText(body)})`;
    case 0x0401:
      return `HD(${reader.u32()})`;
    case 0x0402:
      return "CDROM";
    case 0x0403:
      return "Vendor";
    case 0x0404:
      return utf16(body).replace(/^\//, ""); // the separator is there already
    case 0x0406:
      return `FvFile(${guid(body)})`;
    case 0x0407:
      return `Fv(${guid(body)})`;
    default:
      return `Node(${type},${subtype})`;
  }
}

function guid(bytes: Uint8Array): string {
  const reader = new LittleEndianReader(bytes, "GUID");
  const hex = (value: number, digits: number) => value.toString(16).padStart(digits, "0");
  const head = `${hex(reader.u32(), 8)}-${hex(reader.u16(), 4)}-${hex(reader.u16(), 4)}`;
  let tail = "";
  for (let i = 0; i < 8; i++) tail += `${i === 2 ? "-" : ""}${hex(reader.u8(), 2)}`;
  return `${head}-${tail}`;
}

/** UTF-16LE up to its NUL as printable ASCII; a backslash is UEFI's separator and shown as a slash. */
function utf16(bytes: Uint8Array): string {
  let text = "";
  for (let i = 0; i + 1 < bytes.length && text.length <= MAX_TEXT; i += 2) {
    const code = (bytes[i] as number) + 256 * (bytes[i + 1] as number);
    if (code === 0) break;
    if (code === 0x5c) text += "/";
    else if (code >= 0x20 && code <= 0x7e) text += String.fromCharCode(code);
    else text += `\\u${code.toString(16).padStart(4, "0")}`;
  }
  return text;
}

function cut(text: string): string {
  return text.length <= MAX_TEXT + 3 ? text : `${text.slice(0, MAX_TEXT)}...`;
}

/** Text of either width as printable ASCII, everything else as \xNN; empty where it is mostly not text. */
export function safeText(data: Uint8Array): string {
  if (data.length === 0) return "";
  const sample = data.subarray(0, 2 * MAX_TEXT);
  let zeros = 0;
  for (let i = 1; i < sample.length; i += 2) if (sample[i] === 0) zeros++;
  const step = zeros > 0 && zeros === Math.floor(sample.length / 2) ? 2 : 1; // UTF-16LE of ASCII
  let text = "";
  let printable = 0;
  let shown = 0;
  let end = sample.length;
  while (end > 0 && sample[end - 1] === 0) end--;
  for (let i = 0; i < end && text.length < MAX_TEXT; i += step) {
    const byte = sample[i] as number;
    shown++;
    if (byte >= 0x20 && byte <= 0x7e && byte !== 0x5c) {
      text += String.fromCharCode(byte);
      printable++;
    } else {
      text += `\\x${byte.toString(16).padStart(2, "0")}`;
    }
  }
  if (shown === 0 || printable / shown < 0.7) return "";
  return data.length > sample.length || text.length >= MAX_TEXT ? `${text.slice(0, MAX_TEXT)}...` : text;
}
