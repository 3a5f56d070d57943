// The owner's appraisal policy: reference values, the instance, the assurance that is enough. docs/policy.md

export * from "./policy/model.ts";
export { isInstanceName, isPolicyName } from "./policy/names.ts";
export { parsePolicy } from "./policy/parse.ts";
export { policyDigest, renderPolicy } from "./policy/render.ts";
export { type PolicyExplanation, explainPolicy, explanationOf } from "./policy/explain.ts";
export { type AcceptableType, acceptedTypes, policyProblems, reaches, weakInstance } from "./policy/rules.ts";
