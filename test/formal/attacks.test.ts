// Every attack that formal/ expects is carried out on its model, term by term; and none of these attacks works where a
// model is expected to hold. The second half is no proof: it covers the strategies below, ProVerif's answer covers all.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { parseModel } from "../support/proverif-check.ts";
import type { Model } from "../support/proverif-model.ts";
import { Stuck, World, type Thread, type Value } from "../support/proverif-run.ts";

const folder = new URL("../../formal/", import.meta.url);
const read = (file: string): string => readFileSync(new URL(file, folder), "utf8");
const expected = JSON.parse(read("expected.json")) as Record<string, Record<string, boolean>>;
const { VARIANTS } = (await import(/* @vite-ignore */ fileURLToPath(new URL("variants.mjs", folder)))) as {
  VARIANTS: readonly Variant[];
};

/** The switches that say which messages a model has; formal/variants.mjs. */
interface Variant {
  readonly file: string;
  readonly claims?: readonly string[];
  readonly user?: string;
  readonly agree?: string;
  readonly instanceKey?: string;
  readonly hostDocument?: readonly string[];
  readonly renewal?: object;
}
type Strategy = (world: World, variant: Variant) => void;

const last = <T>(items: readonly T[], index = items.length - 1): T => {
  const item = items[index];
  if (item === undefined) throw new Stuck("nothing was sent");
  return item;
};
const has = (thread: Thread, name: string): Value => {
  const value = thread.env.get(name);
  if (value === undefined) throw new Stuck(`${name} is not bound`);
  return value;
};
const claimsOf = (variant: Variant): readonly string[] => variant.claims ?? ["instance"];

function startClient(world: World, variant: Variant, visits?: readonly [Value, Value]): Thread {
  const client = world.start("Client");
  const [measurement, instance] = visits ?? [];
  if (variant.user)
    world.send(
      client,
      world.tuple(measurement ?? world.named("good_measurement"), instance ?? world.named("good_instance")),
    );
  return client;
}

function startGuest(world: World, variant: Variant, document?: Value): Thread {
  const guest = world.start("Guest");
  if (variant.hostDocument) world.send(guest, document ?? world.named("good_document"));
  if (variant.agree === "type") world.send(guest, world.named("type_snp"));
  return guest;
}

/** Everything is carried as it was sent, but what `swap` makes of the evidence. */
function connect(
  world: World,
  client: Thread,
  guest: Thread,
  swap = (evidence: Value): Value => evidence,
): void {
  world.send(guest, last(client.outputs, 0));
  world.send(client, last(guest.outputs, 0));
  world.send(client, swap(last(guest.outputs, 1)));
}

/** One renewal: `answer` stands for the guest. */
function renew(world: World, client: Thread, answer: (request: Value) => Value): Value {
  const message = answer(last(client.outputs));
  world.send(client, message);
  return message;
}
const asks =
  (world: World, guest: Thread) =>
  (request: Value): Value => {
    world.send(guest, request);
    return last(guest.outputs);
  };

const honest: Strategy = (world, variant) => {
  const client = startClient(world, variant);
  const guest = startGuest(world, variant);
  connect(world, client, guest);
  if (variant.user) world.send(guest, last(client.outputs, 1));
  world.nextPhase();
  if (!variant.renewal) return;
  renew(world, client, asks(world, guest));
  renew(world, client, asks(world, guest));
};

/** The adversary is client of the owner's guest, with another client's nonce: it gets that guest's quote. */
function visitGuest(
  world: World,
  variant: Variant,
  nonce: Value,
): { quote: Value; aux: Value; visitor: Thread; guest: Thread } {
  const guest = startGuest(world, variant);
  const around = world.surroundings("Guest");
  const args = [...(world.model.processes.get("Client")?.params ?? [])].map(([param, type]) => {
    if (param === "usk") return world.fresh(type);
    const secret = around.get(param === "pinned" ? "s" : "ik");
    if (secret === undefined) throw new Error(`nothing for ${param}`);
    return param === "pinned"
      ? world.apply("exp", world.named("g"), secret)
      : world.apply("verify_key", secret);
  });
  const visitor = world.play("Client", args, { report: () => last([]), chosen: { n: nonce } });
  if (variant.user)
    world.send(visitor, world.tuple(world.named("good_measurement"), world.named("good_instance")));
  world.send(guest, last(visitor.outputs, 0));
  world.send(visitor, last(guest.outputs, 0));
  try {
    world.send(visitor, last(guest.outputs, 1));
  } catch (error) {
    if (!(error instanceof Stuck)) throw error; // it has no keystroke of a true client to send; the quote is open by then
  }
  return { quote: has(visitor, "quote"), aux: has(visitor, "aux"), visitor, guest };
}

