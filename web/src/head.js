/** The head of a file (docs/format.md): size, model, groups, mask, and where the segments lie. */

import { BadVarint, EndOfBytes, VARINT_BYTES, crc32, hex, readUint32, readVarint } from './bytes.js';
import { CorruptHead, FormatError, LimitExceeded, NotAnSsicFile, TruncatedFile, UnsupportedVersion } from './errors.js';
import { BadZlib, TooLong, inflate } from './inflate.js';
import { LIMITS } from './limits.js';
import { decodeMask } from './mask.js';
import { InvalidStream } from './rangecoder.js';
import { classOf, defaultName, isHiddenName, textFault } from './names.js';

/** @typedef {import('./limits.js').Limits} Limits */

const MAGIC = [0xf3, 0x73, 0x69, 0x63];
const VERSION = 1;
const CRC_BYTES = 4;
const MAX_SIZE = 2 ** 32 - 1;
/** The largest step of a mask; two bits of the flags. */
const MAX_STEP = 3;
/** Pixels on a side of a block. */
export const BLOCK = 16;
/** The id, in a mask, of blocks that no group of the file owns. */
export const ABSENT = 255;
/** So many bytes of a file are always enough for `headLength`. */
export const PREFIX_BYTES = MAGIC.length + 1 + VARINT_BYTES;

const EXPLICIT_IDS = 1, EXPLICIT_ORDER = 2, HAS_CHUNKS = 4, HAS_ABSENT = 8, PLAIN = 64, SEALED = 128; // prettier-ignore
const NAME = 1, CLASS = 2, CLASS_OF_NAME = 4, SCORE = 8, ENCRYPTED = 16, SAME_QUALITY = 32, HIDDEN = 64; // prettier-ignore

/**
 * @typedef {object} Group one group as the head describes it
 * @property {number} id 0 to 254
 * @property {string} name unique in the file
 * @property {string | null} className
 * @property {number | null} score the byte of the entry: the score is this / 255
 * @property {number} quality 1 to 100
 * @property {number} blocks 16x16 blocks that it owns
 * @property {boolean} encrypted
 * @property {boolean} hidden whether it stands for groups whose entries are sealed, too
 * @property {number} offset where its segment starts in the file
 * @property {number} length bytes of its segment
 * @property {number} crc CRC-32 of its segment
 */

/**
 * @typedef {object} Head
 * @property {number} width @property {number} height pixels
 * @property {number} rows @property {number} columns blocks
 * @property {Uint8Array} modelId
 * @property {Uint8Array | null} seal
 * @property {Group[]} groups ids ascending
 * @property {number[]} order ids, in the order of the segments
 * @property {Uint8Array} mask [rows * columns] ids, or `ABSENT`
 * @property {Map<string, Uint8Array>} chunks as they are stored
 * @property {number} headBytes @property {number} maskBytes @property {number} fileBytes
 */

/**
 * Offset and length of the head body.
 * @param {Uint8Array} data @param {Limits} limits
 */
function bodySpan(data, limits) {
  const start = data.subarray(0, MAGIC.length);
  if (start.some((byte, i) => byte !== MAGIC[i])) {
    throw new NotAnSsicFile(`the file starts with ${hex(start)}, not with f3736963`);
  }
  if (data.length < MAGIC.length + 1) {
    throw new TruncatedFile(`the file ends at byte ${data.length}, inside of its first ${MAGIC.length + 1}`);
  }
  const version = data[MAGIC.length];
  if (version !== VERSION) {
    throw new UnsupportedVersion(`the file has format version ${version}; this reader knows ${VERSION}`);
  }
  try {
    const [length, offset] = readVarint(data, MAGIC.length + 1);
    if (length > limits.maxHeadBytes) {
      throw new LimitExceeded(`the head has ${length} bytes; the limit is ${limits.maxHeadBytes}`);
    }
    return { offset, length: Number(length) };
  } catch (error) {
    if (error instanceof EndOfBytes) {
      throw new TruncatedFile(`the file ends at byte ${data.length}, inside of the head's length`);
    }
    if (error instanceof BadVarint) throw new CorruptHead(`length of the head: ${error.message}`);
    throw error;
  }
}

/**
 * How many bytes of a file `readHead` needs, from its first `PREFIX_BYTES`; fewer if it is shorter.
 * @param {Uint8Array} prefix @param {Limits} [limits]
 */
