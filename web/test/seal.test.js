import assert from 'node:assert/strict';
import test from 'node:test';
import { crc32 } from '../src/bytes.js';
import { BadKey, DamagedSegment, EncryptedSegment, LimitExceeded, SsicError, TamperedSegment, WrongKey } from '../src/errors.js';
import { SsicFile } from '../src/file.js';
import { headLength, readHead } from '../src/head.js';
import { Identity, Passphrase, keyText } from '../src/keys.js';
import { LIMITS } from '../src/limits.js';
import { Keyring } from '../src/seal.js';
import { BytesSource } from '../src/source.js';
import { bytes, cases, contentOf, random, sha256, text } from './cases.js';

const [me] = await Identity.parseAll(text('me.key'));
const [stranger] = await Identity.parseAll(text('stranger.key'));
const open = (/** @type {Uint8Array} */ data) => SsicFile.open(new BytesSource(data));
const clear = await open(bytes('small.ssic'));
const original = await clear.substreams(clear.groups.map((group) => group.id));

/** A key's groups are those of the file before it was sealed. @param {SsicFile} file */
async function isAsBefore(file) {
  for (const group of file.groups) {
    const before = clear.groups.find((g) => g.name === group.name);
    assert(before, group.name);
    assert.deepEqual((await file.substreams([group.id])).get(group.id), original.get(before.id));
    assert.equal(group.quality, before.quality);
    assert.equal(group.blocks, before.blocks);
  }
  assert.deepEqual(file.head.mask, clear.head.mask);
}

for (const name of ['sealed', 'padded', 'foreign', 'names', 'outline']) {
  const hidden = name === 'names' || name === 'outline';
  test(`${name}: a key gives back what was sealed`, async () => {
    const file = await open(bytes(`${name}.ssic`));
    const sealed = file.groups.filter((group) => file.isSealed(group.id));
    assert(sealed.length >= 1);
    for (const group of sealed) {
      assert((await file.substreams([group.id])).get(group.id) instanceof EncryptedSegment);
    }
    const { opened, errors } = await file.unlock(new Keyring([stranger, me]));
    assert.equal(errors.size, 0);
    assert.equal(opened.length, hidden ? 2 : 1);
    assert.deepEqual(file.groups.map((group) => group.name).sort(), cases.files[name].shown);
    await isAsBefore(file);
  });

  test(`${name}: the key of somebody else opens nothing`, async () => {
    const file = await open(bytes(`${name}.ssic`));
    const before = file.head;
    const { opened, errors } = await file.unlock(new Keyring([stranger]));
    assert.deepEqual(opened, []);
    assert([...errors.values()].every((error) => error instanceof WrongKey) && errors.size >= 1);
    assert.equal(file.head, before);
  });
}

test('a passphrase opens; a wrong one does not; its cost is bounded', async () => {
  const file = await open(bytes('passphrase.ssic'));
  const decomposed = new Passphrase(cases.passphrase.normalize('NFD'));
  assert.equal((await file.unlock(new Keyring([decomposed]))).opened.length, 1);
  await isAsBefore(file);
  const other = await open(bytes('passphrase.ssic'));
  const { errors } = await other.unlock(new Keyring([new Passphrase('guess')]));
  assert([...errors.values()].every((error) => error instanceof WrongKey));
  const bounded = await other.unlock(new Keyring([decomposed], { ...LIMITS, maxScryptCost: 16 }));
  assert([...bounded.errors.values()].every((error) => error instanceof LimitExceeded) && bounded.errors.size === 1);
});

test('a passphrase that is guarded by too little is refused, whatever the file says', async () => {
  const data = bytes('passphrase.ssic');
  const group = /** @type {import('../src/head.js').Group} */ (readHead(data).groups.find((g) => g.encrypted));
  const place = group.offset + 2 + 16; // behind version, kind and salt
  assert.equal(data[place], 17);
  for (const [cost, fits] of /** @type {const} */ ([[13, false], [14, true], [18, false]])) {
    data[place] = cost;
    const file = await open(mended(data, group));
    const [error] = (await file.unlock(new Keyring([new Passphrase(cases.passphrase)]))).errors.values();
    assert(fits ? error instanceof WrongKey : error instanceof LimitExceeded, `2^${cost}`);
  }
}); // prettier-ignore

test('what is sealed and changed, or sealed by a faulty writer, gets the same answer as in Python', async () => {
  /** @type {Record<string, number>} */
  const kinds = {};
  for (const [i, changed] of cases.sealed.entries()) {
    const file = await open(contentOf(changed));
    const { errors } = await file.unlock(new Keyring([me]));
    /** @type {Record<string, string>} */
    const found = {};
    for (const [id, substream] of await file.substreams(file.groups.map((group) => group.id))) {
      const answer = file.isSealed(id) ? errors.get(id) : substream;
      assert(answer);
      found[file.group(id).name] = answer instanceof Error ? answer.name : sha256(answer);
      if (answer instanceof Error) kinds[answer.name] = (kinds[answer.name] ?? 0) + 1;
    }
    assert.deepEqual(found, changed.expected, `${i}: ${[...errors.values()]}`);
  }
  for (const kind of ['DamagedSegment', 'TamperedSegment', 'WrongKey']) assert(kinds[kind] > 5, `${kind}: ${kinds[kind]}`);
});

test('ChaCha20-Poly1305, which WebCrypto lacks, is refused by name', async () => {
  const file = await open(bytes('chacha.ssic'));
  const [error] = (await file.unlock(new Keyring([me]))).errors.values();
  assert(error instanceof EncryptedSegment && /ChaCha20/.test(error.message));
});

