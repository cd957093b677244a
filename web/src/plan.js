/** Who may see whom: index arrays over a list of blocks, made outside of the networks. */

import { BLOCK } from './head.js';

/** Tokens on a side of an attention window. */
const WINDOW = 8;
const SLOTS = WINDOW * WINDOW;
/** Lists of blocks are filled up to a multiple of this: products treat the rest of a list in ways of their own, which round
 * differently. So there is no rest, and a block gives the same pixels in any list. */
export const MULTIPLE = 16;
/** Row and column of each neighbour, relative to the token. */
const NEIGHBOURS = [[-1, -1], [-1, 0], [-1, 1], [0, -1], [0, 1], [1, -1], [1, 0], [1, 1]]; // prettier-ignore

/**
 * Attention windows over a token list.
 * @typedef {object} Windows
 * @property {Int32Array} gather [W, 64] token at each slot of each window; 0 at empty slots
 * @property {Int32Array} key [W, 64] a token attends to the tokens of its window with the same key, and to no other
 * @property {Int32Array} scatter [N] position of each token in the flattened windows
 */

/**
 * Cuts a grid into windows; those without a token are left out.
 * @param {Int32Array} token [h, w] index of the token at each place, -1 where none is wanted
 * @param {Int32Array} group [h, w] id of its group
 * @param {number} height @param {number} width @param {number} shift of the windows, in tokens
 * @param {number} tokens how many there are
 * @param {number} filled length of `scatter`, at least `tokens`; what is added points to slot 0
 * @returns {Windows}
 */
function cutWindows(token, group, height, width, shift, tokens, filled) {
  const rows = Math.ceil(height / WINDOW);
  const columns = Math.ceil(width / WINDOW);
  const gather = [];
  const key = [];
  const scatter = new Int32Array(filled);
  let windows = 0;
  for (let windowRow = 0; windowRow < rows; windowRow++) {
    for (let windowColumn = 0; windowColumn < columns; windowColumn++) {
      const tokensOf = new Int32Array(SLOTS);
      const keysOf = new Int32Array(SLOTS);
      let used = false;
      for (let slot = 0; slot < SLOTS; slot++) {
        // The grid is rolled by `shift`. What comes from the opposite side gets keys of its own.
        let y = windowRow * WINDOW + (slot >> 3) + shift;
        let x = windowColumn * WINDOW + (slot & 7) + shift;
        let seam = 0;
        if (y >= rows * WINDOW) {
          y -= rows * WINDOW;
          seam += 1;
        }
        if (x >= columns * WINDOW) {
          x -= columns * WINDOW;
          seam += 2;
        }
        const index = y < height && x < width ? token[y * width + x] : -1;
        if (index < 0) {
          keysOf[slot] = -1 - slot; // sees itself alone, so that no row of the softmax is empty
          continue;
        }
        used = true;
        tokensOf[slot] = index;
        keysOf[slot] = seam * 256 + group[y * width + x];
        scatter[index] = windows * SLOTS + slot;
      }
      if (!used) continue;
      gather.push(tokensOf);
      key.push(keysOf);
      windows++;
    }
  }
  /** @param {Int32Array[]} parts */
  const flat = (parts) => {
    const out = new Int32Array(parts.length * SLOTS);
    parts.forEach((part, i) => out.set(part, i * SLOTS));
    return out;
  };
  return { gather: flat(gather), key: flat(key), scatter };
}

/**
 * [filled, 8] the neighbours of each token that are of its group; `filled` for none.
 * @param {Int32Array} token [h, w] index of the token at each place, -1 where none is wanted
 * @param {Int32Array} group [h, w] id of its group
 * @param {number} height @param {number} width @param {number} filled length of the list
 */
function findNeighbours(token, group, height, width, filled) {
  const found = new Int32Array(8 * filled).fill(filled);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const index = token[y * width + x];
      if (index < 0) continue;
      NEIGHBOURS.forEach(([dy, dx], i) => {
        if (y + dy < 0 || y + dy >= height || x + dx < 0 || x + dx >= width) return;
        const at = (y + dy) * width + x + dx;
        if (token[at] >= 0 && group[at] === group[y * width + x]) found[8 * index + i] = token[at];
      });
    }
  }
  return found;
}

