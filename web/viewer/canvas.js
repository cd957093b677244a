/** The picture's canvas: parts of it are painted and cleared, by blocks of groups. */

import { LimitExceeded } from '../src/errors.js';
import { BLOCK } from '../src/head.js';

/** @typedef {{ columns: number, mask: Uint8Array }} Shape of a file: ids of blocks, row by row */

/** Makes the canvas so large: browsers bound its sides and its area, each in a way of its own, and say nothing. @param {HTMLCanvasElement} canvas @param {number} width @param {number} height */
export function spread(canvas, width, height) {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext('2d');
  try {
    context?.fillRect(width - 1, height - 1, 1, 1);
    if (!context?.getImageData(width - 1, height - 1, 1, 1).data[3]) throw new Error('nothing can be painted');
    context.clearRect(width - 1, height - 1, 1, 1);
  } catch (error) {
    canvas.width = canvas.height = 1;
    throw new LimitExceeded(`${width} × ${height} pixels are more than this browser can show`, { cause: error });
  }
}

/**
 * Paints a part of the picture; what is transparent in it stays as it is.
 * @param {HTMLCanvasElement} canvas @param {import('../src/plan.js').Part} part
 */
export function paint(canvas, { x, y, width, height, rgba }) {
  const sheet = new OffscreenCanvas(width, height);
  sheet.getContext('2d')?.putImageData(new ImageData(rgba, width, height), 0, 0);
  canvas.getContext('2d')?.drawImage(sheet, x, y);
}

/** Clears the blocks of some groups. @param {HTMLCanvasElement} canvas @param {Shape} shape @param {Set<number>} ids */
export function clear(canvas, { columns, mask }, ids) {
  const context = canvas.getContext('2d');
  mask.forEach((id, i) => {
    if (ids.has(id)) context?.clearRect((i % columns) * BLOCK, Math.floor(i / columns) * BLOCK, BLOCK, BLOCK);
  });
}

/** Makes all transparent in a part that is not of some groups. @param {import('../src/plan.js').Part} part @param {Shape} shape @param {Set<number>} ids */
export function keepOnly({ x, y, width, height, rgba }, { columns, mask }, ids) {
  for (let row = 0; row < height; row++) {
    const first = Math.floor((y + row) / BLOCK) * columns + x / BLOCK;
    for (let column = 0; column < width; column += BLOCK) {
      if (!ids.has(mask[first + column / BLOCK])) rgba.fill(0, 4 * (row * width + column), 4 * (row * width + Math.min(column + BLOCK, width)));
    }
  }
}
