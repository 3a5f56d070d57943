// Vectors of bodies that go as they are: what arrives in which read, and what a decoder gives on. docs/protocol.md §2.3, §2.5
// What is to come out is written down here by hand: no decoder of ours is asked.

import { concat, fromHex, toHex, u32, utf8 } from "../../protocol/bytes.ts";
import { encodeFrame, type FrameEncoding } from "../../protocol/frames/frame-encoder.ts";
import { helloBody } from "../../protocol/frames/frame-body.ts";

/** Bytes in hex, or so many that count: first, first + 1, …, 255, 0, … */
export type Piece = string | { readonly counting: number; readonly first: number };

export interface RawFrameVector {
  readonly name: string;
  /** The pipe takes no binary frames (§2.4). */
  readonly armourOnly: boolean;
  /** `at`: ms, when this read brought these bytes. */
  readonly reads: readonly { readonly at: number; readonly bytes: readonly Piece[] }[];
  /** In order; frames of type RAW are not among them. */
  readonly frames: readonly { readonly encoding: FrameEncoding; readonly body: readonly Piece[] }[];
}

const ID = Uint8Array.of(0xa1, 0x00, 0xc3, 0x7e);
const HEAD = 9;
const AT_ONCE = 0;

export function bytesOf(pieces: readonly Piece[]): Uint8Array {
  return concat(
    ...pieces.map((piece) =>
      typeof piece === "string"
        ? fromHex(piece)
        : Uint8Array.from({ length: piece.counting }, (_, i) => piece.first + i),
    ),
  );
}

const hex = (...bytes: readonly Uint8Array[]): Piece => toHex(concat(...bytes));
const counting = (length: number, from: number): Piece => ({ counting: length, first: from % 256 });

/** RAW's own frame; `length` may be one that no body has. */
const announced = (length: number, encoding: FrameEncoding = "binary"): Piece =>
  hex(encodeFrame(concat(Uint8Array.of(0x1b), ID, u32(length)), encoding));

/** The body of a PACKET from its first byte up to `to`, and from there on. What is sealed counts. */
const body = (to: number, number = 1): readonly Piece[] => [
  hex(Uint8Array.of(0x15), ID, u32(number)),
  counting(to - HEAD, 0),
];
const rest = (from: number, length: number): Piece => counting(length - from, from - HEAD);

const hello = Uint8Array.of(0x11, 9, 9, 9, 9);
const small = (encoding: FrameEncoding): Piece => hex(encodeFrame(hello, encoding));
const found = (encoding: FrameEncoding): RawFrameVector["frames"][number] => ({
  encoding,
  body: [toHex(hello)],
});
const packet = (pieces: readonly Piece[]): RawFrameVector["frames"][number] => ({
  encoding: "binary",
  body: pieces,
});

type Read = RawFrameVector["reads"][number];
const isPieces = (read: readonly Piece[] | Read): read is readonly Piece[] => Array.isArray(read);

function vector(
  name: string,
  reads: readonly (readonly Piece[] | Read)[],
  frames: RawFrameVector["frames"],
  armourOnly = false,
): RawFrameVector {
  return {
    name,
    armourOnly,
    reads: reads.map((read) => (isPieces(read) ? { at: AT_ONCE, bytes: read } : read)),
    frames,
  };
}

/** A body in which all stands that begins or ends a frame. */
const delimiters: readonly Piece[] = [
  hex(Uint8Array.of(0x15), ID, u32(1)),
  hex(
    new Uint8Array(3),
    encodeFrame(helloBody(ID), "binary"),
    encodeFrame(helloBody(ID), "armour"),
    utf8("~sealtty1:"),
    Uint8Array.of(0x0a, 0x0d),
  ),
  announced(25),
  announced(264_000),
  "00",
];

export function rawFrameVectors(): { readonly source: string; readonly cases: readonly RawFrameVector[] } {
  return {
    source: "sealtty; made by test/vectors/raw-frames.ts",
    cases: [...whole(), ...torn(), ...forged()],
  };
}

function whole(): RawFrameVector[] {
  const both = [...body(16_501), announced(20_000), ...body(20_000, 2)];
  return [
    ...[25, 16_501, 264_000].map((length) =>
      vector(
        `${length} bytes${length === 25 ? ": the least that a decoder takes" : length === 264_000 ? ": the most" : ": the least that a sender sends so"}`,
        [[announced(length), ...body(length)]],
        [packet(body(length))],
      ),
    ),
    vector(
      "delimiters, whole frames, a line and other RAWs inside of a body: part of it",
      [[announced(bytesOf(delimiters).length), ...delimiters]],
      [packet(delimiters)],
    ),
    vector(
      "two bodies, a binary frame and a line right behind each other, in one read",
      [[announced(16_501), ...both, small("binary"), small("armour")]],
      [packet(body(16_501)), packet(body(20_000, 2)), found("binary"), found("armour")],
    ),
    vector(
      "the same in reads that are cut inside of RAW, right behind it, and inside of the body",
      [
        [hex(bytesOf([announced(16_501)]).subarray(0, 2))],
        [hex(bytesOf([announced(16_501)]).subarray(2))],
        body(9),
        [rest(9, 16_000)],
        [counting(501, 16_000 - HEAD), announced(20_000), ...body(20_000, 2)],
      ],
      [packet(body(16_501)), packet(body(20_000, 2))],
    ),
    vector(
      "a read that holds the end of one body and the beginning of the next",
      [
        [announced(16_501), ...body(9000)],
        [rest(9000, 16_501), announced(20_000), ...body(15_000, 2)],
        [rest(15_000, 20_000)],
      ],
      [packet(body(16_501)), packet(body(20_000, 2))],
    ),
  ];
}