export function headLength(prefix, limits = LIMITS) {
  const { offset, length } = bodySpan(prefix.subarray(0, PREFIX_BYTES), limits);
  return offset + length + CRC_BYTES;
}

/** Collects what is not in the one form that its content has. That is told of at the end: first comes what can't be read. */
class Form {
  /** @type {string | null} */ fault = null;
  /** @param {boolean} holds @param {string} otherwise */
  must(holds, otherwise) {
    if (!holds) this.fault ??= otherwise;
  }
}

/** Reads the head body front to back; every complaint says at which byte of the file it arose. */
class Cursor {
  /** @param {Uint8Array} data @param {number} offset @param {number} end */
  constructor(data, offset, end) {
    this.data = data.subarray(0, end);
    this.offset = offset;
    this.end = end;
  }
  /** @param {string} what */
  fail(what) {
    return new CorruptHead(`byte ${this.offset}: ${what}`);
  }
  /** @param {number} length @param {string} what */
  take(length, what) {
    if (length > this.end - this.offset) {
      throw this.fail(`${what} of ${length} bytes reaches beyond the head's end at byte ${this.end}`);
    }
    this.offset += length;
    return this.data.slice(this.offset - length, this.offset);
  }
  /** @param {string} what */
  byte(what) {
    return this.take(1, what)[0];
  }
  /** A varint; beyond 2^53 it is rounded, which no limit lets pass. @param {string} what */
  varint(what) {
    try {
      const [value, offset] = readVarint(this.data, this.offset);
      this.offset = offset;
      return Number(value);
    } catch (error) {
      if (error instanceof EndOfBytes) throw this.fail(`${what} reaches beyond the head's end at byte ${this.end}`);
      throw this.fail(`${what}: ${/** @type {Error} */ (error).message}`);
    }
  }
  /** @param {string} what */
  text(what) {
    const bytes = this.take(this.byte(what), what);
    let text;
    try {
      text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    } catch {
      throw this.fail(`${what} is not UTF-8`);
    }
    const fault = textFault(text);
    if (fault) throw this.fail(`${what} ${JSON.stringify(text)} ${fault}`);
    return text;
  }
}

/**
 * Reads the head of a file.
 * @param {Uint8Array} data the file, or any prefix of it that holds the head
 * @param {{ limits?: Limits, size?: number | null }} [options] `size`: of the whole file; that of `data` by default, null
 *   where it is not known
 * @returns {Head}
 * @throws {FormatError} NotAnSsicFile, UnsupportedVersion, TruncatedFile, CorruptHead, LimitExceeded as their names say;
 *   FormatError itself: there are bytes behind the last segment
 */
export function readHead(data, { limits = LIMITS, size = data.length } = {}) {
  const { offset, length } = bodySpan(data.subarray(0, PREFIX_BYTES), limits);
  const end = offset + length;
  if (data.length < end + CRC_BYTES) {
    throw new TruncatedFile(`the file ends at byte ${data.length}; the head alone takes ${end + CRC_BYTES}`);
  }
  const stored = readUint32(data, end);
  const found = crc32(data.subarray(0, end));
  if (found !== stored) {
    throw new CorruptHead(`the head's checksum is ${found.toString(16)}; byte ${end} says ${stored.toString(16)}`);
  }
  const form = new Form();
  const head = parse(new Cursor(data, offset, end), limits, form);
  if (form.fault) throw new CorruptHead(`the head is not in the one form that its content has: ${form.fault}`);
  if (size !== null && size > head.fileBytes) {
    throw new FormatError(`the file should end at byte ${head.fileBytes}, but goes on to ${size}`);
  }
  return head;
}

