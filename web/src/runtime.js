/** ONNX Runtime: its two builds, and what becomes of their failures. */

import { EngineError } from './errors.js';

/** What runs the graphs: WebAssembly on the processor, or WebGPU. @typedef {'wasm' | 'webgpu'} Engine */

/**
 * @typedef {object} RuntimeOptions
 * @property {number} [threads] of WebAssembly; more than one needs a page that is cross-origin isolated
 * @property {string} [wasmPaths] where ONNX Runtime's files lie: a URL that ends in a slash
 */

/** An ONNX Runtime at work. */
export class Runtime {
  /** Why the graphics card can't be used any more. @type {string | null} */
  lost = null;

  /** Use `startRuntime`. @param {any} ort the module @param {Engine} engine */
  constructor(ort, engine) {
    this.ort = ort;
    this.engine = engine;
  }

  get title() {
    return this.engine === 'webgpu' ? 'ONNX Runtime with WebGPU' : 'ONNX Runtime';
  }

  /** @param {Uint8Array} graph @param {Uint8Array} data to which it refers @throws {EngineError} it can't be used */
  async session(graph, data) {
    try {
      return await this.ort.InferenceSession.create(graph, {
        executionProviders: [this.engine],
        graphOptimizationLevel: 'all',
        // A pattern of memory is of use to lists of one length only.
        enableMemPattern: false,
        logSeverityLevel: 3, // errors
        externalData: [{ path: 'weights', data }],
      });
    } catch (error) {
      throw this.#failure("can't be started", error);
    }
  }

  /** Hears of the graphics card's loss. To be called when there is a session. */
  async watch() {
    const device = await this.ort.env.webgpu.device;
    void device.lost.then((/** @type {{ message: string }} */ { message }) => {
      this.lost = message || 'the browser does not say why';
    });
  }

  /** @param {any} session @param {Record<string, any>} feeds @returns {Promise<Float32Array>} its only output @throws {EngineError} */
  async run(session, feeds) {
    let data;
    let failure = null;
    try {
      const { [session.outputNames[0]]: output } = await session.run(feeds);
      data = output.data;
    } catch (error) {
      failure = this.#failure('failed', error);
    }
    // Whether it gives an error then, or something for pixels, is up to the kernel.
    if (this.lost !== null) throw new EngineError(`the graphics card was lost: ${this.lost}`, { cause: failure });
    if (failure) throw failure;
    return data;
  }

  /** @param {string} what @param {unknown} error */
  #failure(what, error) {
    return new EngineError(`${this.title} ${what}: ${error instanceof Error ? error.message : error}`, { cause: error });
  }
}

/**
 * Why WebGPU can't run the graphs here; null if it can.
 * @param {boolean} real not as the processor in disguise, which takes a hundred times as long
 * @returns {Promise<string | null>}
 */
export async function gpuFault(real) {
  const { gpu } = /** @type {any} */ (globalThis.navigator ?? {});
  if (!gpu) return 'this browser has no WebGPU';
  if (!('Suspending' in WebAssembly)) return "this browser's WebAssembly can't wait for WebGPU (it lacks JavaScript Promise Integration)";
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' }).catch(() => null);
  if (!adapter) return 'WebGPU finds no graphics card here';
  if (real && adapter.info.isFallbackAdapter) return 'WebGPU is emulated by the processor here';
  return null;
}

/** @param {Engine} engine @param {RuntimeOptions} options @throws {EngineError} it can't be loaded */
export async function startRuntime(engine, { threads = 1, wasmPaths }) {
  try {
    const ort = engine === 'webgpu' ? await import('onnxruntime-web/jspi') : await import('onnxruntime-web/wasm');
    ort.env.wasm.numThreads = threads;
    if (wasmPaths) ort.env.wasm.wasmPaths = wasmPaths;
    if (engine === 'webgpu') ort.env.webgpu.powerPreference = 'high-performance';
    ort.env.logLevel = 'error';
    return new Runtime(ort, engine);
  } catch (error) {
    throw new EngineError(`ONNX Runtime can't be loaded: ${/** @type {Error} */ (error).message}`, { cause: error });
  }
}
