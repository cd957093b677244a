/** From a group's substream to its latents, in integers (docs/entropy.md). */

import { DamagedSegment, ModelError } from './errors.js';
import { Kernel, LIMIT } from './kernel.js';
import { InvalidStream, RangeDecoder } from './rangecoder.js';
import { integers } from './weights.js';

const CLASSES = 91;
const QUALITIES = 100;
const CELL = 4;
/**
 * What has 32 bits, beside biases, and its least and largest values: within them no sum or product is inexact.
 * @type {Record<string, [number, number]>}
 */
const LONG = {
  precision: [2 ** 10, 2 ** 12],
  precision_reciprocal: [2 ** 12, 2 ** 14],
  reference: [51, 2 ** 27],
  reference_reciprocal: [0, 5 * 2 ** 16],
  'tables.support': [0, 2 ** 23],
  'tables.frequencies': [1, 2 ** 24 - 1],
};
/** A layer has fewer inputs than this. */
const LARGEST_SUM = 2 ** 12;
/** Kinds of cells by their earlier neighbours. */
const HYPER_CONTEXTS = 9;
const MAX_ONES = 21;
const HALF = 2 ** 23;
const NEIGHBOURS = [[-1, -1], [-1, 0], [-1, 1], [0, -1], [0, 1], [1, -1], [1, 0], [1, 1]]; // prettier-ignore
/** Blocks that go through a net at a time. */
const CHUNK = 64;

/** Shift with rounding. @param {number} x @param {number} bits */
const shift = (x, bits) => Math.floor(x / 2 ** bits + 0.5);
/** The phase of a block or cell. @param {number} row @param {number} column */
const phaseOf = (row, column) => ((row + column) & 1 ? 2 : row & 1);
/** @param {number} x */
const clamp = (x) => Math.min(Math.max(x, -LIMIT), LIMIT);

/** The integer twin of a model's entropy model, with its tables. */
export class Twin {
  /** Use `Twin.make`. @param {import('./weights.js').Weights} weights @param {Kernel} kernel */
  constructor(weights, kernel) {
    const { slices, hyper_channels: z, hyper_features: f, context_width: width } = weights.config;
    const context = weights.config.hyper_context ?? false;
    if (!Array.isArray(slices) || ![...slices, z, f, width].every((n) => Number.isInteger(n) && n > 0) || typeof context !== 'boolean') {
      throw new ModelError('the configuration of the weights is none');
    }
    this.kernel = kernel;
    this.slices = slices;
    this.hyperChannels = z;
    this.features = f;
    /** Channels of the latents. */
    this.channels = slices.reduce((sum, n) => sum + n, 0);
    /** @param {string} name @param {...(number | null)} shape */
    const get = (name, ...shape) => {
      const values = integers(weights, name, shape, name in LONG || name.endsWith('.bias') ? 'int32' : 'int16');
      const [low, high] = LONG[name] ?? [-Infinity, Infinity];
      for (const n of values) {
        if (n < low || n > high) throw new ModelError(`tensor twin.${name} of the weights has a value of ${n}; they lie between ${low} and ${high}`);
      }
      return values;
    };
    /** @param {string} name @param {number} inputs @param {number} outputs */
    const layer = (name, inputs, outputs) => {
      if (inputs >= LARGEST_SUM) throw new ModelError(`layer ${name} of the weights has ${inputs} inputs; fewer than ${LARGEST_SUM} keep its sums exact`);
      return kernel.layer(get(`${name}.weight`, outputs, inputs), get(`${name}.bias`, outputs), inputs, outputs);
    };
    this.zMean = get('z_mean', QUALITIES, z);
    this.zScale = get('z_scale', QUALITIES, z);
    this.zCount = get('z_count', CELL ** 2, z);
    this.precisionReciprocal = get('precision_reciprocal', CELL ** 2);
    /** What predicts hyper-latents from those of the cells around; null where they are on their own. */
    this.hyperContext = context
      ? { gain: get('z_gain', HYPER_CONTEXTS, z), seen: get('z_seen', HYPER_CONTEXTS, z), precision: get('precision', CELL ** 2) }
      : null;
    this.featuresQuality = get('features_quality', QUALITIES, f);
    this.position = get('position', CELL ** 2, f);
    this.reference = get('reference', QUALITIES, this.channels);
    this.referenceReciprocal = get('reference_reciprocal', QUALITIES, this.channels);
    this.log2Reference = get('log2_reference', QUALITIES, this.channels);
    this.features1 = layer('features1', z, f);
    this.features2 = layer('features2', f, f);
    let start = 0;
    this.nets = slices.map((size, k) => {
      const inputs = f + start + 8 + (k < 2 ? 8 * size : size) + (k > 0 ? 8 * slices[0] : 0);
      start += size;
      const name = `slices.${k}.layer`;
      return [layer(`${name}1`, inputs, width), layer(`${name}2`, width, width), layer(`${name}3`, width, 2 * size)];
    });
    this.support = get('tables.support', CLASSES);
    const { starts, sums } = sumTables(this.support, get('tables.frequencies', null));
    /** Where each class starts in `sums`. */
    this.starts = starts;
    this.sums = sums;
    const widest = Math.max(...[this.features1, this.features2, ...this.nets.flat()].map((l) => Math.max(l.inputs, l.outputs)));
    this.scratch = [kernel.allocate(2 * CHUNK * widest), kernel.allocate(2 * CHUNK * widest)];
  }

