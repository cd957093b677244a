/** An opened file: its head, and the substreams of groups as they are asked for. */

import { crc32 } from './bytes.js';
import { DamagedSegment, EncryptedSegment, SignatureError, SsicError, TruncatedFile, UnknownGroup } from './errors.js';
import { PREFIX_BYTES, headLength, readHead } from './head.js';
import { LIMITS } from './limits.js';
import { openGroup, openHidden, reveal, wrongKey } from './seal.js';
import { checkHead } from './signature.js';
import { FIRST_BYTES, readRanges } from './source.js';

/** @typedef {import('./head.js').Head} Head @typedef {import('./head.js').Group} Group */

/** A file whose head has been read. */
export class SsicFile {
  /** @type {Map<number, Uint8Array>} substreams that were sealed, by id */ #opened = new Map();
  /** @type {Map<number, number>} hidden groups that are shown, and the entry that each was in */ #revealed = new Map();
  /** @type {Uint8Array} the bytes that the head was parsed from */ #start;
  /** @type {import('./signature.js').Signature | null} */ #signature = null;
  /** Use `SsicFile.open`. @param {import('./source.js').Source} source @param {Head} head @param {import('./limits.js').Limits} limits @param {Uint8Array} start */
  constructor(source, head, limits, start) {
    this.source = source;
    this.#start = start;
    this.limits = limits;
    /** As it lies in the file. @type {Head} */
    this.stored = head;
    /** As the keys given so far show it. @type {Head} */
    this.head = head;
  }

  /**
   * Reads the head: one request for nearly all files.
   * @param {import('./source.js').Source} source
   * @param {{ limits?: import('./limits.js').Limits, trust?: import('./keys.js').VerifyKey[] | null }} [options] `trust`: keys one
   *   of which must have signed the file; each segment must then be the one that was signed
   * @throws {import('./errors.js').FormatError | import('./errors.js').SourceError}
   */
  static async open(source, { limits = LIMITS, trust = null } = {}) {
    let start = await source.read(0, FIRST_BYTES);
    const length = headLength(start.subarray(0, PREFIX_BYTES), limits);
    if (length > start.length) start = await source.read(0, length);
    const head = readHead(start, { limits, size: source.size });
    const file = new SsicFile(source, head, limits, start.slice(0, head.headBytes));
    if (trust) file.#signature = await checkHead(file.#start, head, trust);
    return file;
  }

  /**
   * Checks the signature of the whole file, every segment included.
   * @param {import('./keys.js').VerifyKey[] | null} [trust] who may have signed; anybody by default
   * @returns {Promise<import('./keys.js').VerifyKey>} who did
   * @throws {import('./errors.js').FormatError} SignatureError; or it is damaged, or not whole
   */
  async verify(trust = null) {
    const signature = await checkHead(this.#start, this.stored, trust);
    const segments = await this.#read(this.stored.groups);
    for (const { error } of segments.values()) if (error) throw error;
    for (const group of this.stored.groups) {
      await signature.check(group, /** @type {{ bytes: Uint8Array }} */ (segments.get(group.id)).bytes);
    }
    return signature.key;
  }

  /** @returns {Group[]} */
  get groups() {
    return this.head.groups;
  }

  /** @param {number} id @throws {UnknownGroup} */
  group(id) {
    const found = this.head.groups.find((group) => group.id === id);
    if (!found) throw new UnknownGroup(`there is no group ${id}`);
    return found;
  }

  /**
   * Segments as they lie in the file, their checksums checked, or the error of each.
   * @param {Group[]} groups of the stored head
   * @returns {Promise<Map<number, Uint8Array | SsicError>>}
   */
  async segments(groups) {
    /** @type {Map<number, Uint8Array | SsicError>} */
    const found = new Map();
    for (const [id, { bytes, error }] of await this.#read(groups)) found.set(id, error ?? bytes);
    return found;
  }

  /**
   * Segments as they lie in the file, and what is wrong with them.
   * @param {Group[]} groups
   * @returns {Promise<Map<number, { bytes: Uint8Array, error: SsicError | null }>>}
   */
  async #read(groups) {
    const parts = await readRanges(this.source, groups.map(({ offset, length }) => ({ start: offset, end: offset + length })));
    /** @type {Map<number, { bytes: Uint8Array, error: SsicError | null }>} */
    const found = new Map();
    for (const [i, group] of groups.entries()) {
      const { id, name, offset, length, crc } = group;
      const bytes = parts[i];
      /** @type {SsicError | null} */
      let error = null;
      if (bytes.length < length) {
        const end = offset + bytes.length;
        error = new TruncatedFile(`the file ends at byte ${end}; the segment of "${name}" takes ${offset} to ${offset + length}`);
      } else if (crc32(bytes) !== crc) {
        error = new DamagedSegment(`the segment of "${name}" is damaged: its checksum fails`);
      } else {
        error = await this.#forgery(group, bytes);
      }
      found.set(id, { bytes, error });
    }
    return found;
  }

  /** With trust: why a segment is not the one that was signed. @param {Group} group @param {Uint8Array} segment */
  async #forgery(group, segment) {
    try {
      await this.#signature?.check(group, segment);
    } catch (error) {
      if (error instanceof SignatureError) return error;
      throw error;
    }
    return null;
  }

