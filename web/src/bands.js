/**
 * Pictures of any size through the layers of synthesis, in bands of rows (docs/graphs.md, "Layer by layer"): a few rows of
 * blocks go into the first layer, and each layer computes those windows that have all they depend on by then. Nothing is
 * computed twice, and what is in memory does not grow with the height of the picture.
 */

import { ModelError } from './errors.js';
import { BLOCK_VALUES, WINDOW, filled } from './plan.js';

/** @typedef {import('./plan.js').BlockList} BlockList @typedef {import('./plan.js').Piece} Piece */

/**
 * A layer.
 * @typedef {object} Layer
 * @property {string} name of its graph, behind "synthesis."
 * @property {number} side tokens on a side of a block, of what comes in: 1 at 1/16 of the picture, 2 at 1/8
 * @property {number} takes values of a token that comes in; 0 for the first layer, which is given latents
 * @property {number} gives values of all that comes out for one block
 * @property {boolean} single it sees single blocks; else it is a transformer block
 * @property {number | null} shift of its windows, in tokens; null if it has none
 * @property {boolean} local it sees the tokens around its own
 */

/** Rows of blocks by which bands grow: a window of the coarse level. */
const STEP = WINDOW;

/**
 * The layers of a model, in order.
 * @param {import('./weights.js').Config} config
 * @returns {Layer[]}
 * @throws {ModelError} it is none
 */
export function synthesisLayers(config) {
  const { widths, depths, local = false, attention_every: every = 1 } = config;
  const numbers = [...(widths ?? []), ...(depths ?? []), every];
  if (numbers.length !== 5 || !numbers.every((n) => Number.isInteger(n) && n > 0)) throw new ModelError('the configuration of the weights is none');
  /** @type {Layer[]} */
  const layers = [];
  /** @param {string} name @param {number} side @param {number} takes @param {number} gives */
  const single = (name, side, takes, gives) => layers.push({ name, side, takes, gives, single: true, shift: null, local: false });
  /** @param {string} level @param {number} side @param {number} depth @param {number} width */
  const blocks = (level, side, depth, width) => {
    for (let k = 0; k < depth; k++) {
      const shift = (k + 1) % every === 0 ? (k % 2) * (WINDOW / 2) : null;
      layers.push({ name: `${level}.${k}`, side, takes: width, gives: side * side * width, single: false, shift, local });
    }
  };
  const [fine, coarse] = widths;
  single('begin', 1, 0, coarse);
  blocks('coarse', 1, depths[1], coarse);
  single('between', 1, coarse, 4 * fine);
  blocks('fine', 2, depths[0], fine);
  single('end', 2, fine, BLOCK_VALUES);
  return layers;
}

/**
 * Up to which row of blocks a layer can compute.
 * @param {Layer} layer @param {number} given rows that it was given @param {number} rows of the picture
 */
function ready({ side, shift, local }, given, rows) {
  if (given >= rows) return rows;
  const seen = side * given - (local ? 1 : 0);
  const done = shift === null ? seen : Math.floor((seen - shift) / WINDOW) * WINDOW + shift;
  return Math.max(0, Math.floor(done / side));
}

/**
 * Rows of blocks up to which the first layer goes, band by band.
 * @param {BlockList} list @param {number} limit blocks of a band, if it has more than the fewest rows that there can be
 */
function* stops({ before, rows }, limit) {
  let start = 0;
  while (before[rows] - before[start] > limit && start + STEP < rows) {
    let stop = start + STEP;
    while (stop + STEP < rows && before[stop + STEP] - before[start] <= limit) stop += STEP;
    yield stop;
    start = stop;
  }
  yield rows;
}

/** Tokens that a layer was given and has not done with. */
class Waiting {
  /** @param {Layer} layer */
  constructor(layer) {
    this.layer = layer;
    /** Rows of blocks: from which on it has tokens, up to which it was given them, up to which it has computed. */
    this.low = this.given = this.done = 0;
    this.values = new Float32Array(0);
  }

