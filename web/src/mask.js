/** The mask: which label each block has (docs/format.md, "Mask"). */

import { InvalidStream, RangeDecoder, RangeEncoder } from './rangecoder.js';

// Counts (no, yes) that each context starts with.
const START = [
  64, 64, //
  128, 256, 32, 16, 32, 512, 32, 64, //
  32, 16, 256, 32, 64, 32, 32, 32, //
  128, 256, 256, 32, 64, 32, 128, 64, //
  128, 32, 256, 8, 16, 1, 256, 32, //
  8, 64, 16, 64, 32, 32, //
  32, 64, //
  4, 16, //
  8, 8,
];
const STAYS = 1;
const FOLLOWS = 5;
const NEXT_LABEL = 17;
const NEW = 20;
const LOWEST = 21;
const OVER = 22;
const TOTAL = 2 ** 24;
const UNIT = 2 ** 16;

/** @param {number[]} shares in units of 2^16 */
function sums(shares) {
  const out = new Int32Array(shares.length + 1);
  shares.forEach((share, i) => (out[i + 1] = out[i] + share * UNIT));
  return out;
}

const NUMBER = sums([8, 24, 48, 60, 48, 24, 8, 4, 4, 2, 2, 2, 2, 2, ...Array(18).fill(1)]);
const QUOTIENT = sums([105, 61, 34, 20, 11, 7, 5, 3, 2, 2, 1, 1, 1, 1, 1, 1]);
const ESCAPE = 15;

/** Decodes symbols, and encodes them again: the bytes are right only if they are those that a writer makes. */
class Symbols {
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
    const p = Math.max(Math.floor((256 * yes) / (no + yes)), 1);
    const zero = (256 - p) * UNIT;
    const bit = this.decoder.decodeBinary(zero);
    if (bit) this.encoder.encode(zero, TOTAL - zero);
    else this.encoder.encode(0, zero);
    counts[2 * context + bit] += 16;
    if (no + yes + 16 > 4096) {
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

  /** @param {Int32Array} table */
  symbol(table) {
    const symbol = this.decoder.decode(table, 0, table.length - 1);
    this.encoder.encode(table[symbol], table[symbol + 1] - table[symbol]);
    return symbol;
  }

  number() {
    let left = this.symbol(NUMBER);
    let value = 1;
    for (; left > 0; left -= 8) {
      const piece = 2 ** Math.min(left, 8);
      value = value * piece + this.choose(piece);
    }
    return value - 1;
  }

  /** Before each break, how many chances to break pass by. @param {number} cells @returns {number[]} */
  gaps(cells) {
    const breaks = this.number();
    if (breaks > cells) throw new InvalidStream(`${breaks} breaks in ${cells} cells`);
    const mean = Math.floor(cells / (breaks + 1));
    const bits = mean < 8 ? 0 : mean.toString(2).length - 2;
    const gaps = new Array(breaks).fill(0);
    if (bits === 0) {
      let sum = 0;
      for (let i = 0; i < breaks; i++) {
        for (; !this.decide(OVER); gaps[i]++) if (++sum > cells) throw new InvalidStream('gaps exceed the cells');
      }
      return gaps;
    }
    const quotients = gaps.map(() => this.symbol(QUOTIENT));
    for (let left = bits; left > 0; left -= 8) {
      const piece = 2 ** Math.min(left, 8);
      for (let i = 0; i < breaks; i++) gaps[i] = gaps[i] * piece + this.choose(piece);
    }
    return gaps.map((rest, i) => (quotients[i] + (quotients[i] === ESCAPE ? this.number() : 0)) * 2 ** bits + rest);
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
  const symbols = new Symbols(data);
  const gaps = symbols.gaps(height * width);
  let taken = 0; // breaks
  let free = gaps.length ? gaps[0] : Infinity; // chances until the next

  /** Whether a cell that may break does. */
  const breaks = () => {
    if (free-- > 0) return false;
    free = ++taken < gaps.length ? gaps[taken] : Infinity;
    return true;
  };

  /** @type {number[]} in order of first appearance */
  const seen = [];
  const unseen = Array.from({ length: labels }, (_, label) => label);

  /** A label other than some that were seen. @param {number[]} excluded */
  const other = (...excluded) => {
    const others = seen.length - excluded.length;
    if (others && unseen.length ? symbols.decide(NEW) : !others) {
      const index = unseen.length === 1 || symbols.decide(LOWEST) ? 0 : 1 + symbols.choose(unseen.length - 1);
      const [label] = unseen.splice(index, 1);
      seen.push(label);
      return label;
    }
    let index = symbols.choose(others);
    for (const label of seen) if (!excluded.includes(label) && index-- === 0) return label;
    throw new InvalidStream('no label is left');
  };
  const third = labels > 2; // only then can a cell be neither of two

  const first = other();
  let above = new Uint8Array(width).fill(first);
  let above2 = above;
  const cells = new Uint8Array(height * width);
  for (let y = 0; y < height; y++) {
    const row = cells.subarray(y * width, (y + 1) * width);
    let x = 0;
    if (y === 0) row[x++] = first;
    while (x < width) {
      const n = above[x];
      if (x > 0 && row[x - 1] !== n) {
        const w = row[x - 1];
        let context = FOLLOWS + (above[x - 1] === n ? 1 : 0) + (x === 1 || row[x - 2] === w ? 2 : 0);
        if (x + 1 === width || above[x + 1] === n) context += 4;
        else if (above[x + 1] === w) context += 8;
        if (symbols.decide(context)) row[x] = n;
        else row[x] = third && breaks() ? other(n, w) : w;
        x++;
        continue;
      }
      let e = x + 1; // the next edge above
      while (e < width && above[e] === n) e++;
      if (e === width) e++; // there is none
      const b = above[e];
      let broken = false;
      while (!broken && x < e - 1) {
        broken = breaks();
        if (!broken) row[x] = n;
        else if (e > width) row[x] = other(n);
        else if (!third || symbols.decide(NEXT_LABEL + Math.min(e - 2 - x, 2))) row[x] = b;
        else row[x] = other(n, b);
        x++;
      }
      if (broken || e > width) continue;
      if (symbols.decide(0)) {
        row[e - 1] = n;
        row[e] = b;
        x = e + 1;
      } else if (symbols.decide(STAYS + (above2[e - 1] === n ? 1 : 0) + (above2[e] === b ? 2 : 0))) {
        row[e - 1] = n;
        row[e] = third && breaks() ? other(n, b) : n;
        x = e + 1;
      } else {
        row[e - 1] = third && breaks() ? other(n, b) : b;
        x = e;
      }
    }
    [above2, above] = [above, row];
  }
  if (taken < gaps.length) throw new InvalidStream('there is no room for all breaks');
  const again = symbols.encoder.finish();
  if (again.length !== data.length || again.some((byte, i) => byte !== data[i])) {
    throw new InvalidStream("the mask's bytes are not the shortest form of that mask");
  }
  return cells;
}
