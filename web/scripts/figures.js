/** Prints sizes and times of the viewer, with browser and machine: `make web-figures`. */

import { readFile, readdir } from 'node:fs/promises';
import { cpus, loadavg } from 'node:os';
import { gzipSync } from 'node:zlib';
import { readHead } from '../src/head.js';
import { bytes } from '../test/cases.js';
import { launch, measured, settled, withPage } from '../test/page.js';

const RUNS = 5;
const built = new URL('../../src/ssic/web/', import.meta.url);

/** @param {string} what @param {string} value @param {string} [limit] */
const print = (what, value, limit = '') => console.log(`${what.padEnd(58)} ${value.padStart(18)}   ${limit}`);
/** The best, and the median: other work on the machine adds to both, least to the best. @param {number[]} values in milliseconds */
function seconds(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return `${(sorted[0] / 1000).toFixed(3)} s (${(sorted[values.length >> 1] / 1000).toFixed(3)})`;
}

let compressed = 0;
/** @type {Record<string, number>} */
const wasm = {};
for (const name of await readdir(built)) {
  const { length } = gzipSync(await readFile(new URL(name, built)), { level: 9 });
  if (name.endsWith('.wasm')) wasm[name] = length;
  else if (name !== 'LICENSES.txt') compressed += length;
}

const browser = await launch();
const head = readHead(bytes('large.ssic'));
const tenth = [...head.groups].sort((a, b) => Math.abs(a.blocks / head.mask.length - 0.1) - Math.abs(b.blocks / head.mask.length - 0.1))[0];
/** @type {Record<string, number[]>} */
const times = { outline: [], one: [], oneLatents: [], all: [], allLatents: [] };
let threads = 0;
await withPage(browser, 'large.ssic', 'figures', async (page) => {
  const first = await measured(page);
  times.outline.push(first.outline - first.head);
  await page.waitForFunction(() => /** @type {any} */ (globalThis).ssicMeasured.threads, null, { timeout: 120000 });
  ({ threads } = await measured(page));
  // The first run of anything warms up caches and compilers; it is not counted.
  for (let i = 0; i <= RUNS; i++) {
    await page.click(`#groups button[data-id="${tenth.id}"]`);
    await settled(page);
    const one = (await measured(page)).decode;
    await page.click('#nothing');
    await page.click('#everything');
    await settled(page);
    const all = (await measured(page)).decode;
    await page.click('#nothing');
    if (i === 0) continue;
    times.one.push(one.total);
    times.oneLatents.push(one.latents);
    times.all.push(all.total);
    times.allLatents.push(all.latents);
  }
});
console.log(`Chromium ${browser.version()}, ${threads} threads; ${cpus().length} cores, ${cpus()[0].model}; load ${loadavg()[0].toFixed(1)}`);
console.log(`${head.width}x${head.height}, ${head.groups.length} groups; best (and median) of ${RUNS} runs, from the click to the painted picture\n`);
print('page and library, compressed, without WebAssembly and model', `${(compressed / 1000).toFixed(0)} kB`, 'at most 150 kB');
for (const [name, length] of Object.entries(wasm)) print(`${name}, compressed`, `${(length / 1e6).toFixed(1)} MB`);
print('outlines, after the head has come', seconds(times.outline), 'at most 0.2 s');
print(`one group, ${Math.round((100 * tenth.blocks) / head.mask.length)} % of the blocks`, seconds(times.one), 'at most 0.4 s (10 %)');
print('  of these, range decoder and integer twin', seconds(times.oneLatents));
print('everything', seconds(times.all), 'at most 1.5 s');
print('  of these, range decoder and integer twin', seconds(times.allLatents), 'at most 0.3 s');
await browser.close();
