"""What callers may give to the functions of `ssic`, and what they get for what they may not."""

from __future__ import annotations

import copy
import io
import math
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import ssic
from helpers.commands import Run
from helpers.loopback import serving
from helpers.masks import blob_mask
from helpers.pictures import natural_picture
from ssic.groups.segment import find_segmenter, segment
from ssic.model.weights import find_weights
from ssic.pictures.fill import compose
from ssic.pictures.read import load_picture

PIXELS = natural_picture(3, 40, 60)
MASK = ssic.GroupMask(
    blob_mask(4, 3, 4, 3), {0: "background", 1: "face", 2: "person 2"}, {1: "person", 2: "person"}, {1: 0.5}
)
ME, SIGNER = ssic.Identity.generate(), ssic.SigningKey.generate()


class Files(NamedTuple):
    data: bytes
    opened: ssic.SsicFile
    sealed: bytes
    signed: bytes


@pytest.fixture(scope="module")
def files() -> Files:
    data = ssic.encode(PIXELS, MASK)
    return Files(
        data,
        ssic.SsicFile(data),
        bytes(ssic.encrypt(data, "face", ME.recipient)),
        bytes(ssic.sign(data, SIGNER)),
    )


WRONG = [
    5, 3.5, -1, 10**400, math.nan, True, None, "x", "", "a\0b", b"x", memoryview(b"x"), [], ["a"], [None], [[1]],
    (1, 2), ("a", "b"), [("image", 3)], {}, {"a": 1}, {"face": "x"}, {1: None}, np.zeros((2, 2)), object(), len,
    Path("nope"), ME,
]  # fmt: skip

