// Bytes (§2).

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));
const toHex = (bytes) => { let text = ''; for (const byte of bytes) text += HEX[byte]; return text; };
const fromHex = (text) => {
  const bytes = new Uint8Array(text.length / 2);
  for (let place = 0; place < bytes.length; place++) bytes[place] = parseInt(text.substr(2 * place, 2), 16);
  return bytes;
};
const encoder = new TextEncoder();
const utf8 = (text) => encoder.encode(text);
const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const latin1 = (bytes) => {
  let text = '';
  for (let place = 0; place < bytes.length; place += 8192)
    text += String.fromCharCode(...bytes.subarray(place, place + 8192));
  return text;
};
const fromLatin1 = (text) => Uint8Array.from(text, (character) => character.charCodeAt(0));
const toBase64 = (bytes) => btoa(latin1(bytes));
/** The bytes of base64 in its one spelling, or null: atob forgives, so its result is spelt again. */
const fromBase64 = (text) => {
  if (typeof text !== 'string' || !/^[A-Za-z0-9+/]*={0,2}$/.test(text)) return null;
  try {
    const whole = atob(text);
    return btoa(whole) === text ? fromLatin1(whole) : null;
  } catch { return null; }
};
const concat = (...parts) => {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let place = 0;
  for (const part of parts) { whole.set(part, place); place += part.length; }
  return whole;
};
const compare = (left, right) => {
  const length = Math.min(left.length, right.length);
  for (let place = 0; place < length; place++)
    if (left[place] !== right[place]) return left[place] - right[place];
  return left.length - right.length;
};
const equal = (left, right) => left.length === right.length && compare(left, right) === 0;
