/**
 * Makes src/names.table.js of the table in docs/names.md. `node scripts/names.js` writes it; `--check` compares.
 *
 * Each range is written as its distance from the end of the one before, and its length if that is not 1, in base 36: 4 kB
 * rather than 9.
 */

import { readFile, writeFile } from 'node:fs/promises';

const source = new URL('../../docs/names.md', import.meta.url);
const target = new URL('../src/names.table.js', import.meta.url);

const [, table] = (await readFile(source, 'utf8')).split('```');
let end = 0;
const words = table.trim().split(/\s+/).map((word) => {
  const [first, last = first] = word.split('-').map((digits) => parseInt(digits, 16));
  const [gap, length] = [first - end, last - first + 1];
  if (!(gap >= 0 && length >= 1)) throw new Error(`${word} is no range that comes after the one before`);
  end = last + 1;
  return gap.toString(36) + (length > 1 ? `-${length.toString(36)}` : '');
}); // prettier-ignore
const lines = [''];
for (const word of words) {
  if (lines[lines.length - 1].length + word.length > 120) lines.push('');
  lines[lines.length - 1] += `${word} `;
}
const text = `/** Code points that no name holds: the table of docs/names.md, written by scripts/names.js. */
export const REFUSED =
${lines.map((line) => `  '${line}'`).join(' +\n')};
`;
if (!process.argv.includes('--check')) await writeFile(target, text);
else if ((await readFile(target, 'utf8')) !== text) {
  console.error('src/names.table.js is not the table of docs/names.md: run node scripts/names.js');
  process.exit(1);
}