Call = tuple[Callable[..., Any], list[Any], str]
CALLS: dict[str, Callable[[Files], Call]] = {
    "ssic.encode": lambda f: (
        ssic.encode, [PIXELS, MASK], "quality group_quality order target group_targets model engine progress"
    ),
    "ssic.decode": lambda f: (
        ssic.decode,
        [f.data, "face"],
        "fill scale model engine limits progress identity min_version trust storage_options",
    ),
    "ssic.open": lambda f: (ssic.open, ["nope.ssic"], ""),
    "ssic.open of bytes": lambda f: (
        ssic.open, [f.data], "model limits storage_options prefix identity min_version trust"
    ),
    "ssic.open of an opened file": lambda f: (
        ssic.open, [f.opened], "model limits storage_options prefix identity min_version trust"
    ),
    "ssic.open of an open file": lambda f: (
        lambda **options: ssic.open(io.BytesIO(f.data), **options), [], "model limits storage_options prefix"
    ),
    "ssic.SsicFile": lambda f: (ssic.SsicFile, [f.data], "model limits identity min_version trust"),
    "ssic.merge": lambda f: (ssic.merge, [[f.data]], "limits"),
    "ssic.encrypt": lambda f: (ssic.encrypt, [f.data, "face", ME.recipient], "hide version cipher limits"),
    "ssic.decrypt": lambda f: (ssic.decrypt, [f.sealed, ME], "groups min_version limits"),
    "ssic.rewrap": lambda f: (ssic.rewrap, [f.sealed, ME, ME.recipient], "groups limits"),
    "ssic.sign": lambda f: (ssic.sign, [f.data, SIGNER], "limits"),
    "ssic.verify": lambda f: (ssic.verify, [f.signed, SIGNER.verify_key], "limits"),
    "ssic.Target": lambda f: (ssic.Target, ["bytes", 3], ""),
    "ssic.Target.of": lambda f: (ssic.Target.of, ["bytes:3"], ""),
    "ssic.GroupMask": lambda f: (ssic.GroupMask, [MASK.ids, MASK.names], "classes scores"),
    "ssic.GroupMask.single": lambda f: (ssic.GroupMask.single, [(60, 40)], ""),
    "ssic.GroupMask.grid": lambda f: (ssic.GroupMask.grid, [(60, 40), 2, 2], ""),
    "ssic.GroupMask.from_label_map": lambda f: (
        ssic.GroupMask.from_label_map, [np.zeros((40, 60), np.uint8), (60, 40)], "names rule"
    ),
    "ssic.GroupMask.from_boxes": lambda f: (ssic.GroupMask.from_boxes, [[[0, 0, 16, 16]], (60, 40)], "rule"),
    "MASK.resolve": lambda f: (MASK.resolve, ["face"], ""),
    "MASK.blocks": lambda f: (MASK.blocks, [1], ""),
    "MASK.to_pixels": lambda f: (MASK.to_pixels, [60, 40], ""),
    "segment": lambda f: (segment, [lambda rgb: [], PIXELS], "keep min_score max_groups group_by rule always"),
    "find_segmenter": lambda f: (find_segmenter, ["foreground"], ""),
    "ssic.Identity.parse": lambda f: (ssic.Identity.parse, ["x"], ""),
    "ssic.Recipient.load": lambda f: (ssic.Recipient.load, ["nope"], ""),
    "ssic.Recipient.load_all": lambda f: (ssic.Recipient.load_all, ["nope"], ""),
    "ssic.Identity": lambda f: (ssic.Identity, [b"x" * 32], ""),
    "ssic.Passphrase": lambda f: (ssic.Passphrase, ["x"], ""),
    "ssic.load_picture": lambda f: (ssic.load_picture, [PIXELS], ""),
    "SsicFile.decode": lambda f: (f.opened.decode, ["face"], "fill scale engine progress"),
    "SsicFile.decode_pixels": lambda f: (f.opened.decode_pixels, ["face"], "scale engine progress"),
    "SsicFile.codec": lambda f: (f.opened.codec, [], "engine"),
    "SsicFile.extract": lambda f: (f.opened.extract, ["face"], ""),
    "SsicFile.drop": lambda f: (f.opened.drop, ["face"], ""),
    "SsicFile.reorder": lambda f: (f.opened.reorder, ["face"], ""),
    "SsicFile.replace": lambda f: (f.opened.replace, ["face", PIXELS], "quality engine progress"),
    "SsicFile.set_quality": lambda f: (f.opened.set_quality, [{"face": 20}], "original engine progress"),
    "SsicFile.transfer": lambda f: (f.opened.transfer, ["face"], ""),
    "SsicFile.__getitem__": lambda f: (f.opened.__getitem__, ["face"], ""),
    "SsicFile.__contains__": lambda f: (f.opened.__contains__, ["face"], ""),
    "ssic.Codec.load": lambda f: (ssic.Codec.load, [], "model engine"),
    "Codec.encode": lambda f: (
        ssic.Codec.load().encode, [PIXELS, MASK], "quality group_quality order target group_targets progress"
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CALLS)
def test_arguments_of_any_type_work_or_raise_errors_of_ssic(files: Files, name: str) -> None:
    function, arguments, options = CALLS[name](files)
    for wrong in [*WRONG, io.StringIO("x"), files.opened]:
        for place in range(len(arguments)):
            given = [*arguments[:place], wrong, *arguments[place + 1 :]]
            works_or_refuses(partial(function, *given))
        for option in options.split():
            works_or_refuses(partial(function, *arguments, **{option: wrong}))


def works_or_refuses(call: Callable[[], Any]) -> None:
    try:
        call()
    except (ssic.SsicError, OSError):
        pass
    except Exception as error:
        pytest.fail(f"{call}: {error!r}")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda f: f.opened.decode("face", fill=(255, 0)),
            r"the fill can be black, mean.*\(255, 0\) is no colour",
        ),
        (
            lambda f: f.opened.decode("face", fill=(256, 0, 0)),
            "the fill can be black, mean.*256, 0, 0. is no colour",
        ),
        (lambda f: f.opened.decode("face", fill=None), "the fill can be black, mean.*None is no colour"),
        (lambda f: ssic.encode(PIXELS, target=300), 'a target is written like "bytes:20000".*not 300'),
        (lambda f: ssic.encode(PIXELS, group_targets={"image": 35}), "a target is written like.*not 35"),
        (lambda f: ssic.Target("bytes", "3"), "the bytes of a target are a number, not '3'"),
        (lambda f: ssic.encode(PIXELS, group_quality=[("image", 3)]), "group_quality is a mapping.*not list"),
        (lambda f: bytes(f.opened.set_quality([("face", 3)])), "group_quality is a mapping.*not list"),
        (lambda f: ssic.GroupMask(MASK.ids, ["a"]), "names is a mapping.*not list"),
        (
            lambda f: bytes(ssic.merge(f.data)),
            r"merge takes a list of files, \[one, another\], not bytes alone",
        ),
        (
            lambda f: bytes(ssic.merge("a.ssic")),
            r"merge takes a list of files, \[one, another\], not str alone",
        ),
        (lambda f: bytes(ssic.merge([])), "merge needs at least one file"),
        (lambda f: bytes(ssic.merge([None])), "given by its path or URL, as bytes, .*, not as None"),
        (
            lambda f: bytes(ssic.encrypt(3, "face", ME.recipient)),
            "given by its path or URL, as bytes, .*, not as int",
        ),
        (lambda f: ssic.decode(["a.ssic"]), "given by its path or URL, as bytes, .*, not as list"),
        (lambda f: ssic.SsicFile("a.ssic"), "bytes, not str; ssic.open takes a path"),
        (lambda f: ssic.SsicFile(f.opened), "open already: call its own methods"),
        (lambda f: f.opened.save(3), "files are written to a path, not to int"),
        (lambda f: f.opened.save("a\0b"), "no path: it holds a NUL"),
        (lambda f: ssic.open(io.StringIO("x")), "not str; the file must be open in binary mode"),
        (lambda f: ssic.GroupMask.grid(512, 3, 3), r"a size is \(width, height\) in pixels, not 512"),
        (lambda f: ssic.GroupMask.from_label_map(MASK.ids, PIXELS), r"an array of shape \[40, 60, 3\]"),
        (
            lambda f: segment(lambda rgb: [], "photo.jpg"),
            r"not str: load_picture\(...\).pixels reads",
        ),
        (lambda f: segment("foreground", PIXELS), "not str: `find_segmenter` finds one by name"),
        (
            lambda f: ssic.verify(f.signed, trust="sign.pub"),
            "trusted are VerifyKeys, not str: VerifyKey.load reads",
        ),
        (
            lambda f: ssic.decode(f.signed, trust="sign.pub"),
            "trusted are VerifyKeys, not str: VerifyKey.load reads",
        ),
        (lambda f: ssic.decode(f.signed, trust=[SIGNER]), "trusted are VerifyKeys, not SigningKey"),
        (lambda f: bytes(ssic.encrypt(f.data, "face", "me.pub")), "not to str; see Recipient.load"),
        (
            lambda f: ssic.encode(PIXELS, target="bytes:900", quality=90),
            "target and quality exclude each other",
        ),
    ],
)
def test_messages_say_what_is_right(files: Files, call: Callable[[Files], Any], message: str) -> None:
    with pytest.raises(ssic.InvalidInput, match=message):
        call(files)


