/** Sealed groups (docs/format.md, "Encrypted groups"), opened with WebCrypto. */

import { scryptAsync } from '@noble/hashes/scrypt.js';
import { ascii, BadVarint, concat, crc32, EndOfBytes, littleEndian, readVarint } from './bytes.js';
import { DamagedSegment, EncryptedSegment, LimitExceeded, TamperedSegment, WrongKey } from './errors.js';
import { ABSENT } from './head.js';
import { Identity, Passphrase } from './keys.js';
import { LIMITS } from './limits.js';
import { textFault } from './names.js';

/** @typedef {import('./head.js').Head} Head @typedef {import('./head.js').Group} Group */
/** @typedef {{ kind: number, body: Uint8Array }} Stanza one wrapped content key */
/** @typedef {{ version: bigint, stanzas: Stanza[], keys: Uint8Array, mac: Uint8Array, body: Uint8Array }} SealedGroup `keys`: the
 * stanzas as they lie in the segment; `mac`: over them; `body`: ciphertext and tag */
/** @typedef {{ group: Group, blocks: Uint8Array, substream: Uint8Array }} Inner a hidden group; blocks: [rows * columns] 0 or 1 */

const AES = 1;
const AES_HPKE = 2; // the number of AES-256-GCM in RFC 9180
const TAG = 16;
const MAC = 32;
const MAX_STANZAS = 32;
const MAX_PARTS = 254;
const X25519 = 1;
const SCRYPT = 2;
const FOREIGN = 3;
/** @type {Record<number, number>} bytes of a stanza's body, by kind */
const BODY = { [X25519]: 64, [SCRYPT]: 61 };
const MOST_FOREIGN = 2048n;
/** Who defines a stanza of kind 3. */
const LABEL = /^(?=.{3,64}$)[A-Za-z0-9._-]+\/[A-Za-z0-9._/-]+$/;

/** @param {Uint8Array} key @param {KeyUsage} usage */
const hmacKey = (key, usage) => crypto.subtle.importKey('raw', concat(key), { name: 'HMAC', hash: 'SHA-256' }, false, [usage]);

/** @param {Uint8Array} key @param {Uint8Array} message */
const hmac = async (key, message) => new Uint8Array(await crypto.subtle.sign('HMAC', await hmacKey(key, 'sign'), concat(message)));

/** HKDF's first step. @param {Uint8Array} salt @param {Uint8Array} secret */
const extract = (salt, secret) => hmac(salt.length ? salt : new Uint8Array(32), secret);

/** HKDF's second step. @param {Uint8Array} key @param {Uint8Array} info @param {number} length */
async function expand(key, info, length) {
  let out = new Uint8Array();
  let block = new Uint8Array();
  for (let i = 1; out.length < length; i++) {
    block = await hmac(key, concat(block, info, Uint8Array.of(i)));
    out = concat(out, block);
  }
  return out.slice(0, length);
}

/** AES-256-GCM; null where the tag fails. @param {Uint8Array} key @param {Uint8Array} nonce @param {Uint8Array} data @param {Uint8Array} associated */
async function decryptAes(key, nonce, data, associated) {
  const imported = await crypto.subtle.importKey('raw', concat(key), 'AES-GCM', false, ['decrypt']);
  try {
    const algorithm = { name: 'AES-GCM', iv: concat(nonce), additionalData: concat(associated) };
    return new Uint8Array(await crypto.subtle.decrypt(algorithm, imported, concat(data)));
  } catch {
    return null;
  }
}

/**
 * Key and nonce of HPKE (RFC 9180) in base mode: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM.
 * @param {Uint8Array} shared @param {Uint8Array} encapsulated @param {Uint8Array} recipient @param {Uint8Array} info
 */