  /** @param {import('./weights.js').Weights} weights @param {{ plain?: boolean }} [options] see `Kernel.make` */
  static async make(weights, options) {
    return new Twin(weights, await Kernel.make(options));
  }

  /**
   * The latents of a group.
   * @param {Uint8Array} data its substream
   * @param {Int32Array} blocks raster indices of its blocks, ascending
   * @param {number} columns blocks in a row of the picture
   * @param {number} quality 1 to 100
   * @returns {Int32Array} [blocks, channels], 6 fractional bits
   * @throws {DamagedSegment} no encoder could have written the substream
   */
  decode(data, blocks, columns, quality) {
    const steps = this.steps(data, blocks, columns, quality);
    for (;;) {
      const { done, value } = steps.next();
      if (done) return value;
    }
  }

  /**
   * The same, step by step.
   * @param {Uint8Array} data @param {Int32Array} blocks @param {number} columns @param {number} quality
   * @returns {Generator<number, Int32Array>} how much is done, from 0 to 1; in the end the latents
   */
  *steps(data, blocks, columns, quality) {
    if (data.length && data[data.length - 1] === 0) throw new DamagedSegment('the substream ends in a zero byte, which no shortest stream does');
    try {
      return yield* new GroupDecoder(this, data, blocks, columns, quality).steps();
    } catch (error) {
      if (error instanceof InvalidStream) throw new DamagedSegment(`the substream can't be: ${error.message}`);
      throw error;
    }
  }
}

/**
 * Sums of the frequencies of all classes, one after the other.
 * @param {ArrayLike<number>} support @param {ArrayLike<number>} frequencies
 */
function sumTables(support, frequencies) {
  const starts = new Int32Array(CLASSES);
  const sums = [];
  let at = 0;
  for (let i = 0; i < CLASSES; i++) {
    starts[i] = sums.length;
    let sum = 0;
    sums.push(0);
    for (let j = 0; j < 2 * support[i] + 2; j++) {
      const frequency = frequencies[at++];
      if (frequency === undefined) throw new ModelError('the tables of the weights are shorter than their supports say');
      sums.push((sum += frequency));
    }
    if (sum !== 2 ** 24) throw new ModelError(`the table of class ${i} sums to ${sum}, not to 2^24`);
  }
  if (at !== frequencies.length) throw new ModelError('the tables of the weights are longer than their supports say');
  return { starts, sums: Int32Array.from(sums) };
}