def test_an_empty_path_is_not_the_current_folder() -> None:
    with pytest.raises(FileNotFoundError):
        ssic.open("")


@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_a_fill_is_also_three_numbers(colour: tuple[int, int, int]) -> None:
    present = MASK.to_pixels(60, 40) == 1
    expected = compose(PIXELS, present, "#" + bytes(colour).hex())
    for fill in (colour, list(colour), np.array(colour, np.uint8)):
        np.testing.assert_array_equal(compose(PIXELS, present, fill), expected)


def test_what_may_be_left_out_may_be_none(files: Files) -> None:
    options: dict[str, Any] = dict.fromkeys(
        ("quality", "group_quality", "order", "target", "group_targets", "model", "progress")
    )
    assert ssic.encode(PIXELS, MASK, **options) == ssic.encode(PIXELS, MASK, quality=60) == files.data
    ssic.decode(files.data, None, model=None, limits=None, progress=None, identity=None, trust=None)
    assert bytes(files.opened.replace("face", PIXELS, quality=None, progress=None)) == files.data


def test_files_that_are_open_are_read() -> None:
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "png")
    file.seek(0)
    data = ssic.encode(file, MASK)
    assert data == ssic.encode(PIXELS, MASK)
    opened = ssic.open(io.BytesIO(data))
    assert opened.names == ("background", "face", "person 2")
    first = ssic.open(io.BytesIO(data), prefix=opened.head.head_bytes)
    assert first.damaged() == list(opened.names)


