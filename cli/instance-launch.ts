// How an instance document gets into a guest and into its evidence: arguments for QEMU and libvirt, lines for a policy.

import { type DocumentDigests, FW_CFG_NAME } from "../protocol/attestation/instance/document.ts";
import { toHex } from "../protocol/bytes.ts";

export interface LaunchForm {
  /** Stable name for --json. */
  readonly name: string;
  readonly title: string;
  readonly text: string;
}

/**
 * QEMU wants HOST_DATA and MRCONFIGID in base64 (qapi/qom.json: host-data of sev-snp-guest since 9.1, mrconfigid of
 * tdx-guest since 10.1); libvirt hands the same text on. @param path - of the document, absolute.
 */
export function launchForms(digests: DocumentDigests, path: string, pcr: number): LaunchForm[] {
  const [hostData, mrConfigId] = [base64(digests.sha256), base64(digests.sha384)];
  return [
    {
      name: "qemu-snp",
      title: "QEMU 9.1 or later, SEV-SNP: add host-data to your sev-snp-guest object",
      text: `-object sev-snp-guest,id=cc0,cbitpos=51,reduced-phys-bits=1,host-data=${hostData}`,
    },
    {
      name: "qemu-tdx",
      title: "QEMU 10.1 or later, TDX: add mrconfigid to your tdx-guest object",
      text: `-object tdx-guest,id=cc0,mrconfigid=${mrConfigId}`,
    },
    {
      name: "qemu-delivery",
      title: "QEMU, delivery of the document itself (any guest)",
      text: `-fw_cfg ${shellWord(`name=${FW_CFG_NAME},file=${path.replaceAll(",", ",,")}`)}`,
    },
    {
      name: "libvirt-snp",
      title: "libvirt, SEV-SNP: inside <domain>; keep what your <launchSecurity> has already",
      text: `<launchSecurity type='sev-snp'>\n  <policy>0x30000</policy>\n  <hostData>${hostData}</hostData>\n</launchSecurity>`,
    },
    {
      name: "libvirt-tdx",
      title: "libvirt, TDX: inside <domain>; keep what your <launchSecurity> has already",
      text: `<launchSecurity type='tdx'>\n  <policy>0x10000000</policy>\n  <mrConfigId>${mrConfigId}</mrConfigId>\n</launchSecurity>`,
    },
    {
      name: "libvirt-delivery",
      title: "libvirt, delivery of the document itself (any guest)",
      text: `<sysinfo type='fwcfg'>\n  <entry name='${FW_CFG_NAME}' file='${xml(path)}'/>\n</sysinfo>`,
    },
    {
      name: "tpm",
      title: `TPM: what the initramfs runs before anything else may extend PCR ${pcr}`,
      text: `tpm2_pcrextend ${pcr}:sha256=${toHex(digests.sha256)},sha384=${toHex(digests.sha384)}`,
    },
    {
      name: "sealttyd",
      title: `The guest's sealttyd.toml: add, and take authorized_keys out of [users], which it excludes`,
      text: `[instance]\ndocument = ["fw_cfg"]`,
    },
    {
      name: "policy",
      title: "Your policy: add",
      text: `[instance]\ndocuments = ["${toHex(digests.sha256)}"]`,
    },
  ];
}

/** Standard alphabet, padded. */
function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64");
}

function shellWord(text: string): string {
  return /^[A-Za-z0-9_/.,=:@+-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

function xml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll("'", "&apos;");
}
