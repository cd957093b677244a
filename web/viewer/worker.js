/** Everything that takes time, away from the page: bytes, keys, decoding. The page asks, and gets an answer for each question. */

import { hex } from '../src/bytes.js';
import { Decoder } from '../src/decoder.js';
import { EngineError, InvalidInput, SourceError, SsicError } from '../src/errors.js';
import { SsicFile } from '../src/file.js';
import { BLOCK } from '../src/head.js';
import { Identity, Passphrase } from '../src/keys.js';
import { Keyring } from '../src/seal.js';
import { BlobSource, HttpSource } from '../src/source.js';
import { readWeights } from '../src/weights.js';

/** Bytes of the largest weights file that is read. */
const MOST_WEIGHTS = 2 ** 29;

/** @type {{ postMessage: (message: unknown, transfer?: Transferable[]) => void, onmessage: unknown, location: Location, crossOriginIsolated: boolean }} */
const scope = /** @type {any} */ (self);
/** @type {SsicFile | null} */
let file = null;
/** @type {{ id: string, decoder: Promise<Decoder> } | null} */
let model = null;
/** Decoding goes one after the other. @type {Promise<unknown>} */
let queue = Promise.resolve();

const opened = () => {
  if (!file) throw new InvalidInput('no file is open');
  return file;
};

/** What the page shows of the file. @param {SsicFile} of */
function describe(of) {
  const { head, source } = of;
  return {
    width: head.width,
    height: head.height,
    rows: head.rows,
    columns: head.columns,
    mask: head.mask,
    model: hex(head.modelId),
    headBytes: head.headBytes,
    fileBytes: head.fileBytes,
    groups: head.groups.map((group) => ({ ...group, sealed: of.isSealed(group.id) })),
    ...travel(source),
  };
}

/** @param {import('../src/source.js').Source} source */
const travel = ({ travelled, requests, whole }) => ({ travelled, requests, whole });

/** The decoder for a model, fetched once. @param {string} id */
function decoderFor(id) {
  if (model?.id !== id) model = { id, decoder: loadModel(id) };
  const { decoder } = model;
  // What failed is tried again the next time.
  decoder.catch(() => {
    if (model?.decoder === decoder) model = null;
  });
  return decoder;
}

/** @param {string} id */
async function loadModel(id) {
  const url = new URL(`models/${id}.safetensors`, scope.location.href);
  let response;
  try {
    response = await fetch(url);
  } catch (error) {
    throw new SourceError(`the model can't be fetched: ${/** @type {Error} */ (error).message}`);
  }
  if (!response.ok || !response.body) throw new SourceError(`the server has no model ${id}, which the file was made with (${response.status})`);
  const expected = Number(response.headers.get('Content-Length')) || 0;
  if (expected > MOST_WEIGHTS) throw new SourceError(`the model has ${expected} bytes; that is too much`);
  let bytes = new Uint8Array(expected || 2 ** 24);
  let length = 0;
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    if (length + value.length > MOST_WEIGHTS) throw new SourceError('the model is too large');
    if (length + value.length > bytes.length) {
      const grown = new Uint8Array(Math.max(2 * bytes.length, length + value.length));
      grown.set(bytes);
      bytes = grown;
    }
    bytes.set(value, length);
    length += value.length;
    scope.postMessage({ progress: { done: length, of: expected } });
  }
  const weights = await readWeights(bytes.subarray(0, length));
  const threads = scope.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency || 1, 4) : 1;
  /** @param {string} name */
  const beside = (name) => new URL(name, scope.location.href).href;
  const wasmPaths = { mjs: beside('ort-wasm-simd-threaded.mjs'), wasm: beside('ort-wasm-simd-threaded.wasm') };
  const decoder = await Decoder.make(weights, { threads, wasmPaths });
  scope.postMessage({ ready: { threads } });
  return decoder;
}

/** The smallest box around what is opaque: rows and columns of blocks that the groups own. @param {SsicFile} of @param {Set<number>} ids */
function boxOf({ head }, ids) {
  let [top, left, bottom, right] = [head.rows, head.columns, 0, 0];
  head.mask.forEach((id, i) => {
    if (!ids.has(id)) return;
    const row = Math.floor(i / head.columns);
    const column = i % head.columns;
    top = Math.min(top, row);
    bottom = Math.max(bottom, row + 1);
    left = Math.min(left, column);
    right = Math.max(right, column + 1);
  });
  const x = left * BLOCK;
  const y = top * BLOCK;
  return { x, y, width: Math.min(right * BLOCK, head.width) - x, height: Math.min(bottom * BLOCK, head.height) - y };
}

/** @type {Record<string, (ask: any) => Promise<[any, Transferable[]?]>>} */
const answers = {
  async open({ url, blob }) {
    const source = blob ? new BlobSource(blob) : new HttpSource(url);
    file = null;
    file = await SsicFile.open(source);
    return [describe(file)];
  },

  async prepare() {
    await decoderFor(hex(opened().head.modelId));
    return [null];
  },

  async decode({ ids }) {
    const of = opened();
    const decoder = await decoderFor(hex(of.head.modelId));
    const { rgba, shown, missing, milliseconds } = await decoder.decode(of, ids);
    const errors = [...missing].map(([id, { name, message }]) => ({ id, name, message }));
    if (!shown.length) return [{ shown, errors, milliseconds, picture: null, ...travel(of.source) }];
    const box = boxOf(of, new Set(shown));
    const cut = new Uint8ClampedArray(box.width * box.height * 4);
    for (let row = 0; row < box.height; row++) {
      const from = ((box.y + row) * of.head.width + box.x) * 4;
      cut.set(rgba.subarray(from, from + box.width * 4), row * box.width * 4);
    }
    return [{ shown, errors, milliseconds, picture: { ...box, rgba: cut }, ...travel(of.source) }, [cut.buffer]];
  },

  async unlock({ keys, passphrase }) {
    const of = opened();
    const ring = keys ? await Identity.parseAll(keys) : [];
    const keyring = new Keyring(passphrase ? [...ring, new Passphrase(passphrase)] : ring);
    const { opened: ids, errors } = await of.unlock(keyring);
    return [{ ...describe(of), opened: ids, errors: [...errors.values()].map(({ name, message }) => ({ name, message })) }];
  },
};

scope.onmessage = (/** @type {MessageEvent} */ { data: { ask, number, ...rest } }) => {
  const run = async () => {
    try {
      const [answer, transfer] = await answers[ask](rest);
      scope.postMessage({ number, answer }, transfer ?? []);
    } catch (error) {
      const known = error instanceof SsicError ? error : new EngineError(`something failed that should not: ${error}`);
      scope.postMessage({ number, error: { name: known.name, message: known.message } });
    }
  };
  // The model loads beside; everything else in the order in which it was asked for.
  if (ask === 'prepare') void run();
  else queue = queue.then(run);
};
