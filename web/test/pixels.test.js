import assert from 'node:assert/strict';
import test from 'node:test';
import { Decoder } from '../src/decoder.js';
import { DamagedSegment, EncryptedSegment, LimitExceeded, ModelError, UnknownModel } from '../src/errors.js';
import { SsicFile } from '../src/file.js';
import { Identity, Passphrase } from '../src/keys.js';
import { LIMITS } from '../src/limits.js';
import { Keyring } from '../src/seal.js';
import { BytesSource } from '../src/source.js';
import { readWeights } from '../src/weights.js';
import { bytes, cases, text, weights } from './cases.js';

const decoder = await Decoder.make(weights);
const keys = [...(await Identity.parseAll(text('me.key'))), new Passphrase(cases.passphrase)];

/** Largest difference of what is opaque to RGB, and whether the rest is empty. @param {Uint8ClampedArray} rgba @param {Uint8Array} rgb */
function compare(rgba, rgb) {
  let largest = 0;
  let opaque = 0;
  for (let i = 0; i < rgb.length / 3; i++) {
    if (rgba[4 * i + 3] === 0) {
      assert(rgba[4 * i] === 0 && rgba[4 * i + 1] === 0 && rgba[4 * i + 2] === 0);
      continue;
    }
    opaque++;
    for (let c = 0; c < 3; c++) largest = Math.max(largest, Math.abs(rgba[4 * i + c] - rgb[3 * i + c]));
  }
  return { largest, opaque };
}

test('pixels are within one level of those of Python', async () => {
  for (const name of Object.keys(cases.files)) {
    const file = await SsicFile.open(new BytesSource(bytes(`${name}.ssic`)));
    if (file.head.seal) {
      const { errors } = await file.unlock(new Keyring(keys));
      if (name !== 'chacha') assert.equal(errors.size, 0, name);
    }
    const ids = file.groups.map((group) => group.id);
    const { rgba, shown, missing } = await decoder.decode(file, ids);
    assert.equal(shown.length, ids.length - (name === 'chacha' ? 1 : 0), name);
    if (name === 'chacha') assert([...missing.values()].every((error) => error instanceof EncryptedSegment));
    const { largest, opaque } = compare(rgba, bytes(`${name}.rgb`));
    assert(largest <= 1, `${name}: ${largest} levels`);
    const absent = file.head.mask.some((id) => id === 255) || missing.size > 0;
    assert(absent ? opaque > 0 : opaque === file.head.width * file.head.height, name);
  }
});

test('a group alone has the pixels that it has among others', async () => {
  const file = await SsicFile.open(new BytesSource(bytes('small.ssic')));
  const all = await decoder.decode(file, file.groups.map((group) => group.id));
  for (const { id } of file.groups) {
    const { rgba } = await decoder.decode(file, [id]);
    for (let i = 0; i < rgba.length; i += 4) {
      if (rgba[i + 3]) for (let c = 0; c < 3; c++) assert.equal(rgba[i + c], all.rgba[i + c]);
    }
  }
});

test('a damaged group costs itself only', async () => {
  const data = bytes('small.ssic');
  const whole = await SsicFile.open(new BytesSource(data));
  const victim = whole.groups[1];
  data[victim.offset] ^= 1;
  const file = await SsicFile.open(new BytesSource(data));
  const ids = file.groups.map((group) => group.id);
  const { shown, missing, rgba } = await decoder.decode(file, ids);
  assert.deepEqual([...missing.keys()], [victim.id]);
  assert(missing.get(victim.id) instanceof DamagedSegment);
  assert.equal(shown.length, ids.length - 1);
  assert(compare(rgba, bytes('small.rgb')).largest <= 1);
});

test('what would take more memory than is allowed is not begun', async () => {
  const blocks = (await SsicFile.open(new BytesSource(bytes('small.ssic')))).groups.map((group) => group.blocks);
  const maxMemory = blocks[0] * 256 * 128;
  const file = await SsicFile.open(new BytesSource(bytes('small.ssic')), { limits: { ...LIMITS, maxMemory } });
  const [first, ...others] = file.groups.map((group) => group.id);
  assert.deepEqual((await decoder.decode(file, [first])).shown, [first]);
  await assert.rejects(decoder.decode(file, [first, ...others]), LimitExceeded);
});

test('weights that were changed, or of another model, are refused', async () => {
  const file = bytes('model.safetensors');
  const length = Number(new DataView(file.buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + length)));
  for (const name of ['twin.z_mean', 'float.synthesis.split.weight', 'graph.synthesis']) {
    const [start] = header[name].data_offsets;
    file[8 + length + start] ^= 1;
    await assert.rejects(readWeights(file), ModelError, name);
    file[8 + length + start] ^= 1;
  }
  assert.deepEqual((await readWeights(file)).id, weights.id);
  for (const size of [0, 7, 8, 100, 8 + length - 1, 8 + length]) await assert.rejects(readWeights(file.slice(0, size)), ModelError);
  const other = new Decoder({ ...weights, id: new Uint8Array(8) }, decoder.twin, decoder.synthesis);
  const picture = await SsicFile.open(new BytesSource(bytes('small.ssic')));
  await assert.rejects(other.decode(picture, [picture.groups[0].id]), UnknownModel);
});
