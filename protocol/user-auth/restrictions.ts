// What a key may do beside opening programs: sshd(8)'s options of authorized_keys, as far as forwarding goes.

export interface UserRestrictions {
  /** `restrict`, `no-port-forwarding`: nothing is forwarded either way. */
  readonly portForwarding: boolean;
  /** `permitopen=`: the only places that may be connected to, `host:port`, the host word for word, the port or `*`. */
  readonly permitOpen?: readonly string[];
  /** `permitlisten=`: the only ones that may be listened on, `[host:]port`. */
  readonly permitListen?: readonly string[];
}
