"""Files in every form that a user has them in, and what functions give back: something to open, save and send."""

from __future__ import annotations

import builtins
import io
import json
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import ssic
from helpers.loopback import serving
from helpers.masks import blob_mask
from helpers.pictures import natural_picture
from ssic.storage.source import FileBytes

PIXELS = natural_picture(3, 40, 60)
MASK = ssic.GroupMask(blob_mask(4, 3, 4, 3), {0: "background", 1: "face", 2: "<b>cap</b>"})
ME, SIGNER = ssic.Identity.generate(), ssic.SigningKey.generate()


@pytest.fixture(scope="module")
def data() -> bytes:
    return ssic.encode(PIXELS, MASK)


FORMS: dict[str, Callable[[bytes, Path], Any]] = {
    "bytes": lambda data, path: data,
    "bytearray": lambda data, path: bytearray(data),
    "memoryview": lambda data, path: memoryview(data),
    "shaped memory": lambda data, path: memoryview(data).cast("B", (1, len(data))),
    "text of a path": lambda data, path: str(path),
    "path": lambda data, path: path,
    "URL of a file": lambda data, path: path.as_uri(),
    "binary file": lambda data, path: builtins.open(path, "rb"),  # noqa: SIM115 (what it is given to reads it to its end)
    "BytesIO": lambda data, path: io.BytesIO(data),
    "byte source": lambda data, path: FileBytes(path),
    "opened file": lambda data, path: ssic.open(path),
    "encoding": lambda data, path: ssic.Codec.load().encode(PIXELS, MASK),
}

CALLS: dict[str, Callable[[Any], Any]] = {
    "open": lambda file: bytes(ssic.open(file)),
    "decode": lambda file: ssic.decode(file, "face").tobytes(),
    "merge": lambda file: bytes(ssic.merge([file])),
    "encrypt": lambda file: bytes(ssic.decrypt(ssic.encrypt(file, "face", ME.recipient), ME)),
    "sign": lambda file: bytes(ssic.sign(file, SIGNER)),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_function_takes_every_form_of_a_file(data: bytes, tmp_path: Path, form: str) -> None:
    (tmp_path / "a.ssic").write_bytes(data)
    for name, call in CALLS.items():
        assert call(FORMS[form](data, tmp_path / "a.ssic")) == call(data), name


@pytest.mark.parametrize("form", [form for form in FORMS if form != "encoding"])
def test_sealed_and_signed_ones_too(data: bytes, tmp_path: Path, form: str) -> None:
    sealed = ssic.sign(ssic.encrypt(data, "face", ME.recipient), SIGNER)
    sealed.save(tmp_path / "a.ssic")
    calls: list[Callable[[Any], Any]] = [
        lambda file: bytes(ssic.decrypt(file, ME)),
        lambda file: bytes(ssic.decrypt(ssic.rewrap(file, ME, ME.recipient), ME)),
        lambda file: ssic.verify(file, SIGNER.verify_key),
        lambda file: ssic.decode(file, identity=ME, trust=SIGNER.verify_key).tobytes(),
    ]
    for call in calls:
        assert call(FORMS[form](bytes(sealed), tmp_path / "a.ssic")) == call(bytes(sealed))


def test_urls_too(data: bytes) -> None:
    with serving({"a.ssic": data}) as server:
        url = server.url("a.ssic")
        assert [call(url) for call in CALLS.values()] == [call(data) for call in CALLS.values()]


def test_what_functions_give_is_opened_saved_and_turned_into_bytes(data: bytes, tmp_path: Path) -> None:
    file = ssic.open(data)
    sealed = ssic.encrypt(file, "face", ME.recipient)
    made = {
        "extract": file.extract(["face"]),
        "drop": file.drop("face"),
        "reorder": file.reorder("background"),
        "replace": file.replace("face", PIXELS, quality=20),
        "set_quality": file.set_quality({"face": 20}),
        "merge": ssic.merge([file.drop("face"), file.extract("face")]),
        "encrypt": sealed,
        "decrypt": ssic.decrypt(sealed, ME),
        "rewrap": ssic.rewrap(sealed, ME, ME.recipient),
        "sign": ssic.sign(file, SIGNER),
    }
    for name, one in made.items():
        assert isinstance(one, ssic.SsicFile), name
        assert (one.width, one.height) == one.size == (60, 40)
        one.save(tmp_path / f"{name}.ssic")
        assert (tmp_path / f"{name}.ssic").read_bytes() == bytes(one)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ssic.SealedGroups)
            np.testing.assert_array_equal(ssic.decode(tmp_path / f"{name}.ssic"), one.decode())
    assert bytes(made["merge"]) == bytes(made["decrypt"]) == data
    # A chain of them, back onto the file that it began with.
    place = tmp_path / "a.ssic"
    place.write_bytes(data)
    ssic.open(place).drop("face").set_quality({"background": 5}).save(place)
    assert {g.name: g.quality for g in ssic.open(place)} == {"background": 5, "<b>cap</b>": 60}


