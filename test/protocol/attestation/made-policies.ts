// Policies for tests: any policy that its rules allow, and short texts to start from.

import * as fc from "fast-check";
import {
  type AzurePolicy,
  type Policy,
  type SnpPolicy,
  TCB_STATUSES,
  type TdxPolicy,
  acceptedTypes,
  isPolicyName,
  pinsKernel,
  reaches,
} from "../../../protocol/attestation/policy.ts";
import { REACH } from "../../../protocol/attestation/policy/rules.ts";
import { SNP_PRODUCTS } from "../../../protocol/attestation/roots.ts";
import { ASSURANCES } from "../../../protocol/attestation/verified-guest.ts";

/** Never all zero: that pins nothing. One draw for all digits: byte by byte is slow. */
const hexText = (digits: number) =>
  fc
    .bigInt({ min: 1n, max: 2n ** BigInt(4 * digits) - 1n })
    .map((value) => value.toString(16).padStart(digits, "0"));
const pins = (digits: number) => fc.array(hexText(digits), { maxLength: 3 });
const some = <T>(item: fc.Arbitrary<T>) => fc.array(item, { minLength: 1, maxLength: 3 });
const component = fc.integer({ min: 0, max: 255 });
const tcb = fc.oneof(
  fc.constant({}),
  fc
    .record(
      { fmc: component, bootloader: component, tee: component, snp: component, microcode: component },
      { requiredKeys: [] },
    )
    .filter((value) => Object.keys(value).length > 0),
);
const any = (other: "off" | "required") => fc.constantFrom("any" as const, other);
const flag = fc.boolean();

const anySnp: fc.Arbitrary<SnpPolicy> = fc.record({
  measurements: some(hexText(96)),
  idKeys: pins(96),
  authorKeys: pins(96),
  hostData: pins(64),
  chipIds: fc.array(
    fc.oneof(
      hexText(128),
      hexText(16).map((text) => text.padEnd(128, "0")),
    ),
    { maxLength: 2 },
  ),
  cspIds: fc.array(fc.constantFrom("CN=cc-us-east-2.amazonaws.com", 'a "b" \\ c'), { maxLength: 2 }),
  familyIds: pins(32),
  imageIds: pins(32),
  products: some(fc.constantFrom(...SNP_PRODUCTS)),
  signingKeys: some(fc.constantFrom("vcek" as const, "vlek" as const)),
  vmpls: some(fc.integer({ min: 0, max: 3 })),
  minimumTcb: tcb,
  minimumLaunchTcb: tcb,
  minimumMitigation: hexText(16),
  minimumGuestSvn: fc.nat(),
  minimumAbi: fc.tuple(component, component).map(([major, minor]) => `${major}.${minor}`),
  smt: any("off") as fc.Arbitrary<"any" | "off">,
  singleSocket: any("required") as fc.Arbitrary<"any" | "required">,
  ciphertextHiding: any("required") as fc.Arbitrary<"any" | "required">,
  aliasCheck: any("required") as fc.Arbitrary<"any" | "required">,
  crl: fc.constantFrom("required" as const, "if-present" as const),
  allowDebug: flag,
  allowMigrationAgent: flag,
  allowProvisionalFirmware: flag,
  allowMilanWithoutChipId: flag,
});

const anyTdx: fc.Arbitrary<TdxPolicy> = fc.record({
  mrtd: some(hexText(96)),
  rtmrs: fc
    .uniqueArray(fc.integer({ min: 0, max: 3 }))
    .chain((indexes) => fc.tuple(...indexes.map((index) => fc.tuple(fc.constant(index), some(hexText(96))))))
    .map((entries) => new Map(entries)),
  mrSeam: pins(96),
  mrConfigId: pins(96),
  mrOwner: pins(96),
  mrOwnerConfig: pins(96),
  mrServiceTd: some(fc.oneof(fc.constant("0".repeat(96)), hexText(96))),
  piids: pins(32),
  tcbStatus: some(fc.constantFrom(...TCB_STATUSES.filter((status) => status !== "Revoked"))),
  advisories: fc.array(fc.constantFrom("INTEL-SA-00615", "INTEL-SA-01192"), { maxLength: 2 }),
  minimumTcbEvaluation: fc.integer({ min: 0, max: 65_535 }),
  xfam: pins(16),
  smt: any("off") as fc.Arbitrary<"any" | "off">,
  dynamicPlatform: fc.constantFrom("any" as const, "static" as const),
  allowAnyKernel: flag,
  allowDebug: flag,
  allowSeptVe: flag,
  allowMigratable: flag,
  allowPerfmon: flag,
});

const bankAndPcrs = fc
  .record({
    bank: fc.constantFrom("sha256" as const, "sha384" as const),
    indexes: fc.uniqueArray(fc.integer({ min: 0, max: 15 }), { minLength: 1, maxLength: 4 }),
    values: some(hexText(96)),
  })
  .map(({ bank, indexes, values }) => ({
    bank,
    pcrs: new Map(
      indexes.map((i) => [i, values.map((value) => value.slice(0, bank === "sha256" ? 64 : 96))]),
    ),
  }));

