"""Files and streams of the commands: what is read stays, masks from stdin, formats of pictures, readers that go."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ssic
from helpers.commands import SOURCE, Refuse, Run, command, damaged
from helpers.engines import needs_torch
from ssic.pictures.write import KINDS


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A weights file of one's own: a copy of the installed one."""
    from ssic.model.weights import find_weights

    path = tmp_path / "mine.safetensors"
    path.write_bytes(find_weights("base").read_bytes())
    return path


def into_stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))


# -- what is read is not written over ----------------------------------------------------------------------


def test_weights_are_not_written_over(run: Run, inputs: Path, weights: Path) -> None:
    before = weights.read_bytes()
    for line in (
        ["encode", inputs / "photo.jpg"],
        ["replace", inputs / "photo.ssic", "--group", "dog", "--with", inputs / "photo.png"],
        ["set-quality", inputs / "photo.ssic", "--group-quality", "dog=5"],
    ):
        code, out, err = run(*line, "--model", weights, "-o", weights)
        assert (code, out) == (2, "")
        assert err == f"ssic: error: {weights} is read and would be overwritten: write to another file\n"
    picture = weights.with_suffix(".png")
    weights.rename(picture)
    for line in (
        ["decode", inputs / "photo.ssic", "-o", picture],
        ["info", inputs / "photo.ssic", "--preview", picture],
    ):
        assert run(*line, "--model", picture).code == 2
    assert picture.read_bytes() == before


@needs_torch
def test_checkpoints_are_not_written_over(run: Run, tmp_path: Path) -> None:
    checkpoint = tmp_path / "c.pt"
    checkpoint.write_bytes(b"precious")
    code, out, err = run("export-weights", checkpoint, "-o", checkpoint)
    assert (code, out) == (2, "")
    assert "would be overwritten" in err
    assert checkpoint.read_bytes() == b"precious"
    code, _, err = run("export-weights", checkpoint, "-o", "-")
    assert (code, "give them a file" in err) == (2, True)
    assert not Path("-").exists()


@pytest.mark.parametrize("option", ["--trust", "--identity", "--passphrase-file"])
def test_keys_are_not_written_over_by_previews(run: Run, inputs: Path, tmp_path: Path, option: str) -> None:
    key = tmp_path / "key.png"
    key.write_text("precious\n")
    code, _, err = run("info", inputs / "photo.ssic", "--preview", key, option, key)
    assert (code, "would be overwritten" in err) == (2, True)
    assert key.read_text() == "precious\n"


# -- URLs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "encode {url}",
        "encode photo.jpg -o p.ssic --mask {url}",
        "encode photo.jpg -o p.ssic --mask labels.png --names {url}",
        "encode photo.jpg -o p.ssic --coco {url}",
        "encode photo.jpg -o p.ssic --boxes {url}",
        "encode photo.jpg -o p.ssic --model {url}",
        "preview {url} -o p.png",
        "decode photo.ssic -o p.png --identity {url}",
        "decode photo.ssic -o p.png --model {url}",
        "info photo.ssic --trust {url}",
        "verify photo.ssic --trust {url}",
        "replace photo.ssic --group dog --with {url} -o p.ssic",
        "encrypt photo.ssic --groups dog --recipient {url} -o p.ssic",
    ],
)
def test_only_ssic_files_come_from_urls(
    run: Run, inputs: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    monkeypatch.chdir(inputs)
    before = sorted(inputs.iterdir())
    code, out, err = run(*line.format(url="https://me:secret@example.org/x.png?token=1").split())
    assert (code, out) == (2, "")
    assert err.startswith("ssic: error: https://example.org/x.png: only ssic files are read from URLs")
    assert sorted(inputs.iterdir()) == before


def test_segmenters_may_take_urls(run: Run, inputs: Path, tmp_path: Path) -> None:
    line = [
        "encode",
        inputs / "photo.jpg",
        "-o",
        tmp_path / "p.ssic",
        "--segment",
        "nonsense:http://localhost/",
    ]
    code, _, err = run(*line)
    assert (code, 'no segmenter "nonsense"' in err, "only ssic files" in err) == (2, True, False), err


def test_nothing_is_written_to_urls(run: Run, inputs: Path) -> None:
    code, out, err = run("encode", inputs / "photo.jpg", "-o", "s3://bucket/p.ssic")
    assert (code, out) == (2, "")
    assert err.startswith("ssic: error: s3://bucket/p.ssic: files are written to this machine only")


# -- stdin and stdout --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "file"),
    [
        ("--mask -", "labels.png"),
        ("--mask labels.png --names -", "names.json"),
        ("--coco - --image-id 139", "annotations.json"),
        ("--boxes -", "boxes.json"),
    ],
)
def test_masks_come_from_stdin(
    run: Run, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str, file: str
) -> None:
    monkeypatch.chdir(inputs)
    by_path, by_pipe = tmp_path / "path.ssic", tmp_path / "pipe.ssic"
    line = ["encode", "photo.jpg", *options.split(), "-o"]
    into_stdin(monkeypatch, (inputs / file).read_bytes())
    piped = run(*line, by_pipe)
    assert piped.code == 0, piped.err
    assert run(*(file if word == "-" else word for word in line), by_path).code == 0
    assert by_pipe.read_bytes() == by_path.read_bytes()
    assert len(ssic.open(by_path).groups) > 1


