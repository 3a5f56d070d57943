// Intel's signed JSON: the exact bytes are found, nothing is read twice or by another's rules, and what is read is strict.

import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { readQeIdentity } from "../../../protocol/attestation/tdx/qe-identity.ts";
import { parseSignedJson } from "../../../protocol/attestation/tdx/signed-json.ts";
import { readTcbInfo } from "../../../protocol/attestation/tdx/tcb-info.ts";
import { concat, textOf, toHex, utf8 } from "../../../protocol/bytes.ts";
import { SealttyError } from "../../../protocol/errors.ts";
import { MAX_COLLATERAL_PIECE } from "../../../protocol/limits.ts";
import { madeTdx } from "../../support/made-tdx.ts";
import { onlySealttyErrors, sample, samples } from "./support.ts";

const SIGNATURE = "0123456789abcdef".repeat(8);
const wrap = (body: string) => `{"tcbInfo":${body},"signature":"${SIGNATURE}"}`;
const scan = (text: string) => parseSignedJson(utf8(text), "tcbInfo", "TCB info");

describe("parseSignedJson()", () => {
  test("gives the exact bytes of the object, and the signature", () => {
    const body = '{"b" : [ 1, -5, "\\u0041\\n\\"" , true,false, null ] ,"a":{ } }';
    const { body: found, signature } = scan(` \t\n${wrap(body)}\r\n`);
    expect(textOf(found)).toBe(body);
    expect(toHex(signature)).toBe(SIGNATURE);
  });

  test.for([
    ["nothing", ""],
    ["no object", "[]"],
    ["only the object", '{"tcbInfo":{}}'],
    ["only the signature", `{"signature":"${SIGNATURE}"}`],
    ["a third member", `{"tcbInfo":{},"signature":"${SIGNATURE}","x":1}`],
    ["another name", `{"enclaveIdentity":{},"signature":"${SIGNATURE}"}`],
    ["the object twice", `{"tcbInfo":{},"tcbInfo":{},"signature":"${SIGNATURE}"}`],
    ["the signature twice", `{"tcbInfo":{},"signature":"${SIGNATURE}","signature":"${SIGNATURE}"}`],
    ["an array for the object", wrap("[]")],
    ["text for the object", wrap('"{}"')],
    ["a short signature", `{"tcbInfo":{},"signature":"${SIGNATURE.slice(2)}"}`],
    ["a long signature", `{"tcbInfo":{},"signature":"${SIGNATURE}00"}`],
    ["a signature that is not hex", `{"tcbInfo":{},"signature":"${SIGNATURE.slice(1)}g"}`],
    ["an escaped signature", `{"tcbInfo":{},"signature":"\\u0030${SIGNATURE.slice(1)}"}`],
    ["a number for the signature", '{"tcbInfo":{},"signature":12}'],
    ["something behind", `${wrap("{}")}x`],
    ["two texts", wrap("{}") + wrap("{}")],
    ["a byte order mark", `\ufeff${wrap("{}")}`],
    ["a member twice, inside", wrap('{"id":"TDX","id":"SGX"}')],
    ["a member twice, deep inside", wrap('{"a":[{"b":{"c":1,"c":1}}]}')],
    ["a member name with an escape", wrap('{"\\u0069d":"TDX"}')],
    ["a comma at the end", wrap('{"a":1,}')],
    ["a comma at the end of a list", wrap('{"a":[1,]}')],
    ["a comment", wrap('{"a":1/**/}')],
    ["single quotes", wrap("{'a':1}")],
    ["no quotes", wrap("{a:1}")],
    ["a leading zero", wrap('{"a":01}')],
    ["a plus sign", wrap('{"a":+1}')],
    ["a bare point", wrap('{"a":1.}')],
    ["hex", wrap('{"a":0x10}')],
    ["NaN", wrap('{"a":NaN}')],
    ["True", wrap('{"a":True}')],
    ["a number of 400 digits", wrap(`{"a":${"1".repeat(400)}}`)],
    ["an unknown escape", wrap('{"a":"\\x41"}')],
    ["a short escape", wrap('{"a":"\\u00"}')],
    ["a control character", wrap('{"a":"\n"}')],
    ["text that is not ASCII", wrap('{"a":"é"}')],
    ["an open string", '{"tcbInfo":{"a":"'],
    ["an open object", '{"tcbInfo":{'],
    ["a form feed", wrap('{\f"a":1}')],
    ["too deep a list", wrap(`{"a":${"[".repeat(50)}${"]".repeat(50)}}`)],
    ["very deep a list", wrap(`{"a":${"[".repeat(100_000)}`)],
    ["too many members", wrap(`{${Array.from({ length: 65 }, (_, i) => `"m${i}":0`).join(",")}}`)],
    ["too long", wrap(`{"a":"${"x".repeat(MAX_COLLATERAL_PIECE)}"}`)],
    ["a zero byte", `${wrap("{}")}\0`],
  ] as const)("refuses %s", ([, text]) => {
    expect(() => scan(text)).toThrow(SealttyError);
    expect(() => scan(text)).toThrow(expect.objectContaining({ code: "peer-misbehaved" }));
  });

  test("a long text is read without growing the stack", () => {
    const body = `{"a":"${"x".repeat(120_000)}"}`;
    expect(scan(wrap(body)).body.length).toBe(body.length);
  });

  test("agrees with JSON.parse on whatever it accepts", () => {
    const ascii = fc.string({ unit: "binary-ascii", maxLength: 12 }).filter((text) => !text.includes("\x7f"));
    const tree = fc.letrec<{ value: unknown }>((tie) => ({
      value: fc.oneof(
        { maxDepth: 4 },
        fc.constantFrom(true, false, null),
        fc.integer(),
        ascii,
        fc.array(tie("value"), { maxLength: 4 }),
        fc.dictionary(fc.stringMatching(/^[a-zA-Z0-9_]{1,8}$/), tie("value"), { maxKeys: 4 }),
      ),
    })).value;
    const object = fc.dictionary(fc.stringMatching(/^[a-zA-Z0-9_]{1,8}$/), tree, { maxKeys: 5 });
    fc.assert(
      fc.property(object, fc.nat({ max: 4 }), (value, indent) => {
        const body = JSON.stringify(value, undefined, indent);
        const found = scan(wrap(body)).body;
        expect(textOf(found)).toBe(body);
        expect(JSON.parse(textOf(found))).toEqual(JSON.parse(body));
      }),
      { numRuns: 500 },
    );
  });

  test("what it accepts of changed texts is what JSON.parse sees, and never a member twice", () => {
    const corpus = [
      wrap('{"a":[1,{"b":"x\\n"}],"c":{"d":null}}'),
      textOf(madeTdx().collateral.tcbInfos[0] as Uint8Array),
    ];
    const piece = fc.constantFrom(
      '"',
      "{",
      "}",
      "[",
      "]",
      ",",
      ":",
      "\\",
      "0",
      "-",
      ".",
      "e",
      " ",
      "\n",
      "tcbInfo",
      "signature",
      "\u00e9",
      "\0",
      '"a":1,',
    );
    fc.assert(
      fc.property(
        fc.constantFrom(...corpus),
        fc.array(fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), piece, fc.nat({ max: 3 })), {
          minLength: 1,
          maxLength: 4,
        }),
        (text, edits) => {
          const changed = edits.reduce((each, [at, put, remove]) => {
            const place = Math.floor(at * each.length);
            return each.slice(0, place) + put + each.slice(place + remove);
          }, text);
          onlySealttyErrors(() => {
            const { body } = scan(changed);
            const whole = JSON.parse(changed);
            expect(Object.keys(whole).sort()).toEqual(["signature", "tcbInfo"]);
            expect(JSON.parse(textOf(body))).toEqual(whole.tcbInfo);
            expect(changed).toContain(textOf(body));
          });
        },
      ),
      { numRuns: 3000 },
    );
  });
});

