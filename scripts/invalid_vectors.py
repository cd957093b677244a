"""The vectors that give an error: one fault each, with right checksums around it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from valid_vectors import Made, invalid, key
from vector_writer import (
    ABSENT,
    AES,
    EXIF,
    MAGIC,
    OTHER_FILE,
    PASSPHRASE,
    PUBLIC,
    SIGNERS,
    XMP,
    Entry,
    File,
    Stanzas,
    announced,
    blobs,
    contradicting,
    crc,
    damaged,
    flipped,
    for_passphrase,
    for_people,
    for_stranger,
    hide,
    inner,
    len_of_varint,
    one,
    other_fraction,
    packed_stanzas,
    padded_varint,
    profile,
    runs,
    seal,
    seed_of,
    signed,
    stored_zlib,
    text,
    three,
    two,
    varint,
    with_crc,
    without,
)

from ssic.format.mask_coder import encode_mask

# -- what there is: invalid --------------------------------------------------------------------------------


def starts() -> list[Made]:
    """Faults before the head body, and at its ends."""
    data = bytes(one())
    head = len(one().head())
    long = replace(one(), chunks=((b"teST", bytes(200)),))
    return [
        invalid("empty", "No bytes.", b"", "TruncatedFile"),
        invalid("magic", "The first byte is that of a PNG.", b"\x89" + data[1:], "NotAnSsicFile"),
        invalid("magic-7-bit", "A channel of 7 bits took the high bit of the first byte.",
                b"\x73" + data[1:], "NotAnSsicFile"),
        invalid("version-2", "Version 2, all else as in version 1.", replace(one(), version=2), "UnsupportedVersion"),
        invalid("version-0", "Version 0.", replace(one(), version=0), "UnsupportedVersion"),
        invalid("version-unknown-bytes", "Version 2, and nothing behind it that version 1 could read.",
                MAGIC + b"\2\xff\xff", "UnsupportedVersion"),
        invalid("truncated-magic", "Ends inside of the magic.", data[:3], "TruncatedFile"),
        invalid("truncated-version", "Ends before the version.", data[:4], "TruncatedFile"),
        invalid("truncated-before-length", "Ends before the length of the head.", data[:5], "TruncatedFile"),
        invalid("truncated-length", "Ends inside of the length of the head, which takes two bytes.",
                bytes(long)[:6], "TruncatedFile"),
        invalid("truncated-body", "Ends inside of the head body.", data[: head - 12], "TruncatedFile"),
        invalid("truncated-checksum", "Ends inside of the head's checksum.", data[: head - 1], "TruncatedFile"),
        invalid("checksum", "One bit of the head's checksum is flipped.", replace(one(), crc_xor=1), "CorruptHead"),
        invalid("checksum-body", "One bit of the head body is flipped, its checksum left.",
                flipped(data, 6, 64), "CorruptHead"),
        invalid("length-not-minimal", "The length of the head has a byte too many.",
                replace(one(), raw_body_length=padded_varint(len(one().head()) - 10)), "CorruptHead"),
        invalid("length-ten-bytes", "The length of the head has ten bytes.",
                replace(one(), raw_body_length=b"\xff" * 9 + b"\1"), "CorruptHead"),
        invalid("length-huge", "A head of 2^62 bytes.",
                replace(one(), raw_body_length=varint(2**62)), "LimitExceeded"),
        invalid("length-limit", "A head of more bytes than the limit that is given.",
                one(), "LimitExceeded", limits={"max_head_bytes": 10}),
        invalid("trailing-byte", "A byte behind the last segment.", replace(one(), tail=b"\0"), "FormatError"),
        invalid("trailing-file", "Another file behind the last segment.", replace(one(), tail=data), "FormatError"),
        invalid("body-empty", "A head body of no bytes.", with_body(b""), "CorruptHead"),
        invalid("body-cut", "The head body ends inside of the group table.", with_body(body(two())[:-5]),
                "CorruptHead"),
        invalid("body-cut-model", "The head body ends inside of the model id.", with_body(body(two())[:9]),
                "CorruptHead"),
    ]  # fmt: skip


def body(file: File) -> bytes:
    """The head body; the length takes one byte."""
    return file.head()[6:-4]


def with_body(content: bytes) -> bytes:
    start = MAGIC + b"\1" + varint(len(content)) + content
    return start + crc(start).to_bytes(4, "little")


def fields() -> list[Made]:
    """Faults of sizes, flags, seal and group table."""
    base, single, rich = two(), replace(one(), groups=(Entry(0),)), replace(three(), groups=bare(three()))
    big = replace(single, mask=np.zeros((16, 16), np.uint8), width=256, height=256)
    sealing_free = replace(base, seal=AES)

    def rows(*groups: Entry, **options: Any) -> File:
        return replace(base, groups=groups, **options)

    cases: list[tuple[str, str, File, str, dict[str, Any]]] = [
        ("width-0", "A width of 0.", replace(base, raw_width=b"\0"), "CorruptHead", {}),
        ("height-0", "A height of 0.", replace(base, raw_height=b"\0"), "CorruptHead", {}),
        ("width-huge", "A width of 2^32.", replace(base, raw_width=varint(2**32)), "CorruptHead", {}),
        ("width-not-minimal", "The width has a byte too many.",
         replace(base, raw_width=padded_varint(33)), "CorruptHead", {}),
        ("width-ten-bytes", "The width has ten bytes.",
         replace(base, raw_width=b"\xa1" + b"\x80" * 8 + b"\0"), "CorruptHead", {}),
        ("pixels", "2^30 x 1 pixels: 2^34 in whole blocks, above the default limit.",
         replace(single, raw_width=varint(2**30), raw_height=b"\1"), "LimitExceeded", {}),
        ("pixels-limit", "256x256 pixels, one more than the limit that is given.", big, "LimitExceeded",
         {"limits": {"max_pixels": 65535}}),
        ("groups-0", "No groups.", replace(single, raw_count=0), "CorruptHead", {}),
        ("groups-limit", "Three groups, one more than the limit that is given.", rich, "LimitExceeded",
         {"limits": {"max_groups": 2}}),
        ("groups-too-many", "More groups are announced than the head has room for.",
         replace(base, raw_count=200), "CorruptHead", {}),
        ("flag-table-not-plain", "All entries are such as a plain table implies, and it is not plain.",
         replace(base, plain=False), "CorruptHead", {}),
        ("flag-ids-needless", "The ids are told, though they are 0 and 1.",
         replace(base, flags_xor=1), "CorruptHead", {}),
        ("flag-order-needless", "The order is told, though it is the default.",
         replace(base, order=(1, 0)), "CorruptHead", {}),
        ("flag-order-twice", "The order names a position twice.",
         replace(base, raw_order=b"\0\0"), "CorruptHead", {}),
        ("flag-order-beyond", "The order names a position that is none.",
         replace(base, raw_order=b"\0\2"), "CorruptHead", {}),
        ("flag-chunks-none", "Chunks are announced, and there are none.",
         replace(base, raw_chunks=b"\0"), "CorruptHead", {}),
        ("flag-absent-none", "Absent blocks are announced, and there are none.",
         replace(base, flags_xor=8, raw_mask=encode_mask(base.mask + 1, 3, 0)), "CorruptHead", {}),
        ("flag-seal-needless", "A seal, and no encrypted group.", sealing_free, "CorruptHead", {}),
        ("flag-seal-missing", "An encrypted group, and no seal.",
         base.with_group(1, encrypted=True), "CorruptHead", {}),
        ("seal-suite-0", "The seal names suite 0.",
         replace(base.with_group(1, encrypted=True), seal=bytes(13)), "CorruptHead", {}),
        ("id-255", "A group of id 255.", replace(base, raw_ids=(0, 255)), "CorruptHead", {}),
        ("id-twice", "Two groups of one id.", replace(base, raw_ids=(1, 1)), "CorruptHead", {}),
        ("id-descending", "Ids do not ascend.", replace(base, raw_ids=(7, 3)), "CorruptHead", {}),
        ("group-flag-7", "Bit 7 of the group flags is set.", rows(Entry(0), Entry(1, raw_flags=0xA0)),
         "CorruptHead", {}),
        ("group-flag-hidden", "A hidden entry that is not encrypted.", rows(Entry(0), Entry(1, raw_flags=0x60)),
         "CorruptHead", {}),
        ("group-flags-class", "The class is given, and is the name.",
         rows(Entry(0), Entry(1, raw_class=text("x"), raw_flags=0x26)), "CorruptHead", {}),
        ("group-flag-first-quality", "The quality of the first group is that of the one before.",
         File(33, 20, np.zeros((2, 3), np.uint8), (replace(Entry(0), raw_flags=32, quality=60),)),
         "CorruptHead", {}),
        ("quality-0", "A quality of 0.", rows(Entry(0, quality=0), Entry(1, quality=5)), "CorruptHead", {}),
        ("quality-101", "A quality of 101.", rows(Entry(0), Entry(1, quality=101)), "CorruptHead", {}),
        ("quality-repeated", "The quality is told, though it is that of the entry before.",
         rows(Entry(0), Entry(1, name="dog", repeat_quality=True)), "CorruptHead", {}),
        ("segment-length-not-minimal", "The length of a segment has a byte too many.",
         rows(Entry(0), Entry(1, raw_length=b"\x80\0")), "CorruptHead", {}),
        ("segment-length-huge", "A segment of 2^60 bytes.",
         rows(Entry(0), Entry(1, raw_length=varint(2**60))), "LimitExceeded", {}),
        ("segment-length-limit", "A segment of more bytes than the limit that is given.", one(), "LimitExceeded",
         {"limits": {"max_segment_bytes": 5}}),
        ("name-implied", "A name is given that is the implied one.",
         rows(Entry(0, name="background"), Entry(1, name="dog")), "CorruptHead", {}),
        ("name-twice", "Two groups of one name.", rows(Entry(0, name="dog"), Entry(1, name="dog")),
         "CorruptHead", {}),
        ("name-twice-implied", "A group is called as another one is by implication.",
         rows(Entry(0, name="group 1"), Entry(1)), "CorruptHead", {}),
        ("class-implied", "A class is given that the name implies.",
         rows(Entry(0), Entry(1, name="dog 2", class_name="dog")), "CorruptHead", {}),
        ("hidden-name", "A hidden entry with a name that tells.",
         hidden_entry(name="faces", quality=1), "CorruptHead", {}),
        ("hidden-name-leading-zero", "A hidden entry called \"sealed 02\".",
         hidden_entry(name="sealed 02", quality=1), "CorruptHead", {}),
        ("hidden-name-1", "A hidden entry called \"sealed 1\".",
         hidden_entry(name="sealed 1", quality=1), "CorruptHead", {}),
        ("hidden-name-1000", "A hidden entry called \"sealed 1000\".",
         hidden_entry(name="sealed 1000", quality=1), "CorruptHead", {}),
        ("hidden-class", "A hidden entry with a class.",
         hidden_entry(name="sealed", quality=1, class_name="face"), "CorruptHead", {}),
        ("hidden-score", "A hidden entry with a score.",
         hidden_entry(name="sealed", quality=1, score=9), "CorruptHead", {}),
        ("hidden-quality", "A hidden entry with a quality other than 1.",
         hidden_entry(name="sealed", quality=2), "CorruptHead", {}),
    ]  # fmt: skip
    return [invalid(name, about, file, error, **sheet) for name, about, file, error, sheet in cases]


def bare(file: File) -> tuple[Entry, ...]:
    return tuple(replace(g, payload=b"") for g in file.groups)


def hidden_entry(**about: Any) -> File:
    file = replace(two(), seal=AES)
    return replace(file, groups=(Entry(0), Entry(1, encrypted=True, hidden=True, **about)))


NAMES: dict[str, tuple[str, bytes]] = {
    "control": ("a control character, ESC", b"a\x1b[31m"),
    "delete": ("DEL, a control character", b"a\x7f"),
    "control-c1": ("a control character of the upper half, U+0085", "a\u0085b".encode()),
    "newline": ("a line feed", b"a\nb"),
    "comma": ("a comma", b"a,b"),
    "format": ("a right-to-left override, U+202E", "a\u202eb".encode()),
    "soft-hyphen": ("a soft hyphen, U+00AD", "per\u00adson".encode()),
    "joiner": ("a zero-width joiner, U+200D", "a\u200db".encode()),
    "byte-order-mark": ("U+FEFF", "\ufeffa".encode()),
    "tag": ("a tag character, U+E0061", "a\U000e0061".encode()),
    "surrogate": ("a surrogate, written as in CESU-8", b"a\xed\xa0\x80"),
    "private": ("a private character, U+E000", "a\ue000".encode()),
    "unassigned": ("an unassigned character, U+0378", "a\u0378".encode()),
    "unassigned-later": ("U+0CF3, which Unicode 15 assigned", "a\u0cf3".encode()),
    "noncharacter": ("U+FFFF", "a\uffff".encode()),
    "space-no-break": ("a no-break space, U+00A0", "a\u00a0b".encode()),
    "space-ideographic": ("an ideographic space, U+3000", "a\u3000b".encode()),
    "separator-line": ("a line separator, U+2028", "a\u2028b".encode()),
    "ignorable-filler": ("a Hangul filler, U+3164", "a\u3164".encode()),
    "ignorable-variation": ("a variation selector, U+FE0F", "a\ufe0f".encode()),
    "blank-braille": ("a blank Braille pattern, U+2800", "a\u2800".encode()),
    "blank-notehead": ("a null notehead, U+1D159", "a\U0001d159".encode()),
    "object-replacement": ("U+FFFC", "a\ufffc".encode()),
    "replacement": ("U+FFFD", "a\ufffd".encode()),
    "space-first": ("a space at its start", b" a"),
    "space-last": ("a space at its end", b"a "),
    "spaces": ("two spaces in a row", b"a  b"),
    "not-composed": ("a letter and an accent that form C composes", "e\u0301".encode()),
    "singleton": ("the Angstrom sign, which form C replaces", "\u212b".encode()),
    "accents-order": ("accents in an order other than that of form C", "q\u0307\u0323".encode()),
    "overlong": ("an overlong form of a slash", b"a\xc0\xaf"),
    "not-utf-8": ("a byte of Latin-1", b"Stra\xdfe"),
    "cut-utf-8": ("a character cut off at its end", b"a\xe2\x82"),
    "beyond-unicode": ("U+110000", b"a\xf4\x90\x80\x80"),
}


def names() -> list[Made]:
    """Names and classes that docs/names.md refuses: one for each class of code points, and each rule."""
    base = two()
    made = [
        invalid(
            f"name-{what}", f"A name with {about}.", base.with_group(1, raw_name=text(raw)), "CorruptHead"
        )
        for what, (about, raw) in NAMES.items()
    ]
    made += [
        invalid(f"class-{what}", f"A class with {NAMES[what][0]}.",
                base.with_group(1, raw_class=text(NAMES[what][1])), "CorruptHead")
        for what in ("control", "joiner", "spaces", "not-composed", "overlong")
    ]  # fmt: skip
    return [
        *made,
        invalid("name-empty", "A name of no bytes.", base.with_group(1, raw_name=b"\0"), "CorruptHead"),
        invalid("class-empty", "A class of no bytes.", base.with_group(1, raw_class=b"\0"), "CorruptHead"),
        invalid("name-beyond", "A name that reaches beyond the head's end.",
                base.with_group(1, raw_name=b"\xffabc"), "CorruptHead"),
    ]  # fmt: skip


def chunk_faults() -> list[Made]:
    base = replace(one(), groups=(Entry(0),))

    def of(*chunks: tuple[bytes, bytes]) -> File:
        return replace(base, chunks=chunks)

    return [
        invalid("chunk-tag", "A tag with a digit.", of((b"AB1D", b"")), "CorruptHead"),
        invalid("chunk-twice", "A tag that occurs twice.", of((b"ABCD", b""), (b"ABCD", b"x")), "CorruptHead"),
        invalid("chunk-order", "Tags that do not ascend.", of((b"XMPP", XMP), (b"EXIF", EXIF)), "CorruptHead"),
        invalid("chunk-sign-not-last", "SIGN before XMPP.", of((b"SIGN", b""), (b"XMPP", XMP)), "CorruptHead"),
        invalid("chunk-sign-by-tag", "SIGN where its letters would put it, before a tag of small letters.",
                of((b"SIGN", b""), (b"teST", b"")), "CorruptHead"),
        invalid("chunk-beyond", "A chunk that reaches beyond the head's end.",
                replace(base, raw_chunks=b"\1ABCD\x7fabc"), "CorruptHead"),
        invalid("chunk-length-not-minimal", "The length of a chunk has a byte too many.",
                replace(base, raw_chunks=b"\1ABCD\x81\0a"), "CorruptHead"),
        invalid("chunk-missing", "Two chunks are announced, and there is one.",
                replace(base, raw_chunks=b"\2ABCD\0"), "CorruptHead"),
        invalid("icc-not-zlib", "A profile that is not deflated.", of((b"ICCP", profile())), "CorruptHead"),
        invalid("icc-cut", "A profile whose zlib stream is cut off.",
                of((b"ICCP", stored_zlib(profile())[:-1])), "CorruptHead"),
        invalid("icc-behind", "A byte behind the zlib stream of the profile.",
                of((b"ICCP", stored_zlib(profile()) + b"\0")), "CorruptHead"),
        invalid("icc-checksum", "A profile whose zlib stream has a wrong checksum.",
                of((b"ICCP", flipped(stored_zlib(profile()), -1))), "CorruptHead"),
        invalid("icc-limit", "A profile that inflates to more bytes than the limit that is given.",
                of((b"ICCP", stored_zlib(bytes(3000)))), "LimitExceeded", limits={"max_profile_bytes": 2999}),
    ]  # fmt: skip


def mask_faults() -> list[Made]:
    base = two()
    single = replace(one(), groups=(Entry(0),))
    cells = base.mask.size
    _, coded = base.coded_mask()
    halves = File(90, 90, np.repeat(np.array([[0, 0, 1, 1, 1, 1]], np.uint8), 6, 0), (Entry(0), Entry(1)))
    large = File(130, 90, (blobs() > 0).astype(np.uint8), (Entry(0), Entry(1)))
    four = File(130, 90, blobs(), tuple(Entry(i) for i in range(4)))
    two_labels = np.array([[0, 0, 1, 1, 1, 1]] * 6, np.uint8)
    no_block = File(90, 90, two_labels, (Entry(0), Entry(1), Entry(2)))
    return [
        invalid("mask-needless", "Bytes of a mask, where one label needs none.",
                replace(single, raw_mask=b"\1"), "CorruptHead"),
        invalid("mask-missing", "No bytes of a mask, which decode like zeros to one that lacks a label.",
                replace(base, raw_mask=b""), "CorruptHead"),
        invalid("mask-cut", "A mask cut off, so that it announces more than there is room for.",
                replace(four, raw_mask=four.coded_mask()[1][:-5]),
                "CorruptHead"),
        invalid("mask-zero-behind", "A zero byte behind the mask.", replace(base, raw_mask=coded + b"\0"),
                "CorruptHead"),
        invalid("mask-byte-behind", "A byte behind the mask.", replace(base, raw_mask=coded + b"\x42"),
                "CorruptHead"),
        invalid("mask-not-smallest", "The mask as another fraction of the same interval.",
                replace(large, raw_mask=other_fraction(large)), "CorruptHead"),
        invalid("mask-breaks", "More breaks than cells.", replace(base, raw_mask=announced(cells + 1)),
                "CorruptHead"),
        invalid("mask-breaks-left", "As many breaks as cells, more than there are chances.",
                replace(base, raw_mask=announced(cells, [True] * cells)), "CorruptHead"),
        invalid("mask-gap", "A gap of more chances than cells.",
                replace(base, raw_mask=announced(1, [False] * (cells + 1))), "CorruptHead"),
        invalid("mask-step-smaller", "A step of 0, where the mask is exact with 1.",
                replace(halves, raw_step=0), "CorruptHead"),
        invalid("mask-step-one-label", "A step of 2 with one label.", replace(single, raw_step=2), "CorruptHead"),
        invalid("mask-label-missing", "A group that owns no block.", no_block, "CorruptHead"),
        invalid("mask-labels", "Two groups on one block.",
                File(9, 9, np.zeros((1, 1), np.uint8), (Entry(0), Entry(1)), raw_mask=b""), "CorruptHead"),
        invalid("mask-stream", "Bytes of which the range coder says that no encoder wrote them.",
                replace(large, raw_mask=b"\xff" * 12), "CorruptHead"),
    ]  # fmt: skip


def segment_faults() -> list[Made]:
    """What is found when groups are decoded."""
    base = one()
    head = len(base.head())
    data = bytes(base)
    model = replace(base, model=bytes.fromhex("0123456789abcdef"))
    return [
        invalid("segment-missing", "The file ends with the head.", data[:head], "TruncatedFile", "decode"),
        invalid("segment-cut", "The file ends inside of its only segment.", data[:-1], "TruncatedFile", "decode"),
        invalid("segment-checksum", "A bit of the only segment is flipped.", damaged(base, 0, 3), "DamagedSegment",
                "decode"),
        invalid("segment-zero", "The only segment ends in a zero byte.",
                base.with_group(0, payload=base.group(0).payload + b"\0"), "DamagedSegment", "decode"),
        invalid("segment-contradiction", "The only substream contradicts itself.",
                base.with_group(0, payload=contradicting(base, 0)), "DamagedSegment", "decode"),
        invalid("segments-exchanged", "The segments of two groups of unequal length have changed places.",
                exchanged_clear(), "DamagedSegment", "decode"),
        invalid("model-unknown", "A model that nobody has.", model, "UnknownModel", "decode"),
        invalid("memory-limit", "Decoding takes more memory than the limit that is given.", base, "LimitExceeded",
                "decode", limits={"max_memory": 1000}),
    ]  # fmt: skip


def exchanged_clear() -> bytes:
    file = without(three(), [0])
    return file.head() + file.group(1).payload + file.group(2).payload


def seal_faults() -> list[Made]:
    """Sealed groups; all other groups are absent, so that the error is the file's."""
    base = without(three(), [0, 2])
    seed = seed_of("1")
    good = seal(base, [1])
    payload = good.group(1).payload
    bob = for_people("bob", seed=seed)[0]
    alice = for_people("alice", seed=seed)[0]
    pair = without(three(), [0])
    both = seal(pair, [1, 2])
    another = both.group(2).payload
    elsewhere = replace(seal(base, [1], suite=OTHER_FILE), seal=AES)
    two_keys = seal(base, [1], ("alice", "bob")).group(1).payload
    keys = packed_stanzas([alice, bob])
    assert two_keys[1:].startswith(keys)
    rest = two_keys[1 + len(keys) :]
    alone = payload[1 + len(packed_stanzas([alice])) :]
    small = replace(base, width=61)
    moved = replace(base, mask=np.where(three().mask == 2, np.uint8(1), np.uint8(ABSENT)))
    word = {"passphrases": ["../keys/passphrase.txt"]}
    me = {"identities": key("alice")}

    def of(content: bytes, file: File = good) -> File:
        return file.with_group(1, payload=content)

    def stanzas(which: Stanzas) -> File:
        return seal(base, [1], stanzas=lambda _: which)

    def phrase(cost: int) -> File:
        return seal(base, [1], stanzas=lambda s: for_passphrase(PASSPHRASE, seed=s, cost=cost))

    def bound(**changes: Any) -> File:
        return good.with_group(1, **changes)

    def plain(content: bytes) -> File:
        return seal(base, [1], plain=content)

    content = base.group(1).payload
    cases: list[tuple[str, str, File, str, dict[str, Any]]] = [
        ("sealed-no-key", "A sealed group alone, and no key.", good, "EncryptedSegment", {}),
        ("sealed-wrong-key", "A key that it is not sealed to.", good, "WrongKey", {"identities": key("mallory")}),
        ("sealed-wrong-passphrase", "Another passphrase.", phrase(14), "WrongKey",
         {"passphrases": ["../keys/wrong-passphrase.txt"]}),
        ("sealed-passphrase-for-key", "A passphrase, where an X25519 key is needed.", good, "WrongKey", word),
        ("sealed-only-foreign", "Wrapped for a key of another sort only.", stanzas([for_stranger()]), "WrongKey", me),
        ("sealed-low-order", "An encapsulated key that is a point of low order.",
         stanzas([(1, bytes(32) + alice[1][32:])]), "WrongKey", me),
        ("sealed-suite-unknown", "A suite that version 1 does not name.", replace(good, seal=b"\x09" + AES[1:]),
         "EncryptedSegment", me),
        ("tampered-ciphertext", "A bit of the ciphertext is flipped.", of(flipped(payload, -20)), "TamperedSegment",
         me),
        ("tampered-tag", "A bit of the tag is flipped.", of(flipped(payload, -1)), "TamperedSegment", me),
        ("tampered-cut", "The last byte of the sealed group is missing.", of(payload[:-1]), "TamperedSegment", me),
        ("tampered-longer", "A byte behind the sealed group.", of(payload + b"\0"), "TamperedSegment", me),
        ("tampered-mac", "A bit of the key list MAC is flipped.",
         of(flipped(payload, 1 + len(packed_stanzas([alice])))), "TamperedSegment", me),
        ("tampered-exchanged", "The sealed segment of another group of the file stands in its place.", of(another),
         "TamperedSegment", me),
        ("tampered-other-file", "A sealed group of another file, which has another file id.", elsewhere,
         "TamperedSegment", me),
        ("tampered-version", "The version is another than was sealed.", of(b"\1" + payload[1:]), "TamperedSegment",
         me),
        ("tampered-name", "The group has another name.", bound(name="cat"), "TamperedSegment", me),
        ("tampered-class", "The group has lost its class.", bound(class_name=None), "TamperedSegment", me),
        ("tampered-score", "The group has another score.", bound(score=205), "TamperedSegment", me),
        ("tampered-score-none", "The group has no score, where it had one.", bound(score=None), "TamperedSegment",
         me),
        ("tampered-quality", "The group has another quality.", bound(quality=84), "TamperedSegment", me),
        ("tampered-id", "The group has another id.",
         replace(good, groups=(replace(good.group(1), id=2),), mask=np.where(good.mask == 1, np.uint8(2), good.mask)),
         "TamperedSegment", me),
        ("tampered-blocks", "The group has other blocks.", of(payload, replace(good, mask=moved.mask)),
         "TamperedSegment", me),
        ("tampered-size", "The picture has another width.", of(payload, replace(good, width=small.width)),
         "TamperedSegment", me),
        ("tampered-model", "The file names another model.", replace(good, model=bytes(8)), "TamperedSegment", me),
        ("tampered-hidden", "A group that was sealed, in a hidden entry.",
         replace(good, groups=(replace(PUBLIC, encrypted=True, hidden=True,
                                       payload=varint(len(payload)) + payload),),
                 mask=np.where(good.mask == 1, np.uint8(3), good.mask)), "TamperedSegment", me),
        ("keys-taken-away", "One of two wrapped keys was taken away.",
         of(b"\0" + packed_stanzas([alice]) + rest), "TamperedSegment", me),
        ("keys-put-in", "A wrapped key was put in.", of(b"\0" + packed_stanzas([alice, bob]) + alone),
         "TamperedSegment", me),
        ("keys-exchanged", "Two wrapped keys have changed places.", of(b"\0" + packed_stanzas([bob, alice]) + rest),
         "TamperedSegment", me),
        ("keys-foreign-changed", "A stanza of another sort was changed.",
         of(seal(base, [1], stanzas=lambda s: [for_stranger(), alice]).group(1).payload.replace(b"token", b"taken")),
         "TamperedSegment", me),
        ("min-version", "Version 2 of a group, where at least 3 is asked for.", seal(base, [1], version=2),
         "TamperedSegment", {**me, "min_version": 3}),
        ("version-not-minimal", "The version of a sealed group has a byte too many.", of(b"\x80\0" + payload[1:]),
         "DamagedSegment", me),
        ("stanza-cut", "The segment ends inside of a stanza.", of(payload[:40]), "DamagedSegment", me),
        ("stanza-none", "The segment ends before the stanzas.", of(payload[:1]), "DamagedSegment", me),
        ("stanza-kind-0", "A stanza of kind 0.", of(b"\0\0" + payload[2:]), "DamagedSegment", me),
        ("stanza-kind-4", "A stanza of kind 4.", of(b"\0\4" + payload[2:]), "DamagedSegment", me),
        ("stanza-33", "33 stanzas.", stanzas([for_stranger(body=bytes([i])) for i in range(32)] + [alice]),
         "DamagedSegment", me),
        ("stanza-passphrase-beside", "A passphrase beside a key.",
         seal(base, [1], stanzas=lambda s: [*for_passphrase(PASSPHRASE, seed=s), alice]), "DamagedSegment", me),
        ("stanza-label", "A stanza of another sort whose label has no slash.",
         stanzas([for_stranger("token"), alice]), "DamagedSegment", me),
        ("stanza-label-letter", "A stanza of another sort whose label has a space.",
         stanzas([for_stranger("example.org/a b"), alice]), "DamagedSegment", me),
        ("stanza-foreign-empty", "A stanza of another sort of no bytes.",
         stanzas([for_stranger(body=b""), alice]), "DamagedSegment", me),
        ("stanza-foreign-long", "A stanza of another sort of 2049 bytes.",
         stanzas([for_stranger(body=bytes(2049)), alice]), "DamagedSegment", me),
        ("sealed-cut-mac", "The segment ends inside of the key list MAC.",
         of(payload[: 1 + len(packed_stanzas([alice])) + 20]), "DamagedSegment", me),
        ("scrypt-13", "A passphrase guarded by 2^13 rounds of scrypt, fewer than are allowed.", phrase(13),
         "LimitExceeded", word),
        ("scrypt-limit", "A passphrase that costs more than the limit that is given.", phrase(15),
         "LimitExceeded", {**word, "limits": {"max_scrypt_cost": 14}}),
        ("padding-not-zero", "Padding that is not zero.", plain(varint(2) + content + b"\0\1"), "DamagedSegment", me),
        ("padding-longer", "Padding longer than the plaintext.", plain(varint(100000) + content), "DamagedSegment",
         me),
        ("padding-none", "A plaintext of no bytes.", plain(b""), "DamagedSegment", me),
        ("padding-not-minimal", "The length of the padding has a byte too many.", plain(b"\x80\0" + content),
         "DamagedSegment", me),
    ]  # fmt: skip
    return [invalid(name, about, file, error, "decode", **sheet) for name, about, file, error, sheet in cases] + [
        invalid("decrypt-nothing", "Nothing in the file is sealed.", three(), "InvalidInput", "decrypt", **me),
        invalid("decrypt-wrong-key", "The key opens none of the groups.", seal(three(), [1]), "WrongKey", "decrypt",
                identities=key("mallory")),
        invalid("decrypt-tampered", "The only sealed group was changed.",
                seal(three(), [1]).with_group(1, payload=flipped(seal(three(), [1]).group(1).payload, -1)),
                "TamperedSegment", "decrypt", **me),
    ]  # fmt: skip