@pytest.mark.parametrize(
    ("options", "data", "said"),
    [
        ("--mask -", b"", "stdin: the mask is empty"),
        (
            "--mask -",
            b"no picture",
            "stdin: can't read the label map in the bytes given: it is no picture that Pillow knows",
        ),
        ("--boxes -", b"", "the file of the boxes, stdin, is empty"),
        ("--boxes -", b"[", "the boxes in stdin is not valid JSON"),
        ("--boxes -", b"{}", "stdin: boxes must be a list"),
        ("--coco -", b"{}", "stdin: this is no COCO annotation file"),
        ("--mask - --names -", b"", "stdin can be read once"),
    ],
)
def test_what_is_wrong_with_stdin_is_told(
    run: Run, inputs: Path, monkeypatch: pytest.MonkeyPatch, options: str, data: bytes, said: str
) -> None:
    monkeypatch.chdir(inputs)
    for line in (["encode", "photo.jpg", "-o", "/dev/null"], ["preview", "photo.jpg", "-o", "-"]):
        into_stdin(monkeypatch, data)
        code, _, err = run(*line, *options.split())
        assert code == 2
        assert err.startswith(f"ssic: error: {said}")


def test_streams_are_called_by_their_names(inputs: Path) -> None:
    data = (inputs / "photo.ssic").read_bytes()
    assert command("info", "-", input=data, check=True).stdout.startswith(b"stdin: 96x64")
    assert command("encode", inputs / "photo.jpg", "-o", "-", check=True).stderr.startswith(b"stdout: 96x64")


@pytest.mark.parametrize(
    "line",
    [
        "--help",
        "info photo.ssic",
        "info photo.ssic --json",
        "extract photo.ssic --groups dog -o -",
        "decode photo.ssic -o -",
    ],
)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_is_no_bug(inputs: Path, line: str, unbuffered: str) -> None:
    out, into = os.pipe()
    os.close(out)
    with os.fdopen(into, "wb", closefd=True) as nobody:
        environment = os.environ | {"PYTHONPATH": SOURCE, "PYTHONUNBUFFERED": unbuffered}
        process = [sys.executable, "-m", "ssic", *line.split()]
        done = subprocess.run(process, stdout=nobody, stderr=subprocess.PIPE, env=environment, cwd=inputs)
    assert (done.returncode, done.stderr) == (141, b"")


# -- formats of pictures -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("-o p.ico", 'pictures can\'t be written as ".ico"; use .png, .jpg, .jpeg, .webp, .avif'),
        ("-o p.gif", 'pictures can\'t be written as ".gif"'),
        ("-o p.pdf", 'pictures can\'t be written as ".pdf"'),
        ("-o p.jpg --fill transparent", "JPEG can't hold transparency: use .png, .webp"),
        ("-o p.ppm --fill transparent", "PPM can't hold transparency"),
        ("-o p.bmp --fill transparent", "BMP can't hold transparency"),
        ("-o p.png --fill rad", '"rad" is no colour'),
    ],
)
def test_what_a_picture_can_not_be_is_refused_before_the_work(
    run: Run,
    inputs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    refuse: Refuse,
    options: str,
    said: str,
) -> None:
    monkeypatch.setattr("ssic.cli.files.SsicFile", refuse)
    monkeypatch.chdir(tmp_path)
    code, out, err = run("decode", inputs / "photo.ssic", *options.split())
    assert (code, out) == (2, "")
    assert said in err
    assert list(tmp_path.iterdir()) == []


