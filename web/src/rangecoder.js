/**
 * The range coder of docs/format.md: 64 bits of state, 32-bit words, precision 24.
 *
 * The state's 64-bit numbers are pairs of 32-bit numbers, because a double holds 53 bits, and BigInt is ten times slower.
 * `scale` (40 bits) and products of half of it with a frequency (44 bits) are exact.
 */

const WORD = 2 ** 32;
const TOTAL = 2 ** 24;

/** No encoder could have written these bytes with these tables. */
export class InvalidStream extends Error {}

/** Reads symbols; missing bytes count as zero. */
export class RangeDecoder {
  /** @param {Uint8Array} data */
  constructor(data) {
    this.data = data;
    this.next = 0;
    this.rangeHigh = WORD - 1;
    this.rangeLow = WORD - 1;
    // `point`: the code value minus the lower end of the interval.
    this.pointHigh = this.word();
    this.pointLow = this.word();
  }

  /** The next word, most significant byte first. */
  word() {
    const { data, next } = this;
    this.next = next + 4;
    if (next + 4 <= data.length) {
      return ((data[next] << 24) | (data[next + 1] << 16) | (data[next + 2] << 8) | data[next + 3]) >>> 0;
    }
    let word = 0;
    for (let i = 0; i < 4; i++) word = word * 256 + (next + i < data.length ? data[next + i] : 0);
    return word;
  }

  /**
   * floor(point / scale), at most 2^24 - 1; may be one too high or too low where the division rounds. `take` finds out.
   */
  quantile() {
    const scale = this.rangeHigh * 256 + (this.rangeLow >>> 24);
    const estimate = Math.floor((this.pointHigh * WORD + this.pointLow) / scale);
    return estimate < TOTAL ? estimate : TOTAL - 1;
  }

  /**
   * Moves on by a symbol with the frequencies `low` to `low + size`, if it is the one: then 0. Otherwise nothing is
   * changed, and the symbol is a later (1) or an earlier one (-1).
   * @param {number} low @param {number} size
   */
  take(low, size) {
    const scaleLow = (this.rangeHigh & 0xfff) * 256 + (this.rangeLow >>> 24); // 20 bits
    const scaleHigh = this.rangeHigh >>> 12; // 20 bits
    // point - scale * low
    let partial = scaleHigh * low; // 44 bits
    let carried = Math.floor(partial / 4096);
    let sum = (partial - carried * 4096) * 1048576 + scaleLow * low;
    let over = Math.floor(sum / WORD);
    let pointHigh = this.pointHigh - carried - over;
    let pointLow = this.pointLow - (sum - over * WORD);
    if (pointLow < 0) {
      pointLow += WORD;
      pointHigh -= 1;
    }
    if (pointHigh < 0) return -1;
    // scale * size
    partial = scaleHigh * size;
    carried = Math.floor(partial / 4096);
    sum = (partial - carried * 4096) * 1048576 + scaleLow * size;
    over = Math.floor(sum / WORD);
    const rangeHigh = carried + over;
    const rangeLow = sum - over * WORD;
    if (pointHigh > rangeHigh || (pointHigh === rangeHigh && pointLow >= rangeLow)) return 1;
    if (rangeHigh === 0) {
      this.rangeHigh = rangeLow;
      this.rangeLow = 0;
      this.pointHigh = pointLow;
      this.pointLow = this.word();
    } else {
      this.rangeHigh = rangeHigh;
      this.rangeLow = rangeLow;
      this.pointHigh = pointHigh;
      this.pointLow = pointLow;
    }
    return 0;
  }

  /**
   * A symbol of a table: entries `start` to `start + count` of `sums` are 0, n_0, n_0 + n_1, ..., 2^24.
   * @param {Int32Array} sums @param {number} start @param {number} count symbols
   * @returns {number} 0 to count - 1
   */
  decode(sums, start, count) {
    const quantile = this.quantile();
    let low = start;
    let high = start + count;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (sums[middle] <= quantile) low = middle;
      else high = middle;
    }
    for (;;) {
      const step = this.take(sums[low], sums[low + 1] - sums[low]);
      if (step === 0) return low - start;
      low += step;
      if (low === start + count) throw new InvalidStream('the code value lies outside of the interval');
    }
  }

  /** One of two symbols, the first with the frequency `zero`. @param {number} zero */
  decodeBinary(zero) {
    let symbol = this.quantile() < zero ? 0 : 1;
    for (;;) {
      const step = symbol === 0 ? this.take(0, zero) : this.take(zero, TOTAL - zero);
      if (step === 0) return symbol;
      symbol += step;
      if (symbol === 2) throw new InvalidStream('the code value lies outside of the interval');
    }
  }

  /** One of `count` >= 2 symbols, all equally likely. @param {number} count */
  decodeUniform(count) {
    const size = Math.floor(TOTAL / count);
    const larger = TOTAL % count; // so many of the first are one larger
    const quantile = this.quantile();
    let symbol =
      quantile < larger * (size + 1)
        ? Math.floor(quantile / (size + 1))
        : larger + Math.floor((quantile - larger * (size + 1)) / size);
    for (;;) {
      const step = this.take(symbol * size + Math.min(symbol, larger), size + (symbol < larger ? 1 : 0));
      if (step === 0) return symbol;
      symbol += step;
      if (symbol === count) throw new InvalidStream('the code value lies outside of the interval');
    }
  }
}

/** Writes symbols: only to verify that a mask's bytes are the shortest. */
export class RangeEncoder {
  constructor() {
    /** @type {number[]} Words that are done, but for a carry. */
    this.words = [];
    this.low = 0n;
    this.range = 2n ** 64n - 1n;
  }

  /** @param {number} low @param {number} size frequencies before the symbol, and of it */
  encode(low, size) {
    const scale = this.range >> 24n;
    this.low += scale * BigInt(low);
    if (this.low >> 64n) this.carry();
    this.range = scale * BigInt(size);
    if (this.range < 4294967296n) {
      this.words.push(Number(this.low >> 32n));
      this.low = (this.low & 0xffffffffn) << 32n;
      this.range <<= 32n;
    }
  }

  carry() {
    this.low &= 0xffffffffffffffffn;
    let i = this.words.length - 1;
    while (this.words[i] === WORD - 1) this.words[i--] = 0;
    this.words[i]++; // there is one: the code value is below 1
  }

  /** The shortest stream. */
  finish() {
    let kept = 0;
    let value = 0n;
    for (; kept <= 8; kept++) {
      const unit = 1n << BigInt(64 - 8 * kept);
      value = ((this.low + unit - 1n) / unit) * unit;
      if (value - this.low < this.range) break;
    }
    this.low = value;
    if (value >> 64n) this.carry();
    const out = [];
    for (const word of this.words) out.push(word >>> 24, (word >>> 16) & 255, (word >>> 8) & 255, word & 255);
    for (let i = 0; i < kept; i++) out.push(Number((this.low >> BigInt(56 - 8 * i)) & 0xffn));
    while (out.length && out[out.length - 1] === 0) out.pop();
    return Uint8Array.from(out);
  }
}