/** Decodes one substream once. */
class GroupDecoder {
  /** @param {Twin} twin @param {Uint8Array} data @param {Int32Array} blocks @param {number} columns @param {number} quality */
  constructor(twin, data, blocks, columns, quality) {
    this.twin = twin;
    this.blocks = blocks;
    this.columns = columns;
    this.row = quality - 1;
    this.symbols = new RangeDecoder(data);
    this.features = new Int16Array(blocks.length * twin.features);
    this.latents = new Int32Array(blocks.length * twin.channels);
    /** [blocks + 1, channels] normalised; the last row, of neighbours that don't exist, stays zero. */
    this.values = new Int16Array((blocks.length + 1) * twin.channels);
    const none = blocks.length;
    /** [blocks, 8] index of each neighbour, or `none`; and of those that are earlier. */
    this.neighbours = new Int32Array(8 * none).fill(none);
    this.earlier = new Int32Array(8 * none).fill(none);
    /** @type {number[][]} blocks of each phase */
    this.phases = [[], [], []];
    this.findNeighbours();
  }

  /** Phases of the blocks, and which blocks are neighbours. */
  findNeighbours() {
    const { blocks, columns } = this;
    const at = new Map();
    blocks.forEach((block, i) => at.set(block, i));
    blocks.forEach((block, i) => {
      const row = Math.floor(block / columns);
      const column = block - row * columns;
      const phase = phaseOf(row, column);
      this.phases[phase].push(i);
      NEIGHBOURS.forEach(([dy, dx], j) => {
        if (column + dx < 0 || column + dx >= columns) return;
        const other = at.get(block + dy * columns + dx);
        if (other === undefined) return;
        this.neighbours[8 * i + j] = other;
        if (phaseOf(row + dy, column + dx) < phase) this.earlier[8 * i + j] = other;
      });
    });
  }

  *steps() {
    this.decodeHyperLatents();
    let start = 0;
    let done = 0;
    for (const [k, size] of this.twin.slices.entries()) {
      for (const tokens of this.phases) {
        if (!tokens.length) continue;
        this.decodeSlice(k, start, size, tokens);
        done += tokens.length * size;
        yield done / (this.blocks.length * this.twin.channels);
      }
      start += size;
    }
    return this.latents;
  }

  /**
   * The symbols of a step.
   * @param {Uint8Array} classes of the elements, flattened row by row
   * @returns {Int32Array}
   */
  decodeStep(classes) {
    const { support, starts, sums } = this.twin;
    const count = classes.length;
    // Sorted by class, stable.
    const places = new Int32Array(CLASSES + 1);
    for (let i = 0; i < count; i++) places[classes[i] + 1]++;
    for (let i = 0; i < CLASSES; i++) places[i + 1] += places[i];
    const order = new Int32Array(count);
    for (let i = 0; i < count; i++) order[places[classes[i]]++] = i;
    const symbols = new Int32Array(count);
    let escapes = 0;
    for (let j = 0; j < count; j++) {
      const i = order[j];
      const s = support[classes[i]];
      const symbol = this.symbols.decode(sums, starts[classes[i]], 2 * s + 2) - s;
      symbols[i] = symbol;
      if (symbol > s) escapes++;
    }
    for (let i = 0; escapes > 0; i++) {
      const s = support[classes[i]];
      if (symbols[i] <= s) continue;
      symbols[i] = this.decodeEscaped(s);
      escapes--;
    }
    return symbols;
  }

  /** @param {number} support */
  decodeEscaped(support) {
    const negative = this.symbols.decodeBinary(HALF);
    let ones = 0;
    while (this.symbols.decodeBinary(HALF)) {
      if (++ones > MAX_ONES) throw new InvalidStream(`an escaped symbol starts with more than ${MAX_ONES} ones`);
    }
    let excess = 1;
    for (let i = 0; i < ones; i++) excess = 2 * excess + this.symbols.decodeBinary(HALF);
    return negative ? -(support + excess) : support + excess;
  }

