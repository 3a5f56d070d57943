// KubeVirt: the console subresource of a virtual machine instance, through the cluster's API server. docs/hosts.md

import type { Pipe } from "../../protocol/pipe.ts";
import type { GuestAddress } from "../address.ts";
import { apiBase, type HostApi, openApiSocket, tlsOf } from "./host-api.ts";
import { HostSettings } from "./settings.ts";
import type { Environment } from "./settings.ts";

export type KubevirtAddress = Extract<GuestAddress, { kind: "kubevirt" }>;

const SUBPROTOCOL = "plain.kubevirt.io";
const ADVICE = {
  400: "Check that the instance runs and has a serial console (autoattachSerialConsole).",
  401: "The token is missing, wrong or has expired: SEALTTY_KUBEVIRT_TOKEN_FILE (kubectl create token).",
  403: "The token's account may not open consoles: it needs get on virtualmachineinstances/console.",
  404: "Check namespace and name: that of the instance (kubectl get vmi), which has to run.",
} as const;

/** Everything that is read before anything is dialled. @throws SealttyError `bad-config`. */
export async function kubevirtAccess(
  environment: Environment,
): Promise<{ readonly api: HostApi; readonly token: string | undefined }> {
  const settings = new HostSettings(environment, "SEALTTY_KUBEVIRT");
  const server = settings.required("SERVER", "where the cluster's API server is, https://HOST:6443");
  const tls = await tlsOf(settings);
  // A client certificate says who we are as well, and kubectl proxy on this machine says it for us.
  const base = apiBase(server, "SEALTTY_KUBEVIRT_SERVER");
  const secure = base.protocol === "https:";
  const token =
    tls.certificate === undefined && secure
      ? await settings.requiredSecret("TOKEN", "who asks the cluster")
      : await settings.secret("TOKEN");
  return { api: { what: "KubeVirt", base, ...tls }, token };
}

/** No pings of a web socket are needed: the protocol's own come more often than hosts cut an idle console. */
export async function dialKubevirt(address: KubevirtAddress, environment: Environment): Promise<Pipe> {
  const { api, token } = await kubevirtAccess(environment);
  const path =
    `/apis/subresources.kubevirt.io/v1/namespaces/${address.namespace}` +
    `/virtualmachineinstances/${address.name}/console`;
  return openApiSocket(api, path, {
    protocols: [SUBPROTOCOL],
    headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
    adviceByStatus: ADVICE,
  });
}
