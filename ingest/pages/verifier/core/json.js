// Canonical JSON (§3).

const DEPTH_LIMIT = 32;
const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);
const isWhole = (value) => Number.isSafeInteger(value) && value >= 0;
const NAME = /^[ -~]{1,64}$/;
const LONE = /\p{Surrogate}/u;
const isWellFormed = (text) => text.isWellFormed ? text.isWellFormed() : !LONE.test(text);

/** The one spelling of a value; throws a sentence for a value that has none. */
function spell(value, depth = 0) {
  switch (typeof value) {
    case 'string':
      if (value.includes('\0') || !isWellFormed(value)) throw 'un texte contient U+0000 ou un demi-caractère';
      return JSON.stringify(value);
    case 'number':
      if (!Number.isSafeInteger(value)) throw 'un nombre n’est pas un entier de ±(2^53−1)';
      return String(value);
    case 'boolean':
      return value ? 'true' : 'false';
  }
  if (value === null) throw 'null n’est pas admis';
  if (depth === DEPTH_LIMIT) throw 'emboîtement de plus de 32 niveaux';
  if (Array.isArray(value)) return `[${value.map((item) => spell(item, depth + 1)).join(',')}]`;
  let text = '';
  for (const name of Object.keys(value).sort()) {
    if (!NAME.test(name)) throw 'un nom de membre n’est pas admis';
    text += `${text ? ',' : ''}"${name.replace(/["\\]/g, '\\$&')}":${spell(value[name], depth + 1)}`;
  }
  return `{${text}}`;
}

/** Tell whether a text that JSON.stringify spells so is in the one spelling; not of every such text. */
function isOrderly(value, depth) {
  if (typeof value === 'string' || typeof value === 'boolean') return true;
  if (typeof value === 'number') return Number.isSafeInteger(value);
  if (value === null || depth === DEPTH_LIMIT) return false;
  if (Array.isArray(value)) return value.every((item) => isOrderly(item, depth + 1));
  let last = '';
  for (const name of Object.keys(value)) {
    if (name <= last || !NAME.test(name) || !isOrderly(value[name], depth + 1)) return false;
    last = name;
  }
  return true;
}

/** Evidence: bytes in the one spelling. What JSON.parse lets pass (twins, blanks, −0, 1.0) is not spelt so again. */
function decode(bytes, part) {
  let text;
  try { text = strictUtf8.decode(bytes); } catch { malformed(part, 'ce n’est pas du JSON en UTF-8'); }
  return decodeText(text, part);
}
function decodeText(text, part) {
  let value;
  try { value = JSON.parse(text); } catch { malformed(part, 'ce n’est pas du JSON en UTF-8'); }
  // The usual case, at a fifth of the cost; an escape `\\u` may stand for what has no spelling.
  if (!text.includes('\\u') && JSON.stringify(value) === text && isOrderly(value, 0)) return value;
  try {
    if (spell(value) === text) return value;
  } catch (why) {
    if (typeof why === 'string') malformed(part, why);
    throw why;
  }
  return malformed(part, 'ce JSON n’est pas dans son unique écriture (RFC 8785)');
}

/** What is submitted: any spelling of such a value. JSON.parse keeps the last of two members of one name, so they are
    counted: outside strings, every colon belongs to one member. */
function parse(bytes, part) {
  let text, value;
  try {
    text = strictUtf8.decode(bytes);
    value = JSON.parse(text);
  } catch { malformed(part, 'ce n’est pas du JSON en UTF-8'); }
  try { spell(value); } catch (why) {
    if (typeof why === 'string') malformed(part, why);
    throw why;
  }
  const bare = text.replace(/"(?:[^"\\]|\\.)*"/g, '').replace(/true|false/g, '');
  const members = (item) => typeof item !== 'object' ? 0
    : Object.values(item).reduce((sum, inner) => sum + members(inner), Array.isArray(item) ? 0 : Object.keys(item).length);
  if (/[.eE]|-0/.test(bare)) malformed(part, 'un nombre n’est pas un entier écrit simplement');
  if (bare.split(':').length - 1 !== members(value)) malformed(part, 'un nom vient deux fois dans un objet');
  return value;
}

/** Hold an object to exactly these members; `optional` ones may be left out. */
const expectMembers = (value, part, required, optional = []) => {
  if (!isObject(value)) malformed(part, 'un objet est attendu');
  const names = Object.keys(value);
  if (required.some((name) => !Object.hasOwn(value, name))
    || names.some((name) => !required.includes(name) && !optional.includes(name)))
    malformed(part, `les membres attendus sont ${required.join(', ')}`);
};
const hash = (value, part, length = 32) =>
  typeof value === 'string' && value.length === 2 * length && /^[0-9a-f]*$/.test(value)
    ? fromHex(value) : malformed(part, 'une empreinte en hexadécimal est attendue');
