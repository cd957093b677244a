/** Bytes: varints, CRC-32, hexadecimal, joining. */

const CRC_TABLE = new Uint32Array(256).map((_, n) => {
  let c = n;
  for (let bit = 0; bit < 8; bit++) c = c & 1 ? (c >>> 1) ^ 0xedb88320 : c >>> 1;
  return c;
});

/** CRC-32 as zlib and PNG have it, as an unsigned number. @param {Uint8Array} data */
export function crc32(data) {
  let c = 0xffffffff;
  for (let i = 0; i < data.length; i++) c = CRC_TABLE[(c ^ data[i]) & 0xff] ^ (c >>> 8);
  return (c ^ 0xffffffff) >>> 0;
}

/** Thrown by `readVarint` where the bytes end inside of the varint. */
export class EndOfBytes extends Error {}
/** Thrown by `readVarint` where the bytes are no varint. */
export class BadVarint extends Error {}

/** A varint has at most so many bytes. */
export const VARINT_BYTES = 9;

/**
 * The value at `offset`, and the offset behind it.
 * @param {Uint8Array} data @param {number} offset
 * @returns {[bigint, number]}
 */
export function readVarint(data, offset) {
  let value = 0n;
  for (let i = 0; i < VARINT_BYTES; i++) {
    if (offset + i >= data.length) throw new EndOfBytes('the bytes end inside of a varint');
    const byte = data[offset + i];
    value |= BigInt(byte & 0x7f) << BigInt(7 * i);
    if (byte < 0x80) {
      if (byte === 0 && i > 0) throw new BadVarint('a varint has needless bytes');
      return [value, offset + i + 1];
    }
  }
  throw new BadVarint('a varint is longer than nine bytes');
}

/** @param {Uint8Array} data */
export const hex = (data) => Array.from(data, (byte) => byte.toString(16).padStart(2, '0')).join('');

/** @param {...Uint8Array} parts */
export function concat(...parts) {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** `value` as `length` little-endian bytes. @param {number | bigint} value @param {number} length */
export function littleEndian(value, length) {
  let rest = BigInt(value);
  const out = new Uint8Array(length);
  for (let i = 0; i < length; i++, rest >>= 8n) out[i] = Number(rest & 0xffn);
  return out;
}

/** Four little-endian bytes as an unsigned number. @param {Uint8Array} data @param {number} offset */
export const readUint32 = (data, offset) =>
  (data[offset] | (data[offset + 1] << 8) | (data[offset + 2] << 16) | (data[offset + 3] << 24)) >>> 0;

/** @param {string} text */
export const ascii = (text) => Uint8Array.from(text, (character) => character.charCodeAt(0));