function torn(): RawFrameVector[] {
  const begun = [announced(20_000), ...body(12_000)];
  const again = [announced(20_000), ...body(20_000)];
  const line = bytesOf([small("armour")]);
  const one = bytesOf([small("binary")]);
  const rested = rest(12_000, 20_000);
  return [
    vector(
      "a read begins with a binary frame: the body under way is given up, and comes whole when it is sent again",
      [begun, [small("binary")], again],
      [found("binary"), packet(body(20_000))],
    ),
    vector(
      "a read begins with a line, its LF before it: likewise",
      [begun, [hex(line)], again],
      [found("armour"), packet(body(20_000))],
    ),
    vector(
      "a read begins with a line's mark, without LF: likewise",
      [begun, [hex(line.subarray(1))], again],
      [found("armour"), packet(body(20_000))],
    ),
    vector(
      "a frame that does not begin a read is part of the body, which then is another one",
      [begun, ["ee", small("binary"), counting(20_000 - 12_000 - 1 - one.length, 0)], [small("binary")]],
      [
        packet([...body(12_000), "ee", small("binary"), counting(20_000 - 12_000 - 1 - one.length, 0)]),
        found("binary"),
      ],
    ),
    vector(
      "a read begins with two zeros and a frame behind them: part of the body",
      [begun, ["00", small("binary"), counting(20_000 - 12_000 - 1 - one.length, 0)]],
      [packet([...body(12_000), "00", small("binary"), counting(20_000 - 12_000 - 1 - one.length, 0)])],
    ),
    vector(
      "nothing for 500 ms: given up, and a frame is found byte by byte",
      [begun, ...[...one].map((byte) => ({ at: 500, bytes: [hex(Uint8Array.of(byte))] }))],
      [found("binary")],
    ),
    vector(
      "nothing for 499 ms: the rest is waited for",
      [begun, { at: 499, bytes: [rested] }],
      [packet(body(20_000))],
    ),
  ];
}

function forged(): RawFrameVector[] {
  const others: readonly Piece[] = [
    hex(Uint8Array.of(0x15, 0xa1, 0x00, 0xc3, 0x7f), u32(1)),
    counting(991, 0),
  ];
  const handshake: readonly Piece[] = [hex(Uint8Array.of(0x13), ID, u32(1)), counting(991, 0)];
  const damaged = bytesOf(body(1000));
  damaged[500] = (damaged[500] ?? 0) ^ 0x10;
  const badSum = bytesOf([announced(1000)]);
  badSum[badSum.length - 2] = (badSum[badSum.length - 2] ?? 0) ^ 1;
  const lengthFlipped = bytesOf([announced(1000)]);
  const place = lengthFlipped.indexOf(0xe8); // of 0x000003e8
  lengthFlipped[place] = 0xe9;
  return [
    ...[0, 24, 264_001, 0x8000_0000, 0xffff_ffff].map((length) =>
      vector(
        `RAW with length ${length} announces nothing`,
        [[announced(length), small("binary"), small("armour")]],
        [found("binary"), found("armour")],
      ),
    ),
    vector(
      "RAW in armour announces nothing",
      [[announced(1000, "armour"), small("binary"), small("armour")]],
      [found("binary"), found("armour")],
    ),
    vector(
      "a RAW with a byte too many, or one too few, announces nothing",
      [
        [
          hex(encodeFrame(concat(Uint8Array.of(0x1b), ID, u32(1000), Uint8Array.of(0)), "binary")),
          hex(encodeFrame(concat(Uint8Array.of(0x1b), ID, Uint8Array.of(0, 3, 0xe8)), "binary")),
          small("binary"),
        ],
      ],
      [found("binary")],
    ),
    vector(
      "on a pipe that takes no binary frames RAW announces nothing, and the line behind it is found",
      [[announced(1000), small("armour")]],
      [found("armour")],
      true,
    ),
    vector(
      "RAW with a wrong CRC, or another length under the same CRC, is noise, and the frames behind it are found",
      [[hex(badSum), hex(lengthFlipped), small("binary"), small("armour")]],
      [found("binary"), found("armour")],
    ),
    vector(
      "a body of another connection's is dropped; what stands behind it is found",
      [[announced(1000), ...others, small("binary")]],
      [found("binary")],
    ),
    vector(
      "a body that is no PACKET is dropped; what stands behind it is found",
      [[announced(1000), ...handshake, small("binary")]],
      [found("binary")],
    ),
    vector(
      "RAW twice: the second one is the body's beginning, which makes it no PACKET",
      [
        [
          announced(1000),
          announced(1000),
          ...body(1000 - bytesOf([announced(1000)]).length),
          small("binary"),
        ],
      ],
      [found("binary")],
    ),
    vector(
      "a body with a flipped bit is given on as it is: the tag will refuse it",
      [[announced(1000), hex(damaged), small("binary")]],
      [packet([hex(damaged)]), found("binary")],
    ),
  ];
}