async function hpkeKey(shared, encapsulated, recipient, info) {
  /** @param {Uint8Array} ids @param {Uint8Array} salt @param {string} label @param {Uint8Array} secret */
  const labelledExtract = (ids, salt, label, secret) => extract(salt, concat(ascii('HPKE-v1'), ids, ascii(label), secret));
  /** @param {Uint8Array} ids @param {Uint8Array} key @param {string} label @param {Uint8Array} context @param {number} length */
  const labelledExpand = (ids, key, label, context, length) =>
    expand(key, concat(Uint8Array.of(0, length), ascii('HPKE-v1'), ids, ascii(label), context), length);
  const none = new Uint8Array();
  const kem = concat(ascii('KEM'), Uint8Array.of(0, 0x20));
  const prk = await labelledExtract(kem, none, 'eae_prk', shared);
  const secret = await labelledExpand(kem, prk, 'shared_secret', concat(encapsulated, recipient), 32);
  const ids = concat(ascii('HPKE'), Uint8Array.of(0, 0x20, 0, 1, 0, AES_HPKE));
  const context = concat(
    Uint8Array.of(0), // base mode
    await labelledExtract(ids, none, 'psk_id_hash', none),
    await labelledExtract(ids, none, 'info_hash', info),
  );
  const schedule = await labelledExtract(ids, secret, 'secret', none);
  return {
    key: await labelledExpand(ids, schedule, 'key', context, 32),
    nonce: await labelledExpand(ids, schedule, 'base_nonce', context, 12),
  };
}

/** Keys to try on sealed groups. Remembers what scrypt gave, and bounds how often a file may ask for it. */
export class Keyring {
  /** @type {Map<string, Uint8Array>} */ #derived = new Map();
  /** @type {Set<string>} */ #salts = new Set();
  /**
   * @param {(Identity | Passphrase)[]} keys tried in this order
   * @param {import('./limits.js').Limits} [limits]
   * @param {{ minVersion?: number }} [options] `minVersion`: sealed groups of earlier versions are taken for tampered with
   */
  constructor(keys, limits = LIMITS, { minVersion = 0 } = {}) {
    this.keys = keys;
    this.limits = limits;
    this.minVersion = minVersion;
  }

  /**
   * The content key, or null if no key fits any of the stanzas.
   * @param {number} suite @param {Stanza[]} stanzas
   * @returns {Promise<Uint8Array | null>}
   * @throws {LimitExceeded} a passphrase would cost more than the limits allow
   */
  async unwrap(suite, stanzas) {
    const info = concat(ascii('ssic wrap 1\0'), Uint8Array.of(suite));
    for (const [i, key] of this.keys.entries()) {
      for (const { kind, body } of stanzas) {
        if (kind === X25519 && key instanceof Identity) {
          const encapsulated = body.slice(0, 32);
          const shared = await key.exchange(encapsulated);
          if (!shared) continue;
          const hpke = await hpkeKey(shared, encapsulated, key.recipient, info);
          const seed = await decryptAes(hpke.key, hpke.nonce, body.subarray(32), new Uint8Array());
          if (seed) return seed;
        }
        if (kind === SCRYPT && key instanceof Passphrase) {
          const derived = await this.#scrypt(body.subarray(0, 16), body[16], i, key);
          const seed = await decryptAes(derived, body.subarray(17, 29), body.subarray(29), info);
          if (seed) return seed;
        }
      }
    }
    return null;
  }

  /** @param {Uint8Array} salt @param {number} cost @param {number} i @param {Passphrase} passphrase */
  async #scrypt(salt, cost, i, passphrase) {
    const { minScryptCost, maxScryptCost, maxScryptSalts } = this.limits;
    if (cost < minScryptCost) {
      throw new LimitExceeded(
        `the passphrase is guarded by 2^${cost} rounds of scrypt only, which guessers pass in no time; at least 2^${minScryptCost} are asked for`,
      );
    }
    if (cost > maxScryptCost) {
      throw new LimitExceeded(`a passphrase would cost 2^${cost} rounds of scrypt; the limit is 2^${maxScryptCost}`);
    }
    const asked = `${salt}/${cost}`;
    this.#salts.add(asked);
    if (this.#salts.size > maxScryptSalts) {
      throw new LimitExceeded(`the file asks for scrypt with more than ${maxScryptSalts} salts, each of which takes time`);
    }
    const known = this.#derived.get(`${asked}/${i}`);
    if (known) return known;
    const options = { N: 2 ** cost, r: 8, p: 1, dkLen: 32, maxmem: 2 ** 28 };
    const derived = await scryptAsync(passphrase.bytes, concat(ascii('ssic scrypt 1\0'), salt), options);
    this.#derived.set(`${asked}/${i}`, derived);
    return derived;
  }
}

