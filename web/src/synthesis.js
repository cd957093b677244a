/** From latents to pixels: the synthesis graph of a model in ONNX Runtime. Floats decide pixels only. */

import { EngineError, ModelError } from './errors.js';

/** The synthesis transform of a model. */
export class Synthesis {
  /** Use `Synthesis.make`. @param {any} ort @param {any} session */
  constructor(ort, session) {
    this.ort = ort;
    this.session = session;
  }

  /**
   * @param {import('./weights.js').Weights} weights
   * @param {{ threads?: number, wasmPaths?: string | { mjs?: string, wasm?: string } }} [options] `threads`: more than one
   *   needs a page that is cross-origin isolated; `wasmPaths`: where ONNX Runtime's files lie
   * @throws {ModelError} the weights have no usable graph
   * @throws {EngineError} ONNX Runtime can't be started
   */
  static async make(weights, { threads = 1, wasmPaths } = {}) {
    const graph = weights.graphs.get('synthesis');
    if (!graph) throw new ModelError('the weights have no graph for synthesis: write them anew with ssic export-weights');
    let ort;
    try {
      ort = await import('onnxruntime-web/wasm');
      ort.env.wasm.numThreads = threads;
      if (wasmPaths) ort.env.wasm.wasmPaths = wasmPaths;
      ort.env.logLevel = 'error';
    } catch (error) {
      throw new EngineError(`ONNX Runtime can't be loaded: ${/** @type {Error} */ (error).message}`, { cause: error });
    }
    try {
      const session = await ort.InferenceSession.create(graph, {
        executionProviders: ['wasm'],
        graphOptimizationLevel: 'all',
        externalData: [{ path: 'weights', data: weights.data }],
      });
      return new Synthesis(ort, session);
    } catch (error) {
      throw new EngineError(`ONNX Runtime can't be started: ${/** @type {Error} */ (error).message}`, { cause: error });
    }
  }

  /**
   * @param {Float32Array} latents [filled, channels] @param {number} channels
   * @param {Record<string, { data: Int32Array, dims: number[] }>} inputs of `synthesisInputs`
   * @returns {Promise<Float32Array>} [filled, 4, 192] whole numbers from 0 to 255
   * @throws {EngineError} it failed, for want of memory say
   */
  async run(latents, channels, inputs) {
    const { Tensor } = this.ort;
    /** @type {Record<string, any>} */
    const feeds = { latents: new Tensor('float32', latents, [latents.length / channels, channels]) };
    // What a network does not use, its graph has no input for.
    const asked = new Set(this.session.inputNames);
    for (const [name, { data, dims }] of Object.entries(inputs)) if (asked.has(name)) feeds[name] = new Tensor('int32', data, dims);
    try {
      const { pixels } = await this.session.run(feeds);
      const data = /** @type {Float32Array} */ (pixels.data).slice();
      pixels.dispose();
      return data;
    } catch (error) {
      throw new EngineError(`ONNX Runtime failed: ${/** @type {Error} */ (error).message ?? error}`, { cause: error });
    }
  }

  /** Frees the session. */
  async close() {
    await this.session.release();
  }
}
