/** vectors/: what must come of each file comes of it here, too. */

import assert from 'node:assert/strict';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import test from 'node:test';
import { hex } from '../src/bytes.js';
import { Decoder } from '../src/decoder.js';
import { EncryptedSegment, SsicError, TruncatedFile } from '../src/errors.js';
import { SsicFile } from '../src/file.js';
import { inflate } from '../src/inflate.js';
import { Identity, Passphrase, VerifyKey, keyText } from '../src/keys.js';
import { LIMITS } from '../src/limits.js';
import { Keyring } from '../src/seal.js';
import { BytesSource } from '../src/source.js';
import { sha256, weights } from './cases.js';
import { readPng } from './png.js';

const folder = process.env.SSIC_VECTORS ?? fileURLToPath(new URL('../../vectors', import.meta.url));
assert(existsSync(folder), `there are no vectors in ${folder}`);
const CHACHA = 2;
const decoder = await Decoder.make(weights);

/** @param {string} kind @returns {[string, any][]} name and sheet */
const sheets = (kind) => {
  const names = readdirSync(`${folder}/${kind}`).filter((name) => name.endsWith('.json'));
  return names.map((name) => [`${kind}/${name.slice(0, -5)}`, JSON.parse(readFileSync(`${folder}/${kind}/${name}`, 'utf8'))]);
};
/** @param {string} place as sheets name it */
const read = (place) => new Uint8Array(readFileSync(`${folder}/valid/${place}`));
/** @template T @param {string[] | undefined} places @param {(text: string) => Promise<T[]>} parse */
const parsed = async (places, parse) => (await Promise.all((places ?? []).map((place) => parse(keyText(read(place)))))).flat();

/** @param {any} sheet */
async function keyring(sheet) {
  const keys = await parsed(sheet.identities, Identity.parseAll);
  const words = (sheet.passphrases ?? []).map((/** @type {string} */ place) => new Passphrase(keyText(read(place)).split(/\r?\n/)[0]));
  return new Keyring([...keys, ...words], limitsOf(sheet), { minVersion: sheet.min_version });
}

/** @param {any} sheet */
function limitsOf(sheet) {
  const given = Object.entries(sheet.limits ?? {}).map(([name, value]) => {
    const own = name.replace(/_./g, (letters) => letters[1].toUpperCase());
    assert(own in LIMITS, name);
    return [own, value];
  });
  return { ...LIMITS, ...Object.fromEntries(given) };
}

/** @param {string} name @param {any} sheet */
async function open(name, sheet) {
  const data = new Uint8Array(readFileSync(`${folder}/${name}.ssic`));
  const trust = sheet.trust ? await parsed(sheet.trust, VerifyKey.parseAll) : null;
  return SsicFile.open(new BytesSource(data), { limits: limitsOf(sheet), trust });
}

/** Opens what the keys open, and decodes all: what there is, and why the rest is not. @param {SsicFile} file @param {any} sheet */
async function decode(file, sheet) {
  /** @type {Map<number, SsicError>} */
  let refused = new Map();
  if (sheet.identities || sheet.passphrases) ({ errors: refused } = await file.unlock(await keyring(sheet)));
  const ids = file.groups.map((group) => group.id);
  const { rgba, shown, missing } = await decoder.decode(file, ids);
  const { found } = await decoder.latents(file, await file.substreams(ids));
  return { rgba, shown, latents: found, faults: new Map([...missing].map(([id, error]) => [id, refused.get(id) ?? error])) };
}

/** What `ssic info --json` says. @param {SsicFile} file */
const describe = ({ head, stored }) => ({
  format: 1,
  model: hex(head.modelId),
  width: head.width,
  height: head.height,
  file_bytes: head.fileBytes,
  head_bytes: head.headBytes,
  mask_bytes: head.maskBytes,
  profile: head.chunks.has('ICCP'),
  groups: head.groups.map(({ id, name, className, score, quality, blocks, offset, length, encrypted }) => ({
    id,
    name,
    class: className,
    score,
    quality,
    blocks,
    offset,
    bytes: length,
    encrypted: encrypted || !stored.groups.some((group) => group.id === id), // those that a key showed are sealed, too
  })),
});

