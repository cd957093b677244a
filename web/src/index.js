/** Decoder of ssic pictures. Written from the documents of the format; see README.md. */

export * from './errors.js';
export { LIMITS } from './limits.js';
export { ABSENT, BLOCK, headLength, readHead } from './head.js';
export { SsicFile } from './file.js';
export { BlobSource, BytesSource, HttpSource } from './source.js';
export { Identity, Passphrase, VerifyKey, keyText } from './keys.js';
export { Keyring } from './seal.js';
export { readWeights } from './weights.js';
export { Decoder } from './decoder.js';
export { Twin } from './twin.js';