/**
 * The file with the checksums mended, of the head and of a group whose segment was changed.
 * @param {Uint8Array} data @param {import('../src/head.js').Group} [group] as the head had it
 */
function mended(data, group) {
  const copy = data.slice();
  const view = new DataView(copy.buffer);
  const end = headLength(data) - 4;
  if (group) {
    // The segment's checksum lies in the head: find it.
    const place = [...Array(end).keys()].find((i) => view.getUint32(i, true) === group.crc);
    view.setUint32(/** @type {number} */ (place), crc32(copy.subarray(group.offset, group.offset + group.length)), true);
  }
  view.setUint32(end, crc32(copy.subarray(0, end)), true);
  return copy;
}

/** The file with a byte of it changed, and the checksums mended. @param {Uint8Array} data @param {number} at */
function changed(data, at) {
  const copy = data.slice();
  copy[at] ^= 1;
  return mended(copy, readHead(data).groups.find(({ offset, length }) => at >= offset && at < offset + length));
}

test('any change of a sealed segment is noticed', async () => {
  const next = random(5);
  for (const name of ['sealed', 'outline']) {
    const data = bytes(`${name}.ssic`);
    const group = /** @type {import('../src/head.js').Group} */ (readHead(data).groups.find((g) => g.encrypted));
    for (let i = 0; i < 60; i++) {
      const file = await open(changed(data, group.offset + (next() % group.length)));
      const { opened, errors } = await file.unlock(new Keyring([me]));
      // A changed stanza of somebody else does no harm.
      if (opened.length === (name === 'sealed' ? 1 : 2)) await isAsBefore(file);
      else if (errors.size) assert([...errors.values()].every((e) => e instanceof DamagedSegment || e instanceof WrongKey));
    }
    const last = await open(changed(data, group.offset + group.length - 1));
    assert([...(await last.unlock(new Keyring([me]))).errors.values()].every((error) => error instanceof TamperedSegment));
  }
});

test('what the head says of a sealed group is bound to it', async () => {
  const data = bytes('sealed.ssic');
  // Width in pixels: one less has the same blocks.
  const file = await open(changed(data, 7));
  assert.notEqual(file.head.width, clear.head.width);
  const [error] = (await file.unlock(new Keyring([me]))).errors.values();
  assert(error instanceof TamperedSegment);
});

test('one flipped bit costs one hidden group', async () => {
  const data = bytes('outline.ssic');
  const group = /** @type {import('../src/head.js').Group} */ (readHead(data).groups.find((g) => g.hidden));
  data[group.offset + group.length - 1] ^= 1; // no checksum is mended
  const file = await open(data);
  const { opened, errors } = await file.unlock(new Keyring([me]));
  assert.equal(opened.length, 1);
  assert.equal(file.groups.length, clear.groups.length);
  assert(errors.get(group.id) instanceof TamperedSegment);
  const [shown] = file.groups.filter((g) => opened.includes(g.id));
  const before = clear.groups.find((g) => g.name === shown.name);
  assert.deepEqual((await file.substreams([shown.id])).get(shown.id), original.get(before?.id ?? -1));
});

test('a wrapped key that is put in, taken away or exchanged is noticed', async () => {
  const data = bytes('sealed.ssic');
  const group = /** @type {import('../src/head.js').Group} */ (readHead(data).groups.find((g) => g.encrypted));
  // Two recipients: of one of them, and only one, the key fits.
  let noticed = 0;
  for (const at of [1 + 1 + 5, 1 + 65 + 1 + 5]) {
    const file = await open(changed(data, group.offset + at));
    const [error] = (await file.unlock(new Keyring([me]))).errors.values();
    assert(error instanceof TamperedSegment || error instanceof WrongKey);
    noticed += Number(/those who may open/.test(error.message));
  }
  assert.equal(noticed, 1);
});

test('a file of keys may be UTF-16, or begin with a byte order mark', () => {
  const utf16 = (/** @type {boolean} */ little) => {
    const view = new DataView(new ArrayBuffer(8));
    [0xfeff, 0x4b, 0xe9, 0x0a].forEach((code, i) => view.setUint16(2 * i, code, little));
    return new Uint8Array(view.buffer);
  };
  const utf8 = new TextEncoder().encode('K\u00e9\n');
  for (const data of [utf8, Uint8Array.of(0xef, 0xbb, 0xbf, ...utf8), utf16(true), utf16(false)]) assert.equal(keyText(data), 'K\u00e9\n');
  for (const data of [Uint8Array.of(0x4b, 0xe9, 0x0a), Uint8Array.of(0xff, 0xfe, 0)]) assert.throws(() => keyText(data), BadKey);
  assert.equal(keyText(new Uint8Array()), '');
});

test('what is no key is refused, and never repeated', async () => {
  const word = text('me.key').split('\n')[1];
  const slip = word.slice(0, 20) + (word[20] === 'A' ? 'B' : 'A') + word.slice(21);
  for (const bad of ['', '# nothing', 'hello', slip, word.slice(0, -1), `ssicpub1-${word.slice(12)}`, 'SSICSECRET1-@@@']) {
    await assert.rejects(Identity.parseAll(bad), (error) => {
      assert(error instanceof BadKey && error instanceof SsicError);
      return bad.length < 20 || !error.message.includes(bad.slice(14));
    });
  }
  assert.equal((await Identity.parseAll(`${word}\r\n\n# x\n${word}`)).length, 2);
});
