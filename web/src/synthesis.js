/** From latents to pixels: the layers of synthesis in ONNX Runtime, in bands of rows. Floats decide pixels only. */

import { feedPiece, synthesisLayers, through } from './bands.js';
import { ModelError } from './errors.js';
import { cutPieces, filled } from './plan.js';

/** @typedef {import('./bands.js').Band} Band @typedef {import('./plan.js').BlockList} BlockList */

/** Blocks that go into the first layer at a time: memory goes with it, and how soon a large picture begins to show. */
const BAND = 2000;
/** Windows of a piece. */
const WINDOWS = 128;
/** Blocks of a piece of a layer of single blocks: as many as windows of the fine level hold. */
const BLOCKS = 16 * WINDOWS;

/**
 * What one call is about.
 * @typedef {object} Work
 * @property {BlockList} list
 * @property {(id: number) => number} quality of each group
 * @property {(from: number, to: number, out: Float32Array) => void} latents writes those of some blocks, [to - from, channels]
 */

/** The synthesis transform of a model. */
export class Synthesis {
  /**
   * Use `Synthesis.make`.
   * @param {import('./runtime.js').Runtime} runtime @param {import('./bands.js').Layer[]} layers
   * @param {Map<string, any>} sessions by name of the layer @param {number} channels of latents @param {number} band
   */
  constructor(runtime, layers, sessions, channels, band) {
    this.runtime = runtime;
    this.layers = layers;
    this.sessions = sessions;
    this.channels = channels;
    this.band = band;
  }

  /**
   * @param {import('./runtime.js').Runtime} runtime @param {import('./weights.js').Weights} weights
   * @param {number} [band] blocks that are computed at a time, or the fewest that eight rows have
   * @throws {ModelError} the weights have no graphs
   * @throws {import('./errors.js').EngineError} the runtime can't use them
   */
  static async make(runtime, weights, band = BAND) {
    const layers = synthesisLayers(weights.config);
    const sessions = new Map();
    for (const { name } of layers) {
      const graph = weights.graphs.get(`synthesis.${name}`);
      if (!graph) throw new ModelError(`the weights have no graph synthesis.${name}: write them anew with ssic export-weights`);
      sessions.set(name, await runtime.session(graph, weights.data));
    }
    const channels = weights.config.slices.reduce((sum, n) => sum + n, 0);
    return new Synthesis(runtime, layers, sessions, channels, band);
  }

  /** What runs it: "wasm" or "webgpu". */
  get engine() {
    return this.runtime.engine;
  }

  /**
   * Blocks of pixels, [n, 4, 192], one part of the list after the other.
   * @param {Work} work
   * @param {import('./pauses.js').Pauses} pauses
   * @param {(share: number) => void} [reached] told how much is done
   * @returns {AsyncGenerator<{ low: number, high: number, from: number, to: number, found: Uint8ClampedArray }>} rows of blocks and
   *   blocks of the list, from and to
   * @throws {import('./errors.js').EngineError} it failed, for want of memory say
   */
  run(work, pauses, reached) {
    const all = work.list.length * this.layers.filter(({ single }) => !single).length;
    let done = 0;
    /** @param {Band} band @returns {Promise<Float32Array | Uint8ClampedArray>} */
    const compute = (band) => {
      /** @param {number} blocks */
      const step = async (blocks) => {
        done += band.layer.single ? 0 : blocks; // the rest takes next to no time
        if (all) reached?.(done / all);
        await pauses.rest();
      };
      return band.layer.single ? this.single(work, band, step) : this.block(work, band, step);
    };
    const found = through(work.list, this.layers, compute, this.band);
    return /** @type {ReturnType<Synthesis['run']>} */ (found);
  }

  /**
   * A layer of single blocks.
   * @param {Work} work @param {Band} band @param {(blocks: number) => Promise<void>} step
   */
  async single({ list, quality, latents }, { layer, from, to, tokens, first }, step) {
    const { name, side, takes, gives } = layer;
    const last = layer === this.layers[this.layers.length - 1];
    const out = last ? new Uint8ClampedArray((to - from) * gives) : new Float32Array((to - from) * gives);
    const perBlock = side * side * takes;
    for (let start = from; start < to; start += BLOCKS) {
      const end = Math.min(start + BLOCKS, to);
      const length = filled(end - start);
      const qualities = new Int32Array(length).fill(1);
      for (let i = start; i < end; i++) qualities[i - start] = quality(list.groups[i]);
      /** @type {Record<string, any>} */
      const feeds = { quality: this.integers(qualities, [length]) };
      if (takes) {
        const own = new Float32Array(length * perBlock);
        own.set(tokens.subarray((start - first) * perBlock, (end - first) * perBlock));
        feeds.tokens = this.floats(own, [length * side * side, takes]);
      }
      if (!takes || last) {
        const values = new Float32Array(length * this.channels);
        latents(start, end, values);
        feeds.latents = this.floats(values, [length, this.channels]);
      }
      const found = await this.session(name, feeds);
      out.set(found.subarray(0, (end - start) * gives), (start - from) * gives);
      await step(end - start);
    }
    return out;
  }

  /**
   * A transformer block.
   * @param {Work} work @param {Band} band @param {(blocks: number) => Promise<void>} step
   */
  async block({ list }, band, step) {
    const { layer, low, high, from, to } = band;
    const { name, side, takes, gives } = layer;
    const out = new Float32Array((to - from) * gives);
    for (const piece of cutPieces(list, layer, low, high, WINDOWS)) {
      const { tokens, own, neighbours } = feedPiece(band, piece);
      /** @type {Record<string, any>} */
      const feeds = { tokens: this.floats(tokens, [tokens.length / takes, takes]), own: this.integers(own, [own.length]) };
      if (neighbours) feeds.neighbours = this.integers(neighbours, [own.length, 8]);
      if (piece.windows) {
        const { gather, key, scatter } = piece.windows;
        feeds.gather = this.integers(gather, [gather.length / 64, 64]);
        feeds.key = this.integers(key, [key.length / 64, 64]);
        feeds.scatter = this.integers(scatter, [scatter.length]);
      }
      const found = await this.session(name, feeds);
      const start = from * side * side;
      piece.own.forEach((token, i) => out.set(found.subarray(i * takes, (i + 1) * takes), (token - start) * takes));
      await step(piece.own.length / (side * side));
    }
    return out;
  }

  /** @param {Float32Array} data @param {number[]} dims */
  floats(data, dims) {
    return new this.runtime.ort.Tensor('float32', data, dims);
  }

  /** @param {Int32Array} data @param {number[]} dims */
  integers(data, dims) {
    return new this.runtime.ort.Tensor('int32', data, dims);
  }

  /** What a layer makes of its inputs. @param {string} name @param {Record<string, any>} feeds @returns {Promise<Float32Array>} */
  session(name, feeds) {
    return this.runtime.run(this.sessions.get(name), feeds);
  }

  /** Frees the sessions. */
  async close() {
    for (const session of this.sessions.values()) await session.release();
  }
}
