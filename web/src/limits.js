/** What a reader is ready to spend on bytes that it does not trust: `ssic.DecodeLimits`. */

/**
 * @typedef {object} Limits
 * @property {number} maxPixels pixels of the picture, in whole 16x16 blocks
 * @property {number} warnPixels above so many, whoever shows the picture should say that it takes long, and much memory
 * @property {number} maxMemory bytes that decoding takes, by an estimate of `BYTES_PER_PIXEL` for each of the groups asked for
 * @property {number} maxGroups groups in the table
 * @property {number} maxHeadBytes bytes of the head body
 * @property {number} maxSegmentBytes bytes of one group's segment
 * @property {number} maxProfileBytes bytes of the ICC profile, inflated
 * @property {number} minScryptCost log2 of scrypt's N below which a passphrase guards nothing
 * @property {number} maxScryptCost log2 of scrypt's N
 * @property {number} maxScryptSalts how often a file may ask for scrypt
 */

export const BYTES_PER_PIXEL = 128;

/** @type {Readonly<Limits>} The defaults of docs/format.md. */
export const LIMITS = Object.freeze({
  maxPixels: 178956970,
  warnPixels: 89478485,
  maxMemory: 2 ** 33,
  maxGroups: 255,
  maxHeadBytes: 2 ** 20,
  maxSegmentBytes: 2 ** 28,
  maxProfileBytes: 2 ** 22,
  minScryptCost: 14,
  maxScryptCost: 17,
  maxScryptSalts: 8,
});
