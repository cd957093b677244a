import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import test from 'node:test';
import { SourceError, SsicError, TruncatedFile } from '../src/errors.js';
import { SsicFile } from '../src/file.js';
import { HttpSource } from '../src/source.js';
import { bytes } from './cases.js';

const data = bytes('large.ssic');

/**
 * A server on loopback for one test.
 * @param {(start: number, end: number, count: number) => { status?: number, headers?: Record<string, string>, body?: Uint8Array }} answer
 * @param {(url: string, asked: [number, number][]) => Promise<void>} use
 */
async function serving(answer, use) {
  /** @type {[number, number][]} */
  const asked = [];
  const server = createServer((request, response) => {
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
    assert(range, 'every request is for a range');
    const [start, end] = [Number(range[1]), Number(range[2]) + 1];
    asked.push([start, end]);
    const { status = 206, headers = {}, body = data.slice(start, end) } = answer(start, end, asked.length);
    const length = Math.min(end, data.length);
    const usual = { 'Content-Range': `bytes ${start}-${length - 1}/${data.length}`, ETag: '"1"' };
    response.writeHead(status, status === 206 ? { ...usual, ...headers } : headers);
    response.end(body);
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', () => done(undefined)));
  try {
    const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
    await use(`http://127.0.0.1:${port}/a.ssic`, asked);
  } finally {
    server.closeAllConnections();
    await new Promise((done) => server.close(done));
  }
}

test('one request for the head, one for each run of groups, and no byte twice', () =>
  serving(
    () => ({}),
    async (url, asked) => {
      const source = new HttpSource(url);
      const file = await SsicFile.open(source);
      assert.deepEqual(asked, [[0, 4096]]);
      const [first, second] = file.head.order.slice(1, 3);
      assert((await file.substreams([first, second])).get(second) instanceof Uint8Array);
      assert.equal(asked.length, 2);
      const before = source.travelled;
      assert((await file.substreams([first])).get(first) instanceof Uint8Array);
      assert.equal(source.travelled, before);
      const all = await file.substreams(file.head.order);
      assert([...all.values()].every((segment) => segment instanceof Uint8Array));
      assert.equal(source.travelled, data.length);
    },
  ));

test('the groups of one end of the file cost what they take', () =>
  serving(
    () => ({}),
    async (url) => {
      const source = new HttpSource(url);
      const file = await SsicFile.open(source);
      const last = file.head.order[file.head.order.length - 1];
      await file.substreams([last]);
      assert.equal(source.travelled, 4096 + file.group(last).length);
    },
  ));

test('a server without ranges works, and is known to be one', () =>
  serving(
    () => ({ status: 200, body: data }),
    async (url, asked) => {
      const source = new HttpSource(url);
      const file = await SsicFile.open(source);
      const all = await file.substreams(file.head.order);
      assert([...all.values()].every((segment) => segment instanceof Uint8Array));
      assert(source.whole);
      assert.equal(source.travelled, data.length);
      assert.equal(asked.length, 1);
    },
  ));

test('a file that ends early costs the groups behind its end', () =>
  serving(
    (start, end) => {
      const body = data.slice(start, Math.min(end, 9000));
      return start >= 9000
        ? { status: 416, headers: { 'Content-Range': 'bytes */9000' }, body: new Uint8Array() }
        : { body, headers: { 'Content-Range': `bytes ${start}-${start + body.length - 1}/9000` } };
    },
    async (url) => {
      const file = await SsicFile.open(new HttpSource(url));
      const all = [...(await file.substreams(file.head.order)).values()];
      assert(all.some((segment) => segment instanceof TruncatedFile) && all.some((segment) => segment instanceof Uint8Array));
    },
  ));

const faults = {
  'is not there': () => ({ status: 404, body: new Uint8Array() }),
  'sends other bytes': () => ({ headers: { 'Content-Range': 'bytes 7-9/10' } }),
  'sends too many bytes': () => ({ body: new Uint8Array(5000) }),
  'sends too few bytes': () => ({ body: new Uint8Array(50) }),
};
for (const [name, answer] of Object.entries(faults)) {
  test(`a server that ${name} gives a SourceError`, () =>
    serving(answer, (url) => assert.rejects(SsicFile.open(new HttpSource(url)), SourceError)));
}

test('a file that changes on the server is noticed', () =>
  serving(
    (_start, _end, count) => ({ headers: { ETag: `"${count}"` } }),
    async (url) => {
      const file = await SsicFile.open(new HttpSource(url));
      await assert.rejects(file.substreams(file.head.order), SourceError);
    },
  ));

test('a server that is not there gives a SourceError', async () => {
  await assert.rejects(SsicFile.open(new HttpSource('http://127.0.0.1:9/a.ssic')), (error) => error instanceof SsicError);
});
