// Hashes.

/* WebCrypto hashes only what is whole in memory; members and entries are hashed as they pass. */
const ROUND = Int32Array.of(
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
  0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
  0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
  0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
  0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
  0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
  0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
  0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2);
const START = Int32Array.of(
  0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19);
const schedule = new Int32Array(64);

/** One block of SHA-256 (FIPS 180-4 section 6.2.2): `state` takes in the 64 bytes of `data` at `place`. */
function compress(state, data, place) {
  const w = schedule, k = ROUND;
  for (let t = 0; t < 16; t++, place += 4)
    w[t] = data[place] << 24 | data[place + 1] << 16 | data[place + 2] << 8 | data[place + 3];
  for (let t = 16; t < 64; t++) {
    const x = w[t - 15], y = w[t - 2];
    w[t] = w[t - 16] + w[t - 7]
      + ((x >>> 7 | x << 25) ^ (x >>> 18 | x << 14) ^ x >>> 3)
      + ((y >>> 17 | y << 15) ^ (y >>> 19 | y << 13) ^ y >>> 10) | 0;
  }
  let a = state[0], b = state[1], c = state[2], d = state[3];
  let e = state[4], f = state[5], g = state[6], h = state[7];
  for (let t = 0; t < 64; t++) {
    const one = h + ((e >>> 6 | e << 26) ^ (e >>> 11 | e << 21) ^ (e >>> 25 | e << 7))
      + (g ^ e & (f ^ g)) + k[t] + w[t] | 0;
    const two = ((a >>> 2 | a << 30) ^ (a >>> 13 | a << 19) ^ (a >>> 22 | a << 10)) + (a & b ^ c & (a ^ b)) | 0;
    h = g; g = f; f = e; e = d + one | 0; d = c; c = b; b = a; a = one + two | 0;
  }
  state[0] += a; state[1] += b; state[2] += c; state[3] += d;
  state[4] += e; state[5] += f; state[6] += g; state[7] += h;
}

class Sha256 {
  constructor() { this.state = START.slice(); this.block = new Uint8Array(64); this.held = 0; this.count = 0; }
  reset() { this.state.set(START); this.held = 0; this.count = 0; return this; }
  update(data) {
    let place = 0;
    this.count += data.length;
    if (this.held > 0) {
      place = Math.min(64 - this.held, data.length);
      this.block.set(place === data.length ? data : data.subarray(0, place), this.held);
      this.held += place;
      if (this.held < 64) return this;
      compress(this.state, this.block, 0);
      this.held = 0;
    }
    const whole = data.length - 63;
    for (; place < whole; place += 64) compress(this.state, data, place);
    if (place < data.length) {
      this.block.set(place > 0 ? data.subarray(place) : data);
      this.held = data.length - place;
    }
    return this;
  }
  digest() {
    const block = this.block, bits = this.count * 8;
    block[this.held++] = 0x80;
    if (this.held > 56) { block.fill(0, this.held); compress(this.state, block, 0); this.held = 0; }
    block.fill(0, this.held);
    const tail = new DataView(block.buffer);
    tail.setUint32(56, Math.floor(bits / 2 ** 32));
    tail.setUint32(60, bits >>> 0);
    compress(this.state, block, 0);
    const digest = new Uint8Array(32), view = new DataView(digest.buffer);
    for (let word = 0; word < 8; word++) view.setInt32(4 * word, this.state[word]);
    return digest;
  }
}
const hasher = new Sha256();
const sha256 = (...parts) => {
  hasher.reset();
  for (const part of parts) hasher.update(part);
  return hasher.digest();
};
const NOTHING_HASH = sha256(new Uint8Array(0));
const ZEROS = new Uint8Array(32);
const tag = (byte) => Uint8Array.of(byte);
const [LEAF_TAG, LINK_TAG, TREE_LEAF_TAG, TREE_NODE_TAG, GENESIS_TAG, RECEIPT_TAG, RECEIPT_NODE_TAG] = [0, 1, 2, 3, 4, 5, 6].map(tag);

/* CRC-32 (APPNOTE 6.3), eight bytes at a time. */
const CRC = Array.from({ length: 8 }, () => new Int32Array(256));
for (let byte = 0; byte < 256; byte++) {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? value >>> 1 ^ 0xedb88320 : value >>> 1;
  CRC[0][byte] = value;
}
for (let slice = 1; slice < 8; slice++)
  for (let byte = 0; byte < 256; byte++) {
    const before = CRC[slice - 1][byte];
    CRC[slice][byte] = before >>> 8 ^ CRC[0][before & 255];
  }
const [CRC0, CRC1, CRC2, CRC3, CRC4, CRC5, CRC6, CRC7] = CRC;
/** The CRC register after `data`; begins at −1, and the CRC-32 is its complement. */
function crc32(register, data) {
  let place = 0;
  for (const whole = data.length - 7; place < whole; place += 8) {
    register ^= data[place] | data[place + 1] << 8 | data[place + 2] << 16 | data[place + 3] << 24;
    register = CRC7[register & 255] ^ CRC6[register >>> 8 & 255] ^ CRC5[register >>> 16 & 255]
      ^ CRC4[register >>> 24] ^ CRC3[data[place + 4]] ^ CRC2[data[place + 5]]
      ^ CRC1[data[place + 6]] ^ CRC0[data[place + 7]];
  }
  for (; place < data.length; place++) register = register >>> 8 ^ CRC0[(register ^ data[place]) & 255];
  return register;
}