  decodeHyperLatents() {
    const { twin, blocks, columns, row } = this;
    const { hyperChannels: channels, features: width, kernel } = twin;
    const cellColumns = Math.ceil(columns / CELL);
    /** @type {Map<number, number[]>} */
    const cells = new Map();
    const positions = new Uint8Array(blocks.length);
    blocks.forEach((block, i) => {
      const y = Math.floor(block / columns);
      const x = block - y * columns;
      const cell = Math.floor(y / CELL) * cellColumns + Math.floor(x / CELL);
      positions[i] = CELL * (y % CELL) + (x % CELL);
      const members = cells.get(cell);
      if (members) members.push(i);
      else cells.set(cell, [i]);
    });
    const ordered = [...cells].sort(([a], [b]) => a - b);
    const pairs = ordered.map(([, members]) => members);
    const latents = this.decodePairs(ordered, cellColumns);
    const [x, y] = twin.scratch;
    const numbers = kernel.numbers();
    const { inputs } = twin.features1;
    for (let first = 0; first < pairs.length; first += CHUNK) {
      const some = pairs.slice(first, first + CHUNK);
      numbers.fill(0, x / 2, x / 2 + some.length * inputs);
      some.forEach((members, i) => {
        const reciprocal = twin.precisionReciprocal[members.length - 1];
        for (let c = 0; c < channels; c++) {
          numbers[x / 2 + i * inputs + c] = clamp(shift(latents[(first + i) * channels + c] * reciprocal, 8));
        }
      });
      kernel.run(twin.features1, x, y, some.length, true);
      kernel.run(twin.features2, y, x, some.length, false);
      some.forEach((members, i) => {
        for (const block of members) {
          for (let c = 0; c < width; c++) {
            const sum =
              numbers[x / 2 + i * twin.features2.outputs + c] +
              twin.featuresQuality[row * width + c] +
              twin.position[positions[block] * width + c];
            this.features[block * width + c] = Math.min(Math.max(sum, 0), LIMIT);
          }
        }
      });
    }
  }

  /**
   * The hyper-latents of all pairs, [pairs, channels], 6 fractional bits.
   * @param {[number, number[]][]} pairs cell and members of each, by cell @param {number} cellColumns cells in a row
   */
  decodePairs(pairs, cellColumns) {
    const { twin, row } = this;
    const { hyperChannels: channels, hyperContext: context } = twin;
    const latents = new Float64Array(pairs.length * channels);
    const index = new Map(pairs.map(([cell], p) => [cell, p]));
    /** Row and column of a pair's cell. @param {number} p @returns {[number, number]} */
    const place = (p) => [Math.floor(pairs[p][0] / cellColumns), pairs[p][0] % cellColumns];
    for (let phase = 0; phase < (context ? 3 : 1); phase++) {
      const step = [...pairs.keys()].filter((p) => !context || phaseOf(...place(p)) === phase);
      if (!step.length) continue;
      const means = new Float64Array(step.length * channels);
      const classes = new Uint8Array(step.length * channels);
      step.forEach((p, i) => {
        const [y, x] = place(p);
        const count = pairs[p][1].length;
        /** @type {number[]} */
        const earlier = [];
        for (const [dy, dx] of context ? NEIGHBOURS : []) {
          if (x + dx < 0 || x + dx >= cellColumns || y + dy < 0 || phaseOf(y + dy, x + dx) >= phase) continue;
          const other = index.get((y + dy) * cellColumns + x + dx);
          if (other !== undefined) earlier.push(other);
        }
        const kind = earlier.length ? 4 * (phase - 1) + earlier.length : 0;
        for (let c = 0; c < channels; c++) {
          const mean = twin.zMean[row * channels + c];
          let scale = twin.zScale[row * channels + c] + twin.zCount[(count - 1) * channels + c];
          let predicted = 0;
          if (context) {
            for (const other of earlier) {
              const reciprocal = twin.precisionReciprocal[pairs[other][1].length - 1];
              predicted += clamp(shift((latents[other * channels + c] - mean) * reciprocal, 12));
            }
            predicted = shift(shift(predicted * context.gain[kind * channels + c], 12) * context.precision[count - 1], 12);
            scale += context.seen[kind * channels + c];
          }
          means[i * channels + c] = mean + predicted;
          classes[i * channels + c] = scaleClass(scale);
        }
      });
      const symbols = this.decodeStep(classes);
      step.forEach((p, i) => {
        for (let c = 0; c < channels; c++) latents[p * channels + c] = 64 * symbols[i * channels + c] + means[i * channels + c];
      });
    }
    return latents;
  }

