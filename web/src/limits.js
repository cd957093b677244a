/** What a reader is ready to spend on bytes that it does not trust: `ssic.DecodeLimits`. */

/**
 * @typedef {object} Limits
 * @property {number} maxPixels pixels of the picture, in whole 16x16 blocks
 * @property {number} warnPixels above so many, whoever shows the picture should say that it takes long, and much memory
 * @property {number} maxMemory bytes that decoding takes, by an estimate (`decodingMemory`)
 * @property {number} maxGroups groups in the table
 * @property {number} maxHeadBytes bytes of the head body
 * @property {number} maxSegmentBytes bytes of one group's segment
 * @property {number} maxProfileBytes bytes of the ICC profile, inflated
 * @property {number} minScryptCost log2 of scrypt's N below which a passphrase guards nothing
 * @property {number} maxScryptCost log2 of scrypt's N
 * @property {number} maxScryptSalts how often a file may ask for scrypt
 */

/** Memory that each pixel takes that is decoded: latents, and what they are decoded with. */
const DECODED_BYTES = 16;
/** Memory that each pixel takes of the picture in which the decoded ones are shown. */
const SHOWN_BYTES = 4;
/** Pixels that pass through the layers of synthesis at a time; or as many as a hundred and twenty-eight rows have. */
const BAND_PIXELS = 2 ** 19;
/** Memory that each of these takes. */
const BAND_BYTES = 300;

/** Bytes that decoding takes at most, about. @param {number} pixels that are decoded @param {number} width @param {number} height of the picture */
export const decodingMemory = (pixels, width, height) =>
  DECODED_BYTES * pixels + SHOWN_BYTES * width * height + BAND_BYTES * Math.min(pixels, Math.max(BAND_PIXELS, 128 * width));

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
