// What a ProVerif model is once it was read: terms, patterns, processes, declarations, queries.

export type Term =
  | { readonly kind: "name"; readonly name: string }
  | { readonly kind: "apply"; readonly name: string; readonly args: readonly Term[] }
  | { readonly kind: "tuple"; readonly args: readonly Term[] }
  | {
      readonly kind: "test";
      readonly op: "=" | "<>" | "||" | "&&";
      readonly left: Term;
      readonly right: Term;
    };
export type Pattern =
  | { readonly kind: "bind"; readonly name: string; readonly type: string | undefined }
  | { readonly kind: "equal"; readonly term: Term }
  | { readonly kind: "tuple"; readonly args: readonly Pattern[] }
  | { readonly kind: "apply"; readonly name: string; readonly args: readonly Pattern[] };
export type Process =
  | { readonly kind: "nil" }
  | { readonly kind: "both"; readonly left: Process; readonly right: Process }
  | { readonly kind: "many"; readonly next: Process }
  | { readonly kind: "call"; readonly name: string; readonly args: readonly Term[] }
  | { readonly kind: "new"; readonly name: string; readonly type: string; readonly next: Process }
  | { readonly kind: "in"; readonly channel: Term; readonly pattern: Pattern; readonly next: Process }
  | { readonly kind: "out"; readonly channel: Term; readonly term: Term; readonly next: Process }
  | { readonly kind: "let"; readonly pattern: Pattern; readonly term: Term; readonly next: Process }
  | { readonly kind: "if"; readonly condition: Term; readonly next: Process }
  | { readonly kind: "event"; readonly name: string; readonly args: readonly Term[]; readonly next: Process }
  | { readonly kind: "phase"; readonly phase: number; readonly next: Process };

/** event(E(…)), inj-event(E(…)) or attacker(term). */
export type Fact =
  | {
      readonly kind: "event";
      readonly injective: boolean;
      readonly name: string;
      readonly args: readonly Term[];
    }
  | { readonly kind: "attacker"; readonly term: Term; readonly phase: number };
export interface Query {
  readonly text: string;
  readonly variables: Scope;
  readonly fact: Fact;
  readonly implies: Fact | undefined;
}
export interface Symbol {
  readonly args: readonly string[];
  readonly result: string;
  readonly isPrivate: boolean;
  readonly isData: boolean;
  /** Of a destructor: patterns of its arguments, and what it gives. */
  readonly rule:
    | { readonly variables: Scope; readonly args: readonly Term[]; readonly gives: Term }
    | undefined;
}
export type Scope = ReadonlyMap<string, string>;
export interface Model {
  readonly types: ReadonlySet<string>;
  /** Constants and free names. */
  readonly names: ReadonlyMap<string, { readonly type: string; readonly isPrivate: boolean }>;
  readonly symbols: ReadonlyMap<string, Symbol>;
  readonly events: ReadonlyMap<string, readonly string[]>;
  readonly processes: ReadonlyMap<string, { readonly params: Scope; readonly body: Process }>;
  readonly queries: readonly Query[];
  readonly main: Process;
}
