/** Who may see whom: index arrays over a list of blocks, made outside of the networks. */

import { BLOCK } from './head.js';

/** Tokens on a side of an attention window. */
export const WINDOW = 8;

/** Values of a block: its pixels, in three channels. */
export const BLOCK_VALUES = 3 * BLOCK ** 2;
const SLOTS = WINDOW * WINDOW;
/** Lists are filled up to a multiple of this: products treat the rest of a list in ways of their own, which round differently.
 * So there is no rest, and a block gives the same pixels in any list. */
const MULTIPLE = 16;
/** Row and column of each neighbour, relative to the token. */
const NEIGHBOURS = [[-1, -1], [-1, 0], [-1, 1], [0, -1], [0, 1], [1, -1], [1, 0], [1, 1]]; // prettier-ignore

/** The length of a list of so many, filled up. @param {number} count */
export const filled = (count) => Math.ceil(count / MULTIPLE) * MULTIPLE;

/** Raster indices of the blocks of some groups, ascending. @param {Uint8Array} mask @param {Set<number>} ids */
export function blocksOf(mask, ids) {
  const wanted = new Uint8Array(256);
  for (const id of ids) wanted[id] = 1;
  let count = 0;
  for (let i = 0; i < mask.length; i++) count += wanted[mask[i]];
  const found = new Int32Array(count);
  for (let i = 0, at = 0; i < mask.length; i++) if (wanted[mask[i]]) found[at++] = i;
  return found;
}

/** The wanted blocks of a picture, in raster order: all blocks of each wanted group, and no others. */
export class BlockList {
  /**
   * @param {Uint8Array} mask [rows * columns] ids @param {number} rows @param {number} columns of blocks
   * @param {Set<number>} ids wanted groups
   */
  constructor(mask, rows, columns, ids) {
    this.rows = rows;
    this.columns = columns;
    /** [N] raster index of each. */
    this.blocks = blocksOf(mask, ids);
    /** [N] group of each. */
    this.groups = Uint8Array.from(this.blocks, (block) => mask[block]);
    /** [rows + 1] how many there are in the rows before each. */
    this.before = new Int32Array(rows + 1);
    for (let row = 0, i = 0; row <= rows; row++) {
      while (i < this.blocks.length && this.blocks[i] < row * columns) i++;
      this.before[row] = i;
    }
  }

  get length() {
    return this.blocks.length;
  }
}

/** Tokens by their place, in some rows of blocks. */
class Grid {
  /** @param {BlockList} list @param {number} side tokens on a side of a block @param {number} low @param {number} high rows */
  constructor(list, side, low, high) {
    this.groups = list.groups;
    this.side = side;
    this.columns = list.columns;
    this.width = side * list.columns;
    this.top = side * low;
    this.bottom = side * high;
    /** [rows * columns] index in the list, -1 for none. */
    this.index = new Int32Array((high - low) * list.columns).fill(-1);
    for (let i = list.before[low]; i < list.before[high]; i++) this.index[list.blocks[i] - low * list.columns] = i;
  }

  /** The token at a row and column, in tokens; -1 where none is. @param {number} y @param {number} x */
  at(y, x) {
    if (y < this.top || y >= this.bottom || x < 0 || x >= this.width) return -1;
    if (this.side === 1) return this.index[(y - this.top) * this.columns + x];
    const block = this.index[((y - this.top) >> 1) * this.columns + (x >> 1)];
    return block < 0 ? -1 : 4 * block + 2 * (y & 1) + (x & 1);
  }

  /** The group of a token. @param {number} token */
  group(token) {
    return this.groups[this.side === 1 ? token : token >> 2];
  }

  /** The neighbours of a token that are of its group. @param {number} token @param {number} y @param {number} x @param {Int32Array} out @param {number} at */
  near(token, y, x, out, at) {
    const group = this.group(token);
    for (let i = 0; i < 8; i++) {
      const other = this.at(y + NEIGHBOURS[i][0], x + NEIGHBOURS[i][1]);
      out[at + i] = other >= 0 && this.group(other) === group ? other : -1;
    }
  }
}

