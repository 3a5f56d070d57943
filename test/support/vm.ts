// The test guest for tests: scripts/lib/vm.mjs boots it, `npm run demo:vm` uses the same code.

import { bootVm, type Vm, type VmOptions } from "../../scripts/lib/vm.mjs";

export { bootVm };
export type { GuestFile, Vm, VmOptions, VmPipe, VmPipeAddress } from "../../scripts/lib/vm.mjs";

/** For beforeAll and test: booting takes 3 to 15 s here, and CI may be slower. */
export const BOOT_TIMEOUT = 240_000;
/** For a first connection, ms: on a busy machine an emulated guest takes long for a handshake. */
export const CONNECT_TIMEOUT = 120_000;

/** Once somebody can connect. "Ready" says that the machine is, and each half of sealttyd starts a Node of its own behind that. */
export async function sealttydServes(vm: Vm): Promise<void> {
  await vm.waitForSerial(/sealttyd\[virtio\]: .*sealttyd serves/, CONNECT_TIMEOUT);
}

/** Boots a guest, runs `use`, and stops the guest whatever happens. */
export async function withVm<T>(options: VmOptions, use: (vm: Vm) => Promise<T>): Promise<T> {
  const vm = await bootVm(options);
  try {
    return await use(vm);
  } catch (error) {
    process.stderr.write(`--- the guest's serial console\n${vm.serialLog().slice(-8000)}\n`);
    throw error;
  } finally {
    await vm.stop();
  }
}
