/** Assembles src/kernel.wat into src/kernel.wasm.js. `node scripts/kernel.js` writes it; `--check` compares. */

import { readFile, writeFile } from 'node:fs/promises';
import wabt from 'wabt';

const source = new URL('../src/kernel.wat', import.meta.url);
const target = new URL('../src/kernel.wasm.js', import.meta.url);

const module = (await wabt()).parseWat('kernel.wat', await readFile(source, 'utf8'), { simd: true });
const { buffer } = module.toBinary({});
const text = `/** src/kernel.wat, assembled by scripts/kernel.js; in base64. */
export const KERNEL =
  '${Buffer.from(buffer).toString('base64')}';
`;
if (process.argv.includes('--check')) {
  if ((await readFile(target, 'utf8')) !== text) {
    console.error('src/kernel.wasm.js is not src/kernel.wat: run node scripts/kernel.js');
    process.exit(1);
  }
} else {
  await writeFile(target, text);
}