/**
 * Some tokens that a layer computes in one go.
 * @typedef {object} Piece
 * @property {Int32Array} own [n] their indices in the list of the picture's tokens
 * @property {Int32Array | null} near [n, 8] those of their neighbours of the same group, -1 for none; null if the layer sees none
 * @property {{ gather: Int32Array, key: Int32Array, scatter: Int32Array } | null} windows over `own`, as docs/graphs.md has
 *   them, filled up; null if the layer has none
 */

/**
 * The tokens of some rows of blocks, in pieces.
 * @param {BlockList} list
 * @param {import('./bands.js').Layer} layer a transformer block
 * @param {number} low @param {number} high rows of blocks: windows must end where they do, or where the picture does
 * @param {number} most windows of a piece, or as many tokens as these hold
 * @returns {Generator<Piece>}
 */
export function* cutPieces(list, layer, low, high, most) {
  const { side, shift, local } = layer;
  const around = local ? 1 : 0;
  const grid = new Grid(list, side, Math.max(low - around, 0), Math.min(high + around, list.rows));
  const places = shift === null ? inRows(list, side, low, high) : inWindows(grid, side * low, side * high, shift);
  /** @type {number[]} */
  let own = [];
  /** Row and column of each of them. @type {number[]} */
  let where = [];
  let gather = new Int32Array(most * SLOTS);
  let key = new Int32Array(most * SLOTS);
  /** @type {number[]} */
  let scatter = [];
  let count = 0;
  const piece = () => {
    const near = local ? new Int32Array(8 * own.length) : null;
    if (near) own.forEach((token, i) => grid.near(token, where[2 * i], where[2 * i + 1], near, 8 * i));
    let windows = null;
    if (shift !== null) {
      const whole = new Int32Array(filled(own.length));
      whole.set(scatter);
      windows = { gather: gather.slice(0, count * SLOTS), key: key.slice(0, count * SLOTS), scatter: whole };
    }
    const found = { own: Int32Array.from(own), near, windows };
    [own, where, scatter, count] = [[], [], [], 0];
    return found;
  };
  for (const { slots, seam } of places) {
    for (let slot = 0; slot < SLOTS; slot++) {
      const [token, y, x] = [slots[3 * slot], slots[3 * slot + 1], slots[3 * slot + 2]];
      if (token < 0) {
        // An empty place sees itself alone, so that no softmax is over nothing.
        gather[count * SLOTS + slot] = 0;
        key[count * SLOTS + slot] = -1 - slot;
        continue;
      }
      gather[count * SLOTS + slot] = own.length;
      key[count * SLOTS + slot] = (x < seam ? 512 : 0) + grid.group(token);
      scatter.push(count * SLOTS + slot);
      own.push(token);
      where.push(y, x);
    }
    if (++count === most) yield piece();
  }
  if (count) yield piece();
}

/**
 * Windows that hold a token: token, row and column at each place.
 * @param {Grid} grid @param {number} top @param {number} bottom rows of tokens @param {number} shift
 * @returns {Generator<{ slots: Int32Array, seam: number }>} `seam`: columns before it came from the other side
 */
function* inWindows(grid, top, bottom, shift) {
  const columns = Math.ceil(grid.width / WINDOW);
  const slots = new Int32Array(3 * SLOTS);
  // Shifted windows at the top reach beyond it, as those of the bottom do: they never meet, so they need not be one.
  for (let first = Math.floor((top - shift) / WINDOW) * WINDOW + shift; first < bottom; first += WINDOW) {
    for (let column = 0; column < columns; column++) {
      const last = shift > 0 && column === columns - 1;
      let used = false;
      for (let slot = 0; slot < SLOTS; slot++) {
        const y = first + (slot >> 3);
        let x = column * WINDOW + (slot & 7) + shift;
        if (x >= columns * WINDOW) x -= columns * WINDOW;
        const token = y < top || y >= bottom ? -1 : grid.at(y, x);
        slots[3 * slot] = token;
        slots[3 * slot + 1] = y;
        slots[3 * slot + 2] = x;
        used ||= token >= 0;
      }
      if (used) yield { slots, seam: last ? shift : 0 };
    }
  }
}

