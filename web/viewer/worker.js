/** Everything that takes time, away from the page: bytes, keys, decoding. The page asks, and gets an answer for each question. */

import { hex } from '../src/bytes.js';
import { Decoder } from '../src/decoder.js';
import { EngineError, InvalidInput, SourceError, SsicError } from '../src/errors.js';
import { SsicFile } from '../src/file.js';
import { Identity, Passphrase } from '../src/keys.js';
import { Keyring } from '../src/seal.js';
import { BlobSource, HttpSource } from '../src/source.js';
import { readWeights } from '../src/weights.js';

/** Bytes of the largest weights file that is read. */
const MOST_WEIGHTS = 2 ** 29;

/** Milliseconds between words of progress: what is faster needs none. */
const TELL = 200;

/** @type {{ postMessage: (message: unknown, transfer?: Transferable[]) => void, onmessage: unknown, location: Location, crossOriginIsolated: boolean }} */
const scope = /** @type {any} */ (self);
/** @type {SsicFile | null} */
let file = null;
/** @type {{ id: string, decoder: Promise<Decoder> } | null} */
let model = null;
/** As the page was told by its address. */
const engine = /** @type {any} */ (new URLSearchParams(scope.location.search).get('engine') ?? 'auto');
/** Decoding goes one after the other. @type {Promise<unknown>} */
let queue = Promise.resolve();
/** Ends what was asked for, by the number of the question. @type {Map<number, AbortController>} */
const running = new Map();

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
  const decoder = await Decoder.make(weights, { engine, threads, wasmPaths: new URL('./', scope.location.href).href });
  scope.postMessage({ ready: { threads, engine: decoder.engine, note: decoder.note } });
  return decoder;
}

/**
 * What comes of questions. `tell` sends something ahead of the answer.
 * @typedef {{ signal: AbortSignal, tell: (news: object, transfer?: Transferable[]) => void }} Asked
 * @type {Record<string, (details: any, asked: Asked) => Promise<unknown>>}
 */
const answers = {
  async open({ url, blob }) {
    const source = blob ? new BlobSource(blob) : new HttpSource(url);
    file = null;
    file = await SsicFile.open(source);
    return describe(file);
  },

  async prepare() {
    await decoderFor(hex(opened().head.modelId));
    return null;
  },

  async decode({ ids }, { signal, tell }) {
    const of = opened();
    const decoder = await decoderFor(hex(of.head.modelId));
    signal.throwIfAborted();
    let last = performance.now();
    const reached = (/** @type {number} */ share) => {
      if (performance.now() - last < TELL) return;
      last = performance.now();
      tell({ share });
    };
    const before = decoder.engine;
    const { shown, missing, milliseconds } = await decoder.paint(of, ids, (part) => tell({ part }, [part.rgba.buffer]), { signal, reached });
    if (decoder.engine !== before) scope.postMessage({ ready: { engine: decoder.engine, note: decoder.note } });
    const errors = [...missing].map(([id, { name, message }]) => ({ id, name, message }));
    return { shown, errors, milliseconds, ...travel(of.source) };
  },

  async unlock({ keys, passphrase }) {
    const of = opened();
    const ring = keys ? await Identity.parseAll(keys) : [];
    const keyring = new Keyring(passphrase ? [...ring, new Passphrase(passphrase)] : ring);
    const { opened: ids, errors } = await of.unlock(keyring);
    return { ...describe(of), opened: ids, errors: [...errors.values()].map(({ name, message }) => ({ name, message })) };
  },
};

scope.onmessage = (/** @type {MessageEvent} */ { data: { ask, number, ...details } }) => {
  if (ask === 'cancel') {
    running.get(details.of)?.abort();
    return;
  }
  const controller = new AbortController();
  const { signal } = controller;
  running.set(number, controller);
  const run = async () => {
    try {
      signal.throwIfAborted();
      const answer = await answers[ask](details, { signal, tell: (news, transfer) => scope.postMessage({ number, news }, transfer ?? []) });
      scope.postMessage({ number, answer });
    } catch (error) {
      const failure = new EngineError(`something failed that should not: ${error}`);
      const { name, message } = error instanceof SsicError || signal.aborted ? /** @type {Error} */ (error) : failure;
      scope.postMessage({ number, error: { name, message } });
    } finally {
      running.delete(number);
    }
  };
  // The model loads beside; everything else in the order in which it was asked for.
  if (ask === 'prepare') void run();
  else queue = queue.then(run);
};