  /** @param {number} k @param {number} start first channel of the slice @param {number} size channels @param {number[]} tokens */
  decodeSlice(k, start, size, tokens) {
    const { twin, row } = this;
    const { kernel, channels } = twin;
    const [layer1, layer2, layer3] = twin.nets[k];
    const [x, y] = twin.scratch;
    const numbers = kernel.numbers();
    const means = new Float64Array(tokens.length * size);
    const classes = new Uint8Array(tokens.length * size);
    const at = row * channels + start;
    for (let first = 0; first < tokens.length; first += CHUNK) {
      const some = tokens.slice(first, first + CHUNK);
      some.forEach((token, i) => this.writeContext(k, start, size, token, numbers, x / 2 + i * layer1.inputs, layer1.inputs));
      kernel.run(layer1, x, y, some.length, true);
      kernel.run(layer2, y, x, some.length, true);
      kernel.run(layer3, x, y, some.length, false);
      for (let i = 0; i < some.length; i++) {
        const from = y / 2 + i * layer3.outputs;
        const to = (first + i) * size;
        for (let c = 0; c < size; c++) {
          means[to + c] = shift(numbers[from + c] * twin.reference[at + c], 12);
          classes[to + c] = scaleClass(numbers[from + size + c] + twin.log2Reference[at + c]);
        }
      }
    }
    const symbols = this.decodeStep(classes);
    for (let i = 0; i < tokens.length; i++) {
      const to = tokens[i] * channels + start;
      for (let c = 0; c < size; c++) {
        const latent = 64 * symbols[i * size + c] + means[i * size + c];
        this.latents[to + c] = latent;
        this.values[to + c] = clamp(shift(latent * twin.referenceReciprocal[at + c], 12));
      }
    }
  }

  /**
   * The input of slice k's net for a block.
   * @param {number} k @param {number} start @param {number} size @param {number} token
   * @param {Int16Array} out @param {number} at where it goes @param {number} inputs length, filled up with zeros
   */
  writeContext(k, start, size, token, out, at, inputs) {
    const { values, earlier, neighbours } = this;
    const { channels, features: width, slices } = this.twin;
    const none = this.blocks.length;
    const end = at + inputs;
    for (let c = 0; c < width; c++) out[at++] = this.features[token * width + c];
    const own = token * channels;
    for (let c = 0; c < start; c++) out[at++] = values[own + c];
    for (let j = 0; j < 8; j++) out[at++] = earlier[8 * token + j] < none ? 1024 : 0;
    if (k < 2) {
      for (let j = 0; j < 8; j++) {
        const from = earlier[8 * token + j] * channels + start;
        for (let c = 0; c < size; c++) out[at++] = values[from + c];
      }
    } else {
      for (let c = 0; c < size; c++) {
        let sum = 0;
        for (let j = 0; j < 8; j++) sum += Math.abs(values[earlier[8 * token + j] * channels + start + c]);
        out[at++] = Math.min((sum + 2) >> 2, LIMIT);
      }
    }
    if (k > 0) {
      for (let j = 0; j < 8; j++) {
        const from = neighbours[8 * token + j] * channels;
        for (let c = 0; c < slices[0]; c++) out[at++] = values[from + c];
      }
    }
    while (at < end) out[at++] = 0;
  }
}

/** @param {number} scale log2 with 10 fractional bits */
function scaleClass(scale) {
  return Math.min(Math.max((scale + 3328 + 64) >> 7, 0), CLASSES - 1);
}