/**
 * What the synthesis graph is fed with, but for the latents: docs/graphs.md.
 * @param {Uint8Array} mask [rows * columns] ids
 * @param {number} rows @param {number} columns of blocks
 * @param {Int32Array} blocks raster indices of the wanted blocks, ascending: all blocks of each wanted group
 * @param {(id: number) => number} quality of each group
 * @param {boolean} local whether the networks mix neighbours
 * @returns {{ inputs: Record<string, { data: Int32Array, dims: number[] }>, filled: number }} `filled`: length of the list
 */
export function synthesisInputs(mask, rows, columns, blocks, quality, local) {
  const count = blocks.length;
  const filled = Math.ceil(count / MULTIPLE) * MULTIPLE;
  const coarse = new Int32Array(rows * columns).fill(-1);
  const coarseGroup = new Int32Array(rows * columns);
  const fine = new Int32Array(4 * rows * columns).fill(-1);
  const fineGroup = new Int32Array(4 * rows * columns);
  const qualities = new Int32Array(filled).fill(1);
  blocks.forEach((block, i) => {
    const y = Math.floor(block / columns);
    const x = block - y * columns;
    coarse[block] = i;
    coarseGroup[block] = mask[block];
    for (let j = 0; j < 4; j++) {
      const at = (2 * y + (j >> 1)) * 2 * columns + 2 * x + (j & 1);
      fine[at] = 4 * i + j;
      fineGroup[at] = mask[block];
    }
    qualities[i] = quality(mask[block]);
  });
  /** @type {Record<string, { data: Int32Array, dims: number[] }>} */
  const inputs = { quality: { data: qualities, dims: [filled] } };
  for (const [level, token, group, scale] of /** @type {const} */ ([
    ['coarse', coarse, coarseGroup, 1],
    ['fine', fine, fineGroup, 2],
  ])) {
    if (local) {
      const neighbours = findNeighbours(token, group, scale * rows, scale * columns, filled * scale * scale);
      inputs[`${level}_neighbours`] = { data: neighbours, dims: [filled * scale * scale, 8] };
    }
    for (const [suffix, shift] of /** @type {const} */ ([
      ['', 0],
      ['_shifted', WINDOW / 2],
    ])) {
      const tokens = scale * scale;
      const windows = cutWindows(token, group, scale * rows, scale * columns, shift, count * tokens, filled * tokens);
      const number = windows.gather.length / SLOTS;
      inputs[`${level}${suffix}_gather`] = { data: windows.gather, dims: [number, SLOTS] };
      inputs[`${level}${suffix}_key`] = { data: windows.key, dims: [number, SLOTS] };
      inputs[`${level}${suffix}_scatter`] = { data: windows.scatter, dims: [filled * tokens] };
    }
  }
  return { inputs, filled };
}

/** Raster indices of the blocks of some groups, ascending. @param {Uint8Array} mask @param {Set<number>} ids */
export function blocksOf(mask, ids) {
  const found = [];
  for (let i = 0; i < mask.length; i++) if (ids.has(mask[i])) found.push(i);
  return Int32Array.from(found);
}

/**
 * Blocks of pixels to a picture.
 * @param {Float32Array} values [filled, 4, 192]: blocks of four 8x8 patches of RGB, whole numbers from 0 to 255
 * @param {Int32Array} blocks their raster indices
 * @param {number} columns @param {number} width @param {number} height
 * @param {Uint8ClampedArray} rgba [height * width * 4]; where the blocks lie it becomes opaque
 */
export function paintBlocks(values, blocks, columns, width, height, rgba) {
  blocks.forEach((block, i) => {
    const top = Math.floor(block / columns) * BLOCK;
    const left = (block % columns) * BLOCK;
    for (let y = 0; y < BLOCK && top + y < height; y++) {
      for (let x = 0; x < BLOCK && left + x < width; x++) {
        const patch = 2 * (y >> 3) + (x >> 3);
        const from = i * 768 + patch * 192 + ((y & 7) * 8 + (x & 7)) * 3;
        const to = ((top + y) * width + left + x) * 4;
        rgba[to] = values[from];
        rgba[to + 1] = values[from + 1];
        rgba[to + 2] = values[from + 2];
        rgba[to + 3] = 255;
      }
    }
  });
}