  /**
   * What a decoder gets of each group: its substream, or the error.
   * @param {number[]} ids @returns {Promise<Map<number, Uint8Array | SsicError>>}
   */
  async substreams(ids) {
    /** @type {Map<number, Uint8Array | SsicError>} */
    const found = new Map();
    const clear = [];
    for (const id of ids) {
      const group = this.group(id);
      const opened = this.#opened.get(id);
      if (opened) found.set(id, opened);
      else if (group.encrypted) found.set(id, new EncryptedSegment(`"${group.name}" is sealed: a key is needed`));
      else clear.push(group);
    }
    for (const [id, segment] of await this.segments(clear)) found.set(id, segment);
    return found;
  }

  /**
   * Opens what the keys open. The head may show more groups afterwards.
   * @param {import('./seal.js').Keyring} keyring @param {number[]} [ids] of sealed groups; all by default
   * @returns {Promise<{ opened: number[], errors: Map<number, SsicError> }>} ids that can be decoded now; and why others, or the
   *   rest of a hidden entry, can't
   */
  async unlock(keyring, ids) {
    const sealed = this.head.groups.filter((g) => g.encrypted && !this.#opened.has(g.id) && (!ids || ids.includes(g.id)));
    const segments = await this.#read(sealed);
    /** @type {number[]} */
    const opened = [];
    /** @type {Map<number, SsicError>} */
    const errors = new Map();
    for (const group of sealed) {
      const { bytes, error: damage } = /** @type {{ bytes: Uint8Array, error: SsicError | null }} */ (segments.get(group.id));
      try {
        // Parts of a hidden entry have seals of their own: damage leaves those whole that it did not hit.
        if (damage) {
          if (!group.hidden || !(damage instanceof DamagedSegment)) throw damage;
          const forgery = await this.#forgery(group, bytes);
          if (forgery) throw forgery;
        }
        if (!group.hidden) {
          this.#opened.set(group.id, await openGroup(this.stored, group, bytes, keyring));
          opened.push(group.id);
          continue;
        }
        const { inners, fault } = await openHidden(this.stored, group, bytes, keyring);
        const fresh = inners.filter((inner) => this.#revealed.get(inner.group.id) !== group.id);
        if (fresh.length) this.head = reveal(this.head, group, fresh);
        for (const inner of fresh) {
          this.#opened.set(inner.group.id, inner.substream);
          this.#revealed.set(inner.group.id, group.id);
          opened.push(inner.group.id);
        }
        if (this.head.groups.some(({ id }) => id === group.id)) errors.set(group.id, fault ?? damage ?? wrongKey(group));
      } catch (error) {
        if (!(error instanceof SsicError)) throw error;
        errors.set(group.id, error);
      }
    }
    return { opened, errors };
  }

  /** Whether a group needs a key that has not been given. @param {number} id */
  isSealed(id) {
    return this.group(id).encrypted && !this.#opened.has(id);
  }
}
