/** What a group may be called, and what it is called where nobody says. */

// Text that a page or a terminal would obey instead of showing, and what makes two names look alike; and the comma.
const UNSAFE = /[\x00-\x1f,\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]/u;
const NUMBERED = /^(.*[^ ]) [0-9]+$/su;

/** @param {number} id */
export const defaultName = (id) => (id === 0 ? 'background' : `group ${id}`);

/** A name without its number: "person" for "person 2". @param {string} name */
export const classOf = (name) => NUMBERED.exec(name)?.[1] ?? name;

/** Why `text` can't be a name or class, or null if it can. @param {string} text */
export function textFault(text) {
  const found = UNSAFE.exec(text);
  if (found) return found[0] === ',' ? 'has a comma' : 'has control or invisible characters';
  if (!text || text.startsWith(' ') || text.endsWith(' ')) return 'is empty, or starts or ends with a space';
  return null;
}