def test_what_was_opened_with_trust_is_copied_as_it_was_signed(files: Files) -> None:
    """A segment that was exchanged behind its checksum: only the signature tells, and only where it is copied."""
    entry = ssic.SsicFile(files.signed)["face"]
    forged = bytearray(files.signed)
    for i, byte in enumerate((0x1DB710641).to_bytes(5, "little"), entry.offset):
        forged[i] ^= byte  # the polynomial of CRC-32, which CRC-32 can't see
    assert ssic.SsicFile(bytes(forged)).damaged() == []
    opened = ssic.SsicFile(bytes(forged), trust=SIGNER.verify_key)
    others = ["background", "person 2"]
    calls: list[Callable[[], bytes]] = [
        lambda: bytes(opened.extract("face")),
        lambda: bytes(opened.drop("background")),
        lambda: bytes(opened.reorder("person 2")),
        lambda: bytes(opened.replace("background", PIXELS)),
        lambda: bytes(opened.set_quality({"background": 20})),
        lambda: bytes(ssic.encrypt(opened, "background", ME.recipient)),
        lambda: bytes(ssic.merge([opened])),
    ]
    for call in calls:
        with pytest.raises(ssic.SignatureError, match='"face" is not the one that was signed'):
            call()
    assert (
        bytes(opened.extract(others))
        == bytes(opened.drop("face"))
        == bytes(ssic.SsicFile(files.data).extract(others))
    )
    assert bytes(opened.replace("face", PIXELS)) == files.data


@pytest.mark.parametrize("signing", [False, True])
def test_keys_that_keygen_writes_are_loaded(run: Run, tmp_path: Path, signing: bool) -> None:
    private, public = tmp_path / "k.key", tmp_path / "k.pub"
    run("keygen", *["--signing"] * signing, "-o", private, "--public", public)
    secret_kind, public_kind = (
        (ssic.SigningKey, ssic.VerifyKey) if signing else (ssic.Identity, ssic.Recipient)
    )
    key = secret_kind.load(private)
    assert secret_kind.parse(private.read_text()) == key
    assert public_kind.load(public) == public_kind.load(str(private)) == key.public
    assert public_kind.parse(public.read_text()) == key.public
    with pytest.raises(ssic.BadKey, match="was expected"):
        secret_kind.load(public)


def test_files_with_several_keys_or_none(tmp_path: Path) -> None:
    keys = [ssic.Identity.generate() for _ in range(3)]
    path = tmp_path / "keys"
    words = [str(keys[0].recipient), "", "# me", keys[1].secret(), str(keys[2].recipient)]
    path.write_text("\n".join(words))
    assert ssic.Recipient.load_all(path) == [key.recipient for key in keys]
    with pytest.raises(ssic.BadKey, match="3 keys; `load_all`"):
        ssic.Recipient.load(path)
    with pytest.raises(ssic.BadKey, match="2 keys, where a recipient") as error:
        ssic.Recipient.parse("\n".join([words[0], words[4]]))
    assert words[0] not in str(error.value)
    path.write_text("# nothing\n\n")
    with pytest.raises(ssic.BadKey, match="holds no key"):
        ssic.Recipient.load_all(path)
    with pytest.raises(FileNotFoundError):
        ssic.Recipient.load(tmp_path / "nope")


def test_an_opened_file_is_a_collection_of_its_groups(files: Files) -> None:
    opened = files.opened
    with opened as same:
        assert same is opened
    assert [group.name for group in opened] == list(opened.names) == ["background", "face", "person 2"]
    assert len(opened) == 3
    assert opened["face"] is opened[1] is opened["1"] is opened.groups[1]
    assert [key in opened for key in ("face", "person", 2, "7", None)] == [True, True, True, False, False]
    with pytest.raises(ssic.UnknownGroup, match='"person" is more than one group: face, person 2'):
        opened["person"]
    with pytest.raises(ssic.UnknownGroup, match="did you mean"):
        opened["fase"]


