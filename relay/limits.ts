// What one client, one guest or the host's network may make the relay hold.

/** One web socket message from a client. */
export const MAX_CLIENT_MESSAGE = 256 * 1024;
export const MAX_CLIENTS_PER_GUEST = 64;
export const MAX_SOCKETS = 512;
/** Connection ids remembered for one client; above it the one not heard for longest is forgotten. */
export const MAX_IDS_PER_CLIENT = 64;
/** Clients that one id is routed to: the two that used it last. */
export const MAX_CLIENTS_PER_ID = 2;
/** Waiting for the guest, per client: above the first its socket is not read, below the second it is again. */
export const CLIENT_QUEUE_HIGH = 128 * 1024;
export const CLIENT_QUEUE_LOW = 32 * 1024;
/** Waiting for a client that does not read: it is cut. The protocol keeps at most 1 MiB in flight per connection. */
export const MAX_WAITING_FOR_CLIENT = 4 * 1024 * 1024;
/** Bytes without a single frame in them after which a client is cut. */
export const MAX_CLIENT_NOISE = 1024 * 1024;
export const RECONNECT_FIRST_MS = 100;
export const RECONNECT_LAST_MS = 5000;
export const PING_INTERVAL_MS = 20_000;
