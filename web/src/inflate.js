/** zlib streams (RFC 1950, 1951), with a bound on what comes out. Browsers' own decompression has neither the bound nor a
 * word on bytes behind the end. */

/** The bytes are not one whole zlib stream. */
export class BadZlib extends Error {}
/** More comes out than is allowed. */
export class TooLong extends Error {}

const LENGTH_BASE = [3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258];
const LENGTH_EXTRA = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];
const DISTANCE_BASE = [1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577];
const CODE_ORDER = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/** @typedef {{ count: Uint16Array, symbol: Uint16Array }} Huffman codes of each length, and symbols in their order */

/** @param {ArrayLike<number>} lengths @param {boolean} [single] whether one code of one bit is enough @returns {Huffman} */
function huffman(lengths, single = false) {
  const count = new Uint16Array(16);
  for (let i = 0; i < lengths.length; i++) count[lengths[i]]++;
  const codes = lengths.length - count[0];
  let left = 1;
  for (let length = 1; length < 16; length++) {
    left = 2 * left - count[length];
    if (left < 0) throw new BadZlib('a Huffman code has too many symbols');
  }
  if (left > 0 && !(single && (codes === 0 || (codes === 1 && count[1] === 1)))) throw new BadZlib('a Huffman code is incomplete');
  const offset = new Uint16Array(17);
  for (let length = 1; length < 16; length++) offset[length + 1] = offset[length] + count[length];
  const symbol = new Uint16Array(codes);
  for (let i = 0; i < lengths.length; i++) if (lengths[i]) symbol[offset[lengths[i]]++] = i;
  count[0] = 0;
  return { count, symbol };
}

const FIXED_LENGTHS = huffman(Array.from({ length: 288 }, (_, i) => (i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8)));
const FIXED_DISTANCES = huffman(new Array(32).fill(5));

/**
 * What a zlib stream holds.
 * @param {Uint8Array} data exactly one stream
 * @param {number} most bytes that may come out
 * @throws {BadZlib | TooLong}
 */
export function inflate(data, most) {
  if (data.length < 6) throw new BadZlib('the stream is cut short');
  if ((data[0] & 15) !== 8 || data[0] >> 4 > 7 || (data[0] * 256 + data[1]) % 31 || data[1] & 32) {
    throw new BadZlib('the header is none');
  }
  const window = 2 ** (8 + (data[0] >> 4));
  let at = 2;
  let held = 0;
  let bits = 0;
  let out = new Uint8Array(Math.min(most, 4 * data.length + 64));
  let size = 0;

  /** @param {number} count */
  const take = (count) => {
    while (bits < count) {
      if (at >= data.length) throw new BadZlib('the stream is cut short');
      held |= data[at++] << bits;
      bits += 8;
    }
    const value = held & ((1 << count) - 1);
    held >>>= count;
    bits -= count;
    return value;
  };
  /** @param {Huffman} code */
  const symbolOf = (code) => {
    let value = 0;
    let first = 0;
    let index = 0;
    for (let length = 1; length < 16; length++) {
      value |= take(1);
      const count = code.count[length];
      if (value - count < first) return code.symbol[index + value - first];
      index += count;
      first = (first + count) << 1;
      value <<= 1;
    }
    throw new BadZlib('a code is none');
  };
  /** @param {number} byte */
  const put = (byte) => {
    if (size === most) throw new TooLong(`more than ${most} bytes`);
    if (size === out.length) {
      const grown = new Uint8Array(Math.min(most, 2 * size));
      grown.set(out);
      out = grown;
    }
    out[size++] = byte;
  };

  for (let last = 0; !last; ) {
    last = take(1);
    const kind = take(2);
    if (kind === 3) throw new BadZlib('a block of unknown kind');
    if (kind === 0) {
      held = bits = 0;
      if (at + 4 > data.length) throw new BadZlib('the stream is cut short');
      const length = data[at] | (data[at + 1] << 8);
      if ((length ^ 0xffff) !== (data[at + 2] | (data[at + 3] << 8))) throw new BadZlib('a stored block contradicts itself');
      at += 4;
      if (at + length > data.length) throw new BadZlib('the stream is cut short');
      for (let i = 0; i < length; i++) put(data[at++]);
      continue;
    }
    let lengths = FIXED_LENGTHS;
    let distances = FIXED_DISTANCES;
    if (kind === 2) {
      const literals = take(5) + 257;
      const pairs = take(5) + 1;
      const codes = take(4) + 4;
      if (literals > 286 || pairs > 30) throw new BadZlib('a block has too many codes');
      const own = new Uint8Array(19);
      for (let i = 0; i < codes; i++) own[CODE_ORDER[i]] = take(3);
      const code = huffman(own);
      const all = new Uint8Array(literals + pairs);
      for (let i = 0; i < all.length; ) {
        const symbol = symbolOf(code);
        if (symbol < 16) {
          all[i++] = symbol;
          continue;
        }
        if (symbol === 16 && i === 0) throw new BadZlib('a length repeats nothing');
        const value = symbol === 16 ? all[i - 1] : 0;
        const repeat = symbol === 16 ? 3 + take(2) : symbol === 17 ? 3 + take(3) : 11 + take(7);
        if (i + repeat > all.length) throw new BadZlib('lengths reach too far');
        all.fill(value, i, i + repeat);
        i += repeat;
      }
      if (all[256] === 0) throw new BadZlib('a block has no end');
      lengths = huffman(all.subarray(0, literals), true);
      distances = huffman(all.subarray(literals), true);
    }
    for (;;) {
      const symbol = symbolOf(lengths);
      if (symbol < 256) {
        put(symbol);
        continue;
      }
      if (symbol === 256) break;
      if (symbol > 285) throw new BadZlib('a length is none');
      const length = LENGTH_BASE[symbol - 257] + take(LENGTH_EXTRA[symbol - 257]);
      const far = symbolOf(distances);
      if (far > 29) throw new BadZlib('a distance is none');
      const distance = DISTANCE_BASE[far] + take(far < 2 ? 0 : (far >> 1) - 1);
      if (distance > size || distance > window) throw new BadZlib('a distance reaches too far back');
      for (let i = 0; i < length; i++) put(out[size - distance]);
    }
  }
  at -= bits >> 3; // whole bytes that were held
  let a = 1;
  let b = 0;
  for (let i = 0; i < size; i++) {
    a = (a + out[i]) % 65521;
    b = (b + a) % 65521;
  }
  if (at + 4 !== data.length) throw new BadZlib(at + 4 > data.length ? 'the stream is cut short' : 'bytes follow the stream');
  const stored = ((data[at] << 24) | (data[at + 1] << 16) | (data[at + 2] << 8) | data[at + 3]) >>> 0;
  if (stored !== b * 65536 + a) throw new BadZlib('the checksum fails');
  return out.slice(0, size);
}
