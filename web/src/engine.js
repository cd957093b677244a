/** Which runtime runs synthesis: WebGPU where it can and gives the right pixels, WebAssembly elsewhere. */

import { EngineError, InvalidInput } from './errors.js';
import { Pauses } from './pauses.js';
import { BLOCK_VALUES, BlockList } from './plan.js';
import { Runtime, gpuFault, startRuntime } from './runtime.js';
import { Synthesis } from './synthesis.js';

/** @typedef {import('./weights.js').Weights} Weights */

/**
 * @typedef {import('./runtime.js').RuntimeOptions & { engine?: 'auto' | import('./runtime.js').Engine, band?: number }} EngineOptions
 *   `engine`: "webgpu" or "wasm" and nothing else, or "auto": WebGPU if there is a graphics card for it, it runs the model, and it
 *   gives the pixels that WebAssembly gives for a small list of blocks, and WebAssembly if not; `band`: blocks that are computed
 *   at a time, or the fewest that eight rows have
 */

/**
 * @param {Weights} weights @param {EngineOptions} [options]
 * @returns {Promise<{ synthesis: Synthesis, note: string | null }>} `note`: why it is not WebGPU, if that was not asked for
 * @throws {InvalidInput} there is no such engine
 * @throws {EngineError} ONNX Runtime can't be started; or it is to be WebGPU, which can't be used
 */
export async function makeSynthesis(weights, { engine = 'auto', band, ...options } = {}) {
  if (!['auto', 'wasm', 'webgpu'].includes(engine)) throw new InvalidInput(`there is no engine ${engine}: auto, webgpu or wasm`);
  let note = null;
  if (engine !== 'wasm') {
    try {
      const fault = await gpuFault(engine === 'auto');
      if (fault) throw new EngineError(fault);
      return { synthesis: await onGpu(weights, options, band), note };
    } catch (error) {
      if (engine === 'webgpu' || !(error instanceof EngineError)) throw error;
      note = error.message;
    }
  }
  return { synthesis: await Synthesis.make(await startRuntime('wasm', options), weights, band), note };
}

/**
 * Synthesis in WebGPU, which was held against WebAssembly.
 * @param {Weights} weights @param {import('./runtime.js').RuntimeOptions} options @param {number} [band]
 */
async function onGpu(weights, options, band) {
  const runtime = await startRuntime('webgpu', options);
  const synthesis = await Synthesis.make(runtime, weights, band);
  await runtime.watch();
  // This build of ONNX Runtime has the processor's kernels, too.
  const reference = await Synthesis.make(new Runtime(runtime.ort, 'wasm'), weights);
  try {
    const [expected, found] = [await probe(reference), await probe(synthesis)];
    const apart = found.reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i])), 0);
    if (apart > 1) throw new EngineError(`WebGPU computes wrongly here: pixels are ${apart} levels from those of WebAssembly`);
  } catch (error) {
    await synthesis.close().catch(() => {}); // what can't be freed goes with the page
    throw error;
  } finally {
    await reference.close();
  }
  return synthesis;
}

const ROWS = 9;
const COLUMNS = 11;

/** Pixels of a few blocks: two groups, neither of which fills its windows, and gaps. @param {Synthesis} synthesis */
async function probe(synthesis) {
  const mask = Uint8Array.from({ length: ROWS * COLUMNS }, (_, i) => Math.floor(i / 7) % 3);
  const list = new BlockList(mask, ROWS, COLUMNS, new Set([0, 1]));
  const { channels } = synthesis;
  /** Latents of a picture have large values in the first channels, few in the last. @param {number} from @param {number} to @param {Float32Array} out */
  const latents = (from, to, out) => {
    for (let i = from; i < to; i++) {
      for (let c = 0; c < channels; c++) {
        const noise = ((i * 7919 + c * 104729) % 257) / 128 - 1;
        out[(i - from) * channels + c] = Math.round((noise * 512) / (1 + c / 4)) / 64;
      }
    }
  };
  const found = new Uint8ClampedArray(list.length * BLOCK_VALUES);
  for await (const part of synthesis.run({ list, latents, quality: (id) => 30 + 40 * id }, new Pauses())) {
    found.set(part.found, part.from * BLOCK_VALUES);
  }
  return found;
}