interface Disguise {
  readonly leakedStatic: boolean;
  /** Each claim of a report of the adversary's own guest: the owner's value, or another; undefined: no such guest. */
  readonly good: Readonly<Record<string, boolean>> | undefined;
  readonly ownersDocument: boolean;
}

/** The adversary plays the guest towards a client: with its own hardware's report, or with one of the owner's guest. */
const impersonate =
  ({ leakedStatic, good, ownersDocument }: Disguise): Strategy =>
  (world, variant) => {
    const around = world.surroundings("Guest");
    const known = (name: string): Value | undefined => {
      const value = around.get(name);
      return value && world.knows(value) ? value : undefined;
    };
    const leaked = leakedStatic ? known("s") : undefined;
    if (leakedStatic && leaked === undefined) throw new Stuck("no static key has leaked");
    const other: Record<string, Value> = {
      measurement: world.fresh("measurement"),
      ...(world.model.types.has("instance") ? { instance: world.fresh("instance") } : {}),
      owner: world.fresh("bitstring"),
      // Shows the owner's document, and was started with another: or shows what it was started with.
      ...(ownersDocument ? { document: world.fresh("bitstring") } : {}),
      ...(world.model.types.has("chip") ? { chip: world.fresh("chip") } : {}),
    };
    const choose = (claim: string): Value =>
      good?.[claim] ? world.named(`good_${claim}`) : last(other[claim] ? [other[claim]] : []);
    const visits = variant.user && good ? ([choose("measurement"), choose("instance")] as const) : undefined;
    const client = startClient(world, variant, visits);
    const stolen = good ? undefined : visitGuest(world, variant, has(client, "n"));
    const document =
      ownersDocument && claimsOf(variant).includes("document")
        ? world.named("good_document")
        : world.fresh("bitstring");

    const ownReport = (binder: Value): Value => {
      const measurement = choose("measurement");
      const asked = [measurement];
      for (const claim of claimsOf(variant)) {
        if (claim === "boot") continue;
        if (claim === "document") {
          const launchedWith = good?.["document"] ? world.named("good_document") : other["document"];
          asked.push(world.apply("hash", launchedWith ?? document));
        } else if (claim === "author") {
          const own = world.fresh("signkey");
          const block = world.apply(
            "sign",
            good?.["author"] ? world.named("owner_author") : own,
            world.apply("measurement_bits", measurement),
          );
          asked.push(world.apply("verify_key", good?.["author"] ? world.named("owner_author") : own), block);
        } else asked.push(choose(claim));
      }
      const sibling = world.start("OtherGuests");
      world.send(sibling, world.tuple(...asked, binder));
      return last(sibling.outputs);
    };
    const args = [...(world.model.processes.get("Guest")?.params ?? [])].map(([param, type]) => {
      if (param === "s") return leaked ?? world.fresh(type);
      if (param === "user_key") return world.apply("verify_key", world.fresh("signkey"));
      return (param === "instance_key" ? known("ik") : undefined) ?? world.fresh(type);
    });
    const guest = world.play("Guest", args, {
      report: (binder) => stolen?.quote ?? ownReport(binder),
      chosen: {
        ...(claimsOf(variant).includes("document") && !variant.hostDocument ? { document } : {}),
        ...(stolen ? { aux: stolen.aux } : {}),
      },
    });
    if (variant.hostDocument) world.send(guest, document);
    if (variant.agree === "type") world.send(guest, world.named("type_snp"));
    connect(world, client, guest);
    world.nextPhase();
  };

/** A user visits the adversary's guest, which meanwhile logs in at the owner's with what that user signs. */
const logInElsewhere: Strategy = (world, variant) => {
  if (!variant.user) throw new Stuck("no users");
  const visited = [world.fresh("measurement"), world.fresh("instance")] as const;
  const client = startClient(world, variant, visited);
  const { visitor, guest } = visitGuest(world, variant, has(client, "n"));
  const impostor = world.play(
    "Guest",
    [world.fresh("exponent"), world.apply("verify_key", world.fresh("signkey"))],
    {
      chosen: {},
      report: (binder) => {
        const sibling = world.start("OtherGuests");
        world.send(sibling, world.tuple(...visited, binder));
        return last(sibling.outputs);
      },
    },
  );
  connect(world, client, impostor);
  const key = (thread: Thread): Value =>
    world.apply("k_i2r", has(thread, "ee"), has(thread, "ss"), has(thread, "es"));
  const signature = world.apply("unseal", key(impostor), world.named("ad_user"), last(client.outputs, 1));
  world.send(guest, world.apply("seal", key(visitor), world.named("ad_user"), signature));
};