const bodyOf = (piece: Uint8Array, member: "tcbInfo" | "enclaveIdentity") =>
  JSON.parse(textOf(parseSignedJson(piece, member, "piece").body));
const made = madeTdx().collateral;
const info = () => bodyOf(made.tcbInfos[0] as Uint8Array, "tcbInfo");
const identity = () => bodyOf(made.qeIdentities[0] as Uint8Array, "enclaveIdentity");
type Json = ReturnType<typeof info>;
type Change = readonly [string, (value: Json) => unknown];

/** Each required member, removed; and each with something of another kind. */
function everyMember(make: () => Json, path: readonly (string | number)[] = []): Change[] {
  const at = (value: Json) => path.reduce((each, step) => each[step], value);
  const here = at(make());
  if (Array.isArray(here)) return here.length === 0 ? [] : everyMember(make, [...path, 0]);
  if (typeof here !== "object" || here === null) return [];
  return Object.keys(here).flatMap((name): Change[] => [
    ...[undefined, null, 7.5, -1, {}, [], "x", true, Number.MAX_SAFE_INTEGER].map(
      (bad): Change => [
        `${[...path, name].join(".")} = ${bad === undefined ? "nothing" : JSON.stringify(bad)}`,
        (value) => {
          if (bad === undefined) delete at(value)[name];
          else at(value)[name] = bad;
          return value;
        },
      ],
    ),
    ...everyMember(make, [...path, name]),
  ]);
}

