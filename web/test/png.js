/** Reads the PNG files of vectors/: 8 bits RGB, not interlaced. */

import assert from 'node:assert';
import { inflateSync } from 'node:zlib';

/** @param {Buffer} data @returns {{ width: number, height: number, rgb: Uint8Array }} */
export function readPng(data) {
  assert.equal(data.toString('latin1', 1, 4), 'PNG');
  const width = data.readUInt32BE(16);
  const height = data.readUInt32BE(20);
  assert.deepEqual([...data.subarray(24, 29)], [8, 2, 0, 0, 0], 'not 8 bits RGB');
  const parts = [];
  for (let at = 8; at < data.length; ) {
    const length = data.readUInt32BE(at);
    if (data.toString('latin1', at + 4, at + 8) === 'IDAT') parts.push(data.subarray(at + 8, at + 8 + length));
    at += 12 + length;
  }
  const packed = inflateSync(Buffer.concat(parts));
  const stride = 3 * width;
  const rgb = new Uint8Array(stride * height);
  for (let y = 0; y < height; y++) {
    const filter = packed[y * (stride + 1)];
    for (let x = 0; x < stride; x++) {
      const i = y * stride + x;
      const left = x >= 3 ? rgb[i - 3] : 0;
      const above = y ? rgb[i - stride] : 0;
      const corner = y && x >= 3 ? rgb[i - stride - 3] : 0;
      const guess = left + above - corner;
      const [a, b, c] = [left, above, corner].map((value) => Math.abs(guess - value));
      const paeth = a <= b && a <= c ? left : b <= c ? above : corner;
      rgb[i] = packed[y * (stride + 1) + 1 + x] + [0, left, above, (left + above) >> 1, paeth][filter];
    }
  }
  return { width, height, rgb };
}