/** @param {Uint8Array} data @param {string} name @returns {SealedGroup} @throws {DamagedSegment} it is none */
function unpack(data, name) {
  /** @param {string} what */
  const fail = (what) => new DamagedSegment(`the sealed segment of "${name}" ${what}`);
  /** @type {bigint} */
  let version;
  /** @type {number} */
  let offset;
  try {
    [version, offset] = readVarint(data, 0);
  } catch (error) {
    if (error instanceof EndOfBytes || error instanceof BadVarint) throw fail('has no version');
    throw error;
  }
  const first = offset;
  /** @type {Stanza[]} */
  const stanzas = [];
  for (let more = true; more; ) {
    if (offset >= data.length) throw fail('is cut short inside of its wrapped keys');
    const kind = data[offset] & 0x7f;
    more = Boolean(data[offset] & 0x80);
    if (!(kind in BODY) && kind !== FOREIGN) throw fail(`has a wrapped key of the unknown kind ${kind}`);
    if (stanzas.length === MAX_STANZAS) throw fail(`has more than ${MAX_STANZAS} wrapped keys`);
    const start = offset + 1;
    offset = kind === FOREIGN ? endOfForeign(data, start, fail) : start + BODY[kind];
    if (offset > data.length) throw fail('is cut short inside of its wrapped keys');
    stanzas.push({ kind, body: data.slice(start, offset) });
  }
  if (stanzas.length > 1 && stanzas.some(({ kind }) => kind === SCRYPT)) throw fail('has a passphrase beside other keys');
  if (data.length - offset < MAC + TAG) throw fail('is cut short inside of its tags');
  return { version, stanzas, keys: data.slice(first, offset), mac: data.slice(offset, offset + MAC), body: data.slice(offset + MAC) };
}

/**
 * The offset behind a stanza for a key of another sort, which is passed over.
 * @param {Uint8Array} data @param {number} at where its body starts @param {(what: string) => DamagedSegment} fail
 */
function endOfForeign(data, at, fail) {
  if (at >= data.length) throw fail('is cut short inside of its wrapped keys');
  const start = at + 1 + data[at];
  const label = String.fromCharCode(...data.subarray(at + 1, start));
  let length, end;
  try {
    [length, end] = readVarint(data, start);
  } catch (error) {
    if (error instanceof EndOfBytes || error instanceof BadVarint) throw fail('is cut short inside of its wrapped keys');
    throw error;
  }
  if (!LABEL.test(label) || length < 1n || length > MOST_FOREIGN) throw fail("has a wrapped key whose label or length can't be");
  return end + Number(length);
}

/**
 * The parts in the segment of a hidden entry, and why what is behind the last of them is none.
 * @param {Uint8Array} data @param {string} name
 * @returns {{ parts: Uint8Array[], fault: DamagedSegment | null }}
 */
function splitParts(data, name) {
  const parts = [];
  let offset = 0;
  while (offset < data.length || !parts.length) {
    let length;
    try {
      [length, offset] = readVarint(data, offset);
    } catch (error) {
      if (!(error instanceof EndOfBytes || error instanceof BadVarint)) throw error;
      return { parts, fault: new DamagedSegment(`a part of "${name}" has no length`) };
    }
    if (length > data.length - offset) return { parts, fault: new DamagedSegment(`a part of "${name}" is cut short`) };
    if (parts.length === MAX_PARTS) return { parts, fault: new DamagedSegment(`"${name}" has more than ${MAX_PARTS} parts`) };
    parts.push(data.subarray(offset, offset + Number(length)));
    offset += Number(length);
  }
  return { parts, fault: null };
}

/** @param {string | null} text */
function textBytes(text) {
  const bytes = new TextEncoder().encode(text ?? '');
  return concat(Uint8Array.of(bytes.length), bytes);
}

/** What a sealed group is bound to. @param {Head} head @param {Uint8Array} seal @param {Group} group @param {bigint} version @param {number} length */
async function associatedData(head, seal, group, version, length) {
  let blocks = new Uint8Array(32);
  if (!group.hidden) {
    const bits = new Uint8Array(Math.ceil(head.mask.length / 8));
    head.mask.forEach((id, i) => {
      if (id === group.id) bits[i >> 3] |= 0x80 >> (i & 7);
    });
    blocks = new Uint8Array(await crypto.subtle.digest('SHA-256', bits));
  }
  return concat(
    ascii('ssic segment 1\0'),
    seal,
    littleEndian(head.width, 4),
    littleEndian(head.height, 4),
    head.modelId,
    Uint8Array.of(group.id, Number(group.hidden), group.quality),
    group.score === null ? Uint8Array.of(0, 0) : Uint8Array.of(1, group.score),
    textBytes(group.name),
    textBytes(group.className),
    littleEndian(version, 8),
    littleEndian(length, 8),
    blocks,
  );
}