def test_what_is_made_of_a_file_has_its_model_and_limits_but_not_its_keys(data: bytes) -> None:
    limits = ssic.DecodeLimits(max_groups=7)
    sealed = ssic.sign(ssic.encrypt(data, "face", ME.recipient), SIGNER)
    opened = ssic.open(sealed, model="base", limits=limits, identity=ME, trust=SIGNER.verify_key)
    part = opened.extract("face")
    assert part.limits is limits
    assert pickle.loads(pickle.dumps(part)).names == ("face",)  # with keys it could not be
    with pytest.raises(ssic.EncryptedSegment):
        part.decode()
    np.testing.assert_array_equal(ssic.decode(part, identity=ME), opened.decode("face"))


def test_an_opened_file_is_opened_anew_with_other_options(data: bytes) -> None:
    sealed = ssic.open(ssic.sign(ssic.encrypt(data, "face", ME.recipient), SIGNER))
    assert ssic.open(sealed) is sealed
    with_key = ssic.open(sealed, identity=iter([ME]))
    assert with_key is not sealed
    trusting = ssic.open(with_key, trust=SIGNER.verify_key)  # has the key still
    np.testing.assert_array_equal(trusting.decode(strict=True), ssic.decode(data))
    stays = ssic.open(trusting, limits=ssic.DecodeLimits())
    assert stays.access.signer == SIGNER.verify_key
    np.testing.assert_array_equal(ssic.decode(stays, strict=True), ssic.decode(data))
    with pytest.raises(ssic.SignatureError):
        ssic.open(sealed, trust=ssic.SigningKey.generate().verify_key)
    first = ssic.open(sealed, prefix=sealed.head.head_bytes)
    assert first.damaged() == list(sealed.names)


def test_bytes_that_change_are_not_taken_twice(data: bytes) -> None:
    changing = bytearray(data)
    opened = ssic.open(changing)
    changing[: opened.head.head_bytes] = bytes(opened.head.head_bytes)
    assert bytes(opened) == data
    np.testing.assert_array_equal(opened.decode(), ssic.decode(data))


def test_a_file_that_is_cut_off_is_not_saved_as_if_it_were_whole(data: bytes, tmp_path: Path) -> None:
    cut = ssic.open(data[:-1])
    (tmp_path / "a.ssic").write_bytes(b"before")
    with pytest.raises(ssic.TruncatedFile, match=f"ends at byte {len(data) - 1}; whole it has {len(data)}"):
        cut.save(tmp_path / "a.ssic")
    assert (tmp_path / "a.ssic").read_bytes() == b"before"


# -- notebooks ---------------------------------------------------------------------------------------------


def test_notebooks_show_the_picture_with_its_groups(data: bytes) -> None:
    opened = ssic.open(data)
    png, html = opened._repr_png_(), opened._repr_html_()
    assert png is not None
    shown = np.asarray(Image.open(io.BytesIO(png)))
    assert shown.shape == PIXELS.shape
    assert (shown != opened.decode()).any()  # outlines
    assert "data:image/png;base64," in html
    assert "<b>cap" not in html
    assert "&lt;b&gt;cap" in html
    assert f"{len(data):,} bytes" in html
    assert pickle.loads(pickle.dumps(opened)).names == opened.names
    assert png not in pickle.dumps(opened)


def test_large_pictures_are_shown_smaller() -> None:
    wide = np.zeros((40, 2100, 3), np.uint8)
    png = ssic.open(ssic.encode(wide, quality=1))._repr_png_()
    assert png is not None
    assert Image.open(io.BytesIO(png)).size == (700, 14)


@pytest.mark.filterwarnings("error")
def test_notebooks_get_a_table_where_nothing_can_be_decoded(data: bytes) -> None:
    head = ssic.open(data).head
    sealed = ssic.encrypt(data, [0, 1, 2], ME.recipient)
    partly = ssic.encrypt(data, "face", ME.recipient)
    cut = ssic.open(data[: head.head_bytes])
    without_model = ssic.open(data, model="none such")
    for file in (sealed, cut, without_model):
        assert file._repr_png_() is None
        html = file._repr_html_()
        assert "<img" not in html
        assert "face" in html
    assert "<img" in partly._repr_html_()


# -- arrays of other libraries -----------------------------------------------------------------------------


