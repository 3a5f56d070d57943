// The test guest for tests: scripts/lib/vm.mjs boots it, `npm run demo:vm` uses the same code.

import { bootVm, type Vm, type VmOptions } from "../../scripts/lib/vm.mjs";

export { bootVm };
export type { GuestFile, Vm, VmOptions, VmPipe, VmPipeAddress } from "../../scripts/lib/vm.mjs";

/** For beforeAll and test: booting takes 3 to 15 s here, and CI may be slower. */
export const BOOT_TIMEOUT = 240_000;

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
