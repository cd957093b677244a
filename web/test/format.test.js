import assert from 'node:assert/strict';
import test from 'node:test';
import { deflateSync } from 'node:zlib';
import { crc32, hex } from '../src/bytes.js';
import { DamagedSegment, LimitExceeded, ModelError, SsicError } from '../src/errors.js';
import { SsicFile } from '../src/file.js';
import { readHead } from '../src/head.js';
import { BadZlib, TooLong, inflate } from '../src/inflate.js';
import { LIMITS } from '../src/limits.js';
import { textFault } from '../src/names.js';
import { blocksOf } from '../src/plan.js';
import { BytesSource } from '../src/source.js';
import { Twin } from '../src/twin.js';
import { bytes, cases, contentOf, random, sha256, weights } from './cases.js';

const twin = await Twin.make(weights);

/** What make_cases.py's `describe` says of a file. @param {Uint8Array} data */
async function describe(data) {
  let file;
  try {
    file = await SsicFile.open(new BytesSource(data));
  } catch (error) {
    if (!(error instanceof SsicError)) throw error;
    return { error: error.name };
  }
  const { head } = file;
  /** @type {Record<string, string>} */
  const broken = {};
  for (const [id, segment] of await file.segments(head.groups)) if (segment instanceof Error) broken[id] = segment.name;
  return {
    width: head.width,
    height: head.height,
    model: hex(head.modelId),
    mask: sha256(head.mask),
    headBytes: head.headBytes,
    fileBytes: head.fileBytes,
    order: head.order,
    chunks: [...head.chunks.keys()].sort(),
    broken,
    groups: head.groups,
  };
}

/** Latents of the clear, whole groups: their hashes, or "damaged". @param {Uint8Array} data @param {Twin} [by] */
async function latents(data, by = twin) {
  const file = await SsicFile.open(new BytesSource(data));
  /** @type {Record<string, string>} */
  const found = {};
  for (const [id, segment] of await file.segments(file.groups.filter((group) => !group.encrypted))) {
    if (segment instanceof Error) continue;
    try {
      const blocks = blocksOf(file.head.mask, new Set([id]));
      found[id] = sha256(by.decode(segment, blocks, file.head.columns, file.group(id).quality));
    } catch (error) {
      if (!(error instanceof DamagedSegment)) throw error;
      found[id] = 'damaged';
    }
  }
  return found;
}

test('heads say what they say to Python', async () => {
  assert(Object.keys(cases.files).length >= 12);
  for (const [name, { head }] of Object.entries(cases.files)) assert.deepEqual(await describe(bytes(`${name}.ssic`)), head, name);
});

test('latents are identical to those of Python', async () => {
  for (const [name, expected] of Object.entries(cases.files)) {
    assert.deepEqual(await latents(bytes(`${name}.ssic`)), expected.latents, name);
  }
});

test('plain JavaScript gives the same latents as WebAssembly', async () => {
  const plain = await Twin.make(weights, { plain: true });
  for (const name of ['1d61559353c5ceac-groups', '1d61559353c5ceac-noise', 'small']) {
    assert.deepEqual(await latents(bytes(`${name}.ssic`), plain), cases.files[name].latents, name);
  }
});

test('weights whose tensors have other types are refused', async () => {
  for (const [name, dtype] of [['z_gain', 'int32'], ['precision', 'int16'], ['features1.bias', 'int16'], ['tables.support', 'uint8']]) {
    const tensor = weights.twin.get(name);
    assert(tensor, name);
    await assert.rejects(Twin.make({ ...weights, twin: new Map(weights.twin).set(name, { ...tensor, dtype }) }), ModelError, name);
  }
  const config = /** @type {any} */ ({ ...weights.config, hyper_context: 1 });
  await assert.rejects(Twin.make({ ...weights, config }), ModelError);
});

test('weights with values beyond their ranges are refused', async () => {
  const beyond = /** @type {[string, number][]} */ ([
    ['precision', 0],
    ['precision', 2 ** 12 + 1],
    ['precision_reciprocal', 2 ** 12 - 1],
    ['reference', 50],
    ['reference', 2 ** 27 + 1],
    ['reference_reciprocal', -1],
    ['reference_reciprocal', 5 * 2 ** 16 + 1],
    ['tables.support', -1],
    ['tables.frequencies', 0],
  ]);
  for (const [name, value] of beyond) {
    const tensor = weights.twin.get(name);
    assert(tensor, name);
    const changed = tensor.bytes.slice();
    new DataView(changed.buffer).setInt32(0, value, true);
    const twin = new Map(weights.twin).set(name, { ...tensor, bytes: changed });
    await assert.rejects(Twin.make({ ...weights, twin }), new RegExp(`twin.${name} of the weights has a value of ${value};`));
  }
  const config = { ...weights.config, hyper_features: 4096 };
  await assert.rejects(Twin.make({ ...weights, config }), ModelError);
});

test('weights whose tables have another length than their supports say are refused', async () => {
  const tensor = weights.twin.get('tables.frequencies');
  assert(tensor);
  const [length] = tensor.shape;
  for (const [entries, what] of /** @type {[number, RegExp][]} */ ([[length - 1, /shorter/], [length + 1, /longer/]])) {
    const changed = new Uint8Array(new Int32Array(entries).fill(1).buffer);
    changed.set(tensor.bytes.subarray(0, changed.length));
    const twin = new Map(weights.twin).set('tables.frequencies', { ...tensor, shape: [entries], bytes: changed });
    await assert.rejects(Twin.make({ ...weights, twin }), what);
  }
});

