/** Weights files: safetensors with the integer twin, tables, floats and graphs of a model (docs/entropy.md). */

import { ascii, concat, hex } from './bytes.js';
import { ModelError } from './errors.js';

/**
 * @typedef {object} Tensor
 * @property {string} dtype NumPy's name
 * @property {number[]} shape
 * @property {Uint8Array} bytes little-endian, row-major
 */

/**
 * @typedef {object} Weights
 * @property {Uint8Array} id of the model, 8 bytes; it has been computed from what it covers, and compared
 * @property {{ slices: number[], hyper_channels: number, hyper_features: number, context_width: number, local?: boolean }} config
 * @property {Map<string, Tensor>} twin tensors of the integer twin and its tables, without "twin."
 * @property {Map<string, Uint8Array>} graphs ONNX models by name
 * @property {Uint8Array} data the data section, to which the graphs' external data refer
 */

/** @type {Record<string, [string, number]>} */
const DTYPES = { F16: ['float16', 2], F32: ['float32', 4], I16: ['int16', 2], I32: ['int32', 4], U8: ['uint8', 1] };
const LARGEST_HEADER = 2 ** 20;

/**
 * Reads a weights file.
 * @param {Uint8Array} bytes the whole file; it is kept
 * @returns {Promise<Weights>}
 * @throws {ModelError} it is none, or contradicts itself
 */
export async function readWeights(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = bytes.length < 8 ? -1 : Number(view.getBigUint64(0, true));
  if (length < 2 || length > LARGEST_HEADER || 8 + length > bytes.length) throw new ModelError('the weights are no safetensors file');
  let header, config;
  try {
    header = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(8, 8 + length)));
    config = JSON.parse(header.__metadata__.config);
  } catch (error) {
    throw new ModelError("the header of the weights can't be read", { cause: error });
  }
  const data = bytes.subarray(8 + length);
  const { __metadata__: metadata, ...entries } = header;
  /** @type {Map<string, Tensor>} */
  const twin = new Map();
  /** @type {Map<string, Uint8Array>} */
  const graphs = new Map();
  for (const [name, entry] of Object.entries(entries)) {
    const [dtype, size] = DTYPES[entry?.dtype] ?? [];
    const [start, end] = entry?.data_offsets ?? [];
    const shape = entry?.shape;
    if (!dtype || !size || !Array.isArray(shape) || !(start >= 0 && start <= end && end <= data.length)) {
      throw new ModelError(`tensor ${name} of the weights is none`);
    }
    if (shape.reduce((/** @type {number} */ product, /** @type {number} */ n) => product * n, 1) * size !== end - start) {
      throw new ModelError(`tensor ${name} of the weights has another size than its shape says`);
    }
    const content = data.subarray(start, end);
    if (name.startsWith('twin.')) twin.set(name.slice(5), { dtype, shape, bytes: content });
    if (name.startsWith('graph.')) graphs.set(name.slice(6), content);
  }
  const id = await modelId(metadata.config, twin);
  if (hex(id) !== metadata.id) throw new ModelError(`the weights call themselves ${metadata.id}, and are ${hex(id)}: they were changed`);
  return { id, config, twin, graphs, data };
}

/** @param {string} config @param {Map<string, Tensor>} twin */
async function modelId(config, twin) {
  /** @type {Uint8Array[]} */
  const parts = [new TextEncoder().encode(config)];
  for (const name of [...twin.keys()].sort()) {
    const { dtype, shape, bytes } = /** @type {Tensor} */ (twin.get(name));
    // As Python writes a tuple: one entry keeps a comma.
    const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(', ')})`;
    parts.push(ascii(`\0${name}\0${dtype}\0${tuple}\0`), bytes);
  }
  return new Uint8Array(await crypto.subtle.digest('SHA-256', concat(...parts))).slice(0, 8);
}

/**
 * A tensor of the twin as numbers.
 * @param {Weights} weights @param {string} name @param {(number | null)[]} shape null: of any size
 * @returns {Int16Array | Int32Array} a copy
 */
export function integers(weights, name, shape) {
  const tensor = weights.twin.get(name);
  const fits = tensor && tensor.shape.length === shape.length && shape.every((n, i) => n === null || n === tensor.shape[i]);
  if (!fits) throw new ModelError(`the weights have no tensor twin.${name} of shape [${shape.join(', ')}]`);
  const { buffer } = tensor.bytes.slice();
  if (tensor.dtype === 'int16') return new Int16Array(buffer);
  if (tensor.dtype === 'int32') return new Int32Array(buffer);
  throw new ModelError(`tensor twin.${name} is ${tensor.dtype}, not int16 or int32`);
}
