/** What a group may be called (docs/names.md), and what it is called where nobody says. */

import { REFUSED } from './names.table.js';

const MAX_TEXT_BYTES = 255;

/** Matches one code point of the table: gaps and lengths of ranges, in base 36. @param {string} table */
function pattern(table) {
  let at = 0;
  const ranges = table.trim().split(' ').map((word) => {
    const [gap, length = 1] = word.split('-').map((digits) => parseInt(digits, 36));
    const first = at + gap;
    at = first + length;
    return `\\u{${first.toString(16)}}-\\u{${(at - 1).toString(16)}}`;
  }); // prettier-ignore
  return new RegExp(`[${ranges.join('')}]`, 'u');
}

const UNSAFE = pattern(REFUSED);
const NUMBERED = /^(.*[^ ]) [0-9]+$/su;
const HIDDEN = /^sealed( ([2-9]|[1-9][0-9]{1,2}))?$/;

/** @param {number} id */
export const defaultName = (id) => (id === 0 ? 'background' : `group ${id}`);

/** A name without its number: "person" for "person 2". @param {string} name */
export const classOf = (name) => NUMBERED.exec(name)?.[1] ?? name;

/** Whether a hidden entry may be called so: "sealed", "sealed 2", ..., "sealed 999". @param {string} name */
export const isHiddenName = (name) => HIDDEN.test(name);

/** Why `text` can't be a name or class, or null if it can. @param {string} text */
export function textFault(text) {
  const found = UNSAFE.exec(text);
  if (found) {
    const code = /** @type {number} */ (found[0].codePointAt(0)).toString(16).toUpperCase().padStart(4, '0');
    return code === '002C' ? 'has a comma' : `has a control, invisible or unassigned character, U+${code}`;
  }
  if (!text || text.startsWith(' ') || text.endsWith(' ')) return 'is empty, or starts or ends with a space';
  if (text.includes('  ')) return 'has several spaces in a row';
  if (new TextEncoder().encode(text).length > MAX_TEXT_BYTES) return `has more than ${MAX_TEXT_BYTES} bytes`;
  // Later versions of Unicode change nothing about the characters that are left.
  if (text.normalize('NFC') !== text) return "is not in Unicode's normalization form C: it could be taken for another that looks the same";
  return null;
}
