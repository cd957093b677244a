/**
 * Layers of the integer twin: in WebAssembly, where 16-bit products are eight to an instruction, or in plain JavaScript,
 * where doubles hold the integers exactly (sums stay below 2^43). Both give the same integers.
 */

import { KERNEL } from './kernel.wasm.js';

const PAGE = 65536;
/** The clamp of all values. */
export const LIMIT = 32736;

/** @param {number} n @param {number} multiple */
export const roundUp = (n, multiple) => Math.ceil(n / multiple) * multiple;

/**
 * A layer's weights in the kernel's memory, filled up with zeros.
 * @typedef {object} Layer
 * @property {number} weight @property {number} bias offsets in bytes
 * @property {number} inputs multiple of 8 @property {number} outputs multiple of 8
 */

/** Memory for layers and lists, and the product. */
export class Kernel {
  /** Use `Kernel.make`. @param {WebAssembly.Memory} memory @param {Function | null} product */
  constructor(memory, product) {
    this.memory = memory;
    this.product = product;
    this.end = 16;
  }

  /** @param {{ plain?: boolean }} [options] `plain`: without WebAssembly */
  static async make({ plain = false } = {}) {
    const memory = new WebAssembly.Memory({ initial: 1 });
    if (plain) return new Kernel(memory, null);
    const code = Uint8Array.from(atob(KERNEL), (character) => character.charCodeAt(0));
    const { instance } = await WebAssembly.instantiate(code, { env: { memory } });
    return new Kernel(memory, /** @type {Function} */ (instance.exports.layer));
  }

  /** Offset of so many new bytes, all zero. @param {number} bytes */
  allocate(bytes) {
    const start = this.end;
    this.end = roundUp(start + bytes, 16);
    const missing = this.end - this.memory.buffer.byteLength;
    if (missing > 0) this.memory.grow(Math.ceil(missing / PAGE));
    return start;
  }

  /** The memory as 16-bit numbers; a new view is needed after each `allocate`. */
  numbers() {
    return new Int16Array(this.memory.buffer);
  }

  /**
   * @param {ArrayLike<number>} weight [outputs, inputs] @param {ArrayLike<number>} bias [outputs]
   * @param {number} inputs @param {number} outputs
   * @returns {Layer}
   */
  layer(weight, bias, inputs, outputs) {
    const padded = { inputs: roundUp(inputs, 8), outputs: roundUp(outputs, 8) };
    const at = { weight: this.allocate(2 * padded.inputs * padded.outputs), bias: this.allocate(4 * padded.outputs) };
    const numbers = this.numbers();
    for (let o = 0; o < outputs; o++) {
      for (let i = 0; i < inputs; i++) numbers[at.weight / 2 + o * padded.inputs + i] = weight[o * inputs + i];
    }
    new Int32Array(this.memory.buffer).set(Array.from(bias), at.bias / 4);
    return { ...at, ...padded };
  }

  /**
   * y = clamp((weight x + bias) >> 12) for each of n rows.
   * @param {Layer} layer
   * @param {number} x offset of [n, layer.inputs] numbers @param {number} y offset of [n, layer.outputs]
   * @param {number} n @param {boolean} relu whether negative results become 0
   */
  run(layer, x, y, n, relu) {
    const low = relu ? 0 : -LIMIT;
    const { weight, bias, inputs, outputs } = layer;
    if (this.product) {
      this.product(x, weight, bias, y, n, inputs, outputs, low);
      return;
    }
    const numbers = this.numbers();
    const biases = new Int32Array(this.memory.buffer);
    for (let o = 0; o < outputs; o++) {
      const w = weight / 2 + o * inputs;
      for (let t = 0; t < n; t++) {
        const row = x / 2 + t * inputs;
        let sum = biases[bias / 4 + o] + 2048;
        for (let i = 0; i < inputs; i++) sum += numbers[w + i] * numbers[row + i];
        numbers[y / 2 + t * outputs + o] = Math.min(Math.max(Math.floor(sum / 4096), low), LIMIT);
      }
    }
  }
}