def test_pictures_that_are_too_long_for_a_format_are_refused_before_they_are_decoded(
    run: Run, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refuse: Refuse
) -> None:
    monkeypatch.setattr("ssic.file.SsicFile.decode_pixels", refuse)
    monkeypatch.setitem(KINDS, ".webp", replace(KINDS[".webp"], side=95))
    code, _, err = run("decode", inputs / "photo.ssic", "-o", tmp_path / "p.webp")
    assert (code, "WEBP holds at most 95 pixels a side, and the picture has 96x64" in err) == (2, True)


@pytest.mark.parametrize("suffix", KINDS)
def test_profiles_are_kept_or_said_to_be_left_out(
    run: Run, inputs: Path, tmp_path: Path, suffix: str
) -> None:
    Image.init()
    if KINDS[suffix].name not in Image.SAVE:
        pytest.skip(f"Pillow without {KINDS[suffix].name}")
    target = tmp_path / f"p{suffix}"
    code, _, err = run("decode", inputs / "photo.ssic", "-o", target)
    assert code == 0
    with Image.open(target) as image:
        assert (image.size, image.convert("RGB").size) == ((96, 64), (96, 64))
        assert (image.info.get("icc_profile") is None) == ("holds no colour profile" in err)
    assert (err == "") == KINDS[suffix].icc


# -- what is checked, and said, first ----------------------------------------------------------------------


def test_values_are_checked_before_the_work(
    run: Run, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refuse: Refuse
) -> None:
    monkeypatch.setattr("ssic.cli.pictures.load_picture", refuse)
    monkeypatch.setattr("ssic.cli.files.SsicFile", refuse)
    photo, file, out = inputs / "photo.png", inputs / "photo.ssic", tmp_path / "p.ssic"
    for line, said in (
        (["encode", photo, "--segment", "foreground", "--quality", 1000], "--quality 1000: quality is an"),
        (["encode", photo, "--target-bytes", -5], "--target-bytes -5: a number above 0 was expected"),
        (["encode", photo, "--target-psnr", "nan"], "--target-psnr nan: a number above 0"),
        (["replace", file, "--group", "dog", "--with", photo, "--quality", 0], "--quality 0: quality is an"),
    ):
        code, _, err = run(*line, "-o", out)
        assert (code, err.startswith(f"ssic: error: {said}")) == (2, True), err
    assert not out.exists()