describe("readTcbInfo()", () => {
  const read = (change: (value: Json) => unknown) => readTcbInfo(change(info()));

  test("reads what is made", () => {
    const found = read((value) => value);
    expect(found).toMatchObject({ evaluationNumber: 19, issueDate: Date.UTC(2026, 5, 10) });
    expect(found.moduleIdentities.map(({ id }) => id)).toEqual(["TDX_03", "TDX_01"]);
    expect(found.levels.map(({ pceSvn }) => pceSvn)).toEqual([13, 11]);
  });

  // Absent identities are a TDX module 1.0's; an absent list of advisories is an empty one.
  const harmless = /^(?:tdxModuleIdentities = (?:nothing|\[\])|.*advisoryIDs = (?:nothing|\[\]))$/;
  test.for(everyMember(info).filter(([name]) => !harmless.test(name)))("refuses %s", ([, change]) => {
    expect(() => read(change)).toThrow(expect.objectContaining({ code: "peer-misbehaved" }));
  });

  test.for([
    ["a null", () => null],
    ["a list", () => []],
    [
      "an unknown status",
      (value) => ({ ...value, tcbLevels: [{ ...value.tcbLevels[0], tcbStatus: "Fine" }] }),
    ],
    [
      "a status that only we conclude",
      (value) => ({ ...value, tcbLevels: [{ ...value.tcbLevels[0], tcbStatus: "TDRelaunchAdvised" }] }),
    ],
    ["no level", (value) => ({ ...value, tcbLevels: [] })],
    ["15 components", (value) => (value.tcbLevels[0].tcb.sgxtcbcomponents.pop(), value)],
    ["17 components", (value) => (value.tcbLevels[0].tcb.tdxtcbcomponents.push({ svn: 0 }), value)],
    ["an SVN of 256", (value) => ((value.tcbLevels[0].tcb.sgxtcbcomponents[3].svn = 256), value)],
    ["an unknown member in a level's tcb", (value) => ((value.tcbLevels[0].tcb.more = 1), value)],
    ["an unknown member in a module identity", (value) => ((value.tdxModuleIdentities[0].more = 1), value)],
    [
      "a module identity twice",
      (value) => (value.tdxModuleIdentities.push(value.tdxModuleIdentities[0]), value),
    ],
    ["a module identity of another name", (value) => ((value.tdxModuleIdentities[0].id = "TDX_3"), value)],
    [
      "a module status that modules do not have",
      (value) => ((value.tdxModuleIdentities[0].tcbLevels[0].tcbStatus = "SWHardeningNeeded"), value),
    ],
    ["a FMSPC of 5 bytes", (value) => ((value.fmspc = "70a06d0700"), value)],
    ["a date with an offset", (value) => ((value.issueDate = "2026-06-10T00:00:00+00:00"), value)],
    ["a date with parts of a second", (value) => ((value.issueDate = "2026-06-10T00:00:00.0Z"), value)],
    ["a date without a time", (value) => ((value.nextUpdate = "2026-06-10"), value)],
    ["30 February", (value) => ((value.nextUpdate = "2027-02-30T00:00:00Z"), value)],
    ["hour 24", (value) => ((value.nextUpdate = "2027-02-20T24:00:00Z"), value)],
    ["an advisory with markup", (value) => ((value.tcbLevels[1].advisoryIDs = ["<b>"]), value)],
    [
      "too many advisories",
      (value) => (
        (value.tcbLevels[1].advisoryIDs = Array.from({ length: 129 }, () => "INTEL-SA-00001")), value
      ),
    ],
    [
      "too many levels",
      (value) => ((value.tcbLevels = Array.from({ length: 129 }, () => value.tcbLevels[0])), value),
    ],
  ] as const satisfies readonly Change[])("refuses %s", ([, change]) => {
    expect(() => read(change)).toThrow(expect.objectContaining({ code: "peer-misbehaved" }));
  });
});

describe("readQeIdentity()", () => {
  test.for(everyMember(identity))("refuses %s", ([, change]) => {
    expect(() => readQeIdentity(change(identity()))).toThrow(
      expect.objectContaining({ code: "peer-misbehaved" }),
    );
  });
});

test("fuzzing the whole way from samples: nothing but typed errors", () => {
  const pieces = ["tcb_info.json", "qe_identity.json"].flatMap((name) =>
    samples("tdx").map((each) => sample(`tdx/${each}/${name}`)),
  );
  const corpus = [...made.tcbInfos, ...made.qeIdentities, ...pieces];
  const edit = fc.tuple(
    fc.double({ min: 0, max: 1, noNaN: true }),
    fc.uint8Array({ maxLength: 4 }),
    fc.nat({ max: 6 }),
  );
  fc.assert(
    fc.property(
      fc.constantFrom(...corpus),
      fc.array(edit, { minLength: 1, maxLength: 3 }),
      (piece, edits) => {
        const changed = edits.reduce((each, [at, put, remove]) => {
          const place = Math.floor(at * each.length);
          return concat(each.subarray(0, place), put, each.subarray(place + remove));
        }, piece);
        onlySealttyErrors(() => readTcbInfo(bodyOf(changed, "tcbInfo")));
        onlySealttyErrors(() => readQeIdentity(bodyOf(changed, "enclaveIdentity")));
      },
    ),
    { numRuns: 3000 },
  );
});
