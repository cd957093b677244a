/** Groups to pixels. */

import { hex } from './bytes.js';
import { makeSynthesis } from './engine.js';
import { DamagedSegment, EngineError, LimitExceeded, SsicError, UnknownModel } from './errors.js';
import { BLOCK } from './head.js';
import { decodingMemory } from './limits.js';
import { Pauses } from './pauses.js';
import { BlockList, blocksOf, paintParts } from './plan.js';
import { Twin } from './twin.js';

/** @typedef {import('./file.js').SsicFile} SsicFile @typedef {import('./plan.js').Part} Part @typedef {import('./engine.js').EngineOptions} EngineOptions */

/** The share of the time of a decode that latents take, about. */
const LATENTS_SHARE = 0.25;

/** @typedef {{ fetch: number, latents: number, synthesis: number }} Milliseconds that each part took */

/**
 * @typedef {object} Outcome
 * @property {number[]} shown ids of the groups that were decoded
 * @property {Map<number, SsicError>} missing why the others were not
 * @property {Milliseconds} milliseconds
 */

/** @typedef {Outcome & { rgba: Uint8ClampedArray<ArrayBuffer> }} Decoded `rgba`: [height * width * 4] as that of `Part` */

/**
 * @typedef {object} Options
 * @property {AbortSignal} [signal] ends the work, with its reason
 * @property {(share: number) => void} [reached] told how much is done, from 0 to 1
 */

/** A model at work. */
export class Decoder {
  /** @type {EngineOptions} */ #options = {};
  /** Why it is not WebGPU that runs synthesis, if that was left open. @type {string | null} */
  note = null;

  /** Use `Decoder.make`. @param {import('./weights.js').Weights} weights @param {Twin} twin @param {import('./synthesis.js').Synthesis} synthesis */
  constructor(weights, twin, synthesis) {
    this.weights = weights;
    this.twin = twin;
    this.synthesis = synthesis;
  }

  /**
   * @param {import('./weights.js').Weights} weights @param {EngineOptions} [options]
   * @throws {EngineError} ONNX Runtime can't be started, or not with the engine that is asked for
   */
  static async make(weights, options = {}) {
    const { synthesis, note } = await makeSynthesis(weights, options);
    const decoder = new Decoder(weights, await Twin.make(weights), synthesis);
    decoder.#options = options;
    decoder.note = note;
    return decoder;
  }

  /** What runs synthesis: "webgpu" or "wasm". */
  get engine() {
    return this.synthesis.engine;
  }

  /**
   * Latents of groups, each from its own substream: a damaged one costs itself only.
   * @param {SsicFile} file @param {Map<number, Uint8Array | SsicError>} substreams @param {Options} [options]
   * @throws {UnknownModel} there is something to decode, and it was made with another model
   */
  async latents(file, substreams, { signal, reached } = {}) {
    const { head } = file;
    const clear = [...substreams].filter(([, substream]) => substream instanceof Uint8Array).map(([id]) => file.group(id).blocks);
    if (clear.length && hex(head.modelId) !== hex(this.weights.id)) {
      throw new UnknownModel(`the file was made with model ${hex(head.modelId)}; the weights are model ${hex(this.weights.id)}`);
    }
    const all = clear.reduce((sum, blocks) => sum + blocks, 0);
    const pauses = new Pauses(signal);
    let before = 0;
    /** @type {Map<number, { blocks: Int32Array, latents: Int32Array }>} */
    const found = new Map();
    /** @type {Map<number, SsicError>} */
    const missing = new Map();
    for (const [id, substream] of substreams) {
      if (!(substream instanceof Uint8Array)) {
        missing.set(id, substream);
        continue;
      }
      const blocks = blocksOf(head.mask, new Set([id]));
      try {
        const steps = this.twin.steps(substream, blocks, head.columns, file.group(id).quality);
        for (;;) {
          const { done, value } = steps.next();
          if (done) {
            found.set(id, { blocks, latents: value });
            break;
          }
          reached?.((before + value * blocks.length) / all);
          await pauses.rest();
        }
      } catch (error) {
        if (!(error instanceof DamagedSegment)) throw error;
        missing.set(id, error);
      }
      before += blocks.length;
    }
    return { found, missing };
  }

