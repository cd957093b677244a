/** Prints how much memory decoding a file takes, and how long: `node scripts/memory.js FILE WEIGHTS`. */

import { readFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { Decoder } from '../src/decoder.js';
import { SsicFile } from '../src/file.js';
import { decodingMemory } from '../src/limits.js';
import { BytesSource } from '../src/source.js';
import { readWeights } from '../src/weights.js';

const [picture, model] = parseArgs({ allowPositionals: true }).positionals;
const read = async (/** @type {string} */ path) => new Uint8Array(await readFile(path));
const megabytes = (/** @type {number} */ bytes) => `${(bytes / 1e6).toFixed(0)} MB`;

const decoder = await Decoder.make(await readWeights(await read(model)), { engine: 'wasm' });
const file = await SsicFile.open(new BytesSource(await read(picture)));
const { width, height } = file.head;
const before = process.memoryUsage().rss;
let peak = before;
let parts = 0;
const look = () => {
  peak = Math.max(peak, process.memoryUsage().rss);
};
const paint = () => {
  parts += 1;
};
const ids = file.groups.map(({ id }) => id);
const { missing, milliseconds } = await decoder.paint(file, ids, paint, { reached: look });
for (const error of missing.values()) throw error;
const blocks = file.groups.reduce((sum, group) => sum + group.blocks, 0);
console.log(`Node.js ${process.version}, one thread of ${cpus()[0].model}; ${width}x${height}, ${ids.length} groups, in ${parts} parts`);
console.log(`memory of the process with the model: ${megabytes(before)}; at most, while it decodes: ${megabytes(peak)}`);
console.log(`what decoding takes, by the estimate of limits.js: ${megabytes(decodingMemory(blocks * 256, 0, 0))}`);
console.log(`seconds: latents ${(milliseconds.latents / 1000).toFixed(1)}, synthesis ${(milliseconds.synthesis / 1000).toFixed(1)}`);
