import assert from 'node:assert/strict';
import test from 'node:test';
import { crc32 } from '../src/bytes.js';
import { BadKey, DamagedSegment, EncryptedSegment, LimitExceeded, SsicError, TamperedSegment, WrongKey } from '../src/errors.js';
import { SsicFile } from '../src/file.js';
import { readHead } from '../src/head.js';
import { Identity, Passphrase } from '../src/keys.js';
import { LIMITS } from '../src/limits.js';
import { Keyring } from '../src/seal.js';
import { BytesSource } from '../src/source.js';
import { bytes, cases, random, text } from './cases.js';

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

for (const name of ['sealed', 'names', 'outline']) {
  test(`${name}: a key gives back what was sealed`, async () => {
    const file = await open(bytes(`${name}.ssic`));
    const sealed = file.groups.filter((group) => file.isSealed(group.id));
    assert(sealed.length >= 1);
    for (const group of sealed) {
      assert((await file.substreams([group.id])).get(group.id) instanceof EncryptedSegment);
    }
    const { opened, errors } = await file.unlock(new Keyring([stranger, me]));
    assert.equal(errors.size, 0);
    assert.equal(opened.length, name === 'sealed' ? 1 : 2);
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
  assert([...bounded.errors.values()].every((error) => error instanceof LimitExceeded));
});

test('ChaCha20-Poly1305, which WebCrypto lacks, is refused by name', async () => {
  const file = await open(bytes('chacha.ssic'));
  const [error] = (await file.unlock(new Keyring([me]))).errors.values();
  assert(error instanceof EncryptedSegment && /ChaCha20/.test(error.message));
});

/** The file with a byte of it changed, and the head's checksum mended. @param {Uint8Array} data @param {number} at */
function changed(data, at) {
  const copy = data.slice();
  copy[at] ^= 1;
  const head = readHead(data);
  const view = new DataView(copy.buffer);
  const end = head.headBytes - 4;
  if (at >= head.headBytes) {
    // The segment's checksum lies in the head: find it, and mend it.
    const group = /** @type {import('../src/head.js').Group} */ (
      head.groups.find(({ offset, length }) => at >= offset && at < offset + length)
    );
    const place = [...Array(end).keys()].find((i) => view.getUint32(i, true) === group.crc);
    view.setUint32(/** @type {number} */ (place), crc32(copy.subarray(group.offset, group.offset + group.length)), true);
  }
  view.setUint32(end, crc32(copy.subarray(0, end)), true);
  return copy;
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
