import assert from 'node:assert/strict';
import test from 'node:test';
import { synthesisLayers, through } from '../src/bands.js';
import { Decoder } from '../src/decoder.js';
import { DamagedSegment, EncryptedSegment, EngineError, InvalidInput, LimitExceeded, ModelError, UnknownModel } from '../src/errors.js';
import { SsicFile } from '../src/file.js';
import { makeSynthesis } from '../src/engine.js';
import { Identity, Passphrase } from '../src/keys.js';
import { LIMITS, decodingMemory } from '../src/limits.js';
import { BlockList } from '../src/plan.js';
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

/** @param {string} name */
const opened = async (name) => {
  const file = await SsicFile.open(new BytesSource(bytes(`${name}.ssic`)));
  return { file, ids: file.groups.map((group) => group.id) };
};

test('pixels are the same bits in bands of any size', async () => {
  for (const name of ['large', 'sparse', 'small']) {
    const { file, ids } = await opened(name);
    /** @type {Uint8ClampedArray[]} */
    const found = [];
    for (const band of [1, 500, 10 ** 6]) {
      const { synthesis } = await makeSynthesis(weights, { band });
      const other = new Decoder(weights, decoder.twin, synthesis);
      found.push((await other.decode(file, ids)).rgba);
      if (name === 'large') {
        // One group, in rows that it does not fill.
        const alone = await other.decode(file, [1]);
        assert(alone.rgba.some((value) => value > 0));
        for (let i = 3; i < alone.rgba.length; i += 4) {
          if (alone.rgba[i]) for (let c = 1; c < 4; c++) assert.equal(alone.rgba[i - c], found[0][i - c]);
        }
      }
      await synthesis.close();
    }
    for (const other of found.slice(1)) assert(Buffer.from(found[0]).equals(Buffer.from(other)), name);
  }
});

test('models of all kinds: neighbours, layers without windows, gates, dictionaries, context of hyper-latents', async () => {
  for (const kind of ['local', 'sparse', 'gated', 'dictionary', 'hyper-context']) {
    const own = await readWeights(bytes(`kind-${kind}.safetensors`));
    const { file, ids } = await opened(`kind-${kind}`);
    const few = await Decoder.make(own, { band: 1 });
    const { rgba, missing } = await few.decode(file, ids);
    assert.equal(missing.size, 0);
    const { largest, opaque } = compare(rgba, bytes(`kind-${kind}.rgb`));
    assert(largest <= 1 && opaque === file.head.width * file.head.height, `${kind}: ${largest} levels`);
    const whole = await (await Decoder.make(own)).decode(file, ids);
    assert(Buffer.from(rgba).equals(Buffer.from(whole.rgba)), kind);
    const alone = await few.decode(file, [ids[1]]);
    for (let i = 3; i < rgba.length; i += 4) if (alone.rgba[i]) for (let c = 1; c < 4; c++) assert.equal(alone.rgba[i - c], rgba[i - c]);
  }
});

test('parts cover what is shown, once, from top to bottom, and say how much is done', async () => {
  const { file, ids } = await opened('large');
  /** @type {import('../src/plan.js').Part[]} */
  const parts = [];
  /** @type {number[]} */
  const shares = [];
  const { synthesis } = await makeSynthesis(weights, { band: 1 });
  const other = new Decoder(weights, decoder.twin, synthesis);
  const { shown } = await other.paint(file, ids, (part) => parts.push(part), { reached: (share) => shares.push(share) });
  assert.deepEqual(shown, ids);
  assert(parts.length >= 4);
  const opaque = parts.map(({ rgba }) => rgba.reduce((sum, value, i) => sum + (i % 4 === 3 && value === 255 ? 1 : 0), 0));
  assert.equal(opaque.reduce((sum, n) => sum + n), file.head.width * file.head.height);
  for (const [i, { y, height }] of parts.entries()) assert.equal(y, i ? parts[i - 1].y + parts[i - 1].height : 0, `${height} rows`);
  assert(shares.every((share, i) => share >= (shares[i - 1] ?? 0) && share <= 1) && shares.at(-1) === 1, String(shares));
});

test('work ends when its signal says so, and the next begins', async () => {
  const { file, ids } = await opened('large');
  const { synthesis } = await makeSynthesis(weights, { band: 1 });
  const other = new Decoder(weights, decoder.twin, synthesis);
  for (const [when, least, most] of [['in the latents', 0, 0], ['in the synthesis', 1, 3]]) {
    const controller = new AbortController();
    let parts = 0;
    const paint = () => {
      parts += 1;
      controller.abort(new Error('enough'));
    };
    const reached = (/** @type {number} */ share) => {
      if (!most && share > 0.1) controller.abort(new Error('enough'));
    };
    await assert.rejects(other.paint(file, ids, paint, { signal: controller.signal, reached }), /enough/);
    assert(parts >= Number(least) && parts <= Number(most), `${when}: ${parts}`);
  }
  assert.deepEqual((await other.decode(file, ids)).shown, ids);
});

test('what waits for a layer does not grow with the height of the picture', async () => {
  const layers = synthesisLayers({ ...weights.config, local: true, attention_every: 2, depths: [4, 4] });
  const most = async (/** @type {number} */ rows) => {
    const list = new BlockList(new Uint8Array(rows * 20), rows, 20, new Set([0]));
    let largest = 0;
    let blocks = 0;
    const run = async (/** @type {import('../src/bands.js').Band} */ { layer, from, to, tokens }) => {
      largest = Math.max(largest, tokens.length);
      return new Float32Array((to - from) * layer.gives);
    };
    for await (const { from, to } of through(list, layers, run, 320)) {
      assert.equal(from, blocks);
      blocks = to;
    }
    assert.equal(blocks, list.length);
    return largest;
  };
  assert.equal(await most(160), await most(1600));
});

test('engines are chosen by name, and WebGPU is not where there is none', async () => {
  await assert.rejects(Decoder.make(weights, { engine: 'webgpu' }), (error) => error instanceof EngineError && /no WebGPU/.test(error.message));
  await assert.rejects(Decoder.make(weights, { engine: /** @type {any} */ ('gpu') }), InvalidInput);
  assert.equal(decoder.engine, 'wasm');
  assert.match(decoder.note ?? '', /no WebGPU/);
  assert.equal((await Decoder.make(weights, { engine: 'wasm' })).note, null);
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
  const { groups, head } = await SsicFile.open(new BytesSource(bytes('small.ssic')));
  const maxMemory = decodingMemory(groups[0].blocks * 256, head.width, head.height);
  const file = await SsicFile.open(new BytesSource(bytes('small.ssic')), { limits: { ...LIMITS, maxMemory } });
  const [first, ...others] = file.groups.map((group) => group.id);
  assert.deepEqual((await decoder.decode(file, [first])).shown, [first]);
  await assert.rejects(decoder.decode(file, [first, ...others]), LimitExceeded);
  assert(decodingMemory(LIMITS.maxPixels, 1, LIMITS.maxPixels) <= LIMITS.maxMemory, 'the largest picture that is read can be decoded');
});

test('weights that were changed, or of another model, are refused', async () => {
  const file = bytes('model.safetensors');
  const length = Number(new DataView(file.buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + length)));
  for (const name of ['twin.z_mean', 'float.synthesis.split.weight', 'graph.synthesis.begin']) {
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