def test_what_is_printed_is_short(files: Files) -> None:
    assert repr(files.opened) == "<SsicFile 60x40 pixels, 3 groups: background, face, person 2>"
    assert repr(MASK) == "<GroupMask 4x3 blocks, 3 groups: background, face, person 2>"
    assert repr(ssic.GroupMask.single((16, 16))) == "<GroupMask 1x1 blocks, 1 group: image>"
    many = ssic.GroupMask.grid((320, 320), 10, 10)
    assert repr(many).endswith("r1c7, r1c8 and 92 more>")
    shown = repr(files.opened.decode_pixels("face"))
    assert shown.startswith("<Decoded 60x40 pixels, ")
    assert shown.endswith("% present, box=(0, 0, 60, 40)>")
    with pytest.warns(ssic.SealedGroups):
        ssic.decode(files.sealed)
    assert repr(ssic.SsicFile(files.sealed).decode_pixels()).endswith("sealed=('face',)>")
    for much in (load_picture(PIXELS), ssic.Codec.load().encode(PIXELS), files.opened.head):
        assert len(repr(much)) < 2000


def test_masks_are_hashable(files: Files) -> None:
    assert hash(files.opened.mask) == hash(ssic.SsicFile(files.data).mask)
    assert {MASK: 1, ssic.GroupMask.single((60, 40)): 2}[pickle.loads(pickle.dumps(MASK))] == 1
    same = ssic.GroupMask(MASK.ids, dict(reversed(MASK.names.items())), MASK.classes, MASK.scores)
    assert same == MASK
    assert hash(same) == hash(MASK)
    assert ssic.GroupMask(MASK.ids, MASK.names) not in {MASK}


def test_opened_files_are_pickled(files: Files, tmp_path: Path) -> None:
    (tmp_path / "a.ssic").write_bytes(files.data)
    for opened in (files.opened, ssic.SsicFile(memoryview(files.data)), ssic.open(tmp_path / "a.ssic")):
        for again in (pickle.loads(pickle.dumps(opened)), copy.deepcopy(opened)):
            assert again.mask == opened.mask
            np.testing.assert_array_equal(again.decode("face"), opened.decode("face"))
            with pytest.raises(ValueError, match="read-only"):
                again.head.mask[0, 0] = 1
            with pytest.raises(TypeError):
                again.head.chunks["EXIF"] = b""
    assert files.data[-20:] not in pickle.dumps(ssic.open(tmp_path / "a.ssic"))
    trusting = ssic.SsicFile(files.signed, trust=SIGNER.verify_key)
    assert pickle.loads(pickle.dumps(trusting)).damaged() == []


def test_what_lies_at_a_url_is_pickled_as_the_url(files: Files) -> None:
    with serving({"a.ssic": files.data}) as server:
        again = pickle.loads(pickle.dumps(ssic.open(server.url("a.ssic"))))
        np.testing.assert_array_equal(again.decode("face"), files.opened.decode("face"))


def test_keys_are_not_pickled_with_a_file(files: Files) -> None:
    with pytest.raises(TypeError, match="a private key is not pickled"):
        pickle.dumps(ssic.SsicFile(files.sealed, identity=ME))
    used = ME.recipient
    assert used.key is not None
    assert pickle.loads(pickle.dumps(used)) == used


def test_models_are_named_alike(files: Files) -> None:
    """Presets and paths, wherever a model is asked for."""
    path = find_weights("base")
    for model in ("base", str(path), path):
        assert ssic.encode(PIXELS, MASK, model=model) == files.data
        assert ssic.SsicFile(files.data, model=model).codec().model_id == files.opened.head.model_id
    with pytest.raises(ssic.ModelError, match="neither a weights file nor one of"):
        ssic.decode(files.data, model="")
