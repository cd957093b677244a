/**
 * Builds the viewer into src/ssic/web, where `ssic view` and the wheel take it from: bundles, the page, ONNX Runtime's files,
 * and the licences of what is bundled.
 */

import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { build } from 'esbuild';

const here = new URL('..', import.meta.url).pathname;
const target = new URL('../../src/ssic/web/', import.meta.url).pathname;
const runtime = `${here}node_modules/onnxruntime-web/`;

await rm(target, { recursive: true, force: true });
await mkdir(target, { recursive: true });
await build({
  entryPoints: [`${here}viewer/viewer.js`, `${here}viewer/worker.js`],
  outdir: target,
  bundle: true,
  // Each build of ONNX Runtime is a file of its own, fetched where it is used.
  splitting: true,
  chunkNames: '[name]-[hash]',
  format: 'esm',
  target: 'es2022',
  minify: true,
  legalComments: 'none',
  // ONNX Runtime's own loader and its WebAssembly stay files beside the page.
  conditions: ['onnxruntime-web-use-extern-wasm'],
  logLevel: 'warning',
});
for (const name of ['index.html', 'viewer.css', 'icon.svg']) await cp(`${here}viewer/${name}`, target + name);
for (const name of ['ort-wasm-simd-threaded', 'ort-wasm-simd-threaded.jspi']) {
  for (const kind of ['mjs', 'wasm']) await cp(`${runtime}dist/${name}.${kind}`, `${target}${name}.${kind}`);
}
const MIT = /** @type {const} */ (['@noble/hashes/LICENSE']);
let licences = 'The viewer contains:\n\n';
for (const name of MIT) licences += `--- ${name}\n\n${await readFile(`${here}node_modules/${name}`, 'utf8')}\n`;
licences += `--- onnxruntime-web ${JSON.parse(await readFile(`${runtime}package.json`, 'utf8')).version}, onnxruntime-common

Copyright (c) Microsoft Corporation. MIT License: https://github.com/microsoft/onnxruntime/blob/main/LICENSE
`;
await writeFile(`${target}LICENSES.txt`, licences);