def test_errors_about_masks_name_their_files(run: Run, inputs: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.png"
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(small)
    boxes = tmp_path / "b.json"
    boxes.write_text('[{"box": [0, 0, 32, 32], "name": "background"}]')
    coco = inputs / "annotations.json"
    for options, said in (
        (["--coco", coco, "--image-id", 140000], f"{coco}: none of the 2 images"),
        (["--mask", small], f"{small}: the label map has 9x9 entries"),
        (["--boxes", boxes], f'{boxes}: group 1 is called "background", which is the name of group 0'),
    ):
        code, _, err = run("encode", inputs / "photo.png", "-o", tmp_path / "p.ssic", *options)
        assert (code, err.startswith(f"ssic: error: {said}")) == (2, True), err


def test_merge_names_groups_and_files(run: Run, inputs: Path, tmp_path: Path) -> None:
    file = inputs / "photo.ssic"
    run("extract", file, "--groups", "dog", "-o", tmp_path / "dog.ssic")
    code, _, err = run("merge", file, tmp_path / "dog.ssic", "-o", tmp_path / "both.ssic")
    assert code == 2
    assert '"dog" of file 2 and "dog" of file 1 own' in err
    assert err.endswith(f"(file 1 is {file}, file 2 is {tmp_path / 'dog.ssic'})\n")


# -- info --------------------------------------------------------------------------------------------------


def test_a_preview_that_fails_hides_nothing(run: Run, inputs: Path, tmp_path: Path, weights: Path) -> None:
    target = tmp_path / "p.png"
    mine = tmp_path / "mine.ssic"
    data = bytearray((inputs / "photo.ssic").read_bytes())
    head = ssic.open(inputs / "photo.ssic").head
    from ssic.format import Segment, write_file

    segments = [
        Segment(g.id, g.name, g.quality, bytes(data[g.offset : g.offset + g.length])) for g in head.groups
    ]
    mine.write_bytes(
        write_file(
            width=head.width, height=head.height, model_id=b"nonsense", mask=head.mask, segments=segments
        )
    )
    code, out, err = run("info", mine, "--preview", target)
    assert code == 5
    assert out.endswith("All segments are intact.\n")
    assert "(--model)" in err
    bad = damaged(mine, tmp_path / "bad.ssic", "dog")
    code, out, err = run("info", bad, "--preview", target)
    assert code == 5
    assert "warning: damaged: dog\n" in err
    assert not target.exists()
    # What the message advises is there.
    assert (
        run("info", inputs / "photo.ssic", "--preview", target, "--model", weights, "--engine", "onnx").code
        == 0
    )
    assert target.exists()
    assert run("info", mine, "--preview", target, "--model", weights).code == 5
    code, _, err = run("info", mine, "--model", weights)
    assert (code, "--preview only" in err) == (2, True)


def test_info_shows_hidden_groups_to_those_who_can_open_them(run: Run, inputs: Path, tmp_path: Path) -> None:
    file, sealed = inputs / "photo.ssic", tmp_path / "hidden.ssic"
    run("keygen", "-o", tmp_path / "me.key", "--public", tmp_path / "me.pub")
    run("keygen", "-o", tmp_path / "you.key")
    line = ["encrypt", file, "--groups", "dog,person", "--recipient", tmp_path / "me.pub", "--hide-outline"]
    assert run(*line, "-o", sealed).code == 0
    code, out, err = run("info", sealed)
    assert (code, err, "person" in out) == (0, "", False)
    code, out, err = run("info", sealed, "--identity", tmp_path / "me.key")
    assert (code, err) == (0, "")
    assert "dog (encrypted)" in out
    assert out.endswith("All segments are intact.\n")
    facts = json.loads(run("info", sealed, "--identity", tmp_path / "me.key", "--json").out)
    clear = json.loads(run("info", file, "--json").out)
    about = ("id", "name", "class", "quality", "blocks", "bytes")
    shown = [[group[key] for key in about] for group in facts["groups"]]
    assert shown == [[group[key] for key in about] for group in clear["groups"]]
    assert [group["encrypted"] for group in facts["groups"]] == [False, True, True]
    code, out, err = run("info", sealed, "--identity", tmp_path / "you.key")
    assert (code, "person" in out) == (0, False)
    assert (
        err
        == "ssic: notice: still sealed, names and all: sealed (no key or passphrase given opens all of it)\n"
    )
    target = tmp_path / "p.png"
    line = ["info", sealed, "--identity", tmp_path / "me.key", "--preview", target]
    assert run(*line).code == 0
    seen = np.asarray(Image.open(target))
    assert run("info", file, "--preview", target).code == 0
    assert np.array_equal(seen, np.asarray(Image.open(target)))


def test_a_public_key_in_the_place_of_a_private_one_is_no_secret(
    run: Run, inputs: Path, tmp_path: Path
) -> None:
    run("keygen", "-o", tmp_path / "me.key", "--public", tmp_path / "me.pub")
    code, _, err = run(
        "decode", inputs / "photo.ssic", "-o", tmp_path / "p.png", "--identity", tmp_path / "me.pub"
    )
    assert (code, err.count("\n"), "chmod" in err) == (2, 1, False)
    os.chmod(tmp_path / "me.key", 0o644)
    line = ["decode", inputs / "photo.ssic", "-o", tmp_path / "p.png", "--identity", tmp_path / "me.key"]
    assert "others may read this private key" in run(*line).err


def test_a_wrong_passphrase_is_called_one(run: Run, inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "right").write_text("correct horse\n")
    (tmp_path / "wrong").write_text("battery staple\n")
    sealed = tmp_path / "s.ssic"
    line = ["encrypt", inputs / "photo.ssic", "--groups", "dog", "-o", sealed]
    assert run(*line, "--passphrase-file", tmp_path / "right").code == 0
    code, _, err = run("decrypt", sealed, "-o", tmp_path / "c.ssic", "--passphrase-file", tmp_path / "wrong")
    assert (code, "no key or passphrase that was given opens it" in err) == (7, True)