  /** @param {Float32Array} values @param {number} given row up to which they go */
  add(values, given) {
    if (values.length) {
      const joined = new Float32Array(this.values.length + values.length);
      joined.set(this.values);
      joined.set(values, this.values.length);
      this.values = joined;
    }
    this.given = given;
  }

  /** Drops what nobody needs any more. @param {BlockList} list @param {number} done row up to which it has computed */
  drop({ before }, done) {
    const { side, takes, local } = this.layer;
    const low = Math.max(done - (local ? 1 : 0), 0);
    const gone = (before[low] - before[this.low]) * side * side * takes;
    if (gone) this.values = this.values.slice(gone);
    this.low = low;
    this.done = done;
  }
}

/**
 * What a layer computes.
 * @typedef {object} Band
 * @property {Layer} layer
 * @property {number} low @property {number} high rows of blocks, from and to
 * @property {number} from @property {number} to their blocks in the list
 * @property {Float32Array} tokens that the layer is given, of blocks `first` and on
 * @property {number} first
 */

/**
 * The blocks of a list through all layers.
 * @template {Float32Array | Uint8ClampedArray} T
 * @param {BlockList} list
 * @param {Layer[]} layers
 * @param {(band: Band) => Promise<Float32Array | T>} run computes: T by the last layer, and tokens by all others
 * @param {number} limit blocks that go into the first layer at a time, or the fewest that eight rows have
 * @returns {AsyncGenerator<{ low: number, high: number, from: number, to: number, found: T }>} rows and blocks, one part after
 *   the other, and what the last layer gives for them
 */
export async function* through(list, layers, run, limit) {
  const { before, rows } = list;
  const lines = layers.map((layer) => new Waiting(layer));
  for (const stop of stops(list, limit)) {
    let given = stop;
    /** @type {any} */
    let found = new Float32Array(0);
    let low = 0;
    for (const line of lines) {
      const { layer } = line;
      line.add(found, given);
      low = line.done;
      given = Math.max(low, ready(layer, given, rows));
      const [from, to] = [before[low], before[given]];
      found = new Float32Array(0);
      if (to > from) found = await run({ layer, low, high: given, from, to, tokens: line.values, first: before[line.low] });
      line.drop(list, given);
    }
    const [from, to] = [before[low], before[given]];
    if (to > from) yield { low, high: given, from, to, found };
  }
}

/**
 * Tokens of a piece, and where each is, as a graph of one layer is fed with them.
 * @param {Band} band @param {Piece} piece
 * @returns {{ tokens: Float32Array, own: Int32Array, neighbours: Int32Array | null }} the first of the tokens is zero
 */
export function feedPiece({ layer: { side, takes }, tokens, first }, { own, near }) {
  const start = first * side * side;
  const places = new Int32Array(filled(own.length));
  /** @param {Int32Array | number[]} list */
  const collect = (list) => {
    const out = new Float32Array((list.length + 1) * takes);
    list.forEach((token, i) => out.set(tokens.subarray((token - start) * takes, (token - start + 1) * takes), (i + 1) * takes));
    return out;
  };
  if (!near) {
    for (let i = 0; i < own.length; i++) places[i] = i + 1;
    return { tokens: collect(own), own: places, neighbours: null };
  }
  /** Position of each token that the layer is given, 0 for those that are not collected. */
  const at = new Int32Array(tokens.length / takes);
  /** @type {number[]} */
  const seen = [];
  /** @param {number} token */
  const place = (token) => at[token - start] || (at[token - start] = seen.push(token));
  for (let i = 0; i < own.length; i++) places[i] = place(own[i]);
  const neighbours = new Int32Array(8 * places.length);
  for (let i = 0; i < near.length; i++) if (near[i] >= 0) neighbours[i] = place(near[i]);
  return { tokens: collect(seen), own: places, neighbours };
}