/** The host changes what travels beside the quote. */
const swapBeside: Strategy = (world, variant) => {
  const client = startClient(world, variant);
  connect(world, client, startGuest(world, variant), (evidence) => {
    if (evidence.head !== "") throw new Stuck("sealed");
    const parts = [...evidence.args];
    if (variant.agree === "type") parts[0] = world.named("type_azure_snp");
    else parts[parts.length - 1] = world.fresh("bitstring");
    return world.tuple(...parts);
  });
};

const falseDocument: Strategy = (world, variant) => {
  if (!variant.hostDocument) throw new Stuck("the host delivers no document");
  connect(world, startClient(world, variant), startGuest(world, variant, world.fresh("bitstring")));
};

/** What the adversary answers to the second request for evidence of a connection. */
const second =
  (answer: (world: World, guest: Thread, client: Thread, first: Value) => Value): Strategy =>
  (world, variant) => {
    if (!variant.renewal) throw new Stuck("no renewals");
    const client = startClient(world, variant);
    const guest = startGuest(world, variant);
    connect(world, client, guest);
    world.nextPhase();
    const first = renew(world, client, asks(world, guest));
    renew(world, client, () => answer(world, guest, client, first));
  };
const replayFirst = second((_world, _guest, _client, first) => first);
const askAhead = second((world, guest) =>
  asks(world, guest)(world.tuple(world.named("second"), world.fresh("nonce"))),
);
const rebooted = second((world, _guest, client) => {
  const aux = world.named("good_document");
  const guest = world.start("Rebooted");
  world.send(guest, last([world.wanted(client, { aux_second: aux }).at(-1) ?? aux]));
  return world.tuple(last(guest.outputs), aux);
});

/** Every disguise that the model's claims allow. */
function disguises(variant: Variant): Disguise[] {
  let reports: Record<string, boolean>[] = [{}];
  for (const claim of ["measurement", ...claimsOf(variant)])
    reports = reports.flatMap((report) => [true, false].map((good) => ({ ...report, [claim]: good })));
  return [true, false].flatMap((leakedStatic) =>
    [...reports, undefined].flatMap((good) =>
      [true, false].map((ownersDocument) => ({ leakedStatic, good, ownersDocument })),
    ),
  );
}

/** Runs each strategy in a world of its own. @returns names of the strategies that refute each query. */
function refutations(model: Model, variant: Variant): ReadonlyMap<string, string[]> {
  const strategies: [string, Strategy][] = [
    ["honest", honest],
    ...disguises(variant).map((disguise): [string, Strategy] => [
      JSON.stringify(disguise),
      impersonate(disguise),
    ]),
    ["logInElsewhere", logInElsewhere],
    ["swapBeside", swapBeside],
    ["falseDocument", falseDocument],
    ["replayFirst", replayFirst],
    ["askAhead", askAhead],
    ["rebooted", rebooted],
  ];
  const found = new Map<string, string[]>(
    Object.keys(expected[`${variant.file}.pv`] ?? {}).map((query) => [query, []]),
  );
  for (const [name, strategy] of strategies) {
    const world = new World(model);
    try {
      strategy(world, variant);
    } catch (error) {
      if (!(error instanceof Stuck)) throw error; // what happened until then counts all the same
    }
    [...found.values()].forEach((by, index) => {
      const query = model.queries[index];
      if (query && world.refutes(query)) by.push(name);
    });
  }
  return found;
}

describe("the attacks that are expected work, and only those", () => {
  test.each(VARIANTS.map((variant) => [variant.file, variant] as const))("%s", (file, variant) => {
    const found = refutations(parseModel(read(`${file}.pv`)), variant);
    const answers = Object.fromEntries([...found].map(([query, by]) => [query, by.length === 0]));
    expect(answers, JSON.stringify([...found], undefined, 1)).toEqual(expected[`${file}.pv`]);
  });
});