/** @param {Head} head @returns {Uint8Array} */
function sealOf(head) {
  if (!head.seal) throw new EncryptedSegment('the file has no seal');
  if (head.seal[0] !== AES) {
    const name = head.seal[0] === 2 ? 'ChaCha20-Poly1305, which browsers do not have' : `suite ${head.seal[0]}, which is not known here`;
    throw new EncryptedSegment(`the groups are sealed with ${name}: open the file with ssic decrypt, or seal with aes-256-gcm`);
  }
  return head.seal;
}

/**
 * What is sealed, or null if no key fits.
 * @param {Head} head @param {Group} group @param {SealedGroup} sealed @param {Keyring} keyring
 * @throws {TamperedSegment} a key fits, but it is not what was sealed for this group of this file, or not for these keys
 * @throws {DamagedSegment} its writer was faulty
 */
async function openSealed(head, group, sealed, keyring) {
  const seal = sealOf(head);
  const seed = await keyring.unwrap(seal[0], sealed.stanzas);
  if (!seed) return null;
  const prk = await extract(seal, seed);
  const derived = await expand(prk, ascii('ssic content 1\0'), 44);
  const associated = await associatedData(head, seal, group, sealed.version, sealed.body.length - TAG);
  const plain = await decryptAes(derived.slice(0, 32), derived.slice(32), sealed.body, associated);
  if (!plain) {
    throw new TamperedSegment(
      `"${group.name}" was sealed, but not like this: its bytes, its version, or what the head says of it were changed, ` +
        'or it is from another file',
    );
  }
  const macKey = await hmacKey(await expand(prk, ascii('ssic keys 1\0'), MAC), 'verify');
  if (!(await crypto.subtle.verify('HMAC', macKey, concat(sealed.mac), concat(sealed.keys)))) {
    throw new TamperedSegment(
      `the list of those who may open "${group.name}" was changed: a wrapped key was put in, taken away or exchanged`,
    );
  }
  if (sealed.version < keyring.minVersion) {
    throw new TamperedSegment(
      `"${group.name}" is version ${sealed.version}, and at least ${keyring.minVersion} was asked for: it may be an old version, put back`,
    );
  }
  return unpadded(plain, group.name);
}

/** The content: behind a varint for the zeros that hide its length, and before these. @param {Uint8Array} plain @param {string} name */
function unpadded(plain, name) {
  const fail = () => new DamagedSegment(`"${name}" was sealed by a faulty writer: its padding is none`);
  let zeros, start;
  try {
    [zeros, start] = readVarint(plain, 0);
  } catch (error) {
    if (error instanceof EndOfBytes || error instanceof BadVarint) throw fail();
    throw error;
  }
  if (zeros > plain.length - start) throw fail();
  const end = plain.length - Number(zeros);
  if (plain.subarray(end).some((byte) => byte !== 0)) throw fail();
  return plain.slice(start, end);
}

/**
 * The substream of an encrypted group that is not hidden.
 * @param {Head} head @param {Group} group @param {Uint8Array} segment @param {Keyring} keyring
 * @throws {WrongKey | TamperedSegment | DamagedSegment | EncryptedSegment | LimitExceeded}
 */
export async function openGroup(head, group, segment, keyring) {
  const plain = await openSealed(head, group, unpack(segment, group.name), keyring);
  if (!plain) throw wrongKey(group);
  return plain;
}

/** @param {Group} group */
export const wrongKey = ({ name }) => new WrongKey(`"${name}" is sealed for others: no key or passphrase that was given opens it`);

/**
 * What the keys open of a hidden entry. Each part has a seal of its own: what is damaged costs the part that it hit, so this may
 * be tried where the checksum of the segment fails.
 * @param {Head} head @param {Group} group the hidden entry @param {Uint8Array} segment @param {Keyring} keyring
 * @returns {Promise<{ inners: Inner[], fault: DamagedSegment | null }>} `fault`: the first of the parts that are damaged
 * @throws {EncryptedSegment | LimitExceeded}
 */
