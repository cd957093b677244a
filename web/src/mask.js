/** The mask: which label each block has (docs/format.md, "Mask"). */

import { InvalidStream, RangeDecoder, RangeEncoder } from './rangecoder.js';

// Counts (no, yes) that each context starts with.
const START = [
  64, 128, 32, 256, 128, 64, 16, 128, 64, 512, 16, 512, 128, 64, 16, 512, //
  8, 8, 2, 16, 8, 8, 4, 32, 8, 128, 8, 256, 8, 128, 4, 256, //
  8, 8, 8, 8, 8, 8, 8, 8, 8, 64, 8, 8, 1, 2, 8, 8, //
  128, 64, 4, 16,
];
const TOTAL = 2 ** 24;

/** Decodes decisions, and encodes them again: the bytes are right only if they are those that a writer makes. */
class Decisions {
  /** @param {Uint8Array} data */
  constructor(data) {
    this.decoder = new RangeDecoder(data);
    this.encoder = new RangeEncoder();
    this.counts = Int32Array.from(START);
  }

  /** @param {number} context */
  decide(context) {
    const { counts } = this;
    const no = counts[2 * context];
    const yes = counts[2 * context + 1];
    const p = Math.min(Math.max(Math.floor((4096 * yes) / (no + yes)), 1), 4095);
    const zero = (4096 - p) * 4096;
    const bit = this.decoder.decodeBinary(zero);
    if (bit) this.encoder.encode(zero, TOTAL - zero);
    else this.encoder.encode(0, zero);
    counts[2 * context + bit] += 16;
    if (no + yes + 16 > 16384) {
      counts[2 * context] = (counts[2 * context] + 1) >> 1;
      counts[2 * context + 1] = (counts[2 * context + 1] + 1) >> 1;
    }
    return bit === 1;
  }

  /** @param {number} size */
  choose(size) {
    if (size === 1) return 0;
    const symbol = this.decoder.decodeUniform(size);
    const each = Math.floor(TOTAL / size);
    const larger = TOTAL % size;
    this.encoder.encode(symbol * each + Math.min(symbol, larger), each + (symbol < larger ? 1 : 0));
    return symbol;
  }
}

/**
 * Labels of the blocks, in raster order.
 * @param {Uint8Array} data the mask's bytes
 * @param {number} rows @param {number} columns of blocks
 * @param {number} labels size of the alphabet, 1 to 256
 * @param {number} step 0 to 3: cells have 2^step blocks on a side
 * @returns {Uint8Array}
 * @throws {InvalidStream} these are not the bytes of any mask
 */
export function decodeMask(data, rows, columns, labels, step) {
  const out = new Uint8Array(rows * columns);
  if (labels === 1) {
    if (data.length) throw new InvalidStream('there are bytes of a mask where none are needed');
    return out;
  }
  const height = Math.ceil(rows / 2 ** step);
  const width = Math.ceil(columns / 2 ** step);
  const cells = decodeCells(data, height, width, labels);
  for (let y = 0; y < rows; y++) {
    const row = (y >> step) * width;
    for (let x = 0; x < columns; x++) out[y * columns + x] = cells[row + (x >> step)];
  }
  return out;
}

/** @param {Uint8Array} data @param {number} height @param {number} width @param {number} labels */
function decodeCells(data, height, width, labels) {
  const decisions = new Decisions(data);
  /** @type {number[]} in order of first appearance */
  const seen = [];
  const unseen = Array.from({ length: labels }, (_, label) => label);
  const cells = new Uint8Array(height * width);
  // Rows with a margin of -1: outside of the grid there is no neighbour.
  let above = new Int16Array(width + 2).fill(-1);
  let row = new Int16Array(width + 2).fill(-1);

  /** A label that none of the neighbours has. @param {number[]} ruledOut */
  const outright = (ruledOut) => {
    const others = seen.length - ruledOut.length;
    const isNew = others && unseen.length ? decisions.decide(24) : !others;
    if (isNew) {
      const index = unseen.length === 1 || decisions.decide(25) ? 0 : 1 + decisions.choose(unseen.length - 1);
      const [label] = unseen.splice(index, 1);
      seen.push(label);
      return label;
    }
    let index = decisions.choose(others);
    for (const label of seen) {
      if (ruledOut.includes(label)) continue;
      if (index-- === 0) return label;
    }
    throw new InvalidStream('no label is left');
  };

  const candidates = [0, 0, 0];
  for (let y = 0; y < height; y++) {
    for (let x = 1; x <= width; x++) {
      const w = row[x - 1];
      const n = above[x];
      const nw = above[x - 1];
      const ne = above[x + 1];
      let label = -1;
      /** @type {number[]} */
      const ruledOut = [];
      candidates[0] = w;
      candidates[1] = n;
      candidates[2] = ne;
      for (const candidate of candidates) {
        if (candidate < 0 || ruledOut.includes(candidate)) continue;
        if (labels - ruledOut.length === 1) {
          label = candidate;
          break;
        }
        const context =
          8 * ruledOut.length +
          (n === candidate || n < 0 ? 1 : 0) +
          (nw === candidate || nw < 0 ? 2 : 0) +
          (ne === candidate || ne < 0 ? 4 : 0);
        if (decisions.decide(context)) {
          label = candidate;
          break;
        }
        ruledOut.push(candidate);
      }
      if (label < 0) label = outright(ruledOut);
      row[x] = label;
      cells[y * width + x - 1] = label;
    }
    [above, row] = [row, above];
    row[0] = -1;
    row[width + 1] = -1;
  }
  const again = decisions.encoder.finish();
  if (again.length !== data.length || again.some((byte, i) => byte !== data[i])) {
    throw new InvalidStream("the mask's bytes are not the shortest form of that mask");
  }
  return cells;
}
