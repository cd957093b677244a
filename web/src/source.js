/** Where the bytes of a file come from: memory, a local file, or HTTP ranges. */

import { concat } from './bytes.js';
import { SourceError } from './errors.js';

/** What the first request is for: the heads of nearly all files, and often some groups. */
export const FIRST_BYTES = 4096;
/** Ranges at most so far apart are read as one: about what the headers of one more request take. */
const GAP = 1024;
/** Bytes taken of a file whose server sends all of it, whatever it is asked for. */
const MOST_WHOLE = 2 ** 28;

/**
 * @typedef {object} Source
 * @property {number | null} size bytes of the whole file; null while nobody has told
 * @property {number} travelled bytes that have been fetched so far
 * @property {number} requests how often something was asked for
 * @property {boolean} whole whether the server sends whole files only
 * @property {(start: number, end: number) => Promise<Uint8Array>} read the bytes from start to end; fewer where the file ends
 */

/** Bytes in memory. @implements {Source} */
export class BytesSource {
  /** @param {Uint8Array} bytes */
  constructor(bytes) {
    this.bytes = bytes;
    this.size = bytes.length;
    this.travelled = 0;
    this.requests = 0;
    this.whole = false;
  }
  /** @param {number} start @param {number} end */
  async read(start, end) {
    return this.bytes.slice(start, end);
  }
}

/** A file that was chosen or dropped. @implements {Source} */
export class BlobSource {
  /** @param {Blob} blob */
  constructor(blob) {
    this.blob = blob;
    this.size = blob.size;
    this.travelled = 0;
    this.requests = 0;
    this.whole = false;
  }
  /** @param {number} start @param {number} end */
  async read(start, end) {
    try {
      const bytes = new Uint8Array(await this.blob.slice(start, end).arrayBuffer());
      this.travelled += bytes.length;
      this.requests += 1;
      return bytes;
    } catch (error) {
      throw new SourceError('the file can\'t be read: it may have been moved or changed', { cause: error });
    }
  }
}

/** A file at a URL. What was read once is kept. @implements {Source} */
export class HttpSource {
  /** @type {{ start: number, bytes: Uint8Array }[]} */ #kept = [];
  /** @type {string | null} */ #tag = null;
  /** @param {string} url @param {typeof fetch} [fetcher] */
  constructor(url, fetcher = (...args) => fetch(...args)) {
    this.url = url;
    this.fetcher = fetcher;
    /** @type {number | null} */
    this.size = null;
    this.travelled = 0;
    this.requests = 0;
    this.whole = false;
  }

  /** @param {number} start @param {number} end */
  async read(start, end) {
    if (this.size !== null) end = Math.min(end, this.size);
    if (start >= end) return new Uint8Array();
    // Only what has not come before travels.
    const out = new Uint8Array(end - start);
    /** @type {[number, number][]} */
    const gaps = [];
    let at = start;
    for (const part of [...this.#kept].sort((a, b) => a.start - b.start)) {
      const stop = Math.min(part.start + part.bytes.length, end);
      if (stop <= at || part.start >= end) continue;
      if (part.start > at) gaps.push([at, part.start]);
      const from = Math.max(part.start, at);
      out.set(part.bytes.subarray(from - part.start, stop - part.start), from - start);
      at = stop;
    }
    if (at < end) gaps.push([at, end]);
    let length = end - start;
    await Promise.all(
      gaps.map(async ([from, stop]) => {
        const bytes = await this.#fetch(from, stop);
        out.set(bytes, from - start);
        if (bytes.length < stop - from) length = Math.min(length, from - start + bytes.length);
      }),
    );
    return out.slice(0, length);
  }

  /** @param {number} start @param {number} end */
  async #fetch(start, end) {
    this.requests += 1;
    let response;
    try {
      const headers = { Range: `bytes=${start}-${end - 1}` };
      response = await this.fetcher(this.url, { headers, cache: 'no-store', credentials: 'same-origin' });
    } catch (error) {
      throw new SourceError(`${this.url} can't be reached: ${/** @type {Error} */ (error).message}`, { cause: error });
    }
    if (response.status === 416) {
      const size = /^bytes \*\/(\d+)$/.exec(response.headers.get('Content-Range') ?? '');
      if (size) this.size = Number(size[1]);
      await response.body?.cancel();
      return new Uint8Array();
    }
    if (response.status !== 200 && response.status !== 206) {
      await response.body?.cancel();
      throw new SourceError(`${this.url}: the server answers ${response.status} ${response.statusText}`.trim());
    }
    const tag = response.headers.get('ETag') ?? response.headers.get('Last-Modified');
    if (this.#tag !== null && tag !== null && tag !== this.#tag) {
      await response.body?.cancel();
      throw new SourceError(`${this.url} has changed since it was opened: open it again`);
    }
    this.#tag = tag;
    if (response.status === 200) {
      this.whole = true;
      const bytes = await this.#body(response, MOST_WHOLE);
      this.size = bytes.length;
      this.#kept = [{ start: 0, bytes }];
      return bytes.slice(start, end);
    }
    const range = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(response.headers.get('Content-Range') ?? '');
    const last = range ? Number(range[2]) : end - 1;
    if (range && (Number(range[1]) !== start || last >= end)) {
      await response.body?.cancel();
      throw new SourceError(`${this.url}: the server sends other bytes than it was asked for`);
    }
    if (range && range[3] !== '*') this.size = Number(range[3]);
    const bytes = await this.#body(response, end - start);
    if (range && bytes.length !== last - start + 1) throw new SourceError(`${this.url}: the connection ended early`);
    this.#kept.push({ start, bytes });
    return bytes;
  }

  /** @param {Response} response @param {number} most */
  async #body(response, most) {
    const reader = response.body?.getReader();
    if (!reader) return new Uint8Array();
    const parts = [];
    let length = 0;
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        length += value.length;
        this.travelled += value.length;
        if (length > most) {
          await reader.cancel();
          throw new SourceError(`${this.url}: the server sends more than ${most} bytes`);
        }
        parts.push(value);
      }
    } catch (error) {
      if (error instanceof SourceError) throw error;
      throw new SourceError(`${this.url}: the connection broke off`, { cause: error });
    }
    return concat(...parts);
  }
}

/**
 * The bytes of several ranges; neighbours are read together.
 * @param {Source} source @param {{ start: number, end: number }[]} ranges
 * @returns {Promise<Uint8Array[]>}
 */
export async function readRanges(source, ranges) {
  /** @type {{ start: number, end: number, members: number[] }[]} */
  const reads = [];
  const order = ranges.map((_, i) => i).sort((a, b) => ranges[a].start - ranges[b].start);
  for (const i of order) {
    const { start, end } = ranges[i];
    const last = reads[reads.length - 1];
    if (last && start <= last.end + GAP) {
      last.end = Math.max(last.end, end);
      last.members.push(i);
    } else {
      reads.push({ start, end, members: [i] });
    }
  }
  /** @type {Uint8Array[]} */
  const out = new Array(ranges.length);
  await Promise.all(
    reads.map(async ({ start, end, members }) => {
      const bytes = await source.read(start, end);
      for (const i of members) out[i] = bytes.slice(ranges[i].start - start, ranges[i].end - start);
    }),
  );
  return out;
}