/** @param {Cursor} cursor @param {Limits} limits @param {Form} form @returns {Head} */
function parse(cursor, limits, form) {
  const flags = cursor.byte('flags');
  const [width, height] = ['width', 'height'].map((what) => {
    const value = cursor.varint(what);
    if (value < 1 || value > MAX_SIZE) throw cursor.fail(`a ${what} of ${value} is not in 1 .. ${MAX_SIZE}`);
    return value;
  });
  const rows = Math.ceil(height / BLOCK);
  const columns = Math.ceil(width / BLOCK);
  if (rows * columns * BLOCK * BLOCK > limits.maxPixels) {
    throw new LimitExceeded(`${width}x${height} takes ${rows * columns * BLOCK * BLOCK} pixels in blocks; limit ${limits.maxPixels}`);
  }
  const modelId = cursor.take(8, 'model id');
  const seal = flags & SEALED ? cursor.take(13, 'seal') : null;
  if (seal !== null && seal[0] === 0) throw cursor.fail('the seal names suite 0, which is none');
  const count = cursor.byte('number of groups');
  if (count === 0) throw cursor.fail('a file needs a group');
  if (count > limits.maxGroups) throw new LimitExceeded(`the file has ${count} groups; the limit is ${limits.maxGroups}`);
  const groups = readTable(cursor, flags, count, limits, form);
  if (groups.some((group) => group.encrypted) !== (seal !== null)) {
    throw cursor.fail('the file must have a seal if groups are encrypted, and only then');
  }
  const places = flags & EXPLICIT_ORDER ? [...cursor.take(count, 'order of segments')] : null;
  if (places && [...places].sort((a, b) => a - b).some((place, i) => place !== i)) {
    throw cursor.fail('the order of segments does not name each group once');
  }
  const chunks = flags & HAS_CHUNKS ? readChunks(cursor, form) : new Map();
  checkProfile(chunks.get('ICCP'), limits);
  const maskAt = cursor.offset;
  const coded = cursor.take(cursor.end - maskAt, 'mask');
  const ids = groups.map((group) => group.id);
  const alphabet = flags & HAS_ABSENT ? [ABSENT, ...ids] : ids;
  const step = (flags >> 4) & MAX_STEP;
  const mask = readMask(coded, maskAt, rows, columns, step, alphabet);
  const owned = new Uint32Array(256);
  for (const id of mask) owned[id]++;
  for (const id of alphabet) if (owned[id] === 0) throw new CorruptHead(`byte ${maskAt}: no block of the mask has id ${id}`);
  form.must(step === MAX_STEP || !isExact(mask, rows, columns, step + 1), `its mask has step ${step}, and is exact with ${step + 1}`);
  for (const group of groups) group.blocks = owned[group.id];
  const usual = defaultOrder(groups);
  const order = places ? places.map((place) => groups[place]) : usual;
  form.must(!places || order.some((group, i) => group !== usual[i]), 'it gives an order of segments that is the default one');
  const headBytes = cursor.end + CRC_BYTES;
  let offset = headBytes;
  for (const group of order) {
    group.offset = offset;
    offset += group.length;
  }
  return {
    width, height, rows, columns, modelId, seal, groups, mask, chunks, headBytes,
    order: order.map((group) => group.id),
    maskBytes: coded.length,
    fileBytes: offset,
  }; // prettier-ignore
}

/** The smallest first, ties by id, id 0 last. @param {Group[]} groups */
function defaultOrder(groups) {
  return [...groups].sort((a, b) => Number(a.id === 0) - Number(b.id === 0) || a.blocks - b.blocks || a.id - b.id);
}