def test_torch_tensors_are_taken_or_refused_with_the_line_that_converts_them(data: bytes) -> None:
    torch = pytest.importorskip("torch")
    pixels, ids = torch.from_numpy(PIXELS), torch.from_numpy(np.array(MASK.ids)).long()
    named = ssic.GroupMask.from_label_map(ids, (60, 40), MASK.names)
    assert ssic.encode(pixels, named) == data
    assert ssic.encode(pixels, ids) == ssic.encode(PIXELS, np.array(MASK.ids))
    scope = {"tensor": pixels.float().div(255).permute(2, 0, 1).requires_grad_(), "torch": torch}
    with pytest.raises(ssic.ImageError, match=r"float32 \[3, 40, 60\]; for values in 0..1: ") as refused:
        ssic.encode(scope["tensor"])
    line, turn = str(refused.value).partition("0..1: ")[2].split(", channels last: ")
    assert ssic.encode(eval(f"({line}){turn}", scope), named) == data
    with pytest.raises(ssic.ImageError, match=r"uint8 \[3, 40, 60\]; tensor.permute\(1, 2, 0\)"):
        ssic.encode(pixels.permute(2, 0, 1))
    for half in (torch.bfloat16, torch.float16):
        with pytest.raises(ssic.ImageError, match="float16"):
            ssic.encode(pixels.to(half))
    with pytest.raises(ssic.MaskError, match=r"labels.round\(\).long\(\)"):
        ssic.encode(pixels, ids.float())
    with pytest.raises(ssic.ImageError, match="can't be had as a NumPy array"):
        ssic.encode(pixels.to_sparse())


def test_float_arrays_are_refused_with_the_line_that_converts_them(data: bytes) -> None:
    a: NDArray[np.float64] = PIXELS / 255
    with pytest.raises(ssic.ImageError, match=r"for values in 0\.\.1: ") as refused:
        ssic.encode(a)
    assert ssic.encode(eval(str(refused.value).partition("0..1: ")[2], {"a": a, "numpy": np}), MASK) == data
    labels = np.array(MASK.ids, np.float64)
    with pytest.raises(ssic.MaskError, match=r"; whole numbers: \.astype") as refused:
        ssic.encode(PIXELS, labels)
    line = str(refused.value).partition("whole numbers: ")[2]
    converted = eval(f"labels{line}", {"labels": labels, "numpy": np})
    assert ssic.encode(PIXELS, converted) == ssic.encode(PIXELS, np.array(MASK.ids))


def test_torch_is_not_imported_to_look_at_arrays() -> None:
    code = (
        "import sys, numpy as np, ssic; ssic.load_picture(np.zeros((2, 2, 3), np.uint8)); "
        "ssic.GroupMask.from_label_map(np.zeros((1, 1), np.uint8), (2, 2)); print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


# -- codecs ------------------------------------------------------------------------------------------------


def test_codecs_are_pickled_and_say_what_they_are(data: bytes) -> None:
    codec = ssic.Codec.load()
    again = pickle.loads(pickle.dumps(codec))
    assert again.encode(PIXELS, MASK).data == data
    assert repr(again) == repr(codec)
    assert codec.model_id.hex() in repr(codec)
    assert len(repr(codec)) < 200


def test_an_encoding_says_how_it_came_to_be(data: bytes, tmp_path: Path) -> None:
    codec = ssic.Codec.load()
    plain = codec.encode(PIXELS, MASK, group_quality={"face": 80})
    assert plain.qualities == {0: 60, 1: 80, 2: 60}
    assert plain.qualities_by_name == {"background": 60, "face": 80, "<b>cap</b>": 60}
    assert (plain.reached, plain.groups_reached, plain.passes, plain.encodes) == (None, {}, 1, 1.0)
    assert plain.ideal_bits is not None
    assert plain.latents is None
    kept = codec.encode(PIXELS, MASK, group_quality={"face": 80}, latents=True)
    assert kept.data == plain.data
    assert kept.latents is not None
    assert kept.latents.shape == (MASK.ids.size, codec.config.latent_channels)
    with pytest.raises(ssic.InvalidInput, match="latents"):
        codec.encode(PIXELS, MASK, target="bytes:800", latents=True)
    met = codec.encode(PIXELS, MASK, group_quality={"face": 80}, target="bytes:800")
    assert met.reached == len(met.data) <= 800
    assert met.qualities[1] == 80
    assert met.hyper_bytes[1] == plain.hyper_bytes[1]
    assert bytes(met) == met.data == ssic.encode(PIXELS, MASK, group_quality=dict(met.qualities))
    met.save(tmp_path / "a.ssic")
    assert bytes(ssic.open(tmp_path / "a.ssic")) == met.data
    assert json.dumps(met.qualities_by_name)