test('damaged files get the same answer as in Python, to the kind of error and to the latents', async () => {
  /** @type {Record<string, number>} */
  const kinds = {};
  for (const [i, changed] of cases.mutations.entries()) {
    const data = contentOf(changed);
    const { latents: values, ...head } = changed.expected;
    assert.deepEqual(await describe(data), head, `mutation ${i}`);
    if (values) assert.deepEqual(await latents(data), values, `mutation ${i}`);
    kinds[head.error ?? 'read'] = (kinds[head.error ?? 'read'] ?? 0) + 1;
  }
  for (const kind of ['read', 'CorruptHead', 'NotAnSsicFile', 'TruncatedFile', 'LimitExceeded']) assert(kinds[kind] > 5, kind);
});

test('a content has one form: any other is refused, as in Python', async () => {
  assert(cases.forms.length >= 20);
  for (const changed of cases.forms) {
    assert.equal(changed.expected.error, 'CorruptHead', changed.name);
    assert.deepEqual(await describe(contentOf(changed)), changed.expected, changed.name);
  }
});

test('what no name holds is the same for all code points, and so are names', () => {
  const bits = new Uint8Array(0x110000 / 8);
  for (let c = 0; c < 0x110000; c++) if (textFault(`!${String.fromCodePoint(c)}!`)) bits[c >> 3] |= 0x80 >> (c & 7);
  assert.equal(sha256(bits), cases.names.refused);
  assert(cases.names.texts.some(([, good]) => good) && cases.names.texts.some(([, good]) => !good));
  for (const [text, good] of cases.names.texts) assert.equal(textFault(text) === null, good, JSON.stringify(text));
});

test('a substream that ends in a zero byte is damaged', async () => {
  const file = await SsicFile.open(new BytesSource(bytes('small.ssic')));
  const [{ id, quality }] = file.groups;
  const substream = /** @type {Uint8Array} */ ((await file.segments(file.groups)).get(id));
  const blocks = blocksOf(file.head.mask, new Set([id]));
  assert(twin.decode(substream, blocks, file.head.columns, quality).length);
  const longer = Uint8Array.of(...substream, 0);
  assert.throws(() => twin.decode(longer, blocks, file.head.columns, quality), DamagedSegment);
});

test('10,000 mutated files: a result or a typed error, none over a second of work', async () => {
  const next = random(7);
  const sources = ['small', 'sealed', 'outline', 'profile', '1d61559353c5ceac-noise'].map((name) => bytes(`${name}.ssic`));
  // A hostile picture may be large and cheap; what it costs is bounded by the limits.
  const limits = { ...LIMITS, maxPixels: 2 ** 18 };
  let read = 0;
  let slowest = 0;
  for (let i = 0; i < 10000; i++) {
    const original = sources[next() % sources.length];
    const end = readHead(original).headBytes - 4;
    let data = original.slice();
    for (let n = 1 + (next() % 4); n > 0; n--) data[next() % (next() % 4 ? end : data.length)] ^= 1 << next() % 8;
    if (next() % 8 === 0) data = data.slice(0, next() % data.length);
    if (next() % 8 && data.length > end + 4) new DataView(data.buffer).setUint32(end, crc32(data.subarray(0, end)), true);
    if (next() % 3 === 0 && data.length > end + 4) {
      // Also segments whose checksum holds.
      try {
        const head = readHead(data, { limits });
        const group = head.groups[next() % head.groups.length];
        const segment = data.subarray(group.offset, group.offset + group.length);
        if (segment.length) segment[next() % segment.length] ^= 255;
      } catch (error) {
        assert(error instanceof SsicError);
      }
    }
    const before = process.cpuUsage(); // not the time of day: others may be at work
    try {
      const file = await SsicFile.open(new BytesSource(data), { limits });
      for (const group of file.groups) {
        const segment = data.slice(group.offset, group.offset + group.length);
        twin.decode(segment, blocksOf(file.head.mask, new Set([group.id])), file.head.columns, group.quality);
      }
      read++;
    } catch (error) {
      if (!(error instanceof SsicError)) throw error;
    }
    const { user, system } = process.cpuUsage(before);
    slowest = Math.max(slowest, (user + system) / 1000);
  }
  assert(read > 500, `${read} were read`);
  assert(slowest < 1000, `the slowest took ${slowest} ms`);
});

test('limits are checked before anything is computed', async () => {
  const data = bytes('small.ssic');
  for (const change of [{ maxPixels: 100 }, { maxGroups: 2 }, { maxHeadBytes: 20 }, { maxSegmentBytes: 9 }]) {
    assert.throws(() => readHead(data, { limits: { ...LIMITS, ...change } }), LimitExceeded);
  }
  assert.throws(() => readHead(bytes('profile.ssic'), { limits: { ...LIMITS, maxProfileBytes: 100 } }), LimitExceeded);
});

test('inflate gives what was deflated, and refuses everything else', () => {
  const next = random(3);
  for (const level of [0, 1, 6, 9]) {
    for (const size of [0, 1, 100, 5000, 200000]) {
      const data = Uint8Array.from({ length: size }, (_, i) => (size % 3 ? next() % 7 : i % 251));
      const packed = new Uint8Array(deflateSync(data, { level }));
      assert.deepEqual(inflate(packed, size), data);
      if (size) assert.throws(() => inflate(packed, size - 1), TooLong);
      assert.throws(() => inflate(packed.slice(0, -1), size), BadZlib);
      assert.throws(() => inflate(Uint8Array.of(...packed.slice(0, 3000), 0), size + 1e6), BadZlib);
    }
  }
});