/** @param {Cursor} cursor @param {number} flags @param {number} count @param {Limits} limits @param {Form} form @returns {Group[]} */
function readTable(cursor, flags, count, limits, form) {
  /** @type {Group[]} */
  const table = [];
  let quality = 0;
  let plain = true; // all entries are such as a plain table implies
  for (let i = 0; i < count; i++) {
    const id = flags & EXPLICIT_IDS ? cursor.byte('group id') : i;
    if (id === ABSENT || (i > 0 && id <= table[i - 1].id)) {
      throw cursor.fail(`group id ${id} is ${ABSENT} or not above the one before`);
    }
    const implied = i > 0 ? SAME_QUALITY : 0;
    const bits = flags & PLAIN ? implied : cursor.byte('group flags');
    plain &&= bits === implied;
    const undefinedBits = bits & 0x80 || (bits & (HIDDEN | ENCRYPTED)) === HIDDEN;
    if (undefinedBits || (bits & (CLASS | CLASS_OF_NAME)) === (CLASS | CLASS_OF_NAME)) {
      throw cursor.fail(`flags ${bits} of group ${id} have undefined or contradictory bits`);
    }
    const name = bits & NAME ? cursor.text('name') : defaultName(id);
    let className = bits & CLASS ? cursor.text('class') : null;
    if (bits & CLASS_OF_NAME) className = classOf(name);
    const score = bits & SCORE ? cursor.byte('score') : null;
    const before = quality;
    if (!(bits & SAME_QUALITY)) quality = cursor.byte('quality');
    if (quality < 1 || quality > 100) throw cursor.fail(`quality ${quality} of group ${id} is not in 1 .. 100`);
    const length = cursor.varint('segment length');
    if (length > limits.maxSegmentBytes) {
      throw new LimitExceeded(`group ${id}: ${length} bytes; the limit is ${limits.maxSegmentBytes}`);
    }
    const crc = readUint32(cursor.take(CRC_BYTES, 'segment checksum'), 0);
    const sealed = { encrypted: Boolean(bits & ENCRYPTED), hidden: Boolean(bits & HIDDEN) };
    if (sealed.hidden && (className !== null || score !== null || quality !== 1 || !isHiddenName(name))) {
      throw cursor.fail(`the hidden entry ${id} is not called sealed, or tells more than that`);
    }
    form.must(!(bits & NAME) || name !== defaultName(id), `group ${id} is given the name that is implied`);
    form.must(!(bits & CLASS) || className !== classOf(name), `group ${id} is given the class that its name implies`);
    form.must(Boolean(bits & SAME_QUALITY) || quality !== before, `group ${id} is given the quality of the one before`);
    table.push({ id, name, className, score, quality, blocks: 0, ...sealed, offset: 0, length, crc });
  }
  if (new Set(table.map((group) => group.name)).size < count) throw cursor.fail('two groups have the same name');
  form.must(!(flags & EXPLICIT_IDS) || table.some(({ id }, i) => id !== i), 'it gives ids that are 0, 1, 2 and so on');
  form.must(Boolean(flags & PLAIN) || !plain, 'its table could be plain, and is not');
  return table;
}

/** The signature is the last; all others lie in the order of their tags. @param {string} tag */
const chunkPlace = (tag) => (tag === 'SIGN' ? 'zzzzz' : tag);

/** @param {Cursor} cursor @param {Form} form */
function readChunks(cursor, form) {
  /** @type {Map<string, Uint8Array>} */
  const chunks = new Map();
  const count = cursor.byte('number of chunks');
  let last = '';
  for (let i = 0; i < count; i++) {
    const tag = String.fromCharCode(...cursor.take(4, 'chunk tag'));
    if (!/^[A-Za-z]{4}$/.test(tag) || chunks.has(tag)) {
      throw cursor.fail(`chunk tag ${JSON.stringify(tag)} is not four letters, or came before`);
    }
    form.must(chunkPlace(tag) > last, `chunk ${tag} is out of order`);
    last = chunkPlace(tag);
    chunks.set(tag, cursor.take(cursor.varint('chunk length'), `chunk ${tag}`));
  }
  if (count === 0) throw cursor.fail('the flag for chunks is set, but there are none');
  return chunks;
}

/** Whether all blocks within each cell of 2^step blocks on a side are the same. @param {Uint8Array} mask @param {number} rows @param {number} columns @param {number} step */
function isExact(mask, rows, columns, step) {
  for (let y = 0; y < rows; y++) {
    const row = ((y >> step) << step) * columns;
    for (let x = 0; x < columns; x++) if (mask[y * columns + x] !== mask[row + ((x >> step) << step)]) return false;
  }
  return true;
}

/** @param {Uint8Array | undefined} body @param {Limits} limits */
function checkProfile(body, limits) {
  if (!body) return;
  try {
    inflate(body, limits.maxProfileBytes);
  } catch (error) {
    if (error instanceof TooLong) throw new LimitExceeded(`the ICC profile has ${error.message}`);
    if (error instanceof BadZlib) throw new CorruptHead(`chunk ICCP is not one whole zlib stream: ${error.message}`);
    throw error;
  }
}

/**
 * @param {Uint8Array} coded @param {number} at @param {number} rows @param {number} columns @param {number} step
 * @param {number[]} alphabet
 */
function readMask(coded, at, rows, columns, step, alphabet) {
  if (alphabet.length > rows * columns) {
    throw new CorruptHead(`byte ${at}: ${alphabet.length} labels for ${rows * columns} blocks`);
  }
  let labels;
  try {
    labels = decodeMask(coded, rows, columns, alphabet.length, step);
  } catch (error) {
    if (error instanceof InvalidStream) throw new CorruptHead(`byte ${at}: ${error.message}`);
    throw error;
  }
  for (let i = 0; i < labels.length; i++) labels[i] = alphabet[labels[i]];
  return labels;
}