for (const [name, sheet] of sheets('valid')) {
  test(name, async () => {
    const file = await open(name, sheet);
    const { rgba, shown, latents, faults } = await decode(file, sheet);
    // WebCrypto lacks the second cipher: what is sealed with it stays so.
    const closed = file.stored.seal?.[0] === CHACHA ? file.groups.filter(({ encrypted }) => encrypted).map(({ id }) => id) : [];
    for (const id of closed) assert(faults.get(id) instanceof EncryptedSegment);

    const expected = structuredClone(sheet.head);
    for (const group of expected.groups) if (group.score !== null) group.score = Math.round(255 * group.score);
    assert.deepEqual(describe(file), expected);
    assert.equal(sha256(file.head.mask), sheet.mask);
    const chunks = [...file.head.chunks].filter(([tag]) => tag !== 'SIGN');
    const hashes = chunks.map(([tag, body]) => [tag, sha256(tag === 'ICCP' ? inflate(body, LIMITS.maxProfileBytes) : body)]);
    assert.deepEqual(Object.fromEntries(hashes), sheet.chunks);
    if (sheet.signer) {
      const [signer] = await parsed([sheet.signer], VerifyKey.parseAll);
      assert.equal(hex((await file.verify()).raw), hex(signer.raw));
    }

    const wanted = Object.entries(sheet.latents).filter(([id]) => !closed.includes(Number(id)));
    const found = [...latents].map(([id, { latents: own }]) => [String(id), sha256(own)]);
    assert.deepEqual(Object.fromEntries(found), Object.fromEntries(wanted));
    assert.deepEqual(shown.map(String).sort(), wanted.map(([id]) => id).sort());
    /** @type {Record<string, string[]>} */
    const left = { damaged: [], sealed: [], missing: [] };
    for (const { id, name: called } of file.groups) {
      const fault = faults.get(id);
      if (!fault || closed.includes(id)) continue;
      if (fault instanceof TruncatedFile && sheet.partial) left.missing.push(called);
      else left[fault instanceof EncryptedSegment ? 'sealed' : 'damaged'].push(called);
    }
    for (const [kind, names] of Object.entries(left)) assert.deepEqual(names.sort(), (sheet[kind] ?? []).sort(), kind);

    const { width, height, rgb } = readPng(readFileSync(`${folder}/valid/${sheet.pixels.file}`));
    assert.deepEqual([width, height], [file.head.width, file.head.height]);
    const lost = new Set(closed);
    for (let i = 0; i < width * height; i++) {
      if (lost.has(file.head.mask[Math.floor(i / width / 16) * file.head.columns + Math.floor((i % width) / 16)])) continue;
      for (let c = 0; c < 3; c++) assert(Math.abs(rgba[4 * i + c] - rgb[3 * i + c]) <= sheet.pixels.tolerance, `pixel ${i}`);
    }
  });
}

for (const [name, sheet] of sheets('invalid')) {
  test(name, async () => {
    /** @param {Promise<unknown>} promise */
    const fails = (promise) =>
      assert.rejects(promise, (error) => {
        assert(error instanceof SsicError, String(error));
        assert.equal(error.name, sheet.error, error.message);
        return true;
      });
    if (sheet.at === 'open') return fails(open(name, sheet));
    const file = await open(name, sheet);
    if (sheet.at === 'verify') return fails(file.verify());
    if (sheet.at === 'decrypt') {
      const { opened, errors } = await file.unlock(await keyring(sheet));
      const kinds = [...errors.values()].map((error) => error.name);
      assert.deepEqual([opened, kinds], [[], sheet.error === 'InvalidInput' ? [] : [sheet.error]]); // nothing to open is no error here
      return;
    }
    let answer;
    try {
      answer = await decode(file, sheet);
    } catch (error) {
      return fails(Promise.reject(error));
    }
    assert.deepEqual(answer.shown, []);
    const kinds = new Set([...answer.faults.values()].map((error) => error.name));
    assert.deepEqual([...kinds], [sheet.error], String([...answer.faults.values()]));
  });
}
