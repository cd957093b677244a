/** What make_cases.py has written, in the folder $SSIC_CASES (see `make web-test`). */

import assert from 'node:assert';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readWeights } from '../src/weights.js';

const folder = process.env.SSIC_CASES;
assert(folder, 'SSIC_CASES must name a folder that test/make_cases.py has written: run make web-test');

/** @param {string} name */
export const path = (name) => join(/** @type {string} */ (folder), name);
/** @param {string} name */
export const bytes = (name) => new Uint8Array(readFileSync(path(name)));
/** @param {string} name */
export const text = (name) => readFileSync(path(name), 'utf8');

/** @typedef {{ name?: string, offset: number, length: number, expected: any }} Changed a file in mutations.bin, and what must come of it */
/**
 * @type {{ passphrase: string, files: Record<string, any>, mutations: Changed[], sealed: Changed[], forms: Changed[],
 *   names: { refused: string, texts: [string, boolean][] } }}
 */
export const cases = JSON.parse(text('cases.json'));

const blob = bytes('mutations.bin');
/** @param {Changed} changed */
export const contentOf = ({ offset, length }) => blob.slice(offset, offset + length);

/** @param {ArrayBufferView} data */
export const sha256 = (data) => createHash('sha256').update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength)).digest('hex');

export const weights = await readWeights(bytes('model.safetensors'));

/** Numbers from 0 to 2^32 - 1 that are the same in each run. @param {number} seed */
export function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let x = state;
    x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
    x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
    return (x ^ (x >>> 16)) >>> 0;
  };
}
