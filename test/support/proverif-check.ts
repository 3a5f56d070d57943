// Reads the part of ProVerif's typed language that formal/ uses, and checks names, arities and types as ProVerif would.
// Written from the manual and the 2.05 grammar; what it does not know (else, tables, choice, lemmas …) it refuses.

import type { Fact, Model, Pattern, Process, Query, Scope, Symbol, Term } from "./proverif-model.ts";

const KEYWORDS = new Set(
  `among axiom channel choice clauses const def diff do elimtrue else equation equivalence event expand fail for forall
  foreach free fun get if implementation in insert lemma let letfun letproba new noninterf noselect not nounif or otherwise
  out param phase pred proba process proof public_vars putbegin query reduc restriction secret select set suchthat sync
  table then type weaksecret yield`.split(/\s+/),
);

/** @throws Error with line and reason. */
export function parseModel(source: string): Model {
  const tokens: { text: string; line: number }[] = [];
  const lexer = /\(\*[\s\S]*?\*\)|\s+|inj-event|==>|<>|\|\||&&|[A-Za-z]\w*|\d+|[(),;:.=![\]|]/y;
  for (let line = 1; lexer.lastIndex < source.length; ) {
    const text = lexer.exec(source)?.[0];
    if (text === undefined) throw new Error(`line ${line}: a character that no token begins with`);
    if (!/^(?:\s|\(\*)/.test(text)) tokens.push({ text, line });
    line += text.split("\n").length - 1;
  }

  let at = 0;
  const peek = (ahead = 0): string => tokens[at + ahead]?.text ?? "end of file";
  function fail(reason: string): never {
    throw new Error(`line ${tokens[Math.min(at, tokens.length - 1)]?.line ?? 0}: ${reason}`);
  }
  const accept = (text: string): boolean => {
    if (peek() !== text) return false;
    at++;
    return true;
  };
  const expect = (text: string): void => {
    if (!accept(text)) fail(`expected "${text}", found "${peek()}"`);
  };
  const identifier = (): string => {
    const text = peek();
    if (!/^[A-Za-z]\w*$/.test(text) || KEYWORDS.has(text)) fail(`expected a name, found "${text}"`);
    at++;
    return text;
  };
  const list = <T>(item: () => T): T[] => {
    expect("(");
    if (accept(")")) return [];
    const items = [item()];
    while (accept(",")) items.push(item());
    expect(")");
    return items;
  };

  const types = new Set(["bitstring", "bool", "channel", "nat"]);
  const names = new Map<string, { type: string; isPrivate: boolean }>();
  const symbols = new Map<string, Symbol>();
  const events = new Map<string, readonly string[]>();
  const processes = new Map<string, { params: Scope; body: Process }>();
  const queries: Query[] = [];
  const used = new Set<string>(); // events and processes
  let phases = 0;

  const type = (): string => {
    const name = accept("channel") ? "channel" : identifier();
    return types.has(name) ? name : fail(`type ${name} is not declared`);
  };
  const fresh = (name: string): string => {
    const taken = types.has(name) || names.has(name) || symbols.has(name) || processes.has(name);
    return taken || events.has(name) ? fail(`${name} is declared twice`) : name;
  };
  const variables = (end: string): Scope => {
    const scope = new Map<string, string>();
    do {
      const group = [identifier()];
      while (accept(",")) group.push(identifier());
      expect(":");
      const of = type();
      for (const name of group) bind(scope, name, of);
    } while (accept(","));
    expect(end);
    return scope;
  };
  function bind(scope: Map<string, string>, name: string, of: string): void {
    if (scope.has(name) || names.has(name) || symbols.has(name)) fail(`${name} hides another ${name}`);
    scope.set(name, of);
  }
  const options = (...allowed: string[]): ReadonlySet<string> => {
    const found = new Set<string>();
    if (accept("[")) {
      do found.add(identifier());
      while (accept(","));
      expect("]");
    }
    for (const option of found) if (!allowed.includes(option)) fail(`option ${option} does not belong here`);
    return found;
  };

  function atom(): Term {
    if (peek() === "(") {
      const args = list(term);
      return args.length === 1 && args[0] ? args[0] : { kind: "tuple", args };
    }
    const name = identifier();
    return peek() === "(" ? { kind: "apply", name, args: list(term) } : { kind: "name", name };
  }
  function comparison(): Term {
    const left = atom();
    const op = peek();
    if (op !== "=" && op !== "<>") return left;
    at++;
    return { kind: "test", op, left, right: atom() };
  }
  /** Binds as in ProVerif's grammar: = and <> before && before ||. */
  function term(): Term {
    const both = (): Term => {
      const left = comparison();
      return accept("&&") ? { kind: "test", op: "&&", left, right: both() } : left;
    };
    const left = both();
    return accept("||") ? { kind: "test", op: "||", left, right: term() } : left;
  }

  function pattern(): Pattern {
    if (accept("=")) return { kind: "equal", term: atom() };
    if (peek() === "(") {
      const args = list(pattern);
      return args.length === 1 && args[0] ? args[0] : { kind: "tuple", args };
    }
    const name = identifier();
    if (peek() === "(") return { kind: "apply", name, args: list(pattern) };
    return { kind: "bind", name, type: accept(":") ? type() : undefined };
  }

  const typesOf = (args: readonly Term[], scope: Scope): string[] => args.map((arg) => typeOf(arg, scope));
  function same(what: string, wanted: readonly string[], found: readonly string[]): void {
    if (wanted.join() !== found.join())
      fail(`${what} takes (${wanted.join(", ")}), not (${found.join(", ")})`);
  }
  function symbol(name: string): Symbol {
    return symbols.get(name) ?? fail(`function ${name} is not declared`);
  }
  function typeOf(of: Term, scope: Scope): string {
    switch (of.kind) {
      case "name":
        return scope.get(of.name) ?? names.get(of.name)?.type ?? fail(`${of.name} is not declared`);
      case "apply":
        same(of.name, symbol(of.name).args, typesOf(of.args, scope));
        return symbol(of.name).result;
      case "tuple":
        typesOf(of.args, scope);
        return "bitstring";
      case "test": {
        const [left, right] = [typeOf(of.left, scope), typeOf(of.right, scope)];
        const logical = of.op === "||" || of.op === "&&";
        if (left !== right || (logical && left !== "bool")) fail(`${of.op} between ${left} and ${right}`);
        return "bool";
      }
    }
  }
  /** @param expected - undefined where only the pattern can say. */
  function match(of: Pattern, expected: string | undefined, scope: Map<string, string>): void {
    const is = (found: string): void => {
      if (expected !== undefined && found !== expected) fail(`pattern of ${found} against ${expected}`);
    };
    if (of.kind === "bind") {
      const known = of.type ?? expected ?? fail(`${of.name} needs a type`);
      is(known);
      bind(scope, of.name, known);
    } else if (of.kind === "equal") is(typeOf(of.term, scope));
    else if (of.kind === "tuple") {
      is("bitstring");
      for (const arg of of.args) match(arg, undefined, scope);
    } else {
      const { args, result, isData } = symbol(of.name);
      if (!isData) fail(`${of.name} is in a pattern, but is not data`);
      if (args.length !== of.args.length) fail(`${of.name} takes ${args.length} arguments`);
      is(result);
      of.args.forEach((arg, index) => match(arg, args[index], scope));
    }
  }

  /** A sequence reaches as far right as it can, | included; ! takes one sequence. */
  function process(scope: Scope): Process {
    const left = sequence(scope);
    return accept("|") ? { kind: "both", left, right: process(scope) } : left;
  }
  function rest(scope: Scope): Process {
    return accept(";") ? process(scope) : { kind: "nil" };
  }
  function sequence(outer: Scope): Process {
    const scope = new Map(outer);
    if (accept("(")) {
      const inner = process(scope);
      expect(")");
      return inner;
    }
    if (accept("!")) return { kind: "many", next: sequence(scope) };
    if (accept("0")) return { kind: "nil" };
    if (accept("new")) {
      const name = identifier();
      expect(":");
      const of = type();
      bind(scope, name, of);
      return { kind: "new", name, type: of, next: rest(scope) };
    }
    if (peek() === "in" || peek() === "out") {
      const reads = accept("in");
      if (!reads) expect("out");
      expect("(");
      const channel = term();
      if (typeOf(channel, scope) !== "channel") fail("not a channel");
      expect(",");
      if (reads) {
        const what = pattern();
        match(what, undefined, scope);
        expect(")");
        return { kind: "in", channel, pattern: what, next: rest(scope) };
      }
      const what = term();
      typeOf(what, scope);
      expect(")");
      return { kind: "out", channel, term: what, next: rest(scope) };
    }
    if (accept("let")) {
      const what = pattern();
      expect("=");
      const value = term();
      match(what, typeOf(value, scope), scope);
      expect("in");
      return { kind: "let", pattern: what, term: value, next: process(scope) };
    }
    if (accept("if")) {
      const condition = term();
      if (typeOf(condition, scope) !== "bool") fail("condition is no bool");
      expect("then");
      return { kind: "if", condition, next: process(scope) };
    }
    if (accept("event")) {
      const name = identifier();
      const args = list(term);
      same(name, events.get(name) ?? fail(`event ${name} is not declared`), typesOf(args, scope));
      used.add(`process ${name}`);
      return { kind: "event", name, args, next: rest(scope) };
    }
    if (accept("phase")) {
      const phase = Number(peek());
      if (!Number.isInteger(phase) || phase < 1) fail("phases are positive integers");
      at++;
      phases = Math.max(phases, phase);
      return { kind: "phase", phase, next: rest(scope) };
    }
    const name = identifier();
    const args = peek() === "(" ? list(term) : [];
    const { params } = processes.get(name) ?? fail(`process ${name} is not declared`);
    same(name, [...params.values()], typesOf(args, scope));
    used.add(name);
    return { kind: "call", name, args };
  }

  function fact(scope: Scope): Fact {
    if (accept("attacker")) {
      const [what, ...more] = list(term);
      if (what === undefined || more.length > 0) fail("attacker takes one term");
      typeOf(what, scope);
      const phase = accept("phase") ? Number(tokens[at++]?.text) : 0;
      return { kind: "attacker", term: what, phase };
    }
    const injective = accept("inj-event");
    if (!injective) expect("event");
    const [event, ...more] = list(atom);
    if (event === undefined || event.kind !== "apply" || more.length > 0) fail("event takes one event");
    same(
      event.name,
      events.get(event.name) ?? fail(`event ${event.name} is not declared`),
      typesOf(event.args, scope),
    );
    used.add(`query ${event.name}`);
    return { kind: "event", injective, name: event.name, args: event.args };
  }

  const declarations: Readonly<Record<string, () => void>> = {
    set: () => {
      if (identifier() !== "ignoreTypes") fail("only ignoreTypes is known");
      expect("=");
      if (identifier() !== "false") fail("types must count");
    },
    type: () => void types.add(fresh(identifier())),
    free: () => constant(),
    const: () => constant(),
    fun: () => {
      const name = fresh(identifier());
      const args = list(type);
      expect(":");
      const result = type();
      const chosen = options("private", "data");
      symbols.set(name, {
        args,
        result,
        isPrivate: chosen.has("private"),
        isData: chosen.has("data"),
        rule: undefined,
      });
    },
    reduc: () => {
      expect("forall");
      const scope = variables(";");
      const left = atom();
      if (left.kind !== "apply") fail("a destructor is a function");
      expect("=");
      const gives = atom();
      symbols.set(fresh(left.name), {
        args: typesOf(left.args, scope),
        result: typeOf(gives, scope),
        isPrivate: options("private").has("private"),
        isData: false,
        rule: { variables: scope, args: left.args, gives },
      });
      const bound = new Set(left.args.flatMap(namesIn));
      for (const name of namesIn(gives)) if (!bound.has(name)) fail(`${name} comes from nowhere`);
    },
    equation: () => {
      expect("forall");
      const scope = variables(";");
      const both = comparison();
      if (both.kind !== "test" || both.op !== "=") fail("an equation has two sides");
      typeOf(both, scope);
    },
    event: () => {
      const name = fresh(identifier());
      events.set(name, list(type));
    },
    query: () => {
      const start = at;
      const scope = peek(1) === ":" || peek(1) === "," ? variables(";") : new Map<string, string>();
      const first = fact(scope);
      const implies = accept("==>") ? fact(scope) : undefined;
      if (implies?.kind === "event" && first.kind === "event" && implies.injective !== first.injective)
        fail("both events are injective, or neither");
      const text = tokens.slice(start, at).map((token) => token.text);
      queries.push({ text: text.join(" "), variables: scope, fact: first, implies });
    },
    let: () => {
      const name = fresh(identifier());
      const params = accept("(") ? variables(")") : new Map<string, string>();
      expect("=");
      processes.set(name, { params, body: process(params) });
    },
  };
  function constant(): void {
    const name = fresh(identifier());
    expect(":");
    const of = type();
    names.set(name, { type: of, isPrivate: options("private").has("private") });
  }

  while (!accept("process")) {
    const declare = declarations[peek()] ?? fail(`"${peek()}" begins no declaration`);
    at++;
    declare();
    expect(".");
  }
  const main = process(new Map());
  if (at < tokens.length) fail(`"${peek()}" behind the process`);
  for (const name of events.keys())
    for (const side of ["query", "process"])
      if (!used.has(`${side} ${name}`)) fail(`no ${side} has event ${name}`);
  for (const name of processes.keys()) if (!used.has(name)) fail(`process ${name} is never run`);
  for (const { fact: asked } of queries)
    if (asked.kind === "attacker" && !(asked.phase <= phases)) fail(`there is no phase ${asked.phase}`);
  return { types, names, symbols, events, processes, queries, main };
}

/** Plain names in a term. */
function namesIn(term: Term): string[] {
  if (term.kind === "name") return [term.name];
  return term.kind === "test" ? [term.left, term.right].flatMap(namesIn) : term.args.flatMap(namesIn);
}