/** So that "no attack works" above can be wrong: a check taken out of a client that holds is noticed. */
describe("a model that holds no longer does", () => {
  const removals: readonly (readonly [file: string, what: string, from: RegExp, to: string])[] = [
    ["full-leaked", "the binder compared", /=hash\(\(label_evidence.*\)\)\) = read/, "b: bitstring) = read"],
    ["sibling-document", "the document's digest", /=hash\(good_document\), /, "digest: bitstring, "],
    ["sibling-instance-key", "the key's signature", /^ {2}let \(=label_instance.*\n/m, ""],
    ["sibling-other-chip", "the chip", /=good_chip/, "cpu: chip"],
    [
      "user-auth",
      "what the signature is about",
      /=h, =hash\(evidence\)/,
      "other: bitstring, digest: bitstring",
    ],
    ["document-checked", "the digest in the guest", /(let Guest[\s\S]*?) {2}if .*\n/, "$1"],
    [
      "type-bound",
      "the type in the client's binder",
      /=hash\(\(label_evidence.*\)\)\) = read/,
      "b: bitstring) = read",
    ],
    ["renewal", "the second boot compared", /=boot(?=.*= read_report\(quote_second\))/, "other: bootid"],
    [
      "renewal",
      "the second binder compared",
      /=hash\(\(label_reattest.*\) = read_report\(quote_second\)/,
      "b: bitstring) = read_report(quote_second)",
    ],
  ];
  test.each(removals)("%s without %s", (file, _what, from, to) => {
    const text = read(`${file}.pv`);
    const weaker = text.replace(from, to);
    expect(weaker).not.toBe(text);
    const variant = last(VARIANTS.filter((one) => one.file === file));
    const answers = [...refutations(parseModel(weaker), variant).values()].slice(1);
    expect(answers.some((by) => by.length > 0)).toBe(true);
  });
});

describe("the adversary of these runs", () => {
  const model = parseModel(read("sibling-document.pv"));

  test("has what is public, what was sent and what it makes, and no secrets", () => {
    const world = new World(model);
    expect(world.knows(world.named("good_measurement"))).toBe(true);
    expect(world.knows(world.named("keystroke"))).toBe(false);
    const around = world.surroundings("Guest");
    expect(world.knows(around.get("s") as Value)).toBe(true); // this model leaks it
    const client = world.start("Client");
    expect(world.knows(has(client, "n"))).toBe(true);
    expect(world.knows(has(client, "x"))).toBe(false);
    const forged = world.apply(
      "report",
      world.named("good_measurement"),
      world.apply("hash", world.named("good_document")),
      world.fresh("bitstring"),
    );
    expect(world.knows(forged)).toBe(false);
    const seen = world.knows(world.apply("exp", has(client, "gi"), around.get("s") as Value));
    expect(seen).toBe(true); // an exponent on a public point
  });

  test("cannot send what it cannot make, nor what has another type", () => {
    const world = new World(model);
    const guest = world.start("Guest");
    const secret = world.tuple(has(world.start("Client"), "x"));
    expect(() => world.send(guest, secret)).toThrow(Stuck);
    const hello = world.tuple(world.fresh("nonce"), world.fresh("group"), world.fresh("bitstring"));
    expect(() => world.send(guest, hello)).toThrow(/nobody takes/);
    expect(() =>
      world.send(guest, world.tuple(...hello.args.slice(0, 2), world.fresh("kempublic"))),
    ).not.toThrow();
    expect(guest.outputs.length).toBe(2);
  });

  test("opens what it has the key for, and nothing else", () => {
    const world = new World(model);
    const [key, other] = [world.fresh("key"), world.apply("k_ekem", has(world.start("Client"), "gi"))];
    const sealed = (with_: Value, plain: Value): Value =>
      world.apply("seal", with_, world.named("nothing"), plain);
    const guest = world.start("Guest");
    expect(() =>
      world.apply("unseal", other, world.named("nothing"), sealed(key, guest.env.get("aux") ?? key)),
    ).toThrow(Stuck);
    expect(world.apply("unseal", key, world.named("nothing"), sealed(key, key)).key).toBe(key.key);
  });

  test("equal powers are equal, whatever their order", () => {
    const world = new World(model);
    const [x, y, g] = [world.fresh("exponent"), world.fresh("exponent"), world.named("g")];
    const power = (first: Value, second_: Value): string =>
      world.apply("exp", world.apply("exp", g, first), second_).key;
    expect(power(x, y)).toBe(power(y, x));
    expect(power(x, x)).not.toBe(power(x, y));
  });
});
