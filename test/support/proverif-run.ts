// Runs a model of formal/ on ground terms, against an adversary who sends only what Dolev-Yao rules let it make.
// Shows attacks, and that honest runs get to their end. Shows no absence of attacks: it runs what it is told to.

import type { Fact, Model, Pattern, Process, Query, Term } from "./proverif-model.ts";

/** A ground term in its normal form; equal terms have equal keys. */
export interface Value {
  readonly head: string;
  readonly args: readonly Value[];
  readonly type: string;
  readonly key: string;
}
type Env = ReadonlyMap<string, Value>;

/** The adversary, or an honest process, cannot go on: a message that nobody can make, or that a check refuses. */
export class Stuck extends Error {}

interface Continuation {
  readonly process: Process & { kind: "in" };
  readonly env: Env;
  readonly phase: number;
  readonly repeats: boolean;
}

/** One run of a process: what it sent, and where it waits. */
export interface Thread {
  readonly outputs: Value[];
  /** All that is bound on its way, newest first to win. */
  readonly env: Map<string, Value>;
  waiting: Continuation[];
  /** Of an adversary who plays the process with its own values: where reports come from, and names it chooses. */
  readonly plays:
    | { report(binder: Value): Value; readonly chosen: Readonly<Record<string, Value>> }
    | undefined;
}

