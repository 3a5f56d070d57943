// Every MAX_ of the protocol: what a peer or a host may make us hold, parse or send. docs/protocol.md §9.

/** Body of a frame on an 8-bit clean pipe (header, content; without CRC and COBS). */
export const MAX_FRAME_BODY = 264_000;
/** An armoured line, without its line ends. */
export const MAX_ARMOUR_LINE = 1024;
/** Frame body that still fits one armoured line: (1024 - 11) characters of base64url less the CRC, rounded down. */
export const MAX_ARMOUR_BODY = 752;
/** Body of a frame sent towards the guest: one buffer of QEMU's virtio ring holds its encoding. */
export const MAX_BODY_TO_GUEST = 4000;
/** Body of a frame sent towards the client: 16 KiB of stream data with its headers and tag. */
export const MAX_BODY_TO_CLIENT = 16_500;
/** The same over a pipe that has shown itself quick (docs/protocol.md §5.5): most of what a packet costs, it costs whatever its length. */
export const LONG_BODY_TO_GUEST = 131_336;
/** 256 KiB of stream data with their headers and tag. */
export const LONG_BODY_TO_CLIENT = 262_408;

/** Longer bodies go as they are, behind a frame that says how long they are (§2.5): only such as a quick pipe may have. */
export const RAW_ABOVE = 16_500;

/** In flight towards the guest (QEMU 7.2's websocket drops silently above it). */
export const MAX_FLIGHT_TO_GUEST_BYTES = 64 * 1024;
export const MAX_FLIGHT_TO_GUEST_FRAMES = 64;
/** The same over a pipe that has shown itself quick: a socket, which loses nothing. */
export const LONG_FLIGHT_TO_GUEST_BYTES = 512 * 1024;
/** Of a flight towards the guest, ms: a slow pipe's queue stands before each keystroke. */
export const MAX_QUEUE_TO_GUEST_MS = 200;
/** In flight towards the client. */
export const MAX_FLIGHT_TO_CLIENT_BYTES = 1024 * 1024;
export const MAX_FLIGHT_TO_CLIENT_FRAMES = 512;

/** What a PROBE carries beside its head: every byte value once. */
export const MAX_PROBE_PATTERN = 256;

/** Host noise kept for showing. */
export const MAX_NOISE_KEPT = 4096;

/** Handshake. */
export const MAX_HANDSHAKE_FRAGMENTS = 8;
export const MAX_HANDSHAKE_MESSAGE = 4096;
export const MAX_ADDRESS = 512;
export const MAX_IDENTITY = 256;
export const MAX_EVIDENCE_TYPES = 16;
/** Connections a guest holds before the user is authenticated; older ones make room. */
export const MAX_PENDING_CONNECTIONS = 32;
/** Connections that share one id because the host replayed or raced an INIT. */
export const MAX_CANDIDATES_PER_ID = 4;
/** Connections of users with a key. */
export const MAX_OPEN_CONNECTIONS = 32;
/** Connections without a key, which have the login program only; they never take a key's place. */
export const MAX_LOGIN_CONNECTIONS = 16;

/** Evidence. */
export const MAX_EVIDENCE_QUOTE = 64 * 1024;
export const MAX_EVIDENCE_AUX = 1024 * 1024;
export const MAX_EVENT_LOG = 512 * 1024;
/** SEV-SNP certificate table: VCEK, ASK, ARK and the like, as the host provisions it. */
export const MAX_CERTIFICATE_TABLE = 64 * 1024;
/** Collateral beside a quote, whole; and what one verifier looks at, the owner's own included. */
export const MAX_COLLATERAL = 256 * 1024;
export const MAX_COLLATERAL_PIECE = 128 * 1024;
export const MAX_COLLATERAL_PIECES = 64;
/** A report or quote inside aux. */
export const MAX_HARDWARE_REPORT = 32 * 1024;
/** The owner's instance document. */
export const MAX_INSTANCE_DOCUMENT = 64 * 1024;

/** Session messages. */
export const MAX_CONTROL_MESSAGE = MAX_EVIDENCE_QUOTE + MAX_EVIDENCE_AUX + 64;
/** Before the user is authenticated the guest reads no control message above this. */
export const MAX_AUTH_MESSAGE = 16 * 1024;
export const MAX_USER_NAME = 64;
/** A user's public key, or certificate: that of an RSA 8192 key by another fits, with some principals. */
export const MAX_SSH_KEY = 6 * 1024;
/** What such a key signed, in SSH wire format; a passkey's is the longest. */
export const MAX_SSH_SIGNATURE = 6 * 1024;
/** Key and signature together. */
export const MAX_SSHSIG = 8 * 1024;
export const MAX_TERM_NAME = 64;
export const MAX_COMMAND_ARGUMENTS = 4096;
export const MAX_COMMAND_BYTES = 128 * 1024;
export const MAX_ENVIRONMENT = 64;
export const MAX_ENVIRONMENT_VALUE = 32 * 1024;
/** Of all variables of a request: names and values, two more for each. */
export const MAX_ENVIRONMENT_BYTES = 64 * 1024;
/** The name of the directory that a program starts in. */
export const MAX_DIRECTORY = 4096;
export const MAX_CHANNELS = 64;
/** Channels of a connection without a key. */
export const MAX_LOGIN_CHANNELS = 4;
export const MAX_TERMINAL_SIDE = 10_000;

