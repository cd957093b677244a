/** What a reader is ready to spend on bytes that it does not trust: `ssic.DecodeLimits`. */

/**
 * @typedef {object} Limits
 * @property {number} maxPixels pixels of the picture, in whole 16x16 blocks
 * @property {number} maxGroups groups in the table
 * @property {number} maxHeadBytes bytes of the head body
 * @property {number} maxSegmentBytes bytes of one group's segment
 * @property {number} maxProfileBytes bytes of the ICC profile, inflated
 * @property {number} maxScryptCost log2 of scrypt's N
 * @property {number} maxScryptSalts how often a file may ask for scrypt
 */

/** @type {Readonly<Limits>} The defaults of docs/format.md. */
export const LIMITS = Object.freeze({
  maxPixels: 2 ** 26,
  maxGroups: 255,
  maxHeadBytes: 2 ** 20,
  maxSegmentBytes: 2 ** 28,
  maxProfileBytes: 2 ** 22,
  maxScryptCost: 17,
  maxScryptSalts: 8,
});
