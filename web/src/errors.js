/** All errors that the decoder raises on purpose, named as in Python (`ssic.errors`). */

/** Root of every error that the decoder raises on purpose. */
export class SsicError extends Error {}

/** What the caller gave can't be used. */
export class InvalidInput extends SsicError {}
/** A group was asked for that does not exist. */
export class UnknownGroup extends InvalidInput {}
/** What was given as a key can't be one. Messages never repeat a secret. */
export class BadKey extends InvalidInput {}
/** The bytes are not a whole, intact ssic file. */
export class FormatError extends SsicError {}
/** The bytes don't start with the magic of an ssic file. */
export class NotAnSsicFile extends FormatError {}
/** The file was written in a format version that this reader doesn't know. */
export class UnsupportedVersion extends FormatError {}
/** The bytes end before the file does. */
export class TruncatedFile extends FormatError {}
/** The head's checksum fails, or its content contradicts itself. */
export class CorruptHead extends FormatError {}
/** The file asks for more than the limits allow. */
export class LimitExceeded extends FormatError {}
/** The segment of a group is sealed, and no key was given to open it. */
export class EncryptedSegment extends FormatError {}
/** The segment of a group is sealed, and none of the keys given opens it. */
export class WrongKey extends EncryptedSegment {}
/** The segment of a group is damaged; the other groups are not concerned. */
export class DamagedSegment extends FormatError {}
/** A key fits, but the sealed segment, or what the head says of its group, was changed or exchanged. */
export class TamperedSegment extends DamagedSegment {}
/** The file is not signed, not by somebody who is trusted, or was changed since. */
export class SignatureError extends FormatError {}
/** Weights are unreadable or inconsistent. */
export class ModelError extends SsicError {}
/** The file was made with another model than the one at hand. */
export class UnknownModel extends ModelError {}
/** The networks can't be run here. */
export class EngineError extends SsicError {}
/** The bytes can't be fetched: network, server, or a file that can't be read. */
export class SourceError extends SsicError {}

// Written out, as bundlers rename classes.
for (const [name, { prototype }] of Object.entries({
  SsicError,
  InvalidInput,
  UnknownGroup,
  BadKey,
  FormatError,
  NotAnSsicFile,
  UnsupportedVersion,
  TruncatedFile,
  CorruptHead,
  LimitExceeded,
  EncryptedSegment,
  WrongKey,
  DamagedSegment,
  TamperedSegment,
  SignatureError,
  ModelError,
  UnknownModel,
  EngineError,
  SourceError,
})) {
  Object.defineProperty(prototype, 'name', { value: name, configurable: true, writable: true });
}