/** Sessions that outlive connections: of users with a key, without one, what may hang on one of them. */
export const MAX_SESSIONS = 16;
export const MAX_LOGIN_SESSIONS = 4;
export const MAX_VIEWERS = 8;
/** Of these, such as look on only: they never take the place of who may type. */
export const MAX_READ_ONLY = 6;
/** Clients that may type, whose place in a session's input is remembered. */
export const MAX_SESSION_CLIENTS = 32;
export const MAX_SESSION_TITLE = 128;
/** Lines above the screen that come back with it, and bytes of it all. */
export const MAX_SCREEN_LINES = 10_000;
export const MAX_SCREEN_BYTES = 4 * 1024 * 1024;

/** Forwarding: listeners of a connection, what came to them and waits for the client, and what names a place. */
export const MAX_LISTENERS = 16;
export const MAX_INCOMING = 16;
export const MAX_FORWARD_HOST = 255;
/** Linux's sun_path without the zero behind it. */
export const MAX_UNIX_PATH = 107;
export const MAX_SERVICE_NAME = 32;

/** Streams. */
export const CONTROL_STREAM_WINDOW = 128 * 1024;
export const OUTPUT_STREAM_WINDOW = 512 * 1024;
export const INPUT_STREAM_WINDOW = 64 * 1024;
/** Credit of a program that takes its input as it comes, and of who reads a program's output so. */
export const WIDE_INPUT_WINDOW = 512 * 1024;
export const WIDE_OUTPUT_WINDOW = 2 * 1024 * 1024;
/** How many channels of a connection have that much at once. */
export const MAX_WIDE_CHANNELS = 4;
/** Pieces a receiver keeps above a gap in one stream; what is beyond stays unacknowledged and comes again. */
export const MAX_STREAM_PIECES = 1024;
/** Bytes that a client holds in one stream, unsent or unacknowledged; `write` waits above it. */
export const MAX_SEND_BUFFER = 512 * 1024;
export const MAX_ACK_RANGES = 32;

/** Copying files: a name and a path as Linux has them, where a link leads, sources of one command, bytes of START and DATA. */
export const MAX_FILES_NAME = 255;
export const MAX_FILES_PATH = 4095;
export const MAX_FILES_LINK = 4095;
export const MAX_FILES_ROOTS = 16_384;
export const MAX_FILES_START = 1024 * 1024;
export const MAX_FILES_DATA = 64 * 1024;
/** Directories below each other: each holds a descriptor at both ends. */
export const MAX_FILES_DEPTH = 256;

/** Questions for a passphrase: at a time, bytes of what one is called and says, and of an answer (as cryptsetup's own prompt). */
export const MAX_PROMPTS = 16;
export const MAX_PROMPT_NAME = 128;
export const MAX_PROMPT_MESSAGE = 256;
export const MAX_PROMPT_ANSWER = 512;

/** The kernel's log: a record as /dev/kmsg has it (CONSOLE_EXT_LOG_MAX of newer kernels is 2 KiB, of older ones 8). */
export const MAX_KERNEL_RECORD = 8 * 1024;
/** Of either clock in the kernel's log, and of a record's time by them: the last moment that ECMAScript's dates have, in ms. */
export const MAX_KERNEL_CLOCK = 8_640_000_000_000_000;
/** Provisioning: bytes of each of the three documents. */
export const MAX_USER_DATA = 1024 * 1024;
export const MAX_META_DATA = 64 * 1024;
export const MAX_NETWORK_CONFIG = 256 * 1024;

/** Through a VNC console (docs/vnc-modem.md): bytes that came and that nobody has read yet. */
export const MAX_MODEM_TO_GUEST = 64 * 1024;
export const MAX_MODEM_TO_CLIENT = 256 * 1024;

/** A host's VNC server: sides and pixels of its screen (48 MiB as it is kept). */
export const MAX_RFB_SIDE = 8192;
export const MAX_RFB_PIXELS = 4096 * 4096;
/** Its name and its clipboard, which are thrown away as they come, and its words when it refuses. */
export const MAX_RFB_NAME = 4096;
export const MAX_RFB_REASON = 1024;
export const MAX_RFB_CUT_TEXT = 1024 * 1024;
/** Input for it that waits for the pipe. */
export const MAX_RFB_UNSENT = 64 * 1024;

/** Keys: packets under one key generation (docs/protocol.md §5.3), packets of a connection. */
export const PACKETS_PER_GENERATION = 2 ** 20;
export const MAX_PACKETS = 2 ** 48;
export const MAX_BYTES_PER_GENERATION = 2 ** 30;
export const MAX_GENERATION_AGE_MS = 10 * 60 * 1000;
/** RFC 9001 §6.6: failed openings under one key after which the connection ends. */
export const MAX_FAILED_OPENINGS = 2 ** 36;
export const REPLAY_WINDOW = 4096;
