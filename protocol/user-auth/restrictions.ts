// What a user's key may be used for, beside what its user may: sshd(8)'s options of authorized_keys.

export interface UserRestrictions {
  /** Run in place of whatever is asked for. */
  readonly command?: string;
  /** `restrict`, `no-port-forwarding`: nothing is forwarded either way. */
  readonly portForwarding: boolean;
  /** `permitopen=`: the only places that may be connected to, `host:port`, the host word for word, the port or `*`. */
  readonly permitOpen?: readonly string[];
  /** `permitlisten=`: the only ones that may be listened on, `[host:]port`. */
  readonly permitListen?: readonly string[];
}