export class World {
  readonly model: Model;
  readonly events: { readonly name: string; readonly args: readonly Value[] }[] = [];
  phase = 0;
  #serial = 0;
  readonly #known = new Map<string, Value>();
  #analysed = true;
  readonly #startable = new Map<
    string,
    { readonly process: Process; readonly env: Env; readonly phase: number }
  >();
  #later: {
    readonly process: Process;
    readonly env: Env;
    readonly phase: number;
    readonly thread: Thread;
  }[] = [];

  constructor(model: Model) {
    this.model = model;
    this.#run(model.main, new Map(), this.#thread(), 0);
  }

  /** Starts one copy of a replicated process. @throws Stuck where there is none in this phase. */
  start(name: string): Thread {
    const found = this.#startable.get(name);
    if (found === undefined || found.phase !== this.phase) throw new Stuck(`no ${name} to start`);
    const thread = this.#thread();
    this.#run(found.process, found.env, thread, found.phase);
    return thread;
  }

  /** What the process that starts this one has bound: the adversary's only where `knows` says so. */
  surroundings(name: string): Env {
    return this.#startable.get(name)?.env ?? new Map<string, Value>();
  }

  /** The adversary plays a process itself. Its arguments and choices must be things it knows. */
  play(name: string, args: readonly Value[], plays: NonNullable<Thread["plays"]>): Thread {
    for (const value of [...args, ...Object.values(plays.chosen)]) this.#mustKnow(value);
    const thread: Thread = { outputs: [], env: new Map(), waiting: [], plays };
    this.#call(name, args, thread, this.phase);
    return thread;
  }

  /** @throws Stuck where the adversary cannot make the message, or nothing in the thread takes it. */
  send(thread: Thread, message: Value): void {
    this.#mustKnow(message);
    for (const place of thread.waiting) {
      const env = new Map(place.env);
      if (place.phase !== this.phase || !this.#match(place.process.pattern, message, env, thread)) continue;
      if (!place.repeats) thread.waiting = thread.waiting.filter((other) => other !== place);
      this.#run(place.process.next, env, thread, place.phase);
      return;
    }
    throw new Stuck("nobody takes this message");
  }

  nextPhase(): void {
    this.phase++;
    const due = this.#later.filter(({ phase }) => phase === this.phase);
    this.#later = this.#later.filter(({ phase }) => phase > this.phase);
    for (const { process, env, phase, thread } of due) this.#run(process, env, thread, phase);
  }

  /** A name that the adversary makes. */
  fresh(type: string): Value {
    const value = this.#name("adversary", type);
    this.#learn(value);
    return value;
  }

  named(name: string): Value {
    const declared = this.model.names.get(name);
    if (declared === undefined) throw new Error(`${name} is no constant`);
    return { head: name, args: [], type: declared.type, key: name };
  }

  tuple(...args: Value[]): Value {
    return compose("", args, "bitstring");
  }

  /** @throws Stuck where a destructor fails. */
  apply(name: string, ...args: Value[]): Value {
    const symbol = this.model.symbols.get(name);
    if (symbol === undefined) throw new Error(`${name} is no function`);
    if (symbol.rule === undefined) return compose(name, args, symbol.result);
    const bound = new Map<string, Value>();
    if (!symbol.rule.args.every((pattern, index) => this.#fits(pattern, args[index], bound)))
      throw new Stuck(`${name} fails`);
    return this.#evaluate(symbol.rule.gives, bound, undefined);
  }

  /** What the thread will compare its next message's report with, if the message binds these. */
  wanted(thread: Thread, bindings: Readonly<Record<string, Value>>): readonly (Value | undefined)[] {
    const place = thread.waiting.find(({ phase }) => phase === this.phase);
    const next = place?.process.next;
    if (place === undefined || next?.kind !== "let" || next.pattern.kind !== "tuple")
      throw new Stuck("wants no report");
    const env = new Map([...place.env, ...Object.entries(bindings)]);
    return next.pattern.args.map((part) =>
      part.kind === "equal" ? this.#evaluate(part.term, env, undefined) : undefined,
    );
  }

  /** Can the adversary make it from what was sent, its own names and public functions? */
  knows(value: Value): boolean {
    this.#analyse();
    return this.#makes(value);
  }

  /** @returns whether this run shows that the query's fact does not hold. */
  refutes({ fact, implies }: Query): boolean {
    if (fact.kind === "attacker")
      return this.phase >= fact.phase && this.knows(this.#evaluate(fact.term, new Map(), undefined));
    const happened = this.events.filter((event) => this.#is(event, fact, new Map()));
    if (implies === undefined) return happened.length > 0;
    return happened.some((event) => {
      const bound = new Map<string, Value>();
      this.#is(event, fact, bound);
      const alike = happened.filter((other) => this.#is(other, fact, new Map(bound))).length;
      const causes = this.events.filter((other) => this.#is(other, implies, new Map(bound))).length;
      return causes === 0 || (fact.injective && alike > causes);
    });
  }

  #is(event: World["events"][number], fact: Fact, bound: Map<string, Value>): boolean {
    return (
      fact.kind === "event" &&
      fact.name === event.name &&
      fact.args.every((arg, index) => this.#fits(arg, event.args[index], bound))
    );
  }

  #thread(): Thread {
    return { outputs: [], env: new Map(), waiting: [], plays: undefined };
  }

  #name(name: string, type: string): Value {
    const key = `${name}~${++this.#serial}`;
    return { head: key, args: [], type, key };
  }

  #call(name: string, args: readonly Value[], thread: Thread, phase: number): void {
    const called = this.model.processes.get(name);
    if (called === undefined) throw new Error(`${name} is no process`);
    const env = new Map([...called.params.keys()].map((param, index) => [param, args[index] as Value]));
    for (const [param, value] of env) thread.env.set(param, value);
    this.#run(called.body, env, thread, phase);
  }

  #run(process: Process, env: Env, thread: Thread, phase: number): void {
    const bind = (name: string, value: Value): Env => {
      thread.env.set(name, value);
      return new Map(env).set(name, value);
    };
    switch (process.kind) {
      case "nil":
        return;
      case "both":
        this.#run(process.left, env, thread, phase);
        return this.#run(process.right, env, thread, phase);
      case "many":
        if (process.next.kind === "call")
          this.#startable.set(process.next.name, { process: process.next, env, phase });
        else if (process.next.kind === "in")
          thread.waiting.push({ process: process.next, env, phase, repeats: true });
        else this.#run(process.next, env, this.#thread(), phase); // one boot is enough here
        return;
      case "call": {
        const args = process.args.map((arg) => this.#evaluate(arg, env, thread));
        return this.#call(process.name, args, thread, phase);
      }
      case "new": {
        const value = thread.plays?.chosen[process.name] ?? this.#name(process.name, process.type);
        if (thread.plays) this.#learn(value);
        return this.#run(process.next, bind(process.name, value), thread, phase);
      }
      case "in":
        thread.waiting.push({ process, env, phase, repeats: false });
        return;
      case "out": {
        const value = this.#evaluate(process.term, env, thread);
        thread.outputs.push(value);
        if (!thread.plays) this.#learn(value);
        return this.#run(process.next, env, thread, phase);
      }
      case "let": {
        const { pattern } = process;
        const chosen = pattern.kind === "bind" ? thread.plays?.chosen[pattern.name] : undefined;
        const value = chosen ?? this.#evaluate(process.term, env, thread);
        const inner = new Map(env);
        if (!this.#match(pattern, value, inner, thread)) throw new Stuck("a check refuses");
        return this.#run(process.next, inner, thread, phase);
      }
      case "if":
        if (!this.#holds(process.condition, env, thread)) throw new Stuck("a condition refuses");
        return this.#run(process.next, env, thread, phase);
      case "event":
        if (!thread.plays)
          this.events.push({
            name: process.name,
            args: process.args.map((arg) => this.#evaluate(arg, env, thread)),
          });
        return this.#run(process.next, env, thread, phase);
      case "phase":
        this.#later.push({ process: process.next, env, phase: process.phase, thread });
        if (process.phase <= this.phase) throw new Error("phases go up");
    }
  }

  #holds(condition: Term, env: Env, thread: Thread): boolean {
    if (condition.kind !== "test") throw new Error("not a condition");
    const { op, left, right } = condition;
    if (op === "||") return this.#holds(left, env, thread) || this.#holds(right, env, thread);
    if (op === "&&") return this.#holds(left, env, thread) && this.#holds(right, env, thread);
    const equal = this.#evaluate(left, env, thread).key === this.#evaluate(right, env, thread).key;
    return op === "=" ? equal : !equal;
  }

  #evaluate(term: Term, env: Env, thread: Thread | undefined): Value {
    switch (term.kind) {
      case "name": {
        const bound = env.get(term.name);
        if (bound) return bound;
        const value = this.named(term.name);
        if (thread?.plays) this.#mustKnow(value);
        return value;
      }
      case "tuple":
        return this.tuple(...term.args.map((arg) => this.#evaluate(arg, env, thread)));
      case "apply": {
        if (thread?.plays && this.model.symbols.get(term.name)?.isPrivate) {
          const binder = term.args.at(-1);
          if (binder === undefined) throw new Error(`${term.name} without arguments`);
          return thread.plays.report(this.#evaluate(binder, env, thread)); // the claims are its hardware's affair
        }
        return this.apply(term.name, ...term.args.map((arg) => this.#evaluate(arg, env, thread)));
      }
      case "test":
        throw new Error("a condition is no term");
    }
  }

  #match(pattern: Pattern, value: Value, env: Map<string, Value>, thread: Thread): boolean {
    switch (pattern.kind) {
      case "bind":
        if (pattern.type !== undefined && pattern.type !== value.type) return false;
        env.set(pattern.name, value);
        thread.env.set(pattern.name, value);
        return true;
      case "equal":
        return this.#evaluate(pattern.term, env, thread).key === value.key;
      default: {
        const head = pattern.kind === "tuple" ? "" : pattern.name;
        return (
          value.head === head &&
          value.args.length === pattern.args.length &&
          pattern.args.every((part, index) => this.#match(part, value.args[index] as Value, env, thread))
        );
      }
    }
  }

  /** Does the value fit a term with variables? Binds those that are not bound yet. */
  #fits(term: Term, value: Value | undefined, bound: Map<string, Value>): boolean {
    if (value === undefined) return false;
    if (term.kind === "name") {
      const before =
        bound.get(term.name) ?? (this.model.names.has(term.name) ? this.named(term.name) : undefined);
      if (before) return before.key === value.key;
      bound.set(term.name, value);
      return true;
    }
    if (term.kind === "test" || value.head !== (term.kind === "tuple" ? "" : term.name)) return false;
    return (
      term.args.length === value.args.length &&
      term.args.every((arg, index) => this.#fits(arg, value.args[index], bound))
    );
  }

  #mustKnow(value: Value): void {
    if (!this.knows(value)) throw new Stuck("the adversary cannot make this");
  }

  #learn(value: Value): void {
    this.#known.set(value.key, value);
    this.#analysed = false;
  }

  /** Takes apart what is known until nothing new comes. */
  #analyse(): void {
    while (!this.#analysed) {
      this.#analysed = true;
      for (const value of this.#known.values())
        for (const part of this.#partsOf(value)) if (!this.#known.has(part.key)) this.#learn(part);
    }
  }

  #partsOf(value: Value): readonly Value[] {
    if (value.head === "" || this.model.symbols.get(value.head)?.isData) return value.args;
    return [...this.model.symbols.values()].flatMap(({ rule }) =>
      (rule?.args ?? []).flatMap((pattern, index) => {
        const bound = new Map<string, Value>();
        if (rule === undefined || pattern.kind !== "apply" || !this.#fits(pattern, value, bound)) return [];
        const others = rule.args.filter((_, other) => other !== index);
        const bare = [...rule.variables.keys()].some((name) => !bound.has(name)); // another part says more: its turn comes
        const makes = !bare && others.every((other) => this.#makes(this.#evaluate(other, bound, undefined)));
        return makes ? [this.#evaluate(rule.gives, bound, undefined)] : [];
      }),
    );
  }

  #makes(value: Value): boolean {
    if (this.#known.has(value.key)) return true;
    const { head, args } = value;
    if (head === "") return args.every((arg) => this.#makes(arg));
    if (args.length === 0) return this.model.names.get(head)?.isPrivate === false;
    if (this.model.symbols.get(head)?.isPrivate !== false) return false;
    if (args.every((arg) => this.#makes(arg))) return true;
    const [base, second] = args;
    if (head !== "exp" || base?.head !== "exp" || second === undefined) return false;
    const [generator, first] = base.args as [Value, Value]; // the equation: either exponent may be the outer one
    return this.#makes(first) && this.#makes(compose("exp", [generator, second], value.type));
  }
}

/** Normal form under exp(exp(g, x), y) = exp(exp(g, y), x): the smaller exponent inside. */
function compose(head: string, args: readonly Value[], type: string): Value {
  const [base, outer] = args;
  if (head === "exp" && base?.head === "exp" && base.args[0]?.head === "g" && outer !== undefined) {
    const [generator, inner] = base.args as [Value, Value];
    if (outer.key < inner.key) return node(head, [node(head, [generator, outer], type), inner], type);
  }
  return node(head, args, type);
}

function node(head: string, args: readonly Value[], type: string): Value {
  return { head, args, type, key: `${head}(${args.map((arg) => arg.key).join(",")})` };
}