  /**
   * Fetches and decodes groups; only their windows are computed.
   * @param {SsicFile} file @param {number[]} ids @param {Options} [options]
   * @returns {Promise<Decoded>}
   * @throws {LimitExceeded} it would take more memory than the limits allow
   */
  async decode(file, ids, options) {
    const { width, height } = file.head;
    this.#checkMemory(file, ids);
    const rgba = new Uint8ClampedArray(width * height * 4);
    const outcome = await this.paint(file, ids, (part) => pasteInto(rgba, width, part), options);
    return { ...outcome, rgba };
  }

  /**
   * The same, part by part: what takes memory is what is not painted yet. Where it fails halfway, some parts were painted; where
   * WebGPU fails halfway, and was not asked for, all are painted again by WebAssembly.
   * @param {SsicFile} file @param {number[]} ids
   * @param {(part: Part) => void} paint parts do not overlap otherwise, and hold all pixels of the groups that are shown in the end
   * @param {Options} [options]
   * @returns {Promise<Outcome>}
   * @throws {LimitExceeded} it would take more memory than the limits allow
   */
  async paint(file, ids, paint, { signal, reached } = {}) {
    this.#checkMemory(file, ids);
    const started = performance.now();
    const substreams = await file.substreams(ids);
    const fetched = performance.now();
    const { found, missing } = await this.latents(file, substreams, { signal, reached: (share) => reached?.(LATENTS_SHARE * share) });
    const decoded = performance.now();
    const toGo = (/** @type {number} */ share) => reached?.(LATENTS_SHARE + (1 - LATENTS_SHARE) * share);
    try {
      await this.#synthesise(file, found, paint, new Pauses(signal), toGo);
    } catch (error) {
      if (!(error instanceof EngineError) || this.engine === 'wasm' || this.#options.engine === 'webgpu') throw error;
      this.note = error.message;
      ({ synthesis: this.synthesis } = await makeSynthesis(this.weights, { ...this.#options, engine: 'wasm' }));
      await this.#synthesise(file, found, paint, new Pauses(signal), toGo);
    }
    const ended = performance.now();
    const milliseconds = { fetch: fetched - started, latents: decoded - fetched, synthesis: ended - decoded };
    return { shown: [...found.keys()], missing, milliseconds };
  }

  /**
   * @param {SsicFile} file @param {Map<number, { latents: Int32Array }>} found latents of groups
   * @param {(part: Part) => void} paint @param {Pauses} pauses @param {(share: number) => void} reached
   */
  async #synthesise(file, found, paint, pauses, reached) {
    const { mask, rows, columns, width, height } = file.head;
    const list = new BlockList(mask, rows, columns, new Set(found.keys()));
    const { channels } = this.twin;
    /** Where each block is among those of its group. */
    const places = new Int32Array(list.length);
    const counts = new Int32Array(256);
    for (let i = 0; i < list.length; i++) places[i] = counts[list.groups[i]]++;
    /** @param {number} from @param {number} to @param {Float32Array} out */
    const latents = (from, to, out) => {
      for (let i = from; i < to; i++) {
        const own = /** @type {{ latents: Int32Array }} */ (found.get(list.groups[i])).latents;
        for (let c = 0; c < channels; c++) out[(i - from) * channels + c] = own[places[i] * channels + c] / 64;
      }
    };
    const work = { list, latents, quality: (/** @type {number} */ id) => file.group(id).quality };
    for await (const { found: values, ...rest } of this.synthesis.run(work, pauses, reached)) {
      for (const part of paintParts(values, list, rest, width, height)) paint(part);
    }
  }

  /** @param {SsicFile} file @param {number[]} ids @throws {LimitExceeded} */
  #checkMemory(file, ids) {
    const { head, limits } = file;
    const pixels = ids.reduce((sum, id) => sum + file.group(id).blocks, 0) * BLOCK ** 2;
    const need = decodingMemory(pixels, head.width, head.height);
    if (need > limits.maxMemory) {
      throw new LimitExceeded(`decoding ${pixels} pixels takes about ${need} bytes; the limit is ${limits.maxMemory}`);
    }
  }
}

/** @param {Uint8ClampedArray} rgba of a picture @param {number} width its width @param {Part} part */
function pasteInto(rgba, width, part) {
  const row = 4 * part.width;
  for (let y = 0; y < part.height; y++) rgba.set(part.rgba.subarray(y * row, (y + 1) * row), ((part.y + y) * width + part.x) * 4);
}