def hidden_faults() -> list[Made]:
    """Parts that a faulty or hostile writer sealed; the background is absent."""
    base = without(three(), [0])
    group = base.group(1)
    me = {"identities": key("alice")}
    flat_blocks = base.mask == 1

    def part(content: bytes) -> File:
        return hide(without(base, [2]), {1: ("alice",)}, PUBLIC, contents={1: content})

    short = runs(flat_blocks)
    whole = hide(without(base, [2]), {1: ("alice",)}, PUBLIC)
    segment = whole.group(3).payload
    cases = [
        ("hidden-id-255", "A part of id 255.", part(inner(base, group, id=255))),
        ("hidden-id-taken", "A part with the id of the entry that it is in.", part(inner(base, group, id=3))),
        ("hidden-name-taken", "A part with the name of the entry that it is in.",
         part(inner(base, group, name="sealed"))),
        ("hidden-name-refused", "A part with a name that no group may have.", part(inner(base, group, name="a\n"))),
        ("hidden-quality-0", "A part of quality 0.", part(inner(base, group, quality=0))),
        ("hidden-quality-101", "A part of quality 101.", part(inner(base, group, quality=101))),
        ("hidden-flags", "A part with a flag that must be 0.", part(inner(base, group, flags=7))),
        ("hidden-no-blocks", "A part that owns no block.",
         part(inner(base, group, raw_runs=varint(base.mask.size)))),
        ("hidden-blocks-of-others", "A part that owns blocks which are not the entry's.",
         part(inner(base, group, raw_runs=runs(base.mask != 9)))),
        ("hidden-runs-zero", "A run of no blocks that is not the first.",
         part(inner(base, group, raw_runs=short[:1] + b"\0\0" + short[1:]))),
        ("hidden-runs-long", "Runs of more blocks than there are.",
         part(inner(base, group, raw_runs=short[:-1] + b"\x7f"))),
        ("hidden-cut", "A part that ends inside of its name.", part(inner(base, group)[:6])),
        ("hidden-part-cut", "A part that is longer than the segment.",
         whole.with_group(3, payload=segment[:-1])),
        ("hidden-part-length", "A part whose length has a byte too many.",
         whole.with_group(3, payload=padded_varint(len(segment) - len_of_varint(segment)) +
                          segment[len_of_varint(segment):])),
        ("hidden-no-parts", "A hidden entry of no parts.", whole.with_group(3, payload=b"")),
    ]  # fmt: skip
    made = [invalid(name, about, file, "DamagedSegment", "decode", **me) for name, about, file in cases]
    return [
        *made,
        invalid("hidden-no-key", "A hidden entry alone, and no key.", whole, "EncryptedSegment", "decode"),
        invalid("hidden-wrong-key", "A hidden entry alone, and a key that opens no part.", whole, "WrongKey",
                "decode", identities=key("mallory")),
        invalid("hidden-tampered", "A bit of the only part is flipped.",
                whole.with_group(3, payload=flipped(segment, -1)), "TamperedSegment", "decode", **me),
        invalid("hidden-key-taken-away", "One of two wrapped keys of the only part was taken away.",
                key_taken_away(), "TamperedSegment", "decode", **me),
    ]  # fmt: skip