const anyAzure: fc.Arbitrary<AzurePolicy> = fc
  .record({
    vmIds: fc.array(
      fc.uuid().map((text) => text.toUpperCase()),
      { maxLength: 2 },
    ),
    banked: bankAndPcrs,
    allowHostConsole: flag,
    allowNoSecureBoot: flag,
  })
  .map(({ banked, ...rest }) => ({ ...rest, ...banked }));

const anyTpm = fc
  .tuple(fc.array(hexText(64), { minLength: 1, maxLength: 3 }), bankAndPcrs)
  .map(([names, banked]) => ({ akNames: names.map((name) => `000b${name}`), ...banked }));

/** Every policy that `parsePolicy` can give, spread widely. */
export const anyPolicy: fc.Arbitrary<Policy> = fc
  .record({
    name: fc.string({ minLength: 1, maxLength: 20, unit: "binary" }).filter(isPolicyName),
    anyInstance: flag,
    clockSkew: fc.integer({ min: 0, max: 86_400 }),
    reattestEvery: fc.integer({ min: 10, max: 86_400 }),
    reattestMisses: fc.integer({ min: 0, max: 1000 }),
    documents: some(hexText(64)),
    keys: pins(64),
    pcr: fc.integer({ min: 8, max: 15 }),
    snp: fc.option(anySnp, { nil: undefined }),
    tdx: fc.option(anyTdx, { nil: undefined }),
    azure: fc.option(anyAzure, { nil: undefined }),
    tpm: fc.option(anyTpm, { nil: undefined }),
    simulated: fc.option(fc.constant({ instance: 'a "quoted" \\ name' }), { nil: undefined }),
    weakest: fc.nat({ max: 3 }),
  })
  .map(({ documents, keys, pcr, weakest, ...rest }): Policy => {
    const { anyInstance } = rest;
    const tpm = rest.tpm ?? ((rest.snp ?? rest.tdx ?? rest.simulated) ? undefined : SOME_TPM);
    const azure = (rest.snp ?? rest.tdx) ? rest.azure : undefined;
    const { tdx } = rest;
    const anyKernel = tdx !== undefined && azure === undefined && !pinsKernel(tdx);
    const unpinned: Policy = {
      version: 1,
      ...rest,
      minimumAssurance: "simulated",
      instance: { documents: anyInstance ? [] : documents, keys: anyInstance ? [] : keys, pcr },
      tdx: anyKernel ? { ...tdx, allowAnyKernel: true } : tdx,
      azure,
      tpm,
    };
    const policy = anyInstance ? withoutInstance(unpinned) : unpinned;
    const reachable = ASSURANCES.filter((assurance) =>
      acceptedTypes(policy).every((type) => reaches(REACH[type], assurance)),
    );
    const minimumAssurance =
      policy.simulated === undefined ? reachable[weakest % reachable.length] : "simulated";
    return { ...policy, minimumAssurance: minimumAssurance ?? "simulated" };
  });

const SOME_TPM = {
  akNames: [`000b${"cd".repeat(32)}`],
  bank: "sha256",
  pcrs: new Map([[4, ["ab".repeat(32)]]]),
} as const;

/** Nothing that says which machine. */
function withoutInstance(policy: Policy): Policy {
  const { snp, tdx, azure, tpm } = policy;
  return {
    ...policy,
    snp: snp && { ...snp, authorKeys: [], hostData: [], chipIds: [] },
    tdx: tdx && { ...tdx, mrConfigId: [], mrOwner: [], piids: [] },
    azure: azure && { ...azure, vmIds: [] },
    tpm: tpm && { ...tpm, akNames: [] },
  };
}

export const H32 = "0c".repeat(16);
export const H64 = "3f".repeat(32);
export const H96 = "9a".repeat(48);
export const H128 = "d4".repeat(64);
export const head = (assurance: string, more = "") =>
  `version = 1\nname = "db1"\nminimumAssurance = "${assurance}"\n${more}`;
export const SNP = `[snp]\nmeasurement = ["${H96}"]\n`;
export const SNP_WHICH = `hostData = ["${H64}"]\n`;
export const RTMRS = `{ 1 = ["${H96}"], 2 = ["${H96}"] }`;
export const TDX = `[tdx]\nmrtd = ["${H96}"]\nrtmrs = ${RTMRS}\n`;
export const TDX_WHICH = `mrConfigId = ["${H96}"]\n`;
export const AZURE = `[azure]\nvmId = ["b7c1a6c3-0e1d-4c9b-8f4a-2d1e5a6b7c8d"]\n`;
export const AZURE_PCRS = `[azure.pcrs]\n4 = ["${H64}"]\n`;
