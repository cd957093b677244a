/** Signatures of whole files (docs/format.md, "Signature"), verified with WebCrypto. */

import { ascii, concat, hex } from './bytes.js';
import { EngineError, SignatureError } from './errors.js';
import { VerifyKey } from './keys.js';

/** @typedef {import('./head.js').Head} Head @typedef {import('./head.js').Group} Group */

const ED25519 = 1;
const KEY = 32;
const HASH = 32;
const SIGNATURE = 64;
const CRC = 4;

/** A signature of a head that was verified. */
export class Signature {
  /** @param {VerifyKey} key whose it is @param {Map<number, Uint8Array>} hashes SHA-256 of each group's segment, by id */
  constructor(key, hashes) {
    this.key = key;
    this.hashes = hashes;
  }

  /** @param {Group} group @param {Uint8Array} segment @throws {SignatureError} it is not the one that was signed */
  async check({ id, name }, segment) {
    const found = new Uint8Array(await crypto.subtle.digest('SHA-256', concat(segment)));
    if (hex(found) !== hex(this.hashes.get(id) ?? new Uint8Array())) {
      throw new SignatureError(`the segment of "${name}" is not the one that was signed`);
    }
  }
}

/**
 * Verifies the signature of a head; segments are `Signature.check`ed as they come.
 * @param {Uint8Array} data that the head was parsed from
 * @param {Head} head
 * @param {VerifyKey[] | null} trust keys one of which must have signed; null takes any, which says that the file is as its signer
 *   left it, but not who that was
 * @returns {Promise<Signature>}
 * @throws {SignatureError} not signed, not by one of these, or changed since
 */
export async function checkHead(data, head, trust) {
  const body = head.chunks.get('SIGN');
  if (!body) throw new SignatureError('the file is not signed');
  if (body.length !== 1 + KEY + HASH * head.groups.length + SIGNATURE || body[0] !== ED25519) {
    throw new SignatureError('the signature is malformed, or that of a file with other groups');
  }
  const key = new VerifyKey(body.slice(1, 1 + KEY));
  if (trust && !trust.some(({ raw }) => hex(raw) === hex(key.raw))) {
    throw new SignatureError('the file is signed with another key than those that are trusted');
  }
  // The chunk is the last, so that the signature ends where the mask begins. Signed are zeros in its place.
  const end = head.headBytes - CRC;
  const start = end - head.maskBytes - SIGNATURE;
  const message = concat(ascii('ssic signature 1\0'), data.subarray(0, start), new Uint8Array(SIGNATURE), data.subarray(end - head.maskBytes, end));
  let good;
  try {
    const imported = await crypto.subtle.importKey('raw', concat(key.raw), { name: 'Ed25519' }, false, ['verify']);
    good = await crypto.subtle.verify('Ed25519', imported, data.slice(start, start + SIGNATURE), message);
  } catch (error) {
    if (error instanceof Error && error.name === 'NotSupportedError') {
      throw new EngineError('this browser has no Ed25519: Chrome 137, Firefox 129, Safari 17 or later is needed', { cause: error });
    }
    good = false; // no point of the curve
  }
  if (!good) throw new SignatureError('the head is not the one that was signed: it was changed since');
  const hashes = new Map(head.groups.map(({ id }, i) => [id, body.slice(1 + KEY + HASH * i, 1 + KEY + HASH * (i + 1))]));
  return new Signature(key, hashes);
}
