/** Groups to pixels. */

import { hex } from './bytes.js';
import { DamagedSegment, LimitExceeded, SsicError, UnknownModel } from './errors.js';
import { BLOCK } from './head.js';
import { BYTES_PER_PIXEL } from './limits.js';
import { blocksOf, paintBlocks, synthesisInputs } from './plan.js';
import { Twin } from './twin.js';
import { Synthesis } from './synthesis.js';

/** @typedef {import('./file.js').SsicFile} SsicFile */

/**
 * @typedef {object} Decoded
 * @property {Uint8ClampedArray<ArrayBuffer>} rgba [height * width * 4]; alpha is 255 where a group was decoded, else all is 0
 * @property {number[]} shown ids of the groups that are in it
 * @property {Map<number, SsicError>} missing why the others are not
 * @property {{ fetch: number, latents: number, synthesis: number }} milliseconds that each part took
 */

/** A model at work. */
export class Decoder {
  /** Use `Decoder.make`. @param {import('./weights.js').Weights} weights @param {Twin} twin @param {Synthesis} synthesis */
  constructor(weights, twin, synthesis) {
    this.weights = weights;
    this.twin = twin;
    this.synthesis = synthesis;
  }

  /** @param {import('./weights.js').Weights} weights @param {Parameters<typeof Synthesis.make>[1]} [options] */
  static async make(weights, options) {
    return new Decoder(weights, await Twin.make(weights), await Synthesis.make(weights, options));
  }

  /**
   * Latents of groups, each from its own substream: a damaged one costs itself only.
   * @param {SsicFile} file @param {Map<number, Uint8Array | SsicError>} substreams
   * @throws {UnknownModel} there is something to decode, and it was made with another model
   */
  latents(file, substreams) {
    const { head } = file;
    const any = [...substreams.values()].some((substream) => substream instanceof Uint8Array);
    if (any && hex(head.modelId) !== hex(this.weights.id)) {
      throw new UnknownModel(`the file was made with model ${hex(head.modelId)}; the weights are model ${hex(this.weights.id)}`);
    }
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
        found.set(id, { blocks, latents: this.twin.decode(substream, blocks, head.columns, file.group(id).quality) });
      } catch (error) {
        if (!(error instanceof DamagedSegment)) throw error;
        missing.set(id, error);
      }
    }
    return { found, missing };
  }

  /**
   * Fetches and decodes groups; only their windows are computed.
   * @param {SsicFile} file @param {number[]} ids
   * @returns {Promise<Decoded>}
   * @throws {LimitExceeded} it would take more memory than the limits allow
   */
  async decode(file, ids) {
    const pixels = ids.reduce((sum, id) => sum + file.group(id).blocks, 0) * BLOCK ** 2;
    const { maxMemory } = file.limits;
    if (pixels * BYTES_PER_PIXEL > maxMemory) {
      throw new LimitExceeded(`decoding ${pixels} pixels takes about ${pixels * BYTES_PER_PIXEL} bytes; the limit is ${maxMemory}`);
    }
    const started = performance.now();
    const substreams = await file.substreams(ids);
    const fetched = performance.now();
    const { head } = file;
    const { found, missing } = this.latents(file, substreams);
    const decoded = performance.now();
    const rgba = new Uint8ClampedArray(head.width * head.height * 4);
    if (found.size) {
      const blocks = blocksOf(head.mask, new Set(found.keys()));
      const { inputs, filled } = synthesisInputs(
        head.mask, head.rows, head.columns, blocks, (id) => file.group(id).quality, Boolean(this.weights.config.local),
      ); // prettier-ignore
      const { channels } = this.twin;
      const latents = new Float32Array(filled * channels);
      const next = new Map([...found.keys()].map((id) => [id, 0]));
      blocks.forEach((block, i) => {
        const id = head.mask[block];
        const at = /** @type {number} */ (next.get(id));
        next.set(id, at + 1);
        const own = /** @type {{ latents: Int32Array }} */ (found.get(id)).latents;
        for (let c = 0; c < channels; c++) latents[i * channels + c] = own[at * channels + c] / 64;
      });
      const pixels = await this.synthesis.run(latents, channels, inputs);
      paintBlocks(pixels, blocks, head.columns, head.width, head.height, rgba);
    }
    const ended = performance.now();
    const milliseconds = { fetch: fetched - started, latents: decoded - fetched, synthesis: ended - decoded };
    return { rgba, shown: [...found.keys()], missing, milliseconds };
  }
}