export async function openHidden(head, group, segment, keyring) {
  /** @type {Inner[]} */
  const inners = [];
  /** @type {DamagedSegment | null} */
  let fault = null;
  const owned = new Uint8Array(head.mask.length);
  const taken = [...head.groups];
  const { parts, fault: end } = splitParts(segment, group.name);
  for (const part of parts) {
    try {
      const plain = await openSealed(head, group, unpack(part, group.name), keyring);
      if (!plain) continue;
      const inner = readInner(plain, head, group);
      if (inner.blocks.some((mine, i) => mine && owned[i])) throw new DamagedSegment(`two parts of "${group.name}" own the same block`);
      checkFree(inner.group, taken, group);
      inner.blocks.forEach((mine, i) => (owned[i] |= mine));
      taken.push(inner.group);
      inners.push(inner);
    } catch (error) {
      if (!(error instanceof DamagedSegment)) throw error;
      fault ??= error;
    }
  }
  return { inners, fault: fault ?? end };
}

/** @param {Group} group that was hidden @param {Iterable<Group>} others @param {Group} entry that it was hidden in */
function checkFree(group, others, entry) {
  for (const { id, name } of others) {
    if (id === group.id || name === group.name) {
      throw new DamagedSegment(`"${entry.name}" holds a group ${group.id} "${group.name}", but the file has one of that id or name`);
    }
  }
}

/** @param {Uint8Array} data @param {Head} head @param {Group} group @returns {Inner} */
function readInner(data, head, group) {
  /** @param {string} what */
  const fail = (what) => new DamagedSegment(`a part of "${group.name}" was sealed by a faulty writer: ${what}`);
  let offset = 4;
  const byte = () => {
    if (offset >= data.length) throw fail('it is cut short');
    return data[offset++];
  };
  const text = () => {
    const length = byte();
    if (offset + length > data.length) throw fail('a text is cut short');
    offset += length;
    let value;
    try {
      value = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(data.subarray(offset - length, offset));
    } catch {
      throw fail('a text is not UTF-8');
    }
    const fault = textFault(value);
    if (fault) throw fail(`a text ${fault}`);
    return value;
  };
  if (data.length < 4) throw fail('it is cut short');
  const [id, quality, , flags] = data;
  const name = text();
  const className = flags & 1 ? text() : null;
  const score = flags & 2 ? byte() : null;
  if (flags & ~3 || id === ABSENT || quality < 1 || quality > 100) throw fail("flags, id or quality can't be");
  const size = head.mask.length;
  const blocks = new Uint8Array(size);
  let at = 0;
  let owned = 0;
  for (let mine = false; at < size; mine = !mine) {
    let run;
    try {
      [run, offset] = readVarint(data, offset);
    } catch (error) {
      if (error instanceof EndOfBytes || error instanceof BadVarint) throw fail('a run of blocks is none');
      throw error;
    }
    if (run > size - at || (run === 0n && (mine || at > 0))) throw fail('runs of blocks do not fit the grid');
    const end = at + Number(run);
    for (; at < end; at++) {
      if (!mine) continue;
      if (head.mask[at] !== group.id) throw fail('it has blocks of others');
      blocks[at] = 1;
      owned++;
    }
  }
  if (!owned) throw fail('it has no blocks');
  const substream = data.slice(offset);
  const entry = {
    id, name, className, score, quality, blocks: owned, encrypted: false, hidden: false,
    offset: group.offset, length: substream.length, crc: crc32(substream),
  }; // prettier-ignore
  return { group: entry, blocks, substream };
}

/**
 * The head as somebody sees it who has opened a hidden entry.
 * @param {Head} head @param {Group} entry @param {Inner[]} inners
 * @returns {Head}
 * @throws {DamagedSegment} a hidden group has the id or name of another one
 */
export function reveal(head, entry, inners) {
  const groups = new Map(head.groups.map((group) => [group.id, group]));
  const mask = head.mask.slice();
  for (const { group, blocks } of inners) {
    checkFree(group, groups.values(), entry);
    for (let i = 0; i < mask.length; i++) if (blocks[i]) mask[i] = group.id;
    groups.set(group.id, group);
  }
  const left = mask.reduce((sum, id) => sum + Number(id === entry.id), 0);
  if (left) groups.set(entry.id, { ...entry, blocks: left });
  else groups.delete(entry.id);
  const order = head.order.flatMap((id) => {
    if (id !== entry.id) return [id];
    const ids = inners.map((inner) => inner.group.id);
    return left ? [...ids, id] : ids;
  });
  return { ...head, mask, order, groups: [...groups.values()].sort((a, b) => a.id - b.id) };
}
