// Refusals (§12).

/** Bytes that do not prove what they claim: the class in FORMAT.md's words, the part at fault, why (French). */
class Refusal extends Error {
  constructor(verdict, part, reason) {
    super(`${verdict} : ${part} : ${reason}`);
    Object.assign(this, { verdict, part, reason });
  }
}
const refuse = (verdict, part, reason) => { throw new Refusal(verdict, part, reason); };
const malformed = (part, reason) => refuse('malformed', part, reason);
const mismatched = (part, reason) => refuse('mismatched part', part, reason);
const brokenChain = (part, reason) => refuse('broken chain', part, reason);

/** What the auditor brought cannot be used at all: no verdict on the extract. */
class Unusable extends Error {}