/**
 * The tokens of a layer without windows, in the order of the list, so many at a time.
 * @param {BlockList} list @param {number} side @param {number} low @param {number} high rows of blocks
 * @returns {Generator<{ slots: Int32Array, seam: number }>}
 */
function* inRows(list, side, low, high) {
  const slots = new Int32Array(3 * SLOTS);
  let count = 0;
  for (let i = list.before[low]; i < list.before[high]; i++) {
    const row = Math.floor(list.blocks[i] / list.columns);
    const column = list.blocks[i] % list.columns;
    for (let j = 0; j < side * side; j++) {
      slots.set([side * side * i + j, side * row + (j >> 1), side * column + (j & 1)], 3 * count);
      if (++count === SLOTS) {
        yield { slots, seam: 0 };
        count = 0;
      }
    }
  }
  if (!count) return;
  for (; count < SLOTS; count++) slots[3 * count] = -1;
  yield { slots, seam: 0 };
}

/**
 * A rectangle of the picture.
 * @typedef {object} Part
 * @property {number} x @property {number} y @property {number} width @property {number} height in pixels
 * @property {Uint8ClampedArray<ArrayBuffer>} rgba [height * width * 4]; alpha is 255 where it was decoded, else all is 0
 */

/**
 * Blocks of pixels as rectangles, each as wide as its blocks and a window high at most.
 * @param {Uint8ClampedArray} values [to - from, 4, 192]: blocks of four 8x8 patches of RGB
 * @param {BlockList} list
 * @param {{ low: number, high: number, from: number }} part rows of blocks, and the first block in the list
 * @param {number} width @param {number} height of the picture
 * @returns {Generator<Part>}
 */
export function* paintParts(values, { blocks, before, columns }, { low, high, from: first }, width, height) {
  for (let row = low; row < high; row += WINDOW) {
    const end = Math.min(row + WINDOW, high);
    const [from, to] = [before[row], before[end]];
    if (from === to) continue;
    let [left, right] = [columns, 0];
    for (let i = from; i < to; i++) {
      left = Math.min(left, blocks[i] % columns);
      right = Math.max(right, (blocks[i] % columns) + 1);
    }
    const x = left * BLOCK;
    const y = row * BLOCK;
    const part = { x, y, width: Math.min(right * BLOCK, width) - x, height: Math.min(end * BLOCK, height) - y };
    const rgba = new Uint8ClampedArray(part.width * part.height * 4);
    for (let i = from; i < to; i++) paintBlock(values, (i - first) * BLOCK_VALUES, blocks[i], columns, part, rgba);
    yield { ...part, rgba };
  }
}

/**
 * @param {Uint8ClampedArray} values @param {number} start of the block in them @param {number} block raster index
 * @param {number} columns @param {Omit<Part, 'rgba'>} part that it lies in @param {Uint8ClampedArray} rgba its pixels
 */
function paintBlock(values, start, block, columns, part, rgba) {
  const top = Math.floor(block / columns) * BLOCK - part.y;
  const left = (block % columns) * BLOCK - part.x;
  for (let y = 0; y < BLOCK && top + y < part.height; y++) {
    for (let x = 0; x < BLOCK && left + x < part.width; x++) {
      const patch = 2 * (y >> 3) + (x >> 3);
      const from = start + patch * 192 + ((y & 7) * 8 + (x & 7)) * 3;
      const to = ((top + y) * part.width + left + x) * 4;
      rgba[to] = values[from];
      rgba[to + 1] = values[from + 1];
      rgba[to + 2] = values[from + 2];
      rgba[to + 3] = 255;
    }
  }
}
