/** Keys as people have them: written identities and verification keys, and passphrases. They stay in memory. */

import { ascii, concat } from './bytes.js';
import { BadKey } from './errors.js';

const PREFIX = 'SSICSECRET1-';
const VERIFY = 'ssicver1-';
const MOST_CHARACTERS = 2 ** 16;
// What stands before the 32 bytes of an X25519 private key in PKCS #8 (RFC 8410).
const PKCS8 = Uint8Array.from([0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x6e, 4, 0x22, 4, 0x20]);

/**
 * The 32 bytes of a written key, once it is seen that its checksum fits.
 * @param {string} prefix @param {string} word that starts with it
 * @throws {BadKey}
 */
async function rawKey(prefix, word) {
  let bytes = new Uint8Array();
  try {
    bytes = Uint8Array.from(atob(word.slice(prefix.length).replaceAll('-', '+').replaceAll('_', '/')), (c) => c.charCodeAt(0));
  } catch {
    // not base64: refused below
  }
  const raw = bytes.slice(0, 32);
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', concat(ascii(prefix), raw)));
  if (bytes.length !== 36 || bytes.slice(32).some((byte, i) => byte !== digest[i])) {
    throw new BadKey('the key is mistyped or incomplete: its checksum does not fit');
  }
  return raw;
}

/** The lines of a file of keys that count. @param {string} text @throws {BadKey} there are none */
function keyWords(text) {
  if (text.length > MOST_CHARACTERS) throw new BadKey(`more than ${MOST_CHARACTERS} characters are no file of keys`);
  const words = text.split(/\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]/).map((line) => line.trim());
  const keys = words.filter((word) => word && !word.startsWith('#'));
  if (!keys.length) throw new BadKey('there is no key');
  return keys;
}

/** An X25519 private key, which opens what was sealed to its public key. */
export class Identity {
  /** @type {CryptoKey} */ #key;
  /** @param {CryptoKey} key @param {Uint8Array} recipient */
  constructor(key, recipient) {
    this.#key = key;
    /** The 32 bytes of the public key. */
    this.recipient = recipient;
  }

  /** The shared secret with a public key; null for a point of low order. @param {Uint8Array<ArrayBuffer>} point */
  async exchange(point) {
    try {
      const other = await crypto.subtle.importKey('raw', point, { name: 'X25519' }, false, []);
      return new Uint8Array(await crypto.subtle.deriveBits({ name: 'X25519', public: other }, this.#key, 256));
    } catch {
      return null;
    }
  }

  /**
   * @param {string} word such as `SSICSECRET1-...`
   * @throws {BadKey} it is no such key; the message never repeats it
   */
  static async parse(word) {
    if (/^(ssicpub1-|ssicver1-)/.test(word)) throw new BadKey('this is a public key; the private one (SSICSECRET1-...) opens groups');
    if (word.startsWith('SSICSIGN1-')) throw new BadKey('this key signs files; the one that opens groups starts with SSICSECRET1-');
    if (!word.startsWith(PREFIX)) throw new BadKey('a key starts with SSICSECRET1-; what was given does not');
    const secret = await rawKey(PREFIX, word);
    let exported, key;
    try {
      const encoded = concat(PKCS8, secret);
      const readable = await crypto.subtle.importKey('pkcs8', encoded, { name: 'X25519' }, true, ['deriveBits']);
      exported = await crypto.subtle.exportKey('jwk', readable);
      key = await crypto.subtle.importKey('pkcs8', encoded, { name: 'X25519' }, false, ['deriveBits']);
    } catch (error) {
      throw new BadKey('this browser has no X25519: Chrome 133, Firefox 130, Safari 17 or later is needed', { cause: error });
    }
    const x = String(exported.x).replaceAll('-', '+').replaceAll('_', '/');
    return new Identity(key, Uint8Array.from(atob(x), (c) => c.charCodeAt(0)));
  }

  /**
   * The keys in a file of keys, or in what was pasted. Lines that are empty or start with # don't count.
   * @param {string} text
   * @throws {BadKey} there is none, or one that is none
   */
  static async parseAll(text) {
    return Promise.all(keyWords(text).map((word) => Identity.parse(word)));
  }
}

/** An Ed25519 public key, which tells whether a file is as its signer left it. */
export class VerifyKey {
  /** @param {Uint8Array} raw its 32 bytes */
  constructor(raw) {
    this.raw = raw;
  }

  /** The keys in a file of keys. @param {string} text @throws {BadKey} there is none, or one that is none */
  static async parseAll(text) {
    return Promise.all(
      keyWords(text).map(async (word) => {
        if (!word.startsWith(VERIFY)) throw new BadKey(`a key that is trusted starts with ${VERIFY}; what was given does not`);
        return new VerifyKey(await rawKey(VERIFY, word));
      }),
    );
  }
}

/**
 * The text of a file of keys: UTF-8, with or without a byte order mark, or UTF-16 with one, as some editors write it.
 * @param {Uint8Array} bytes
 * @throws {BadKey} it is no such text
 */
export function keyText(bytes) {
  const mark = bytes[0] * 256 + bytes[1];
  const encoding = mark === 0xfffe ? 'utf-16le' : mark === 0xfeff ? 'utf-16be' : 'utf-8';
  try {
    return new TextDecoder(encoding, { fatal: true }).decode(bytes);
  } catch {
    throw new BadKey('a file of keys is text, in UTF-8, or in UTF-16 with a byte order mark');
  }
}

/** A passphrase: its UTF-8 in normalization form C. */
export class Passphrase {
  /** @param {string} text */
  constructor(text) {
    if (!text) throw new BadKey('an empty passphrase opens nothing');
    /** @type {Uint8Array} */
    this.bytes = new TextEncoder().encode(text.normalize('NFC'));
  }
}