def key_taken_away() -> File:
    file = hide(without(three(), [0, 2]), {1: ("alice", "bob")}, PUBLIC)
    segment = file.group(3).payload
    one = segment[len_of_varint(segment) :]
    seed = seed_of("part 1")
    alice, bob = for_people("alice", "bob", seed=seed)
    assert one[1:].startswith(packed_stanzas([alice, bob]))
    one = one[:1] + packed_stanzas([alice]) + one[1 + len(packed_stanzas([alice, bob])) :]
    return file.with_group(3, payload=varint(len(one)) + one)


def signature_faults() -> list[Made]:
    base = three()
    good = signed(base)
    (_, body), trust = good.chunks[-1], {"trust": ["../keys/signer.pub"]}

    def of(content: bytes, file: File = good) -> File:
        return replace(file, chunks=((b"SIGN", content),))

    old = base.group(2).payload
    forged = with_crc(flipped(old, 4), crc(old))
    assert forged != old
    assert crc(forged) == crc(old)
    other_key = of(body[:1] + SIGNERS["impostor"].verify_key.raw + body[33:])
    renamed = replace(good, groups=tuple(replace(g, name="cat") if g.id == 1 else g for g in good.groups))
    cases: list[tuple[str, str, File, str, str, dict[str, Any]]] = [
        ("unsigned", "The file is not signed.", base, "SignatureError", "verify", {}),
        ("unsigned-trust", "The file is not signed, and a signer is trusted.", base, "SignatureError", "open", trust),
        ("signature-foreign", "Signed by another than the one who is trusted.", signed(base, "impostor"),
         "SignatureError", "open", trust),
        ("signature-bit", "A bit of the signature is flipped.", of(flipped(body, -10)), "SignatureError", "verify", {}),
        ("signature-bit-trust", "The same, opened with trust in the signer.", of(flipped(body, -10)),
         "SignatureError", "open", trust),
        ("signature-key", "The key of another stands in the signature.", other_key, "SignatureError", "verify", {}),
        ("signature-key-no-point", "What stands for the key is no point of the curve.",
         of(body[:1] + b"\x02" + bytes(31) + body[33:]), "SignatureError", "verify", {}),
        ("signature-algorithm", "An algorithm that version 1 does not name.", signed(base, algorithm=2),
         "SignatureError", "verify", {}),
        ("signature-short", "The signature lacks its last byte.", of(body[:-1]), "SignatureError", "verify", {}),
        ("signature-hashes", "The signature has a hash too few.", signed(base, hashes=2), "SignatureError", "verify",
         {}),
        ("signature-empty", "The signature has no bytes.", of(b""), "SignatureError", "verify", {}),
        ("signed-name-changed", "A name was changed since.", renamed, "SignatureError", "open", trust),
        ("signed-quality-changed", "A quality was changed since.", good.with_group(0, quality=61), "SignatureError",
         "open", trust),
        ("signed-mask-changed", "A block has another owner since.",
         replace(good, mask=np.where(np.arange(12).reshape(3, 4) == 0, np.uint8(1), good.mask)), "SignatureError",
         "open", trust),
        ("signed-chunk-added", "A chunk was put in since.",
         replace(good, chunks=((b"EXIF", EXIF), *good.chunks)), "SignatureError", "open", trust),
        ("signed-order-changed", "The order of the segments was changed since.", replace(good, order=(0, 1, 2)),
         "SignatureError", "open", trust),
        ("signed-segment-forged", "A segment was exchanged for another of the same CRC-32.",
         good.with_group(2, payload=forged), "SignatureError", "verify", {}),
    ]  # fmt: skip
    alone = without(base, [0, 1])
    return [invalid(n, about, file, error, at, **sheet) for n, about, file, error, at, sheet in cases] + [
        invalid("signed-segment-damaged", "A bit of a segment is flipped.", damaged(good, 1, 5), "DamagedSegment",
                "verify"),
        invalid("signed-segment-cut", "The last segment is cut off.", bytes(good)[:-1], "TruncatedFile", "verify"),
        invalid("signed-segment-forged-trust", "The only segment was exchanged for another of the same CRC-32; the "
                "head is as it was signed.", signed(alone).with_group(2, payload=forged), "SignatureError", "decode",
                **trust),
    ]  # fmt: skip


INVALID = (
    starts, fields, names, chunk_faults, mask_faults, segment_faults, seal_faults, hidden_faults, signature_faults,
)  # fmt: skip
