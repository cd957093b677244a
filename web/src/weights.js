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
 * @typedef {object} Config
 * @property {number[]} slices @property {number} hyper_channels @property {number} hyper_features @property {number} context_width
 * @property {number[]} widths channels of the fine and the coarse level @property {number[]} depths transformer blocks of these
 * @property {boolean} [hyper_context] whether hyper-latents are predicted from those of the cells around
 * @property {boolean} [local] whether they mix neighbours
 * @property {number} [attention_every] the last of so many has windows
 */

/**
 * @typedef {object} Weights
 * @property {Uint8Array} id of the model, 8 bytes; like the hashes of floats and graphs it has been computed from what it covers,
 *   and compared
 * @property {Config} config
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
  if (metadata['ssic-model'] !== '1') throw new ModelError('the weights are a safetensors file, but no ssic model (version 1)');
  /** @type {Map<string, Tensor>} */
  const twin = new Map();
  /** @type {Map<string, Tensor>} */
  const floats = new Map();
  /** @type {Map<string, Tensor>} */
  const graphs = new Map();
  /** @type {string[]} where each float tensor lies: what graphs refer to */
  const spans = [];
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
    const tensor = { dtype, shape, bytes: content };
    if (name.startsWith('twin.')) twin.set(name.slice(5), tensor);
    else if (name.startsWith('graph.')) graphs.set(name.slice(6), tensor);
    else if (name.startsWith('float.')) {
      floats.set(name.slice(6), tensor);
      spans.push(`"${name}": [${start}, ${end - start}]`);
    } else throw new ModelError(`the weights have a tensor ${name}, which is none of a model`);
  }
  const id = await claimed(metadata, 'id', metadata.config, twin);
  const floatsId = await claimed(metadata, 'floats', 'floats', floats);
  if (graphs.size) await claimed(metadata, 'graphs', `${metadata.config}\0${hex(floatsId)}\0{${spans.sort().join(', ')}}`, graphs);
  return { id, config, twin, graphs: new Map([...graphs].map(([name, tensor]) => [name, tensor.bytes])), data };
}

/**
 * The hash that the weights claim to have, once it is seen that they have it (`ssic.model.weights`).
 * @param {Record<string, string>} metadata @param {string} what @param {string} first @param {Map<string, Tensor>} tensors
 */
async function claimed(metadata, what, first, tensors) {
  const found = await digest(first, tensors);
  if (hex(found) !== metadata[what]) {
    throw new ModelError(`the weights claim the ${what} ${metadata[what]}, and have ${hex(found)}: they were changed, or are of an earlier version`);
  }
  return found;
}

/**
 * First 8 bytes of SHA-256 over a text and, sorted by name, name, type, shape and bytes of each tensor.
 * @param {string} first @param {Map<string, Tensor>} tensors
 */
async function digest(first, tensors) {
  /** @type {Uint8Array[]} */
  const parts = [new TextEncoder().encode(first)];
  for (const name of [...tensors.keys()].sort()) {
    const { dtype, shape, bytes } = /** @type {Tensor} */ (tensors.get(name));
    // As Python writes a tuple: one entry keeps a comma.
    const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(', ')})`;
    parts.push(ascii(`\0${name}\0${dtype}\0${tuple}\0`), bytes);
  }
  return new Uint8Array(await crypto.subtle.digest('SHA-256', concat(...parts))).slice(0, 8);
}

/**
 * A tensor of the twin as numbers.
 * @param {Weights} weights @param {string} name @param {(number | null)[]} shape null: of any size
 * @param {'int16' | 'int32'} dtype
 * @returns {Int16Array | Int32Array} a copy
 */
export function integers(weights, name, shape, dtype) {
  const tensor = weights.twin.get(name);
  const fits = tensor && tensor.shape.length === shape.length && shape.every((n, i) => n === null || n === tensor.shape[i]);
  if (tensor && tensor.dtype !== dtype) throw new ModelError(`tensor twin.${name} of the weights is ${tensor.dtype}, not ${dtype}`);
  if (!fits) throw new ModelError(`the weights have no tensor twin.${name} of shape [${shape.join(', ')}]`);
  const { buffer } = tensor.bytes.slice();
  return dtype === 'int16' ? new Int16Array(buffer) : new Int32Array(buffer);
}
